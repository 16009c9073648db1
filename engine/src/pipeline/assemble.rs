//! What leaves, as its receiver wants to read it: version, acknowledgments that are asked for, places of MSH, character
//! set. A message that nothing has to be changed in keeps its bytes.

use super::validate::validate_outbound;
use crate::configuration::{Configuration, Outbound, OutboundCharset, Party, RuleBook, SendPort, Unmappable};
use orderly_hl7::{
    Charset, CharsetPolicy, Delimiters, Edit, EditError, Finding, Message, ParseOptions, Path, Severity,
    escape,
};

/// A message as it leaves, with what was changed.
#[derive(Debug, Clone)]
pub struct Assembled {
    /// What is written.
    pub message: Message,
    /// Places and properties that the receiver's settings changed, for tracking; no values.
    pub changed: Vec<String>,
    /// What is odd in it and lets it leave all the same, as the journey tells it.
    pub findings: Vec<String>,
    /// Its number on a link that we number.
    pub numbered: Option<Numbered>,
}

/// A message's number on its link (MSH-13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbered {
    /// The number.
    pub number: i64,
    /// The link has to be started anew first.
    pub frozen: bool,
}

impl Assembled {
    /// A message that leaves as it is, so far.
    pub fn unchanged(message: &Message) -> Self {
        Self { message: message.clone(), changed: Vec::new(), findings: Vec::new(), numbered: None }
    }

    /// What leaves as another form of a message.
    fn of(message: Message, changed: Vec<String>) -> Self {
        Self { message, changed, findings: Vec::new(), numbered: None }
    }
}

/// Why a message cannot be written as the receiver's settings ask. Names places, never values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// The character set of the receiver lacks a character.
    #[error(
        "{place} holds a character (U+{character:04X}) that {charset}, the character set of this receiver, does not have; \
         choose another set, or a substitute, under `outbound.charset` of its party"
    )]
    Character {
        /// Where it stands.
        place: String,
        /// The character's code.
        character: u32,
        /// The set.
        charset: String,
    },
    /// The bytes are no text, so they cannot be written in another set.
    #[error(
        "the bytes of this message do not fit its own character set, so it cannot be written in {charset}; \
         correct `inbound.charset` of its sender"
    )]
    NotText {
        /// The set that is wanted.
        charset: String,
    },
    /// It has findings that its receiver's record refuses.
    #[error("{path}: {text} ({code}); the record of its receiver (`outbound.validation`) lets it not leave")]
    Refused {
        /// Where.
        path: String,
        /// What is wrong.
        text: String,
        /// Code of table 0357.
        code: u16,
    },
    /// Its receiver's link is numbered, and the port does not keep one order.
    #[error(
        "the record of its receiver numbers messages (`outbound.sequence`), which needs a port with `order: strict` and `party`"
    )]
    NotInOrder,
    /// A place of `outbound.header` cannot be written.
    #[error("`outbound.header` of the receiver's party cannot be applied")]
    Place(#[from] EditError),
}

/// The party that a send port writes to: its own, else the one that MSH-5 and MSH-6 name.
pub fn receiver<'c>(
    configuration: &'c Configuration,
    port: &SendPort,
    message: &Message,
) -> Option<&'c Party> {
    if let Some(name) = &port.party {
        return configuration.parties.get(name);
    }
    let header = message.head();
    configuration.parties.values().find(|party| {
        party.address.as_ref().is_some_and(|address| {
            address.app == header.receiving_app
                && address.facility.as_ref().is_none_or(|facility| *facility == header.receiving_facility)
        })
    })
}

/// Checks what leaves; the findings that are no reason to hold it back.
///
/// # Errors
///
/// Refuses what the receiver's record refuses.
pub fn check(message: &Message, outbound: &Outbound, rules: &RuleBook) -> Result<Vec<String>, Unwritable> {
    let findings = validate_outbound(message, outbound, rules);
    if let Some(worst) = findings.iter().find(|finding| finding.severity == Severity::Error) {
        let (path, text, code) = (worst.path.clone(), worst.text.clone(), worst.code);
        return Err(Unwritable::Refused { path, text, code });
    }
    let told = |finding: &Finding| format!("{}: {} ({})", finding.path, finding.text, finding.code);
    Ok(findings.iter().map(told).collect())
}

