//! What a site declares and asks beyond the standard.

use std::collections::BTreeMap;
use std::sync::Arc;

use orderly_hl7::profile::{
    Declarations, LocalElement, LocalSegment, LocalTable, MessageRules, PlaceRule, Profile, Usage,
};
use orderly_hl7::validate::{Matching, Validation, validate};
use orderly_hl7::{Level, Message, SegmentId, Severity};

const GOOD: &str = "MSH|^~\\&|REG|NORTH|ENGINE|HUB|20250314093000||ADT^A01^ADT_A01|E1|P|2.5\r\
    EVN|A01|20250314092955\rPID|1||70001^^^NORTH^MR||Sample^Alex||19800229|F\rPV1|1|I|WARD1^101^A\rZBD|7|WARD1^3|R\r";

fn id(text: &str) -> SegmentId {
    SegmentId::new(text).expect("a segment id")
}

fn element(name: &str, datatype: &str) -> LocalElement {
    LocalElement { name: name.into(), datatype: datatype.into(), most: 1, ..LocalElement::default() }
}

/// A bed segment with a type and a table of its own.
fn beds() -> Declarations {
    let number = LocalElement { required: true, length: 3, ..element("Number", "NM") };
    let state = LocalElement { table: Some("BEDS".into()), ..element("State", "ID") };
    let fields = BTreeMap::from([(1, number), (2, element("Place", "ZPL")), (3, state)]);
    let codes = |codes: &[&str]| codes.iter().map(|code| ((*code).to_owned(), String::new())).collect();
    Declarations {
        name: "north".into(),
        segments: BTreeMap::from([(id("ZBD"), LocalSegment { fields, raw: false })]),
        types: BTreeMap::from([("ZPL".into(), vec![element("Ward", "ST"), element("Room", "NM")])]),
        tables: BTreeMap::from([
            ("BEDS".into(), LocalTable { codes: codes(&["R", "C"]), ..LocalTable::default() }),
            ("0001".into(), LocalTable { codes: codes(&["D"]), remove: vec!["U".into()], extends: true }),
        ]),
        ..Declarations::default()
    }
}

fn rule(segment: &str, place: [u16; 3]) -> PlaceRule {
    PlaceRule::at(id(segment), place[0], place[1], place[2])
}

/// Findings that are more than notes, as `path code class`.
#[track_caller]
fn check(declared: Declarations, message: &str, expected: &[&str]) {
    let validation =
        Validation { profile: Some(Arc::new(Profile::new(declared))), ..Validation::at(Level::Profile) };
    let findings = validate(&Message::parse(message).expect("a readable message"), &validation);
    let told: Vec<String> = findings
        .iter()
        .filter(|finding| finding.severity > Severity::Information)
        .map(|finding| format!("{} {} {}", finding.path, finding.code, finding.class.name()))
        .collect();
    assert_eq!(told, expected, "{findings:#?}");
}

#[test]
fn local_segments_types_and_tables_are_checked_like_those_of_the_standard() {
    check(beds(), GOOD, &[]);
    check(beds(), &GOOD.replace("ZBD|7|", "ZBD||"), &["ZBD-1 101 required"]);
    check(beds(), &GOOD.replace("ZBD|7|", "ZBD|x|"), &["ZBD-1 102 datatype"]);
    check(beds(), &GOOD.replace("WARD1^3", "WARD1^x"), &["ZBD-2.2 102 datatype"]);
    check(beds(), &GOOD.replace("^3|R", "^3|Q"), &["ZBD-3 103 table"]);
    check(beds(), &GOOD.replace("|F\r", "|D\r"), &[]);
    check(beds(), &GOOD.replace("|F\r", "|U\r"), &["PID-8 103 table"]);
    check(beds(), &GOOD.replace("|F\r", "|Q\r"), &["PID-8 103 table"]);
}

#[test]
fn fields_are_added_to_segments_of_the_standard() {
    let mut declared = beds();
    let fields = BTreeMap::from([(45, LocalElement { required: true, ..element("Card", "NM") })]);
    declared.segments.insert(id("PID"), LocalSegment { fields, raw: false });
    check(declared.clone(), GOOD, &["PID-45 101 required"]);
    let with = |value: &str| GOOD.replace("|F\r", &format!("|F{}{value}\r", "|".repeat(37)));
    check(declared.clone(), &with("7"), &[]);
    check(declared, &with("x"), &["PID-45 102 datatype"]);
}

