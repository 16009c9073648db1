//! Conditions of a profile, HL7's C(a/b): `PV1-2 = I`, `OBX-11 in (F, C) and OBX-2 is present`.
//!
//! A test is a place with `=`, `!=`, `in (…)`, `not in (…)`, `is present` or `is blank`; a segment id takes the last two.
//! `and` binds before `or`, parentheses group. A comparison with a place that has no value does not hold, `!=` and
//! `not in` included, so nothing is concluded from what was not sent.

use std::fmt;

use crate::path::is_segment_id;
use crate::validate::Nearby;
use crate::{Path, SegmentId, Value};

const TESTS_MAX: usize = 50;
const DEPTH_MAX: usize = 10;

/// Why a text is not a condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ConditionError {
    /// Where in the text, in bytes.
    pub at: usize,
    /// What is wrong.
    pub reason: String,
}

/// A condition as it was read; its text is what people see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition(Node);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Test(Asked),
    All(Vec<Node>),
    Any(Vec<Node>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    place: Place,
    is: Is,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Segment(SegmentId),
    Value(Path),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Is {
    OneOf(Vec<String>),
    NoneOf(Vec<String>),
    Present,
    Blank,
}

impl Condition {
    /// Reads a condition as people write it.
    ///
    /// # Errors
    ///
    /// Says where and why it is none.
    pub fn parse(text: &str) -> Result<Self, ConditionError> {
        let mut reader = Reader { text, at: 0, tests: 0 };
        let node = reader.any(0)?;
        reader.blanks();
        if reader.at < text.len() {
            return reader.fail("`and`, `or` or the end of the condition is expected");
        }
        Ok(Self(node))
    }

    /// Every place that it looks at.
    pub fn paths(&self) -> Vec<&Path> {
        let mut paths = Vec::new();
        self.0.visit(&mut |asked| {
            if let Place::Value(path) = &asked.place {
                paths.push(path);
            }
        });
        paths
    }

    /// Every segment that it looks at, as a whole or inside.
    pub fn segments(&self) -> Vec<SegmentId> {
        let mut segments = Vec::new();
        self.0.visit(&mut |asked| segments.push(asked.place.segment()));
        segments
    }

    /// Whether it holds around a place of a message.
    pub(crate) fn holds(&self, near: &mut Nearby<'_>) -> bool {
        self.0.holds(near)
    }
}

impl Place {
    fn segment(&self) -> SegmentId {
        match self {
            Self::Segment(id) => *id,
            Self::Value(path) => path.segment,
        }
    }
}

impl Node {
    fn visit<'n>(&'n self, see: &mut impl FnMut(&'n Asked)) {
        match self {
            Self::Test(asked) => see(asked),
            Self::All(nodes) | Self::Any(nodes) => nodes.iter().for_each(|node| node.visit(see)),
        }
    }

    fn holds(&self, near: &mut Nearby<'_>) -> bool {
        match self {
            Self::Test(asked) => asked.holds(near),
            Self::All(nodes) => nodes.iter().all(|node| node.holds(near)),
            Self::Any(nodes) => nodes.iter().any(|node| node.holds(near)),
        }
    }
}

impl Asked {
    fn holds(&self, near: &mut Nearby<'_>) -> bool {
        let path = match &self.place {
            Place::Segment(id) => return near.segment(*id).is_some() == (self.is == Is::Present),
            Place::Value(path) => path,
        };
        let one_of = |values: &[String], text: &str| values.iter().any(|value| value == text);
        match &self.is {
            Is::Present => near.has_value(path),
            Is::Blank => !near.has_value(path),
            Is::OneOf(values) => {
                matches!(near.value(path), Value::Text(text) if !text.is_empty() && one_of(values, &text))
            }
            Is::NoneOf(values) => {
                matches!(near.value(path), Value::Text(text) if !text.is_empty() && !one_of(values, &text))
            }
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, false)
    }
}

impl Node {
    fn write(&self, f: &mut fmt::Formatter<'_>, inside: bool) -> fmt::Result {
        let (nodes, word, grouped) = match self {
            Self::Test(asked) => return write!(f, "{asked}"),
            Self::All(nodes) => (nodes, " and ", false),
            Self::Any(nodes) => (nodes, " or ", inside),
        };
        f.write_str(if grouped { "(" } else { "" })?;
        for (number, node) in nodes.iter().enumerate() {
            f.write_str(if number > 0 { word } else { "" })?;
            node.write(f, true)?;
        }
        f.write_str(if grouped { ")" } else { "" })
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Segment(id) => write!(f, "{id}")?,
            Place::Value(path) => write!(f, "{path}")?,
        }
        match &self.is {
            Is::Present => f.write_str(" is present"),
            Is::Blank => f.write_str(" is blank"),
            Is::OneOf(values) if values.len() == 1 => write!(f, " = {}", Quoted(&values[0])),
            Is::NoneOf(values) if values.len() == 1 => write!(f, " != {}", Quoted(&values[0])),
            Is::OneOf(values) | Is::NoneOf(values) => {
                f.write_str(if matches!(self.is, Is::OneOf(_)) { " in (" } else { " not in (" })?;
                for (number, value) in values.iter().enumerate() {
                    write!(f, "{}{}", if number > 0 { ", " } else { "" }, Quoted(value))?;
                }
                f.write_str(")")
            }
        }
    }
}

