use super::*;

fn now() -> DateTime<FixedOffset> {
    DateTime::parse_from_rfc3339("2026-03-01T10:20:30+01:00").unwrap()
}

#[track_caller]
fn check(received: &str, request: AckRequest, expected: &str) {
    let message = Message::parse(received).unwrap();
    let answer = acknowledge(&message, &request);
    let text = String::from_utf8(answer.bytes().to_vec()).unwrap();
    assert_eq!(text.replace('\r', "\n").trim_end(), expected);
}

fn missing(path: &str) -> Vec<Finding> {
    vec![Finding::new(Class::Required, path, 101, "the patient number is missing")]
}

#[test]
fn an_accepted_message_is_answered_with_sender_and_receiver_swapped() {
    check(
        "MSH|^~\\&|LAB|NORTH|ENGINE|HUB|20260301||ORU^R01^ORU_R01|42|P|2.5.1\r",
        AckRequest::new(AckCode::AA, "7", now()),
        "MSH|^~\\&|ENGINE|HUB|LAB|NORTH|20260301102030+0100||ACK^R01^ACK|7|P|2.5.1\nMSA|AA|42",
    );
}

#[test]
fn from_version_2_5_on_an_error_is_told_in_its_own_segment() {
    check(
        "MSH|^~\\&|LAB|NORTH|||20260301||ORU^R01|42|P|2.5.1\r",
        AckRequest::new(AckCode::AE, "7", now()).with_findings(missing("PID-3[2].1")).with_text("not stored"),
        "MSH|^~\\&|||LAB|NORTH|20260301102030+0100||ACK^R01^ACK|7|P|2.5.1\nMSA|AE|42|not stored\n\
         ERR||PID^1^3^2^1|101^Required field missing^HL70357|E||||the patient number is missing",
    );
}

#[test]
fn before_version_2_5_errors_stand_in_err_1() {
    let mut findings = missing("PID-3");
    findings.push(Finding::new(Class::Structure, "PV1", 100, "missing"));
    check(
        "MSH|^~\\&|LAB|NORTH|||20260301||ORU^R01|42|P|2.3.1\r",
        AckRequest::new(AckCode::AE, "7", now()).with_findings(findings),
        "MSH|^~\\&|||LAB|NORTH|20260301102030+0100||ACK^R01^ACK|7|P|2.3.1\n\
         MSA|AE|42||||101^Required field missing^HL70357\n\
         ERR|PID^1^3^101&Required field missing&HL70357~PV1^1^^100&Segment sequence error&HL70357",
    );
}

#[test]
fn the_sender_reads_its_own_delimiters_charset_and_control_id() {
    check(
        "MSH#:*!@#LAB#NORTH###20260301##ADT:A01#4!S!2#P#2.5######8859/1\r",
        AckRequest::new(AckCode::AE, "7", now()).with_text("a:b"),
        "MSH#:*!@###LAB#NORTH#20260301102030+0100##ACK:A01:ACK#7#P#2.5######8859/1\nMSA#AE#4!S!2#a!S!b",
    );
}

#[test]
fn a_control_id_that_ends_like_a_line_is_given_back_whole() {
    for control_id in ["42\n", "42\u{1c}", "42\u{1a}"] {
        let text = format!("MSH|^~\\&|LAB||||20260301||ADT^A01|{control_id}|P|2.5\rPID|1\r");
        let message = Message::parse(text).unwrap();
        let answer = acknowledge(&message, &AckRequest::new(AckCode::AA, "7", now()));
        assert_eq!(answer.find("MSA", 1).unwrap().field(2).raw(), Some(control_id.as_bytes()));
    }
}

#[test]
fn an_application_answer_of_enhanced_mode_asks_for_no_answer_itself() {
    let mut request = AckRequest::new(AckCode::AA, "7", now());
    request.mode = AckMode::Enhanced;
    check(
        "MSH|^~\\&|LAB||||20260301||ORU^R01|42|P|2.5|||AL|AL\r",
        request,
        "MSH|^~\\&|||LAB||20260301102030+0100||ACK^R01^ACK|7|P|2.5|||NE|NE\nMSA|AA|42",
    );
}

#[test]
fn an_unsupported_version_is_answered_in_one_we_know() {
    check(
        "MSH|^~\\&|LAB|NORTH|||20260301||ORU^R01|42|P|9.9\r",
        AckRequest::new(AckCode::AR, "7", now()),
        "MSH|^~\\&|||LAB|NORTH|20260301102030+0100||ACK^R01^ACK|7|P|2.5.1\nMSA|AR|42",
    );
}

#[test]
fn unreadable_bytes_are_answered_with_default_delimiters() {
    let answer = reject_unreadable(b"hello", &AckRequest::new(AckCode::AR, "7", now()));
    assert_eq!(
        String::from_utf8(answer).unwrap(),
        "MSH|^~\\&|||||20260301102030+0100||ACK^^ACK|7|P|2.5.1\rMSA|AR|\r\
         ERR||MSH^1|100^Segment sequence error^HL70357|E||||the message does not begin with MSH\r"
    );
}

