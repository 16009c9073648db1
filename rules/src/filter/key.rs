//! Values as an index compares them: only with constants of the same class.

use chrono::{DateTime, FixedOffset, NaiveDate};
use rust_decimal::Decimal;

use super::number;
use crate::value::Value;

/// What kind of constant a test has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Class {
    Text,
    Number,
    Bool,
    Date,
    DateTime,
    /// Of several kinds, or of one that no index knows.
    Other,
}

/// A value in the form of its class. Texts are compared byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Key {
    Text(String),
    Number(Decimal),
    Bool(bool),
    Date(NaiveDate),
    DateTime(DateTime<FixedOffset>),
}

/// How a property's value compares with constants of a class.
#[derive(Debug)]
pub(super) enum Fit {
    /// As this key.
    Key(Key),
    /// It equals none, is above none and below none.
    Nothing,
    /// In a way that only the test itself knows, as a day with a point in time.
    Odd,
}

impl Fit {
    pub(super) fn key(self) -> Option<Key> {
        match self {
            Self::Key(key) => Some(key),
            Self::Nothing | Self::Odd => None,
        }
    }
}

impl Class {
    pub(super) fn of(constant: &Value) -> Self {
        match constant {
            Value::Text(_) => Self::Text,
            Value::Int(_) | Value::Decimal(_) => Self::Number,
            Value::Bool(_) => Self::Bool,
            Value::Date(_) => Self::Date,
            Value::DateTime(_) => Self::DateTime,
            _ => Self::Other,
        }
    }

    /// The one class of all constants.
    pub(super) fn of_all(constants: &[Value]) -> Self {
        let first = constants.first().map_or(Self::Other, Self::of);
        if constants.iter().all(|constant| Self::of(constant) == first) { first } else { Self::Other }
    }

    /// Mirrors the comparison of the tests themselves; a property test holds the two together.
    pub(super) fn fit(self, value: &Value) -> Fit {
        match (self, value) {
            (Self::Text, Value::Text(text)) => Fit::Key(Key::Text(text.clone())),
            // A number is compared with texts that read as numbers.
            (Self::Text, Value::Int(_) | Value::Decimal(_)) => Fit::Odd,
            (Self::Number, value) => match number(value) {
                Some(number) => Fit::Key(Key::Number(number)),
                None => Fit::Nothing,
            },
            (Self::Bool, Value::Bool(value)) => Fit::Key(Key::Bool(*value)),
            (Self::Date, Value::Date(day)) => Fit::Key(Key::Date(*day)),
            (Self::Date, Value::DateTime(time)) => Fit::Key(Key::Date(time.date_naive())),
            (Self::DateTime, Value::DateTime(time)) => Fit::Key(Key::DateTime(*time)),
            (Self::DateTime, Value::Date(_)) | (Self::Other, _) => Fit::Odd,
            _ => Fit::Nothing,
        }
    }
}
