use indexmap::IndexMap;
use orderly_hl7::Message;

use super::*;
use crate::value::MessageValue;

const RESULT: &str = "MSH|^~\\&|LAB|N|OE|N|20261121100000||ORU^R01|1|P|2.5.1\rPID|1||7^^^N||A^B||19800101|F|||\"\"\rOBR|1|P1\rOBX|1|NM|K||6.9|mmol/L\rOBX|2|NM|G||4.1|mmol/L\rOBR|2|P2\rOBX|1|ST|C||none";

fn names() -> Names {
    [
        ("m", "message ORU_R01"),
        ("limit", "decimal"),
        ("count", "int"),
        ("ward", "text?"),
        ("list", "list<text>"),
        ("need", "map"),
    ]
    .map(|(name, kind)| (name.to_owned(), kind.parse().unwrap()))
    .into()
}

fn values() -> IndexMap<String, Value> {
    values_of(RESULT)
}

fn values_of(message: &str) -> IndexMap<String, Value> {
    let message = Message::parse(message).unwrap();
    let need = IndexMap::from([("role".to_owned(), Value::text("doctor"))]);
    IndexMap::from([
        ("m".to_owned(), Value::Message(MessageValue::stored(7, message))),
        ("limit".to_owned(), Value::Decimal("6.5".parse().unwrap())),
        ("count".to_owned(), Value::Int(3)),
        ("ward".to_owned(), Value::None),
        ("list".to_owned(), Value::List(vec![Value::text("a"), Value::text("b")])),
        ("need".to_owned(), Value::Map(need)),
    ])
}

fn context() -> Context {
    Context {
        now: DateTime::parse_from_rfc3339("2026-11-21T10:00:00+01:00").unwrap(),
        control_ids: Some(Rc::new(ControlIds::new(40, 2))),
    }
}

fn evaluate(text: &str) -> Result<Value, FormulaError> {
    evaluate_with(text, &values())
}

fn evaluate_with(text: &str, values: &IndexMap<String, Value>) -> Result<Value, FormulaError> {
    let formula = match Formula::compile(text, &names(), "a.yaml", 7, 11) {
        Ok(formula) => formula,
        Err(problems) => panic!("{text}: {problems:?}"),
    };
    formula.evaluate(&|name| values.get(name), &context())
}

#[track_caller]
fn gives(text: &str, expected: &str) {
    assert_eq!(evaluate(text).unwrap().to_string(), expected, "{text}");
}

#[track_caller]
fn problem(text: &str) -> (String, u32, u32, String) {
    let problems = Formula::compile(text, &names(), "a.yaml", 7, 11).expect_err(text);
    let first = &problems[0];
    (first.code.clone(), first.line, first.column, first.help.clone().unwrap_or_default())
}

#[test]
fn messages_are_read_by_place() {
    gives("m[\"PID-3.1\"]", "7");
    gives("m.number(\"OBX-5\") > limit", "true");
    gives("m[\"PV1-3\"] ?? \"nowhere\"", "nowhere");
    gives("m[\"PID-11\"] ?? \"kept\"", "\"\"");
    gives("m[\"PID-8\"] == \"F\"", "true");
    gives("m.has(\"PV1\") || m.has(\"PID-5.2\")", "true");
    gives("m.all(\"OBX-3\").map(|p| p.to_string())", "K, G, C");
    gives("m[\"ORDER_OBSERVATION[2].OBX-3\"]", "C");
    gives("m.text(\"/ORDER_OBSERVATION(0)/OBX(1)-3\")", "G");
    gives("m.has(\"ORDER_OBSERVATION[3].OBX-3\")", "false");
    gives("m.groups(\"ORDER_OBSERVATION\").map(|g| g.all(\"OBX\").len())", "2, 1");
    gives("m.date(\"PID-7\")", "1980-01-01");
    gives("age(m.date(\"PID-7\"))", "46");
    gives("`order ${m[\"OBR-2\"]}`", "order P1");
}

/// One line for each kind of value that senders write.
const KINDS: &str = "MSH|^~\\&|LAB|N|OE|N|20261121100000||ORU^R01|1|P|2.5.1\r\
    PID|1||7^^^N~8^^^M||A^B||1980|F|||\"\"\rOBR|1|P1\rOBX|1|NM|K||6.9\rOBX|2|NM|G||+004.10\r\
    OBX|3|NM|X||1e3\rOBX|4|NM|X||1_000\rOBX|5|NM|X||<5\rOBX|6|TM|X||1530\r\
    OBX|7|DTM|X||202603011545+0100\rOBX|8|DT|X||20260301\rOBX|9|TM|X||235960\rOBX|10|TX|X||a\\F\\b\r\
    OBX|11|NM|X||\"\"\rOBX|12|NM|X||";

