//! The promises, one function each.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::DateTime;
use orderly_engine::configuration::Files;
use orderly_engine::site::{Environment, LIBRARY, compile};
use orderly_hl7::acknowledge::{AckCode, AckMode, AckRequest, acknowledge, read_answer, reject_unreadable};
use orderly_hl7::batch::{self, Part, Splitter};
use orderly_hl7::deid::{Deidentifier, Key, Rules};
use orderly_hl7::diff::diff;
use orderly_hl7::mllp::{Deframer, FrameError, FrameLimits};
use orderly_hl7::validate::{self, Validation, validate};
use orderly_hl7::xml::{XmlError, from_xml, to_xml};
use orderly_hl7::{Charset, Class, Finding, Level, Message, Path, Value, json};
use orderly_rules::profile::read_all;

use crate::mutate::Numbers;

/// Reading changes nothing, and everything that is made of a readable message is made without panic.
pub fn message(data: &[u8]) {
    let Ok(message) = Message::parse(data) else { return };
    assert_eq!(message.bytes(), data);
    for segment in message.segments() {
        for field in segment.fields() {
            for repetition in field.repetitions() {
                for component in repetition.components() {
                    component.subcomponents().for_each(drop);
                }
            }
        }
    }
    json::message_line(&message);
    validate(&message, &Validation::default());
    validate::groups(&message);
    assert_eq!(message.edit().finish().bytes(), data);
    assert!(diff(&message, &message, &[]).is_empty());
    let key = Key::new(b"a key of enough bytes").expect("it is long enough");
    let hidden = Deidentifier::new(key, Rules::default()).message(&message).expect("a message stays one");
    assert!(hidden.segment_count() <= message.segment_count());
    if let Ok(xml) = to_xml(&message) {
        same_from_xml(&message, &xml);
    }
}

/// Our own XML becomes a message that gives the same XML.
fn same_from_xml(message: &Message, xml: &str) {
    // Where the character set was a guess, another one may be guessed for the text of the document.
    let is_clear = message.findings().iter().all(|finding| finding.class != Class::Charset);
    let is_ascii = message.bytes().is_ascii() && !message.bytes().contains(&0x1b);
    match from_xml(xml.as_bytes()) {
        Ok(back) => {
            let again = to_xml(&back).expect("and written again");
            assert!(!is_clear || again == xml, "{again}\n{xml}");
        }
        // Some bytes of ISO 2022 are read, and no encoder writes them: refused by name, never changed.
        Err(XmlError::Unmappable { .. }) if !is_ascii => {}
        Err(XmlError::Shape { place, .. }) if !is_ascii && place == "MSH-18" => {}
        Err(error) => panic!("our own XML is not read: {error}"),
    }
}

/// Any text is a path or an error; what is set at a path is read back.
pub fn path(data: &[u8]) {
    let (head, rest) = data.split_at(data.len().min(24));
    let head = String::from_utf8_lossy(head);
    let text = head.split(['\r', '\n']).next().unwrap_or_default();
    let usual = ["PID-3[2].4.2", "OBX[2]-5", "ZZZ-7.2", "MSH-3", "PV1-44"];
    let own: Result<Path, _> = text.parse();
    if let Ok(path) = &own {
        assert_eq!(path.to_string().parse::<Path>().as_ref(), Ok(path), "{text}");
    }
    let Ok(message) = Message::parse(if own.is_ok() { rest } else { data }) else { return };
    // A batch held as one message is passed through, not edited.
    if message.segment(0).is_none_or(|first| first.id() != "MSH") {
        return;
    }
    for path in own.into_iter().chain(usual.iter().filter_map(|text| text.parse().ok())) {
        message.get(&path);
        // Beyond this an edit writes as many separators, as asked.
        if path.field > 200 || path.repetition > Some(200) || path.component > Some(200) {
            continue;
        }
        let mut edit = message.edit();
        if edit.set(&path, "a|b^c").is_ok() {
            let changed = edit.finish();
            // An unclosed ISO 2022 run swallows what follows it.
            if changed.charset() == message.charset()
                && !data.contains(&0x1B)
                && message.findings().is_empty()
            {
                assert_eq!(changed.get(&path), Value::Text("a|b^c".into()), "{path}");
            }
        }
    }
}

