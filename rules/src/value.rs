//! The values that definitions, rules and settings exchange, and their types.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveTime, TimeDelta};
use indexmap::IndexMap;
use orderly_hl7::Message;
use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One value.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub enum Value {
    /// Nothing: absent or empty.
    #[default]
    None,
    /// Yes or no.
    Bool(bool),
    /// Whole number.
    Int(i64),
    /// Exact number; as text, since the state of an instance is stored in a form that cannot guess.
    #[serde(with = "rust_decimal::serde::str")]
    Decimal(Decimal),
    /// Text.
    Text(String),
    /// Day.
    Date(NaiveDate),
    /// Time of day.
    Time(NaiveTime),
    /// Point in time.
    DateTime(DateTime<FixedOffset>),
    /// Length of time.
    #[serde(with = "duration_serde")]
    Duration(TimeDelta),
    /// List.
    List(Vec<Value>),
    /// Named values, in order.
    Map(IndexMap<String, Value>),
    /// A message.
    Message(MessageValue),
}

/// A message as a value. Stored states keep its id alone; the content is attached again on load.
#[derive(Debug, Clone, Default)]
pub struct MessageValue {
    /// Its id in the message box, once it has one.
    pub id: Option<i64>,
    /// Its content, unless it was loaded from a stored state and not attached yet.
    pub message: Option<Message>,
}

impl MessageValue {
    /// A message that is not stored yet.
    pub fn new(message: Message) -> Self {
        Self { id: None, message: Some(message) }
    }

    /// A stored message.
    pub fn stored(id: i64, message: Message) -> Self {
        Self { id: Some(id), message: Some(message) }
    }
}

impl PartialEq for MessageValue {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && match (&self.message, &other.message) {
                (Some(a), Some(b)) => a.bytes() == b.bytes(),
                _ => true,
            }
    }
}

impl Serialize for MessageValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.id.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for MessageValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { id: Option::deserialize(deserializer)?, message: None })
    }
}

mod duration_serde {
    use super::{Deserialize, Deserializer, Serialize, Serializer, TimeDelta};