#[test]
fn a_place_can_be_required_empty_short_or_one_of_some_values() {
    let with = |change: &dyn Fn(&mut PlaceRule), place: [u16; 3], segment: &str| {
        let mut changed = rule(segment, place);
        change(&mut changed);
        Declarations { places: vec![changed], ..beds() }
    };
    let required = |rule: &mut PlaceRule| rule.usage = Some(Usage::Required);
    let forbidden = |rule: &mut PlaceRule| rule.usage = Some(Usage::Forbidden);
    let optional = |rule: &mut PlaceRule| rule.usage = Some(Usage::Optional);
    check(with(&required, [19, 0, 0], "PID"), GOOD, &["PID-19 101 profile"]);
    check(with(&required, [3, 6, 0], "PID"), GOOD, &["PID-3.6 101 profile"]);
    check(with(&required, [3, 4, 2], "PID"), GOOD, &["PID-3.4.2 101 profile"]);
    check(with(&required, [3, 4, 1], "PID"), GOOD, &[]);
    check(with(&forbidden, [8, 0, 0], "PID"), GOOD, &["PID-8 199 profile"]);
    check(with(&forbidden, [3, 5, 0], "PID"), GOOD, &["PID-3.5 199 profile"]);
    let nameless = GOOD.replace("70001^^^NORTH^MR", "");
    check(beds(), &nameless, &["PID-3 101 required"]);
    check(with(&optional, [3, 0, 0], "PID"), &nameless, &[]);
    let short = |rule: &mut PlaceRule| rule.length = Some((2, 4));
    check(with(&short, [3, 1, 0], "PID"), GOOD, &["PID-3.1 104 profile"]);
    check(with(&short, [3, 5, 0], "PID"), GOOD, &[]);
    let values = |rule: &mut PlaceRule| rule.values = vec!["F".into(), "M".into()];
    check(with(&values, [8, 0, 0], "PID"), GOOD, &[]);
    check(with(&values, [8, 0, 0], "PID"), &GOOD.replace("|F\r", "|O\r"), &["PID-8 103 profile"]);
    let twice = |rule: &mut PlaceRule| rule.repeat = Some((2, Some(3)));
    check(with(&twice, [3, 0, 0], "PID"), GOOD, &["PID-3 198 profile"]);
    check(with(&twice, [3, 0, 0], "PID"), &GOOD.replace("70001^", "2^~3^~70001^"), &[]);
}

#[test]
fn a_rule_for_one_field_leaves_others_of_its_type_alone() {
    let mut required = rule("PID", [3, 5, 0]);
    required.usage = Some(Usage::Required);
    let declared = Declarations { places: vec![required], ..beds() };
    let account = GOOD.replace("|F\r", "|F||||||||||99^^^NORTH\r");
    check(declared, &account, &[]);
}

#[test]
fn raw_places_are_not_looked_into() {
    let mut raw = rule("PV1", [3, 0, 0]);
    raw.raw = true;
    let declared = Declarations { places: vec![raw], ..beds() };
    check(declared, &GOOD.replace("WARD1^101^A", "^^^^^^^^^^^^^^free&&&text"), &[]);
    let mut declared = beds();
    declared.segments.insert(id("ZBD"), LocalSegment { raw: true, ..LocalSegment::default() });
    check(declared, &GOOD.replace("ZBD|7|", "ZBD|x|"), &[]);
}