/// However the bytes of a connection arrive, the same messages come out, and memory stays below the limit.
pub fn frames(data: &[u8]) {
    let limits = FrameLimits { frame_bytes_max: 3_000, ..FrameLimits::default() };
    let take = |chunks: &[&[u8]]| {
        let mut deframer = Deframer::new(limits);
        let mut found = Vec::new();
        for chunk in chunks {
            deframer.push(chunk);
            while let Some(frame) = deframer.next() {
                match frame {
                    Ok(frame) => {
                        assert!(frame.bytes.len() <= limits.frame_bytes_max);
                        found.push(frame.bytes);
                    }
                    Err(FrameError::TooLong { .. }) => found.push(b"too long".to_vec()),
                }
            }
            assert!(deframer.pending() <= limits.frame_bytes_max + chunk.len());
            assert!(deframer.partial().len() <= deframer.pending());
        }
        found
    };
    assert!(take(&[data]) == take(&chunks(data)), "other frames in other chunks");
}

/// However the bytes of a file arrive, the same parts come out; no message is lost.
pub fn batch(data: &[u8]) {
    let take = |chunks: &[&[u8]]| {
        let mut splitter = Splitter::new(3_000);
        let mut parts = Vec::new();
        for chunk in chunks {
            splitter.push(chunk);
            parts.extend(std::iter::from_fn(|| splitter.next()));
        }
        splitter.end();
        parts.extend(std::iter::from_fn(|| splitter.next()));
        parts
    };
    let whole = take(&[data]);
    let told = |parts: &[Part]| -> Vec<Part> {
        // How much of a long message is kept depends on how much of it had come.
        let cut = |part: &Part| match part {
            Part::TooLong { head, length, batch } => {
                Part::TooLong { head: head[..head.len().min(4)].to_vec(), length: *length, batch: *batch }
            }
            other => other.clone(),
        };
        parts.iter().map(cut).collect()
    };
    assert!(told(&whole) == told(&take(&chunks(data))), "other parts in other chunks");
    let length: usize = whole
        .iter()
        .map(|part| match part {
            Part::Envelope { bytes, .. } | Part::Message { bytes, .. } | Part::Stray { bytes, .. } => {
                bytes.len()
            }
            Part::TooLong { length, .. } => *length as usize,
        })
        .sum();
    assert!(length <= data.len());
    batch::split(data);
}

/// Pieces of one byte up to many, from a seed that the bytes themselves are.
fn chunks(data: &[u8]) -> Vec<&[u8]> {
    let seed = data.iter().fold(7_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    let mut numbers = Numbers::new(seed);
    let mut rest = data;
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        let most = if numbers.below(3) == 0 { 300 } else { 5 };
        let (chunk, after) = rest.split_at((1 + numbers.below(most)).min(rest.len()));
        chunks.push(chunk);
        rest = after;
    }
    chunks
}

/// Text that a set has is written and read back the same.
pub fn charset(data: &[u8]) {
    const NAMES: [&str; 16] = [
        "ASCII",
        "UNICODE UTF-8",
        "8859/1",
        "8859/2",
        "8859/5",
        "8859/7",
        "8859/9",
        "8859/15",
        "BIG-5",
        "GB 18030-2000",
        "KS X 1001",
        "ISO IR87",
        "ISO IR159",
        "Shift_JIS",
        "windows-1252",
        "8859/8",
    ];
    let Some((choice, rest)) = data.split_first() else { return };
    let Some(charset) = Charset::from_name(NAMES[usize::from(*choice) % NAMES.len()]) else { return };
    if let Some(text) = charset.decode(rest)
        && let Ok(bytes) = charset.encode(&text)
    {
        assert_eq!(charset.decode(&bytes).as_deref(), Some(text.as_ref()), "{charset:?}");
    }
    let lossy = String::from_utf8_lossy(rest);
    if let Ok(bytes) = charset.encode(&lossy) {
        assert_eq!(charset.decode(&bytes).as_deref(), Some(lossy.as_ref()), "{charset:?}");
    }
}

