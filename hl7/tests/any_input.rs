//! Whatever comes in: no panic, the same bytes out, and edits that touch nothing else.

use std::path::{Path as FilePath, PathBuf};

use orderly_hl7::validate::{Validation, validate};
use orderly_hl7::{Edit, Limits, Message, ParseOptions, Path, Severity, Value, batch, json};
use proptest::prelude::*;

/// Reads everything there is to read of a message.
fn read_all(message: &Message) {
    for segment in message.segments() {
        for field in segment.fields() {
            for repetition in field.repetitions() {
                for component in repetition.components() {
                    component.subcomponents().for_each(drop);
                }
            }
        }
    }
    json::message_line(message);
    validate(message, &Validation::default());
    message.header();
}

/// Bytes that look enough like HL7 to get far.
fn messages() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "MSH|^~\\&|",
        "\rPID|",
        "\rOBX|",
        "\rMSH|",
        "\rZZZ|",
        "|",
        "^",
        "~",
        "\\",
        "&",
        "\"\"",
        "\r",
        "\n",
        "\r\n",
        "\x0B",
        "\x1C",
        "\\F\\",
        "\\X0D\\",
        "ADT^A01",
        "ORU^R01",
        "2.5",
        "2.3",
        "P",
        "é",
        "\u{1b}$B;3\u{1b}(B",
        "UNICODE UTF-8",
        "8859/1",
        "BIG-5",
        "ISO IR87",
        "20240229",
        "a",
        "1",
        "|||||||||",
    ]);
    let noise = prop::collection::vec(any::<u8>(), 0..4);
    prop::collection::vec(
        prop_oneof![8 => piece.prop_map(|text| text.as_bytes().to_vec()), 1 => noise],
        0..60,
    )
    .prop_map(|pieces| [&b"MSH|^~\\&"[..], &pieces.concat()].concat())
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic_and_come_out_unchanged(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(message) = Message::parse(bytes.as_slice()) {
            read_all(&message);
            prop_assert_eq!(message.bytes(), bytes.as_slice());
        }
        batch::split(&bytes);
    }

    #[test]
    fn bytes_like_a_message_come_out_unchanged(bytes in messages()) {
        if let Ok(message) = Message::parse(bytes.as_slice()) {
            read_all(&message);
            prop_assert_eq!(message.bytes(), &bytes);
            let unchanged = message.edit().finish();
            prop_assert_eq!(unchanged.bytes(), bytes);
        }
    }

    #[test]
    fn what_is_set_is_read_back_and_nothing_else_changes(
        bytes in messages(),
        segment in prop::sample::select(vec!["PID", "OBX", "ZZZ", "MSH"]),
        (field, repetition, component, subcomponent) in (1_u32..8, 1_u32..4, 1_u32..5, 1_u32..4),
        text in "[a-zA-Z0-9|^~&\\\\\r\n\" ]{1,12}",
    ) {
        let Ok(message) = Message::parse(bytes.as_slice()) else { return Ok(()) };
        // An unclosed ISO 2022 run swallows what follows it, delimiters included.
        if bytes.contains(&0x1B) {
            return Ok(());
        }
        let path: Path = format!("{segment}-{field}[{repetition}].{component}.{subcomponent}").parse().unwrap();
        let mut edit = message.edit();
        if edit.set(&path, &text).is_err() {
            return Ok(());
        }
        let changed = edit.finish();
        // A change of MSH-18 may turn everything into other characters.
        if changed.charset() != message.charset() {
            return Ok(());
        }
        prop_assert_eq!(changed.get(&path), Value::Text(text.into()));
        for (before, after) in message.segments().zip(changed.segments()) {
            if message.find(segment, 1).is_none_or(|first| first.index() != before.index()) {
                prop_assert_eq!(before.raw(), after.raw());
                continue;
            }
            for number in 1..=before.field_count().max(after.field_count()) {
                if number != field as usize {
                    let raw = |field: Option<&[u8]>| field.unwrap_or_default().to_vec();
                    prop_assert_eq!(raw(before.field(number).raw()), raw(after.field(number).raw()));
                }
            }
        }
    }
}

