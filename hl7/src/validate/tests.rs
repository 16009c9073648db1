use super::*;

const A01: &str =
    "EVN|A01|20250314092955\rPID|1||70001^^^NORTH^MR||Sample^Alex||19800229|F\rPV1|1|I|WARD1^101^A\r";

fn adt(body: &str) -> String {
    format!("MSH|^~\\&|REG|NORTH|ENGINE|HUB|20250314093000||ADT^A01^ADT_A01|E1|P|2.5\r{body}")
}

/// Findings that are more than notes, as `path code`.
#[track_caller]
fn check(message: &str, expected: &[&str]) {
    let message = Message::parse(message).unwrap();
    let findings = validate(&message, &Validation::default());
    let told: Vec<String> = findings
        .iter()
        .filter(|finding| finding.severity > Severity::Information)
        .map(|finding| format!("{} {}", finding.path, finding.code))
        .collect();
    assert_eq!(told, expected, "{findings:#?}");
}

#[test]
fn a_good_message_has_no_findings() {
    check(&adt(A01), &[]);
}

#[test]
fn segments_that_miss_or_stand_in_the_wrong_place_are_found() {
    let pid = "PID|1||70001^^^NORTH^MR||Sample^Alex\r";
    check(&adt(&format!("EVN|A01|2025\r{pid}")), &["PV1 100"]);
    check(&adt(&format!("EVN|A01|2025\rPV1|1|I\r{pid}")), &["PID 100"]);
    check(&adt(&format!("{A01}{pid}")), &["PID[2] 100"]);
    check(&adt(&format!("EVN|A01|2025\rEVN|A01|2025\r{pid}PV1|1|I\r")), &["EVN[2] 198"]);
}

#[test]
fn local_and_unknown_segments_are_no_fault() {
    check(&adt(&A01.replace("PV1|", "ZPD|x\rXYZ|1\rPV1|")), &[]);
}

#[test]
fn groups_repeat_where_their_first_segment_comes_again() {
    let oru = "MSH|^~\\&|LAB|NORTH|ENGINE|HUB|20250314093000||ORU^R01^ORU_R01|E1|P|2.5.1\r\
        PID|1||1^^^N^MR||Sample^Alex\rOBR|1|P1|F1|1000^T^L\rOBX|1|NM|1^a^L||5||||||F\rNTE|1||x\rOBX|2|NM|1^a^L||5||||||F\r\
        OBR|2|P1|F1|1000^T^L\rNTE|1||x\rOBX|1|NM|1^a^L||5||||||F\r\
        PID|2||2^^^N^MR||Sample^Bo\rOBR|1|P1|F1|1000^T^L\rOBX|1|NM|1^a^L||5||||||F\r";
    check(oru, &[]);
    check(&oru.replacen("OBR|1|P1|F1|1000^T^L\r", "", 1), &["OBR 100"]);
}

#[test]
fn an_order_after_results_is_the_next_order_not_a_prior_one() {
    let order = |number: u32| {
        format!(
            "ORC|NW|P{number}\rTQ1|1\rOBR|{number}|P{number}||1000^T^L\rOBX|1|NM|1^a^L||5||||||F\rSPM|1|||B^b^L\r"
        )
    };
    let header = "MSH|^~\\&|LAB|N|E|H|20250314093000||OML^O21^OML_O21|E1|P|2.5.1\rPID|1||1^^^N^MR||S^A\r";
    check(&format!("{header}{}{}", order(1), order(2)), &[]);
}

#[test]
fn separators_alone_are_no_value() {
    check(&adt(&A01.replace("|F\r", "|F|^^&|~~|^^^^^^^^^^^^^^^^|\r")), &[]);
    check(&adt(&A01.replace("70001^^^NORTH^MR", "^^^&^~")), &["PID-3 101"]);
}

#[test]
fn the_header_decides_first() {
    let header = |text: &str| format!("MSH|^~\\&|R|N|E|H|20250314093000||{text}\r{A01}");
    check(&header("XYZ^A01|1|P|2.5"), &["MSH-9.1 200"]);
    check(&header("ADT^A99|1|P|2.5"), &["MSH-9.2 201"]);
    check(&header("ADT|1|P|2.5"), &["MSH-9.2 101"]);
    check(&header("ADT^A01|1|P|9.9"), &["MSH-12.1 203"]);
    check(&header("ADT^A01|1|X|2.5"), &["MSH-11.1 202"]);
    check(&header("ADT^A01||P|2.5"), &["MSH-10 101"]);
    check(&header("ADT^Z01|1|P|2.5"), &[]);
}