/// Applies the receiver's settings; nothing when they leave the message as it is.
///
/// # Errors
///
/// Refuses rather than to write something else than the message says.
pub fn assemble(message: &Message, outbound: &Outbound) -> Result<Option<Assembled>, Unwritable> {
    if *outbound == Outbound::default() {
        return Ok(None);
    }
    let mut changed = Vec::new();
    let mut written = header(message, outbound, &mut changed)?;
    if let Some(charset) = &outbound.charset {
        written = transcoded(&written, charset, &mut changed)?;
    }
    Ok((written.bytes() != message.bytes()).then(|| Assembled::of(written, changed)))
}

fn header(message: &Message, outbound: &Outbound, changed: &mut Vec<String>) -> Result<Message, Unwritable> {
    let mut edit = message.edit();
    let asked = outbound.ask.iter().flat_map(|ask| {
        [("MSH-15", ask.accept.code().to_owned()), ("MSH-16", ask.application.code().to_owned())]
    });
    let version = outbound.version.iter().map(|version| ("MSH-12.1", version.clone()));
    let own = outbound.header.iter().map(|(place, text)| (place.as_str(), text.clone()));
    for (place, text) in version.chain(asked).chain(own) {
        let Ok(path) = place.parse::<Path>() else { continue };
        put(&mut edit, &path, &text, message)?;
        if !changed.iter().any(|known| known == place) {
            changed.push(place.to_owned());
        }
    }
    let written = edit.finish();
    changed.retain(|place| place.parse::<Path>().is_ok_and(|path| message.get(&path) != written.get(&path)));
    Ok(written)
}

/// Writes a place: an empty text clears, `""` deletes, and `^` separates the components of a whole field.
fn put(edit: &mut Edit, path: &Path, text: &str, message: &Message) -> Result<(), Unwritable> {
    match text {
        "" => Ok(edit.clear(path)?),
        "\"\"" => Ok(edit.delete(path)?),
        text if path.component.is_none() && text.contains('^') => {
            let delimiters = message.delimiters();
            let raw = components(text, &delimiters, message)
                .map_err(|character| EditError::Unmappable { path: path.to_string(), character })?;
            Ok(edit.set_raw(path, &raw)?)
        }
        text => Ok(edit.set(path, text)?),
    }
}

fn components(text: &str, delimiters: &Delimiters, message: &Message) -> Result<Vec<u8>, u32> {
    let mut raw = Vec::new();
    for (index, part) in text.split('^').enumerate() {
        if index > 0 {
            raw.push(delimiters.component);
        }
        let escaped = escape::encode(part, delimiters).map_err(u32::from)?;
        raw.extend_from_slice(&message.charset().encode(&escaped).map_err(u32::from)?);
    }
    Ok(raw)
}

/// The same text in the receiver's character set.
fn transcoded(
    message: &Message,
    wanted: &OutboundCharset,
    changed: &mut Vec<String>,
) -> Result<Message, Unwritable> {
    let Some(charset) = Charset::from_name(&wanted.name) else {
        return Ok(message.clone());
    };
    let named = || wanted.name.clone();
    let text = message.whole_text().ok_or_else(|| Unwritable::NotText { charset: named() })?;
    let mut text = text.into_owned();
    if wanted.unmappable == Unmappable::Substitute {
        let fits = |c: char| charset.encode(c.encode_utf8(&mut [0; 4])).is_ok();
        text = text.chars().map(|c| if fits(c) { c } else { wanted.substitute }).collect();
    }
    let bytes = charset.encode(&text).map_err(|stranger| Unwritable::Character {
        place: place_of(message, stranger),
        character: stranger.into(),
        charset: named(),
    })?;
    let options = ParseOptions { charset: CharsetPolicy::Force(charset), ..*message.options() };
    let same_bytes = *bytes == *message.bytes();
    let mut written = Message::parse_with(bytes.into_owned(), &options)
        .map_err(|_| Unwritable::NotText { charset: named() })?;
    if wanted.declare && written.text("MSH-18") != wanted.name {
        let mut edit = written.edit();
        edit.set(&"MSH-18".parse().expect("MSH-18 is a path"), &wanted.name)?;
        written = edit.finish();
        changed.push("MSH-18".to_owned());
    }
    if !same_bytes {
        changed.push(format!("written in {}", wanted.name));
    }
    Ok(written)
}

