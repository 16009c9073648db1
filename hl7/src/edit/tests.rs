use super::*;

const ADT: &str = "MSH|^~\\&|REG||||||ADT^A01|1|P|2.5\rPID|1||7^^^N~8||Sam\rZX1|x\r";

#[track_caller]
fn check<T>(change: impl FnOnce(&mut Edit) -> T, expected: &str) {
    let mut edit = Message::parse(ADT).unwrap().edit();
    change(&mut edit);
    let changed = edit.finish();
    assert_eq!(String::from_utf8_lossy(changed.bytes()), expected);
}

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

#[test]
fn a_place_is_set_and_every_other_byte_stays() {
    check(|edit| edit.set(&path("PID-5"), "Bo"), &ADT.replace("Sam", "Bo"));
    check(|edit| edit.set(&path("PID-3.1"), "9"), &ADT.replace("7^", "9^"));
    check(|edit| edit.set(&path("PID-3[2].4.2"), "x"), &ADT.replace("~8", "~8^^^&x"));
    check(|edit| edit.set(&path("PID-3[4].1"), "x"), &ADT.replace("~8", "~8~~x"));
    check(|edit| edit.set(&path("PID-3"), "x"), &ADT.replace("7^^^N~8", "x"));
    check(|edit| edit.set(&path("PID-8"), "F"), &ADT.replace("Sam", "Sam|||F"));
    check(|edit| edit.set(&path("MSH-4"), "N"), &ADT.replace("REG||", "REG|N|"));
    check(|edit| edit.set(&path("PID-5"), "a|b^c"), &ADT.replace("Sam", "a\\F\\b\\S\\c"));
}

#[test]
fn delete_and_empty_are_written_apart() {
    check(|edit| edit.delete(&path("PID-5")), &ADT.replace("Sam", "\"\""));
    check(|edit| edit.clear(&path("PID-5")), &ADT.replace("Sam", ""));
    check(|edit| edit.clear(&path("PID-30")), ADT);
    check(|edit| edit.clear(&path("PV1-3")), ADT);
}

#[test]
fn segments_come_and_go() {
    let id = |text| SegmentId::new(text).unwrap();
    check(|edit| edit.set(&path("PV1-2"), "I"), &format!("{ADT}PV1||I\r"));
    check(|edit| edit.set(&path("ZX1[2]-1"), "y"), &format!("{ADT}ZX1|y\r"));
    check(|edit| edit.insert_segment_after(0, id("EVN")), &ADT.replace("PID", "EVN\rPID"));
    check(|edit| edit.remove_segment(2), &ADT.replace("ZX1|x\r", ""));
    check(|edit| edit.remove_segment(0), ADT);
}

#[test]
fn a_message_without_final_line_end_gets_one_only_when_it_grows() {
    let short = Message::parse(ADT.trim_end()).unwrap();
    let mut edit = short.edit();
    edit.set(&path("PV1-2"), "I").unwrap();
    assert_eq!(edit.finish().bytes(), format!("{ADT}PV1||I\r").as_bytes());
    assert_eq!(short.edit().finish().bytes(), ADT.trim_end().as_bytes());
}

#[test]
fn a_segment_of_another_message_is_written_in_our_delimiters_and_charset() {
    let other = b"MSH#:*!@#X########2.5######8859/1\rPID#1##7:::N@1*8##M\xFCller|Co:\"\"!S!\r";
    let other = Message::parse(other.as_slice()).unwrap();
    check(
        |edit| edit.copy_segment(&other.segment(1).unwrap()),
        &format!("{ADT}PID|1||7^^^N&1~8||Müller\\F\\Co^\"\":\r"),
    );
    check(
        |edit| edit.replace_segment(0, &other.segment(0).unwrap()),
        &ADT.replace("MSH|^~\\&|REG||||||ADT^A01|1|P|2.5\r", "MSH|^~\\&|X||||||||2.5||||||8859/1\r"),
    );
}

#[test]
fn what_would_change_how_the_message_is_read_is_refused() {
    let mut edit = Message::parse(ADT).unwrap().edit();
    assert_eq!(edit.set(&path("MSH-2"), "x"), Err(EditError::Delimiters(path("MSH-2"))));
    assert_eq!(edit.set_raw(&path("PID-5"), b"a\rPV1|"), Err(EditError::Raw(path("PID-5"))));
    assert_eq!(edit.set_raw(&path("PID-5.1"), b"a^b"), Err(EditError::Raw(path("PID-5.1"))));
    assert_eq!(edit.set(&path("ZX1[3]-1"), "x"), Err(EditError::NoSegment("ZX1[3]".to_owned())));
    let message = Message::parse(ADT).unwrap();
    assert!(edit.replace_segment(0, &message.segment(1).unwrap()).is_err());
    assert_eq!(edit.set_raw(&path("PID-5"), b"a^b&c~d"), Ok(()));
    let latin = Message::parse(ADT.replace("|2.5\r", "|2.5||||||8859/1\r")).unwrap();
    let euro = latin.edit().set(&path("PID-5"), "5 €").unwrap_err();
    assert_eq!(euro, EditError::Unmappable { path: "PID-5".to_owned(), character: 0x20AC });
}
