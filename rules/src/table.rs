//! Decision tables: a grid of cells, read strictly, evaluated by row (rules-language.md, section 7).

pub(crate) mod cell;
mod compile;
mod run;

use std::collections::BTreeSet;

use indexmap::IndexMap;
use rhai::AST;

use crate::value::{Type, Value};
use cell::Cell;

pub(crate) use compile::{cells, compile};
pub(crate) use run::{decide_here, run};

/// A compiled table.
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) owner: String,
    pub(crate) file: String,
    pub(crate) facts: IndexMap<String, Type>,
    pub(crate) terms_from: Option<String>,
    pub(crate) each: Option<String>,
    pub(crate) as_of_message: bool,
    pub(crate) hit: Hit,
    pub(crate) inputs: Vec<Input>,
    pub(crate) outputs: IndexMap<String, Output>,
    pub(crate) rows: Vec<Row>,
    pub(crate) otherwise: Option<IndexMap<String, Value>>,
    pub(crate) uses: BTreeSet<(String, String)>,
}

/// Which rows decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hit {
    First,
    ExactlyOne,
    Collect,
}

/// An input column.
pub(crate) struct Input {
    pub(crate) id: String,
    pub(crate) source: InputSource,
    pub(crate) kind: cell::ColumnKind,
}

/// Where an input column's value comes from.
pub(crate) enum InputSource {
    Term(String),
    Fact(String),
    /// An expression, with the facts and terms it reads.
    Expression {
        ast: AST,
        facts: Vec<String>,
        terms: Vec<String>,
        states: bool,
    },
}

/// An output column.
pub(crate) struct Output {
    pub(crate) kind: Type,
    pub(crate) default: Option<Value>,
    pub(crate) values: Vec<String>,
}

/// A row.
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) line: u32,
    pub(crate) enabled: bool,
    pub(crate) from: Option<chrono::NaiveDate>,
    pub(crate) until: Option<chrono::NaiveDate>,
    pub(crate) cells: Vec<Cell>,
    pub(crate) outputs: IndexMap<String, Value>,
}

#[cfg(test)]
mod tests;
