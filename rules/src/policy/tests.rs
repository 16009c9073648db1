//! The table of mistakes of the reference, merging, passes and errors.

use chrono::DateTime;

use crate::book::{Files, RuleBook};
use crate::decision::{Facts, Run, TraceLevel};
use crate::value::{MessageValue, Value};

const VOCABULARY: &str = "vocabulary: t
title: t
groups:
  patient: { title: Patient }
  visit: { title: Visit }
  observation: { title: Line, repeats: OBX }
terms:
  patient.id: { title: Number, type: text, path: PID-3.1 }
  patient.birth_date: { title: Born, type: date, path: PID-7 }
  patient.age: { title: Age, type: age, from: patient.birth_date }
  visit.ward: { title: Ward, type: code, path: PV1-3.1 }
  observation.value: { title: Value, type: decimal, path: OBX-5 }
";

fn files(policy: &str) -> Files {
    let file = |text: &str| std::sync::Arc::from(text.as_bytes());
    Files::from([
        ("vocabulary.yaml".to_owned(), file(VOCABULARY)),
        ("policies/sample.rhai".to_owned(), file(policy)),
    ])
}

fn head(results: &str) -> String {
    format!(
        "//@ policy: sample\n//@ title: Sample\n//@ owner: lab\n//@ facts: {{ oru: message ORU_R01, price: decimal? }}\n//@ result: {{ {results} }}\n"
    )
}

fn book(results: &str, rules: &str) -> Result<RuleBook, Vec<crate::Diagnostic>> {
    RuleBook::load(&files(&format!("{}{rules}", head(results))), &Files::new())
}

fn problems(rules: &str) -> Vec<String> {
    let list = book("any: { type: bool, default: false }, n: { type: decimal, default: 0 }", rules)
        .map(|_| ())
        .expect_err(rules);
    list.iter()
        .map(|d| {
            let help = d.help.as_deref().map(|help| format!(": {help}")).unwrap_or_default();
            format!("{}:{} {} {}{help}", d.line, d.column, d.code, d.message)
        })
        .collect()
}

fn rule(condition: &str, body: &str) -> String {
    format!("//@ rule: one\n//@ title: One\nif {condition} {{ {body} }}\n")
}

#[track_caller]
fn refused(condition: &str, body: &str, expected: &str) {
    let found = problems(&rule(condition, body));
    assert!(found.iter().any(|problem| problem == expected), "{found:#?}\nexpected {expected}");
}

#[test]
fn the_mistakes_of_the_reference_are_told_as_it_says() {
    refused(
        "observation.valeu > 5",
        "any = true;",
        "8:16 R30 unknown term `observation.valeu`: did you mean `observation.value`?",
    );
    refused(
        "observation.value > \"5\"",
        "any = true;",
        "8:22 R31 `observation.value` is number, `\"5\"` is text: they never compare: use number(..) or write the text as a number",
    );
    refused(
        "patient.age > 18",
        "any = true;",
        "8:16 R31 `patient.age` is age, `18` is number: they never compare: write 18.years, 18.days or another unit",
    );
    refused(
        "!(observation.value > 5)",
        "any = true;",
        "8:4 R32 `!` would be true for a missing value: write the opposite test",
    );
    refused(
        "present(visit.ward)",
        "n = 7 / 2;",
        "8:32 R33 whole numbers divide to a whole number: write 2.0",
    );
    refused(
        "presnt(visit.ward)",
        "any = true;",
        "8:4 R34 unknown function `presnt`: did you mean `present`?",
    );
    refused("true", "any = \"yes\";", "8:17 R36 result `any` is yes/no, but \"yes\" is text");
    refused(
        "patient.id.len() > 3",
        "any = true;",
        "8:15 R38 a term has no `len()`: it may be missing: use starts, ends, has, like_ or text(..)",
    );
    refused("true", "ayn = true;", "8:11 R21 Undefined variable: ayn: did you mean `any`?");
}

#[test]
fn mistakes_of_structure_are_told() {
    let found = problems("// rule: a\n//@ rule: one\n//@ title: One\nif true { any = true; }\n");
    assert_eq!(found[0], "6:1 R02 this looks like a rule header but is an ordinary comment: write `//@ `");
    let found = problems("//@ rule: one\n//@ enbled: false\n//@ title: One\nif true { any = true; }\n");
    assert!(
        found.iter().any(|p| p.contains("R04 unknown key `enbled`: did you mean `enabled`?")),
        "{found:?}"
    );
    let found = problems("//@ rule: one\n//@ title: One\nif true { any = true; } else { any = false; }\n");
    assert_eq!(found, ["8:25 R13 only comments may follow a rule (no `else`): write another rule"]);
}