    pub(super) fn serialize<S: Serializer>(value: &TimeDelta, serializer: S) -> Result<S::Ok, S::Error> {
        value.num_milliseconds().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TimeDelta, D::Error> {
        TimeDelta::try_milliseconds(i64::deserialize(deserializer)?)
            .ok_or_else(|| serde::de::Error::custom("duration out of range"))
    }
}

impl Value {
    /// A text value.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// True for nothing.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// What people call its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::Bool(_) => "yes/no",
            Self::Int(_) | Self::Decimal(_) => "number",
            Self::Text(_) => "text",
            Self::Date(_) => "date",
            Self::Time(_) => "time",
            Self::DateTime(_) => "date and time",
            Self::Duration(_) => "duration",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Message(_) => "message",
        }
    }

    /// The text of a text value.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Yes or no.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// A whole number, also from a decimal without fraction.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            Self::Decimal(value) if value.is_integer() => i64::try_from(*value).ok(),
            _ => None,
        }
    }

    /// A number.
    pub fn as_decimal(&self) -> Option<Decimal> {
        match self {
            Self::Int(value) => Some(Decimal::from(*value)),
            Self::Decimal(value) => Some(*value),
            _ => None,
        }
    }

    /// The items of a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    /// The entries of a map.
    pub fn as_map(&self) -> Option<&IndexMap<String, Value>> {
        match self {
            Self::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The message.
    pub fn as_message(&self) -> Option<&MessageValue> {
        match self {
            Self::Message(message) => Some(message),
            _ => None,
        }
    }

    /// As JSON for traces and the console: numbers exact where JSON can hold them, else as text.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Self::None => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(value) => Json::from(*value),
            Self::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Self::Map(entries) => {
                Json::Object(entries.iter().map(|(key, value)| (key.clone(), value.to_json())).collect())
            }
            Self::Message(message) => serde_json::json!({ "message": message.id }),
            _ => Json::String(self.to_string()),
        }
    }

    /// Reads a value of a type from text as people write it in YAML, CSV and test files.
    ///
    /// # Errors
    ///
    /// Says what form was wanted.
    pub fn parse(text: &str, wanted: &Type) -> Result<Self, String> {
        let fail = |form: &str| Err(format!("`{text}` is not {form}"));
        match wanted {
            Type::Optional(_) if text.is_empty() => Ok(Self::None),
            Type::Optional(inner) => Self::parse(text, inner),
            Type::Text | Type::Role | Type::Code => Ok(Self::Text(text.to_owned())),
            Type::Bool => match text {
                "true" | "yes" => Ok(Self::Bool(true)),
                "false" | "no" => Ok(Self::Bool(false)),
                _ => fail("true or false"),
            },
            Type::Int => text.trim().parse().map(Self::Int).or_else(|_| fail("a whole number")),
            Type::Decimal => text.trim().parse().map(Self::Decimal).or_else(|_| fail("a number")),
            Type::Date => text.trim().parse().map(Self::Date).or_else(|_| fail("a date like 2026-01-31")),
            Type::Time => {
                parse_time(text.trim()).map(Self::Time).map_or_else(|| fail("a time like 08:30"), Ok)
            }
            Type::DateTime => DateTime::parse_from_rfc3339(text.trim())
                .map(Self::DateTime)
                .or_else(|_| fail("a time like 2026-01-31T08:00:00+01:00")),
            Type::Duration => crate::duration::parse(text)
                .map(Self::Duration)
                .map_or_else(|| fail("a duration like 30s, 5m, 8h or 7d"), Ok),
            Type::Any => Ok(Self::Text(text.to_owned())),
            Type::List(_) | Type::Map | Type::Message(_) => fail(&format!("a {wanted}")),
        }
    }

    /// True when the value is of the type; whole numbers are decimals too.
    pub fn fits(&self, wanted: &Type) -> bool {
        match (self, wanted) {
            (_, Type::Any) => true,
            (Self::None, wanted) => matches!(wanted, Type::Optional(_)),
            (value, Type::Optional(inner)) => value.fits(inner),
            (Self::Bool(_), Type::Bool)
            | (Self::Int(_), Type::Int | Type::Decimal)
            | (Self::Decimal(_), Type::Decimal)
            | (Self::Text(_), Type::Text | Type::Role | Type::Code)
            | (Self::Date(_), Type::Date)
            | (Self::Time(_), Type::Time)
            | (Self::DateTime(_), Type::DateTime)
            | (Self::Duration(_), Type::Duration)
            | (Self::Map(_), Type::Map)
            | (Self::Message(_), Type::Message(_)) => true,
            (Self::Decimal(value), Type::Int) => value.is_integer(),
            (Self::List(items), Type::List(inner)) => items.iter().all(|item| item.fits(inner)),
            _ => false,
        }
    }
}

fn parse_time(text: &str) -> Option<NaiveTime> {
    ["%H:%M:%S", "%H:%M"].iter().find_map(|form| NaiveTime::parse_from_str(text, form).ok())
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Decimal(value) => write!(f, "{value}"),
            Self::Text(text) => f.write_str(text),
            Self::Date(value) => write!(f, "{value}"),
            Self::Time(value) => write!(f, "{}", value.format("%H:%M:%S")),
            Self::DateTime(value) => f.write_str(&value.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)),
            Self::Duration(value) => f.write_str(&crate::duration::format(*value)),
            Self::List(items) => {
                let shown: Vec<String> = items.iter().map(ToString::to_string).collect();
                f.write_str(&shown.join(", "))
            }
            Self::Map(_) => write!(f, "{}", self.to_json()),
            Self::Message(message) => match message.id {
                Some(id) => write!(f, "message {id}"),
                None => f.write_str("message"),
            },
        }
    }
}

