//! Matches segments to the groups of a message structure.
//!
//! Each segment goes to the nearest place, from the innermost open group outwards, that may take it: the same
//! place again, a later one, or a new repetition of the group. Places where it is the first of its group come
//! before places in the middle of a group that is not open yet: an ORC after results begins the next order, not
//! the prior results of this one. Only when no place is legal, required places are skipped and reported. Local
//! and unknown segments attach where they stand.

use crate::dictionary::{Kind, Node, Nodes, Structure, Version};
use crate::{Class, Message};

use super::Report;

pub(super) fn check(message: &Message, structure: Structure, version: Version, report: &mut Report<'_>) {
    let mut counts = super::Counts::new(version);
    let mut matching = Matching::new(structure);
    for segment in message.segments() {
        let id = segment.id();
        if id.is_empty() || matches!(id, "ADD" | "DSC") {
            continue;
        }
        let seen = counts.next(&segment);
        let taken = matching.take(id, segment.index());
        let place = || if seen.occurrence > 1 { format!("{id}[{}]", seen.occurrence) } else { id.to_owned() };
        match taken {
            Taken::Legal => {}
            Taken::TooMany => {
                let text = format!("segment {id} occurs more often than {} allows", structure.name());
                report.push(super::Finding {
                    // The facts about repetition differ from the printed standard in places.
                    severity: crate::Severity::Warning,
                    ..super::Finding::new(Class::Cardinality, place(), 198, text)
                });
            }
            Taken::Misplaced => {
                let text =
                    format!("segment {id} stands in a place where {} does not allow it", structure.name());
                report.find(Class::Structure, place(), 100, text);
            }
            Taken::Unknown if id.starts_with('Z') => {}
            Taken::Unknown if seen.row.is_none() => {
                report.find(
                    Class::Undeclared,
                    place(),
                    100,
                    format!("segment {id} is not expected: the version has none"),
                );
            }
            Taken::Unknown => {
                let text = format!("segment {id} is not expected in {}", structure.name());
                report.find(Class::Undeclared, place(), 100, text);
            }
        }
    }
    matching.close(0);
    for missing in matching.missing {
        report.find(Class::Structure, missing.anchor, 100, missing.text);
    }
}

/// One occurrence of a group in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name, for instance `ORDER_OBSERVATION`.
    pub name: &'static str,
    /// Its segments by their index in the message, those of inner groups and local ones included.
    pub segments: Vec<usize>,
}