#[test]
fn a_production_receiver_can_refuse_training_messages() {
    let message = Message::parse(adt(A01).replace("|P|2.5", "|T|2.5")).unwrap();
    let only = Validation { processing_ids: Some(vec!["P".into()]), ..Validation::default() };
    assert_eq!(validate(&message, &only)[0].code, 202);
    assert!(validate(&message, &Validation::default()).is_empty());
}

#[test]
fn fields_are_checked_by_type_table_and_presence() {
    check(&adt(&A01.replace("PID|1|", "PID|x|")), &["PID-1 102"]);
    check(&adt(&A01.replace("19800229", "19810229")), &["PID-7.1 102"]);
    check(&adt(&A01.replace("19800229", "1980")), &[]);
    for version in ["2.3", "2.3.1", "2.4"] {
        let message = adt(A01).replace("|2.5", &format!("|{version}"));
        let found = |born: &str| {
            let message = Message::parse(message.replace("19800229", born)).unwrap();
            let found = validate(&message, &Validation::default());
            found
                .into_iter()
                .filter(|one| one.path.starts_with("PID-7"))
                .map(|one| format!("{} {}", one.path, one.text))
                .collect::<Vec<_>>()
        };
        let wrong = found("29.02.1980");
        assert!(wrong.len() == 1 && wrong[0].contains("PID-7"), "{version}: {wrong:?}");
        assert!(wrong[0].contains("TS asks for a date or time that exists"), "{wrong:?}");
        assert_eq!(found("19800229"), Vec::<String>::new(), "{version}");
    }
    check(&adt(&A01.replace("|F\r", "|Q\r")), &["PID-8 103"]);
    check(&adt(&A01.replace("70001^^^NORTH^MR", "")), &["PID-3 101"]);
    check(&adt(&A01.replace("19800229", "\"\"")), &[]);
    check(&adt(&A01.replace("PV1|1|I|", "PV1|1|I~O|")), &["PV1-2 198"]);
}

#[test]
fn observation_values_are_read_by_their_declared_type() {
    let oru = |kind: &str, value: &str| {
        format!(
            "MSH|^~\\&|LAB|N|E|H|20250314093000||ORU^R01^ORU_R01|E1|P|2.5.1\rPID|1||1^^^N^MR||S^A\r\
             OBR|1|P1|F1|1000^T^L\rOBX|1|{kind}|1^a^L||{value}||||||F\r"
        )
    };
    check(&oru("NM", "-12.50"), &[]);
    check(&oru("NM", "<5"), &["OBX-5 102"]);
    check(&oru("TX", "one~two~three"), &[]);
    check(&oru("SN", ">=^10"), &[]);
    check(&oru("DT", "20230229"), &["OBX-5 102"]);
    check(&oru("ZZ", "a^b"), &["OBX-2 103"]);
    check(&oru("", "free"), &[]);
}

#[test]
fn a_site_gives_its_own_verdicts() {
    let message = Message::parse(adt(&A01.replace("|F\r", "|Q\r"))).unwrap();
    let severity = |verdict| {
        let verdicts = BTreeMap::from([(Class::Table, verdict)]);
        validate(&message, &Validation { verdicts, ..Validation::default() })
            .first()
            .map(|finding| finding.severity)
    };
    assert_eq!(severity(Verdict::Accept), None);
    assert_eq!(severity(Verdict::Note), Some(Severity::Information));
    assert_eq!(severity(Verdict::Refuse), Some(Severity::Error));
}

#[test]
fn a_refusal_is_not_lost_behind_notes() {
    let many = adt(&A01.replace("PID|1|", "PID|x|")).replace("EVN|", "EVN||||||||a|b|c|d|e");
    let few = Validation { most: 2, ..Validation::default() };
    let findings = validate(&Message::parse(many).unwrap(), &few);
    assert_eq!(findings.len(), 2);
    assert!(findings.iter().any(|finding| finding.severity == Severity::Error));
}