#[test]
fn every_typed_reading_gives_a_value_or_says_what_is_wrong_and_where() {
    let values = values_of(KINDS);
    for (text, expected) in [
        ("m.number(\"OBX-5\")", "6.9"),
        ("m.number(\"OBX[2]-5\")", "4.10"),
        ("m.time(\"OBX[6]-5\")", "15:30:00"),
        ("m.time(\"OBX[7]-5\")", "15:45:00"),
        ("m.time(\"OBX[9]-5\")", "23:59:59"),
        ("m.date(\"OBX[7]-5\")", "2026-03-01"),
        ("m.date(\"OBX[8]-5\")", "2026-03-01"),
        ("m.datetime(\"OBX[7]-5\")", "2026-03-01T15:45:00+01:00"),
        ("age(m.datetime(\"PID-7\")) > 40", "true"),
        ("m.text(\"OBX[10]-5\")", "a|b"),
        ("m.text(\"PID-11\")", "\"\""),
        ("m.has(\"PID-11\")", "true"),
        ("m.has(\"PID-12\")", "false"),
        ("m.has(\"OBX[12]-5\")", "false"),
        ("m.has(\"OBR\")", "true"),
        ("m.has(\"ZZZ\")", "false"),
        ("m.has(\"ORDER_OBSERVATION\")", "true"),
        ("m.has(\"SPECIMEN\")", "false"),
        ("m.all(\"PID-3.4\")", "N, M"),
        ("m.all(\"OBX\").len()", "12"),
        ("m.all(\"PV1\").len()", "0"),
        ("m.groups(\"OBSERVATION\").len()", "12"),
        ("m.groups(\"SPECIMEN\").len()", "0"),
        ("m.sum(\"OBX-1\")", "78"),
        ("m.sum(\"ZZZ-1\")", "0"),
        ("m.groups(\"OBSERVATION\")[1].sum(\"OBX-5\")", "4.10"),
    ] {
        match evaluate_with(text, &values) {
            Ok(value) => assert_eq!(value.to_string(), expected, "{text}"),
            Err(error) => panic!("{text}: {} {}", error.code, error.text),
        }
    }
    for (text, code, told) in [
        ("m.text(\"PV1-3\")", "field.missing", "PV1-3 has no value"),
        ("m.number(\"OBX[12]-5\")", "field.missing", "OBX[12]-5 has no value"),
        ("m.number(\"OBX[3]-5\")", "field.invalid", "OBX[3]-5 is not a number"),
        ("m.number(\"OBX[4]-5\")", "field.invalid", "OBX[4]-5 is not a number"),
        ("m.number(\"OBX[5]-5\")", "field.invalid", "OBX[5]-5 is not a number"),
        ("m.number(\"OBX[11]-5\")", "field.invalid", "OBX[11]-5 is not a number"),
        ("m.date(\"PID-7\")", "field.invalid", "PID-7 tells no day"),
        ("m.date(\"PID-5\")", "field.invalid", "PID-5 is not a date"),
        ("m.time(\"OBX[8]-5\")", "field.invalid", "OBX[8]-5 has no time of day"),
        ("m.sum(\"OBX-5\")", "field.invalid", "a value of OBX-5 is not a number"),
        ("m.groups(\"BED\")", "rule.error", "has no group `BED`"),
        ("m.has(\"BED2\")", "rule.error", "has no group `BED2`"),
    ] {
        let error = evaluate_with(text, &values).expect_err(text);
        assert!(error.code == code && error.text.contains(told), "{text}: {} {}", error.code, error.text);
    }
}

#[test]
fn times_lists_and_durations_work() {
    gives("now()", "2026-11-21T10:00:00+01:00");
    gives("now() + 2.hours", "2026-11-21T12:00:00+01:00");
    gives("today() - 1.days", "2026-11-20");
    gives("5.minutes", "5min");
    gives("list.contains(\"b\")", "true");
    gives("\"a\" in list && list.len() == 2", "true");
    gives("list.filter(|x| x != \"a\")", "b");
    gives("list.join(\"+\")", "a+b");
    gives("need.role", "doctor");
    gives("ward == ()", "true");
    gives("if count > 2 { \"many\" } else { \"few\" }", "many");
}

#[test]
fn control_ids_repeat_with_the_turn() {
    let (a, b) = (evaluate("new_control_id()").unwrap(), evaluate("new_control_id()").unwrap());
    assert_eq!(a, b);
    assert_eq!(a.to_string(), "18T2N1");
}

#[test]
fn a_missing_or_wrong_field_tells_its_path_and_place() {
    let error = evaluate("m.text(\"PV1-3\")").unwrap_err();
    assert_eq!((error.code.as_str(), error.line), ("field.missing", 7));
    assert!(error.text.contains("PV1-3"));
    assert_eq!(evaluate("m.number(\"PID-5.1\")").unwrap_err().code, "field.invalid");
    assert_eq!(evaluate("m.number(\"OBX[3]-5\")").unwrap_err().code, "field.invalid");
    assert_eq!(evaluate("need.other").unwrap_err().code, "value.missing");
}

#[test]
fn mistakes_are_found_before_it_runs() {
    assert_eq!(problem("limt > 5"), ("R21".into(), 7, 11, "did you mean `limit`?".into()));
    assert_eq!(problem("m.nubmer(\"OBX-5\") > 5"), ("R34".into(), 7, 13, "did you mean `number`?".into()));
    assert_eq!(problem("sleep(5)").0, "R34");
    assert_eq!(problem("limit > \"5\"").0, "R31");
    assert_eq!(problem("m[\"OBX-5\"] > 5").0, "R31");
    assert_eq!(problem("m[\"OBX5\"]").0, "R50");
    assert_eq!(problem("count / 2").0, "R33");
    assert_eq!(problem("1 +").0, "R20");
}

#[test]
fn the_type_of_a_formula_is_known_where_it_can_be() {
    let kind = |text: &str| Formula::compile(text, &names(), "a.yaml", 1, 1).unwrap().result().to_string();
    assert_eq!(kind("limit > 5"), "bool");
    assert_eq!(kind("limit * 2"), "decimal");
    assert_eq!(kind("`x`"), "text");
    assert_eq!(kind("m[\"PID-3\"]"), "text?");
    let formula = Formula::compile("limit > count", &names(), "a.yaml", 1, 1).unwrap();
    assert_eq!(formula.reads(), ["count", "limit"]);
}
