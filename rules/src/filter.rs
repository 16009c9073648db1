//! Filters: what a subscription wants, as a map of property to test (site.md, section 8).

mod bits;
mod dimension;
mod index;
mod key;

pub use index::FilterIndex;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::diagnostic::{Problems, did_you_mean};
use crate::promote::Properties;
use crate::value::{Type, Value};
use crate::yaml::{Kind, Node, Span, Spanned};

/// A compiled filter: at least one of its alternatives must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Filter {
    /// Tests of the map itself; all must hold.
    pub all: Vec<Condition>,
    /// Alternatives of `any`; when there are some, one must hold.
    pub any: Vec<Vec<Condition>>,
    /// Acknowledgments match only a filter that asks for them.
    takes_acks: bool,
    /// Faults match only a filter that asks for them.
    takes_faults: bool,
}

/// One property and its test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// Name of the property.
    pub property: String,
    /// What it must be.
    pub test: Test,
}

/// A test of a property.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Test {
    /// One of these.
    OneOf(Vec<Value>),
    /// None of these; absent counts as different.
    Not(Vec<Value>),
    /// Text that begins so.
    Prefix(String),
    /// A number, date or text above.
    Above(Value),
    /// A number, date or text below.
    Below(Value),
    /// Has a value, or has none.
    Present(bool),
}

impl Filter {
    /// The filter that takes every message but acknowledgments and faults.
    pub fn everything() -> Self {
        Self { all: Vec::new(), any: Vec::new(), takes_acks: false, takes_faults: false }
    }

    /// Compiles a filter map. `type_of` knows the properties; `names` is for suggestions.
    pub fn compile(
        node: &Node,
        type_of: impl Fn(&str) -> Option<Type>,
        names: &[String],
        problems: &mut Problems,
    ) -> Option<Self> {
        let before = problems.count();
        let mut reader = Reader { type_of: &type_of, names, problems };
        let mut filter = Self::everything();
        for (key, value) in reader.entries(node)? {
            if key.value == "any" {
                let Kind::List(maps) = &value.kind else {
                    reader.problems.error("S301", value.span, "`any` is a list of maps");
                    continue;
                };
                for map in maps {
                    let Some(entries) = reader.entries(map) else { continue };
                    filter.any.push(
                        entries.iter().filter_map(|(key, value)| reader.condition(key, value)).collect(),
                    );
                }
            } else if let Some(condition) = reader.condition(key, value) {
                filter.all.push(condition);
            }
        }
        filter.note_kinds();
        (problems.count() == before).then_some(filter)
    }

    /// Makes a filter of conditions that are known already.
    pub fn of(all: Vec<Condition>, any: Vec<Vec<Condition>>) -> Self {
        let mut filter = Self { all, any, takes_acks: false, takes_faults: false };
        filter.note_kinds();
        filter
    }

    fn note_kinds(&mut self) {
        let names =
            |test: &dyn Fn(&Condition) -> bool| self.all.iter().chain(self.any.iter().flatten()).any(test);
        self.takes_acks = names(&|condition| {
            condition.property.starts_with("ack.")
                || (condition.property == "hl7.type"
                    && matches!(&condition.test, Test::OneOf(list) if list.contains(&Value::text("ACK"))))
        });
        self.takes_faults = names(&|condition| condition.property.starts_with("fault."));
    }

    /// Adds a condition that must hold as well.
    pub fn and(&mut self, property: &str, test: Test) {
        self.all.push(Condition { property: property.to_owned(), test });
        self.note_kinds();
    }

    /// True when a message with these properties is wanted.
    pub fn matches(&self, properties: &Properties) -> bool {
        if !self.takes_acks && is_acknowledgment(properties) || !self.takes_faults && is_fault(properties) {
            return false;
        }
        let holds = |conditions: &[Condition]| conditions.iter().all(|condition| condition.holds(properties));
        holds(&self.all) && (self.any.is_empty() || self.any.iter().any(|conditions| holds(conditions)))
    }

    /// Whether acknowledgments can match.
    pub fn takes_acks(&self) -> bool {
        self.takes_acks
    }

    /// Whether reports of failures can match.
    pub fn takes_faults(&self) -> bool {
        self.takes_faults
    }

    /// The properties it reads.
    pub fn properties(&self) -> impl Iterator<Item = &str> {
        self.all.iter().chain(self.any.iter().flatten()).map(|condition| condition.property.as_str())
    }
}

