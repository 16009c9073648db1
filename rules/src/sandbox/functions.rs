//! Every function that formulas, conditions, bodies and maps may call.

use super::types::Mode;

/// What a function gives.
#[derive(Clone, Copy)]
pub(super) enum Gives {
    Same,
    Bool,
    Int,
    Number,
    Text,
    Date,
    Time,
    List,
    Any,
}

/// One function, receiver included in the count of values.
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) least: usize,
    pub(super) most: usize,
    pub(super) gives: Gives,
    /// `f` formulas, `c` conditions, `b` bodies, `m` maps.
    modes: &'static str,
}

impl Function {
    pub(super) fn allowed(&self, mode: Mode) -> bool {
        self.modes.contains(match mode {
            Mode::Formula => 'f',
            Mode::Condition => 'c',
            Mode::Body => 'b',
            Mode::Map => 'm',
        })
    }
}

const fn function(
    name: &'static str,
    least: usize,
    most: usize,
    gives: Gives,
    modes: &'static str,
) -> Function {
    Function { name, least, most, gives, modes }
}

/// Every function that may be called, receiver included in the count of values.
pub(super) const FUNCTIONS: &[Function] = &[
    function("text", 1, 1, Gives::Text, "cbm"),
    function("text", 2, 2, Gives::Text, "fm"),
    function("text", 1, 1, Gives::Text, "f"),
    function("number", 1, 1, Gives::Number, "fcbm"),
    function("number", 2, 2, Gives::Number, "fm"),
    function("date", 1, 2, Gives::Date, "fcbm"),
    function("datetime", 2, 2, Gives::Date, "fm"),
    function("time", 2, 2, Gives::Time, "fm"),
    function("has", 2, 2, Gives::Bool, "fcbm"),
    function("all", 2, 2, Gives::Any, "fbm"),
    function("groups", 2, 2, Gives::List, "fm"),
    function("sum", 1, 2, Gives::Number, "fbm"),
    function("now", 0, 0, Gives::Date, "f"),
    function("today", 0, 0, Gives::Date, "f"),
    function("age", 1, 1, Gives::Int, "f"),
    function("new_control_id", 0, 0, Gives::Text, "fm"),
    function("reformat", 2, 2, Gives::Any, "fbm"),
    function("present", 1, 1, Gives::Bool, "fcbm"),
    function("blank", 1, 1, Gives::Bool, "fcbm"),
    function("absent", 1, 1, Gives::Bool, "cb"),
    function("deleted", 1, 1, Gives::Bool, "cb"),
    function("unreadable", 1, 1, Gives::Bool, "cb"),
    function("in_set", 2, 2, Gives::Bool, "cbm"),
    function("not_in_set", 2, 2, Gives::Bool, "cbm"),
    function("not_in", 2, 2, Gives::Bool, "fcbm"),
    function("between", 3, 3, Gives::Bool, "fcbm"),
    function("starts", 2, 2, Gives::Bool, "fcbm"),
    function("ends", 2, 2, Gives::Bool, "fcbm"),
    function("like_", 2, 2, Gives::Bool, "fcbm"),
    function("any_of", 2, 2, Gives::Bool, "cbm"),
    function("all_of", 2, 2, Gives::Bool, "cbm"),
    function("none_of", 2, 2, Gives::Bool, "cbm"),
    function("count_of", 2, 2, Gives::Int, "cbm"),
    function("code", 2, 3, Gives::Any, "bm"),
    function("codes", 2, 2, Gives::List, "bm"),
    function("code_back", 2, 2, Gives::Any, "bm"),
    function("find", 2, 2, Gives::Any, "fbm"),
    function("decide", 1, 2, Gives::Any, "b"),
    function("push", 2, 2, Gives::Any, "cbm"),
    function("contains", 2, 2, Gives::Bool, "fcbm"),
    function("len", 1, 1, Gives::Int, "fcbm"),
    function("is_empty", 1, 1, Gives::Bool, "fcbm"),
    function("filter", 2, 2, Gives::List, "fbm"),
    function("map", 2, 2, Gives::List, "fbm"),
    function("some", 2, 2, Gives::Bool, "fcbm"),
    function("count", 2, 2, Gives::Int, "fbm"),
    function("reduce", 2, 3, Gives::Any, "fbm"),
    function("index_of", 2, 3, Gives::Int, "fbm"),
    function("get", 2, 2, Gives::Any, "fbm"),
    function("first", 1, 1, Gives::Any, "fbm"),
    function("last", 1, 1, Gives::Any, "fbm"),
    function("join", 2, 2, Gives::Text, "fbm"),
    function("keys", 1, 1, Gives::List, "fbm"),
    function("values", 1, 1, Gives::List, "fbm"),
    function("sort", 1, 2, Gives::Any, "bm"),
    function("reverse", 1, 1, Gives::Any, "bm"),
    function("starts_with", 2, 2, Gives::Bool, "fbm"),
    function("ends_with", 2, 2, Gives::Bool, "fbm"),
    function("to_upper", 1, 1, Gives::Text, "fbm"),
    function("to_lower", 1, 1, Gives::Text, "fbm"),
    function("trimmed", 1, 1, Gives::Text, "fbm"),
    function("replaced", 3, 3, Gives::Text, "fbm"),
    function("replace", 3, 3, Gives::Any, "bm"),
    function("sub_string", 2, 3, Gives::Text, "fbm"),
    function("split", 2, 2, Gives::List, "fbm"),
    function("to_string", 1, 1, Gives::Text, "fbm"),
    function("decimal", 1, 1, Gives::Number, "fbm"),
    function("int", 1, 1, Gives::Int, "fbm"),
    function("to_int", 1, 1, Gives::Int, "fbm"),
    function("to_decimal", 1, 1, Gives::Number, "fbm"),
    function("abs", 1, 1, Gives::Same, "fcbm"),
    function("floor", 1, 1, Gives::Number, "fcbm"),
    function("ceiling", 1, 1, Gives::Number, "fcbm"),
    function("round", 1, 2, Gives::Number, "fcbm"),
    function("min", 2, 2, Gives::Same, "fcbm"),
    function("max", 2, 2, Gives::Same, "fcbm"),
    function("copy", 2, 3, Gives::Any, "m"),
    function("add", 2, 2, Gives::Any, "m"),
    function("remove", 2, 2, Gives::Any, "m"),
    function("extra", 2, 2, Gives::Any, "m"),
    function("add_group", 2, 2, Gives::Any, "m"),
    function("repeat", 2, 2, Gives::Any, "m"),
];
