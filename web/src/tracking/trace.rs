//! Why the rules decided so: the trace of a run, as the page shows it. Near misses come first, because they answer
//! most questions; values are shown only to those who may read messages.

use serde_json::Value;

use super::MASK;

/// A trace for the page.
#[derive(Default)]
pub(crate) struct TraceView {
    pub(crate) policy: String,
    pub(crate) version: String,
    pub(crate) now: String,
    pub(crate) micros: String,
    pub(crate) error: String,
    pub(crate) result: Vec<(String, String)>,
    pub(crate) fired: Vec<String>,
    pub(crate) near: Vec<String>,
    pub(crate) rules: Vec<RuleView>,
}

/// One rule that was tried.
pub(crate) struct RuleView {
    pub(crate) name: String,
    pub(crate) line: String,
    pub(crate) element: String,
    /// `fired`, `not`, `off` or `skipped`.
    pub(crate) state: String,
    pub(crate) word: &'static str,
    pub(crate) tone: &'static str,
    pub(crate) near: bool,
    pub(crate) parts: Vec<PartView>,
    pub(crate) writes: Vec<String>,
    pub(crate) tables: Vec<TableView>,
}

/// One part of a condition.
pub(crate) struct PartView {
    pub(crate) mark: &'static str,
    pub(crate) word: &'static str,
    pub(crate) text: String,
    pub(crate) seen: Vec<String>,
}

/// A decision table that a rule asked.
pub(crate) struct TableView {
    pub(crate) name: String,
    pub(crate) row: String,
    pub(crate) columns: Vec<(String, String)>,
    pub(crate) rows: Vec<TableRow>,
}

/// One row of it, with a mark for each column.
pub(crate) struct TableRow {
    pub(crate) name: String,
    pub(crate) hit: bool,
    pub(crate) near: String,
    pub(crate) cells: Vec<(&'static str, &'static str)>,
}

/// Reads the JSON of a trace. `reads`: the person may see values.
pub(crate) fn view(json: &str, reads: bool) -> Option<TraceView> {
    let trace: Value = serde_json::from_str(json).ok()?;
    Some(of(&trace, reads))
}

/// The same from a trace that was not stored.
pub(crate) fn of(trace: &Value, reads: bool) -> TraceView {
    let rules: Vec<RuleView> = list(&trace["rules"]).iter().map(|rule| rule_view(rule, reads)).collect();
    let near = rules.iter().filter(|rule| rule.near).filter_map(near_miss).collect();
    let result = trace["result"].as_object().into_iter().flatten();
    TraceView {
        policy: text(&trace["policy"]),
        version: text(&trace["version"]),
        now: text(&trace["now"]),
        micros: text(&trace["micros"]),
        error: match &trace["error"] {
            Value::Object(error) => error.get("text").map(text).unwrap_or_default(),
            other => text(other),
        },
        result: result.map(|(name, value)| (name.clone(), shown(value, reads))).collect(),
        fired: list(&trace["fired"]).iter().map(text).collect(),
        near,
        rules,
    }
}

fn rule_view(rule: &Value, reads: bool) -> RuleView {
    let state = text(&rule["state"]);
    let near = rule["near"].as_bool().unwrap_or(false);
    let (word, tone) = match state.as_str() {
        "fired" => ("Fired", "good"),
        "off" => ("Switched off", "warn"),
        "skipped" => ("Not reached", "quiet"),
        _ if near => ("Nearly", "info"),
        _ => ("Did not apply", "quiet"),
    };
    RuleView {
        name: text(&rule["rule"]),
        line: text(&rule["line"]),
        element: text(&rule["element"]),
        state,
        word,
        tone,
        near,
        parts: list(&rule["parts"]).iter().map(|part| part_view(part, reads)).collect(),
        writes: list(&rule["writes"]).iter().map(|write| write_text(write, reads)).collect(),
        tables: list(&rule["tables"]).iter().map(|table| table_view(table, reads)).collect(),
    }
}

fn part_view(part: &Value, reads: bool) -> PartView {
    let (mark, word) = match &part["value"] {
        Value::Bool(true) => ("✓", "true"),
        Value::Bool(false) => ("✕", "false"),
        _ => ("·", "not needed"),
    };
    PartView {
        mark,
        word,
        text: text(&part["text"]),
        seen: list(&part["seen"]).iter().map(|seen| seen_text(seen, reads)).collect(),
    }
}