#[test]
fn every_mistake_of_a_file_is_reported_at_once() {
    let second = rule("!(observation.value > 5)", "patient = 3;").replace("one", "two");
    let text = format!("{}{second}", rule("observation.valeu > 5", "any = \"yes\";"));
    let found = problems(&text);
    for code in ["R30", "R36", "R32"] {
        assert!(found.iter().any(|problem| problem.contains(code)), "{code}: {found:#?}");
    }
}

#[test]
fn conditions_change_nothing_and_bodies_do_not_loop_for_ever() {
    assert!(problems(&rule("true", "while true { any = true; }"))[0].contains("R15"));
    assert!(problems(&rule("true", "return;"))[0].contains("R15"));
    assert!(
        problems(&rule("in_set(visit.ward, \"nowhere\")", "any = true;"))[0]
            .contains("R40 unknown code set `nowhere`")
    );
    assert!(!problems(&rule("eval(\"1\")", "any = true;")).is_empty());
}

fn evaluate(results: &str, rules: &str, message: &str) -> Result<crate::Decision, crate::RuleError> {
    let book = match book(results, rules) {
        Ok(book) => book,
        Err(list) => panic!("{list:#?}"),
    };
    let message = orderly_hl7::Message::parse(message).unwrap();
    let facts = Facts::Positional(vec![Value::Message(MessageValue::new(message))]);
    let run =
        Run { now: DateTime::parse_from_rfc3339("2026-11-21T10:00:00Z").unwrap(), trace: TraceLevel::All };
    let traced = book.evaluate("sample", facts.clone(), &run);
    let plain = book.evaluate("sample", facts, &Run { trace: TraceLevel::Fired, ..run });
    match (&traced, &plain) {
        (Ok(a), Ok(b)) => assert_eq!((&a.result, &a.fired), (&b.result, &b.fired)),
        (Err(a), Err(b)) => assert_eq!(a.text, b.text),
        _ => panic!("the forms differ: {traced:?} {plain:?}"),
    }
    traced
}

const MESSAGE: &str = "MSH|^~\\&|L|||H|20261121\rPID|1||7\rOBX|1|NM|K||6.9\rOBX|2|NM|K||";

#[test]
fn two_rules_that_disagree_are_an_error_naming_both() {
    let rules = "//@ rule: low\n//@ title: Low\nif true { n = 1; }\n//@ rule: high\n//@ title: High\nif true { n = 2; }\n";
    let error = evaluate("n: { type: decimal, default: 0 }", rules, MESSAGE).unwrap_err();
    assert_eq!(error.text, "rules `low` and `high` give `n` different values");
    assert_eq!(error.rule.as_deref(), Some("high"));
    for (merge, expected) in [("first", "1"), ("last", "2"), ("largest", "2"), ("smallest", "1")] {
        let decision =
            evaluate(&format!("n: {{ type: decimal, default: 0, merge: {merge} }}"), rules, MESSAGE).unwrap();
        assert_eq!(decision.result["n"].to_string(), expected, "{merge}");
    }
    let added = rules.replace("n = ", "n += ");
    let decision = evaluate("n: { type: decimal, default: 0, merge: add }", &added, MESSAGE).unwrap();
    assert_eq!(decision.result["n"].to_string(), "3");
}

#[test]
fn a_missing_value_makes_every_comparison_false() {
    let rules = |test: &str| format!("//@ rule: one\n//@ title: One\nif {test} {{ n = 1; }}\n");
    for test in [
        "price > 5",
        "price != 5",
        "price <= 5",
        "patient.birth_date < now",
        "patient.age >= 1.days",
        "visit.ward != \"ICU\"",
    ] {
        let decision = evaluate("n: { type: decimal, default: 0 }", &rules(test), MESSAGE).unwrap();
        assert_eq!(decision.fired, Vec::<String>::new(), "{test}");
        assert_eq!(decision.trace.near(), ["one"], "{test}");
    }
    assert_eq!(
        evaluate("n: { type: decimal, default: 0 }", &rules("blank(price)"), MESSAGE).unwrap().fired,
        ["one"]
    );
}

