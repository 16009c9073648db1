//! The table of hl7.md section 8, row by row.

use super::*;

fn finding(code: u16) -> Finding {
    Finding::new(Class::Required, "PID-3", code, "required field missing")
}

/// MSA-1 of each answer, for a good message, one with bad content and one with a bad header.
#[track_caller]
fn check(accept: &str, application: &str, settings: &Acknowledgment, expected: [&str; 3]) {
    let text = format!("MSH|^~\\&|A|B|C|D|20260301||ADT^A01|42|P|2.5.1|||{accept}|{application}\r");
    let message = Message::parse(text.into_bytes()).unwrap();
    let header = message.header();
    let now = DateTime::parse_from_rfc3339("2026-11-21T10:00:00+01:00").unwrap();
    let answers = Answers {
        settings,
        control_id: "1",
        now,
        help_desk: None,
        expected_sequence: None,
        part: Part::Whole,
    };
    let verdicts =
        [Verdict::Accepted, Verdict::Refused(vec![finding(101)]), Verdict::Refused(vec![finding(201)])];
    for (verdict, expected) in verdicts.iter().zip(expected) {
        let all = answers.to(&message, &header, verdict).acks;
        let mut ids = Vec::new();
        let codes: Vec<_> = all
            .into_iter()
            .map(|ack| {
                let ack = Message::parse(ack.bytes).unwrap();
                ids.push(ack.header().control_id);
                let answer = acknowledge::read_answer(&ack).unwrap();
                assert_eq!(answer.control_id, "42");
                answer.code
            })
            .collect();
        ids.dedup();
        assert_eq!(ids.len(), codes.len(), "each acknowledgment has an id of its own");
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
fn all_combinations_of_what_a_message_may_ask_for_are_answered_as_the_standard_says() {
    let settings = Acknowledgment::default();
    let words = ["", "AL", "NE", "ER", "SU"];
    for accept in words {
        for application in words {
            let asks =
                |word: &str, good: bool| word == "AL" || (word == "SU" && good) || (word == "ER" && !good);
            let expected: Vec<String> = [("CA", "AA"), ("CA", "AE"), ("CR", "AR")]
                .into_iter()
                .map(|(level, handled)| {
                    if accept.is_empty() && application.is_empty() {
                        return handled.to_owned();
                    }
                    let first = asks(accept, level == "CA").then_some(level);
                    let stored = level == "CA" || accept == "NE" || accept.is_empty();
                    let second = (stored && asks(application, handled == "AA")).then_some(handled);
                    first.into_iter().chain(second).collect::<Vec<_>>().join(" ")
                })
                .collect();
            let expected: [&str; 3] = std::array::from_fn(|index| expected[index].as_str());
            check(accept, application, &settings, expected);
        }
    }
}

#[test]
fn a_party_whose_application_answers_itself_is_only_told_that_its_message_is_stored() {
    let settings = Acknowledgment { mode: AckMode::Application, ..Acknowledgment::default() };
    check("", "", &settings, ["CA", "CA", "CR"]);
    check("AL", "AL", &settings, ["CA", "CA", "CR"]);
    check("NE", "AL", &settings, ["", "", ""]);
}

#[test]
fn a_sequence_error_is_an_error_and_no_rejection() {
    let gap = Verdict::OutOfSequence(vec![finding(205)]);
    assert_eq!((application_code(&gap), accept_code(&gap)), (AckCode::AE, AckCode::CE));
    assert_eq!(accept_code(&Verdict::NotStored), AckCode::CE);
}

#[test]
fn an_acknowledgment_is_acknowledged_only_where_it_asks_and_its_sender_may() {
    let told = |asks: &str, of_acks: bool| {
        let text = format!("MSH|^~\\&|||||||ACK|1|P|2.4|||{asks}|NE\rMSA|AA|7\r");
        let message = Message::parse(text.into_bytes()).unwrap();
        let settings = Acknowledgment { of_acks, ..Acknowledgment::default() };
        let now = DateTime::parse_from_rfc3339("2026-11-21T10:00:00+01:00").unwrap();
        let answers = Answers {
            settings: &settings,
            control_id: "1",
            now,
            help_desk: None,
            expected_sequence: None,
            part: Part::Whole,
        };
        answers.to(&message, &message.header(), &Verdict::Accepted).code
    };
    assert_eq!(told("", true), "");
    assert_eq!(told("AL", false), "");
    assert_eq!(told("AL", true), "CA");
    assert_eq!(told("ER", true), "");
}
