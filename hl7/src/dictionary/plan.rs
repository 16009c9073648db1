//! A message structure as an array of nodes, for matching segments to it.

use std::borrow::Cow;

use super::{Kind, Node, Structure};

/// Any number.
pub(crate) const MANY: u8 = u8::MAX;

/// A structure: its nodes in preorder, each with the place after its last inner node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) name: Cow<'static, str>,
    pub(crate) nodes: Vec<PlanNode>,
}

/// A segment, group or choice at its place.
#[derive(Clone, Debug)]
pub(crate) struct PlanNode {
    /// The segment; zeros for a group or choice.
    pub(crate) id: [u8; 3],
    pub(crate) kind: Kind,
    pub(crate) min: u8,
    pub(crate) max: u8,
    /// The place after its last inner node.
    pub(crate) end: u16,
    pub(crate) name: Cow<'static, str>,
}

impl PlanNode {
    /// Whether one more is allowed after `count`.
    pub(crate) fn allows_more(&self, count: u32) -> bool {
        self.max == MANY || count < u32::from(self.max)
    }
}

impl Plan {
    /// Whether a profile brought it.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self.name, Cow::Owned(_))
    }

    pub(crate) fn of(structure: Structure) -> Self {
        let mut plan = Self { name: Cow::Borrowed(structure.name()), nodes: Vec::new() };
        structure.nodes().for_each(|node| plan.add(node));
        plan.nodes.shrink_to_fit();
        plan
    }

    fn add(&mut self, node: Node) {
        let at = self.nodes.len();
        let kind = node.kind();
        let id = (kind == Kind::Segment).then(|| node.name().as_bytes().try_into().ok()).flatten();
        self.nodes.push(PlanNode {
            id: id.unwrap_or_default(),
            kind,
            min: node.min() as u8,
            max: node.max().map_or(MANY, |most| most as u8),
            end: 0,
            name: Cow::Borrowed(node.name()),
        });
        if kind != Kind::Segment {
            node.nodes().for_each(|inner| self.add(inner));
        }
        self.nodes[at].end = self.nodes.len() as u16;
    }

    /// The nodes between two places of one level, by their numbers.
    pub(crate) fn level(&self, first: usize, end: usize) -> impl Iterator<Item = usize> + '_ {
        let mut at = first;
        std::iter::from_fn(move || {
            let node = at;
            (node < end).then(|| {
                at = usize::from(self.nodes[node].end);
                node
            })
        })
    }

    /// The nodes inside a group or choice.
    pub(crate) fn inside(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        self.level(node + 1, usize::from(self.nodes[node].end))
    }

    pub(crate) fn has_segment(&self, id: [u8; 3]) -> bool {
        self.nodes.iter().any(|node| node.id == id)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<PlanNode>()
    }
}
