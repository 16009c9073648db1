//! What people type into an input cell, and when it holds (console.md, section 11.2).

use chrono::{NaiveDate, NaiveTime};

use crate::codeset::CodeSet;
use crate::moment::{Moment, Span};
use crate::operand::{Number, Op, Operand, fold};
use crate::sandbox::words::like;
use crate::term::{State, Term};
use crate::value::Type;
use crate::vocabulary::TermKind;

/// The kind of an input column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    Text,
    Code,
    Number,
    Bool,
    Date,
    Time,
    Age,
    Duration,
}

impl ColumnKind {
    pub(crate) fn of_term(kind: TermKind) -> Self {
        match kind {
            TermKind::Text => Self::Text,
            TermKind::Code => Self::Code,
            TermKind::Int | TermKind::Decimal => Self::Number,
            TermKind::Bool => Self::Bool,
            TermKind::Date | TermKind::DateTime => Self::Date,
            TermKind::Time => Self::Time,
            TermKind::Age => Self::Age,
            TermKind::Duration => Self::Duration,
        }
    }

    pub(crate) fn of_type(kind: &Type) -> Option<Self> {
        Some(match kind.inner() {
            Type::Text | Type::Role => Self::Text,
            Type::Code => Self::Code,
            Type::Int | Type::Decimal => Self::Number,
            Type::Bool => Self::Bool,
            Type::Date | Type::DateTime => Self::Date,
            Type::Time => Self::Time,
            Type::Duration => Self::Duration,
            _ => return None,
        })
    }

    fn shown(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Code => "code",
            Self::Number => "number",
            Self::Bool => "yes or no",
            Self::Date => "date",
            Self::Time => "time",
            Self::Age => "age",
            Self::Duration => "duration",
        }
    }

    /// True for columns whose values may be sent but not comparable.
    pub(crate) fn is_measured(self) -> bool {
        matches!(self, Self::Number | Self::Date | Self::Age | Self::Time | Self::Duration)
    }

    fn parse(self, text: &str) -> Option<Operand> {
        match self {
            Self::Text => Some(Operand::Text(text.to_owned())),
            Self::Code => Some(Operand::Code(text.to_owned())),
            Self::Number => {
                Number::parse(text).and_then(Number::as_exact).map(|n| Operand::Number(Number::exact(n)))
            }
            Self::Bool => match text {
                "yes" | "Y" | "y" | "true" | "1" => Some(Operand::Bool(true)),
                "no" | "N" | "n" | "false" | "0" => Some(Operand::Bool(false)),
                _ => None,
            },
            Self::Date => text.parse::<NaiveDate>().ok().map(|date| Operand::Moment(Moment::day(date))),
            Self::Time => NaiveTime::parse_from_str(text, "%H:%M").ok().map(Operand::Time),
            Self::Age | Self::Duration => Span::parse(text).map(Operand::Span),
        }
    }
}

/// One cell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cell {
    quantifier: Quantifier,
    alternatives: Vec<Alternative>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantifier {
    Any,
    All,
    None,
}

#[derive(Debug, Clone, PartialEq)]
struct Alternative {
    negated: bool,
    tests: Vec<Test>,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    Blank,
    Absent,
    Delete,
    Unreadable,
    Present,
    Compare(Op, Operand),
    /// Lower limit and whether it belongs to it, upper limit the same.
    Range(Operand, bool, Operand, bool),
    InSet(String),
    Starts(String),
    Ends(String),
    Contains(String),
    Like(String),
}

/// Whether a cell holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    Yes,
    No,
    /// Sent, but not comparable.
    Odd,
    /// No condition.
    Free,
}

impl Holds {
    pub(crate) fn letter(self) -> char {
        match self {
            Self::Yes => 'y',
            Self::No => 'n',
            Self::Odd => 'x',
            Self::Free => '-',
        }
    }

