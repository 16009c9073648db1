//! What a comparison sees, whatever side it stands on, and the one place where values compare.

use std::cmp::Ordering;

use chrono::NaiveTime;
use rust_decimal::Decimal;

use crate::moment::{Age, Moment, Span};

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Op {
    pub(crate) const ALL: [(&'static str, Self); 6] = [
        ("==", Self::Eq),
        ("!=", Self::Ne),
        ("<", Self::Lt),
        ("<=", Self::Le),
        (">", Self::Gt),
        (">=", Self::Ge),
    ];

    /// The same test with its sides exchanged.
    pub(crate) fn turned(self) -> Self {
        match self {
            Self::Lt => Self::Gt,
            Self::Le => Self::Ge,
            Self::Gt => Self::Lt,
            Self::Ge => Self::Le,
            same => same,
        }
    }

    pub(crate) fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Eq => ordering.is_eq(),
            Self::Ne => ordering.is_ne(),
            Self::Lt => ordering.is_lt(),
            Self::Le => ordering.is_le(),
            Self::Gt => ordering.is_gt(),
            Self::Ge => ordering.is_ge(),
        }
    }
}

/// A number that is perhaps known by its limits only: `>100`, `<0.1`, `5-10`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number {
    /// Lower limit and whether it belongs to the numbers meant.
    pub(crate) low: Option<(Decimal, bool)>,
    pub(crate) high: Option<(Decimal, bool)>,
}

impl Number {
    pub(crate) fn exact(value: Decimal) -> Self {
        Self { low: Some((value, true)), high: Some((value, true)) }
    }

    pub(crate) fn as_exact(self) -> Option<Decimal> {
        match (self.low, self.high) {
            (Some((low, true)), Some((high, true))) if low == high => Some(low),
            _ => None,
        }
    }

    /// Reads `6.9`, `>100`, `<=0.1`, `5-10`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(value) = parse_decimal(text) {
            return Some(Self::exact(value));
        }
        for (sign, below, inclusive) in
            [(">=", false, true), ("<=", true, true), (">", false, false), ("<", true, false)]
        {
            if let Some(rest) = text.strip_prefix(sign) {
                let limit = Some((parse_decimal(rest.trim())?, inclusive));
                return Some(if below {
                    Self { low: None, high: limit }
                } else {
                    Self { low: limit, high: None }
                });
            }
        }
        let at = text[text.char_indices().nth(1)?.0..].find('-')? + 1;
        let (low, high) = (parse_decimal(text[..at].trim())?, parse_decimal(text[at + 1..].trim())?);
        (low <= high).then_some(Self { low: Some((low, true)), high: Some((high, true)) })
    }

    pub(crate) fn map(self, change: impl Fn(Decimal) -> Option<Decimal>) -> Option<Self> {
        let limit = |limit: Option<(Decimal, bool)>| match limit {
            Some((value, inclusive)) => Some(Some((change(value)?, inclusive))),
            None => Some(None),
        };
        Some(Self { low: limit(self.low)?, high: limit(self.high)? })
    }

    /// True when every number of the left is above every number of the right.
    fn above(self, other: Self) -> bool {
        match (self.low, other.high) {
            (Some((low, a)), Some((high, b))) => low > high || (low == high && !(a && b)),
            _ => false,
        }
    }

    fn not_below(self, other: Self) -> bool {
        matches!((self.low, other.high), (Some((low, _)), Some((high, _))) if low >= high)
    }

    pub(crate) fn compare(self, op: Op, other: Self) -> bool {
        match op {
            Op::Gt => self.above(other),
            Op::Lt => other.above(self),
            Op::Ge => self.not_below(other),
            Op::Le => other.not_below(self),
            Op::Eq => self.as_exact().is_some() && self.as_exact() == other.as_exact(),
            Op::Ne => self.above(other) || other.above(self),
        }
    }
}

