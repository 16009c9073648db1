//! Formulas of definitions: compiled once, checked before they run, evaluated in microseconds.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use chrono::{DateTime, FixedOffset};
use rhai::{AST, Dynamic, EvalAltResult, Scope};

use crate::control_ids::ControlIds;
use crate::diagnostic::{Diagnostic, Problems};
use crate::moment::Moment;
use crate::sandbox::access::{from_dynamic, to_dynamic};
use crate::sandbox::check::{self, Checker, Mode, Ty, World};
use crate::sandbox::deadline::Deadline;
use crate::sandbox::run::{Entered, Surroundings};
use crate::sandbox::{FORMULA_TIME, Sandbox};
use crate::value::{Type, Value};

/// The names a formula may read, with their types.
pub type Names = BTreeMap<String, Type>;

/// A compiled formula.
#[derive(Debug, Clone)]
pub struct Formula {
    ast: AST,
    line: u32,
    column: u32,
    result: Type,
    reads: Vec<String>,
}

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
    /// Stable code: `field.missing`, `field.invalid`, `value.missing`, `value.mixed`,
    /// `value.range`, `formula.limit`, `formula.error`.
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
    ///
    /// # Errors
    ///
    /// Everything the static checks find: syntax, unknown names and functions, comparisons of
    /// text with numbers. The diagnostics have no source line; add it with `with_source`.
    pub fn compile(
        text: &str,
        names: &Names,
        file: &str,
        line: u32,
        column: u32,
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut problems = Problems::new(file, "");
        let typed: Vec<(String, Ty)> =
            names.iter().map(|(name, kind)| (name.clone(), Ty::of(kind))).collect();
        let mut scope = Scope::new();
        for name in names.keys() {
            scope.push_constant(name.as_str(), ());
        }
        let offset = (line.max(1) - 1, column.max(1) - 1);
        let ast = check::expression(text, &scope, &typed, offset, &mut problems);
        let Some(ast) = ast else { return Err(problems.into_list()) };
        let (functions, results) = (BTreeMap::new(), BTreeMap::new());
        let world =
            World { vocabulary: None, sets: &[], tables: &[], functions: &functions, results: &results };
        let mut checker =
            Checker::new(&world, Mode::Formula, typed, &mut problems).at(line.max(1), column.max(1));
        let result = checker.walk(&ast).to_type();
        let reads = checker.used.iter().filter(|name| names.contains_key(*name)).cloned().collect();
        if problems.has_errors() {
            return Err(problems.into_list());
        }
        Ok(Self { ast, line, column, result, reads })
    }

    /// The type of the result, as far as it is known.
    pub fn result(&self) -> &Type {
        &self.result
    }

    /// The names it reads.
    pub fn reads(&self) -> &[String] {
        &self.reads
    }

    /// Evaluates it; `read` gives the names' values.
    ///
    /// # Errors
    ///
    /// With the place in the file: missing or unreadable fields, limits, mixed comparisons.
    pub fn evaluate<'v>(
        &self,
        read: &dyn Fn(&str) -> Option<&'v Value>,
        context: &Context,
    ) -> Result<Value, FormulaError> {
        let mut scope = Scope::new();
        for name in &self.reads {
            let value = read(name).map_or(Dynamic::UNIT, to_dynamic);
            scope.push_constant_dynamic(name.as_str(), value);
        }
        let surroundings = Surroundings {
            now: context.now,
            day: context.now.date_naive(),
            message_time: Moment::exact(context.now),
            book: None,
            control_ids: context.control_ids.clone(),
            seen: RefCell::default(),
            tables: RefCell::default(),
            codes: RefCell::default(),
            paths: RefCell::default(),
            terms: RefCell::default(),
            tracing: false,
        };
        let _entered = Entered::new(Rc::new(surroundings));
        let _deadline = Deadline::start(FORMULA_TIME);
        Sandbox::engine()
            .eval_ast_with_scope::<Dynamic>(&mut scope, &self.ast)
            .and_then(|value| from_dynamic(&value))
            .map_err(|error| self.error(&error))
    }

    fn error(&self, error: &EvalAltResult) -> FormulaError {
        let failure = Failure::of(error, "formula.error");
        let (line, column) = match (failure.line, failure.column) {
            (0, _) => (self.line, self.column),
            (1, column) => (self.line, self.column + column - 1),
            (line, column) => (self.line + line - 1, column),
        };
        FormulaError { code: failure.code, text: failure.text, line, column }
    }
}

/// A run-time error, taken apart.
pub(crate) struct Failure {
    pub(crate) code: String,
    pub(crate) text: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl Failure {
    /// Finds the code in front of our own errors; names the limits; leaves other texts.
    pub(crate) fn of(error: &EvalAltResult, default: &str) -> Self {
        let position = error.position();
        let number = |part: Option<usize>| part.and_then(|part| u32::try_from(part).ok()).unwrap_or(0);
        let (line, column) = (number(position.line()), number(position.position()));
        let inner = innermost(error);
        let (code, text) = match inner {
            EvalAltResult::ErrorRuntime(text, _) => {
                let text = text.to_string();
                match text.split_once(": ") {
                    Some((code, rest)) if is_code(code) => (code.to_owned(), rest.to_owned()),
                    _ => (default.to_owned(), text),
                }
            }
            EvalAltResult::ErrorTerminated(..) => (limit(default), "it takes too long".to_owned()),
            EvalAltResult::ErrorTooManyOperations(_) => (limit(default), "too many operations".to_owned()),
            EvalAltResult::ErrorStackOverflow(_) => {
                (limit(default), "calls are nested too deeply".to_owned())
            }
            EvalAltResult::ErrorDataTooLarge(what, _) => (limit(default), format!("{what} is too large")),
            EvalAltResult::ErrorArithmetic(text, _) if text.to_lowercase().contains("divi") => {
                (default.to_owned(), "division by zero".to_owned())
            }
            EvalAltResult::ErrorPropertyNotFound(name, _) => {
                ("value.missing".to_owned(), format!("there is no `{name}`"))
            }
            other => {
                let mut plain = other.to_string();
                if let Some(at) = plain.rfind(" (line ") {
                    plain.truncate(at);
                }
                (default.to_owned(), plain)
            }
        };
        Self { code, text, line, column }
    }
}

fn limit(default: &str) -> String {
    if default == "formula.error" { "formula.limit".to_owned() } else { default.to_owned() }
}

fn is_code(text: &str) -> bool {
    text.contains('.') && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'.' || b == b'_')
}

fn innermost(error: &EvalAltResult) -> &EvalAltResult {
    match error {
        EvalAltResult::ErrorInFunctionCall(_, _, inner, _) => innermost(inner),
        other => other,
    }
}

#[cfg(test)]
mod tests;
