//! What a site declares and asks beyond the standard.

use std::collections::BTreeMap;
use std::sync::Arc;

use orderly_hl7::profile::{
    Condition, Declarations, LocalElement, LocalSegment, LocalTable, MessageRules, Occurs, Part, PartRule,
    PlaceRule, Predicate, Profile, Usage,
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

fn times(segment: &str, least: u32, most: Option<u32>) -> PartRule {
    PartRule { within: None, part: Part::Segment(id(segment)), occurs: Occurs::Times(least, most) }
}

fn when(condition: &str, holds: Option<Usage>, otherwise: Option<Usage>) -> Predicate {
    Predicate { condition: Condition::parse(condition).expect("a condition"), holds, otherwise }
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

/// Rules of a place with a condition.
fn place_if(segment: &str, place: [u16; 3], predicate: Predicate) -> Declarations {
    let mut changed = rule(segment, place);
    changed.predicate = Some(predicate);
    Declarations { places: vec![changed], ..beds() }
}

#[test]
fn a_place_is_required_or_empty_by_a_condition() {
    let required = |condition| place_if("PV1", [19, 0, 0], when(condition, Some(Usage::Required), None));
    check(required("PV1-2 = I"), GOOD, &["PV1-19 101 profile"]);
    check(required("PV1-2 in (E, I) and ZBD is present"), GOOD, &["PV1-19 101 profile"]);
    check(required("PV1-2 = O or PID-8 = F"), GOOD, &["PV1-19 101 profile"]);
    check(required("PV1-2 = O"), GOOD, &[]);
    check(required("PV1-2 != I"), GOOD, &[]);
    check(required("PV1-2 not in (O, E)"), GOOD, &["PV1-19 101 profile"]);
    check(required("PV1-3.2 = 101 and PV1-3 is present and PV1-3.4 is blank"), GOOD, &["PV1-19 101 profile"]);
    // Nothing is concluded from what was not sent, or deleted.
    check(required("PV1-4 != U"), GOOD, &[]);
    check(required("PV1-2 is present"), &GOOD.replace("PV1|1|I", "PV1|1|\"\""), &[]);
    check(required("PV2 is blank"), GOOD, &["PV1-19 101 profile"]);
    let forbidden = |condition| place_if("PV1", [3, 0, 0], when(condition, None, Some(Usage::Forbidden)));
    check(forbidden("PV1-2 = O"), GOOD, &["PV1-3 199 profile"]);
    check(forbidden("PV1-2 = I"), GOOD, &[]);
}

#[test]
fn a_condition_counts_in_place_of_what_the_standard_requires() {
    let nameless = GOOD.replace("Sample^Alex", "");
    let optional = when("PID-3 is present", Some(Usage::Optional), None);
    check(place_if("PID", [5, 0, 0], optional), &nameless, &[]);
    let otherwise = when("PID-3 is blank", Some(Usage::Optional), None);
    check(place_if("PID", [5, 0, 0], otherwise), &nameless, &["PID-5 101 required"]);
    let required = when("PID-3 is present", Some(Usage::Required), None);
    check(place_if("PID", [5, 0, 0], required), &nameless, &["PID-5 101 profile"]);
}

/// Two orders: the first with a result that is final and one that cannot be had, the second with one preliminary result.
fn results() -> String {
    let order = |number: u8, status: &str| format!("OBR|{number}|||1^Panel{}{status}\r", "|".repeat(21));
    let result = |number: u8, status: &str| format!("OBX|{number}|NM|1^K||4||||||{status}\r");
    [
        "MSH|^~\\&|LAB|N|E|H|20250314093000||ORU^R01^ORU_R01|E1|P|2.5\rPID|1||7~8^^^^MR||S^A\r",
        &order(1, "F"),
        &result(1, "F"),
        &result(2, "X"),
        &order(2, "P"),
        &result(1, "P"),
        "NTE|1||A remark\r",
    ]
    .concat()
}

#[test]
fn a_condition_looks_at_its_own_segment_and_repetition_and_else_at_the_nearest_before() {
    let required = |condition| when(condition, Some(Usage::Required), None);
    check(place_if("OBX", [6, 0, 0], required("OBX-11 = X")), &results(), &["OBX[2]-6 101 profile"]);
    check(place_if("OBX", [6, 0, 0], required("OBR-25 = P")), &results(), &["OBX[3]-6 101 profile"]);
    let first_two = ["OBX-6 101 profile", "OBX[2]-6 101 profile"];
    check(place_if("OBX", [6, 0, 0], required("OBR-25 = F")), &results(), &first_two);
    // NTE stands behind all of them; the first behind counts where none is before.
    check(place_if("PID", [8, 0, 0], required("NTE-3 is present")), &results(), &["PID-8 101 profile"]);
    check(place_if("PID", [3, 4, 0], required("PID-3.5 = MR")), &results(), &["PID-3[2].4 101 profile"]);
    check(
        place_if("PID", [3, 4, 0], required("PID-3[1].1 = 7")),
        &results(),
        &["PID-3.4 101 profile", "PID-3[2].4 101 profile"],
    );
}

#[test]
fn a_segment_or_group_is_required_or_unwanted_by_a_condition_in_the_message_or_each_group() {
    let with = |within: Option<&str>, part, occurs| {
        let parts = vec![PartRule { within: within.map(str::to_owned), part, occurs }];
        Declarations {
            messages: vec![MessageRules { message_type: "ORU".into(), parts, ..MessageRules::default() }],
            ..beds()
        }
    };
    let segment = |name: &str| Part::Segment(id(name));
    let group = |name: &str| Part::Group(name.into());
    let required = |condition| Occurs::If(when(condition, Some(Usage::Required), None));
    let unwanted = |condition| Occurs::If(when(condition, None, Some(Usage::Forbidden)));
    check(with(None, segment("PV1"), required("PID-8 is blank")), &results(), &["PV1 100 profile"]);
    check(with(None, segment("PV1"), required("PID-8 is present")), &results(), &[]);
    check(with(None, segment("NTE"), unwanted("PID-8 is present")), &results(), &["NTE 100 profile"]);
    // Each result is looked at with its own fields, and those of its order.
    let note = |condition| with(Some("OBSERVATION"), segment("NTE"), required(condition));
    check(note("OBX-11 = X"), &results(), &["OBX[2] 100 profile"]);
    check(note("OBX-11 = P"), &results(), &[]);
    check(note("OBR-25 = F"), &results(), &["OBX 100 profile", "OBX[2] 100 profile"]);
    let quiet = with(Some("OBSERVATION"), segment("NTE"), unwanted("OBX-11 = X"));
    check(quiet, &results(), &["NTE 100 profile"]);
    check(with(None, group("VISIT"), required("PID-8 is blank")), &results(), &[" 100 profile"]);
    check(
        with(Some("PATIENT_RESULT"), group("VISIT"), required("PID-8 is blank")),
        &results(),
        &["PID 100 profile"],
    );
    check(
        with(Some("ORDER_OBSERVATION"), group("OBSERVATION"), Occurs::Times(2, None)),
        &results(),
        &["OBX[3] 198 profile"],
    );
    check(
        with(None, group("ORDER_OBSERVATION"), unwanted("PID-8 is present")),
        &results(),
        &["OBR 100 profile"],
    );
}

#[test]
fn a_finding_by_a_condition_says_the_condition() {
    let text = |declared| {
        let profile = Some(Arc::new(Profile::new(declared)));
        let validation = Validation { profile, ..Validation::at(Level::Profile) };
        let findings = validate(&Message::parse(GOOD).unwrap(), &validation);
        findings
            .into_iter()
            .filter(|finding| finding.class == orderly_hl7::Class::Profile)
            .map(|one| one.text)
            .collect::<Vec<_>>()
    };
    let required = place_if("PV1", [19, 0, 0], when("PV1-2=I", Some(Usage::Required), None));
    assert_eq!(text(required), ["Visit Number is required by the profile when PV1-2 = I"]);
    let forbidden = place_if("PV1", [3, 0, 0], when("PV1-2 in (O, P)", None, Some(Usage::Forbidden)));
    assert_eq!(
        text(forbidden),
        ["Assigned Patient Location must be empty by the profile unless PV1-2 in (O, P)"]
    );
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
        parts: vec![times("ZBD", 1, Some(1)), times("NK1", 0, Some(0))],
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
fn a_finding_names_the_profile_that_asks_for_it_and_the_level_that_found_it() {
    let admit = MessageRules {
        message_type: "ADT".into(),
        parts: vec![times("NK1", 1, None)],
        structure: Some("ADT_ZBD".into()),
        ..MessageRules::default()
    };
    let structures = BTreeMap::from([("ADT_ZBD".into(), "MSH EVN PID PV1 ZBD OBX".into())]);
    let declared =
        Declarations { revision: "3".into(), messages: vec![admit], structures, ..beds_required() };
    let bad = GOOD
        .replace("ZBD|7|", "ZBD||")
        .replace("70001^^^NORTH^MR", "")
        .replace("|F\r", "|U\r")
        .replace("19800229", "1980-02");
    let validation =
        Validation { profile: Some(Arc::new(Profile::new(declared))), ..Validation::at(Level::Profile) };
    let findings = validate(&Message::parse(format!("\u{feff}{bad}")).unwrap(), &validation);
    let mut told: Vec<String> = findings
        .iter()
        .map(|finding| {
            let profile = finding.profile.as_ref().map_or("the standard".to_owned(), ToString::to_string);
            format!("{:?} {} {} by {profile}", finding.level, finding.path, finding.code)
        })
        .collect();
    told.sort();
    let expected = [
        "Fields PID-3 101 by the standard",
        "Fields PID-7.1 102 by the standard",
        "Fields ZBD-1 101 by north, revision 3",
        "None  0 by the standard",
        "Profile NK1 100 by north, revision 3",
        "Profile PID-19 101 by north, revision 3",
        "Standard PID-8 103 by north, revision 3",
        "Structure OBX 100 by north, revision 3",
    ];
    assert_eq!(told, expected, "{findings:#?}");
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
