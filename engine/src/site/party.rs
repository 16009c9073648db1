//! Parties of a site: who they are and how their messages are taken and written.

use std::collections::HashMap;

use indexmap::IndexMap;
use orderly_hl7::Charset;
use orderly_rules::yaml::{Kind, Node, Spanned};

use super::{
    acknowledgment,
    sheet::{CODES, Object, Referent, Sheet, choice},
    source::{Entry, Source},
};
use crate::configuration::{
    AckWhen, Ask, DifferentAgain, Duplicates, FindingClass, Identify, Inbound, InboundCharset, Outbound,
    OutboundCharset, Party, PartyAddress, SameAgain, SegmentMatching, SequenceRule, SiteClass,
    TrailingDelimiters, Unmappable, Validation, ValidationLevel, Verdict,
};

/// Parties as read, and the trees of their `inbound` for locations to override.
#[derive(Default)]
pub(super) struct Parties {
    pub(super) all: IndexMap<String, Party>,
    pub(super) inbound: HashMap<String, Node>,
}

/// Reads all parties.
pub(super) fn read(source: &Source) -> Parties {
    let entries = source.entries("parties");
    let mut parties = Parties::default();
    for entry in &entries {
        // Mistakes are noted where they were written; what `like` copies was read there already.
        let own = party(entry.sheet, entry.name, entry.body, source.class);
        let merged = merged(entry, &entries);
        let quiet = Sheet::new("", "");
        let party = merged.as_ref().and_then(|node| party(&quiet, entry.name, node, source.class)).or(own);
        let body = merged.as_ref().unwrap_or(entry.body);
        if let Some(inbound) = body.get("inbound") {
            parties.inbound.insert(entry.name.value.clone(), inbound.clone());
        }
        if let Some(party) = party {
            parties.all.insert(party.name.clone(), party);
        }
    }
    check_identical(&entries, &parties.all);
    parties
}

fn merged(entry: &Entry<'_>, all: &[Entry<'_>]) -> Option<Node> {
    let like = entry.body.get("like")?;
    let base = all.iter().find(|other| Some(other.name.value.as_str()) == like.as_text())?;
    if base.body.get("like").is_some() || base.name.value == entry.name.value {
        entry.sheet.error(
            "S207",
            like.span,
            format!("party `{}` is itself like another one", base.name.value),
        );
        return None;
    }
    let mut copy = base.body.clone();
    if let Kind::Map(entries) = &mut copy.kind {
        entries.retain(|(key, _)| !matches!(key.value.as_str(), "identify" | "address"));
    }
    Some(override_with(copy, entry.body))
}

/// Keys of `over` win, at every depth.
pub(super) fn override_with(base: Node, over: &Node) -> Node {
    match (base.kind, &over.kind) {
        (Kind::Map(mut below), Kind::Map(above)) => {
            for (key, value) in above {
                match below.iter_mut().find(|(known, _)| known.value == key.value) {
                    Some((_, slot)) => {
                        let old = std::mem::replace(slot, Node { span: value.span, kind: Kind::Nothing });
                        *slot = override_with(old, value);
                    }
                    None => below.push((key.clone(), value.clone())),
                }
            }
            Node { span: over.span, kind: Kind::Map(below) }
        }
        _ => over.clone(),
    }
}

fn party(sheet: &Sheet, name: &Spanned<String>, body: &Node, class: SiteClass) -> Option<Party> {
    let object = sheet.object(body, "a party")?;
    let mut party = Party { name: name.value.clone(), title: name.value.clone(), ..Party::default() };
    object.set_text("title", &mut party.title);
    object.reference("like", Referent::Party);
    object.reference("application", Referent::Application);
    if let Some(node) = object.get("identify") {
        let items = sheet.with_problems(|problems| node.list("`identify`", CODES, problems));
        party.identify = items.iter().filter_map(|item| identify(sheet, item)).collect();
    }
    party.address = object.object("address").and_then(|address| party_address(&address));
    party.inbound =
        object.get("inbound").map_or_else(|| default_inbound(class), |node| inbound(sheet, node, class));
    party.outbound = object.object("outbound").map(|object| outbound(&object)).unwrap_or_default();
    party.contact = super::head::contact(&object);
    party.retention = object.reference("retention", Referent::RetentionClass);
    object.finish();
    Some(party)
}

pub(super) fn party_address(object: &Object<'_, '_>) -> Option<PartyAddress> {
    let app = object.require_text("app")?.value;
    let facility = object.text("facility").map(|text| text.value);
    object.finish();
    Some(PartyAddress { app, facility })
}

