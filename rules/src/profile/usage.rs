//! `required`, `forbidden unless PV1-36 is present`, `required if PV1-2 = I else forbidden`: what is asked of a place,
//! segment or group, perhaps on a condition.

use orderly_hl7::dictionary::{Kind, Nodes};
use orderly_hl7::profile::{
    Condition, Occurs, Part, PartRule, PlaceRule, Predicate, Usage, structure_groups,
};
use orderly_hl7::{Path, SegmentId};

use super::{CODES, File, range};
use crate::diagnostic::did_you_mean;
use crate::yaml::{Node, Span, Spanned};

const USAGES: [(&str, Usage); 3] =
    [("required", Usage::Required), ("optional", Usage::Optional), ("forbidden", Usage::Forbidden)];

/// What is asked, for all messages or by a condition.
pub(super) enum Asks {
    Always(Usage),
    If(Predicate),
}

impl File<'_, '_> {
    /// A usage, perhaps with a condition.
    pub(super) fn usage(&mut self, node: &Node) -> Option<Asks> {
        let text = node.text(CODES, self.problems)?;
        let word = text.value.split_whitespace().next().unwrap_or_default();
        let words = USAGES.map(|(word, _)| word);
        let Some(usage) = usage_named(word) else {
            let help = did_you_mean(word, words.iter().copied());
            let help = help.unwrap_or_else(|| format!("one of: {}", words.join(", ")));
            self.problems.error("R06", node.span, format!("unknown word `{word}`")).help = Some(help);
            return None;
        };
        let (_, then) = text.value.split_once(char::is_whitespace).unwrap_or((&text.value, ""));
        if then.trim().is_empty() {
            return Some(Asks::Always(usage));
        }
        let at = text.value.len() - then.trim_start().len();
        self.predicate(&text, at, usage).map(Asks::If)
    }

    /// `if CONDITION`, `unless CONDITION`, each perhaps with `else USAGE`, from byte `at` of a text on.
    fn predicate(&mut self, text: &Spanned<String>, at: usize, usage: Usage) -> Option<Predicate> {
        let rest = &text.value[at..];
        let (word, _) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        if !matches!(word, "if" | "unless") {
            let span = self.inside(text, at);
            self.problems.error("R67", span, format!("`if` or `unless` is expected, not `{word}`")).help =
                Some(
                    "written like: required if PV1-2 = I, or: forbidden unless PV1-36 is present".to_owned(),
                );
            return None;
        }
        let from = at + word.len();
        let (condition, otherwise) = match text.value[from..].rsplit_once(" else ") {
            Some((condition, otherwise)) => (condition, Some(otherwise.trim())),
            None => (&text.value[from..], None),
        };
        let otherwise = match otherwise.map(usage_named) {
            None => None,
            Some(Some(usage)) => Some(usage),
            Some(None) => {
                let span = self.inside(text, from + condition.len() + " else ".len());
                self.problems.error("R67", span, "a usage follows `else`").help =
                    Some(USAGES.map(|(word, _)| word).join(", "));
                return None;
            }
        };
        let condition = match Condition::parse(condition) {
            Ok(condition) => condition,
            Err(error) => {
                let span = self.inside(text, from + error.at);
                self.problems.error("R67", span, error.reason).help = Some(
                    "conditions are written like: PV1-2 = I, OBX-11 in (F, C), PV2 is present; with and, or"
                        .to_owned(),
                );
                return None;
            }
        };
        self.check_condition(text, from, &condition)?;
        let (holds, otherwise) =
            if word == "if" { (Some(usage), otherwise) } else { (otherwise, Some(usage)) };
        Some(Predicate { condition, holds, otherwise })
    }

    /// A condition about what does not exist would silently never hold.
    fn check_condition(&mut self, text: &Spanned<String>, from: usize, condition: &Condition) -> Option<()> {
        let unknown =
            condition.paths().into_iter().find(|path| !self.has_path(path)).map(ToString::to_string);
        let segments = condition.segments();
        let unknown = unknown
            .or_else(|| segments.into_iter().find(|id| !self.has_segment(*id)).map(|id| id.to_string()));
        let Some(unknown) = unknown else { return Some(()) };
        let at = text.value[from..].find(&unknown).unwrap_or_default();
        let span = self.inside(text, from + at);
        let message = format!("{unknown} is neither in the standard nor declared here");
        self.problems.error("R67", span, message).help =
            Some("declare a segment or field of the site under `segments`".to_owned());
        None
    }

    fn has_path(&self, path: &Path) -> bool {
        let small = |number: Option<u32>| number.map_or(Some(0), |number| u16::try_from(number).ok());
        let rule = || {
            let field = u16::try_from(path.field).ok()?;
            Some(PlaceRule::at(path.segment, field, small(path.component)?, small(path.subcomponent)?))
        };
        rule().is_some_and(|rule| self.exists(&rule))
    }

    fn has_segment(&self, id: SegmentId) -> bool {
        let declared = [&self.declared, self.base].iter().any(|said| said.segments.contains_key(&id));
        declared || self.versions.iter().any(|version| version.segment(id.as_str()).is_some())
    }

