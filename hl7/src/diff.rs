//! What one message says differently from another, by path.
//!
//! Values are compared as decoded, so another escape or character set for the same text is no difference, and
//! neither is empty against absent. Segments are aligned first: one that was put in or taken out is told as
//! such, and those after it are compared with their true partners.

mod align;

use std::collections::HashMap;
use std::str::FromStr;

use serde::Serialize;

use crate::{Component, Field, Message, Path, PathError, Repetition, Segment, SegmentId, Value};

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The place in the first message, or in the second when the first has no such segment.
    pub path: String,
    /// The place in the second message where it is another one: a segment before it came or went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_path: Option<String>,
    /// What the first message says.
    pub left: State,
    /// What the second message says.
    pub right: State,
}

/// What stands at a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "text", rename_all = "lowercase")]
pub enum State {
    /// Decoded text.
    Value(String),
    /// Nothing: empty or absent.
    Empty,
    /// The delete indicator.
    Delete,
    /// The whole segment, its separators as they stand.
    Segment(String),
}

impl State {
    fn of(value: Value<'_>) -> Self {
        match value {
            Value::Text(text) => Self::Value(text.into_owned()),
            Value::Delete => Self::Delete,
            Value::Empty | Value::Absent => Self::Empty,
        }
    }
}

/// Places that are not compared: `MSH-7`, `OBX[2]-14`, `PID-3.1`, or a whole segment as `ZPI`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// Every segment with this id.
    Segment(SegmentId),
    /// This place and what is below it; without occurrence in every segment with this id.
    Place(Path),
}

impl FromStr for Ignored {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        match SegmentId::new(text) {
            Some(id) => Ok(Self::Segment(id)),
            None => text.parse().map(Self::Place),
        }
    }
}

impl Ignored {
    fn covers(&self, place: &Place<'_>) -> bool {
        let below = |wanted: Option<u32>, found: usize| wanted.is_none_or(|wanted| wanted as usize == found);
        match self {
            Self::Segment(id) => id.as_str() == place.id,
            Self::Place(path) => {
                path.segment.as_str() == place.id
                    && below(path.occurrence, place.occurrence)
                    && path.field as usize == place.field
                    && below(path.repetition, place.repetition.max(1))
                    && below(path.component, place.component.max(1))
                    && below(path.subcomponent, place.subcomponent.max(1))
            }
        }
    }
}

/// All differences in the order of the first message.
pub fn diff(left: &Message, right: &Message, ignored: &[Ignored]) -> Vec<Difference> {
    let sides = (Side::new(left), Side::new(right));
    let skipped =
        |id: &str| ignored.iter().any(|rule| matches!(rule, Ignored::Segment(i) if i.as_str() == id));
    let mut found = Vec::new();
    for pair in align::align(&sides.0.lines, &sides.1.lines) {
        match pair {
            (Some(left), None) if !skipped(sides.0.segment(left).id()) => {
                let (path, state) = sides.0.whole(left);
                found.push(Difference { path, other_path: None, left: state, right: State::Empty });
            }
            (None, Some(right)) if !skipped(sides.1.segment(right).id()) => {
                let (path, state) = sides.1.whole(right);
                found.push(Difference { path, other_path: None, left: State::Empty, right: state });
            }
            (Some(left), Some(right))
                if sides.0.lines[left].raw != sides.1.lines[right].raw || !sides.alike() =>
            {
                let compare = Compare {
                    left: (sides.0.segment(left), sides.0.occurrences[left]),
                    right: (sides.1.segment(right), sides.1.occurrences[right]),
                    ignored,
                };
                compare.fields(&mut found);
            }
            _ => {}
        }
    }
    found
}

/// One message, its segments and how often each id occurred before.
struct Side<'m> {
    message: &'m Message,
    lines: Vec<align::Line<'m>>,
    occurrences: Vec<usize>,
}

trait Alike {
    fn alike(&self) -> bool;
}

impl Alike for (Side<'_>, Side<'_>) {
    /// Whether the same bytes mean the same in both messages.
    fn alike(&self) -> bool {
        self.0.message.delimiters() == self.1.message.delimiters()
            && self.0.message.charset() == self.1.message.charset()
    }
}