fn identify(sheet: &Sheet, node: &Node) -> Option<Identify> {
    let object = sheet.object(node, "an entry of `identify`")?;
    object.refuse(&["signed_in"]);
    let entry = Identify {
        sending_app: object.pattern("sending_app"),
        sending_facility: object.pattern("sending_facility"),
        receiving_app: object.pattern("receiving_app"),
        receiving_facility: object.pattern("receiving_facility"),
        certificate_subject: object.pattern("certificate_subject"),
        certificate_sha256: object.text("certificate_sha256").map(|text| text.value.to_lowercase()),
        peer: object.text("peer").and_then(|text| super::sheet::peer(sheet, &text)),
        batch_sending_app: object.pattern("batch_sending_app"),
        batch_sending_facility: object.pattern("batch_sending_facility"),
    };
    object.finish();
    if entry == Identify::default() {
        sheet.error("S004", node.span, "an entry of `identify` needs at least one key");
        return None;
    }
    Some(entry)
}

fn check_identical(entries: &[Entry<'_>], parties: &IndexMap<String, Party>) {
    let mut seen: HashMap<&Identify, &str> = HashMap::new();
    for entry in entries {
        let Some(party) = parties.get(&entry.name.value) else { continue };
        for identify in &party.identify {
            let Some(first) = seen.insert(identify, &party.name) else { continue };
            let message = format!("parties `{first}` and `{}` are identified by the same entry", party.name);
            let place = entry.body.get("identify").map_or(entry.name.span, |node| node.span);
            entry.sheet.error("S206", place, message);
        }
    }
}

/// What a party without `inbound` gets.
pub(super) fn default_inbound(class: SiteClass) -> Inbound {
    let ids: &[&str] = if class == SiteClass::Production { &["P"] } else { &["P", "T", "D"] };
    Inbound { processing_ids: ids.iter().map(|id| (*id).to_owned()).collect(), ..Inbound::default() }
}

/// Reads `inbound`, or the part of it that a location may write.
pub(super) fn inbound(sheet: &Sheet, node: &Node, class: SiteClass) -> Inbound {
    let mut inbound = default_inbound(class);
    let Some(object) = sheet.object(node, "`inbound`") else { return inbound };
    object.set_texts("versions", &mut inbound.versions);
    object.set_texts("processing_ids", &mut inbound.processing_ids);
    if let Some(found) = object.get("charset").and_then(|node| charset(sheet, node)) {
        inbound.charset = found;
    }
    if let Some(found) = object.object("validation") {
        inbound.validation = validation(&found);
    }
    inbound.profile = object.reference("profile", Referent::Profile);
    let level = node.get("validation").and_then(|validation| validation.get("level"));
    if inbound.profile.is_some() && level.is_none() {
        inbound.validation.level = ValidationLevel::Profile;
    }
    if let Some(verdict) = object.choice("trailing_delimiters", VERDICTS) {
        inbound.trailing_delimiters = TrailingDelimiters(verdict);
    }
    if let Some(found) = object.object("acknowledgment") {
        inbound.acknowledgment = acknowledgment::acknowledgment(&found);
    }
    if let Some(found) = object.object("duplicates") {
        inbound.duplicates = duplicates(&found);
    }
    if let Some(found) = object.object("batch") {
        inbound.batch = super::batch::inbound(&found);
    }
    let rules =
        [("ignore", SequenceRule::Ignore), ("echo", SequenceRule::Echo), ("enforce", SequenceRule::Enforce)];
    object.set_choice("sequence", &rules, &mut inbound.sequence);
    object.finish();
    inbound
}

pub(super) const VERDICTS: &[(&str, Verdict)] = &[
    ("accept", Verdict::Accept),
    ("note", Verdict::Note),
    ("warn", Verdict::Warn),
    ("refuse", Verdict::Refuse),
];

fn charset(sheet: &Sheet, node: &Node) -> Option<InboundCharset> {
    if node.as_map().is_some() {
        let object = sheet.object(node, "`charset`")?;
        let name = charset_name(&object, "force")?;
        object.finish();
        return Some(InboundCharset::Force(name));
    }
    let words = [("detect", false), ("declared", true)];
    let declared = choice(sheet, node, &words, &[])?;
    Some(if declared { InboundCharset::Declared } else { InboundCharset::Detect })
}

/// A character set that has a decoder.
fn charset_name(object: &Object<'_, '_>, key: &'static str) -> Option<String> {
    let name = object.require_text(key)?;
    if Charset::from_name(&name.value).is_none() {
        let message =
            format!("`{}` is no character set of table 0211 that can be read and written", name.value);
        let help = "for instance `UNICODE UTF-8`, `8859/1`, `ISO IR87`, `GB 18030-2000`".to_owned();
        object.sheet.error_help("S003", name.span, message, Some(help));
        return None;
    }
    Some(name.value)
}

fn validation(object: &Object<'_, '_>) -> Validation {
    let mut validation = Validation::default();
    use ValidationLevel as Level;
    let levels =
        [Level::None, Level::Header, Level::Structure, Level::Fields, Level::Standard, Level::Profile];
    object.set_choice("level", &levels.map(|level| (level.word(), level)), &mut validation.level);
    let manners = [("lenient", SegmentMatching::Lenient), ("strict", SegmentMatching::Strict)];
    object.set_choice("matching", &manners, &mut validation.matching);
    object.set_number("most", 1, 10_000, &mut validation.most);
    if let Some(node) = object.get("findings") {
        validation.findings = findings(object.sheet, node);
    }
    object.finish();
    validation
}

fn findings(sheet: &Sheet, node: &Node) -> IndexMap<FindingClass, Verdict> {
    let Some(object) = sheet.object(node, "`findings`") else { return IndexMap::new() };
    let found = FindingClass::ALL
        .into_iter()
        .filter_map(|(word, class)| Some((class, object.choice(word, VERDICTS)?)))
        .collect();
    object.finish();
    found
}

pub(super) const WHEN: &[(&str, AckWhen)] =
    &[("AL", AckWhen::Always), ("NE", AckWhen::Never), ("ER", AckWhen::OnError), ("SU", AckWhen::OnSuccess)];

fn duplicates(object: &Object<'_, '_>) -> Duplicates {
    let mut duplicates = Duplicates::default();
    object.refuse(&["by"]);
    object.set_duration("window", &mut duplicates.window);
    if duplicates.window.as_secs() > 90 * 86_400 {
        let place = object.get("window").map_or(object.span(), |node| node.span);
        object.sheet.error("S001", place, "a window has at most 90d");
    }
    let same = [
        ("repeat_answer", SameAgain::RepeatAnswer),
        ("accept_again", SameAgain::AcceptAgain),
        ("suspend", SameAgain::Suspend),
    ];
    object.set_choice("same", &same, &mut duplicates.same);
    let different = [
        ("accept", DifferentAgain::Accept),
        ("refuse", DifferentAgain::Refuse),
        ("suspend", DifferentAgain::Suspend),
    ];
    object.set_choice("different", &different, &mut duplicates.different);
    object.finish();
    duplicates
}

fn outbound(object: &Object<'_, '_>) -> Outbound {
    object.refuse(&["delimiters", "trailing_delimiters"]);
    let profile = object.reference("profile", Referent::Profile);
    let level = object.get("validation").and_then(|node| node.get("level"));
    let mut checked = object.object("validation").map(|node| validation(&node));
    if profile.is_some() && level.is_none() {
        let own = checked.take().unwrap_or_default();
        checked = Some(Validation { level: ValidationLevel::Profile, ..own });
    }
    if checked.as_ref().is_some_and(|own| own.level == ValidationLevel::Profile) && profile.is_none() {
        let message = "level `profile` is asked for, and no profile is named";
        let help = "name one with `profile`".to_owned();
        object.sheet.error_help("S208", level.map_or(object.span(), |node| node.span), message, Some(help));
    }
    let mut numbers = false;
    object.set_choice("sequence", &[("none", false), ("number", true)], &mut numbers);
    let outbound = Outbound {
        validation: checked,
        profile,
        numbers,
        version: object.text("version").map(|text| text.value),
        charset: object.object("charset").and_then(|charset| outbound_charset(&charset)),
        header: object.get("header").map(|node| header(object.sheet, node)).unwrap_or_default(),
        ask: object.object("ask").and_then(|ask| {
            let (accept, application) = (ask.require("accept"), ask.require("application"));
            let asked = Ask {
                accept: choice(ask.sheet, accept?, WHEN, &[])?,
                application: choice(ask.sheet, application?, WHEN, &[])?,
            };
            ask.finish();
            Some(asked)
        }),
    };
    object.finish();
    outbound
}

fn outbound_charset(object: &Object<'_, '_>) -> Option<OutboundCharset> {
    let mut charset = OutboundCharset {
        name: charset_name(object, "name")?,
        unmappable: Unmappable::Suspend,
        substitute: '?',
        declare: true,
    };
    let words = [("suspend", Unmappable::Suspend), ("substitute", Unmappable::Substitute)];
    if let Some(found) = object.choice_but("unmappable", &words, &["escape"]) {
        charset.unmappable = found;
    }
    if let Some(text) = object.text("substitute") {
        let mut letters = text.value.chars();
        match (letters.next(), letters.next()) {
            (Some(letter), None) => charset.substitute = letter,
            _ => object.sheet.error("S001", text.span, "`substitute` is one character"),
        }
    }
    object.set_flag("declare", &mut charset.declare);
    object.finish();
    Some(charset)
}

fn header(sheet: &Sheet, node: &Node) -> IndexMap<String, String> {
    let mut places = IndexMap::new();
    for (place, value) in sheet.with_problems(|problems| node.keyed("`header`", CODES, problems)) {
        let good = place
            .value
            .strip_prefix("MSH-")
            .and_then(|rest| rest.split('.').next())
            .and_then(|field| field.parse::<u32>().ok())
            .is_some_and(|field| (3..=30).contains(&field) && field != 7 && field != 10);
        if !good {
            let message =
                format!("`{}`: only places of MSH from MSH-3 on, without MSH-7 and MSH-10", place.value);
            sheet.error("S001", place.span, message);
        } else if let Some(text) = sheet.with_problems(|problems| value.text(CODES, problems)) {
            places.insert(place.value.clone(), text.value);
        }
    }
    places
}
