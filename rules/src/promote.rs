//! Routable properties of a message: the built-in ones and the promoted terms of the vocabulary.

use std::borrow::Cow;
use std::fmt;

use orderly_hl7::{Message, Value as Hl7};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use smallvec::{SmallVec, smallvec};

use crate::book::RuleBook;
use crate::value::{Type, Value};

/// The routable facts about a message: name to one or several values.
///
/// A few dozen at most, so they are looked for one after the other; names of built-in ones are not copied.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Properties(Vec<(Cow<'static, str>, Values)>);

/// Nearly always one.
type Values = SmallVec<[Value; 1]>;

impl Properties {
    /// No properties.
    pub fn new() -> Self {
        Self::default()
    }

    /// All values of a property; none when it is absent.
    pub fn get(&self, name: &str) -> &[Value] {
        self.0.iter().find(|(known, _)| known == name).map_or(&[], |(_, values)| values)
    }

    /// The first value as text; `""` when it is absent.
    pub fn text(&self, name: &str) -> String {
        self.get(name).first().map(ToString::to_string).unwrap_or_default()
    }

    /// Sets a property to one value; nothing and empty text leave it out.
    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        let value = value.into();
        if !is_empty(&value) {
            *self.values(name.into()) = smallvec![value];
        }
    }

    /// Adds a value to a property that may have several; equal ones are kept once.
    pub fn add(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        let value = value.into();
        if is_empty(&value) {
            return;
        }
        let values = self.values(name.into());
        if !values.contains(&value) {
            values.push(value);
        }
    }

    fn values(&mut self, name: Cow<'static, str>) -> &mut Values {
        let place = self.0.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            self.0.push((name, Values::new()));
            self.0.len() - 1
        });
        &mut self.0[place].1
    }

    /// Takes a property away.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    /// All of them in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[Value])> {
        self.0.iter().map(|(name, values)| (name.as_ref(), values.as_slice()))
    }

    /// As a JSON object: one value plain, several as a list.
    pub fn to_json(&self) -> serde_json::Value {
        let json = |values: &[Value]| match values {
            [one] => one.to_json(),
            many => serde_json::Value::Array(many.iter().map(Value::to_json).collect()),
        };
        serde_json::Value::Object(self.iter().map(|(name, values)| (name.to_owned(), json(values))).collect())
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_none() || matches!(value, Value::Text(text) if text.is_empty())
}

impl Serialize for Properties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Properties;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of properties")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Properties, A::Error> {
                let mut properties = Properties::new();
                while let Some((name, values)) = map.next_entry::<String, Vec<Value>>()? {
                    properties.0.push((Cow::Owned(name), values.into()));
                }
                Ok(properties)
            }
        }
        deserializer.deserialize_map(Map)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

/// Properties of a usual message, those of the engine and a few terms included.
const USUAL: usize = 28;

/// Built-in properties read from the message, and the type of each.
const FROM_MESSAGE: &[&str] = &[
    "hl7.type",
    "hl7.event",
    "hl7.structure",
    "hl7.version",
    "hl7.control_id",
    "hl7.sending_app",
    "hl7.sending_facility",
    "hl7.receiving_app",
    "hl7.receiving_facility",
    "hl7.processing_id",
    "patient.id",
    "patient.authority",
    "patient.prior_id",
    "visit.number",
    "order.placer",
    "order.placer_authority",
    "order.filler",
    "order.control",
    "ack.code",
    "ack.control_id",
    "batch.control_id",
    "batch.reference_id",
];

/// Built-in properties that the engine adds.
const FROM_ENGINE: &[(&str, Type)] = &[
    ("port.name", Type::Text),
    ("location.name", Type::Text),
    ("party.name", Type::Text),
    ("hl7.encoding", Type::Text),
    ("hl7.valid", Type::Bool),
    ("hl7.findings", Type::Int),
    ("hl7.has_undeclared", Type::Bool),
    ("batch.kind", Type::Text),
    ("batch.collect", Type::Text),
    ("ack.generated", Type::Bool),
    ("ack.static", Type::Bool),
    ("fault.code", Type::Text),
    ("fault.step", Type::Text),
    ("fault.port", Type::Text),
    ("fault.party", Type::Text),
    ("fault.class", Type::Text),
];

/// The type of a built-in property.
pub fn built_in_type(name: &str) -> Option<Type> {
    if FROM_MESSAGE.contains(&name) {
        return Some(Type::Text);
    }
    if let Some(original) = name.strip_prefix("orig.") {
        return built_in_type(original);
    }
    FROM_ENGINE.iter().find(|(known, _)| *known == name).map(|(_, kind)| kind.clone())
}

/// The names of all built-in properties, for suggestions.
pub fn built_in_names() -> impl Iterator<Item = &'static str> {
    FROM_MESSAGE.iter().copied().chain(FROM_ENGINE.iter().map(|(name, _)| *name))
}

