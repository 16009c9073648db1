//! Formulas of definitions: compiled once, checked before they run, evaluated in microseconds.

use std::collections::BTreeMap;
use std::rc::Rc;

use chrono::{DateTime, FixedOffset};

use crate::control_ids::ControlIds;
use crate::diagnostic::Diagnostic;
use crate::value::{Type, Value};

/// The names a formula may read, with their types.
pub type Names = BTreeMap<String, Type>;

/// A compiled formula.
#[derive(Debug, Clone)]
pub struct Formula {}

/// What is fixed while formulas of a turn run.
#[derive(Debug, Clone)]
pub struct Context {
    /// The fixed time of the turn.
    pub now: DateTime<FixedOffset>,
    /// Source of `new_control_id()`; none where it may not be used.
    pub control_ids: Option<Rc<ControlIds>>,
}

/// Why a formula failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{text}")]
pub struct FormulaError {
    /// Stable code: `field.missing`, `field.invalid`, `formula.error`.
    pub code: String,
    /// What happened.
    pub text: String,
    /// Line in the file.
    pub line: u32,
    /// Column in the file.
    pub column: u32,
}

impl Formula {
    /// Compiles and checks a formula whose first character stands at `line` and `column` of `file`.
    pub fn compile(
        _text: &str,
        _names: &Names,
        _file: &str,
        _line: u32,
        _column: u32,
    ) -> Result<Self, Vec<Diagnostic>> {
        Ok(Self {})
    }
    /// The type of the result, as far as it is known.
    pub fn result(&self) -> &Type {
        &Type::Any
    }
    /// The names it reads.
    pub fn reads(&self) -> &[String] {
        &[]
    }
    /// Evaluates it; `read` gives the names' values.
    pub fn evaluate<'v>(
        &self,
        _read: &dyn Fn(&str) -> Option<&'v Value>,
        _context: &Context,
    ) -> Result<Value, FormulaError> {
        Ok(Value::None)
    }
}