#[test]
fn messages_have_rules_of_their_own() {
    let mut place = rule("PV1", [19, 0, 0]);
    place.usage = Some(Usage::Required);
    let admit = MessageRules {
        message_type: "ADT".into(),
        trigger_event: Some("A01".into()),
        segments: vec![(id("ZBD"), 1, Some(1)), (id("NK1"), 0, Some(0))],
        places: vec![place],
        ..MessageRules::default()
    };
    let declared = Declarations { messages: vec![admit], only_listed: true, ..beds() };
    check(declared.clone(), GOOD, &["PV1-19 101 profile"]);
    let good = GOOD.replace("WARD1^101^A", "WARD1^101^A||||||||||||||||4711");
    check(declared.clone(), &good, &[]);
    let bedless = good.replace("ZBD|7|WARD1^3|R\r", "");
    check(declared.clone(), &bedless, &["ZBD 100 profile"]);
    check(declared.clone(), &good.replace("PV1|", "NK1|1\rPV1|"), &["NK1 100 profile"]);
    let other = good.replace("A01^ADT_A01", "A04^ADT_A01");
    check(declared, &other, &["MSH-9 201 profile"]);
}

#[test]
fn an_event_of_the_site_has_a_structure_of_the_site() {
    let cleaned = MessageRules {
        message_type: "ADT".into(),
        trigger_event: Some("A99".into()),
        structure: Some("ADT_ZBD".into()),
        ..MessageRules::default()
    };
    let structures = BTreeMap::from([("ADT_ZBD".into(), "MSH EVN BED(ZBD NTE*)+".into())]);
    let declared = Declarations { messages: vec![cleaned], structures, ..beds() };
    let message = |body: &str| {
        format!("MSH|^~\\&|REG|NORTH|ENGINE|HUB|20250314093000||ADT^A99|E1|P|2.5\rEVN|A99|2025\r{body}")
    };
    check(declared.clone(), &message("ZBD|1\rNTE|1\rZBD|2\r"), &[]);
    check(declared.clone(), &message("NTE|1\rZBD|1\r"), &["ZBD 100 structure"]);
    check(declared, &message(""), &["ZBD 100 structure"]);
}

#[test]
fn a_profile_on_top_of_another_keeps_what_it_does_not_say() {
    let mut first = rule("PID", [19, 0, 0]);
    first.usage = Some(Usage::Required);
    let base = Declarations { places: vec![first.clone()], ..beds() };
    let top = Declarations { name: "top".into(), ..Declarations::default() }.over(&base);
    check(top, GOOD, &["PID-19 101 profile"]);
    let mut relaxed = first;
    relaxed.usage = Some(Usage::Optional);
    let top =
        Declarations { name: "top".into(), places: vec![relaxed], ..Declarations::default() }.over(&base);
    check(top, GOOD, &[]);
}

#[test]
fn strict_matching_refuses_what_lenient_matching_warns_of() {
    let severities = |message: &str, matching| {
        let validation = Validation { matching, ..Validation::default() };
        let findings = validate(&Message::parse(message).expect("a readable message"), &validation);
        findings.iter().map(|finding| finding.severity).collect::<Vec<_>>()
    };
    let turned = GOOD.replace("PV1|1|I|WARD1^101^A\rZBD|7|WARD1^3|R\r", "PV1|1|I|WARD1^101^A\rPD1|\r");
    assert_eq!(severities(&turned, Matching::Lenient), [Severity::Warning]);
    assert_eq!(severities(&turned, Matching::Strict), [Severity::Error]);
    let unknown = GOOD.replace("ZBD|7|WARD1^3|R\r", "QQQ|1\r");
    assert_eq!(severities(&unknown, Matching::Lenient), [Severity::Information]);
    assert_eq!(severities(&unknown, Matching::Strict), [Severity::Error]);
}

#[test]
fn each_level_looks_at_more_than_the_one_before() {
    let bad = "MSH|^~\\&|R|N|E|H|20250314093000||ADT^A01^ADT_A01||P|2.5\rEVN|A01|2025\r\
        PID|x||70001^^^NORTH^MR||Sample^Alex||19800229|Q\r";
    let count = |level| {
        let validation =
            Validation { profile: Some(Arc::new(Profile::new(beds_required()))), ..Validation::at(level) };
        validate(&Message::parse(bad).unwrap(), &validation).len()
    };
    let counts: Vec<usize> = Level::ALL.into_iter().map(|(_, level)| count(level)).collect();
    assert_eq!(counts, [0, 1, 2, 3, 4, 5]);
}

fn beds_required() -> Declarations {
    let mut required = rule("PID", [19, 0, 0]);
    required.usage = Some(Usage::Required);
    Declarations { places: vec![required], ..beds() }
}
