//! Values that travel as JSON: inputs of a child, extra fields of a decision.

use std::collections::HashMap;

use indexmap::IndexMap;
use orderly_hl7::Message;
use orderly_rules::Value;

/// Inputs of a child, as this module wrote them.
pub(super) fn values(text: &str) -> IndexMap<String, Value> {
    serde_json::from_str(text).unwrap_or_default()
}

/// Writes inputs of a child.
pub(super) fn text(values: &IndexMap<String, Value>) -> String {
    serde_json::to_string(values).unwrap_or_default()
}

/// Fields of a decision: a plain JSON object, as a form gives it.
pub(super) fn fields(text: &str) -> IndexMap<String, Value> {
    let Ok(fields) = serde_json::from_str::<IndexMap<String, serde_json::Value>>(text) else {
        return IndexMap::new();
    };
    fields.into_iter().map(|(name, value)| (name, plain(value))).collect()
}

fn plain(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::None,
        serde_json::Value::Bool(yes) => Value::Bool(yes),
        serde_json::Value::Number(number) => match (number.as_i64(), number.to_string().parse()) {
            (Some(whole), _) => Value::Int(whole),
            (None, Ok(exact)) => Value::Decimal(exact),
            (None, Err(_)) => Value::Text(number.to_string()),
        },
        serde_json::Value::String(text) => Value::Text(text),
        serde_json::Value::Array(items) => Value::List(items.into_iter().map(plain).collect()),
        serde_json::Value::Object(map) => {
            Value::Map(map.into_iter().map(|(name, value)| (name, plain(value))).collect())
        }
    }
}

/// Ids of the messages among the values.
pub(super) fn message_ids(values: &IndexMap<String, Value>) -> Vec<i64> {
    fn collect(value: &Value, ids: &mut Vec<i64>) {
        match value {
            Value::Message(message) => ids.extend(message.id),
            Value::List(items) => items.iter().for_each(|item| collect(item, ids)),
            Value::Map(map) => map.values().for_each(|item| collect(item, ids)),
            _ => {}
        }
    }
    let mut ids = Vec::new();
    values.values().for_each(|value| collect(value, &mut ids));
    ids
}

/// Gives the messages among the values their content.
pub(super) fn attach(values: &mut IndexMap<String, Value>, messages: &HashMap<i64, Message>) {
    fn give(value: &mut Value, messages: &HashMap<i64, Message>) {
        match value {
            Value::Message(message) => {
                message.message = message.id.and_then(|id| messages.get(&id)).cloned();
            }
            Value::List(items) => items.iter_mut().for_each(|item| give(item, messages)),
            Value::Map(map) => map.values_mut().for_each(|item| give(item, messages)),
            _ => {}
        }
    }
    values.values_mut().for_each(|value| give(value, messages));
}
