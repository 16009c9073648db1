//! Messages without their people: made-up replacements that are the same for the same value under the same key.
//!
//! What is replaced follows from the data type of each place (names, addresses, phones, identifiers, dates, free
//! text), and from a short list of places whose type says too little; see [`rules`](Rules). Structure, lengths,
//! codes, numbers and results stay. Identifiers are permuted within their own form, so two patients never become
//! one; dates of one patient move by the same number of days; times of day stay.
//!
//! This takes out what the standard says about people. It cannot know what a sender writes into fields of its own
//! or into codes: read the report before you pass files on.

mod fake;
mod rules;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::dictionary::Version;
use crate::xml::leaf::{self, Piece};
use crate::xml::names::Type;
use crate::{Message, ParseOptions, Repetition, Segment, Unreadable};

pub use fake::{Key, KeyError};
pub use rules::{Action, LocalRule, Override, OverrideError, Rules};

/// One line of the report: what was done at a place, and how often. Never a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replaced {
    /// The place without occurrence, as `PID-5.1`; a segment id when a whole segment was dropped.
    pub path: String,
    /// What was done.
    pub action: Action,
    /// How often.
    pub count: u64,
}

/// Replaces what identifies people. Keeps the report of all messages it was given.
#[derive(Debug)]
pub struct Deidentifier {
    key: Key,
    rules: Rules,
    done: BTreeMap<(String, Action), u64>,
}

impl Deidentifier {
    /// One for any number of messages under one key.
    pub fn new(key: Key, rules: Rules) -> Self {
        Self { key, rules, done: BTreeMap::new() }
    }

    /// What was done so far, by place. Texts that stayed because their type is plain text are listed as kept.
    pub fn report(&self) -> Vec<Replaced> {
        let line = |((path, action), count): (&(String, Action), &u64)| Replaced {
            path: path.clone(),
            action: *action,
            count: *count,
        };
        self.done.iter().map(line).collect()
    }

    /// The message with its people replaced. Bytes of places that stay are the same.
    ///
    /// # Errors
    ///
    /// Only when the result is no message any more, which a readable message does not become.
    pub fn message(&mut self, message: &Message) -> Result<Message, Unreadable> {
        let version = Version::nearest(&message.head().version);
        let mut patient = patient_of(message.find("PID", 1));
        let mut bytes = Vec::with_capacity(message.content().len());
        for segment in message.segments() {
            if segment.id() == "PID" {
                patient = patient_of(Some(segment));
            }
            let work = Work { version, segment, days: self.key.days(&patient) };
            if self.segment(&work, &mut bytes) {
                bytes.push(b'\r');
            }
        }
        message.rebuilt(bytes, &ParseOptions { limits: message.options().limits, ..ParseOptions::default() })
    }

    /// An FHS, BHS, BTS or FTS line: separators, parties, counts. Names, comments and ids are left out.
    pub fn envelope(&mut self, line: &[u8]) -> Vec<u8> {
        let line = line.trim_ascii();
        let Some(&separator) = line.get(3) else { return line.to_vec() };
        let kept = if line.starts_with(b"FHS") || line.starts_with(b"BHS") { 6 } else { 2 };
        let mut fields: Vec<&[u8]> = line.split(|byte| *byte == separator).take(kept).collect();
        while fields.len() > 1 && fields.last().is_some_and(|field| field.is_empty()) {
            fields.pop();
        }
        fields.join(&separator)
    }

    fn note(&mut self, path: String, action: Action) {
        *self.done.entry((path, action)).or_default() += 1;
    }

    /// Appends a segment; false when it is dropped.
    fn segment(&mut self, work: &Work<'_>, out: &mut Vec<u8>) -> bool {
        let segment = &work.segment;
        let id = segment.id();
        let local = id.starts_with('Z') || (work.version.segment(id).is_none() && id != "DSC");
        let kept_local = local && self.rules.local == LocalRule::Keep;
        if kept_local {
            self.note(id.to_owned(), Action::Keep);
            out.extend_from_slice(segment.raw());
            return true;
        }
        if id.is_empty() || id == "ADD" || (local && self.rules.local == LocalRule::Drop) {
            self.note(if id.is_empty() { "?".to_owned() } else { id.to_owned() }, Action::Drop);
            return false;
        }
        out.extend_from_slice(id.as_bytes());
        let delimiters = segment.delimiters();
        let header = matches!(id, "MSH" | "FHS" | "BHS");
        let first = if header {
            out.push(delimiters.field);
            out.extend(delimiters.encoding_characters());
            3
        } else {
            1
        };
        let row = work.version.segment(id);
        for number in first..=segment.field_count() {
            out.push(delimiters.field);
            let kind = Type::of_field(work.version, row, segment, number);
            for (index, repetition) in segment.field(number).repetitions().enumerate() {
                if index > 0 {
                    out.push(delimiters.repetition);
                }
                self.repetition(work, number, &kind, &repetition, out);
            }
        }
        true
    }

