//! Which rows of an index pass their tests of one kind on one property.

use std::collections::HashMap;

use super::bits::{Bits, Set};
use super::key::{Class, Fit, Key};
use super::{Condition, Test};
use crate::promote::Properties;
use crate::value::Value;

/// Rows between two remembered sums of a range.
const MARK: usize = 256;

/// What tests of one dimension have in common; a row stands in one dimension at most once for each `turn`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) property: String,
    pub(super) kind: Kind,
    /// 0 for the first test of this kind in a row, 1 for the second: both must hold.
    pub(super) turn: usize,
}

/// Kinds of tests that one look-up answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    Equal(Class),
    Not(Class),
    Prefix,
    Above(Class),
    Below(Class),
    Present,
    Absent,
}

impl Kind {
    pub(super) fn of(test: &Test) -> Self {
        match test {
            Test::OneOf(values) => Self::Equal(Class::of_all(values)),
            Test::Not(values) => Self::Not(Class::of_all(values)),
            Test::Prefix(_) => Self::Prefix,
            Test::Above(limit) => Self::Above(Class::of(limit)),
            Test::Below(limit) => Self::Below(Class::of(limit)),
            Test::Present(true) => Self::Present,
            Test::Present(false) => Self::Absent,
        }
    }

    /// Whether rows are named that fail, not rows that pass.
    fn names_failures(self) -> bool {
        matches!(self, Self::Not(_) | Self::Present | Self::Absent)
    }
}

/// The tests of one place over all rows.
#[derive(Debug)]
pub(super) struct Dimension {
    property: String,
    kind: Kind,
    /// Rows that test nothing here.
    free: Bits,
    /// Each different test with its rows: for values that no look-up is made for.
    tests: Vec<(Condition, Set)>,
    found: Found,
}

#[derive(Debug)]
enum Found {
    ByKey(HashMap<Key, Set>),
    /// Beginnings of texts, and the different lengths of them in bytes.
    ByPrefix(HashMap<String, Set>, Vec<usize>),
    /// Limits in the order in which a growing (above) or falling (below) value passes them.
    ByLimit(Limits),
    /// All rows that test presence or absence.
    Whole(Set),
    /// Nothing to look up by.
    ByTest,
}

#[derive(Debug)]
struct Limits {
    limits: Vec<(Key, u32)>,
    /// The rows of the first `MARK`, of the first two `MARK`s, and so on.
    sums: Vec<Bits>,
}

impl Dimension {
    pub(super) fn new(place: Place, tests: Vec<(&Test, u32)>, count: usize) -> Self {
        let mut free = Bits::all(count);
        tests.iter().for_each(|(_, row)| free.remove(*row));
        let found = Found::new(place.kind, &tests, count);
        let mut different: HashMap<String, (&Test, Vec<u32>)> = HashMap::new();
        for (test, row) in tests {
            different.entry(format!("{test:?}")).or_insert_with(|| (test, Vec::new())).1.push(row);
        }
        let property = &place.property;
        let tests = different.into_values().map(|(test, rows)| {
            (Condition { property: property.clone(), test: test.clone() }, Set::new(rows, count))
        });
        Self { tests: tests.collect(), property: place.property, kind: place.kind, free, found }
    }

    /// Takes the rows away that fail here. `passed` is memory to work in.
    pub(super) fn narrow(&self, rows: &mut Bits, properties: &Properties, passed: &mut Bits) {
        let values = properties.get(&self.property);
        if self.kind.names_failures() {
            self.take_failures(rows, values, properties);
            return;
        }
        passed.copy(&self.free);
        if !values.is_empty() && !self.look_up(values, &mut |set| set.add_to(passed)) {
            match &self.found {
                Found::ByLimit(limits) if self.is_plain(values) => limits.add_to(passed, values, self.kind),
                _ => {
                    let hold = self.tests.iter().filter(|(test, _)| test.holds(properties));
                    hold.for_each(|(_, set)| set.add_to(passed));
                }
            }
        }
        rows.keep(passed);
    }

    fn take_failures(&self, rows: &mut Bits, values: &[Value], properties: &Properties) {
        match (&self.found, self.kind) {
            (Found::Whole(set), kind) => {
                if values.is_empty() == (kind == Kind::Present) {
                    set.remove_from(rows);
                }
            }
            _ if self.look_up(values, &mut |set| set.remove_from(rows)) => {}
            _ => {
                let fail = self.tests.iter().filter(|(test, _)| !test.holds(properties));
                fail.for_each(|(_, set)| set.remove_from(rows));
            }
        }
    }

