//! Messages as JSON, one line each: the output of `orderly hl7 parse`, `get` and `validate`.
//!
//! Fields are lists of repetitions, of components, of subcomponents. A leaf is decoded text; the delete
//! indicator is null, and what is empty or absent is `""`. The first field of MSH is its separator.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::{Component, Delimiters, Field, Finding, Message, Repetition, Segment, Unreadable, Value};

/// One message as one line of JSON, without the line end.
pub fn message_line(message: &Message) -> String {
    line(&Whole(message))
}

/// A value as JSON: text, `null` for delete, `""` for empty and absent.
pub fn value_line(value: &Value<'_>) -> String {
    line(&Leaf(value.clone()))
}

/// `{"findings":[…]}`
pub fn findings_line(findings: &[Finding]) -> String {
    #[derive(Serialize)]
    struct Findings<'f> {
        findings: &'f [Finding],
    }
    line(&Findings { findings })
}

/// The line that stands for bytes that are no message: `{"error":"…"}`.
pub fn unreadable_line(error: &Unreadable) -> String {
    #[derive(Serialize)]
    struct Refused {
        error: String,
    }
    line(&Refused { error: error.to_string() })
}

fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts and lists always have a JSON form")
}

struct Whole<'m>(&'m Message);

impl Serialize for Whole<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let message = self.0;
        let header = message.header();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &header.message_type)?;
        map.serialize_entry("event", &header.trigger_event)?;
        map.serialize_entry("structure", &message.structure())?;
        map.serialize_entry("version", &header.version)?;
        map.serialize_entry("control_id", &header.control_id)?;
        map.serialize_entry("charset", message.written_in().name())?;
        map.serialize_entry("delimiters", &Separators(message.delimiters()))?;
        map.serialize_entry("segments", &Segments(message))?;
        map.serialize_entry("findings", message.findings())?;
        map.end()
    }
}

struct Separators(Delimiters);

impl Serialize for Separators {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let delimiters = self.0;
        let mut map = serializer.serialize_map(None)?;
        for (name, byte) in [
            ("field", Some(delimiters.field)),
            ("component", Some(delimiters.component)),
            ("repetition", Some(delimiters.repetition)),
            ("escape", delimiters.escape),
            ("subcomponent", delimiters.subcomponent),
            ("truncation", delimiters.truncation),
        ] {
            map.serialize_entry(name, &byte.map(char::from))?;
        }
        map.end()
    }
}

struct Segments<'m>(&'m Message);

impl Serialize for Segments<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.segments().map(Line))
    }
}

struct Line<'m>(Segment<'m>);

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        let id = self.0.id();
        if id.is_empty() {
            // Not a segment id, but what stands in its place may still help.
            let raw = self.0.raw();
            let end = raw.iter().position(|byte| *byte == self.0.delimiters().field).unwrap_or(raw.len());
            map.serialize_entry("id", &String::from_utf8_lossy(&raw[..end]))?;
        } else {
            map.serialize_entry("id", id)?;
        }
        map.serialize_entry("fields", &Fields(self.0))?;
        map.end()
    }
}

struct Fields<'m>(Segment<'m>);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.fields().map(Repetitions))
    }
}

struct Repetitions<'m>(Field<'m>);

impl Serialize for Repetitions<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.repetitions().map(Components))
    }
}

struct Components<'m>(Repetition<'m>);

impl Serialize for Components<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.components().map(Subcomponents))
    }
}

struct Subcomponents<'m>(Component<'m>);

impl Serialize for Subcomponents<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.subcomponents().map(Leaf))
    }
}

struct Leaf<'m>(Value<'m>);

impl Serialize for Leaf<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Value::Delete => serializer.serialize_none(),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Empty | Value::Absent => serializer.serialize_str(""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_with_every_leaf() {
        let message =
            Message::parse("MSH|^~\\&|A||||||ADT^A04|1|P|2.5\rPID|1||7^^^N&1\\T\\2~\"\"\r").unwrap();
        assert_eq!(
            message_line(&message),
            r#"{"type":"ADT","event":"A04","structure":"ADT_A01","version":"2.5","control_id":"1","charset":"ASCII","delimiters":{"field":"|","component":"^","repetition":"~","escape":"\\","subcomponent":"&","truncation":null},"segments":[{"id":"MSH","fields":[[[["|"]]],[[["^~\\&"]]],[[["A"]]],[[[""]]],[[[""]]],[[[""]]],[[[""]]],[[[""]]],[[["ADT"],["A04"]]],[[["1"]]],[[["P"]]],[[["2.5"]]]]},{"id":"PID","fields":[[[["1"]]],[[[""]]],[[["7"],[""],[""],["N","1&2"]],[[null]]]]}],"findings":[]}"#
        );
    }

    #[test]
    fn value_empty_and_delete_are_told_apart() {
        assert_eq!(value_line(&Value::Text("a\"b".into())), r#""a\"b""#);
        assert_eq!(value_line(&Value::Delete), "null");
        assert_eq!(value_line(&Value::Empty), r#""""#);
    }

    #[test]
    fn findings_are_told_with_path_code_severity_and_text() {
        let finding = Finding::new(crate::Class::Required, "PID-3", 101, "a number is required");
        assert_eq!(
            findings_line(&[finding]),
            r#"{"findings":[{"path":"PID-3","code":101,"severity":"error","text":"a number is required"}]}"#
        );
    }
}