    fn repetition(
        &mut self,
        work: &Work<'_>,
        number: usize,
        kind: &Type<'_>,
        repetition: &Repetition<'_>,
        out: &mut Vec<u8>,
    ) {
        let delimiters = work.segment.delimiters();
        let coded =
            repetition.component(1).value().is_populated() || repetition.component(4).value().is_populated();
        for (index, component) in repetition.components().enumerate() {
            if index > 0 {
                out.push(delimiters.component);
            }
            let inner = kind.component(work.version, index + 1);
            for (sub, raw) in work.leaves(component.raw()).enumerate() {
                if sub > 0 {
                    out.extend(delimiters.subcomponent);
                }
                let place = rules::Place {
                    segment: work.segment.id(),
                    field: number,
                    component: index + 1,
                    subcomponent: sub + 1,
                    declared: work
                        .version
                        .segment(work.segment.id())
                        .is_some_and(|row| row.element(number).is_some()),
                    outer: kind,
                    inner: &inner,
                    version: work.version,
                    coded,
                };
                let action = self.rules.action(&place);
                self.leaf(work, &place, action, raw, out);
            }
        }
    }

    fn leaf(
        &mut self,
        work: &Work<'_>,
        place: &rules::Place<'_>,
        action: Action,
        raw: &[u8],
        out: &mut Vec<u8>,
    ) {
        if raw.is_empty() || raw == b"\"\"" || (action == Action::Keep && !place.is_text()) {
            out.extend_from_slice(raw);
            return;
        }
        let path = format!("{}-{}.{}", place.segment, place.field, place.component);
        self.note(path, action);
        if action == Action::Keep {
            out.extend_from_slice(raw);
        } else if action != Action::Drop {
            out.extend(self.replaced(work, action, raw).unwrap_or_default());
        }
    }

    /// The bytes in place of `raw`; none when they cannot be read, so that nothing unread stays.
    fn replaced(&self, work: &Work<'_>, action: Action, raw: &[u8]) -> Option<Vec<u8>> {
        let reading = work.segment.message.reading();
        let text = reading.charset.decode(raw)?;
        let mut pieces = leaf::pieces(&text, &reading.delimiters, reading.charset).ok()?;
        pieces.retain(|piece| match piece {
            Piece::Text(_) => true,
            // Formatting stays; bytes in hex and local escapes could say anything.
            Piece::Escape(body) => body.starts_with('.') || matches!(body.as_str(), "H" | "N"),
        });
        for piece in &mut pieces {
            if let Piece::Text(text) = piece {
                *text = match action {
                    Action::Id => self.key.id(text),
                    Action::Name => self.key.name(text),
                    Action::Text => fake::masked(text),
                    Action::Date => self.key.date(text, work.days),
                    Action::Keep | Action::Drop => return None,
                };
            }
        }
        let encoded = leaf::encode(&pieces, &reading.delimiters).ok()?;
        reading.charset.encode(&encoded).ok().map(std::borrow::Cow::into_owned)
    }
}

/// What does not change within one segment.
struct Work<'m> {
    version: Version,
    segment: Segment<'m>,
    /// How far dates of its patient move.
    days: i64,
}

impl<'m> Work<'m> {
    fn leaves(&self, raw: Option<&'m [u8]>) -> impl Iterator<Item = &'m [u8]> {
        let reading = self.segment.message.reading();
        crate::segment::Split::new(raw, reading.delimiters.subcomponent, reading)
    }
}

/// What tells patients apart: the first identifier of PID-3, else PID-2, PID-4 or PID-18; empty without any.
fn patient_of(segment: Option<Segment<'_>>) -> String {
    let Some(segment) = segment else { return String::new() };
    let id = |field| segment.get(field, 1, 1, 1).into_text().into_owned();
    [3, 2, 4, 18].into_iter().map(id).find(|id| !id.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
