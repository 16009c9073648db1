use super::*;

const HEAD: &str = "MSH|^~\\&|LAB||||20260301||ORU^R01|42|P|2.5\r";

#[track_caller]
fn check(left: &str, right: &str, ignored: &[&str], expected: &[&str]) {
    let message = |text: &str| Message::parse(format!("{HEAD}{text}")).unwrap();
    let ignored: Vec<Ignored> = ignored.iter().map(|text| text.parse().unwrap()).collect();
    let told: Vec<String> = diff(&message(left), &message(right), &ignored)
        .iter()
        .map(|found| {
            let state = |state: &State| match state {
                State::Value(text) => format!("`{text}`"),
                State::Segment(_) => "segment".to_owned(),
                State::Empty => "empty".to_owned(),
                State::Delete => "delete".to_owned(),
            };
            let other = found.other_path.as_ref().map(|path| format!(" ({path})")).unwrap_or_default();
            format!("{}{other}: {} {}", found.path, state(&found.left), state(&found.right))
        })
        .collect();
    assert_eq!(told, expected);
}

#[test]
fn value_empty_and_delete_are_three_answers_and_absent_is_empty() {
    check("PID|1||7|\r", "PID|1||7\r", &[], &[]);
    check("PID|1||7\r", "PID|1||8\r", &[], &["PID-3: `7` `8`"]);
    check("PID|1||7\r", "PID|1||\"\"\r", &[], &["PID-3: `7` delete"]);
    check("PID|1||\"\"\r", "PID|1\r", &[], &["PID-3: delete empty"]);
}

#[test]
fn the_place_is_as_deep_as_the_values_are() {
    check("PID|1||7^^^N&1~8\r", "PID|1||7^^^N&2~8\r", &[], &["PID-3[1].4.2: `1` `2`"]);
    check("PID|1||7\r", "PID|1||7^^^N\r", &[], &["PID-3.4: empty `N`"]);
    check("PID|1||7~8\r", "PID|1||7\r", &[], &["PID-3[2]: `8` empty"]);
}

#[test]
fn the_same_text_written_otherwise_is_the_same() {
    check("PID|1||a\\F\\b\r", "PID|1||a\\X7C\\b\r", &[], &[]);
    let left = Message::parse("MSH|^~\\&|A^B||||||ADT^A01|1|P|2.5\r").unwrap();
    let right = Message::parse("MSH$%~\\&$A%B$$$$$$ADT%A01$1$P$2.5\r").unwrap();
    let places: Vec<String> = diff(&left, &right, &[]).into_iter().map(|found| found.path).collect();
    assert_eq!(places, ["MSH-1", "MSH-2"]);
}

#[test]
fn a_segment_that_came_or_went_does_not_shift_the_others() {
    let three = "OBX|1|NM|K^K||4.1\rOBX|2|NM|NA^Na||140\rOBX|3|NM|CL^Cl||100\r";
    let two = "OBX|1|NM|NA^Na||140\rOBX|2|NM|CL^Cl||101\r";
    let expected = [
        "OBX: segment empty",
        "OBX[2]-1 (OBX-1): `2` `1`",
        "OBX[3]-1 (OBX[2]-1): `3` `2`",
        "OBX[3]-5 (OBX[2]-5): `100` `101`",
    ];
    check(three, two, &[], &expected);
    check(three, two, &["OBX-1"], &["OBX: segment empty", "OBX[3]-5 (OBX[2]-5): `100` `101`"]);
    check("PID|1\r", "PID|1\rZPI|x\r", &[], &["ZPI: empty segment"]);
    check("PID|1\r", "PID|1\rZPI|x\r", &["ZPI"], &[]);
}

#[test]
fn ignored_places_cover_what_is_below_them() {
    check("PID|1||7^^^N\r", "PID|1||8^^^M\r", &["PID-3"], &[]);
    check("PID|1||7^^^N\r", "PID|1||8^^^M\r", &["PID-3.1"], &["PID-3.4: `N` `M`"]);
    check("OBX|1\rOBX|2\r", "OBX|5\rOBX|6\r", &["OBX[2]-1"], &["OBX-1: `1` `5`"]);
    assert!("PID-".parse::<Ignored>().is_err());
}

#[test]
fn two_large_messages_without_anything_in_common_take_no_minutes() {
    let lines = |letter: char| {
        (0..4_000).fold(String::new(), |text, number| text + &format!("OBX|{number}|ST|{letter}{number}\r"))
    };
    let message = |letter| Message::parse(format!("{HEAD}{}", lines(letter))).unwrap();
    assert_eq!(diff(&message('a'), &message('b'), &[]).len(), 4_000);
}
