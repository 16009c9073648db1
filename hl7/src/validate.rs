//! Checks a message against what its version of the standard declares.
//!
//! Levels of the reference: header, structure, fields and tables. Profiles and site rules come on top later.
//! Every finding has a class, and a site gives a verdict on each class.

mod field;
mod header;
mod structure;

use std::collections::BTreeMap;

pub use structure::{Group, groups};

use serde::{Deserialize, Serialize};

use crate::dictionary::{Row, Structure, Version};
use crate::{Class, Finding, Header, Message, Segment, Severity};

/// How deep to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Not at all; what parsing found still counts.
    None,
    /// Header, segments, order and groups.
    Structure,
    /// Also fields, types, tables and lengths.
    #[default]
    Standard,
}

/// What a class of findings means for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Not even noted.
    Accept,
    /// Kept in tracking.
    Note,
    /// Kept, and the message counts as not valid.
    Warn,
    /// The message is refused.
    Refuse,
}

/// What an interface asks of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validation {
    /// How deep to look.
    pub level: Level,
    /// Verdicts that differ from the usual ones.
    pub verdicts: BTreeMap<Class, Verdict>,
    /// At most so many findings.
    pub most: usize,
    /// Versions taken; none means every known one.
    pub versions: Option<Vec<String>>,
    /// Processing ids (MSH-11) taken; none means every one of table 0103.
    pub processing_ids: Option<Vec<String>>,
}

impl Default for Validation {
    fn default() -> Self {
        Self {
            level: Level::Standard,
            verdicts: BTreeMap::new(),
            most: 100,
            versions: None,
            processing_ids: None,
        }
    }
}

impl Validation {
    /// The usual verdicts at another level.
    pub fn at(level: Level) -> Self {
        Self { level, ..Self::default() }
    }

    fn verdict(&self, class: Class) -> Option<Verdict> {
        self.verdicts.get(&class).copied()
    }
}

/// Everything that is wrong or odd in a message, parsing included; severities follow the verdicts, the worst
/// findings are kept when there are too many.
pub fn validate(message: &Message, validation: &Validation) -> Vec<Finding> {
    let mut report = Report { validation, findings: Vec::new() };
    for finding in message.findings() {
        report.push(finding.clone());
    }
    if validation.level >= Level::Structure {
        let header = message.head();
        header::check(header, &mut report);
        let version = Version::nearest(&header.version);
        if let Some(structure) = structure_of(version, header) {
            structure::check(message, structure, version, &mut report);
        }
        if validation.level >= Level::Standard {
            field::check(message, version, &mut report);
        }
    }
    report.findings
}

/// The structure that a message follows: MSH-9.3 when it is one, else that of its event, else `code_event`.
pub fn structure_in(version: Version, message: &Message) -> Option<Structure> {
    structure_of(version, message.head())
}

fn structure_of(version: Version, header: &Header) -> Option<Structure> {
    let by_event = || version.structure(version.structure_of(&header.message_type, &header.trigger_event)?);
    version
        .structure(&header.structure)
        .or_else(by_event)
        .or_else(|| version.structure(&format!("{}_{}", header.message_type, header.trigger_event)))
        .or_else(|| version.structure(&header.message_type))
}

/// Counts occurrences of segments and remembers what the version says about each id.
struct Counts {
    version: Version,
    seen: Vec<([u8; 3], Seen)>,
}

#[derive(Clone, Copy)]
struct Seen {
    row: Option<Row>,
    /// How often it has occurred, this time included.
    occurrence: u32,
}

impl Counts {
    fn new(version: Version) -> Self {
        Self { version, seen: Vec::with_capacity(16) }
    }

    fn next(&mut self, segment: &Segment<'_>) -> Seen {
        let id = segment.span.id;
        if let Some((_, seen)) = self.seen.iter_mut().find(|(known, _)| *known == id) {
            seen.occurrence += 1;
            return *seen;
        }
        let seen = Seen { row: self.version.segment(segment.id()), occurrence: 1 };
        self.seen.push((id, seen));
        seen
    }
}

/// Findings as they are collected.
struct Report<'v> {
    validation: &'v Validation,
    findings: Vec<Finding>,
}

impl Report<'_> {
    fn find(&mut self, class: Class, path: impl Into<String>, code: u16, text: impl Into<String>) {
        if !self.is_silent(class) {
            self.push(Finding::new(class, path, code, text));
        }
    }

    /// Whether findings of this class are dropped anyway, so that they need not be looked for.
    fn is_silent(&self, class: Class) -> bool {
        self.validation.verdict(class) == Some(Verdict::Accept)
    }

    fn push(&mut self, mut finding: Finding) {
        match self.validation.verdict(finding.class) {
            Some(Verdict::Accept) => return,
            Some(Verdict::Note) => finding.severity = Severity::Information,
            Some(Verdict::Warn) => finding.severity = Severity::Warning,
            Some(Verdict::Refuse) => finding.severity = Severity::Error,
            None => {}
        }
        if self.findings.len() < self.validation.most {
            self.findings.push(finding);
            return;
        }
        if finding.severity == Severity::Information {
            return;
        }
        // A refusal must not be lost behind notes.
        let least = self.findings.iter().enumerate().rev().min_by_key(|(_, kept)| kept.severity);
        if let Some((index, _)) = least.filter(|(_, kept)| kept.severity < finding.severity) {
            self.findings[index] = finding;
        }
    }
}

#[cfg(test)]
mod tests;