proptest! {
    /// A message put together segment by segment says what the spliced one says.
    #[test]
    fn a_splice_equals_a_rebuild(
        bytes in messages(),
        (field, component) in (3_u32..8, 1_u32..5),
        text in "[a-zA-Z0-9|^~&\\\\]{1,12}",
    ) {
        let Ok(message) = Message::parse(bytes.as_slice()) else { return Ok(()) };
        let path: Path = format!("PID-{field}.{component}").parse().unwrap();
        let mut splice = message.edit();
        // Lines that are no segments, and a second header, have no place in a message that is built.
        let odd = message.segments().skip(1).any(|segment| matches!(segment.id(), "" | "MSH" | "FHS" | "BHS"));
        if odd || bytes.contains(&0x1B) || splice.set(&path, &text).is_err() {
            return Ok(());
        }
        let spliced = splice.finish();
        let Ok(mut rebuild) = Edit::blank(message.delimiters(), message.options()) else { return Ok(()) };
        for segment in message.segments() {
            let copied = match segment.index() {
                0 => rebuild.replace_segment(0, &segment),
                _ => rebuild.copy_segment(&segment).map(drop),
            };
            if copied.is_err() {
                return Ok(());
            }
        }
        if rebuild.set(&path, &text).is_err() {
            return Ok(());
        }
        let rebuilt = rebuild.finish();
        if rebuilt.charset() != spliced.charset() {
            return Ok(());
        }
        prop_assert_eq!(rebuilt.segment_count(), spliced.segment_count());
        prop_assert_eq!(rebuilt.get(&path), spliced.get(&path));
        for (left, right) in rebuilt.segments().zip(spliced.segments()).skip(1) {
            prop_assert_eq!(left.id(), right.id());
            // In another character set a lone escape character is written as an escape; it reads the same.
            let texts = |segment: orderly_hl7::Segment<'_>| -> Vec<String> {
                segment.fields().map(|field| field.value().into_text().into_owned()).collect()
            };
            prop_assert_eq!(texts(left), texts(right));
        }
    }
}

#[test]
fn limits_are_findings_and_the_rest_is_still_there() {
    let limits = Limits { segments_max: 10, fields_max: 20, repetitions_max: 5, ..Limits::default() };
    let options = ParseOptions { limits, ..ParseOptions::default() };
    let build = |segments: usize, fields: usize, repetitions: usize| {
        let mut text = "MSH|^~\\&|A||||||ADT^A01|1|P|2.5\r".to_owned();
        text.push_str(&"ZZZ|1\r".repeat(segments.saturating_sub(2)));
        text.push_str(&format!("ZZ2{}{}\r", "|x".repeat(fields), "~x".repeat(repetitions.saturating_sub(1))));
        text
    };
    for (segments, fields, repetitions, place) in [
        (10, 20, 5, None),
        (11, 20, 5, Some("ZZ2")),
        (12, 20, 5, Some("ZZZ[10]")),
        (1_000, 1, 1, Some("ZZZ[10]")),
        (10, 21, 1, Some("ZZ2")),
        (10, 2_000, 1, Some("ZZ2")),
        (10, 1, 6, Some("ZZ2-1")),
        (10, 1, 500, Some("ZZ2-1")),
    ] {
        let text = build(segments, fields, repetitions);
        let message = Message::parse_with(text.as_str(), &options).unwrap();
        let found: Vec<_> = message.findings().iter().map(|it| (it.path.as_str(), it.severity)).collect();
        let wanted: Vec<_> = place.map(|place| (place, Severity::Error)).into_iter().collect();
        assert_eq!(found, wanted, "{segments} {fields} {repetitions}");
        assert_eq!(message.bytes(), text.as_bytes());
        assert_eq!(message.header().control_id, "1");
        read_all(&message);
    }
}

fn files(folder: &FilePath, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            files(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

/// Runs over `ORDERLY_HL7_CORPUS`, or over the corpus beside the project; says so when there is none.
#[test]
fn every_file_of_a_corpus_is_read_and_comes_out_unchanged() {
    let beside = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/hl7/corpus");
    let folder = std::env::var_os("ORDERLY_HL7_CORPUS").map_or(beside, PathBuf::from);
    let mut found = Vec::new();
    files(&folder, &mut found);
    if found.is_empty() {
        eprintln!("no corpus at {}; the copied edge cases are read by their own test", folder.display());
        return;
    }
    let (mut messages, mut unreadable) = (0, 0);
    for file in &found {
        let bytes = std::fs::read(file).unwrap();
        for item in batch::split(&bytes).messages {
            match Message::parse(&bytes[item.range.clone()]) {
                Ok(message) => {
                    read_all(&message);
                    assert_eq!(message.bytes(), &bytes[item.range], "{}", file.display());
                    assert_eq!(message.edit().finish(), message, "{}", file.display());
                    messages += 1;
                }
                Err(_) => unreadable += 1,
            }
        }
    }
    eprintln!("{} files: {messages} messages, {unreadable} unreadable", found.len());
    assert!(messages > unreadable);
}