    pub(crate) fn is_hit(self) -> bool {
        matches!(self, Self::Yes | Self::Free)
    }
}

/// What is wrong in a cell: code, text, suggestion.
pub(crate) type CellError = (&'static str, String, Option<String>);

impl Cell {
    /// Reads a cell of a column.
    pub(crate) fn parse(text: &str, kind: ColumnKind) -> Result<Self, CellError> {
        let text = text.trim();
        let free = Self { quantifier: Quantifier::Any, alternatives: Vec::new() };
        if matches!(text, "" | "-" | "any") {
            return Ok(free);
        }
        if text.starts_with('{') {
            return Err(("T09", "a cell in `{ }` is not supported yet".to_owned(), None));
        }
        let (quantifier, rest) = match text.split_once(':') {
            Some(("any", rest)) => (Quantifier::Any, rest),
            Some(("all", rest)) => (Quantifier::All, rest),
            Some(("none", rest)) => (Quantifier::None, rest),
            _ if text.starts_with("count ") => {
                return Err(("T09", "`count` in a cell is not supported yet".to_owned(), None));
            }
            _ => (Quantifier::Any, text),
        };
        let alternatives: Result<Vec<_>, CellError> =
            split(rest, " or ").iter().map(|text| alternative(text.trim(), kind)).collect();
        Ok(Self { quantifier, alternatives: alternatives? })
    }

    /// True when it says nothing.
    pub(crate) fn is_free(&self) -> bool {
        self.alternatives.is_empty()
    }

    /// Code sets it names.
    pub(crate) fn sets(&self) -> impl Iterator<Item = &str> {
        self.alternatives.iter().flat_map(|alternative| &alternative.tests).filter_map(|test| match test {
            Test::InSet(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// True when one of its alternatives asks for a missing value.
    pub(crate) fn asks_blank(&self) -> bool {
        self.asks(&[Test::Blank, Test::Absent])
    }

    /// True when one of its alternatives asks for what is not comparable.
    pub(crate) fn asks_unreadable(&self) -> bool {
        self.asks(&[Test::Unreadable])
    }

    fn asks(&self, wanted: &[Test]) -> bool {
        self.alternatives.iter().any(|one| !one.negated && one.tests.iter().any(|test| wanted.contains(test)))
    }

    /// Whether the cell holds for a value. `set` finds code sets.
    pub(crate) fn holds(
        &self,
        term: &Term,
        day: NaiveDate,
        set: &dyn Fn(&str) -> Option<std::sync::Arc<CodeSet>>,
    ) -> Holds {
        if self.is_free() {
            return Holds::Free;
        }
        let one = |state: &State| {
            self.alternatives.iter().any(|alternative| alternative.holds(state, &term.0.system, day, set))
        };
        let yes = match (&term.0.state, self.quantifier) {
            (State::List(states), Quantifier::Any) if states.is_empty() => one(&State::Absent),
            (State::List(states), Quantifier::Any) => states.iter().any(one),
            (State::List(states), Quantifier::All) => !states.is_empty() && states.iter().all(one),
            (State::List(states), Quantifier::None) => !states.is_empty() && !states.iter().any(one),
            (state, Quantifier::None) => matches!(state, State::Value(_)) && !one(state),
            (state, _) => one(state),
        };
        match yes {
            true => Holds::Yes,
            false if term.is_odd() => Holds::Odd,
            false => Holds::No,
        }
    }
}

impl Alternative {
    fn holds(
        &self,
        state: &State,
        system: &str,
        day: NaiveDate,
        set: &dyn Fn(&str) -> Option<std::sync::Arc<CodeSet>>,
    ) -> bool {
        let any = self.tests.iter().any(|test| test.holds(state, system, day, set));
        if self.negated { matches!(state, State::Value(_)) && !any } else { any }
    }
}

impl Test {
    fn holds(
        &self,
        state: &State,
        system: &str,
        day: NaiveDate,
        set: &dyn Fn(&str) -> Option<std::sync::Arc<CodeSet>>,
    ) -> bool {
        let missing = matches!(state, State::Absent | State::Empty | State::Delete);
        let value = match (self, state) {
            (Self::Blank, _) => return missing,
            (Self::Absent, _) => return matches!(state, State::Absent),
            (Self::Delete, _) => return matches!(state, State::Delete),
            (Self::Unreadable, _) => return matches!(state, State::Odd(_)),
            (Self::Present, _) => return !missing,
            (_, State::Value(value)) => value,
            _ => return false,
        };
        let text = || match value {
            Operand::Text(text) => (fold(text), true),
            other => (other.to_string().trim().to_owned(), false),
        };
        let pattern = |wanted: &str, test: &dyn Fn(&str, &str) -> bool| {
            let (text, folded) = text();
            if folded { test(&text, &fold(wanted)) } else { test(&text, wanted) }
        };
        match self {
            Self::Compare(op, limit) => value.compare(*op, limit).unwrap_or(false),
            Self::Range(low, low_in, high, high_in) => {
                let above = value.compare(if *low_in { Op::Ge } else { Op::Gt }, low).unwrap_or(false);
                let below = value.compare(if *high_in { Op::Le } else { Op::Lt }, high).unwrap_or(false);
                // 22:00..06:00 goes past midnight.
                let wraps = matches!((low, high), (Operand::Time(low), Operand::Time(high)) if low > high);
                if wraps { above || below } else { above && below }
            }
            Self::InSet(name) => set(name).is_some_and(|set| set.contains(&value.to_string(), system, day)),
            Self::Starts(wanted) => pattern(wanted, &|text, wanted| text.starts_with(wanted)),
            Self::Ends(wanted) => pattern(wanted, &|text, wanted| text.ends_with(wanted)),
            Self::Contains(wanted) => pattern(wanted, &|text, wanted| text.contains(wanted)),
            Self::Like(wanted) => pattern(wanted, &like),
            _ => false,
        }
    }
}

fn alternative(text: &str, kind: ColumnKind) -> Result<Alternative, CellError> {
    let (negated, rest) =
        if let Some(inner) = text.strip_prefix("not(").and_then(|rest| rest.strip_suffix(')')) {
            (true, inner)
        } else {
            match text.strip_prefix("not ") {
                Some(rest) => (true, rest),
                None => (false, text),
            }
        };
    let mut tests = Vec::new();
    let mut word: Option<&'static str> = None;
    for item in split(rest, ",") {
        let item = item.trim();
        let (test, carried) = test(item, kind, word)?;
        word = carried;
        tests.push(test);
    }
    Ok(Alternative { negated, tests })
}

/// One test; a word operator carries on to the following plain items.
fn test(
    item: &str,
    kind: ColumnKind,
    carried: Option<&'static str>,
) -> Result<(Test, Option<&'static str>), CellError> {
    match item {
        "blank" | "null" => return Ok((Test::Blank, None)),
        "absent" => return Ok((Test::Absent, None)),
        "delete" => return Ok((Test::Delete, None)),
        "unreadable" => return Ok((Test::Unreadable, None)),
        "present" => return Ok((Test::Present, None)),
        "" => return Err(("T06", "a value is missing between commas".to_owned(), None)),
        _ => {}
    }
    for word in ["matches ", "within ", "older than ", "next "] {
        if item.starts_with(word) {
            return Err(("T09", format!("`{}` in a cell is not supported yet", word.trim()), None));
        }
    }
    if matches!(item, "today" | "holiday") {
        return Err(("T09", format!("`{item}` in a cell is not supported yet"), None));
    }
    if let Some(name) = item.strip_prefix('@') {
        return Ok((Test::InSet(name.to_owned()), None));
    }
    if matches!(kind, ColumnKind::Text | ColumnKind::Code) {
        for word in ["starts", "ends", "contains", "like"] {
            if let Some(rest) = item.strip_prefix(word).and_then(|rest| rest.strip_prefix(' ')) {
                return Ok((word_test(word, &unquoted(rest)), Some(word)));
            }
        }
        if let Some(word) = carried {
            return Ok((word_test(word, &unquoted(item)), Some(word)));
        }
    }
    for (sign, op) in [
        ("<=", Op::Le),
        (">=", Op::Ge),
        ("!=", Op::Ne),
        ("<", Op::Lt),
        (">", Op::Gt),
        ("==", Op::Eq),
        ("=", Op::Eq),
    ] {
        if let Some(rest) = item.strip_prefix(sign) {
            return Ok((Test::Compare(op, value(rest.trim(), kind)?), None));
        }
    }
    if let Some((low, high)) = item.split_once("..")
        && !item.starts_with('"')
    {
        let (low_in, low) = match low.chars().next() {
            Some('[') => (true, &low[1..]),
            Some('(' | ']') => (false, &low[1..]),
            _ => (true, low),
        };
        let (high_in, high) = match high.chars().last() {
            Some(']') => (true, &high[..high.len() - 1]),
            Some(')' | '[') => (false, &high[..high.len() - 1]),
            _ => (true, high),
        };
        return Ok((Test::Range(value(low.trim(), kind)?, low_in, value(high.trim(), kind)?, high_in), None));
    }
    Ok((Test::Compare(Op::Eq, value(item, kind)?), None))
}

fn word_test(word: &str, text: &str) -> Test {
    let text = text.to_owned();
    match word {
        "starts" => Test::Starts(text),
        "ends" => Test::Ends(text),
        "contains" => Test::Contains(text),
        _ => Test::Like(text),
    }
}

fn unquoted(text: &str) -> String {
    let text = text.trim();
    text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text).to_owned()
}

fn value(text: &str, kind: ColumnKind) -> Result<Operand, CellError> {
    let plain = unquoted(text);
    let plain = plain.strip_prefix("date(\"").and_then(|rest| rest.strip_suffix("\")")).unwrap_or(&plain);
    let quoted = text.starts_with('"') && !matches!(kind, ColumnKind::Text | ColumnKind::Code);
    match kind.parse(plain) {
        Some(value) if !quoted => Ok(value),
        _ => {
            let help = suggest(plain, kind).map(|better| format!("write `{better}`"));
            Err(("T06", format!("`{text}` is not a {}", kind.shown()), help))
        }
    }
}

/// `28 days` is meant as `28d`.
fn suggest(text: &str, kind: ColumnKind) -> Option<String> {
    let spaced: Vec<&str> = text.split_whitespace().collect();
    match (kind, spaced.as_slice()) {
        (ColumnKind::Age | ColumnKind::Duration, [number, unit]) => {
            let short = match unit.trim_end_matches('s') {
                "year" => "y",
                "month" => "mo",
                "week" => "w",
                "day" => "d",
                "hour" => "h",
                "minute" => "min",
                _ => return None,
            };
            number.parse::<u32>().ok().map(|number| format!("{number}{short}"))
        }
        (ColumnKind::Age, [number]) if number.parse::<u32>().is_ok() => Some(format!("{number}y")),
        (ColumnKind::Number, [_]) if text.contains(',') => Some(text.replace(',', ".")),
        _ => None,
    }
}

/// Splits outside of quotes and brackets.
fn split<'t>(text: &'t str, separator: &str) -> Vec<&'t str> {
    let mut pieces = Vec::new();
    let (mut from, mut quoted) = (0, false);
    for (at, letter) in text.char_indices() {
        if letter == '"' {
            quoted = !quoted;
        }
        if !quoted && at >= from && text[at..].starts_with(separator) {
            pieces.push(&text[from..at]);
            from = at + separator.len();
        }
    }
    pieces.push(&text[from..]);
    pieces
}
