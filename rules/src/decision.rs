//! What goes into a run of a policy and what comes out.

use chrono::{DateTime, FixedOffset};
use indexmap::IndexMap;

use crate::trace::Trace;
use crate::value::{Type, Value};

/// The facts of a run: by position, in the order of the policy's head, or by name.
#[derive(Debug, Clone, PartialEq)]
pub enum Facts {
    /// In the order of the head.
    Positional(Vec<Value>),
    /// By name.
    Named(IndexMap<String, Value>),
}

impl Facts {
    /// Facts by name.
    pub fn named<N: Into<String>>(pairs: impl IntoIterator<Item = (N, Value)>) -> Self {
        Self::Named(pairs.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}

/// What is fixed for a run.
#[derive(Debug, Clone)]
pub struct Run {
    /// The time of the turn.
    pub now: DateTime<FixedOffset>,
    /// How much to record.
    pub trace: TraceLevel,
}

/// How much of a run is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TraceLevel {
    /// The rules that fired and the results.
    #[default]
    Fired,
    /// Every rule, part and value: for tests, simulation and "why".
    All,
}

/// What a policy decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The typed result.
    pub result: IndexMap<String, Value>,
    /// Rules that fired, in order, each once.
    pub fired: Vec<String>,
    /// What was recorded.
    pub trace: Trace,
    /// Identity of the bundle that ran.
    pub hash: [u8; 32],
}

impl Decision {
    /// The result with `fired` as one map, the form that definitions see.
    pub fn into_value(self) -> Value {
        let mut map = self.result;
        map.insert("fired".to_owned(), Value::List(self.fired.into_iter().map(Value::Text).collect()));
        Value::Map(map)
    }
}

/// Why a run failed. No result leaves a failed run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{text}")]
pub struct RuleError {
    /// Stable code: `rule.error`, `field.missing`, `fact.missing`, `code.unmapped`.
    pub code: String,
    /// Rule that failed.
    pub rule: Option<String>,
    /// File it stands in.
    pub file: String,
    /// Line, from 1; 0 when unknown.
    pub line: u32,
    /// Column, from 1; 0 when unknown.
    pub column: u32,
    /// What happened. May name values: show it only to those who may read messages.
    pub text: String,
    /// What was recorded so far.
    pub trace: Box<Trace>,
}

impl RuleError {
    /// An error without place.
    pub fn new(code: &str, text: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            rule: None,
            file: String::new(),
            line: 0,
            column: 0,
            text: text.into(),
            trace: Box::default(),
        }
    }
}

/// What is known of a policy, table or map without running it.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyInfo {
    /// Its name.
    pub name: String,
    /// Its title.
    pub title: String,
    /// Role that may edit it.
    pub owner: String,
    /// Path of its file below `rules/`.
    pub file: String,
    /// Facts in call order; for a map its inputs.
    pub facts: Vec<(String, Type)>,
    /// Result; for a map the message it makes.
    pub result: Vec<(String, Type)>,
    /// Identity of its bundle.
    pub hash: [u8; 32],
    /// What it uses: `table critical-limits`, `codeset potassium`, `term patient.age`.
    pub uses: Vec<String>,
    /// Rules or rows: id and title.
    pub rules: Vec<(String, String)>,
    /// True for a decision table.
    pub table: bool,
}

/// A hash in hexadecimal.
pub(crate) fn hex(hash: &[u8; 32]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(64);
    for byte in hash {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}