/// The type of a value, as written: `text`, `list<decimal>`, `message ORU_R01`, `date?`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Type {
    /// Text.
    Text,
    /// A code: text that compares exactly.
    Code,
    /// Whole number.
    Int,
    /// Exact number.
    Decimal,
    /// Yes or no.
    Bool,
    /// Day.
    Date,
    /// Time of day.
    Time,
    /// Point in time.
    DateTime,
    /// Length of time.
    Duration,
    /// Name of a role.
    Role,
    /// List of one type.
    List(Box<Type>),
    /// Named values.
    Map,
    /// A message, of any or of one structure.
    Message(Option<String>),
    /// May be absent.
    Optional(Box<Type>),
    /// Not known before it runs.
    Any,
}

impl Type {
    /// The names that may be written, for suggestions.
    pub const NAMES: &'static [&'static str] = &[
        "text", "code", "int", "decimal", "bool", "date", "time", "datetime", "duration", "role", "list",
        "map", "message", "any",
    ];

    /// The type without `?`.
    pub fn inner(&self) -> &Type {
        match self {
            Self::Optional(inner) => inner,
            other => other,
        }
    }

    /// True for `T?`.
    pub fn is_optional(&self) -> bool {
        matches!(self, Self::Optional(_))
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::Code => f.write_str("code"),
            Self::Int => f.write_str("int"),
            Self::Decimal => f.write_str("decimal"),
            Self::Bool => f.write_str("bool"),
            Self::Date => f.write_str("date"),
            Self::Time => f.write_str("time"),
            Self::DateTime => f.write_str("datetime"),
            Self::Duration => f.write_str("duration"),
            Self::Role => f.write_str("role"),
            Self::List(inner) => write!(f, "list<{inner}>"),
            Self::Map => f.write_str("map"),
            Self::Message(None) => f.write_str("message"),
            Self::Message(Some(structure)) => write!(f, "message {structure}"),
            Self::Optional(inner) => write!(f, "{inner}?"),
            Self::Any => f.write_str("any"),
        }
    }
}

impl FromStr for Type {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(inner) = text.strip_suffix('?') {
            return Ok(Self::Optional(Box::new(inner.parse()?)));
        }
        if let Some(inner) = text.strip_prefix("list<").and_then(|rest| rest.strip_suffix('>')) {
            return Ok(Self::List(Box::new(inner.parse()?)));
        }
        if let Some(structure) = text.strip_prefix("message ") {
            return Ok(Self::Message(Some(structure.trim().to_owned())));
        }
        Ok(match text {
            "text" => Self::Text,
            "code" => Self::Code,
            "int" => Self::Int,
            "decimal" => Self::Decimal,
            "bool" => Self::Bool,
            "date" => Self::Date,
            "time" => Self::Time,
            "datetime" => Self::DateTime,
            "duration" => Self::Duration,
            "role" => Self::Role,
            "list" => Self::List(Box::new(Self::Any)),
            "map" => Self::Map,
            "message" => Self::Message(None),
            "any" => Self::Any,
            other => return Err(format!("unknown type `{other}`")),
        })
    }
}

impl Serialize for Type {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Type {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_read_and_print_as_written() {
        for written in ["text", "list<decimal?>", "message ORU_R01", "message", "date?", "list<map>"] {
            assert_eq!(written.parse::<Type>().unwrap().to_string(), written);
        }
        assert!("txt".parse::<Type>().is_err());
    }

    #[test]
    fn values_are_read_by_type_and_keep_their_digits() {
        assert_eq!(Value::parse("250.00", &Type::Decimal).unwrap().to_string(), "250.00");
        assert_eq!(Value::parse("", &"int?".parse().unwrap()).unwrap(), Value::None);
        assert!(Value::parse("abc", &Type::Int).unwrap_err().contains("whole number"));
        assert_eq!(Value::parse("90m", &Type::Duration).unwrap().to_string(), "90min");
    }

    #[test]
    fn a_value_survives_storing_except_for_message_content() {
        let value = Value::List(vec![
            Value::Duration(TimeDelta::seconds(5)),
            Value::Decimal("1.50".parse().unwrap()),
        ]);
        let stored = serde_json::to_string(&value).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&stored).unwrap(), value);
    }
}
