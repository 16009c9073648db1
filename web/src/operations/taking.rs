//! How a receive location takes messages, for the page of the port: one line for each party whose settings differ.

use orderly_engine::configuration::{
    AckMode, Configuration, FindingClass, Inbound, InboundCharset, ReceiveLocation, ReceivePort,
    SegmentMatching, ValidationLevel, Verdict,
};
use orderly_engine::site::Origins;

use super::settings::{self, Group};
use crate::shell::Shell;

/// How messages of some senders are taken.
pub(crate) struct Taking {
    /// The parties, or who else.
    pub(crate) who: Vec<Who>,
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

/// A sender, with the address that shows all its settings.
pub(crate) struct Who {
    pub(crate) title: String,
    pub(crate) href: String,
    pub(crate) current: bool,
}

/// All settings of one sender.
pub(crate) struct Sender {
    pub(crate) title: String,
    pub(crate) groups: Vec<Group>,
}

/// In an address, for senders that match no party.
const ANYBODY: &str = "anybody";

/// The lines of one location: parties with the same settings stand together.
pub(crate) fn lines(
    configuration: &Configuration,
    location: &ReceiveLocation,
    href: &str,
    asked: &str,
    shell: &Shell,
) -> Vec<Taking> {
    let who = |name: &str, title: String| Who {
        href: format!("{href}?sender={}#sender", crate::link::encode(name)),
        current: name == asked,
        title,
    };
    let named = |name: &str| who(name, shell.site.names.party(name));
    if let Some(party) = &location.party {
        let fixed = Who { current: true, ..named(party) };
        return vec![line(vec![fixed], location.inbound(Some(party)))];
    }
    let mut groups: Vec<(Vec<Who>, &Inbound)> = Vec::new();
    let senders = configuration.parties.values().filter(|party| !party.identify.is_empty());
    for party in senders {
        let inbound = location.inbound(Some(&party.name)).as_ref();
        match groups.iter_mut().find(|(_, known)| *known == inbound) {
            Some((parties, _)) => parties.push(named(&party.name)),
            None => groups.push((vec![named(&party.name)], inbound)),
        }
    }
    let parties = groups.into_iter().map(|(parties, inbound)| line(parties, inbound));
    let others = who(ANYBODY, "Anybody else".to_owned());
    parties.chain([line(vec![others], location.inbound(None))]).collect()
}

/// All settings of the sender that was asked for, or of the only one.
pub(crate) fn sender(
    configuration: &Configuration,
    origins: &Origins,
    (port, location): (&ReceivePort, &ReceiveLocation),
    asked: &str,
    shell: &Shell,
) -> Option<Sender> {
    let party = match location.party.as_deref() {
        Some(party) => Some(party),
        None if asked == ANYBODY => None,
        None => Some(configuration.parties.get(asked)?.name.as_str()),
    };
    Some(Sender {
        title: party.map_or_else(|| "anybody else".to_owned(), |party| shell.site.names.party(party)),
        groups: settings::of_party(configuration, origins, port, location, party),
    })
}

fn line(who: Vec<Who>, inbound: &Inbound) -> Taking {
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
