//! How a receive location takes messages, for the page of the port: one line for each party whose settings differ.

use orderly_engine::configuration::{
    AckMode, Configuration, FindingClass, Inbound, InboundCharset, ReceiveLocation, SegmentMatching,
    ValidationLevel, Verdict,
};

/// How messages of some senders are taken.
pub(crate) struct Taking {
    /// The parties, or who else.
    pub(crate) who: String,
    /// How deep they are checked, and how strictly.
    pub(crate) checked: String,
    /// The message profile; empty without.
    pub(crate) profile: String,
    /// Findings that do not lead to what they usually lead to.
    pub(crate) verdicts: String,
    /// How bytes become text.
    pub(crate) charset: String,
    /// Which rules of answering apply.
    pub(crate) answered: &'static str,
}

/// The lines of one location: parties with the same settings stand together.
pub(crate) fn lines(configuration: &Configuration, location: &ReceiveLocation) -> Vec<Taking> {
    if let Some(party) = &location.party {
        return vec![line(party.clone(), location.inbound(Some(party)))];
    }
    let mut groups: Vec<(Vec<&str>, &Inbound)> = Vec::new();
    for party in configuration.parties.keys().filter(|party| *party != "unknown") {
        let inbound = location.inbound(Some(party)).as_ref();
        match groups.iter_mut().find(|(_, known)| *known == inbound) {
            Some((parties, _)) => parties.push(party),
            None => groups.push((vec![party], inbound)),
        }
    }
    let parties = groups.into_iter().map(|(parties, inbound)| line(parties.join(", "), inbound));
    parties.chain([line("Other senders".to_owned(), location.inbound(None))]).collect()
}

fn line(who: String, inbound: &Inbound) -> Taking {
    let validation = &inbound.validation;
    let level = match validation.level {
        ValidationLevel::None => "Not at all",
        ValidationLevel::Header => "Header",
        ValidationLevel::Structure => "Header and structure",
        ValidationLevel::Fields => "Header, structure and fields",
        ValidationLevel::Standard => "Standard, with tables",
        ValidationLevel::Profile => "Standard and profile",
    };
    let strict = match validation.matching {
        SegmentMatching::Strict if validation.level >= ValidationLevel::Structure => ", strict order",
        _ => "",
    };
    let verdicts = validation.findings.iter().map(|(class, verdict)| {
        let word = FindingClass::ALL.iter().find(|(_, known)| known == class).map_or("", |(word, _)| word);
        format!("{word}: {}", verdict_word(*verdict))
    });
    Taking {
        who,
        checked: format!("{level}{strict}"),
        profile: inbound.profile.clone().unwrap_or_default(),
        verdicts: verdicts.collect::<Vec<_>>().join(", "),
        charset: match &inbound.charset {
            InboundCharset::Detect => "As found".to_owned(),
            InboundCharset::Declared => "As declared".to_owned(),
            InboundCharset::Force(name) => name.clone(),
        },
        answered: match inbound.acknowledgment.mode {
            AckMode::None => "No",
            AckMode::Original => "Original mode",
            AckMode::Enhanced => "Enhanced mode",
            AckMode::Application => "Stored at once, the application later",
            AckMode::Static => "A fixed text",
            AckMode::Transport => "By the transport alone",
        },
    }
}

fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accept => "accepted",
        Verdict::Note => "noted",
        Verdict::Warn => "warned of",
        Verdict::Refuse => "refused",
    }
}