impl<'m> Side<'m> {
    fn new(message: &'m Message) -> Self {
        let mut seen: HashMap<&str, usize> = HashMap::new();
        let mut occurrences = Vec::with_capacity(message.segment_count());
        let mut lines = Vec::with_capacity(message.segment_count());
        for segment in message.segments() {
            let count = seen.entry(segment.id()).or_default();
            *count += 1;
            occurrences.push(*count);
            lines.push(align::Line::new(&segment));
        }
        Self { message, lines, occurrences }
    }

    fn segment(&self, index: usize) -> Segment<'m> {
        self.message.segment(index).expect("the index came from this message")
    }

    fn whole(&self, index: usize) -> (String, State) {
        let segment = self.segment(index);
        let path = named(segment.id(), self.occurrences[index]);
        (path, State::Segment(String::from_utf8_lossy(segment.raw()).into_owned()))
    }
}

fn named(id: &str, occurrence: usize) -> String {
    let id = if id.is_empty() { "?" } else { id };
    if occurrence > 1 { format!("{id}[{occurrence}]") } else { id.to_owned() }
}

/// A place on the way down; 0 where the level is not told apart.
#[derive(Clone, Copy)]
struct Place<'m> {
    id: &'m str,
    occurrence: usize,
    field: usize,
    repetition: usize,
    component: usize,
    subcomponent: usize,
}

struct Compare<'m, 'i> {
    left: (Segment<'m>, usize),
    right: (Segment<'m>, usize),
    ignored: &'i [Ignored],
}

impl Compare<'_, '_> {
    fn fields(&self, found: &mut Vec<Difference>) {
        for field in 1..=self.left.0.field_count().max(self.right.0.field_count()) {
            let place = Place {
                id: self.left.0.id(),
                occurrence: self.left.1,
                field,
                repetition: 0,
                component: 0,
                subcomponent: 0,
            };
            self.repetitions(place, self.left.0.field(field), self.right.0.field(field), found);
        }
    }

    fn repetitions(&self, place: Place<'_>, left: Field<'_>, right: Field<'_>, found: &mut Vec<Difference>) {
        let count = left.repetitions().count().max(right.repetitions().count());
        for number in 1..=count {
            let place = Place { repetition: if count > 1 { number } else { 0 }, ..place };
            self.components(place, left.repetition(number), right.repetition(number), found);
        }
    }

    fn components(
        &self,
        place: Place<'_>,
        left: Repetition<'_>,
        right: Repetition<'_>,
        found: &mut Vec<Difference>,
    ) {
        let count = left.components().count().max(right.components().count());
        for number in 1..=count {
            let place = Place { component: if count > 1 { number } else { 0 }, ..place };
            self.subcomponents(place, left.component(number), right.component(number), found);
        }
    }

    fn subcomponents(
        &self,
        place: Place<'_>,
        left: Component<'_>,
        right: Component<'_>,
        found: &mut Vec<Difference>,
    ) {
        let count = left.subcomponents().count().max(right.subcomponents().count());
        for number in 1..=count {
            let place = Place { subcomponent: if count > 1 { number } else { 0 }, ..place };
            let states = (State::of(left.subcomponent(number)), State::of(right.subcomponent(number)));
            if states.0 != states.1 && !self.ignored.iter().any(|rule| rule.covers(&place)) {
                let moved = self.left.1 != self.right.1;
                found.push(Difference {
                    path: place.to_string(),
                    other_path: moved.then(|| Place { occurrence: self.right.1, ..place }.to_string()),
                    left: states.0,
                    right: states.1,
                });
            }
        }
    }
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", named(self.id, self.occurrence), self.field)?;
        if self.repetition > 0 {
            write!(f, "[{}]", self.repetition)?;
        }
        if self.component > 0 || self.subcomponent > 0 {
            write!(f, ".{}", self.component.max(1))?;
        }
        if self.subcomponent > 0 {
            write!(f, ".{}", self.subcomponent)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
