use super::*;
use crate::validate::{Validation, validate};

fn deidentifier(rules: Rules) -> Deidentifier {
    Deidentifier::new(Key::new(b"a key of enough bytes").unwrap(), rules)
}

const MESSAGE: &str = "MSH|^~\\&|LAB|NORTH|HUB||20260301101500||ORU^R01^ORU_R01|A0042|P|2.5\r\
    PID|1||70001^^^NORTH&1.2&ISO^MR~123-45-6789^^^SSA^SS||Sample^Alex^Q^JR||19800229|F|||12 Elm Street^^Springfield^CA^94107^USA||555-0100\r\
    OBR|1|P1|F77|2823-3^Potassium^LN|||20260301080000|||||||||1234^Osei^Ama\r\
    OBX|1|NM|2823-3^Potassium^LN||4.1|mmol/L|3.5-5.1|N|||F\r\
    OBX|2|FT|X^x||Call Alex Sample\\.br\\at 555-0100||||||F\r\
    NTE|1||Patient Sample is \"well\"\r\
    ZPI|Sample\r";

fn made(text: &str) -> (Message, Deidentifier) {
    let mut deidentifier = deidentifier(Rules::default());
    let message = deidentifier.message(&Message::parse(text).unwrap()).unwrap();
    (message, deidentifier)
}

#[test]
fn nothing_about_the_person_is_left_and_what_is_medical_stays() {
    let (message, _) = made(MESSAGE);
    let text = String::from_utf8(message.bytes().to_vec()).unwrap();
    for gone in [
        "70001",
        "123-45",
        "Sample",
        "Alex",
        "19800229",
        "Elm",
        "Springfield",
        "94107",
        "555-0100",
        "Osei",
        "1234^",
        "A0042",
        "F77",
        "20260301",
        "ZPI",
    ] {
        assert!(!text.contains(gone), "{gone} is still there");
    }
    for (path, kept) in [
        ("MSH-9.1", "ORU"),
        ("MSH-3", "LAB"),
        ("PID-3.4.2", "1.2"),
        ("PID-3.5", "MR"),
        ("PID-3[2].5", "SS"),
        ("PID-5.4", "JR"),
        ("PID-8", "F"),
        ("PID-11.4", "CA"),
        ("PID-11.6", "USA"),
        ("OBR-4.1", "2823-3"),
        ("OBX-5", "4.1"),
        ("OBX-7", "3.5-5.1"),
        ("NTE-3", "Xxxxxxx Xxxxxx xx \"xxxx\""),
        ("OBX[2]-5", "Xxxx Xxxx Xxxxxx\nxx 000-0000"),
    ] {
        assert_eq!(message.text(path), kept, "{path}");
    }
    assert_eq!(message.segment_count(), 6);
}

#[test]
fn structure_and_lengths_stay_so_that_it_validates_as_before() {
    let before = Message::parse(MESSAGE.replace("ZPI|Sample\r", "")).unwrap();
    let (after, _) = made(MESSAGE);
    let findings = |message: &Message| -> Vec<(String, u16)> {
        validate(message, &Validation::default()).into_iter().map(|f| (f.path, f.code)).collect()
    };
    assert_eq!(findings(&before), findings(&after));
    assert_eq!(before.bytes().len(), after.bytes().len());
}

#[test]
fn the_same_patient_becomes_the_same_in_every_message_and_dates_keep_their_distance() {
    let (first, _) = made(MESSAGE);
    let (second, _) =
        made("MSH|^~\\&|REG||||20260302||ADT^A08|77|P|2.3\rPID|||70001||SAMPLE^ALEX||19800301\r");
    assert_eq!(first.text("PID-3.1"), second.text("PID-3.1"));
    assert_eq!(first.text("PID-5.1").to_uppercase(), second.text("PID-5.1"));
    let day = |message: &Message, path: &str| {
        chrono::NaiveDate::parse_from_str(&message.text(path)[..8], "%Y%m%d").unwrap()
    };
    assert_eq!((day(&second, "PID-7") - day(&first, "PID-7")).num_days(), 1);
    assert_eq!((day(&second, "MSH-7") - day(&first, "MSH-7")).num_days(), 1);
    let (other, _) =
        made("MSH|^~\\&|REG||||20260302||ADT^A08|77|P|2.3\rPID|||70002||SAMPLE^ALEX||19800301\r");
    assert_ne!(other.text("PID-3.1"), second.text("PID-3.1"));
    assert_ne!(other.text("PID-7"), second.text("PID-7"));
}

