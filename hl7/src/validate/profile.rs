//! What a profile says about a message as a whole: versions, messages, segments and groups.

use super::due::Due;
use super::nearby::{Here, Nearby};
use super::rules::Rules;
use super::{Group, Report, groups_by};
use crate::profile::{Occurs, Part, PartRule, Profile, Usage};
use crate::{Class, Message, SegmentId};

pub(super) fn check(message: &Message, profile: &Profile, rules: Rules<'_>, report: &mut Report<'_>) {
    let declared = profile.declarations();
    if !declared.versions.is_empty() && !declared.versions.contains(&rules.version()) {
        let text = format!("profile {} is not for messages of this version", profile.name());
        report.find(Class::Profile, "MSH-12.1", 203, text);
    }
    let Some(asked) = profile.message_rules(message.head()) else {
        if declared.only_listed {
            let text = format!("profile {} does not have this message", profile.name());
            report.find(Class::Profile, "MSH-9", 201, text);
        }
        return;
    };
    let needs_groups = |rule: &PartRule| rule.within.is_some() || matches!(rule.part, Part::Group(_));
    let plan = rules.plan_of(message.head()).filter(|_| asked.parts.iter().any(needs_groups));
    let groups = plan.map(|plan| groups_by(message, plan)).unwrap_or_default();
    let mut parts = Parts { message, groups: &groups, near: Nearby::new(message), counted: None, report };
    for rule in &asked.parts {
        parts.check(rule);
    }
}

/// The segments and groups of one message.
struct Parts<'c, 'm, 'v> {
    message: &'m Message,
    groups: &'m [Group],
    near: Nearby<'m>,
    /// A segment whose number among those of its id is known: id, index, how many stand before it.
    counted: Option<([u8; 3], usize, usize)>,
    report: &'c mut Report<'v>,
}

impl<'m> Parts<'_, 'm, '_> {
    fn check(&mut self, rule: &PartRule) {
        let Some(within) = &rule.within else {
            let found = match &rule.part {
                Part::Segment(id) => self.segments(*id, 0..self.message.segment_count()),
                Part::Group(name) => {
                    Found::of(self.groups.iter().filter(|group| group.name == *name).map(first_segment))
                }
            };
            return self.judge(rule, None, found);
        };
        let groups = self.groups;
        let inner = match &rule.part {
            Part::Segment(_) => Vec::new(),
            Part::Group(name) => inside(groups, name, within),
        };
        for (number, group) in groups.iter().enumerate().filter(|(_, group)| group.name == *within) {
            let found = match &rule.part {
                Part::Segment(id) => self.segments(*id, group.segments.iter().copied()),
                Part::Group(_) => inner[number],
            };
            self.judge(rule, Some(group), found);
        }
    }

    /// Judges what was counted in one group, or in the whole message.
    fn judge(&mut self, rule: &PartRule, group: Option<&'m Group>, found: Found) {
        let group = group.map(|group| group.segments.as_slice());
        let (times, due) = match &rule.occurs {
            Occurs::Times(least, most) => ((*least, *most), Due::default()),
            Occurs::If(predicate) => {
                let segment = group.and_then(|group| group.first().copied()).unwrap_or_default();
                let due = predicate.decide(self.near.at(Here { segment, group, ..Here::default() }));
                match due.usage {
                    Some(Usage::Required) => ((1, None), due),
                    Some(Usage::Forbidden) => ((0, Some(0)), due),
                    _ => return,
                }
            }
        };
        let (least, most) = times;
        if found.count >= least && most.is_none_or(|most| found.count <= most) {
            return;
        }
        let name = match &rule.part {
            Part::Segment(id) => format!("segment {id}"),
            Part::Group(name) => format!("group {name}"),
        };
        let inside = rule.within.as_ref().map(|group| format!(" in {group}")).unwrap_or_default();
        let reason = due.reason();
        let (code, text) = match most {
            Some(0) => (100, format!("{name} must not occur{inside} by the profile{reason}")),
            _ if found.count == 0 => (100, format!("{name} is required{inside} by the profile{reason}")),
            Some(most) => (198, format!("{name} occurs {least} to {most} times{inside} by the profile")),
            None => (198, format!("{name} occurs {least} times at least{inside} by the profile")),
        };
        // Without a condition or group the segment as such is meant.
        let first = found.first.filter(|_| rule.within.is_some() || matches!(rule.part, Part::Group(_)));
        let place = first.or_else(|| group.and_then(|group| group.first().copied()));
        let path = match (place, &rule.part) {
            (Some(index), _) => self.path(index),
            (None, Part::Segment(id)) => id.to_string(),
            (None, Part::Group(_)) => String::new(),
        };
        self.report.find(Class::Profile, path, code, text);
    }

    fn segments(&self, id: SegmentId, indexes: impl Iterator<Item = usize>) -> Found {
        let has_id = |index: &usize| {
            self.message.segment(*index).is_some_and(|segment| segment.span.id == id.as_str().as_bytes())
        };
        Found::of(indexes.filter(has_id))
    }

    /// A segment as paths write it: `OBX[2]`.
    fn path(&mut self, index: usize) -> String {
        let Some(segment) = self.message.segment(index) else { return String::new() };
        let id = segment.span.id;
        // Places come in order mostly: count on from the last one.
        let (from, before) = match self.counted {
            Some((known, at, number)) if known == id && at <= index => (at, number),
            _ => (0, 0),
        };
        let between = self.message.segments().skip(from).take(index - from);
        let before = before + between.filter(|segment| segment.span.id == id).count();
        self.counted = Some((id, index, before));
        match before {
            0 => segment.id().to_owned(),
            before => format!("{}[{}]", segment.id(), before + 1),
        }
    }
}

fn first_segment(group: &Group) -> usize {
    group.segments.first().copied().unwrap_or_default()
}

/// For each group, the groups called `name` inside it; counted for those called `within`.
fn inside(groups: &[Group], name: &str, within: &str) -> Vec<Found> {
    let mut found = vec![Found::default(); groups.len()];
    for group in groups.iter().filter(|group| group.name == name) {
        let mut around = group.parent;
        while let Some(number) = around.filter(|number| groups[*number].name != within) {
            around = groups[number].parent;
        }
        if let Some(number) = around {
            found[number].count += 1;
            found[number].first.get_or_insert(first_segment(group));
        }
    }
    found
}

/// What was counted.
#[derive(Clone, Copy, Default)]
struct Found {
    count: u32,
    /// The first segment of it.
    first: Option<usize>,
}

impl Found {
    fn of(mut parts: impl Iterator<Item = usize>) -> Self {
        let first = parts.next();
        Self { count: parts.count() as u32 + u32::from(first.is_some()), first }
    }
}
