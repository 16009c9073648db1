//! The table of hl7.md section 8, row by row.

use super::*;

fn finding(code: u16) -> Finding {
    Finding {
        path: "PID-3".into(),
        code,
        severity: Severity::Error,
        text: "required field missing".into(),
        class: Class::Required,
    }
}

/// MSA-1 of each answer, for a good message, one with bad content and one with a bad header.
#[track_caller]
fn check(accept: &str, application: &str, settings: &Acknowledgment, expected: [&str; 3]) {
    let text = format!("MSH|^~\\&|A|B|C|D|20260301||ADT^A01|42|P|2.5.1|||{accept}|{application}\r");
    let message = Message::parse(text.into_bytes()).unwrap();
    let header = message.header();
    let now = DateTime::parse_from_rfc3339("2026-11-21T10:00:00+01:00").unwrap();
    let answers = Answers { settings, control_id: "1", now };
    let verdicts =
        [Verdict::Accepted, Verdict::Refused(vec![finding(101)]), Verdict::Refused(vec![finding(201)])];
    for (verdict, expected) in verdicts.iter().zip(expected) {
        let all = match answers.to(&message, &header, verdict).0 {
            Answer::Ack(ack) => vec![ack],
            Answer::Acks(acks) => acks,
            _ => Vec::new(),
        };
        let codes: Vec<_> = all
            .into_iter()
            .map(|ack| {
                let answer = acknowledge::read_answer(&Message::parse(ack).unwrap()).unwrap();
                assert_eq!(answer.control_id, "42");
                answer.code
            })
            .collect();
        assert_eq!(codes.join(" "), expected, "MSH-15 {accept:?}, MSH-16 {application:?}, {verdict:?}");
    }
}

#[test]
fn each_row_of_the_standards_table_holds() {
    let settings = Acknowledgment::default();
    check("", "", &settings, ["AA", "AE", "AR"]);
    check("AL", "AL", &settings, ["CA AA", "CA AE", "CR"]);
    check("AL", "NE", &settings, ["CA", "CA", "CR"]);
    check("NE", "AL", &settings, ["AA", "AE", "AR"]);
    check("ER", "NE", &settings, ["", "", "CR"]);
    check("SU", "ER", &settings, ["CA", "CA AE", ""]);
    check("NE", "NE", &settings, ["", "", ""]);
}

#[test]
fn an_enhanced_party_that_says_nothing_gets_what_its_record_says() {
    let settings = Acknowledgment { mode: AckMode::Enhanced, ..Acknowledgment::default() };
    check("", "", &settings, ["CA", "CA", "CR"]);
    check("", "AL", &settings, ["CA AA", "CA AE", "CR"]);
}

#[test]
fn the_record_of_the_party_can_win_or_add_to_the_message() {
    let settings = Acknowledgment { conflict: AckConflict::PartyWins, ..Acknowledgment::default() };
    check("AL", "NE", &settings, ["AA", "AE", "AR"]);
    let settings = Acknowledgment {
        mode: AckMode::Enhanced,
        conflict: AckConflict::EitherAsks,
        ..Acknowledgment::default()
    };
    check("NE", "AL", &settings, ["CA AA", "CA AE", "CR"]);
}

#[test]
fn an_acknowledgment_is_never_acknowledged() {
    let message = Message::parse(&b"MSH|^~\\&|||||||ACK|1|P|2.4\rMSA|AA|7\r"[..]).unwrap();
    let settings = Acknowledgment::default();
    let now = DateTime::parse_from_rfc3339("2026-11-21T10:00:00+01:00").unwrap();
    let answers = Answers { settings: &settings, control_id: "1", now };
    assert_eq!(answers.to(&message, &message.header(), &Verdict::Accepted).0, Answer::Nothing);
}