    /// The place of byte `at` of a value, as far as the value stands in the file as it was read.
    fn inside(&self, text: &Spanned<String>, at: usize) -> Span {
        let span = text.span;
        let source = self.problems.text().get(span.start..span.end).unwrap_or_default();
        let before =
            source.find(&text.value).and_then(|quote| source.get(..quote + at.min(text.value.len())));
        let Some(before) = before else {
            return span;
        };
        let skipped = before.chars().count() as u32;
        Span {
            column: span.column + skipped,
            length: span.length.saturating_sub(skipped).max(1),
            start: span.start + before.len(),
            ..span
        }
    }

    /// `segments` of a message: a segment id, or `GROUP.ID` inside each occurrence of a group.
    pub(super) fn segment_parts(&mut self, node: &Node, groups: &[String]) -> Vec<PartRule> {
        let mut parts = Vec::new();
        for (name, node) in node.keyed("`segments`", CODES, self.problems) {
            let (within, id) = match name.value.rsplit_once('.') {
                Some((group, id)) => (Some(group.to_owned()), id.to_owned()),
                None => (None, name.value.clone()),
            };
            let known = within.as_ref().is_none_or(|group| self.is_group(name, group, groups));
            let id = self.segment_id(&Spanned::new(id, name.span));
            if let Some((id, occurs)) = id.zip(self.occurs(node)).filter(|_| known) {
                parts.push(PartRule { within, part: Part::Segment(id), occurs });
            }
        }
        parts
    }

    /// `groups` of a message: a group, or `GROUP.INNER` inside each occurrence of another.
    pub(super) fn group_parts(&mut self, node: &Node, groups: &[String]) -> Vec<PartRule> {
        let mut parts = Vec::new();
        for (name, node) in node.keyed("`groups`", CODES, self.problems) {
            let (within, group) = match name.value.rsplit_once('.') {
                Some((within, group)) => (Some(within.to_owned()), group.to_owned()),
                None => (None, name.value.clone()),
            };
            let known = within.iter().chain([&group]).all(|group| self.is_group(name, group, groups));
            if let Some(occurs) = self.occurs(node).filter(|_| known) {
                parts.push(PartRule { within, part: Part::Group(group), occurs });
            }
        }
        parts
    }

    fn is_group(&mut self, name: &Spanned<String>, group: &str, groups: &[String]) -> bool {
        if groups.iter().any(|known| known == group) {
            return true;
        }
        let help = did_you_mean(group, groups.iter().map(String::as_str)).unwrap_or_else(|| match groups {
            [] => "the structure of this message is not known: name it with `structure`".to_owned(),
            groups => format!("groups of this message: {}", groups.join(", ")),
        });
        let message = format!("the message has no group `{group}`");
        self.problems.error("R65", name.span, message).help = Some(help);
        false
    }

    /// The groups that a message can have, by its structure in each version.
    pub(super) fn groups_of(&self, kind: &str, event: Option<&str>, structure: Option<&str>) -> Vec<String> {
        let own = |name: &str| {
            let said = [&self.declared, self.base];
            said.iter()
                .find_map(|said| said.structures.get(name))
                .and_then(|text| structure_groups(text).ok())
        };
        if let Some(groups) = structure.and_then(own) {
            return groups;
        }
        let prefix = format!("{kind}_");
        let mut groups = Vec::new();
        for version in &self.versions {
            let named = structure.or_else(|| version.structure_of(kind, event?));
            let all = version.structures().filter(|name| event.is_none() && name.starts_with(&prefix));
            let names: Vec<&str> = named.map_or_else(|| all.collect(), |name| vec![name]);
            for name in names {
                if let Some(structure) = version.structure(name) {
                    group_names(structure.nodes(), &mut groups);
                }
            }
        }
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// `required`, `forbidden`, a range such as `1..3`, or a usage with a condition.
    fn occurs(&mut self, node: &Node) -> Option<Occurs> {
        let text = node.text(CODES, self.problems)?;
        if let Some((least, most)) = range(&text.value) {
            return Some(Occurs::Times(least, most));
        }
        if usage_named(text.value.split_whitespace().next().unwrap_or_default()).is_none() {
            let message = format!("`{}` says not how often it occurs", text.value);
            self.problems.error("R06", text.span, message).help = Some(
                "required, forbidden, required if PV1-2 = I, or a range like 1..3, 2.. or ..5".to_owned(),
            );
            return None;
        }
        Some(match self.usage(node)? {
            Asks::Always(Usage::Required) => Occurs::Times(1, None),
            Asks::Always(Usage::Optional) => Occurs::Times(0, None),
            Asks::Always(Usage::Forbidden) => Occurs::Times(0, Some(0)),
            Asks::If(predicate) => Occurs::If(predicate),
        })
    }
}

fn group_names(nodes: Nodes, names: &mut Vec<String>) {
    for node in nodes {
        if node.kind() == Kind::Group {
            names.push(node.name().to_owned());
        }
        group_names(node.nodes(), names);
    }
}

fn usage_named(word: &str) -> Option<Usage> {
    USAGES.iter().find(|(known, _)| *known == word).map(|(_, usage)| *usage)
}