/// The first field that holds a character.
fn place_of(message: &Message, character: char) -> String {
    let mut counts: Vec<(&str, u32)> = Vec::new();
    for segment in message.segments() {
        let id = segment.id();
        let number = match counts.iter_mut().find(|(known, _)| *known == id) {
            Some((_, count)) => {
                *count += 1;
                *count
            }
            None => {
                counts.push((id, 1));
                1
            }
        };
        let holds = |raw: &[u8]| message.charset().decode(raw).is_some_and(|text| text.contains(character));
        let field = (1..=segment.field_count()).find(|field| segment.field(*field).raw().is_some_and(holds));
        if let Some(field) = field {
            return if number > 1 { format!("{id}[{number}]-{field}") } else { format!("{id}-{field}") };
        }
    }
    "the message".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::{AckWhen, Ask};
    use indexmap::IndexMap;

    fn message(text: &str) -> Message {
        Message::parse(text.as_bytes()).unwrap()
    }

    const ADT: &str = "MSH|^~\\&|REG|MCM|HUB^X|N|20260301||ADT^A03|000001|P|2.3.1\rPID|1||7||Müller^Zoë\r";

    fn charset(name: &str, unmappable: Unmappable) -> Outbound {
        let charset = OutboundCharset { name: name.into(), unmappable, substitute: '?', declare: true };
        Outbound { charset: Some(charset), ..Outbound::default() }
    }

    #[test]
    fn a_party_without_settings_gets_the_bytes_as_they_came() {
        assert!(assemble(&message(ADT), &Outbound::default()).unwrap().is_none());
    }

    #[test]
    fn header_version_and_asked_acknowledgments_are_written_and_the_body_stays() {
        let header: IndexMap<String, String> = [
            ("MSH-3", "BTAHL7^IE^UUID"),
            ("MSH-5", "HI^System^GUID"),
            ("MSH-9", "ADT^A04"),
            ("MSH-6", ""),
            ("MSH-8", "\"\""),
        ]
        .into_iter()
        .map(|(place, text)| (place.to_owned(), text.to_owned()))
        .collect();
        let ask = Some(Ask { accept: AckWhen::OnSuccess, application: AckWhen::Never });
        let outbound = Outbound { version: Some("2.4".into()), header, ask, ..Outbound::default() };
        let written = assemble(&message(ADT), &outbound).unwrap().unwrap();
        assert_eq!(
            String::from_utf8(written.message.bytes().to_vec()).unwrap(),
            "MSH|^~\\&|BTAHL7^IE^UUID|MCM|HI^System^GUID||20260301|\"\"|ADT^A04|000001|P|2.4|||SU|NE\r\
             PID|1||7||Müller^Zoë\r"
        );
        assert_eq!(
            written.changed,
            ["MSH-12.1", "MSH-15", "MSH-16", "MSH-3", "MSH-5", "MSH-9", "MSH-6", "MSH-8"]
        );
    }

    #[test]
    fn settings_that_say_what_the_message_says_change_nothing() {
        let outbound = Outbound { version: Some("2.3.1".into()), ..Outbound::default() };
        assert!(assemble(&message(ADT), &outbound).unwrap().is_none());
    }

    #[test]
    fn the_text_is_written_in_the_receivers_character_set_and_declared() {
        let written = assemble(&message(ADT), &charset("8859/1", Unmappable::Suspend)).unwrap().unwrap();
        assert!(written.message.bytes().windows(6).any(|six| six == b"M\xFCller"));
        assert_eq!(written.message.text("MSH-18"), "8859/1");
        assert_eq!(Message::parse(written.message.bytes()).unwrap().text("PID-5"), "Müller^Zoë");
        assert_eq!(written.changed, ["MSH-18", "written in 8859/1"]);
    }

    #[test]
    fn a_character_that_the_receiver_cannot_read_is_refused_with_its_place_and_never_a_question_mark() {
        let japanese = message(&ADT.replace("Zoë", "\u{5C71}"));
        let refused = assemble(&japanese, &charset("8859/1", Unmappable::Suspend)).unwrap_err();
        let text = refused.to_string();
        assert!(text.starts_with("PID-5 holds a character (U+5C71) that 8859/1"), "{text}");
        let written = assemble(&japanese, &charset("8859/1", Unmappable::Substitute)).unwrap().unwrap();
        assert_eq!(written.message.text("PID-5"), "Müller^?");
    }
}
