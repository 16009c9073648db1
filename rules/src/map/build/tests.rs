use std::sync::Arc;

use crate::book::{Files, RuleBook};
use crate::decision::{Run, TraceLevel};
use crate::value::{MessageValue, Value};
use orderly_hl7::Message;

const RESULT: &str = "MSH|^~\\&|LAB|N|E|H|20250314093000||ORU^R01^ORU_R01|E1|P|2.5.1\r\
    PID|1||7^^^N^MR||Sample^Alex\rOBR|1|P1|F1|A^a^L\rOBX|1|NM|K^k^L||4.5\rNTE|1||one\rOBX|2|NM|N^n^L||140\r\
    OBR|2|P1|F2|B^b^L\rOBX|1|NM|G^g^L||90\r";

/// What a map with this body makes of a result: its segments, or what went wrong.
fn made(body: &str) -> Result<Vec<String>, String> {
    let text = format!(
        "//@ map: again\n//@ title: Again\n//@ owner: tests\n//@ in: {{ oru: message ORU_R01 }}\n\
         //@ out: {{ structure: ORU_R01, version: \"2.5.1\" }}\n//@ start: empty\n{body}\n"
    );
    let files = Files::from([("maps/again.rhai".to_owned(), Arc::from(text.as_bytes()))]);
    let book = RuleBook::load(&Files::new(), &files).map_err(|found| format!("{found:?}"))?;
    let message = Message::parse(RESULT).expect("a message");
    let inputs = [("oru".to_owned(), Value::Message(MessageValue { id: None, message: Some(message) }))];
    let now = chrono::DateTime::parse_from_rfc3339("2026-03-01T10:00:00Z").expect("a time");
    let run = Run { now, trace: TraceLevel::Fired };
    let (made, _) = book.transform("again", &inputs, &run).map_err(|error| error.to_string())?;
    Ok(made.segments().skip(1).map(|segment| String::from_utf8_lossy(segment.raw()).into_owned()).collect())
}

#[test]
fn groups_of_a_message_are_copied_into_groups_that_are_built() {
    let body = "for order in oru.groups(\"ORDER_OBSERVATION\") {\n\
        let group = out.add_group(\"ORDER_OBSERVATION\");\n\
        for result in order.groups(\"OBSERVATION\") { group.add_group(\"OBSERVATION\").copy(result); }\n\
        group.copy(order, \"OBR\");\n}\nout.copy(oru, \"PID\");";
    let made = made(body).unwrap();
    let original: Vec<&str> = RESULT.trim_end().split('\r').skip(1).collect();
    assert_eq!(made, original);
}

#[test]
fn segments_find_their_place_and_repetitions_follow_each_other() {
    let body = "let result = out.add(\"OBX\");\nresult[\"OBX-1\"] = 1;\n\
        let note = out.add(\"NTE\"); note[\"NTE-3\"] = \"x\";\n\
        let order = out.add(\"OBR\"); order[\"OBR-1\"] = 1;\n\
        out[\"PID-1\"] = 1;\n\
        for number in [\"7\", \"8\"] { let next = out.repeat(\"PID-3\"); next[\"PID-3.1\"] = number; next[\"PID-3.5\"] = \"MR\"; }\n\
        let local = out.extra(\"ZAL\"); local[\"ZAL-1\"] = \"z\";";
    assert_eq!(made(body).unwrap(), ["PID|1||7^^^^MR~8^^^^MR", "ZAL|z", "OBR|1", "OBX|1", "NTE|||x"]);
}

#[test]
fn what_the_structure_does_not_have_is_refused_by_name() {
    for (body, expected) in [
        ("out.add(\"EVN\");", "structure ORU_R01 has no segment EVN"),
        ("out.add_group(\"BED\");", "structure ORU_R01 has no group BED"),
        ("let g = out.add_group(\"OBSERVATION\"); g.add(\"PID\");", "group OBSERVATION has no segment PID"),
        ("out.repeat(\"PID-3.1\");", "only fields repeat"),
        ("let x = oru.groups(\"BED\");", "structure ORU_R01 has no group `BED`"),
    ] {
        let error = made(body).unwrap_err();
        assert!(error.contains(expected), "{body}: {error}");
    }
}