/// A number as NM has it: a sign, digits, a point; no exponent, no grouping.
pub(crate) fn parse_decimal(text: &str) -> Option<Decimal> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if !plain || !digits.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    text.trim_end_matches('.').parse().ok()
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.low, self.high) {
            (Some((low, true)), Some((high, true))) if low == high => write!(f, "{low}"),
            (Some((low, inclusive)), None) => write!(f, ">{}{low}", if inclusive { "=" } else { "" }),
            (None, Some((high, inclusive))) => write!(f, "<{}{high}", if inclusive { "=" } else { "" }),
            (Some((low, _)), Some((high, _))) => write!(f, "{low}-{high}"),
            (None, None) => f.write_str("any number"),
        }
    }
}

/// A value, ready to be compared.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand {
    Bool(bool),
    Number(Number),
    /// Compares without case.
    Text(String),
    /// Compares exactly, after trimming.
    Code(String),
    Moment(Moment),
    Time(NaiveTime),
    Span(Span),
    Age(Age),
}

impl Operand {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "yes/no",
            Self::Number(_) => "number",
            Self::Text(_) => "text",
            Self::Code(_) => "code",
            Self::Moment(_) => "date",
            Self::Time(_) => "time",
            Self::Span(_) => "duration",
            Self::Age(_) => "age",
        }
    }

    /// Compares; nothing comes back for two different kinds.
    pub(crate) fn compare(&self, op: Op, other: &Self) -> Option<bool> {
        Some(match (self, other) {
            (Self::Bool(a), Self::Bool(b)) if matches!(op, Op::Eq | Op::Ne) => op.holds(a.cmp(b)),
            (Self::Number(a), Self::Number(b)) => a.compare(op, *b),
            (Self::Code(a), Self::Code(b) | Self::Text(b)) | (Self::Text(a), Self::Code(b)) => {
                op.holds(a.trim().cmp(b.trim()))
            }
            (Self::Text(a), Self::Text(b)) => op.holds(fold(a).cmp(&fold(b))),
            (Self::Moment(a), Self::Moment(b)) => a.compare(op, *b),
            (Self::Time(a), Self::Time(b)) => op.holds(a.cmp(b)),
            (Self::Span(a), Self::Span(b)) => op.holds(a.approximate().cmp(&b.approximate())),
            (Self::Age(age), Self::Span(span)) => age.compare(op, *span),
            (Self::Span(span), Self::Age(age)) => age.compare(op.turned(), *span),
            _ => return None,
        })
    }
}

impl std::fmt::Display for Operand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(value) => write!(f, "{value}"),
            Self::Text(text) | Self::Code(text) => f.write_str(text),
            Self::Moment(value) => write!(f, "{value}"),
            Self::Time(value) => write!(f, "{}", value.format("%H:%M:%S")),
            Self::Span(value) => write!(f, "{value}"),
            Self::Age(value) => f.write_str(&value.shown()),
        }
    }
}

/// Text without case.
pub(crate) fn fold(text: &str) -> String {
    text.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(a: &str, op: Op, b: &str) -> bool {
        Number::parse(a).unwrap().compare(op, Number::parse(b).unwrap())
    }

    #[test]
    fn a_number_known_by_its_limit_passes_only_when_all_it_may_mean_pass() {
        assert!(compare(">30", Op::Gt, "30"));
        assert!(!compare(">30", Op::Gt, "31"));
        assert!(compare("<0.1", Op::Lt, "0.1"));
        assert!(!compare("5-10", Op::Gt, "5"));
        assert!(compare("5-10", Op::Ge, "5"));
        assert!(compare("-5--2", Op::Lt, "0"));
        assert!(!compare(">30", Op::Eq, "31"));
        assert!(compare(">30", Op::Ne, "30"));
    }

    #[test]
    fn words_and_exponents_are_no_numbers() {
        for text in ["", "high", "1e3", "1,5", "--1", "NaN", "1_000"] {
            assert_eq!(Number::parse(text), None, "{text}");
        }
    }
}
