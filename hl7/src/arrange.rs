//! Puts the segments of a message that is being built in the order of its structure.
//!
//! Segments come in the order in which somebody thought of them; groups may be named or left to the segments. A
//! segment goes to the nearest place that can take it, seen from the segment before: into the groups that are open,
//! or a new repetition of the innermost group that is full. What the structure does not know stays behind the
//! segment it came after.

use crate::dictionary::facts::Facts;
use crate::dictionary::plan::Plan;
use crate::dictionary::{Kind, Version};

/// A group that was begun by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltGroup {
    /// Its name, for instance `ORDER_OBSERVATION`.
    pub name: String,
    /// The group it was begun in, by its place in the list; none for the message.
    pub parent: Option<usize>,
}

/// Why a message cannot be put in order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArrangeError {
    /// The structure has no such group, or not where it was begun.
    #[error("structure {structure} has no group {group} there")]
    NoGroup {
        /// The structure.
        structure: String,
        /// The group.
        group: String,
    },
    /// The group has no such segment.
    #[error("group {group} has no segment {segment}")]
    NotInGroup {
        /// The group.
        group: String,
        /// The segment.
        segment: String,
    },
}

/// Whether a version has a structure, and a place for a segment in it; none when it does not have the structure.
pub fn has_place(version: Version, structure: &str, segment: &str) -> Option<bool> {
    let id = <[u8; 3]>::try_from(segment.as_bytes()).ok();
    Facts::of(version).plan(structure).map(|plan| id.is_some_and(|id| plan.has_segment(id)))
}

/// The order in which segments stand in a structure: numbers of `segments`. Each segment has its id and the group it
/// was put into, by its place in `groups`. The order stays as it is when the version does not know the structure.
///
/// # Errors
///
/// A group or a segment of a group that the structure does not have.
pub fn arrange(
    version: Version,
    structure: &str,
    segments: &[(String, Option<usize>)],
    groups: &[BuiltGroup],
) -> Result<Vec<usize>, ArrangeError> {
    let Some(plan) = Facts::of(version).plan(structure) else { return Ok((0..segments.len()).collect()) };
    let mut tree = Tree::new(plan, groups)?;
    for (number, (id, group)) in segments.iter().enumerate() {
        tree.add(number, id, *group)?;
    }
    let mut order = Vec::with_capacity(segments.len());
    tree.collect(0, &mut order);
    Ok(order)
}

/// One occurrence of a group, or the message.
struct Instance {
    /// Its node in the plan; none for the message.
    node: Option<usize>,
    parent: Option<usize>,
    /// What it holds, each with the node by which it is sorted.
    items: Vec<(usize, Item)>,
}

#[derive(Clone, Copy)]
enum Item {
    Segment(usize),
    Group(usize),
}

struct Tree<'p> {
    plan: &'p Plan,
    /// The groups around each node, outermost first.
    around: Vec<Vec<usize>>,
    instances: Vec<Instance>,
    /// Groups begun by name: their instances.
    named: Vec<usize>,
    groups: &'p [BuiltGroup],
    /// Where the last segment went.
    last: (usize, usize),
}

impl<'p> Tree<'p> {
    fn new(plan: &'p Plan, groups: &'p [BuiltGroup]) -> Result<Self, ArrangeError> {
        let mut around = vec![Vec::new(); plan.nodes.len()];
        for (node, of) in plan.nodes.iter().enumerate() {
            for inner in &mut around[node + 1..usize::from(of.end)] {
                inner.push(node);
            }
        }
        let message = Instance { node: None, parent: None, items: Vec::new() };
        let mut tree =
            Self { plan, around, instances: vec![message], named: Vec::new(), groups, last: (0, 0) };
        for group in groups {
            let parent = group.parent.and_then(|parent| tree.named.get(parent).copied()).unwrap_or(0);
            let instance = tree.begin(parent, &group.name)?;
            tree.named.push(instance);
        }
        Ok(tree)
    }

