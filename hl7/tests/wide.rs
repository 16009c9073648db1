//! Messages in UTF-16 and UTF-32: kept as they came, read as text, answered and changed in their own form.

use orderly_hl7::acknowledge::{AckCode, AckRequest, acknowledge};
use orderly_hl7::batch::{Part, Splitter, Survey};
use orderly_hl7::mllp::{Deframer, FrameLimits, frame};
use orderly_hl7::xml::{from_xml, to_xml};
use orderly_hl7::{Charset, CharsetPolicy, Class, EditError, Message, ParseOptions, Unreadable, WideForm};
use proptest::prelude::*;

const FORMS: [&str; 6] = ["UNICODE UTF-16", "UTF-16LE", "UTF-16BE", "UNICODE UTF-32", "UTF-32LE", "UTF-32BE"];

fn text(declared: &str) -> String {
    format!(
        "MSH|^~\\&|REG|N|E|H|20250314093000||ADT^A01^ADT_A01|E1|P|2.5||||||{declared}\rEVN|A01|2025\r\
         PID|1||7^^^NORTH^MR||山田^太郎😀||19800229|F\rPV1|1|I\r"
    )
}

fn charset(name: &str) -> Charset {
    Charset::from_name(name).expect("a set of table 0211")
}

fn bytes(form: &str, text: &str) -> Vec<u8> {
    charset(form).encode(text).expect("every character is in it").into_owned()
}

#[test]
fn a_message_is_kept_as_it_came_and_read_as_text() {
    for form in FORMS {
        let bytes = bytes(form, &text(&form[..form.len().min(14)].replace("LE", "").replace("BE", "")));
        let message = Message::parse(bytes.as_slice()).unwrap_or_else(|error| panic!("{form}: {error}"));
        assert_eq!(message.bytes(), bytes, "{form}");
        assert_eq!(message.text("PID-5.1"), "山田", "{form}");
        assert_eq!(message.text("PID-5.2"), "太郎😀", "{form}");
        assert_eq!(message.edit().finish().bytes(), bytes, "{form}");
        assert!(message.findings().iter().all(|finding| finding.class == Class::Repair), "{form}");
        assert!(matches!(message.written_in(), Charset::Wide(_)), "{form}");
    }
}

#[test]
fn what_is_changed_and_answered_stays_in_its_form() {
    for form in FORMS {
        let message = Message::parse(bytes(form, &text("UNICODE UTF-16"))).unwrap();
        let mut edit = message.edit();
        edit.set(&"PID-5.1".parse().unwrap(), "Ωmega|").unwrap();
        let changed = edit.finish();
        assert_eq!(
            changed.bytes(),
            bytes(form, &text("UNICODE UTF-16").replace("山田", "Ωmega\\F\\")),
            "{form}"
        );
        let mut edit = message.edit();
        let refused = edit.set_raw(&"PID-5.1".parse().unwrap(), b"\xE9");
        assert!(matches!(refused, Err(EditError::Raw(_))), "{form}");
        let now = chrono::DateTime::parse_from_rfc3339("2026-03-01T10:20:30Z").unwrap();
        let answer = acknowledge(&message, &AckRequest::new(AckCode::AA, "1", now));
        let read = Message::parse(answer.bytes()).unwrap();
        assert_eq!(
            (read.text("MSA-2"), read.text("MSH-18")),
            ("E1".into(), "UNICODE UTF-16".into()),
            "{form}"
        );
        assert!(matches!(read.written_in(), Charset::Wide(_)), "{form}");
        let again = from_xml(to_xml(&message).unwrap().as_bytes()).unwrap();
        assert_eq!(again.text("PID-5.2"), "太郎😀", "{form}");
        assert_eq!(again.written_in(), Charset::Wide(WideForm::UTF_16BE), "as MSH-18 says");
    }
}

#[test]
fn a_wrong_declaration_is_told_either_way() {
    let told = |bytes: Vec<u8>, policy| {
        let options = ParseOptions { charset: policy, ..ParseOptions::default() };
        let message = Message::parse_with(bytes, &options).unwrap();
        assert_eq!(message.text("PID-5.1"), "山田");
        message.findings().iter().filter(|finding| finding.class == Class::Charset).count()
    };
    assert_eq!(told(bytes("UTF-16LE", &text("8859/1")), CharsetPolicy::Detect), 1);
    assert_eq!(told(bytes("UTF-16LE", &text("UNICODE UTF-32")), CharsetPolicy::Detect), 1);
    assert_eq!(told(text("UNICODE UTF-16").into_bytes(), CharsetPolicy::Detect), 1);
    let forced = CharsetPolicy::Force(charset("UNICODE UTF-16"));
    assert_eq!(told(bytes("UTF-16LE", &text("8859/1")), forced), 0);
    // Blanks before the header hide the form; who is told it finds it.
    assert_eq!(told(bytes("UTF-16LE", &format!("\r\n{}", text(""))), forced), 0);
}