/// What the message itself tells, with the structure that its type and event mean when MSH-9.3 is
/// empty.
pub fn built_in(message: &Message) -> Properties {
    // Room for what a usual message has: growing step by step costs more than all else here.
    let mut properties = Properties(Vec::with_capacity(USUAL));
    let header = message.head();
    properties.set("hl7.type", header.message_type.as_str());
    properties.set("hl7.event", header.trigger_event.as_str());
    properties.set("hl7.structure", structure_from(header));
    properties.set("hl7.version", header.version.as_str());
    properties.set("hl7.control_id", header.control_id.as_str());
    properties.set("hl7.sending_app", header.sending_app.as_str());
    properties.set("hl7.sending_facility", header.sending_facility.as_str());
    properties.set("hl7.receiving_app", header.receiving_app.as_str());
    properties.set("hl7.receiving_facility", header.receiving_facility.as_str());
    properties.set("hl7.processing_id", header.processing_id.as_str());
    let text = |hl7: Hl7<'_>| hl7.into_text().trim().to_owned();
    for segment in message.segments() {
        let get = |field, component, sub| text(segment.get(field, 1, component, sub));
        match segment.id() {
            "PID" if properties.get("patient.id").is_empty() => {
                properties.set("patient.id", get(3, 1, 1));
                properties.set("patient.authority", get(3, 4, 1));
            }
            "MRG" if properties.get("patient.prior_id").is_empty() => {
                properties.set("patient.prior_id", get(1, 1, 1));
            }
            "PV1" if properties.get("visit.number").is_empty() => {
                properties.set("visit.number", get(19, 1, 1))
            }
            "ORC" => {
                properties.add("order.control", get(1, 1, 1));
                properties.add("order.placer", get(2, 1, 1));
                properties.add("order.placer_authority", get(2, 2, 1));
                properties.add("order.filler", get(3, 1, 1));
            }
            "OBR" => {
                properties.add("order.placer", get(2, 1, 1));
                properties.add("order.placer_authority", get(2, 2, 1));
                properties.add("order.filler", get(3, 1, 1));
            }
            "MSA" => {
                properties.set("ack.code", get(1, 1, 1));
                properties.set("ack.control_id", get(2, 1, 1));
            }
            "BHS" => {
                properties.set("batch.control_id", get(11, 1, 1));
                properties.set("batch.reference_id", get(12, 1, 1));
            }
            _ => {}
        }
    }
    properties
}

/// MSH-9.3, or what type and event mean together.
pub fn structure_of(message: &Message) -> String {
    structure_from(message.head())
}

fn structure_from(header: &orderly_hl7::Header) -> String {
    if !header.structure.is_empty() {
        return header.structure.clone();
    }
    let (kind, event) = (header.message_type.as_str(), header.trigger_event.as_str());
    let shared = match (kind, event) {
        ("ADT", "A04" | "A08" | "A13") => "A01",
        ("ADT", "A14" | "A28" | "A31") => "A05",
        ("ADT", "A07") => "A06",
        ("ADT", "A10" | "A11" | "A12") => "A09",
        ("ADT", "A22" | "A23" | "A25" | "A26" | "A27" | "A29" | "A32" | "A33") => "A21",
        ("ADT", "A35" | "A36" | "A46" | "A47" | "A48" | "A49") => "A30",
        ("ADT", "A34") => "A30",
        ("ADT", "A40" | "A41" | "A42") => "A39",
        ("ADT", "A51") => "A50",
        ("ADT", "A53") => "A52",
        ("ADT", "A55") => "A54",
        ("ADT", "A62") => "A61",
        (
            "SIU",
            "S13" | "S14" | "S15" | "S16" | "S17" | "S18" | "S19" | "S20" | "S21" | "S22" | "S23" | "S24"
            | "S26",
        ) => "S12",
        ("MDM", "T03" | "T05" | "T07" | "T09" | "T11") => "T01",
        ("MDM", "T04" | "T06" | "T08" | "T10") => "T02",
        (_, other) => other,
    };
    match (kind, shared) {
        ("ACK", _) => "ACK".to_owned(),
        (_, "") => kind.to_owned(),
        _ => format!("{kind}_{shared}"),
    }
}

impl RuleBook {
    /// Built-in properties and promoted terms of a message.
    pub fn promote(&self, message: &Message) -> Properties {
        let mut properties = built_in(message);
        self.promote_terms(message, &mut properties);
        properties
    }

    /// The type of a property that a filter may name.
    pub fn property_type(&self, name: &str) -> Option<Type> {
        built_in_type(name).or_else(|| self.promoted_type(name.strip_prefix("orig.").unwrap_or(name)))
    }

    /// All names that a filter may use, for suggestions.
    pub fn property_names(&self) -> Vec<String> {
        built_in_names().map(str::to_owned).chain(self.promoted_names()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_numbers_of_all_orders_are_promoted_once_each() {
        let message = Message::parse(
            "MSH|^~\\&|LAB|NORTH|||20260301||ORU^R01|42|P|2.5.1\rPID|1||7^^^HOSP\rORC|RE|P1^OE\rOBR|1|P1^OE\rORC|RE|P2\rOBR|2|P2",
        )
        .unwrap();
        let properties = built_in(&message);
        assert_eq!(properties.get("order.placer"), [Value::text("P1"), Value::text("P2")]);
        assert_eq!(properties.text("patient.authority"), "HOSP");
        assert_eq!(properties.text("hl7.structure"), "ORU_R01");
        assert_eq!(properties.text("visit.number"), "");
    }
}
