//! Matches segments to the groups of a message structure.
//!
//! Each segment goes to the nearest place, from the innermost open group outwards, that may take it: the same
//! place again, a later one, or a new repetition of the group. Places where it is the first of its group come
//! before places in the middle of a group that is not open yet: an ORC after results begins the next order, not
//! the prior results of this one. Only when no place is legal, required places are skipped and reported. Local
//! and unknown segments attach where they stand. A segment out of order attaches to the nearest open group that
//! has a place for it; nothing is taken back, so the work for a segment is bounded by the size of the structure.

use smallvec::SmallVec;

use super::rules::Rules;
use super::{Matching as Manner, Report};
use crate::dictionary::Kind;
use crate::dictionary::plan::Plan;
use crate::{Class, Finding, Message, Severity};

pub(super) fn check(message: &Message, plan: &Plan, rules: Rules<'_>, report: &mut Report<'_>) {
    let strict = report.validation.matching == Manner::Strict;
    let mut counts = super::Counts::new(rules);
    let mut matching = Matching::new(plan);
    for segment in message.segments() {
        let id = segment.span.id;
        if id == [0; 3] || matches!(&id, b"ADD" | b"DSC") {
            continue;
        }
        let seen = counts.next(&segment);
        let taken = matching.place(id);
        if matches!(taken, Taken::Legal) {
            continue;
        }
        let id = segment.id();
        let place = || if seen.occurrence > 1 { format!("{id}[{}]", seen.occurrence) } else { id.to_owned() };
        let (class, code, text, lenient) = match taken {
            Taken::Legal => continue,
            Taken::Unknown if seen.row.is_some() && (id.starts_with('Z')) => continue,
            Taken::Unknown if id.starts_with('Z') && !strict => continue,
            // The facts about repetition differ from the printed standard in places.
            Taken::TooMany => (
                Class::Cardinality,
                198,
                format!("segment {id} occurs more often than {} allows", plan.name),
                Severity::Warning,
            ),
            Taken::Misplaced => (
                Class::Structure,
                100,
                format!("segment {id} stands in a place where {} does not allow it", plan.name),
                Severity::Warning,
            ),
            Taken::Unknown if seen.row.is_none() => (
                Class::Undeclared,
                100,
                format!("segment {id} is not expected: the version has none"),
                Severity::Information,
            ),
            Taken::Unknown => (
                Class::Undeclared,
                100,
                format!("segment {id} is not expected in {}", plan.name),
                Severity::Information,
            ),
        };
        let severity = if strict { Severity::Error } else { lenient };
        report.add(Finding { severity, ..Finding::new(class, place(), code, text) }, plan.is_local());
    }
    matching.close(0);
    for missing in matching.missing {
        let anchor = plan.nodes[usize::from(missing.anchor)].name.as_ref();
        let finding = Finding::new(Class::Structure, anchor, 100, plan.missing_text(missing.node));
        report.add(finding, plan.is_local());
    }
}

/// One occurrence of a group in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name, for instance `ORDER_OBSERVATION`.
    pub name: String,
    /// The group it is in, by its place in the list; none at the top.
    pub parent: Option<usize>,
    /// Its segments by their index in the message, those of inner groups and local ones included.
    pub segments: Vec<usize>,
}

/// The groups of a message in the order in which they begin; empty when its structure is not known.
pub fn groups(message: &Message) -> Vec<Group> {
    let rules = Rules::of(message, None);
    let Some(plan) = rules.plan_of(message.head()) else { return Vec::new() };
    groups_by(message, plan)
}

/// Whether the structure of a message has a group of this name; none when the structure is not known.
pub fn has_group(message: &Message, name: &str) -> Option<bool> {
    let plan = Rules::of(message, None).plan_of(message.head())?;
    Some(plan.nodes.iter().any(|node| node.kind == Kind::Group && node.name == name))
}

pub(crate) fn groups_by(message: &Message, plan: &Plan) -> Vec<Group> {
    let mut matching = Matching::new(plan);
    matching.groups = Some(Vec::new());
    for segment in message.segments() {
        matching.take(segment.span.id, segment.index());
    }
    matching.groups.unwrap_or_default()
}

enum Taken {
    Legal,
    TooMany,
    Misplaced,
    Unknown,
}

/// How a place is looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// As `Legal`, and groups are only entered at their first segment.
    First,
    /// Nothing that is required is skipped.
    Legal,
    /// Anywhere ahead.
    Any,
}

impl Way {
    fn is_strict(self) -> bool {
        self != Self::Any
    }
}

/// Groups and then the segment, by their nodes.
type Route = SmallVec<[u16; 8]>;