#[test]
fn the_head_of_a_frame_that_is_too_long_is_answered_by_its_header() {
    let head = b"MSH|^~\\&|LAB|NORTH|||20260301||ORU^R01|42|P|2.5.1\rOBX|1|ED|||ABC";
    let answer = reject_unreadable(head, &AckRequest::new(AckCode::AR, "7", now()));
    assert!(String::from_utf8(answer).unwrap().contains("\rMSA|AR|42\r"));
}

#[test]
fn answers_of_both_forms_are_read() {
    let new = Message::parse(
        "MSH|^~\\&|||||||ACK|1|P|2.5\rMSA|AE|42\rERR||PID^1^3^2^5|101^Required^HL70357|E|||no number|say hello\r",
    )
    .unwrap();
    let answer = read_answer(&new).unwrap();
    assert_eq!(
        (answer.kind(), answer.control_id.as_str(), answer.text.as_str()),
        (Some(AckCode::AE), "42", "say hello")
    );
    assert_eq!((answer.errors[0].path.as_str(), answer.errors[0].code.as_str()), ("PID-3[2].5", "101"));

    let old = Message::parse(
        "MSH|^~\\&|||||||ACK|1|P|2.3\rMSA|AR|42|no\rERR|MSH^1^12^203&Unsupported version&HL70357\r",
    );
    let answer = read_answer(&old.unwrap()).unwrap();
    assert_eq!(answer.errors[0].path, "MSH-12");
    assert_eq!((answer.errors[0].code.as_str(), answer.text.as_str()), ("203", "no"));

    let none = Message::parse("MSH|^~\\&|||||||ADT^A01|1|P|2.3\r").unwrap();
    assert!(read_answer(&none).is_none());
}

#[test]
fn what_is_answered_can_be_read_back() {
    let message = Message::parse("MSH|^~\\&|A|B|C|D|20260301||ORU^R01|4~2|P|2.4\r").unwrap();
    let request =
        AckRequest::new(AckCode::AE, "7", now()).with_findings(missing("PID[2]-3")).with_text("no ~ good");
    let answer = read_answer(&acknowledge(&message, &request)).unwrap();
    assert_eq!((answer.code.as_str(), answer.text.as_str()), ("AE", "no ~ good"));
    assert_eq!(answer.errors[0].path, "PID[2]-3");
}

#[test]
fn errors_have_the_form_of_each_version() {
    let ask = |version: &str| {
        let text = format!("MSH|^~\\&|LAB|NORTH|||20260301||ORU^R01|42|P|{version}\r");
        let mut request =
            AckRequest::new(AckCode::AE, "7", now()).with_findings(missing("PID-3")).with_text("no");
        request.help_desk = Some("5550100".to_owned());
        let answer = acknowledge(&Message::parse(text).unwrap(), &request);
        let text = String::from_utf8(answer.bytes().to_vec()).unwrap();
        text.split('\r').skip(1).collect::<Vec<_>>().join("\n").trim_end().to_owned()
    };
    assert_eq!(ask("2.1"), "MSA|AE|42|no; 5550100\nERR|PID^1^3^101");
    let coded = "101^Required field missing^HL70357";
    assert_eq!(ask("2.2"), format!("MSA|AE|42|no; 5550100|||{coded}\nERR|PID^1^3^101"));
    for version in ["2.3", "2.3.1", "2.4"] {
        let old = "ERR|PID^1^3^101&Required field missing&HL70357";
        assert_eq!(ask(version), format!("MSA|AE|42|no; 5550100|||{coded}\n{old}"), "{version}");
    }
    let new = format!("ERR||PID^1^3|{coded}|E||||the patient number is missing||||5550100");
    for version in ["2.5", "2.5.1", "2.6"] {
        assert_eq!(ask(version), format!("MSA|AE|42|no\n{new}"), "{version}");
    }
    for version in ["2.7", "2.7.1", "2.8", "2.8.1", "2.8.2"] {
        assert_eq!(ask(version), format!("MSA|AE|42\n{new}"), "{version}");
    }
}

#[test]
fn the_software_of_the_sender_is_repeated_where_that_is_asked_for() {
    let mut request = AckRequest::new(AckCode::AA, "7", now());
    request.echo_software = true;
    check(
        "MSH|^~\\&|LAB||||20260301||ADT^A01|42|P|2.5\rSFT|Maker|1|Engine|b7\rEVN|A01\r",
        request,
        "MSH|^~\\&|||LAB||20260301102030+0100||ACK^A01^ACK|7|P|2.5\nSFT|Maker|1|Engine|b7\nMSA|AA|42",
    );
}

#[test]
fn places_of_the_answers_header_and_its_number_are_written_as_asked() {
    let mut request = AckRequest::new(AckCode::AA, "7", now());
    request.header = vec![(5, "HI^System^GUID".into()), (9, "ACK".into()), (15, "AL".into())];
    request.expected_sequence = Some(-1);
    request.answers = Some(b"41".to_vec());
    check(
        "MSH|^~\\&|LAB|N|||20260301||ADT^A01|42|P|2.5\r",
        request,
        "MSH|^~\\&|||HI^System^GUID|N|20260301102030+0100||ACK|7|P|2.5|||AL|NE\nMSA|AA|41||-1",
    );
}