#[test]
fn half_a_character_makes_a_message_unreadable_not_different() {
    let mut cut = bytes("UTF-16LE", &text("UNICODE UTF-16"));
    cut.pop();
    assert!(matches!(Message::parse(cut), Err(Unreadable::WideText)));
    let mut lone = bytes("UTF-16LE", &text("UNICODE UTF-16"));
    let end = lone.len();
    lone[end - 2..].copy_from_slice(&[0x00, 0xD8]);
    assert!(matches!(Message::parse(lone), Err(Unreadable::WideText)));
}

#[test]
fn a_frame_holds_it_between_its_single_bytes() {
    let message = bytes("UTF-16BE", &text("UNICODE UTF-16"));
    let mut deframer = Deframer::new(FrameLimits::default());
    deframer.push(&frame(&message));
    assert_eq!(deframer.next().unwrap().unwrap().bytes, message);
}

/// Parts of a stream that comes in pieces of `size` bytes.
fn parts(bytes: &[u8], size: usize, bytes_max: usize) -> Vec<Part> {
    let mut splitter = Splitter::new(bytes_max);
    let mut found = Vec::new();
    for chunk in bytes.chunks(size) {
        splitter.push(chunk);
        found.extend(std::iter::from_fn(|| splitter.next()));
    }
    splitter.end();
    found.extend(std::iter::from_fn(|| splitter.next()));
    found
}

#[test]
fn a_batch_is_taken_apart_however_its_bytes_come() {
    let message = text("UNICODE UTF-16");
    let whole = format!("FHS|^~\\&\rBHS|^~\\&\r{message}{message}BTS|2\rFTS|1\r");
    for form in FORMS {
        let bytes = bytes(form, &whole);
        for size in [1, 3, 7, 64, 10_000] {
            let found = parts(&bytes, size, 1 << 20);
            let joined: Vec<u8> = found
                .iter()
                .flat_map(|part| match part {
                    Part::Envelope { bytes, .. }
                    | Part::Message { bytes, .. }
                    | Part::Stray { bytes, .. } => bytes.clone(),
                    Part::TooLong { head, .. } => head.clone(),
                })
                .collect();
            assert_eq!(joined, bytes, "{form} in pieces of {size}");
            let mut survey = Survey::default();
            for part in &found {
                survey.note(part);
                if let Part::Message { bytes, .. } = part {
                    assert_eq!(Message::parse(bytes.as_slice()).unwrap().text("PID-5.1"), "山田", "{form}");
                }
            }
            let survey = survey.finish();
            assert_eq!((survey.messages, survey.findings.len()), (2, 0), "{form}: {:?}", survey.findings);
        }
    }
}

#[test]
fn bytes_of_a_file_that_are_no_text_are_kept_as_a_stray_part() {
    let mut bytes = bytes("UTF-16LE", &text("UNICODE UTF-16"));
    let whole = bytes.len();
    bytes.extend_from_slice(&[0x00, 0xDC, b'x', 0]);
    for size in [1, 5, 10_000] {
        let found = parts(&bytes, size, 1 << 20);
        let [Part::Message { bytes: message, .. }, Part::Stray { bytes: rest, .. }] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!((message.len(), rest.as_slice()), (whole, &bytes[whole..]));
        let bounded = parts(&bytes, size, 3);
        assert!(matches!(bounded.last(), Some(Part::TooLong { length: 4, .. })), "{bounded:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_that_look_wide_come_back_the_same(
        form in 0..FORMS.len(),
        noise in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = bytes(FORMS[form], "MSH|^~\\&|");
        bytes.extend(noise);
        if let Ok(message) = Message::parse(bytes.as_slice()) {
            prop_assert_eq!(message.bytes(), bytes.as_slice());
            let finished = message.edit().finish();
            prop_assert_eq!(finished.bytes(), bytes.as_slice());
        }
        let joined: Vec<u8> = parts(&bytes, 3, 1 << 20).iter().flat_map(|part| match part {
            Part::Envelope { bytes, .. } | Part::Message { bytes, .. } | Part::Stray { bytes, .. } => bytes.clone(),
            Part::TooLong { head, .. } => head.clone(),
        }).collect();
        prop_assert_eq!(joined, bytes);
    }
}