impl Condition {
    /// True when one of the property's values passes.
    pub fn holds(&self, properties: &Properties) -> bool {
        let values = properties.get(&self.property);
        match &self.test {
            Test::OneOf(wanted) => values.iter().any(|value| wanted.iter().any(|one| same(value, one))),
            Test::Not(unwanted) => !values.iter().any(|value| unwanted.iter().any(|one| same(value, one))),
            Test::Prefix(prefix) => values
                .iter()
                .any(|value| matches!(value, Value::Text(text) if text.starts_with(prefix.as_str()))),
            Test::Above(limit) => {
                values.iter().any(|value| order(value, limit).is_some_and(|order| order.is_gt()))
            }
            Test::Below(limit) => {
                values.iter().any(|value| order(value, limit).is_some_and(|order| order.is_lt()))
            }
            Test::Present(wanted) => values.is_empty() != *wanted,
        }
    }
}

fn is_acknowledgment(properties: &Properties) -> bool {
    properties.get("ack.generated").first() == Some(&Value::Bool(true))
        || matches!(properties.get("hl7.type").first(), Some(Value::Text(kind)) if kind == "ACK")
}

fn is_fault(properties: &Properties) -> bool {
    !properties.get("fault.code").is_empty()
}

fn same(a: &Value, b: &Value) -> bool {
    order(a, b).is_some_and(|order| order.is_eq())
}

/// Numbers as decimals, text byte for byte.
fn order(a: &Value, b: &Value) -> Option<std::cmp::Ordering> {
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Date(a), Value::Date(b)) => Some(a.cmp(b)),
        (Value::DateTime(a), Value::DateTime(b)) => Some(a.cmp(b)),
        (Value::Date(a), Value::DateTime(b)) => Some(a.cmp(&b.date_naive())),
        (Value::DateTime(a), Value::Date(b)) => Some(a.date_naive().cmp(b)),
        _ => Some(number(a)?.cmp(&number(b)?)),
    }
}

fn number(value: &Value) -> Option<Decimal> {
    match value {
        Value::Text(text) => text.trim().parse().ok(),
        other => other.as_decimal(),
    }
}

struct Reader<'a> {
    type_of: &'a dyn Fn(&str) -> Option<Type>,
    names: &'a [String],
    problems: &'a mut Problems,
}