/// One open group.
#[derive(Clone, Copy)]
struct Frame {
    first: u16,
    end: u16,
    choice: bool,
    /// Whether it is a group; false for the message itself.
    group: bool,
    /// Its place in the list of groups; none for the message itself and for choices.
    listed: Option<u32>,
    current: Option<u16>,
    /// How often `current` has occurred.
    count: u32,
}

struct Missing {
    node: u16,
    /// The segment by which people know the place.
    anchor: u16,
}

struct Matching<'p> {
    plan: &'p Plan,
    frames: SmallVec<[Frame; 8]>,
    missing: Vec<Missing>,
    /// Filled only when somebody wants them.
    groups: Option<Vec<Group>>,
}

/// Where a segment goes: in frame `depth`, along `route` of groups down to the segment.
struct Target {
    depth: usize,
    /// Whether the group of frame `depth` begins anew.
    again: bool,
    route: Route,
}

impl<'p> Matching<'p> {
    fn new(plan: &'p Plan) -> Self {
        let message = Frame {
            first: 0,
            end: plan.nodes.len() as u16,
            choice: false,
            group: false,
            listed: None,
            current: None,
            count: 0,
        };
        Self { plan, frames: SmallVec::from_iter([message]), missing: Vec::new(), groups: None }
    }

    /// Takes the next segment; it belongs to all groups that are open then, or, out of order, to those that could
    /// have it.
    fn take(&mut self, id: [u8; 3], index: usize) {
        let taken = self.place(id);
        let has = |frame: &Frame| {
            self.plan.nodes[usize::from(frame.first)..usize::from(frame.end)].iter().any(|node| node.id == id)
        };
        let depth = match taken {
            Taken::Misplaced => self.frames.iter().rposition(has).unwrap_or(0) + 1,
            _ => self.frames.len(),
        };
        let Some(groups) = &mut self.groups else { return };
        for group in self.frames[..depth].iter().filter_map(|frame| frame.listed) {
            groups[group as usize].segments.push(index);
        }
    }

    fn place(&mut self, id: [u8; 3]) -> Taken {
        if id == [0; 3] {
            return Taken::Unknown;
        }
        if let Some(target) = self.target(id, Way::First).or_else(|| self.target(id, Way::Legal)) {
            self.go(&target);
            return Taken::Legal;
        }
        if !self.plan.has_segment(id) {
            return Taken::Unknown;
        }
        // The same segment again, more often than allowed: stay where it is.
        let repeated = |frame: &Frame| frame.current.is_some_and(|node| self.node(node).id == id);
        if self.frames.last().is_some_and(repeated) {
            return Taken::TooMany;
        }
        if let Some(target) = self.target(id, Way::Any) {
            self.go(&target);
            return Taken::Legal;
        }
        // Reported once: it is not missing but misplaced.
        let plan = self.plan;
        self.missing.retain(|missing| plan.nodes[usize::from(missing.anchor)].id != id);
        Taken::Misplaced
    }

    fn node(&self, node: u16) -> &'p crate::dictionary::plan::PlanNode {
        &self.plan.nodes[usize::from(node)]
    }

    fn target(&self, id: [u8; 3], way: Way) -> Option<Target> {
        for depth in (0..self.frames.len()).rev() {
            let frame = &self.frames[depth];
            let mut route = Route::new();
            if frame.forward(self.plan, id, way, &mut route) {
                return Some(Target { depth, again: false, route });
            }
            if way.is_strict() && !frame.is_complete(self.plan) {
                return None;
            }
            let parent = depth.checked_sub(1).map(|parent| &self.frames[parent]);
            let may_repeat = parent.is_some_and(|parent| {
                parent
                    .current
                    .is_some_and(|group| self.node(group).allows_more(parent.count) || !way.is_strict())
            });
            if may_repeat {
                let fresh = Frame { current: None, count: 0, ..*frame };
                if fresh.forward(self.plan, id, way, &mut route) {
                    return Some(Target { depth, again: true, route });
                }
            }
        }
        None
    }

    fn go(&mut self, target: &Target) {
        if target.again {
            self.close(target.depth);
            let parent = self.frames.last_mut().expect("only a group inside another begins anew");
            parent.count += 1;
            let group = parent.current.expect("the parent stands at the group that begins anew");
            self.open(group);
        } else {
            self.close(target.depth + 1);
        }
        for (index, node) in target.route.iter().enumerate() {
            let frame = self.frames.last_mut().expect("the message itself is the first frame");
            frame.advance(self.plan, *node, &mut self.missing);
            if index + 1 < target.route.len() {
                self.open(*node);
            }
        }
    }

    fn open(&mut self, group: u16) {
        let node = self.node(group);
        let choice = node.kind == Kind::Choice;
        let parent = self.frames.iter().rev().find_map(|frame| frame.listed);
        let listed = match &mut self.groups {
            Some(groups) if !choice => {
                groups.push(Group {
                    name: node.name.clone().into_owned(),
                    parent: parent.map(|parent| parent as usize),
                    segments: Vec::new(),
                });
                Some(groups.len() as u32 - 1)
            }
            _ => None,
        };
        self.frames.push(Frame {
            first: group + 1,
            end: node.end,
            choice,
            group: true,
            listed,
            current: None,
            count: 0,
        });
    }

    /// Closes the frames from `depth` on; what they still had to hold is missing.
    fn close(&mut self, depth: usize) {
        while self.frames.len() > depth {
            if let Some(frame) = self.frames.pop() {
                for node in frame.rest(self.plan) {
                    if self.node(node).min > 0 {
                        self.missing.push(self.plan.missing(node));
                    }
                }
            }
        }
    }
}

