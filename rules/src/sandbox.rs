//! The one constructor of the Rhai engine, with every limit explicit and every hole closed.
//!
//! What Rhai allows by default and Orderly does not: comparisons between kinds that are silently
//! false, `sleep`, clocks, printing, `eval`, modules, strings that replace themselves into
//! gigabytes, and limits that differ between debug and release builds. Nothing else in the
//! project may build an engine.

pub(crate) mod access;
pub(crate) mod check;
pub(crate) mod compare;
pub(crate) mod deadline;
mod functions;
mod library;
pub(crate) mod run;
mod types;
pub(crate) mod words;

use std::sync::LazyLock;
use std::time::Duration;

use rhai::packages::{
    ArithmeticPackage, BasicArrayPackage, BasicFnPackage, BasicIteratorPackage, BasicMapPackage,
    BasicMathPackage, BasicStringPackage, LogicPackage, MoreStringPackage, Package,
};
use rhai::{Dynamic, Engine, OptimizationLevel};

/// CPU time one formula may take.
pub(crate) const FORMULA_TIME: Duration = Duration::from_millis(50);
/// CPU time one policy, table or map may take.
pub(crate) const POLICY_TIME: Duration = Duration::from_millis(500);
/// Operations of one evaluation.
pub(crate) const OPERATIONS_MAX: u64 = 1_000_000;
/// Bytes of one text.
pub(crate) const TEXT_BYTES_MAX: usize = 65_536;
/// Items of one list, nested ones included.
pub(crate) const LIST_ITEMS_MAX: usize = 4_096;
/// Keys of one map.
pub(crate) const MAP_KEYS_MAX: usize = 1_024;
/// Calls inside calls.
pub(crate) const CALLS_MAX: usize = 32;
/// Depth of an expression.
pub(crate) const DEPTH_MAX: usize = 64;
/// Depth of an expression in a function.
pub(crate) const FUNCTION_DEPTH_MAX: usize = 32;
/// Functions of a file, variables of a scope.
const NAMES_MAX: usize = 200;

/// The words nobody may use: they reach outside or around the checks.
const FORBIDDEN: &[&str] = &[
    "eval",
    "import",
    "export",
    "print",
    "debug",
    "Fn",
    "curry",
    "call",
    "is_def_var",
    "is_def_fn",
    "sleep",
    "timestamp",
    "this",
    "global",
    "try",
    "catch",
    "throw",
];

/// The sandbox. There is one engine for the whole process; building it takes a millisecond.
#[derive(Debug)]
pub struct Sandbox;

static ENGINE: LazyLock<Engine> = LazyLock::new(build);

impl Sandbox {
    /// The engine that compiles and runs everything.
    pub(crate) fn engine() -> &'static Engine {
        &ENGINE
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one engine")]
fn build() -> Engine {
    let mut engine = Engine::new_raw();
    ArithmeticPackage::new().register_into_engine(&mut engine);
    LogicPackage::new().register_into_engine(&mut engine);
    BasicStringPackage::new().register_into_engine(&mut engine);
    MoreStringPackage::new().register_into_engine(&mut engine);
    BasicIteratorPackage::new().register_into_engine(&mut engine);
    BasicFnPackage::new().register_into_engine(&mut engine);
    BasicMathPackage::new().register_into_engine(&mut engine);
    BasicArrayPackage::new().register_into_engine(&mut engine);
    BasicMapPackage::new().register_into_engine(&mut engine);

    // The walker must see what was written: with optimization `7 / 2` is folded away and what
    // stands behind a constant condition is never looked at.
    engine.set_optimization_level(OptimizationLevel::None);
    engine.set_max_operations(OPERATIONS_MAX);
    engine.set_max_call_levels(CALLS_MAX);
    engine.set_max_expr_depths(DEPTH_MAX, FUNCTION_DEPTH_MAX);
    engine.set_max_string_size(TEXT_BYTES_MAX);
    engine.set_max_array_size(LIST_ITEMS_MAX);
    engine.set_max_map_size(MAP_KEYS_MAX);
    engine.set_max_modules(0);
    engine.set_max_functions(NAMES_MAX);
    engine.set_max_variables(NAMES_MAX);
    engine.set_strict_variables(true);
    engine.set_allow_shadowing(false);
    engine.set_fail_on_invalid_map_property(true);
    engine.set_fast_operators(false);
    for word in FORBIDDEN {
        engine.disable_symbol(*word);
    }
    engine.on_progress(|operations| deadline::passed_at(operations).then(|| Dynamic::from("time")));

    compare::register(&mut engine);
    library::register(&mut engine);
    access::register(&mut engine);
    words::register(&mut engine);
    crate::map::register(&mut engine);
    engine
}

#[cfg(test)]
mod tests;
