//! Every message of `edge-cases` meets the outcome that its `cases.json` gives.

use std::path::PathBuf;

use orderly_hl7::acknowledge::{AckCode, AckMode, AckRequest, acknowledge, is_wanted, read_answer};
use orderly_hl7::continuation::{fragment, join};
use orderly_hl7::mllp::{Deframer, FrameLimits};
use orderly_hl7::validate::{self, Level, Validation, validate};
use orderly_hl7::{Class, Message, ParseOptions, Path, Severity, Value, batch};
use serde_json::Value as Json;

fn read(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/edge-cases").join(name);
    std::fs::read(path).expect("the case lies beside this test")
}

fn parse(name: &str) -> Message {
    Message::parse(read(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn cases() -> Vec<(String, Json)> {
    let cases: Json = serde_json::from_slice(&read("cases.json")).expect("cases.json is JSON");
    let pair = |case: &Json| (case["file"].as_str().unwrap_or_default().to_owned(), case["expect"].clone());
    cases["cases"].as_array().expect("cases.json lists cases").iter().map(pair).collect()
}

#[test]
fn every_case_is_parsed_repaired_or_refused_as_it_says() {
    let mut checked = 0;
    for (file, expect) in cases() {
        let Some(outcome) = expect["parse"].as_str() else { continue };
        let parsed = Message::parse(read(&file));
        match (outcome, &parsed) {
            ("error", Err(_)) | ("ok", Ok(_)) => {}
            ("lenient", Ok(message)) => assert!(!message.findings().is_empty(), "{file}: the repair is told"),
            _ => panic!("{file} should be {outcome}, is {parsed:?}"),
        }
        checked += 1;
        let Ok(message) = parsed else { continue };
        assert_eq!(message.bytes(), read(&file), "{file}");
        if let Some(segments) = expect["segments"].as_u64() {
            assert_eq!(message.segment_count() as u64, segments, "{file}");
        }
    }
    assert!(checked > 20);
}

#[test]
fn every_named_value_is_read() {
    for (file, expect) in cases() {
        let places = [
            ("control_id", "MSH-10"),
            ("msh2", "MSH-2"),
            ("pid5_1", "PID-5.1"),
            ("pid5_2", "PID-5.2"),
            ("pid3_1_4_2", "PID-3.4.2"),
            ("pid7", "PID-7"),
            ("pid8", "PID-8"),
        ];
        for (key, path) in places {
            let Some(expected) = expect[key].as_str() else { continue };
            let message = parse(&file);
            let path: Path = path.parse().unwrap();
            match (expected, message.get(&path)) {
                ("delete", Value::Delete) | ("empty", Value::Empty) => {}
                (expected, found) => assert_eq!(found, Value::Text(expected.into()), "{file} {path}"),
            }
        }
        for (key, id, field) in [("pid3_count", "PID", 3), ("pid5_count", "PID", 5)] {
            let Some(expected) = expect[key].as_u64() else { continue };
            let message = parse(&file);
            let count = message.find(id, 1).unwrap().field(field).repetitions().count();
            assert_eq!(count as u64, expected, "{file} {key}");
        }
        if let Some(expected) = expect["obx5"].as_array() {
            let message = parse(&file);
            for (index, expected) in expected.iter().enumerate() {
                assert_eq!(
                    message.text(&format!("OBX[{}]-5", index + 1)),
                    expected.as_str().unwrap(),
                    "{file}"
                );
            }
        }
    }
}

#[test]
fn a_lone_escape_character_and_two_byte_characters_survive() {
    assert_eq!(parse("escapes.hl7").text("OBX[9]-5"), r"C:\temp and a lone \ here");
    assert_eq!(parse("iso2022jp.hl7").text("PID-5[2].1"), "山田");
    assert_eq!(parse("gb18030.hl7").text("PID-5.1"), "王");
    assert_eq!(parse("cp1252-undeclared.hl7").charset().name(), "windows-1252");
}

#[test]
fn interchanges_hold_the_messages_and_batches_they_should() {
    for (file, expect) in cases() {
        let Some(messages) = expect["messages"].as_u64() else { continue };
        let bytes = read(&file);
        let found = batch::split(&bytes);
        assert_eq!(found.messages.len() as u64, messages, "{file}");
        if let Some(batches) = expect["batches"].as_u64() {
            assert_eq!(found.batches as u64, batches, "{file}");
        }
        if expect["validation"].is_string() {
            assert!(!found.findings.is_empty(), "{file}");
        }
        if file.starts_with("mllp") {
            let mut deframer = Deframer::new(FrameLimits::default());
            deframer.push(&bytes);
            let frames: Vec<_> = std::iter::from_fn(|| deframer.next()).map(Result::unwrap).collect();
            assert_eq!(frames.len() as u64, messages, "{file}");
            assert!(frames.iter().all(|frame| Message::parse(frame.bytes.as_slice()).is_ok()), "{file}");
        }
    }
}

#[test]
fn every_invalid_case_has_its_finding() {
    let expected = [
        ("missing-required-segment.hl7", "PV1", 100, Class::Structure),
        ("missing-required-field.hl7", "PID-3", 101, Class::Required),
        ("wrong-order.hl7", "PID", 100, Class::Structure),
        ("bad-datatype.hl7", "PID-1", 102, Class::Datatype),
        ("bad-datatype.hl7", "PID-7.1", 102, Class::Datatype),
        ("bad-table-value.hl7", "PID-8", 103, Class::Table),
        ("no-control-id.hl7", "MSH-10", 101, Class::Header),
        ("unsupported-version.hl7", "MSH-12.1", 203, Class::Header),
        ("unsupported-event.hl7", "MSH-9.2", 201, Class::Header),
        ("unsupported-type.hl7", "MSH-9.1", 200, Class::Header),
        ("unknown-segment.hl7", "QQQ", 100, Class::Undeclared),
        ("short-segment-id.hl7", "", 100, Class::Structure),
        ("utf8-undeclared.hl7", "MSH-18", 102, Class::Charset),
    ];
    for (file, path, code, class) in expected {
        let findings = validate(&parse(file), &Validation::default());
        let met = findings
            .iter()
            .any(|finding| (finding.path.as_str(), finding.code, finding.class) == (path, code, class));
        assert!(met, "{file}: {findings:#?}");
    }
}

#[test]
fn a_header_that_is_not_acceptable_is_rejected_with_its_code() {
    let now = chrono::DateTime::parse_from_rfc3339("2026-03-01T10:20:30Z").unwrap();
    for (file, expect) in cases() {
        let Some(reject) = expect["reject"].as_str() else { continue };
        let production = Validation { processing_ids: Some(vec!["P".into()]), ..Validation::default() };
        let message = parse(&file);
        let findings = validate(&message, &production);
        let code = AckCode::for_findings(&findings);
        assert_eq!(code, AckCode::AR, "{file}");
        let answer = acknowledge(&message, &AckRequest::new(code, "1", now).with_findings(findings));
        let answer = read_answer(&answer).unwrap();
        assert_eq!(answer.control_id, message.header().control_id);
        assert!(reject.contains(&answer.errors[0].code), "{file}: {:?}", answer.errors);
    }
}

#[test]
fn good_cases_are_accepted() {
    for file in [
        "plain-cr.hl7",
        "lf.hl7",
        "crlf.hl7",
        "bom-utf8.hl7",
        "delims-custom.hl7",
        "trailing-delims.hl7",
        "z-segment.hl7",
        "null-vs-empty.hl7",
        "latin1-8859-1.hl7",
        "utf8-declared.hl7",
        "large-obx.hl7",
        "enhanced-al-al.hl7",
        "escapes.hl7",
        "unknown-segment.hl7",
    ] {
        let findings = validate(&parse(file), &Validation::default());
        let errors: Vec<_> = findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
        assert!(errors.is_empty(), "{file}: {errors:#?}");
    }
}

#[test]
fn acknowledgments_of_both_forms_are_read() {
    let answer = |file| read_answer(&parse(file)).unwrap();
    assert_eq!(answer("ack-aa.hl7").kind(), Some(AckCode::AA));
    assert_eq!(answer("ack-ca.hl7").kind(), Some(AckCode::CA));
    let new = answer("ack-ae-err25.hl7");
    assert_eq!(
        (new.code.as_str(), new.control_id.as_str(), new.errors[0].path.as_str()),
        ("AE", "E024", "PID-3")
    );
    let old = answer("ack-ar-err231.hl7");
    assert_eq!(
        (old.code.as_str(), old.errors[0].code.as_str(), old.errors[0].path.as_str()),
        ("AR", "203", "MSH-12")
    );
}

#[test]
fn segments_find_their_groups() {
    let mut checked = 0;
    for (file, expect) in cases() {
        let named =
            [("patient_results", "PATIENT_RESULT"), ("orders", "ORDER_OBSERVATION"), ("obx", "OBSERVATION")];
        for (key, name) in named {
            let Some(expected) = expect[key].as_u64() else { continue };
            let message = parse(&file);
            let groups = validate::groups(&message);
            let count = groups.iter().filter(|group| group.name == name).count();
            assert_eq!(count as u64, expected, "{file} {key}");
            assert!(validate::validate(&message, &Validation::at(Level::Structure)).is_empty(), "{file}");
            checked += 1;
        }
    }
    assert_eq!(checked, 3);
}

#[test]
fn fragments_are_joined_to_the_message_that_was_cut() {
    let all = cases();
    let count = all.iter().find_map(|(_, expect)| expect["fragments"].as_u64()).expect("a case of fragments");
    let whole =
        all.iter().find_map(|(_, expect)| expect["joined_obx5"].as_str()).expect("what they say joined");
    let parts: Vec<Message> =
        (1..=count).map(|number| parse(&format!("continuation-{number}.hl7"))).collect();
    let told: Vec<_> = parts.iter().map(|part| fragment(part).expect("a fragment")).collect();
    assert!(told[0].continues.is_empty() && told[1].continued_by.is_empty(), "{told:?}");
    assert_eq!(told[0].continued_by, told[1].continues);
    let joined = join(&parts, &ParseOptions::default()).unwrap();
    assert_eq!(joined.text("OBX-5"), whole);
    assert_eq!((joined.find("ADD", 1).is_none(), joined.find("DSC", 1).is_none()), (true, true));
    assert_eq!(joined.text("MSH-10"), parts[0].text("MSH-10"));
}

#[test]
fn no_expectation_is_left_out() {
    const LOOKED_AT: [&str; 23] = [
        "parse",
        "segments",
        "control_id",
        "msh2",
        "pid5_1",
        "pid5_2",
        "pid3_1_4_2",
        "pid7",
        "pid8",
        "pid3_count",
        "pid5_count",
        "obx5",
        "messages",
        "batches",
        "validation",
        "reject",
        "invalid",
        "bytes_preserved",
        "patient_results",
        "orders",
        "obx",
        "fragments",
        "joined_obx5",
    ];
    for (file, expect) in cases() {
        for key in expect.as_object().unwrap().keys() {
            assert!(LOOKED_AT.contains(&key.as_str()), "{file}: nobody looks at `{key}`");
        }
    }
}

#[test]
fn bad_messages_of_a_batch_are_told_apart_and_bytes_are_kept() {
    for (file, expect) in cases() {
        let bytes = read(&file);
        if let Some(invalid) = expect["invalid"].as_array() {
            let found = batch::split(&bytes);
            let is_bad = |bytes: &[u8]| match Message::parse(bytes) {
                Ok(message) => validate(&message, &Validation::default())
                    .iter()
                    .any(|finding| finding.severity == Severity::Error),
                Err(_) => true,
            };
            let bad: Vec<u64> = (1..)
                .zip(&found.messages)
                .filter(|(_, item)| is_bad(&bytes[item.range.clone()]))
                .map(|(number, _)| number)
                .collect();
            assert_eq!(bad, invalid.iter().filter_map(Json::as_u64).collect::<Vec<_>>(), "{file}");
        }
        if expect["bytes_preserved"].as_bool() == Some(true) {
            let message = parse(&file);
            assert_eq!(message.bytes(), bytes, "{file}");
            let kept = message.edit().finish();
            assert_eq!(kept.bytes(), bytes, "{file}");
        }
    }
}

#[test]
fn cases_that_only_describe_something_behave_as_described() {
    let wishes = |file| {
        let header = parse(file).header();
        let wanted = |condition: &str| (is_wanted(condition, true), is_wanted(condition, false));
        (AckMode::asked_by(&header), wanted(&header.accept_ack), wanted(&header.application_ack))
    };
    assert_eq!(wishes("enhanced-al-al.hl7"), (AckMode::Enhanced, (true, true), (true, true)));
    assert_eq!(wishes("enhanced-er-ne.hl7"), (AckMode::Enhanced, (false, true), (false, false)));
    assert_eq!(wishes("enhanced-ne-ne.hl7"), (AckMode::Enhanced, (false, false), (false, false)));
    assert_eq!(
        (parse("sequence-start.hl7").text("MSH-13"), parse("sequence-resync.hl7").text("MSH-13")),
        ("0".into(), "-1".into())
    );
    let told = |file| -> Vec<String> {
        let findings = validate(&parse(file), &Validation::default());
        findings.iter().map(|finding| format!("{} {}", finding.path, finding.code)).collect()
    };
    assert_eq!(told("times.hl7"), ["OBX[4]-5 102"]);
    let of_values =
        told("obx-types.hl7").into_iter().filter(|one| one.ends_with("102") || one.contains("-2 103"));
    assert_eq!(of_values.collect::<Vec<_>>(), ["OBX[9]-2 103", "OBX[10]-5 102"]);
    assert_eq!(parse("obx-types.hl7").text("OBX[7]-5.1"), r"\\\srv\share\x.pdf");
    assert!(parse("large-obx.hl7").text("OBX-5").len() > 48_000);
}
