use std::collections::BTreeMap;

use orderly_hl7::validate::{Validation, validate};
use orderly_hl7::{Level, Message, Severity};

use super::*;

const HOUSE: &str = "profile: house
title: What every system of the house keeps to
tables:
  \"0001\": { extends: true, codes: { D: Diverse }, remove: [U] }
  BEDS: { codes: { R: Ready, C: Cleaning } }
types:
  ZPL: [{ name: Ward, type: ST }, { name: Room, type: NM }]
segments:
  ZBD:
    title: Bed
    fields:
      1: { name: Number, type: NM, required: true, length: 3 }
      2: { name: Place, type: ZPL }
      3: { name: State, type: ID, table: BEDS }
places:
  PID-3.4.1: required
  PID-5: { repeat: 1..2, name: Name of the patient }
";

const WARD: &str = "profile: ward
title: Beds
like: house
versions: [\"2.5\", \"2.5.1\"]
only_listed: true
structures:
  ADT_ZBD: MSH EVN BED(ZBD NTE*)+
messages:
  ADT^Z99: { structure: ADT_ZBD }
  ADT^A01:
    segments: { ZBD: required, NK1: forbidden, DG1: ..2 }
    places: { PV1-2: { values: [I, E] }, ZBD-2.2: { length: ..2 } }
";

fn files(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn a_profile_of_a_file_checks_messages_with_those_below_it() {
    let (profiles, found) = read_all(&files(&[("house", HOUSE), ("ward", WARD)]));
    assert!(found.is_empty(), "{found:#?}");
    let told = |message: &str| -> Vec<String> {
        let profile = Some(Arc::clone(&profiles["ward"]));
        let validation = Validation { profile, ..Validation::at(Level::Profile) };
        let findings = validate(&Message::parse(message).unwrap(), &validation);
        let told = findings.iter().filter(|finding| finding.severity > Severity::Information);
        told.map(|finding| format!("{} {}", finding.path, finding.code)).collect()
    };
    let admit = "MSH|^~\\&|REG|N|E|H|20250314093000||ADT^A01^ADT_A01|E1|P|2.5\rEVN|A01|2025\r\
        PID|1||7^^^NORTH^MR||Sample^Alex||19800229|D\rPV1|1|I\rZBD|7|W^3|R\r";
    assert_eq!(told(admit), [""; 0]);
    assert_eq!(told(&admit.replace("|D\r", "|U\r")), ["PID-8 103"]);
    assert_eq!(told(&admit.replace("^^^NORTH^", "^^^^")), ["PID-3.4.1 101"]);
    assert_eq!(told(&admit.replace("PV1|1|I", "PV1|1|O")), ["PV1-2 103"]);
    assert_eq!(told(&admit.replace("W^3", "W^333")), ["ZBD-2.2 104"]);
    assert_eq!(told(&admit.replace("ZBD|7|W^3|R\r", "")), ["ZBD 100"]);
    assert_eq!(told(&admit.replace("A01^ADT_A01", "A04^ADT_A01")), ["MSH-9 201"]);
    let cleaned = "MSH|^~\\&|REG|N|E|H|2025||ADT^Z99|E1|P|2.5.1\rEVN|Z99|2025\rZBD|7\rZBD|8\r";
    assert_eq!(told(cleaned), [""; 0]);
    assert_eq!(told(&cleaned.replace("2.5.1", "2.4")), ["MSH-12.1 203"]);
}

/// Places and codes of what is wrong with the file `ward`, with `from` replaced by `to`.
#[track_caller]
fn refused(from: &str, to: &str, expected: &[&str]) {
    assert!(WARD.contains(from), "{from}");
    let (profiles, found) = read_all(&files(&[("house", HOUSE), ("ward", &WARD.replacen(from, to, 1))]));
    let told: Vec<String> =
        found.iter().map(|one| format!("{}:{}:{} {}", one.file, one.line, one.column, one.code)).collect();
    assert_eq!(told, expected, "{found:#?}");
    assert!(!profiles.contains_key("ward"));
}

#[test]
fn mistakes_are_told_with_their_place() {
    refused("profile: ward", "profile: word", &["profiles/ward.yaml:1:10 R60"]);
    let unknown = ["profiles/ward.yaml:3:7 R60", "profiles/ward.yaml:12:42 R66"];
    refused("like: house", "like: hose", &unknown);
    refused("like: house", "like: ward", &unknown);
    refused("\"2.5.1\"", "\"2.51\"", &["profiles/ward.yaml:4:19 R61"]);
    refused("only_listed: true", "only_listed: perhaps", &["profiles/ward.yaml:5:14 R05"]);
    refused("only_listed", "only_liste", &["profiles/ward.yaml:5:1 R04"]);
    refused("BED(ZBD", "(ZBD", &["profiles/ward.yaml:7:12 R63"]);
    refused("structure: ADT_ZBD", "structure: ADT_ZBB", &["profiles/ward.yaml:9:25 R65"]);
    refused("DG1: ..2", "DG1: few", &["profiles/ward.yaml:11:53 R06"]);
    refused("NK1: forbidden", "nk1: forbidden", &["profiles/ward.yaml:11:32 R64"]);
    refused("PV1-2", "PV1-99", &["profiles/ward.yaml:12:15 R66"]);
    refused("PV1-2", "\"PV1-2[2]\"", &["profiles/ward.yaml:12:15 R66"]);
    refused("PV1-2", "PV1-2.1.2", &["profiles/ward.yaml:12:15 R66"]);
    refused("ZBD-2.2", "PID-3.4.9", &["profiles/ward.yaml:12:42 R66"]);
    refused("length: ..2", "length: 3..2", &["profiles/ward.yaml:12:61 R05"]);
}

const CARE: &str = "profile: care
revision: \"3\"
title: What depends on the visit
segments:
  ZBD: { fields: { 1: { name: Number, type: NM } } }
places:
  PV1-3: required if PV1-2 = I
  PV1-45: { usage: \"forbidden unless PV1-36 is present\" }
  PID-8: required if PV1-2 in (I, E) and ZBD-1 is present else optional
messages:
  ORU^R01:
    segments: { OBSERVATION.NTE: required if OBX-11 = X, PV1: required if PV2 is present }
    groups: { PATIENT_RESULT.VISIT: required if PID-18 is present, PATIENT_RESULT: 1..2 }
";

#[test]
fn what_is_asked_can_depend_on_the_message() {
    let (profiles, found) = read_all(&files(&[("care", CARE)]));
    assert!(found.is_empty(), "{found:#?}");
    let told = |message: &str| -> Vec<String> {
        let profile = Some(Arc::clone(&profiles["care"]));
        let validation = Validation { profile, ..Validation::at(Level::Profile) };
        let findings = validate(&Message::parse(message).unwrap(), &validation);
        let told = findings.iter().filter_map(|one| Some((one, one.profile.as_ref()?)));
        told.map(|(finding, profile)| format!("{} {} {profile}", finding.path, finding.code)).collect()
    };
    let admit = "MSH|^~\\&|REG|N|E|H|20250314093000||ADT^A01^ADT_A01|E1|P|2.5\rEVN|A01|2025\r\
        PID|1||7^^^NORTH^MR||Sample^Alex||19800229|F\rPV1|1|I|W^1\r";
    assert_eq!(told(admit), [""; 0]);
    assert_eq!(told(&admit.replace("|I|W^1", "|I|")), ["PV1-3 101 care, revision 3"]);
    assert_eq!(told(&admit.replace("|I|W^1", "|O|")), [""; 0]);
    let discharged = format!("|O|{}2025", "|".repeat(42));
    assert_eq!(told(&admit.replace("|I|W^1", &discharged)), ["PV1-45 199 care, revision 3"]);
    let bed = admit.replace("|F\r", "|\r") + "ZBD|1\r";
    assert_eq!(told(&bed), ["PID-8 101 care, revision 3"]);
    let result = "MSH|^~\\&|L|N|E|H|2025||ORU^R01^ORU_R01|E1|P|2.5\rPID|1||7||S^A|||||||||||||4711\r\
        OBR|1|||1^P\rOBX|1|NM|1^K||||||||X\rOBX|2|NM|1^K||4||||||F\r";
    assert_eq!(told(result), ["OBX 100 care, revision 3", "PID 100 care, revision 3"]);
}

#[test]
fn bad_conditions_are_told_with_their_place() {
    for (from, to, expected) in [
        ("required if PV1-2 = I\n", "required when PV1-2 = I\n", "7:19 R67"),
        ("required if PV1-2 = I\n", "requird if PV1-2 = I\n", "7:10 R06"),
        // A blank of several bytes behind the usage.
        ("required if PV1-2 = I\n", "required\u{2029}when PV1-2 = I\n", "7:19 R67"),
        ("required if PV1-2 = I\n", "required if PV1-2 is there\n", "7:31 R67"),
        ("required if PV1-2 = I\n", "required if PV1-99 = I\n", "7:22 R67"),
        ("required if PV1-2 = I\n", "required if PV1-2 = I and ZZZ is present\n", "7:36 R67"),
        ("PV1-36 is present", "PV1-36 = present or", "8:57 R67"),
        ("else optional", "else perhaps", "9:64 R67"),
        ("ZBD-1 is", "ZBD-2 is", "9:42 R67"),
        ("OBSERVATION.NTE", "OBSERVATIONS.NTE", "12:17 R65"),
        ("PATIENT_RESULT: 1..2", "PATIENT: few", "13:77 R06"),
        ("PATIENT_RESULT.VISIT", "PATIENT_RESULT.VISITS", "13:15 R65"),
    ] {
        assert!(CARE.contains(from), "{from}");
        let (profiles, found) = read_all(&files(&[("care", &CARE.replacen(from, to, 1))]));
        let told: Vec<String> =
            found.iter().map(|one| format!("{}:{} {}", one.line, one.column, one.code)).collect();
        assert_eq!(told, [expected], "{found:#?}");
        assert!(found.iter().all(|one| one.help.is_some()), "{found:#?}");
        assert!(profiles.is_empty());
    }
}

#[test]
fn fields_name_types_and_tables_that_are_there() {
    for (from, to, code) in [
        ("type: ZPL", "type: ZPQ", "R65"),
        ("table: BEDS", "table: BADS", "R65"),
        ("1: { name: Number", "0: { name: Number", "R64"),
        ("ZBD:", "MSH:", "R64"),
        ("extends: true, ", "", "R62"),
        ("\"0001\":", "\"9901\":", "R62"),
        ("{ name: Room, type: NM }", "{ name: Room }", "R07"),
    ] {
        assert!(HOUSE.contains(from), "{from}");
        let (_, found) = read_all(&files(&[("house", &HOUSE.replacen(from, to, 1))]));
        assert!(found.iter().any(|one| one.code == code && one.line > 1), "{from}: {found:#?}");
    }
}

#[test]
fn ranges_are_read() {
    for (text, expected) in [
        ("1..20", Some((1, Some(20)))),
        ("..20", Some((0, Some(20)))),
        ("2..", Some((2, None))),
        ("5", Some((5, Some(5)))),
        ("5..2", None),
        ("..0", None),
        ("a", None),
        ("", None),
    ] {
        assert_eq!(range(text), expected, "{text}");
    }
}
