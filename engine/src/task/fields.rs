//! Extra inputs of a task: what a definition asks for (`{name: {type, required, max, title}}`) and what was typed.

use serde_json::{Map, Value};

/// Longest text that an input takes when the definition names no limit.
const TEXT_MAX: u64 = 2_000;

/// One extra input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputField {
    /// Name in the definition.
    pub name: String,
    /// How people read it.
    pub title: String,
    /// What it takes.
    pub kind: FieldKind,
    /// Must be filled in.
    pub required: bool,
    /// Longest text, or largest number.
    pub most: Option<u64>,
}

/// What an input takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// Any text.
    Text,
    /// A whole number.
    Int,
    /// A number with decimals.
    Decimal,
    /// Yes or no.
    Bool,
    /// A day.
    Date,
}

/// The extra inputs of a task, in the order of its definition. What cannot be read is asked for as text.
#[must_use]
pub fn input_fields(fields: &Value) -> Vec<InputField> {
    let Some(fields) = fields.as_object() else { return Vec::new() };
    fields
        .iter()
        .map(|(name, field)| InputField {
            name: name.clone(),
            title: field["title"].as_str().map_or_else(|| name.replace(['-', '_'], " "), str::to_owned),
            kind: match field["type"].as_str().unwrap_or("text").trim_end_matches('?') {
                "int" => FieldKind::Int,
                "decimal" => FieldKind::Decimal,
                "bool" => FieldKind::Bool,
                "date" => FieldKind::Date,
                _ => FieldKind::Text,
            },
            required: field["required"].as_bool().unwrap_or(false),
            most: field["max"].as_u64(),
        })
        .collect()
}

/// Extra inputs that are missing or wrong: name and how to mend it.
#[must_use]
pub fn wrong_inputs(fields: &Value, typed: &Map<String, Value>) -> Vec<(String, String)> {
    read(fields, typed).err().unwrap_or_default()
}

/// What was typed, typed as the definition wants it; or, for each input that is wrong, how to mend it.
pub(super) fn read(
    fields: &Value,
    typed: &Map<String, Value>,
) -> Result<Map<String, Value>, Vec<(String, String)>> {
    let mut values = Map::new();
    let mut wrong = Vec::new();
    for field in input_fields(fields) {
        let text = typed.get(&field.name).and_then(Value::as_str).unwrap_or_default().trim();
        if text.is_empty() && field.kind != FieldKind::Bool {
            if field.required {
                wrong.push((field.name, "Fill this in".to_owned()));
            }
            continue;
        }
        match value(&field, text) {
            Ok(value) => {
                values.insert(field.name, value);
            }
            Err(mend) => wrong.push((field.name, mend)),
        }
    }
    if wrong.is_empty() { Ok(values) } else { Err(wrong) }
}

fn value(field: &InputField, text: &str) -> Result<Value, String> {
    match field.kind {
        FieldKind::Text => {
            let most = field.most.unwrap_or(TEXT_MAX);
            let fits = text.chars().count() as u64 <= most;
            if fits { Ok(text.into()) } else { Err(format!("Use at most {most} characters")) }
        }
        FieldKind::Int => {
            let number: i64 = text.parse().map_err(|_| "Type a whole number, such as 12".to_owned())?;
            if field.most.is_some_and(|most| number.unsigned_abs() > most) {
                return Err(format!("Use at most {}", field.most.unwrap_or_default()));
            }
            Ok(number.into())
        }
        // Exact as typed: a JSON number would become a binary float.
        FieldKind::Decimal => {
            let number = text.replace(',', ".");
            let exact: rust_decimal::Decimal =
                number.parse().map_err(|_| "Type a number, such as 4.6".to_owned())?;
            Ok(exact.to_string().into())
        }
        FieldKind::Bool => Ok(matches!(text, "yes" | "true" | "on").into()),
        FieldKind::Date => text
            .parse::<chrono::NaiveDate>()
            .map(|date| date.to_string().into())
            .map_err(|_| "Type a day, such as 2026-11-21".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn typed(pairs: Value) -> Map<String, Value> {
        pairs.as_object().cloned().unwrap()
    }

    #[test]
    fn inputs_get_the_types_of_the_definition() {
        let fields = json!({"call": {"type": "text", "title": "Called whom"}, "times": {"type": "int"},
            "dose": {"type": "decimal"}, "told": {"type": "bool"}});
        let values =
            read(&fields, &typed(json!({"call": " Ward 4A ", "times": "2", "dose": "1,50", "told": "yes"})));
        assert_eq!(values, Ok(typed(json!({"call": "Ward 4A", "times": 2, "dose": "1.50", "told": true}))));
    }

    #[test]
    fn every_wrong_input_says_how_to_mend_it() {
        let fields = json!({"call": {"required": true}, "times": {"type": "int"}, "note": {"max": 3}});
        let wrong = read(&fields, &typed(json!({"times": "two", "note": "long"}))).unwrap_err();
        let names: Vec<&str> = wrong.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["call", "times", "note"]);
    }

    #[test]
    fn inputs_that_nobody_asked_for_are_left_out() {
        assert_eq!(read(&json!({}), &typed(json!({"admin": "yes"}))), Ok(Map::new()));
    }
}