/// A document is a message or an error; a message comes back the same.
pub fn xml(data: &[u8]) {
    let Ok(message) = from_xml(data) else { return };
    let xml = to_xml(&message).expect("what came from XML goes back");
    let again = from_xml(xml.as_bytes()).expect("our own XML is read");
    assert!(diff(&message, &again, &[]).is_empty());
}

/// Whatever arrives, the answer is readable and names the message.
pub fn ack(data: &[u8]) {
    let now = DateTime::from_timestamp(1_772_323_200, 0).unwrap_or_default().fixed_offset();
    let codes = [AckCode::AA, AckCode::AE, AckCode::AR, AckCode::CA, AckCode::CE, AckCode::CR];
    let code = codes[data.len() % codes.len()];
    let mut request = AckRequest::new(code, "42", now);
    let answer = match Message::parse(data) {
        Ok(message) => {
            request.mode = AckMode::asked_by(message.head());
            request = request.with_findings(validate(&message, &Validation::default()));
            let answer = acknowledge(&message, &request);
            let control_id = |message: &Message, segment: usize, field| {
                message
                    .segment(segment)
                    .and_then(|line| line.field(field).raw().map(<[u8]>::to_vec))
                    .unwrap_or_default()
            };
            assert_eq!(control_id(&answer, 1, 2), control_id(&message, 0, 10));
            answer
        }
        Err(_) => Message::parse(reject_unreadable(data, &request)).expect("a refusal is a message"),
    };
    let told = read_answer(&answer).expect("an answer has MSA");
    assert_eq!(told.kind(), Some(code));
}

/// Any text is a message profile or a list of mistakes, each with its place; and a profile checks any message.
pub fn profile(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let files = BTreeMap::from([("care".to_owned(), text.into_owned())]);
    let (profiles, diagnostics) = read_all(&files);
    assert!(!profiles.is_empty() || diagnostics.iter().any(|one| one.is_error()));
    let Some(profile) = profiles.get("care") else { return };
    let validation = Validation { profile: Some(Arc::clone(profile)), ..Validation::at(Level::Profile) };
    for message in [ADMIT, RESULT] {
        let message = Message::parse(message).expect("a readable message");
        let findings = validate(&message, &validation);
        let named =
            |finding: &Finding| finding.profile.as_ref().is_some_and(|profile| profile.name == "care");
        assert!(findings.iter().all(|finding| finding.class != Class::Profile || named(finding)));
    }
}

const ADMIT: &str = "MSH|^~\\&|REG|N|E|H|20250314093000||ADT^A01^ADT_A01|E1|P|2.5\rEVN|A01|2025\r\
    PID|1||7^^^NORTH^MR~8||Sample^Alex||19800229|F\rPV1|1|I|W^1\rZBD|7|W^3|R\r";
const RESULT: &str = "MSH|^~\\&|LAB|N|E|H|20250314093000||ORU^R01^ORU_R01|E1|P|2.5\rPID|1||7~8^^^^MR||S^A\r\
    OBR|1|||1^P\rOBX|1|NM|1^K||4||||||F\rNTE|1||A remark\rOBX|2|NM|1^K||||||||X\rOBR|2|||2^S\r";

/// Any text is a site description or a list of mistakes.
pub fn site(data: &[u8]) {
    let mut files = Files::new();
    files.insert("site.yaml".to_owned(), Arc::from(data));
    // Stands for the shipped library, which need not be compiled each time.
    files.insert(format!("{LIBRARY}README"), Arc::from(&b""[..]));
    let compiled = compile(&files, &Environment::local(), 1);
    assert!(compiled.configuration.is_some() || !compiled.diagnostics.is_empty());
    let mut rules = Files::new();
    rules.insert("site.yaml".to_owned(), Arc::from(&b"site: { name: x }\n"[..]));
    rules.insert("rules/profiles/p.yaml".to_owned(), Arc::from(data));
    rules.insert("rules/vocabularies/v.yaml".to_owned(), Arc::from(data));
    rules.insert("orchestrations/o.yaml".to_owned(), Arc::from(data));
    rules.insert(format!("{LIBRARY}README"), Arc::from(&b""[..]));
    compile(&rules, &Environment::local(), 1);
}
