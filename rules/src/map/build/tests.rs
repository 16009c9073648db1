use std::sync::Arc;

use crate::book::{Files, RuleBook};
use crate::decision::{Run, TraceLevel};
use crate::value::{MessageValue, Value};
use orderly_hl7::Message;

const RESULT: &str = "MSH|^~\\&|LAB|N|E|H|20250314093000||ORU^R01^ORU_R01|E1|P|2.5.1\r\
    PID|1||7^^^N^MR||Sample^Alex\rOBR|1|P1|F1|A^a^L\rOBX|1|NM|K^k^L||4.5\rNTE|1||one\rOBX|2|NM|N^n^L||140\r\
    OBR|2|P1|F2|B^b^L\rOBX|1|NM|G^g^L||90\r";

/// Wards as the laboratory calls them, by what is done with a code that it does not know.
fn wards(unmapped: &str) -> String {
    format!(
        "#@ codeset: wards\n#@ title: Wards\n#@ owner: tests\n#@ kind: crosswalk\n#@ unmapped: {unmapped}\n\
         source,target,context,from,until\nW1,L01,,,\nW2,L02,,,2026-01-31\nW2,L22,,2026-02-01,\n\
         W3,A03,adult,,\nW3,C03,child,,\n"
    )
}

/// What a map with this body makes of a result: its segments, or what went wrong.
fn made(body: &str) -> Result<Vec<String>, String> {
    made_with(body, &wards("error"), RESULT)
}

fn made_with(body: &str, wards: &str, message: &str) -> Result<Vec<String>, String> {
    let text = format!(
        "//@ map: again\n//@ title: Again\n//@ owner: tests\n//@ in: {{ oru: message ORU_R01 }}\n\
         //@ out: {{ structure: ORU_R01, version: \"2.5.1\" }}\n//@ start: empty\n{body}\n"
    );
    let files = Files::from([
        ("maps/again.rhai".to_owned(), Arc::from(text.as_bytes())),
        ("codesets/wards.csv".to_owned(), Arc::from(wards.as_bytes())),
    ]);
    let book = RuleBook::load(&Files::new(), &files).map_err(|found| format!("{found:?}"))?;
    let message = Message::parse(message).expect("a message");
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

#[test]
fn codes_of_a_site_become_those_of_another_and_states_stay_what_they_are() {
    let visit = |ward: &str| RESULT.replace("\rOBR|1", &format!("\rPV1|1|I|{ward}\rOBR|1"));
    let body = "out[\"PID-1\"] = 1; out[\"PV1-3.1\"] = code(\"wards\", oru[\"PV1-3.1\"]);";
    for (unmapped, ward, expected) in [
        ("error", "W1^2", Ok("PV1|||L01")),
        ("error", "W2", Ok("PV1|||L22")),
        ("error", "\"\"", Ok("PV1|||\"\"")),
        ("error", "", Ok("")),
        ("error", "W9", Err("`W9` of PV1-3.1 is not in `wards`")),
        ("error", "w1", Err("`w1` of PV1-3.1")),
        ("error", "W3", Err("`W3` of PV1-3.1")),
        ("keep", "W9", Ok("PV1|||W9")),
        ("empty", "W9", Ok("")),
        ("default\n#@ default: L00", "W9", Ok("PV1|||L00")),
    ] {
        let found = made_with(body, &wards(unmapped), &visit(ward));
        match (found, expected) {
            (Ok(segments), Ok(line)) => {
                assert_eq!(segments.get(1).map_or("", |it| it), line, "{unmapped} {ward}")
            }
            (Err(error), Err(told)) => assert!(error.contains(told), "{unmapped} {ward}: {error}"),
            (found, _) => panic!("{unmapped} {ward}: {found:?}"),
        }
    }
    let asked = body.replace("oru[\"PV1-3.1\"])", "oru[\"PV1-3.1\"], \"child\")");
    assert_eq!(made_with(&asked, &wards("error"), &visit("W3")).unwrap()[1], "PV1|||C03");
}
