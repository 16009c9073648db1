//! Values as they are stored: messages by id, everything else in a form of our own, so that a
//! change of the rules' types cannot make old states unreadable.

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveTime, TimeDelta};
use orderly_rules::{MessageValue, Value};
use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A value in the bytes of a state. Variants are only ever added at the end.
#[derive(Serialize, Deserialize)]
enum Stored {
    None,
    Bool(bool),
    Int(i64),
    /// As the sixteen bytes of the number, with its scale.
    Decimal([u8; 16]),
    Text(String),
    Date(NaiveDate),
    Time(NaiveTime),
    DateTime(DateTime<FixedOffset>),
    /// Seconds and nanoseconds.
    Duration(i64, i32),
    List(Vec<Stored>),
    Map(Vec<(String, Stored)>),
    Message(i64),
}

/// Writes names, for `#[serde(with)]`.
pub(crate) fn serialize<S: Serializer>(names: &[Option<Value>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(names.iter().map(|value| value.as_ref().map(Stored::from)))
}

/// Reads names, for `#[serde(with)]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Option<Value>>, D::Error> {
    let stored: Vec<Option<Stored>> = Vec::deserialize(deserializer)?;
    Ok(stored.into_iter().map(|value| value.map(Value::from)).collect())
}

impl From<&Value> for Stored {
    fn from(value: &Value) -> Self {
        match value {
            Value::None => Self::None,
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Int(number) => Self::Int(*number),
            Value::Decimal(number) => Self::Decimal(number.serialize()),
            Value::Text(text) => Self::Text(text.clone()),
            Value::Date(date) => Self::Date(*date),
            Value::Time(time) => Self::Time(*time),
            Value::DateTime(at) => Self::DateTime(*at),
            Value::Duration(length) => Self::Duration(length.num_seconds(), length.subsec_nanos()),
            Value::List(items) => Self::List(items.iter().map(Self::from).collect()),
            Value::Map(entries) => {
                Self::Map(entries.iter().map(|(key, value)| (key.clone(), Self::from(value))).collect())
            }
            Value::Message(message) => message.id.map_or(Self::None, Self::Message),
        }
    }
}

impl From<Stored> for Value {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::None => Self::None,
            Stored::Bool(flag) => Self::Bool(flag),
            Stored::Int(number) => Self::Int(number),
            Stored::Decimal(bytes) => Self::Decimal(Decimal::deserialize(bytes)),
            Stored::Text(text) => Self::Text(text),
            Stored::Date(date) => Self::Date(date),
            Stored::Time(time) => Self::Time(time),
            Stored::DateTime(at) => Self::DateTime(at),
            Stored::Duration(seconds, nanos) => {
                Self::Duration(TimeDelta::seconds(seconds) + TimeDelta::nanoseconds(i64::from(nanos)))
            }
            Stored::List(items) => Self::List(items.into_iter().map(Self::from).collect()),
            Stored::Map(entries) => {
                Self::Map(entries.into_iter().map(|(key, value)| (key, Self::from(value))).collect())
            }
            Stored::Message(id) => Self::Message(MessageValue { id: Some(id), message: None }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Names(#[serde(with = "super")] Vec<Option<Value>>);

    #[test]
    fn every_kind_of_value_reads_back_as_it_was() {
        let at: DateTime<FixedOffset> = "2026-11-21T09:30:00.250+01:00".parse().unwrap();
        let values = vec![
            None,
            Some(Value::None),
            Some(Value::Bool(true)),
            Some(Value::Int(-7)),
            Some(Value::Decimal("250.00".parse().unwrap())),
            Some(Value::text("ü")),
            Some(Value::Date(at.date_naive())),
            Some(Value::Time(at.time())),
            Some(Value::DateTime(at)),
            Some(Value::Duration(TimeDelta::milliseconds(-1500))),
            Some(Value::List(vec![Value::Map([("a".to_owned(), Value::Int(1))].into_iter().collect())])),
            Some(Value::Message(MessageValue { id: Some(5), message: None })),
        ];
        let names = Names(values);
        let bytes = postcard::to_stdvec(&names).unwrap();
        let back: Names = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(back, names);
        assert_eq!(back.0[4].as_ref().map(ToString::to_string), Some("250.00".to_owned()), "digits are kept");
    }

    #[test]
    fn stored_bytes_of_an_old_state_still_read() {
        // Written by format 1. If this fails, raise the format and keep reading the old one.
        let old = [2, 1, 2, 14, 1, 4, 2, 80, 49];
        let names: Names = postcard::from_bytes(&old).unwrap();
        assert_eq!(names.0, [Some(Value::Int(7)), Some(Value::text("P1"))]);
    }
}