fn seen_text(seen: &Value, reads: bool) -> String {
    let (term, path) = (text(&seen["term"]), text(&seen["path"]));
    let (sent, compared) = (shown(&seen["sent"], reads), shown(&seen["compared"], reads));
    let place = if path.is_empty() { String::new() } else { format!(" ({path})") };
    if sent == compared || sent.is_empty() {
        format!("{term}{place} is {}", if compared.is_empty() { "empty" } else { &compared })
    } else {
        format!("{term}{place} came as {sent}, compared as {compared}")
    }
}

fn write_text(write: &Value, reads: bool) -> String {
    let (name, to) = (text(&write["result"]), shown(&write["to"], reads));
    format!("{name} becomes {to}")
}

fn table_view(table: &Value, reads: bool) -> TableView {
    let hit = text(&table["row"]);
    TableView {
        name: text(&table["table"]),
        columns: list(&table["inputs"])
            .iter()
            .map(|input| (text(&input["column"]), shown(&input["compared"], reads)))
            .collect(),
        rows: list(&table["rows"])
            .iter()
            .map(|row| {
                let name = text(&row["row"]);
                TableRow {
                    hit: name == hit,
                    near: text(&row["near"]),
                    cells: text(&row["cells"]).chars().map(cell).collect(),
                    name,
                }
            })
            .collect(),
        row: hit,
    }
}

fn cell(letter: char) -> (&'static str, &'static str) {
    match letter {
        'y' => ("✓", "hit"),
        'n' => ("✕", "not"),
        'x' => ("∅", "not comparable"),
        _ => ("·", "no condition"),
    }
}

/// "Rule structured-above failed on one part: observation.value > 30".
fn near_miss(rule: &RuleView) -> Option<String> {
    let part = rule.parts.iter().find(|part| part.word == "false")?;
    let seen =
        if part.seen.is_empty() { String::new() } else { format!(", because {}", part.seen.join(" and ")) };
    let element =
        if rule.element.is_empty() { String::new() } else { format!(" for element {}", rule.element) };
    Some(format!("Rule {}{element} failed on one part: {}{seen}", rule.name, part.text))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// What is not patient data: names, marks, numbers of lines.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What may be patient data.
fn shown(value: &Value, reads: bool) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        _ if !reads => MASK.to_owned(),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => items.iter().map(|item| shown(item, reads)).collect::<Vec<_>>().join("; "),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| format!("{name} {}", shown(value, reads)))
            .collect::<Vec<_>>()
            .join(", "),
        other => text(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = r#"{ "policy": "critical-values", "version": 13, "now": "2026-11-21T10:00:00Z", "micros": 310,
      "result": { "any": true, "findings": [ { "row": "k-high" } ] }, "fired": ["listed"], "error": null,
      "rules": [
        { "rule": "listed", "line": 15, "state": "fired", "element": 1,
          "parts": [ { "part": 1, "text": "present(observation.code)", "value": true,
            "seen": [ { "term": "observation.code", "path": "OBX[1]-3.1", "sent": "2823-3", "compared": "2823-3" } ] } ],
          "writes": [ { "result": "any", "from": false, "to": true } ],
          "tables": [ { "table": "critical-limits", "row": "k-high",
            "inputs": [ { "column": "value", "sent": "6.9 mmol/L", "compared": "6.9" } ],
            "rows": [ { "row": "k-neo", "cells": "yyn-", "near": "age" }, { "row": "k-high", "cells": "yy-y" } ] } ] },
        { "rule": "structured-above", "line": 30, "state": "not", "near": true,
          "parts": [ { "text": "observation.value > 30", "value": false,
            "seen": [ { "term": "observation.value", "path": "OBX[1]-5", "sent": "6.9", "compared": "6.9" } ] } ] } ] }"#;

    #[test]
    fn near_misses_read_as_sentences() {
        let trace = view(TRACE, true).unwrap();
        assert_eq!(
            trace.near,
            [
                "Rule structured-above failed on one part: observation.value > 30, because observation.value (OBX[1]-5) is 6.9"
            ]
        );
        assert!(trace.rules[0].tables[0].rows[1].hit);
    }

    #[test]
    fn values_are_masked_for_those_who_may_not_read_messages() {
        let trace = view(TRACE, false).unwrap();
        assert!(trace.near[0].ends_with("is ••••"), "{}", trace.near[0]);
        assert_eq!(trace.rules[0].tables[0].columns[0].1, MASK);
        assert_eq!(trace.result[0].1, "yes");
        assert_eq!(trace.result[1].1, MASK);
    }
}