    /// Begins a group by name below an instance, with what stands between them.
    fn begin(&mut self, parent: usize, name: &str) -> Result<usize, ArrangeError> {
        let outer = self.instances[parent].node;
        let found = self.plan.nodes.iter().enumerate().position(|(node, of)| {
            of.kind == Kind::Group
                && of.name == name
                && outer.is_none_or(|outer| self.around[node].contains(&outer))
        });
        let Some(node) = found else {
            let (structure, group) = (self.plan.name.to_string(), name.to_owned());
            return Err(ArrangeError::NoGroup { structure, group });
        };
        let route = self.route(parent, node);
        let mut instance = parent;
        for inner in route {
            // The last of a group that is open already, else a new one.
            let open = self.instances[instance].items.iter().rev().find_map(|(at, item)| match item {
                Item::Group(group) if *at == inner => Some(*group),
                _ => None,
            });
            instance = open.unwrap_or_else(|| self.open(instance, inner));
        }
        Ok(self.open(instance, node))
    }

    /// The groups between an instance and a node.
    fn route(&self, instance: usize, node: usize) -> Vec<usize> {
        let outer = self.instances[instance].node;
        let from = outer.map_or(0, |outer| {
            self.around[node].iter().position(|group| *group == outer).map_or(0, |at| at + 1)
        });
        self.around[node][from..].to_vec()
    }

    fn open(&mut self, parent: usize, node: usize) -> usize {
        let instance = self.instances.len();
        self.instances.push(Instance { node: Some(node), parent: Some(parent), items: Vec::new() });
        self.instances[parent].items.push((node, Item::Group(instance)));
        instance
    }

    fn add(&mut self, number: usize, id: &str, group: Option<usize>) -> Result<(), ArrangeError> {
        let named = group.and_then(|group| self.named.get(group).copied());
        let inside = named.and_then(|instance| self.instances[instance].node);
        let id = <[u8; 3]>::try_from(id.as_bytes()).unwrap_or_default();
        let candidates: Vec<usize> = (0..self.plan.nodes.len())
            .filter(|node| self.plan.nodes[*node].id == id && id != [0; 3])
            .filter(|node| inside.is_none_or(|inside| self.around[*node].contains(&inside)))
            .collect();
        let from = named.filter(|named| !self.is_inside(self.last.0, *named)).unwrap_or(self.last.0);
        let Some(node) = self.nearest(&candidates, from) else {
            if let (Some(group), true) = (group, self.plan.has_segment(id)) {
                let segment = String::from_utf8_lossy(&id).into_owned();
                return Err(ArrangeError::NotInGroup { group: self.groups[group].name.clone(), segment });
            }
            // Local segments stay where they were written.
            let (instance, node) = match named {
                Some(named) if from == named => {
                    (named, self.instances[named].items.last().map_or(0, |item| item.0))
                }
                _ => self.last,
            };
            self.instances[instance].items.push((node, Item::Segment(number)));
            return Ok(());
        };
        let instance = self.instance_for(node, from, named.unwrap_or(0));
        self.instances[instance].items.push((node, Item::Segment(number)));
        self.last = (instance, node);
        Ok(())
    }

    fn is_inside(&self, mut instance: usize, outer: usize) -> bool {
        loop {
            if instance == outer {
                return true;
            }
            match self.instances[instance].parent {
                Some(parent) => instance = parent,
                None => return false,
            }
        }
    }

    /// The nodes of an instance and those around it.
    fn chain(&self, instance: usize) -> Vec<usize> {
        self.instances[instance].node.map_or(Vec::new(), |node| {
            let mut chain = self.around[node].clone();
            chain.push(node);
            chain
        })
    }

    /// The candidate that shares most open groups; then the first from the last place on, then the first.
    fn nearest(&self, candidates: &[usize], from: usize) -> Option<usize> {
        let chain = self.chain(from);
        let shared = |node: usize| {
            self.around[node].iter().zip(&chain).take_while(|(left, right)| left == right).count()
        };
        candidates
            .iter()
            .copied()
            .max_by_key(|node| (shared(*node), *node >= self.last.1, std::cmp::Reverse(*node)))
    }