impl Reader<'_> {
    fn entries<'n>(&mut self, node: &'n Node) -> Option<&'n [(Spanned<String>, Node)]> {
        match &node.kind {
            Kind::Map(entries) => Some(entries),
            Kind::Nothing => Some(&[]),
            _ => {
                self.problems.error("S301", node.span, "a filter is a map of property to test");
                None
            }
        }
    }

    fn condition(&mut self, key: &Spanned<String>, value: &Node) -> Option<Condition> {
        if key.value == "any" {
            self.problems.error("S301", key.span, "`any` stands at the top of a filter only");
            return None;
        }
        let Some(kind) = (self.type_of)(&key.value) else {
            let message = format!("`{}` is not a promoted property", key.value);
            let help = if key.value.parse::<orderly_hl7::Path>().is_ok() {
                "filters read promoted properties; give this path a name in rules/vocabulary.yaml".to_owned()
            } else {
                did_you_mean(&key.value, self.names.iter().map(String::as_str))
                    .unwrap_or_else(|| "promote it in rules/vocabulary.yaml".to_owned())
            };
            self.problems.error("S302", key.span, message).help = Some(help);
            return None;
        };
        let test = match &value.kind {
            Kind::Scalar { .. } | Kind::List(_) => Test::OneOf(self.constants(value, &kind)?),
            Kind::Map(entries) => match entries.as_slice() {
                [(word, limit)] => self.test(word, limit, &kind)?,
                _ => {
                    self.problems.error("S301", value.span, "a test has exactly one word");
                    return None;
                }
            },
            Kind::Nothing => {
                self.problems.error("S301", key.span, "a test is missing").help =
                    Some("write { present: false } for a property without value".into());
                return None;
            }
        };
        Some(Condition { property: key.value.clone(), test })
    }

    fn test(&mut self, word: &Spanned<String>, limit: &Node, kind: &Type) -> Option<Test> {
        let single = |values: Vec<Value>| values.into_iter().next();
        match word.value.as_str() {
            "not" => Some(Test::Not(self.constants(limit, kind)?)),
            "prefix" => Some(Test::Prefix(self.scalar(limit, &Type::Text).map(|value| value.to_string())?)),
            "above" => single(self.constants(limit, kind)?).map(Test::Above),
            "below" => single(self.constants(limit, kind)?).map(Test::Below),
            "present" => match limit.as_plain() {
                Some("true") => Some(Test::Present(true)),
                Some("false") => Some(Test::Present(false)),
                _ => {
                    self.problems.error("S301", limit.span, "`present` is true or false");
                    None
                }
            },
            other => {
                let help = did_you_mean(other, ["not", "prefix", "above", "below", "present"]);
                self.problems.error("S304", word.span, format!("unknown test `{other}`")).help =
                    help.or_else(|| Some("one of: not, prefix, above, below, present".into()));
                None
            }
        }
    }

    fn constants(&mut self, node: &Node, kind: &Type) -> Option<Vec<Value>> {
        match &node.kind {
            Kind::List(items) => items.iter().map(|item| self.scalar(item, kind)).collect(),
            _ => Some(vec![self.scalar(node, kind)?]),
        }
    }

    fn scalar(&mut self, node: &Node, kind: &Type) -> Option<Value> {
        let Some(text) = node.as_text() else {
            self.problems.error("S301", node.span, "a single value is wanted here");
            return None;
        };
        if node.as_plain().is_some_and(|text| text.contains('*')) {
            let prefix = text.trim_end_matches('*');
            self.problems.error("S303", node.span, format!("`{text}`: a filter has no wildcards")).help =
                Some(format!("write {{ prefix: {prefix} }}"));
            return None;
        }
        Value::parse(text, kind).map_err(|message| self.fail(node.span, message)).ok()
    }

    fn fail(&mut self, span: Span, message: String) {
        self.problems.error("S301", span, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promote::{built_in_names, built_in_type};
    use crate::yaml::{Codes, parse};

    fn compile(text: &str) -> Result<Filter, Vec<(String, Option<String>)>> {
        let mut problems = Problems::new("f.yaml", text);
        let node = parse(text, &Codes::SITE, &mut problems).unwrap();
        let names: Vec<String> = built_in_names().map(str::to_owned).collect();
        match Filter::compile(&node, built_in_type, &names, &mut problems) {
            Some(filter) => Ok(filter),
            None => Err(problems.into_list().into_iter().map(|d| (d.code, d.help)).collect()),
        }
    }

    fn message(pairs: &[(&str, &str)]) -> Properties {
        let mut properties = Properties::new();
        for (name, value) in pairs {
            properties.add(String::from(*name), *value);
        }
        properties
    }

    #[test]
    fn all_tests_of_a_map_must_hold_and_one_of_any() {
        let filter = compile("{ hl7.type: [ORU, ORM], patient.id: { present: true }, any: [{ hl7.event: R01 }, { hl7.event: { prefix: O } }] }").unwrap();
        assert!(filter.matches(&message(&[("hl7.type", "ORU"), ("hl7.event", "R01"), ("patient.id", "7")])));
        assert!(filter.matches(&message(&[("hl7.type", "ORM"), ("hl7.event", "O01"), ("patient.id", "7")])));
        assert!(!filter.matches(&message(&[("hl7.type", "ORU"), ("hl7.event", "R01")])));
        assert!(!filter.matches(&message(&[("hl7.type", "ADT"), ("hl7.event", "R01"), ("patient.id", "7")])));
    }

    #[test]
    fn not_takes_what_is_absent_too() {
        let filter = compile("{ hl7.event: { not: [A40, A18] } }").unwrap();
        assert!(filter.matches(&message(&[("hl7.type", "ADT")])));
        assert!(!filter.matches(&message(&[("hl7.event", "A40")])));
    }

    #[test]
    fn acknowledgments_never_match_a_filter_that_does_not_ask_for_them() {
        let ack = message(&[("hl7.type", "ACK"), ("port.name", "lab"), ("ack.code", "AA")]);
        assert!(!compile("{ port.name: lab }").unwrap().matches(&ack));
        assert!(compile("{ port.name: lab, ack.code: AA }").unwrap().matches(&ack));
        assert!(compile("{ hl7.type: ACK }").unwrap().matches(&ack));
    }

    #[test]
    fn text_constants_keep_leading_zeros() {
        let filter = compile("{ patient.id: 0012 }").unwrap();
        assert!(filter.matches(&message(&[("patient.id", "0012")])));
        assert!(!filter.matches(&message(&[("patient.id", "12")])));
    }

    #[test]
    fn mistakes_have_their_own_codes_and_a_way_out() {
        assert_eq!(
            compile("{ hl7.sending_app: LIS* }").unwrap_err(),
            [("S303".into(), Some("write { prefix: LIS }".into()))]
        );
        assert_eq!(
            compile("{ hl7.tipe: ORU }").unwrap_err(),
            [("S302".into(), Some("did you mean `hl7.type`?".into()))]
        );
        assert!(compile("{ PID-3.1: 4711 }").unwrap_err()[0].1.as_ref().unwrap().contains("vocabulary"));
        assert_eq!(
            compile("{ hl7.type: { prefx: O } }").unwrap_err()[0].1.as_deref(),
            Some("did you mean `prefix`?")
        );
    }
}
