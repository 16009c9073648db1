//! Profiles: what a site declares and asks beyond the standard.
//!
//! A profile adds local segments, data types, tables and structures, and changes what is asked at a place: required,
//! empty, so many times, so long, one of these values. [`Declarations`] are what somebody wrote; a [`Profile`] lays
//! them over the facts of a version when the first message of that version is checked. A site's files are read
//! by the loader of rules; nothing here needs them.

mod condition;
mod overlay;
mod structure;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

pub use condition::{Condition, ConditionError};
pub(crate) use overlay::{Asked, Overlay};
pub use structure::{StructureError, check_structure, structure_groups};

use crate::dictionary::Version;
use crate::dictionary::plan::Plan;
use crate::{Header, ProfileRevision, SegmentId};

/// Everything one profile says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declarations {
    /// Its name, as files and findings call it.
    pub name: String,
    /// For people.
    pub title: String,
    /// Which edition of it this is, as its authors count; empty where they do not.
    pub revision: String,
    /// Versions it is for; empty means every one.
    pub versions: Vec<Version>,
    /// Whether messages that it does not list are refused.
    pub only_listed: bool,
    /// What it says about single messages; the first that fits counts.
    pub messages: Vec<MessageRules>,
    /// Segments it adds, or adds fields to.
    pub segments: BTreeMap<SegmentId, LocalSegment>,
    /// Composite data types it adds or replaces: their components.
    pub types: BTreeMap<String, Vec<LocalElement>>,
    /// Tables it adds or changes.
    pub tables: BTreeMap<String, LocalTable>,
    /// Structures it adds or replaces, as [`check_structure`] reads them.
    pub structures: BTreeMap<String, String>,
    /// What it asks of places in every message.
    pub places: Vec<PlaceRule>,
}

/// What a profile says about one kind of message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageRules {
    /// MSH-9.1.
    pub message_type: String,
    /// MSH-9.2; none means every event.
    pub trigger_event: Option<String>,
    /// The structure to match, its own or one of the standard; none means the usual one.
    pub structure: Option<String>,
    /// What it asks of segments and groups.
    pub parts: Vec<PartRule>,
    /// What it asks of places in these messages only.
    pub places: Vec<PlaceRule>,
}

/// What a profile asks of a segment or a group of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartRule {
    /// The group in which it is counted, in each occurrence of that; none is the whole message.
    pub within: Option<String>,
    /// What is counted.
    pub part: Part,
    /// How often.
    pub occurs: Occurs,
}

/// A segment or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Segments with this id.
    Segment(SegmentId),
    /// Occurrences of the group with this name.
    Group(String),
}

/// How often a part must and may be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Occurs {
    /// Least, and most (none is any number).
    Times(u32, Option<u32>),
    /// As a condition decides.
    If(Predicate),
}

/// A usage that depends on the rest of the message: C(a/b) of the standard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predicate {
    /// What it depends on.
    pub condition: Condition,
    /// The usage where the condition holds; none is that of the standard.
    pub holds: Option<Usage>,
    /// The usage where it does not; none is that of the standard.
    pub otherwise: Option<Usage>,
}

/// A segment of a site, or fields it adds to one of the standard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalSegment {
    /// Its fields by number.
    pub fields: BTreeMap<u16, LocalElement>,
    /// Whether its content is free text that nobody looks at.
    pub raw: bool,
}

/// A field or component of a site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalElement {
    /// For people.
    pub name: String,
    /// Its data type.
    pub datatype: String,
    /// Whether it must be there.
    pub required: bool,
    /// How often it may be there; 0 means any number.
    pub most: u16,
    /// Characters at most; 0 means any number.
    pub length: u32,
    /// The table its codes come from.
    pub table: Option<String>,
}

/// Codes of a site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalTable {
    /// Codes that are taken, with what they mean.
    pub codes: BTreeMap<String, String>,
    /// Codes of the standard that are not taken.
    pub remove: Vec<String>,
    /// Whether the codes of the standard stay.
    pub extends: bool,
}

/// Whether a place must have a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// It must.
    Required,
    /// It may, even where the standard requires it.
    Optional,
    /// It must be empty.
    Forbidden,
}

/// What is asked of one place; what is not said stays as the standard has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceRule {
    /// The segment.
    pub segment: SegmentId,
    /// The field, from 1.
    pub field: u16,
    /// The component, from 1; 0 for the whole field.
    pub component: u16,
    /// The subcomponent, from 1; 0 for the whole component.
    pub subcomponent: u16,
    /// Whether it must have a value.
    pub usage: Option<Usage>,
    /// Whether it must have a value, where that depends on the rest of the message; in place of `usage`.
    pub predicate: Option<Predicate>,
    /// Repetitions: least and most (none is any number).
    pub repeat: Option<(u16, Option<u16>)>,
    /// Characters: least and most (0 is any number).
    pub length: Option<(u32, u32)>,
    /// The only values taken.
    pub values: Vec<String>,
    /// The table its codes come from.
    pub table: Option<String>,
    /// Its data type.
    pub datatype: Option<String>,
    /// What people call it.
    pub name: Option<String>,
    /// Whether its content is free text that nobody looks at.
    pub raw: bool,
}