    /// Tells the sets of all values; false where a value cannot be looked up.
    fn look_up(&self, values: &[Value], tell: &mut dyn FnMut(&Set)) -> bool {
        match &self.found {
            Found::ByKey(sets) if self.is_plain(values) => {
                for value in values {
                    let Fit::Key(key) = self.class().fit(value) else { continue };
                    sets.get(&key).into_iter().for_each(&mut *tell);
                }
                true
            }
            Found::ByPrefix(sets, lengths) => {
                let texts = values.iter().filter_map(|value| match value {
                    Value::Text(text) => Some(text.as_str()),
                    _ => None,
                });
                for text in texts {
                    let beginnings = lengths
                        .iter()
                        .map_while(|length| (*length <= text.len()).then(|| text.get(..*length)));
                    beginnings.flatten().filter_map(|text| sets.get(text)).for_each(&mut *tell);
                }
                true
            }
            _ => false,
        }
    }

    fn is_plain(&self, values: &[Value]) -> bool {
        let class = self.class();
        values.iter().all(|value| !matches!(class.fit(value), Fit::Odd))
    }

    fn class(&self) -> Class {
        match self.kind {
            Kind::Equal(class) | Kind::Not(class) | Kind::Above(class) | Kind::Below(class) => class,
            Kind::Prefix | Kind::Present | Kind::Absent => Class::Text,
        }
    }
}

impl Found {
    fn new(kind: Kind, tests: &[(&Test, u32)], count: usize) -> Self {
        match kind {
            Kind::Present | Kind::Absent => {
                Self::Whole(Set::new(tests.iter().map(|(_, row)| *row).collect(), count))
            }
            Kind::Prefix => {
                let prefixes = tests.iter().filter_map(|(test, row)| match test {
                    Test::Prefix(prefix) => Some((prefix.clone(), *row)),
                    _ => None,
                });
                let sets = by(prefixes, count);
                let mut lengths: Vec<usize> = sets.keys().map(String::len).collect();
                lengths.sort_unstable();
                lengths.dedup();
                Self::ByPrefix(sets, lengths)
            }
            Kind::Equal(Class::Other) | Kind::Not(Class::Other) => Self::ByTest,
            Kind::Above(Class::Other) | Kind::Below(Class::Other) => Self::ByTest,
            Kind::Equal(class) | Kind::Not(class) => {
                let keys = tests.iter().flat_map(|(test, row)| {
                    let values = match test {
                        Test::OneOf(values) | Test::Not(values) => values.as_slice(),
                        _ => &[],
                    };
                    values.iter().filter_map(move |value| Some((class.fit(value).key()?, *row)))
                });
                Self::ByKey(by(keys, count))
            }
            Kind::Above(class) | Kind::Below(class) => {
                let limits = tests.iter().filter_map(|(test, row)| match test {
                    Test::Above(limit) | Test::Below(limit) => Some((class.fit(limit).key()?, *row)),
                    _ => None,
                });
                Self::ByLimit(Limits::new(limits.collect(), matches!(kind, Kind::Below(_)), count))
            }
        }
    }
}

fn by<K: Eq + std::hash::Hash>(pairs: impl Iterator<Item = (K, u32)>, count: usize) -> HashMap<K, Set> {
    let mut rows: HashMap<K, Vec<u32>> = HashMap::new();
    for (key, row) in pairs {
        rows.entry(key).or_default().push(row);
    }
    rows.into_iter().map(|(key, rows)| (key, Set::new(rows, count))).collect()
}

impl Limits {
    fn new(mut limits: Vec<(Key, u32)>, is_falling: bool, count: usize) -> Self {
        limits.sort_unstable();
        if is_falling {
            limits.reverse();
        }
        let mut sum = Bits::none(count);
        let sums = limits.chunks_exact(MARK).map(|chunk| {
            chunk.iter().for_each(|(_, row)| sum.add(*row));
            sum.clone()
        });
        Self { sums: sums.collect(), limits }
    }

    /// Adds the rows whose limit one of the values passes.
    fn add_to(&self, passed: &mut Bits, values: &[Value], kind: Kind) {
        let (class, is_falling) = match kind {
            Kind::Below(class) => (class, true),
            Kind::Above(class) => (class, false),
            _ => return,
        };
        let passes = |value: &Value| {
            let key = class.fit(value).key()?;
            Some(self.limits.partition_point(|(limit, _)| match is_falling {
                true => *limit > key,
                false => *limit < key,
            }))
        };
        let most = values.iter().filter_map(passes).max().unwrap_or(0);
        if let Some(whole) = (most / MARK).checked_sub(1) {
            passed.add_all(&self.sums[whole]);
        }
        self.limits[most / MARK * MARK..most].iter().for_each(|(_, row)| passed.add(*row));
    }
}
