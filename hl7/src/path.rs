//! Places in a message, written as the standard does: `PID-3.1`, `PID-3[2].4.2`, `OBX[3]-5`.
//! Counted inside groups by a [`GroupPath`].

mod group;

use std::fmt;
use std::str::FromStr;

pub use group::GroupPath;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Three capital letters or digits, first a letter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId([u8; 3]);

impl SegmentId {
    /// Takes `text` when it is a well-formed segment id.
    pub fn new(text: &str) -> Option<Self> {
        let bytes: [u8; 3] = text.as_bytes().try_into().ok()?;
        is_segment_id(&bytes).then_some(Self(bytes))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a segment id is ASCII")
    }

    /// Whether the id counts its separator as field 1.
    pub fn is_header(&self) -> bool {
        is_header(&self.0)
    }
}

pub(crate) fn is_segment_id(bytes: &[u8]) -> bool {
    matches!(bytes, [first, rest @ ..] if rest.len() == 2 && first.is_ascii_uppercase()
        && rest.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()))
}

pub(crate) fn is_header(id: &[u8]) -> bool {
    matches!(id, b"MSH" | b"FHS" | b"BHS")
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One place of a message. Numbers count from 1, as in the standard.
///
/// What is left out means the first one, with one exception: a path without component and without
/// repetition (`PID-3`) is the whole field with all its repetitions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    /// Which segment.
    pub segment: SegmentId,
    /// Which of several segments with this id; none means the first.
    pub occurrence: Option<u32>,
    /// Which field; MSH-1 is the field separator.
    pub field: u32,
    /// Which repetition.
    pub repetition: Option<u32>,
    /// Which component.
    pub component: Option<u32>,
    /// Which subcomponent; only with a component.
    pub subcomponent: Option<u32>,
}

/// The largest number that a path may hold.
pub const NUMBER_MAX: u32 = 100_000;

/// Why a text is not a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an HL7 path: {reason}")]
pub struct PathError {
    text: String,
    reason: &'static str,
}

fn fail(text: &str, reason: &'static str) -> PathError {
    PathError { text: text.chars().take(80).collect(), reason }
}

impl Path {
    /// The place of a whole field.
    pub fn field(segment: SegmentId, field: u32) -> Self {
        Self { segment, occurrence: None, field, repetition: None, component: None, subcomponent: None }
    }

    /// The same place in another occurrence of the segment.
    #[must_use]
    pub fn in_occurrence(mut self, occurrence: u32) -> Self {
        self.occurrence = Some(occurrence);
        self
    }

    /// A component of the same field.
    #[must_use]
    pub fn component(mut self, component: u32) -> Self {
        self.component = Some(component);
        self
    }
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let fail = |reason| fail(text, reason);
        if text.starts_with('/') {
            return Err(fail("a place inside a group cannot be written here"));
        }
        let (id, rest) =
            text.split_at_checked(3).ok_or_else(|| fail("it starts with a segment id, as in PID-3.1"))?;
        let segment =
            SegmentId::new(id).ok_or_else(|| fail("a segment id is three capital letters or digits"))?;
        let mut reader = Reader { rest };
        let occurrence = reader.index().map_err(fail)?;
        if !reader.take('-') {
            return Err(fail("a hyphen and a field number follow the segment id, as in PID-3.1"));
        }
        let field = reader.number().map_err(fail)?;
        let repetition = reader.index().map_err(fail)?;
        let component = if reader.take('.') { Some(reader.number().map_err(fail)?) } else { None };
        let subcomponent =
            if component.is_some() && reader.take('.') { Some(reader.number().map_err(fail)?) } else { None };
        if !reader.rest.is_empty() {
            return Err(fail("there is text left after the place"));
        }
        Ok(Self { segment, occurrence, field, repetition, component, subcomponent })
    }
}

struct Reader<'t> {
    rest: &'t str,
}

impl Reader<'_> {
    fn take(&mut self, expected: char) -> bool {
        match self.rest.strip_prefix(expected) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn number(&mut self) -> Result<u32, &'static str> {
        let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = self.rest.split_at(digits);
        self.rest = rest;
        match number.parse::<u32>() {
            Ok(0) => Err("places count from 1"),
            Ok(number) if number <= NUMBER_MAX => Ok(number),
            Ok(_) => Err("the number is too large"),
            Err(_) if digits == 0 => Err("a number is missing"),
            Err(_) => Err("the number is too large"),
        }
    }

    fn index(&mut self) -> Result<Option<u32>, &'static str> {
        if !self.take('[') {
            return Ok(None);
        }
        let number = self.number()?;
        if self.take(']') { Ok(Some(number)) } else { Err("a closing bracket is missing") }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.segment)?;
        if let Some(occurrence) = self.occurrence {
            write!(f, "[{occurrence}]")?;
        }
        write!(f, "-{}", self.field)?;
        if let Some(repetition) = self.repetition {
            write!(f, "[{repetition}]")?;
        }
        if let Some(component) = self.component {
            write!(f, ".{component}")?;
            if let Some(subcomponent) = self.subcomponent {
                write!(f, ".{subcomponent}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for Path {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_read_and_print_the_same() {
        for text in ["PID-3", "PID-3.1", "PID-3[2].4.2", "OBX[3]-5", "MSH-9.2", "ZX1[2]-1[3]"] {
            assert_eq!(text.parse::<Path>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in [
            "",
            "PI",
            "PID",
            "pid-3",
            "PID-",
            "PID-0",
            "PID-3.",
            "PID-3[2",
            "PID-3.1.2.3",
            "PID-3 ",
            "1AB-1",
            "PID-99999999999",
            "/ORDER(0)/OBX-5",
            "PÏD-1",
            "PID-3[0]",
        ] {
            assert!(text.parse::<Path>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_path_reader_panic(text in "\\PC{0,20}") {
            if let Ok(path) = text.parse::<Path>() {
                prop_assert_eq!(path.to_string().parse::<Path>().unwrap(), path);
            }
        }
    }
}