    /// The instance that takes `node`: the innermost open group around it, and from there inwards; a new repetition
    /// where the segment is there as often as it may be.
    fn instance_for(&mut self, node: usize, from: usize, outermost: usize) -> usize {
        let mut instance = from;
        while let Some(own) = self.instances[instance].node
            && !self.around[node].contains(&own)
            && let Some(parent) = self.instances[instance].parent
        {
            instance = parent;
        }
        for inner in self.route(instance, node) {
            let open = self.instances[instance].items.iter().rev().find_map(|(at, item)| match item {
                Item::Group(group) if *at == inner => Some(*group),
                _ => None,
            });
            instance = open.unwrap_or_else(|| self.open(instance, inner));
        }
        let most = &self.plan.nodes[node];
        let there = self.instances[instance].items.iter().filter(|(at, _)| *at == node).count() as u32;
        if most.allows_more(there) && (there == 0 || !self.begins_group(node)) {
            return instance;
        }
        // Full: the innermost group around it that may repeat begins again.
        let mut full = instance;
        while full != outermost
            && let (Some(group), Some(parent)) = (self.instances[full].node, self.instances[full].parent)
        {
            let count = self.instances[parent].items.iter().filter(|(at, _)| *at == group).count() as u32;
            if self.plan.nodes[group].allows_more(count) {
                let mut fresh = self.open(parent, group);
                for inner in self.route(fresh, node) {
                    fresh = self.open(fresh, inner);
                }
                return fresh;
            }
            full = parent;
        }
        instance
    }

    /// Whether a segment is the first of its group, so that it begins the next one when it comes again.
    fn begins_group(&self, node: usize) -> bool {
        self.around[node].last().is_some_and(|group| group + 1 == node && self.plan.nodes[node].max == 1)
    }

    fn collect(&self, instance: usize, order: &mut Vec<usize>) {
        let mut items = self.instances[instance].items.clone();
        items.sort_by_key(|(node, _)| *node);
        for (_, item) in items {
            match item {
                Item::Segment(number) => order.push(number),
                Item::Group(group) => self.collect(group, order),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(structure: &str, written: &str, expected: &str) {
        let segments: Vec<(String, Option<usize>)> =
            written.split(' ').map(|id| (id[..3].to_owned(), None)).collect();
        let names: Vec<&str> = written.split(' ').collect();
        let version = Version::find("2.5.1").expect("a version");
        let order = arrange(version, structure, &segments, &[]).expect("an order");
        let told: Vec<&str> = order.into_iter().map(|number| names[number]).collect();
        assert_eq!(told.join(" "), expected);
    }

    #[test]
    fn segments_are_put_where_the_structure_has_them() {
        check("ADT_A01", "MSH PV1 PID EVN", "MSH EVN PID PV1");
        check("ADT_A01", "MSH IN1a IN2a IN1b PID EVN ZBD PV1", "MSH EVN ZBD PID PV1 IN1a IN2a IN1b");
        check(
            "ORU_R01",
            "MSH OBRa OBXa NTEa OBXb OBRb NTEb OBXc PID PV1",
            "MSH PID PV1 OBRa OBXa NTEa OBXb OBRb NTEb OBXc",
        );
        check("ORU_R01", "MSH PIDa OBRa OBXa PIDb OBRb", "MSH PIDa OBRa OBXa PIDb OBRb");
        check("NO_SUCH", "MSH PV1 PID", "MSH PV1 PID");
    }

    #[test]
    fn named_groups_take_segments_whenever_they_come() {
        let version = Version::find("2.5.1").expect("a version");
        let group = |name: &str, parent| BuiltGroup { name: name.to_owned(), parent };
        let groups = [
            group("ORDER_OBSERVATION", None),
            group("ORDER_OBSERVATION", None),
            group("OBSERVATION", Some(0)),
            group("OBSERVATION", Some(1)),
        ];
        let segments = [
            ("MSH", None),
            ("OBX", Some(3)),
            ("OBR", Some(0)),
            ("OBX", Some(2)),
            ("OBR", Some(1)),
            ("NTE", Some(2)),
            ("PID", None),
        ];
        let segments: Vec<_> = segments.map(|(id, group)| (id.to_owned(), group)).to_vec();
        let order = arrange(version, "ORU_R01", &segments, &groups).unwrap();
        assert_eq!(order, [0, 6, 2, 3, 5, 4, 1]);
        let wrong = |name: &str, parent| {
            let mut groups = groups.to_vec();
            groups.push(group(name, parent));
            arrange(version, "ORU_R01", &segments, &groups)
        };
        assert!(matches!(wrong("BED", None), Err(ArrangeError::NoGroup { .. })));
        assert!(matches!(wrong("PATIENT", Some(2)), Err(ArrangeError::NoGroup { .. })));
        let misplaced = [("MSH".to_owned(), None), ("PID".to_owned(), Some(2))];
        assert!(matches!(
            arrange(version, "ORU_R01", &misplaced, &groups),
            Err(ArrangeError::NotInGroup { .. })
        ));
    }
}