impl Frame {
    /// The nodes that may still come: those after the current one, and the current one if it must come again.
    fn rest<'p>(&self, plan: &'p Plan) -> impl Iterator<Item = u16> + use<'p> {
        let node = |node: u16| &plan.nodes[usize::from(node)];
        let chosen = self.choice && self.current.is_some();
        let count = self.count;
        let pending = self.current.filter(move |current| count < u32::from(node(*current).min));
        let from =
            if chosen { self.end } else { self.current.map_or(self.first, |current| node(current).end) };
        let most = if self.choice { 1 } else { usize::MAX };
        let ahead = plan.level(usize::from(from), usize::from(self.end)).take(most).map(|node| node as u16);
        pending.into_iter().chain(ahead)
    }

    fn is_complete(&self, plan: &Plan) -> bool {
        self.rest(plan).all(|node| plan.nodes[usize::from(node)].min == 0)
    }

    /// The way to `id` from here on.
    fn forward(&self, plan: &Plan, id: [u8; 3], way: Way, found: &mut Route) -> bool {
        let mut from = self.first;
        if let Some(current) = self.current {
            let node = &plan.nodes[usize::from(current)];
            if node.id == id && node.allows_more(self.count) {
                found.push(current);
                return true;
            }
            if self.choice || (way.is_strict() && self.count < u32::from(node.min)) {
                return false;
            }
            from = node.end;
        }
        for node in plan.level(usize::from(from), usize::from(self.end)) {
            if route(plan, node, id, way, found) {
                return true;
            }
            let passed = (way == Way::First && self.current.is_none() && self.group)
                || (way.is_strict() && plan.nodes[node].min > 0);
            if passed && !self.choice {
                return false;
            }
        }
        false
    }

    /// Moves to `node` and notes what was skipped on the way.
    fn advance(&mut self, plan: &Plan, node: u16, missing: &mut Vec<Missing>) {
        if self.current == Some(node) {
            self.count += 1;
            return;
        }
        if !self.choice {
            let skipped = self.rest(plan).take_while(|passed| *passed != node);
            let required = skipped.filter(|passed| plan.nodes[usize::from(*passed)].min > 0);
            missing.extend(required.map(|passed| plan.missing(passed)));
        }
        self.current = Some(node);
        self.count = 1;
    }
}

/// The way to the segment `id` in `node`: groups and then the segment.
fn route(plan: &Plan, at: usize, id: [u8; 3], way: Way, found: &mut Route) -> bool {
    let node = &plan.nodes[at];
    if node.kind == Kind::Segment {
        let takes = node.id == id && node.max != 0;
        if takes {
            found.push(at as u16);
        }
        return takes;
    }
    found.push(at as u16);
    for inner in plan.inside(at) {
        if route(plan, inner, id, way, found) {
            return true;
        }
        let passed = way == Way::First || (way.is_strict() && plan.nodes[inner].min > 0);
        if passed && node.kind != Kind::Choice {
            break;
        }
    }
    found.pop();
    false
}

impl Plan {
    fn missing(&self, node: u16) -> Missing {
        let mut anchor = usize::from(node);
        while self.nodes[anchor].kind != Kind::Segment {
            let mut inside = self.inside(anchor);
            let first = self.inside(anchor).next();
            match inside.find(|inner| self.nodes[*inner].min > 0).or(first) {
                Some(next) => anchor = next,
                None => break,
            }
        }
        Missing { node, anchor: anchor as u16 }
    }

    fn missing_text(&self, node: u16) -> String {
        let anchor = &self.nodes[usize::from(self.missing(node).anchor)].name;
        let node = &self.nodes[usize::from(node)];
        match node.kind {
            Kind::Segment => format!("required segment {} is missing", node.name),
            _ => format!("required group {}, which has {anchor}, is missing", node.name),
        }
    }
}
