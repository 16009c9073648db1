//! Checks a message against what its version of the standard declares, and against a profile of a site.
//!
//! The levels of the reference, each with all those before it: what parsing found, header, structure, fields, tables,
//! profile. Business rules come after these, in orchestrations. Every finding has a class, and a site gives a
//! verdict on each class.

mod bytes;
mod due;
mod field;
mod header;
mod nearby;
mod profile;
mod rules;
mod structure;
mod value;

use std::collections::BTreeMap;

use std::sync::Arc;

pub(crate) use nearby::Nearby;
pub(crate) use structure::groups_by;
pub use structure::{Group, groups, has_group};

use serde::{Deserialize, Serialize};

use crate::dictionary::{Structure, Version};
use crate::profile::Profile;
use crate::{Class, Finding, Header, Message, Segment, Severity};
use rules::Rules;

/// How deep to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Not at all; what parsing found still counts.
    None,
    /// Whether the message is one that can be taken: MSH-9 to MSH-12.
    Header,
    /// Also segments, order and groups.
    Structure,
    /// Also fields: presence, repetition, type, length.
    Fields,
    /// Also codes of tables: all that the standard says.
    #[default]
    Standard,
    /// Also what a profile of the site says.
    Profile,
}

impl Level {
    /// All levels with the words of site files and the command line.
    pub const ALL: [(&'static str, Self); 6] = [
        ("none", Self::None),
        ("header", Self::Header),
        ("structure", Self::Structure),
        ("fields", Self::Fields),
        ("standard", Self::Standard),
        ("profile", Self::Profile),
    ];
}

/// How strictly segments are matched to the structure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Matching {
    /// As the standard asks of receivers: what is out of order or not expected is attached to the nearest place and
    /// told as a warning or note.
    #[default]
    Lenient,
    /// What is out of order, too often or not expected is an error.
    Strict,
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
    /// How strictly segments are matched.
    pub matching: Matching,
    /// What the site says, for level `profile`.
    pub profile: Option<Arc<Profile>>,
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
            matching: Matching::Lenient,
            profile: None,
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
    let mut report = Report { validation, level: Level::None, findings: Vec::new() };
    for finding in message.findings() {
        report.push(finding.clone());
    }
    if validation.level >= Level::Header {
        let header = message.head();
        let profile = validation.profile.as_deref().filter(|_| validation.level >= Level::Profile);
        let rules = Rules::of(message, profile);
        report.level = Level::Header;
        header::check(header, profile, &mut report);
        report.level = Level::Structure;
        if validation.level >= Level::Structure
            && let Some(plan) = rules.plan_of(header)
        {
            structure::check(message, plan, rules, &mut report);
        }
        report.level = Level::Fields;
        if validation.level >= Level::Fields {
            field::check(message, rules, &mut report);
        }
        if let Some(profile) = profile {
            profile::check(message, profile, rules, &mut report);
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

/// Counts occurrences of segments and remembers what is asked of each id.
struct Counts<'r> {
    rules: Rules<'r>,
    seen: smallvec::SmallVec<[([u8; 3], Seen); 24]>,
}

#[derive(Clone, Copy)]
struct Seen {
    row: Option<u16>,
    /// How often it has occurred, this time included.
    occurrence: u32,
}

impl<'r> Counts<'r> {
    fn new(rules: Rules<'r>) -> Self {
        Self { rules, seen: smallvec::SmallVec::new() }
    }

    fn next(&mut self, segment: &Segment<'_>) -> Seen {
        let id = segment.span.id;
        if let Some((_, seen)) = self.seen.iter_mut().find(|(known, _)| *known == id) {
            seen.occurrence += 1;
            return *seen;
        }
        let seen = Seen { row: self.rules.segment(id), occurrence: 1 };
        self.seen.push((id, seen));
        seen
    }
}

/// Findings as they are collected.
struct Report<'v> {
    validation: &'v Validation,
    /// The one that is being checked.
    level: Level,
    findings: Vec<Finding>,
}

impl Report<'_> {
    fn find(&mut self, class: Class, path: impl Into<String>, code: u16, text: impl Into<String>) {
        if !self.is_silent(class) {
            self.add(Finding::new(class, path, code, text), class == Class::Profile);
        }
    }

    /// A finding of the level in hand. Where the profile asks for it and not the standard, it is named.
    fn add(&mut self, mut finding: Finding, by_profile: bool) {
        if !matches!(finding.class, Class::Table | Class::Profile) {
            finding.level = self.level;
        }
        let profile = self.validation.profile.as_deref().filter(|_| by_profile);
        finding.profile = profile.map(Profile::revision);
        self.push(finding);
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
