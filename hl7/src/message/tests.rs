use super::*;

const ADT: &str = "MSH|^~\\&|REG|NORTH|ENGINE|HUB|20250314||ADT^A01^ADT_A01|E001|P|2.5\rPID|1||1^^^N&1.2&ISO~2||Sam^\"\"||\"\"|\r";

fn adt() -> Message {
    Message::parse(ADT).unwrap()
}

#[test]
fn places_give_value_empty_delete_and_absent() {
    let adt = adt();
    let get = |path: &str| adt.get(&path.parse().unwrap()).into_owned();
    let text = |text: &str| Value::Text(text.to_owned().into());
    assert_eq!(get("PID-1"), text("1"));
    assert_eq!(get("PID-2"), Value::Empty);
    assert_eq!(get("PID-5.2"), Value::Delete);
    assert_eq!(get("PID-5.3"), Value::Absent);
    assert_eq!(get("PID-7"), Value::Delete);
    assert_eq!(get("PID-8"), Value::Empty);
    assert_eq!(get("PID-9"), Value::Absent);
    assert_eq!(get("PV1-1"), Value::Absent);
    assert_eq!(get("PID[2]-1"), Value::Absent);
    assert_eq!(get("PID-3"), text("1^^^N&1.2&ISO~2"));
    assert_eq!(get("PID-3.1"), text("1"));
    assert_eq!(get("PID-3.4.2"), text("1.2"));
    assert_eq!(get("PID-3[2].1"), text("2"));
    assert_eq!(get("PID-3[3].1"), Value::Absent);
}

#[test]
fn msh_counts_its_separator_as_field_one() {
    let adt = adt();
    assert_eq!(adt.text("MSH-1"), "|");
    assert_eq!(adt.text("MSH-2"), "^~\\&");
    assert_eq!(adt.text("MSH-2.1"), "^~\\&");
    assert_eq!(adt.text("MSH-3"), "REG");
    assert_eq!(adt.header().control_id, "E001");
    assert_eq!(adt.header().trigger_event, "A01");
    assert_eq!(adt.segment(0).unwrap().field_count(), 12);
}

#[test]
fn padding_in_msh_15_asks_for_nothing() {
    let message = Message::parse("MSH|^~\\&|A|B|||2026||ADT^A01|7|P|2.3||| \rEVN|A01").unwrap();
    assert_eq!(message.header().accept_ack, "");
}

#[test]
fn a_message_in_a_log_shows_no_content() {
    assert!(!format!("{:?}", adt()).contains("Sam"));
}