/// The groups of a message in the order in which they begin; empty when its structure is not known.
pub fn groups(message: &Message) -> Vec<Group> {
    let version = Version::nearest(&message.header().version);
    let Some(structure) = super::structure_in(version, message) else { return Vec::new() };
    let mut matching = Matching::new(structure);
    for segment in message.segments() {
        matching.take(segment.id(), segment.index());
    }
    matching.groups
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

/// One open group.
#[derive(Clone)]
struct Frame {
    nodes: Nodes,
    choice: bool,
    /// Whether it is a group; false for the message itself.
    group: bool,
    /// Its place in the list of groups; none for the message itself and for choices.
    listed: Option<usize>,
    current: Option<Node>,
    /// How often `current` has occurred.
    count: u32,
}

struct Missing {
    anchor: &'static str,
    text: String,
}

struct Matching {
    structure: Structure,
    frames: Vec<Frame>,
    missing: Vec<Missing>,
    groups: Vec<Group>,
}

/// Where a segment goes: in frame `depth`, along `route` of groups down to the segment.
struct Target {
    depth: usize,
    /// Whether the group of frame `depth` begins anew.
    again: bool,
    route: Vec<Node>,
}

impl Matching {
    fn new(structure: Structure) -> Self {
        let nodes = structure.nodes();
        let message = Frame { nodes, choice: false, group: false, listed: None, current: None, count: 0 };
        Self { structure, frames: vec![message], missing: Vec::new(), groups: Vec::new() }
    }

    /// Takes the next segment; it belongs to all groups that are open then.
    fn take(&mut self, id: &str, index: usize) -> Taken {
        let taken = self.place(id);
        for group in self.frames.iter().filter_map(|frame| frame.listed) {
            self.groups[group].segments.push(index);
        }
        taken
    }

    fn place(&mut self, id: &str) -> Taken {
        if let Some(target) = self.target(id, Way::First).or_else(|| self.target(id, Way::Legal)) {
            self.go(&target);
            return Taken::Legal;
        }
        // The same segment again, more often than allowed: stay where it is.
        let repeated = |frame: &Frame| frame.current.is_some_and(|node| node.is(id.as_bytes()));
        if self.frames.last().is_some_and(repeated) {
            return Taken::TooMany;
        }
        if let Some(target) = self.target(id, Way::Any) {
            self.go(&target);
            return Taken::Legal;
        }
        if !self.structure.has_segment(id) {
            return Taken::Unknown;
        }
        // Reported once: it is not missing but misplaced.
        self.missing.retain(|missing| missing.anchor != id);
        Taken::Misplaced
    }

    fn target(&self, id: &str, way: Way) -> Option<Target> {
        for depth in (0..self.frames.len()).rev() {
            let frame = &self.frames[depth];
            if let Some(route) = frame.forward(id, way) {
                return Some(Target { depth, again: false, route });
            }
            if way.is_strict() && !frame.is_complete() {
                return None;
            }
            let parent = depth.checked_sub(1).map(|parent| &self.frames[parent]);
            let may_repeat = parent.is_some_and(|parent| {
                parent.current.is_some_and(|group| {
                    group.max().is_none_or(|most| parent.count < most) || !way.is_strict()
                })
            });
            if may_repeat {
                let fresh = Frame { current: None, count: 0, ..frame.clone() };
                if let Some(route) = fresh.forward(id, way) {
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
            let skipped = frame.advance(*node);
            self.missing.extend(skipped);
            if index + 1 < target.route.len() {
                self.open(*node);
            }
        }
    }

    fn open(&mut self, group: Node) {
        let choice = group.kind() == Kind::Choice;
        let listed = (!choice).then_some(self.groups.len());
        if !choice {
            self.groups.push(Group { name: group.name(), segments: Vec::new() });
        }
        self.frames.push(Frame {
            nodes: group.nodes(),
            choice,
            listed,
            group: true,
            current: None,
            count: 0,
        });
    }

    /// Closes the frames from `depth` on; what they still had to hold is missing.
    fn close(&mut self, depth: usize) {
        while self.frames.len() > depth {
            if let Some(frame) = self.frames.pop() {
                self.missing.extend(frame.rest().filter(|node| node.min() > 0).map(missing));
            }
        }
    }
}

impl Frame {
    /// The nodes that may still come: those after the current one, and the current one if it must come again.
    fn rest(&self) -> impl Iterator<Item = Node> {
        let chosen = self.choice && self.current.is_some();
        let passed = self.current;
        let mut before = passed.is_some();
        let pending = passed.filter(|node| self.count < node.min());
        let first_of_choice = if self.choice && !chosen { 1 } else { usize::MAX };
        pending.into_iter().chain(
            self.nodes
                .filter(move |node| {
                    if before {
                        before = Some(*node) != passed;
                        return false;
                    }
                    !chosen
                })
                .take(first_of_choice),
        )
    }

    fn is_complete(&self) -> bool {
        self.rest().all(|node| node.min() == 0)
    }

    /// The way to `id` from here on.
    fn forward(&self, id: &str, way: Way) -> Option<Vec<Node>> {
        if let Some(node) = self.current {
            let free = node.max().is_none_or(|most| self.count < most);
            if node.kind() == Kind::Segment && node.is(id.as_bytes()) && free {
                return Some(vec![node]);
            }
            if self.choice || (way.is_strict() && self.count < node.min()) {
                return None;
            }
        }
        let mut before = self.current.is_some();
        for node in self.nodes {
            if before {
                before = Some(node) != self.current;
                continue;
            }
            if let Some(route) = route(node, id, way) {
                return Some(route);
            }
            let passed = (way == Way::First && self.current.is_none() && self.group)
                || (way.is_strict() && node.min() > 0);
            if passed && !self.choice {
                return None;
            }
        }
        None
    }

    /// Moves to `node` and gives what was skipped on the way.
    fn advance(&mut self, node: Node) -> Vec<Missing> {
        if self.current == Some(node) {
            self.count += 1;
            return Vec::new();
        }
        let skipped = if self.choice {
            Vec::new()
        } else {
            self.rest()
                .take_while(|passed| *passed != node)
                .filter(|passed| passed.min() > 0)
                .map(missing)
                .collect()
        };
        self.current = Some(node);
        self.count = 1;
        skipped
    }
}

/// The way to the segment `id` in `node`: groups and then the segment.
fn route(node: Node, id: &str, way: Way) -> Option<Vec<Node>> {
    if node.kind() == Kind::Segment {
        return (node.is(id.as_bytes()) && node.max() != Some(0)).then(|| vec![node]);
    }
    for inner in node.nodes() {
        if let Some(mut found) = route(inner, id, way) {
            found.insert(0, node);
            return Some(found);
        }
        let passed = way == Way::First || (way.is_strict() && inner.min() > 0);
        if passed && node.kind() != Kind::Choice {
            return None;
        }
    }
    None
}

fn missing(node: Node) -> Missing {
    let mut anchor = node;
    while anchor.kind() != Kind::Segment {
        let next = anchor.nodes().find(|inner| inner.min() > 0).or_else(|| anchor.nodes().next());
        match next {
            Some(next) => anchor = next,
            None => break,
        }
    }
    let text = match node.kind() {
        Kind::Segment => format!("required segment {} is missing", node.name()),
        _ => format!("required group {}, which has {}, is missing", node.name(), anchor.name()),
    };
    Missing { anchor: anchor.name(), text }
}