#[test]
fn each_state_of_a_place_is_known_by_its_own_words_and_compares_as_nothing_but_a_value() {
    const STATES: [&str; 5] = ["present", "blank", "absent", "deleted", "unreadable"];
    let fires = |test: &str, segments: &str| {
        let rules = format!("//@ rule: one\n//@ title: One\nif {test} {{ n = 1; }}\n");
        let message = format!("MSH|^~\\&|L|||H|20261121\r{segments}");
        !evaluate("n: { type: decimal, default: 0 }", &rules, &message).unwrap().fired.is_empty()
    };
    let ward = ["== \"ICU\"", "!= \"HDU\"", "in [\"ICU\", \"HDU\"]"].map(|test| format!("visit.ward {test}"));
    let birth = ["< now", "!= date(\"1980-01-01\")", "> date(\"1900-01-01\")"]
        .map(|test| format!("patient.birth_date {test}"));
    for (term, tests, segments, states, compares) in [
        ("visit.ward", &ward, "PV1|1|O|ICU", &["present"][..], true),
        ("visit.ward", &ward, "PV1|1|O||x", &["blank"], false),
        ("visit.ward", &ward, "PID|1", &["blank", "absent"], false),
        ("visit.ward", &ward, "PV1|1|O|\"\"", &["blank", "deleted"], false),
        ("patient.birth_date", &birth, "PID|1||7||||19790228", &["present"], true),
        ("patient.birth_date", &birth, "PID|1||7||||1979", &["present"], true),
        ("patient.birth_date", &birth, "PID|1||7||||00", &["present", "unreadable"], false),
        ("patient.birth_date", &birth, "PID|1||7||||\"\"", &["blank", "deleted"], false),
    ] {
        for state in STATES {
            assert_eq!(
                fires(&format!("{state}({term})"), segments),
                states.contains(&state),
                "{state} {segments}"
            );
        }
        for test in tests {
            assert_eq!(fires(test, segments), compares, "{test} {segments}");
        }
    }
}

#[test]
fn calculating_with_a_missing_value_is_an_error_with_its_place() {
    let rules = "//@ rule: one\n//@ title: One\nif true { n = observation.value + 1; }\n";
    let error = evaluate("n: { type: decimal, default: 0 }", rules, "MSH|^~\\&|L\rPID|1").unwrap_err();
    assert_eq!((error.code.as_str(), error.line), ("field.missing", 8));
    assert_eq!(error.trace.rules.len(), 1);
}

#[test]
fn rules_that_alternate_are_found() {
    let head = head("hot: { type: bool, default: false, merge: last }")
        .replace("//@ result", "//@ passes: until-stable\n//@ result");
    let rules = "//@ rule: heat\n//@ title: Heat\nif hot == false { hot = true; }\n//@ rule: cool\n//@ title: Cool\nif hot == true { hot = false; }\n";
    let book = RuleBook::load(&files(&format!("{head}{rules}")), &Files::new()).unwrap();
    let message = orderly_hl7::Message::parse(MESSAGE).unwrap();
    let facts = Facts::Positional(vec![Value::Message(MessageValue::new(message))]);
    let run = Run { now: DateTime::default(), trace: TraceLevel::Fired };
    let error = book.evaluate("sample", facts, &run).unwrap_err();
    assert_eq!(error.text, "these rules alternate: heat, cool");
}

#[test]
fn an_endless_rule_ends_as_an_error() {
    let loops = "for a in 0..4000 { for b in 0..4000 { for c in 0..4000 { n = 1; } } }";
    let rules = format!("//@ rule: one\n//@ title: One\nif true {{ {loops} }}\n");
    let book = book("n: { type: decimal, default: 0 }", &rules).unwrap();
    let message = MessageValue::new(orderly_hl7::Message::parse(MESSAGE).unwrap());
    let run =
        Run { now: DateTime::parse_from_rfc3339("2026-11-21T10:00:00Z").unwrap(), trace: TraceLevel::Fired };
    // Which of the two limits ends it first depends on the machine.
    let error = book.evaluate("sample", Facts::Positional(vec![Value::Message(message)]), &run).unwrap_err();
    assert!(error.text.contains("too"), "{}", error.text);
}

#[test]
fn a_changed_code_set_is_another_bundle_and_a_changed_test_is_not() {
    let library = RuleBook::library();
    let hash =
        |files: &Files| RuleBook::load(files, &Files::new()).unwrap().policy("critical-values").unwrap().hash;
    let before = hash(&library);
    let mut changed = library.clone();
    changed.insert("policies/critical-values.test.yaml".into(), std::sync::Arc::from(&b""[..]));
    assert_eq!(hash(&changed), before);
    let mut text = String::from_utf8(library["codesets/potassium.csv"].to_vec()).unwrap();
    text.push_str("9999-9,More potassium\n");
    changed.insert("codesets/potassium.csv".into(), std::sync::Arc::from(text.as_bytes()));
    assert_ne!(hash(&changed), before);
}

#[test]
fn a_site_replaces_a_library_file_only_when_it_says_so() {
    let library = RuleBook::library();
    let text = String::from_utf8(library["policies/credit-rating.rhai"].to_vec()).unwrap();
    let with = |text: &str| {
        let site =
            Files::from([("policies/credit-rating.rhai".to_owned(), std::sync::Arc::from(text.as_bytes()))]);
        RuleBook::load(&library, &site)
    };
    let problems = with(&text).unwrap_err();
    assert_eq!(problems[0].code, "R00");
    assert!(with(&text.replace("//@ owner", "//@ replaces: library\n//@ owner")).is_ok());
}