/// A value, in quotes where it would not be read back without.
struct Quoted<'v>(&'v str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.chars().all(is_plain) {
            true => f.write_str(self.0),
            false if self.0.contains('"') => write!(f, "'{}'", self.0),
            false => write!(f, "\"{}\"", self.0),
        }
    }
}

/// What a word or a value without quotes is made of.
fn is_plain(letter: char) -> bool {
    !letter.is_whitespace() && !matches!(letter, '(' | ')' | ',' | '"' | '\'' | '=' | '!')
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    tests: usize,
}

impl<'t> Reader<'t> {
    fn fail<T>(&self, reason: impl Into<String>) -> Result<T, ConditionError> {
        Err(ConditionError { at: self.at, reason: reason.into() })
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn blanks(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn mark(&mut self, mark: &str) -> bool {
        self.blanks();
        let found = self.rest().starts_with(mark);
        self.at += if found { mark.len() } else { 0 };
        found
    }

    /// The next word; empty where none stands.
    fn peek(&mut self) -> &'t str {
        self.blanks();
        let rest = self.rest();
        &rest[..rest.find(|letter| !is_plain(letter)).unwrap_or(rest.len())]
    }

    fn word(&mut self, word: &str) -> bool {
        let found = self.peek() == word;
        self.at += if found { word.len() } else { 0 };
        found
    }

    fn any(&mut self, depth: usize) -> Result<Node, ConditionError> {
        let mut nodes = vec![self.all(depth)?];
        while self.word("or") {
            nodes.push(self.all(depth)?);
        }
        Ok(if nodes.len() > 1 { Node::Any(nodes) } else { nodes.remove(0) })
    }

    fn all(&mut self, depth: usize) -> Result<Node, ConditionError> {
        let mut nodes = vec![self.one(depth)?];
        while self.word("and") {
            nodes.push(self.one(depth)?);
        }
        Ok(if nodes.len() > 1 { Node::All(nodes) } else { nodes.remove(0) })
    }

    fn one(&mut self, depth: usize) -> Result<Node, ConditionError> {
        if !self.mark("(") {
            return self.test().map(Node::Test);
        }
        if depth >= DEPTH_MAX {
            return self.fail(format!("parentheses are nested deeper than {DEPTH_MAX}"));
        }
        let node = self.any(depth + 1)?;
        if !self.mark(")") {
            return self.fail("a closing parenthesis is missing");
        }
        Ok(node)
    }

    fn test(&mut self) -> Result<Asked, ConditionError> {
        self.tests += 1;
        if self.tests > TESTS_MAX {
            return self.fail(format!("a condition has {TESTS_MAX} tests at most"));
        }
        let place = self.place()?;
        if self.word("is") {
            let is = match () {
                () if self.word("present") => Is::Present,
                () if self.word("blank") => Is::Blank,
                () => return self.fail("`present` or `blank` follows `is`"),
            };
            return Ok(Asked { place, is });
        }
        if matches!(place, Place::Segment(_)) {
            return self
                .fail("a segment `is present` or `is blank`; a comparison needs a field, as in PV1-2 = I");
        }
        let is = if self.mark("!=") {
            Is::NoneOf(vec![self.value()?])
        } else if self.mark("=") {
            Is::OneOf(vec![self.value()?])
        } else if self.word("not") {
            if !self.word("in") {
                return self.fail("`in` follows `not`");
            }
            Is::NoneOf(self.values()?)
        } else if self.word("in") {
            Is::OneOf(self.values()?)
        } else {
            return self.fail("`=`, `!=`, `in (…)`, `not in (…)`, `is present` or `is blank` is expected");
        };
        Ok(Asked { place, is })
    }

    fn place(&mut self) -> Result<Place, ConditionError> {
        let word = self.peek();
        if word.is_empty() {
            return self.fail("a place is expected, as PV1-2 in PV1-2 = I");
        }
        let place = match SegmentId::new(word).filter(|_| is_segment_id(word.as_bytes())) {
            Some(id) => Place::Segment(id),
            None => match word.parse::<Path>() {
                Ok(path) if path.occurrence.is_some() => {
                    return self.fail("the nearest segment is meant: leave its number out");
                }
                Ok(path) if path.segment.is_header() && path.field <= 2 => {
                    return self.fail("nothing is asked of the delimiters");
                }
                Ok(path) => Place::Value(path),
                Err(error) => return self.fail(error.to_string()),
            },
        };
        self.at += word.len();
        Ok(place)
    }

    fn values(&mut self) -> Result<Vec<String>, ConditionError> {
        if !self.mark("(") {
            return self.fail("the values stand in parentheses, as in (I, E)");
        }
        let mut values = vec![self.value()?];
        while !self.mark(")") {
            let _comma = self.mark(",");
            values.push(self.value()?);
        }
        Ok(values)
    }

    fn value(&mut self) -> Result<String, ConditionError> {
        for quote in ['"', '\''] {
            if self.mark(&quote.to_string()) {
                let Some(end) = self.rest().find(quote) else {
                    return self.fail("a closing quotation mark is missing");
                };
                let value = self.rest()[..end].to_owned();
                self.at += end + 1;
                return if value.is_empty() {
                    self.fail("a value is expected; for an empty place write `is blank`")
                } else {
                    Ok(value)
                };
            }
        }
        let word = self.peek();
        if word.is_empty() {
            return self.fail("a value is expected");
        }
        self.at += word.len();
        Ok(word.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn conditions_read_and_print_the_same() {
        for text in [
            "PV1-2 = I",
            "PV1-2 != I",
            "OBX-3.3 in (LN, \"my system\", '\"')",
            "OBX-11 not in (X, N)",
            "PV2 is present and PID-3[2].4.1 is blank",
            "(PV1-2 = I or PV1-2 = E) and PV2 is blank",
            "PV1-2 = I or PV1-2 = E and PV2 is blank",
        ] {
            assert_eq!(Condition::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Condition::parse("( PV1-2=I)").unwrap().to_string(), "PV1-2 = I");
        assert_eq!(Condition::parse("PV1-2 in (I E)").unwrap().to_string(), "PV1-2 in (I, E)");
    }

    #[test]
    fn what_is_no_condition_is_refused_where_it_goes_wrong() {
        let deep = format!("{}PV1-2 = I{}", "(".repeat(11), ")".repeat(11));
        let long = ["PV1-2 = I"; 51].join(" or ");
        for (text, at) in [
            ("", 0),
            ("PV1", 3),
            ("PV1 = I", 4),
            ("PV1-2", 5),
            ("PV1-2 I", 6),
            ("PV1-2 =", 7),
            ("PV1-2 = \"\"", 10),
            ("PV1-2 = \"I", 9),
            ("PV1-2 is there", 9),
            ("PV1-2 not I", 10),
            ("PV1-2 in I", 9),
            ("PV1-2 in ()", 10),
            ("PV1-2 in (I", 11),
            ("PV1-2 = I and", 13),
            ("PV1-2 = I E", 10),
            ("(PV1-2 = I", 10),
            ("PV1-0 = I", 0),
            ("OBX[2]-5 = I", 0),
            ("MSH-2 = x", 0),
            (deep.as_str(), 11),
            (long.as_str(), long.len() - 9),
        ] {
            assert_eq!(Condition::parse(text).map_err(|error| error.at), Err(at), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(PV1-2|PV1|=|!=|in|is|present|and|or|not|[(),\"' ]|\\PC){0,20}") {
            if let Ok(condition) = Condition::parse(&text) {
                prop_assert_eq!(Condition::parse(&condition.to_string()).unwrap(), condition);
            }
        }
    }
}
