//! The trace of a run in the JSON form that the console, the tests and the audit read.
//!
//! Values in a trace are patient data: they follow the message's rights and retention.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// What a run did and why.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Name of the policy or table.
    pub policy: String,
    /// Hash of the bundle it ran from, in hexadecimal.
    pub bundle: String,
    /// The fixed time of the run.
    pub now: String,
    /// The day by which rules, rows and codes were valid.
    pub as_of: String,
    /// `run` or `trace`.
    pub form: String,
    /// Facts; messages by id.
    pub facts: IndexMap<String, Json>,
    /// Results.
    pub result: IndexMap<String, Json>,
    /// Rules that fired, in order, each once.
    pub fired: Vec<String>,
    /// Passes over the rules.
    pub passes: u32,
    /// Why the run failed.
    pub error: Option<String>,
    /// Rules that were tried.
    pub rules: Vec<RuleTrace>,
}

/// One try of a rule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RuleTrace {
    /// Id of the rule.
    pub rule: String,
    /// Line of its header.
    pub line: u32,
    /// `fired`, `not`, `off` or `skipped`.
    pub state: String,
    /// Exactly one part was not true.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub near: bool,
    /// Why it is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Pass, from 1.
    #[serde(default)]
    pub pass: u32,
    /// Element, from 1, when it runs once for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub element: Option<u32>,
    /// Parts of the condition.
    #[serde(default)]
    pub parts: Vec<PartTrace>,
    /// Results it wrote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writes: Vec<Write>,
    /// Decision tables it asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<CellsSeen>,
}

/// One part of a condition.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PartTrace {
    /// Number, from 1.
    pub part: u32,
    /// As written.
    pub text: String,
    /// Line in the file.
    pub line: u32,
    /// `true`, `false` or `"n/a"`.
    pub value: Json,
    /// What it read.
    #[serde(default)]
    pub seen: Vec<Seen>,
}

/// One term that was read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Column of a decision table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Term or fact.
    pub term: String,
    /// Place in the message.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// As sent, with its unit.
    pub sent: String,
    /// As compared, or why it is not comparable.
    pub compared: String,
}

/// One write to a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Write {
    /// Name of the result.
    pub result: String,
    /// Before; left out for lists.
    pub from: Json,
    /// After.
    pub to: Json,
    /// Rule of merging.
    pub merge: String,
}

/// One question to a decision table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CellsSeen {
    /// Name of the table.
    pub table: String,
    /// Row that decided, or `otherwise`.
    pub row: Option<String>,
    /// Element, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub element: Option<u32>,
    /// Inputs, by column.
    pub inputs: Vec<Seen>,
    /// Rows in order, one letter for each input column: `y` hit, `n` not, `x` not comparable,
    /// `-` no condition.
    pub rows: Vec<RowSeen>,
}

/// One row of a decision table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RowSeen {
    /// Id of the row.
    pub row: String,
    /// One letter for each input column.
    pub cells: String,
    /// The one column that was not hit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub near: Option<String>,
}

impl Trace {
    /// Rules and rows that missed by exactly one part or cell, each once.
    pub fn near(&self) -> Vec<String> {
        let mut near: Vec<String> = Vec::new();
        let rows = self.rules.iter().flat_map(|rule| &rule.tables).flat_map(|table| &table.rows);
        let names = self.rules.iter().filter(|rule| rule.near).map(|rule| &rule.rule);
        for name in names.chain(rows.filter(|row| row.near.is_some()).map(|row| &row.row)) {
            if !near.contains(name) {
                near.push(name.clone());
            }
        }
        near
    }
}

/// What a map did: one entry for each place it set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MapTrace {
    /// Name of the map.
    pub map: String,
    /// Hash of the bundle it ran from, in hexadecimal.
    pub bundle: String,
    /// Places in the order they were set.
    pub places: Vec<PlaceTrace>,
}

/// One place that a map set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PlaceTrace {
    /// Place in the new message.
    pub to: String,
    /// Places it came from.
    pub from: Vec<String>,
    /// Code set, source and target, when a code was looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<CodeSeen>,
    /// Line of the map.
    pub line: u32,
}

/// One code that was looked up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CodeSeen {
    /// Name of the code set.
    pub set: String,
    /// Code asked for.
    pub source: String,
    /// Code found.
    pub target: String,
}