impl PlaceRule {
    /// Nothing asked of a place yet.
    pub fn at(segment: SegmentId, field: u16, component: u16, subcomponent: u16) -> Self {
        Self {
            segment,
            field,
            component,
            subcomponent,
            usage: None,
            predicate: None,
            repeat: None,
            length: None,
            values: Vec::new(),
            table: None,
            datatype: None,
            name: None,
            raw: false,
        }
    }
}

impl Declarations {
    /// These declarations on top of `base`: what both say is as it is here.
    #[must_use]
    pub fn over(mut self, base: &Self) -> Self {
        if self.versions.is_empty() {
            self.versions.clone_from(&base.versions);
        }
        let later = |mut first: Vec<PlaceRule>, then: Vec<PlaceRule>| {
            first.extend(then);
            first
        };
        self.only_listed |= base.only_listed;
        for rules in &base.messages {
            let same = |own: &&mut MessageRules| {
                own.message_type == rules.message_type && own.trigger_event == rules.trigger_event
            };
            match self.messages.iter_mut().find(same) {
                Some(own) => {
                    own.structure = own.structure.take().or_else(|| rules.structure.clone());
                    let same =
                        |own: &PartRule, base: &PartRule| own.part == base.part && own.within == base.within;
                    let kept = rules.parts.iter().filter(|base| own.parts.iter().all(|own| !same(own, base)));
                    let kept: Vec<_> = kept.cloned().collect();
                    own.parts.extend(kept);
                    own.places = later(rules.places.clone(), std::mem::take(&mut own.places));
                }
                None => self.messages.push(rules.clone()),
            }
        }
        for (id, segment) in &base.segments {
            let own = self.segments.entry(*id).or_default();
            own.raw |= segment.raw;
            for (number, field) in &segment.fields {
                own.fields.entry(*number).or_insert_with(|| field.clone());
            }
        }
        for (name, components) in &base.types {
            self.types.entry(name.clone()).or_insert_with(|| components.clone());
        }
        for (name, table) in &base.tables {
            self.tables.entry(name.clone()).or_insert_with(|| table.clone());
        }
        for (name, structure) in &base.structures {
            self.structures.entry(name.clone()).or_insert_with(|| structure.clone());
        }
        self.places = later(base.places.clone(), self.places);
        self
    }
}

/// A profile, ready to check messages with.
pub struct Profile {
    declared: Declarations,
    plans: Vec<Plan>,
    /// One for each version and entry of `messages`, and one for other messages.
    overlays: Vec<OnceLock<Overlay>>,
}

impl Profile {
    /// Makes a profile. Structures that cannot be read are left out: the loader has refused them.
    pub fn new(declared: Declarations) -> Self {
        let plans =
            declared.structures.iter().filter_map(|(name, text)| structure::parse(name, text).ok()).collect();
        let count = Version::all().count() * (declared.messages.len() + 1);
        Self { declared, plans, overlays: (0..count).map(|_| OnceLock::new()).collect() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.declared.name
    }

    /// Its name and revision, for findings.
    pub fn revision(&self) -> ProfileRevision {
        ProfileRevision { name: self.declared.name.clone(), revision: self.declared.revision.clone() }
    }

    /// What it says.
    pub fn declarations(&self) -> &Declarations {
        &self.declared
    }

    /// The entry of `messages` for a message: one for its event before one for its type.
    fn entry(&self, header: &Header) -> Option<usize> {
        let of_type = |rules: &&MessageRules| rules.message_type == header.message_type;
        let all = || self.declared.messages.iter().enumerate().filter(move |(_, rules)| of_type(rules));
        let exact =
            all().find(|(_, rules)| rules.trigger_event.as_deref() == Some(header.trigger_event.as_str()));
        exact.or_else(|| all().find(|(_, rules)| rules.trigger_event.is_none())).map(|(at, _)| at)
    }

    /// What it says about one message.
    pub(crate) fn message_rules(&self, header: &Header) -> Option<&MessageRules> {
        self.entry(header).map(|entry| &self.declared.messages[entry])
    }

    pub(crate) fn overlay(&self, version: Version, header: &Header) -> Option<&Overlay> {
        let entry = self.entry(header).map_or(0, |entry| entry + 1);
        let number = usize::from(version.number()) * (self.declared.messages.len() + 1) + entry;
        let overlay = self.overlays.get(number)?;
        Some(overlay.get_or_init(|| {
            let rules = entry.checked_sub(1).map(|entry| &self.declared.messages[entry]);
            Overlay::new(&self.declared, rules, version)
        }))
    }

    /// The plan it has for a message, and the name of a structure of the standard that it asks for instead.
    pub(crate) fn plan(&self, header: &Header) -> (Option<&Plan>, Option<&str>) {
        let own = |name: &str| self.plans.iter().find(|plan| plan.name == name);
        let named = self.message_rules(header).and_then(|rules| rules.structure.as_deref());
        let plan = match named {
            Some(name) => own(name),
            None => own(&header.structure),
        };
        (plan, named)
    }
}

/// Its name: what it says would be long.
impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Profile({})", self.declared.name)
    }
}

impl PartialEq for Profile {
    fn eq(&self, other: &Self) -> bool {
        self.declared == other.declared
    }
}

impl Eq for Profile {}