#[test]
fn delete_and_empty_stay_what_they_are() {
    let (message, _) = made("MSH|^~\\&|A||||||ADT^A08|1|P|2.5\rPID|||\"\"||\"\"^Alex~|\r");
    let raw = message.find("PID", 1).unwrap().raw().to_vec();
    let name = message.text("PID-5.2");
    assert_eq!(raw, format!("PID|||\"\"||\"\"^{name}~|").into_bytes());
}

#[test]
fn the_report_tells_places_and_counts_and_no_values() {
    let (_, deidentifier) = made(MESSAGE);
    let report = deidentifier.report();
    let find =
        |path: &str, action| report.iter().find(|line| (line.path.as_str(), line.action) == (path, action));
    assert_eq!(find("PID-3.1", Action::Id).unwrap().count, 2);
    assert_eq!(find("ZPI", Action::Drop).unwrap().count, 1);
    assert!(find("OBX-5.1", Action::Text).is_some() && find("PID-7.1", Action::Date).is_some());
    assert!(find("OBX-7.1", Action::Keep).is_some(), "plain text that stays is listed");
    let printed = format!("{report:?}");
    assert!(!printed.contains("Sample") && !printed.contains("70001"));
}

#[test]
fn a_site_decides_otherwise_where_it_wants() {
    let rules = Rules {
        text: Action::Keep,
        local: LocalRule::Mask,
        overrides: vec!["PID-5=keep".parse().unwrap(), "PID-5.2=drop".parse().unwrap()],
    };
    let message = deidentifier(rules).message(&Message::parse(MESSAGE).unwrap()).unwrap();
    assert_eq!((message.text("PID-5.1"), message.text("PID-5.2")), ("Sample".into(), String::new()));
    assert_eq!(message.text("ZPI-1"), "Xxxxxx");
    assert!(message.text("NTE-3").contains("Sample"));
    for refused in ["PID-5", "PID=keep", "PID-5=hide", "PID[2]-5=keep"] {
        assert!(refused.parse::<Override>().is_err(), "{refused}");
    }
}

#[test]
fn what_cannot_be_read_does_not_stay() {
    let latin =
        [&b"MSH|^~\\&|A||||||ADT^A08|1|P|2.5||||||UNICODE UTF-8\rPID|||7||M"[..], b"\xFCller\r"].concat();
    let message = deidentifier(Rules::default()).message(&Message::parse(latin).unwrap()).unwrap();
    assert!(!message.bytes().contains(&0xFC));
    let hex = made("MSH|^~\\&|A||||||ADT^A08|1|P|2.5\rNTE|1||\\X53616D706C65\\ \\Zsecret\\\r").0;
    assert!(!String::from_utf8_lossy(hex.bytes()).contains("53616D"));
    assert!(!String::from_utf8_lossy(hex.bytes()).contains("secret"));
}

#[test]
fn a_batch_header_keeps_its_parties_alone() {
    let mut deidentifier = deidentifier(Rules::default());
    assert_eq!(
        deidentifier.envelope(b"BHS|^~\\&|LAB|NORTH|HUB|X|2026||Sample\r"),
        b"BHS|^~\\&|LAB|NORTH|HUB|X"
    );
    assert_eq!(deidentifier.envelope(b"BTS|2|about Sample\r"), b"BTS|2");
}
