//! Policies: compiled once, run per message in microseconds, traced when somebody asks why.

mod bind;
mod compile;
mod head;
mod run;

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use indexmap::IndexMap;
use rhai::AST;

use crate::value::{Type, Value};

pub(crate) use bind::{bind_facts, message_time, surroundings};
pub(crate) use compile::{Known, compile, valid_name};
pub(crate) use head::{read_facts, read_type};
pub(crate) use run::run;

/// A compiled policy.
pub(crate) struct Policy {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) owner: String,
    pub(crate) file: String,
    pub(crate) facts: IndexMap<String, Type>,
    pub(crate) terms_from: Option<String>,
    pub(crate) results: IndexMap<String, ResultInfo>,
    pub(crate) as_of_message: bool,
    pub(crate) until_stable: bool,
    pub(crate) constants: Vec<(String, rhai::Dynamic)>,
    pub(crate) rules: Vec<Rule>,
    /// Groups whose terms are read as bare words.
    pub(crate) groups: BTreeSet<String>,
    pub(crate) uses_now: bool,
    pub(crate) uses_message_time: bool,
    /// `(kind, name)` of tables and code sets, and terms.
    pub(crate) uses: BTreeSet<(String, String)>,
}

/// A result of a policy.
#[derive(Debug, Clone)]
pub(crate) struct ResultInfo {
    pub(crate) kind: Type,
    pub(crate) default: Value,
    pub(crate) merge: Merge,
}

/// What a second rule may do with a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Merge {
    Same,
    First,
    Last,
    Largest,
    Smallest,
    Add,
    Append,
}

impl Merge {
    pub(crate) fn shown(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::First => "first",
            Self::Last => "last",
            Self::Largest => "largest",
            Self::Smallest => "smallest",
            Self::Add => "add",
            Self::Append => "append",
        }
    }
}

/// One rule.
pub(crate) struct Rule {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) line: u32,
    pub(crate) each: Option<String>,
    pub(crate) from: Option<NaiveDate>,
    pub(crate) until: Option<NaiveDate>,
    pub(crate) enabled: bool,
    pub(crate) stop: bool,
    pub(crate) condition: AST,
    pub(crate) parts: Vec<Part>,
    pub(crate) body: AST,
    /// Results that the body assigns: directly, and inside inner blocks only.
    pub(crate) direct: Vec<usize>,
    pub(crate) nested: Vec<usize>,
    /// Parts that coverage does not ask for.
    pub(crate) waived: Vec<u32>,
}

/// One part of a condition.
pub(crate) struct Part {
    pub(crate) text: String,
    pub(crate) line: u32,
    pub(crate) ast: AST,
    /// Facts it reads by their bare names.
    pub(crate) facts: Vec<String>,
    /// A constant `true`.
    pub(crate) always: bool,
}

/// Names that a policy gives to its functions, and how many values they take.
pub(crate) type Functions = BTreeMap<String, usize>;

#[cfg(test)]
mod tests;
