//! Comparing what came out with what a case expects.

use orderly_hl7::{Message, Value as Hl7};
use rust_decimal::Decimal;

use crate::decision::{Decision, RuleError};
use crate::diagnostic::Problems;
use crate::value::Value;
use crate::yaml::{Codes, Keys, Kind, Node, Spanned};

const ALL: &[&str] = &["result", "fired", "near", "row", "rows", "fields", "same_as", "absent", "error"];

fn open<'n>(expect: &'n Node, problems: &mut Problems) -> Option<Keys<'n>> {
    let keys = Keys::open(expect, "`expect`", &Codes::RULES, problems)?;
    for key in ALL {
        keys.get(key);
    }
    keys.finish(problems);
    Some(keys)
}

fn words(list: &[Spanned<String>]) -> Vec<String> {
    list.iter().map(|word| word.value.clone()).collect()
}

pub(super) fn check_decision(
    expect: &Node,
    decision: &Decision,
    failures: &mut Vec<String>,
    problems: &mut Problems,
) {
    let Some(keys) = open(expect, problems) else { return };
    if let Some(error) = keys.text("error", problems) {
        failures.push(format!("an error `{}` was expected, but it went through", error.value));
    }
    if let Some(node) = keys.get("result") {
        let map = Value::Map(decision.result.clone());
        compare(node, &map, "result", failures);
    }
    if keys.get("fired").is_some() {
        let wanted = words(&keys.texts("fired", problems));
        let order_free = decision.trace.passes > 1;
        let sorted = |list: &[String]| {
            let mut list = list.to_vec();
            list.sort();
            list
        };
        let same =
            if order_free { sorted(&wanted) == sorted(&decision.fired) } else { wanted == decision.fired };
        if !same {
            failures.push(format!(
                "fired: [{}], expected [{}]",
                decision.fired.join(", "),
                wanted.join(", ")
            ));
        }
    }
    check_near(&keys, &decision.trace, failures, problems);
    let rows: Vec<String> = match keys.get("row").or(keys.get("rows")) {
        Some(_) => decision.fired.clone(),
        None => return,
    };
    let mut wanted = words(&keys.texts("row", problems));
    wanted.extend(words(&keys.texts("rows", problems)));
    if wanted != rows {
        failures.push(format!("rows: [{}], expected [{}]", rows.join(", "), wanted.join(", ")));
    }
}

fn check_near(
    keys: &Keys<'_>,
    trace: &crate::trace::Trace,
    failures: &mut Vec<String>,
    problems: &mut Problems,
) {
    let near = trace.near();
    for wanted in keys.texts("near", problems) {
        if !near.contains(&wanted.value) {
            failures.push(format!(
                "`{}` did not miss by exactly one; near were [{}]",
                wanted.value,
                near.join(", ")
            ));
        }
    }
}

pub(super) fn check_error(
    expect: &Node,
    error: &RuleError,
    failures: &mut Vec<String>,
    problems: &mut Problems,
) {
    let Some(keys) = open(expect, problems) else { return };
    let shown = format!("{}: {}", error.code, error.text);
    match keys.text("error", problems) {
        Some(wanted) if shown.contains(&wanted.value) => {
            if keys.get("result").is_some() {
                failures.push("a case expects either an error or a result".to_owned());
            }
            check_near(&keys, &error.trace, failures, problems);
        }
        Some(wanted) => failures.push(format!("error `{shown}`, expected `{}`", wanted.value)),
        None => failures.push(format!("error `{shown}` at {}:{}:{}", error.file, error.line, error.column)),
    }
}

/// Subset: keys that are not named are free; lists compare in order and length.
fn compare(wanted: &Node, found: &Value, place: &str, failures: &mut Vec<String>) {
    match (&wanted.kind, found) {
        (Kind::Map(entries), Value::Map(map)) => {
            for (key, node) in entries {
                let place = format!("{place}.{}", key.value);
                match map.get(&key.value) {
                    Some(value) => compare(node, value, &place, failures),
                    None => failures.push(format!("{place} is not there")),
                }
            }
        }
        (Kind::List(items), Value::List(values)) => {
            if items.len() != values.len() {
                failures.push(format!("{place} has {} entries, expected {}", values.len(), items.len()));
                return;
            }
            for (at, (node, value)) in items.iter().zip(values).enumerate() {
                compare(node, value, &format!("{place}[{}]", at + 1), failures);
            }
        }
        (Kind::Nothing, Value::None) => {}
        (Kind::Scalar { text, .. }, value) if scalar(text, value) => {}
        _ => {
            let shown = wanted.as_text().unwrap_or(wanted.describe());
            failures.push(format!("{place} is `{found}`, expected `{shown}`"));
        }
    }
}

fn scalar(text: &str, value: &Value) -> bool {
    match value {
        Value::Int(_) | Value::Decimal(_) => {
            text.parse::<Decimal>().ok().is_some_and(|wanted| Some(wanted) == value.as_decimal())
        }
        Value::Duration(found) => crate::duration::parse(text) == Some(*found),
        Value::Bool(found) => matches!((text, found), ("true" | "yes", true) | ("false" | "no", false)),
        Value::List(_) | Value::Map(_) => false,
        other => other.to_string() == text,
    }
}

pub(super) fn check_message(
    expect: &Node,
    message: &Message,
    whole: Option<Result<Message, String>>,
    failures: &mut Vec<String>,
    problems: &mut Problems,
) {
    let Some(keys) = open(expect, problems) else { return };
    if let Some(error) = keys.text("error", problems) {
        failures.push(format!("an error `{}` was expected, but a message came out", error.value));
    }
    if let Some(fields) = keys.get("fields") {
        for (path, wanted) in fields.keyed("fields", &Codes::RULES, problems) {
            let Ok(place) = path.value.parse() else {
                failures.push(format!("`{}` is no place", path.value));
                continue;
            };
            let found = match message.get(&place) {
                Hl7::Delete => "\"\"".to_owned(),
                other => other.into_text().into_owned(),
            };
            let wanted = wanted.as_text().unwrap_or_default();
            if found != wanted {
                failures.push(format!("{} is `{found}`, expected `{wanted}`", path.value));
            }
        }
    }
    for path in keys.texts("absent", problems) {
        let there = match path.value.parse() {
            Ok(place) => message.get(&place).is_populated(),
            Err(_) => message.find(&path.value, 1).is_some(),
        };
        if there {
            failures.push(format!("{} is there", path.value));
        }
    }
    match whole {
        Some(Ok(wanted)) if wanted.bytes().trim_ascii_end() != message.bytes().trim_ascii_end() => {
            failures.push("the message is not the expected one".to_owned());
        }
        Some(Err(error)) => failures.push(error),
        _ => {}
    }
}
