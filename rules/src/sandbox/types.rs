//! What the checker knows of expressions, and how it names them.

use rhai::{Expr, Position};

use crate::value::Type;
use crate::vocabulary::TermKind;
use crate::yaml::Span;

/// What the checker knows of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ty {
    Any,
    Unit,
    Bool,
    Int,
    Number,
    Text,
    Date,
    Time,
    Span,
    List,
    Map,
    /// A message or part of one in formulas and maps.
    Message,
    Place,
    /// A message fact of a policy.
    Fact,
    Group(String),
    Term(TermKind),
    /// May be missing.
    Maybe(Box<Ty>),
}

impl Ty {
    pub(crate) fn of(kind: &Type) -> Self {
        match kind {
            Type::Text | Type::Role | Type::Code => Self::Text,
            Type::Int => Self::Int,
            Type::Decimal => Self::Number,
            Type::Bool => Self::Bool,
            Type::Date | Type::DateTime => Self::Date,
            Type::Time => Self::Time,
            Type::Duration => Self::Span,
            Type::List(_) => Self::List,
            Type::Map => Self::Map,
            Type::Message(_) => Self::Message,
            Type::Optional(inner) => Self::Maybe(Box::new(Self::of(inner))),
            Type::Any => Self::Any,
        }
    }

    pub(crate) fn to_type(&self) -> Type {
        match self {
            Self::Bool => Type::Bool,
            Self::Int => Type::Int,
            Self::Number => Type::Decimal,
            Self::Text | Self::Place => Type::Text,
            Self::Date => Type::Date,
            Self::Time => Type::Time,
            Self::Span => Type::Duration,
            Self::List => Type::List(Box::new(Type::Any)),
            Self::Map => Type::Map,
            Self::Message => Type::Message(None),
            Self::Maybe(inner) => Type::Optional(Box::new(inner.to_type())),
            _ => Type::Any,
        }
    }

    /// What it is in a comparison; nothing when that is open.
    pub(super) fn kind(&self) -> Option<&'static str> {
        Some(match self {
            Self::Bool => "yes/no",
            Self::Int | Self::Number => "number",
            Self::Text | Self::Place => "text",
            Self::Date => "date",
            Self::Time => "time",
            Self::Span => "duration",
            Self::Term(kind) => kind.shown(),
            Self::Maybe(inner) => return inner.kind(),
            _ => return None,
        })
    }
}

/// Whether two kinds can be compared.
pub(super) fn comparable(a: &str, b: &str) -> bool {
    a == b
        || matches!((a, b), ("text", "code") | ("code", "text") | ("age", "duration") | ("duration", "age"))
}

/// Where an expression stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Formula,
    Condition,
    Body,
    Map,
}

pub(super) fn unit_of(left: &Ty, word: &str) -> Ty {
    let unit = matches!(word, "years" | "months" | "weeks" | "days" | "hours" | "minutes" | "seconds");
    if unit && *left == Ty::Int { Ty::Span } else { Ty::Any }
}

pub(super) fn is_comparison(name: &str) -> bool {
    matches!(name, "==" | "!=" | "<" | "<=" | ">" | ">=")
}

/// The variable at the left end of a chain.
pub(super) fn root(expression: &Expr) -> Option<(String, Position)> {
    match expression {
        Expr::Variable(parts, _, position) => Some((parts.1.to_string(), *position)),
        Expr::Dot(sides, ..) | Expr::Index(sides, ..) => root(&sides.lhs),
        _ => None,
    }
}

pub(super) fn literal(expression: &Expr) -> Option<String> {
    Some(match expression {
        Expr::StringConstant(text, _) => format!("\"{text}\""),
        Expr::IntegerConstant(number, _) => number.to_string(),
        Expr::BoolConstant(value, _) => value.to_string(),
        Expr::DynamicConstant(value, _) => value.to_string(),
        _ => return None,
    })
}

pub(super) fn shown(expression: &Expr) -> String {
    match literal(expression).or_else(|| written(expression)) {
        Some(text) => format!("`{text}`"),
        None => "the other side".to_owned(),
    }
}

pub(super) fn written(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Variable(parts, ..) => Some(parts.1.to_string()),
        Expr::Property(parts, _) => Some(parts.2.to_string()),
        Expr::Dot(sides, ..) => Some(format!("{}.{}", written(&sides.lhs)?, written(&sides.rhs)?)),
        Expr::Index(sides, ..) => Some(format!("{}[{}]", written(&sides.lhs)?, literal(&sides.rhs)?)),
        Expr::FnCall(call, _) => Some(format!("{}(..)", call.name)),
        _ => None,
    }
}

pub(super) fn suggestion(a: &str, b: &str, sides: (&Expr, &Expr)) -> Option<String> {
    let number = match (a, b) {
        ("age" | "duration", "number") => literal(sides.1)?,
        ("number", "age" | "duration") => literal(sides.0)?,
        ("text", "number") | ("number", "text") => {
            return Some("use number(..) or write the text as a number".into());
        }
        _ => return None,
    };
    Some(format!("write {number}.years, {number}.days or another unit"))
}

pub(super) fn line_column(position: Position, offset: (u32, u32)) -> (u32, u32) {
    let line = u32::try_from(position.line().unwrap_or(1)).unwrap_or(1);
    let column = u32::try_from(position.position().unwrap_or(1)).unwrap_or(1);
    let column = if line == 1 { column + offset.1 } else { column };
    (line + offset.0, column)
}

pub(super) fn place(position: Position, offset: (u32, u32), length: usize) -> Span {
    let (line, column) = line_column(position, offset);
    Span::at(line, column, u32::try_from(length).unwrap_or(1))
}
