//! What validation asks of one version, resolved once: rows of small checks, code sets, plans of structures.
//!
//! The packed dictionary names things by text; here a check holds the numbers of its data type, its codes and the
//! row of its components, so that a field is checked without looking anything up by name. A version is resolved when
//! the first message of that version is checked, and takes 200 to 300 KiB then.

use std::borrow::Cow;
use std::sync::OnceLock;

use super::plan::Plan;
use super::{Element, NONE, Optionality, Row, Version, bytes, text, u16_at};

/// Nothing: no row, no codes, no rule.
pub(crate) const NOTHING: u16 = u16::MAX;
/// Numbers from here on are those of a profile, not of the version.
pub(crate) const LOCAL: u16 = 0x8000;
const LOCAL_LABEL: u32 = 1 << 31;

/// Tables that the header checks or that the facts hold only in part.
const TABLES_LEFT_OUT: [&str; 6] = ["0003", "0076", "0104", "0125", "0354", "0357"];

/// The form that a single value must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Any text.
    Text,
    /// NM.
    Number,
    /// SI.
    Sequence,
    /// DT.
    Date,
    /// DTM and TS.
    Moment,
    /// TM.
    Time,
    /// Another field tells.
    Varies,
}

/// Labels of values whose type another field tells.
const TOLD_LABEL: u32 = 1 << 30;
const TOLD: [&str; 7] = ["ST", "NM", "SI", "DT", "DTM", "TS", "TM"];

impl Form {
    pub(crate) fn of(datatype: &str) -> Self {
        match datatype {
            "NM" => Self::Number,
            "SI" => Self::Sequence,
            "DT" => Self::Date,
            "DTM" | "TS" => Self::Moment,
            "TM" => Self::Time,
            "varies" => Self::Varies,
            _ => Self::Text,
        }
    }
}

/// One field or component and what is asked of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check {
    pub(crate) form: Form,
    pub(crate) flags: Flags,
    /// How often it may repeat; 0 means any number.
    pub(crate) most: u16,
    /// Its codes, or [`NOTHING`].
    pub(crate) codes: u16,
    /// The row of its components, or [`NOTHING`] for a single value.
    pub(crate) row: u16,
    /// What a profile asks beyond the standard, or [`NOTHING`].
    pub(crate) rule: u16,
    /// Characters at most; 0 means any number.
    pub(crate) length: u32,
    /// Names it and its data type.
    pub(crate) label: u32,
}

/// Yes and no of a [`Check`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags(u8);

impl Flags {
    pub(crate) const REQUIRED: Self = Self(1);
    pub(crate) const WITHDRAWN: Self = Self(2);
    /// The standard has nothing at this number.
    pub(crate) const GAP: Self = Self(4);
    /// Its type is a single value; component separators in it are odd.
    pub(crate) const SINGLE: Self = Self(8);
    /// Its type can hold a code: ID, IS, ST.
    pub(crate) const CODED: Self = Self(16);
    /// It names a table, known here or not.
    pub(crate) const TABLE: Self = Self(32);
    /// Free text of a site: its content is not looked at.
    pub(crate) const RAW: Self = Self(64);
    /// Something in the row of its components must be there.
    pub(crate) const ASKS_INSIDE: Self = Self(128);

    pub(crate) fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    pub(crate) fn set(&mut self, flag: Self, on: bool) {
        if on { self.0 |= flag.0 } else { self.0 &= !flag.0 }
    }
}

impl Check {
    /// A single value of this data type, asked nothing else.
    pub(crate) fn of_type(datatype: &str, label: u32) -> Self {
        let mut flags = Flags::default();
        flags.set(Flags::SINGLE, !matches!(datatype, "varies" | "*" | "-" | "WD" | "CM"));
        flags.set(Flags::CODED, matches!(datatype, "ID" | "IS" | "ST"));
        Self {
            form: Form::of(datatype),
            flags,
            most: 0,
            codes: NOTHING,
            row: NOTHING,
            rule: NOTHING,
            length: 0,
            label,
        }
    }

    /// A value whose type is told by another field.
    pub(crate) fn told(datatype: &str) -> Self {
        let at = TOLD.iter().position(|known| *known == datatype).unwrap_or(0);
        Self::of_type(datatype, TOLD_LABEL | at as u32)
    }

    /// Whether anything is asked when it is empty.
    pub(crate) fn asks_when_empty(&self) -> bool {
        self.rule != NOTHING || self.flags.has(Flags::REQUIRED)
    }

    fn gap() -> Self {
        let mut gap = Self::of_type("ST", 0);
        gap.flags.set(Flags::GAP, true);
        gap
    }
}

/// The codes of one table: those of the version and those of the register.
#[derive(Clone, Debug, Default)]
pub(crate) struct CodeSet {
    pub(crate) name: Cow<'static, str>,
    /// Texts of the dictionary, ascending.
    ids: Box<[u16]>,
    /// Codes of a site, ascending.
    pub(crate) local: Vec<String>,
}

impl CodeSet {
    /// Whether a profile brought or changed it.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self.name, Cow::Owned(_))
    }

    /// Whether nobody lists its codes, so that each is taken.
    pub(crate) fn is_open(&self) -> bool {
        self.ids.is_empty() && self.local.is_empty()
    }

    pub(crate) fn contains(&self, code: &[u8]) -> bool {
        self.is_open()
            || self.ids.binary_search_by(|id| bytes(*id).cmp(code)).is_ok()
            || self.local.binary_search_by(|known| known.as_bytes().cmp(code)).is_ok()
    }

    /// A set of a site's own codes, perhaps on top of those of the standard, perhaps without some of these.
    pub(crate) fn local(name: &str, base: Option<&Self>, add: &[String], remove: &[String]) -> Self {
        let kept = |id: &&u16| !remove.iter().any(|code| code.as_bytes() == bytes(**id));
        let ids = base.map(|base| base.ids.iter().filter(kept).copied().collect()).unwrap_or_default();
        let mut local = add.to_vec();
        local.sort_unstable();
        Self { name: Cow::Owned(name.to_owned()), ids, local }
    }
}

/// Everything validation asks of one version.
pub(crate) struct Facts {
    version: Version,
    segments: Vec<([u8; 3], u16)>,
    /// Composite data types by name.
    types: Vec<(&'static str, u16)>,
    rows: Vec<(u32, u16)>,
    checks: Vec<Check>,
    codes: Vec<CodeSet>,
    structures: Vec<(&'static str, OnceLock<Plan>)>,
}

impl Facts {
    /// Those of a version, resolved when first asked for.
    pub(crate) fn of(version: Version) -> &'static Self {
        static ALL: [OnceLock<Facts>; super::VERSION_COUNT as usize] =
            [const { OnceLock::new() }; super::VERSION_COUNT as usize];
        ALL[usize::from(version.0)].get_or_init(|| Builder::new(version).build())
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    pub(crate) fn segment(&self, id: [u8; 3]) -> Option<u16> {
        let found = self.segments.binary_search_by_key(&id, |(known, _)| *known).ok()?;
        Some(self.segments[found].1)
    }

    pub(crate) fn datatype(&self, name: &str) -> Option<u16> {
        let found = self.types.binary_search_by_key(&name, |(known, _)| *known).ok()?;
        Some(self.types[found].1)
    }

    pub(crate) fn row(&self, row: u16) -> &[Check] {
        let (first, count) = self.rows[usize::from(row)];
        &self.checks[first as usize..first as usize + usize::from(count)]
    }

    pub(crate) fn codes(&self, codes: u16) -> &CodeSet {
        &self.codes[usize::from(codes)]
    }

    pub(crate) fn codes_named(&self, name: &str) -> Option<u16> {
        self.codes.iter().position(|codes| codes.name == name).map(|at| at as u16)
    }

    /// The plan of a structure, made when first asked for.
    pub(crate) fn plan(&self, structure: &str) -> Option<&Plan> {
        let found = self.structures.binary_search_by_key(&structure, |(name, _)| *name).ok()?;
        let (name, plan) = &self.structures[found];
        Some(plan.get_or_init(|| {
            let structure = self.version.structure(name).expect("the names are those of the version");
            Plan::of(structure)
        }))
    }

    /// Bytes on the heap, plans made so far included.
    pub(crate) fn heap_bytes(&self) -> usize {
        let codes: usize = self.codes.iter().map(|codes| 2 * codes.ids.len()).sum();
        let plans = self.structures.iter().filter_map(|(_, plan)| plan.get());
        self.segments.capacity() * size_of::<([u8; 3], u16)>()
            + self.types.capacity() * size_of::<(&str, u16)>()
            + self.rows.capacity() * size_of::<(u32, u16)>()
            + self.checks.capacity() * size_of::<Check>()
            + self.codes.capacity() * size_of::<CodeSet>()
            + codes
            + self.structures.capacity() * size_of::<(&str, OnceLock<Plan>)>()
            + plans.map(Plan::heap_bytes).sum::<usize>()
    }
}

/// The label of something a profile declares.
pub(crate) fn local_label(number: usize) -> u32 {
    LOCAL_LABEL | number as u32
}

/// The number of a profile's label.
pub(crate) fn is_local_label(label: u32) -> Option<usize> {
    (label & LOCAL_LABEL != 0).then_some((label & !LOCAL_LABEL) as usize)
}

/// Name and data type of an element of the standard.
pub(crate) fn label(label: u32) -> (&'static str, &'static str) {
    if label & TOLD_LABEL != 0 {
        return ("the value", TOLD[(label & !TOLD_LABEL) as usize]);
    }
    let element = Element(label as usize);
    (element.name(), element.datatype())
}

struct Builder {
    facts: Facts,
    /// Rows of the dictionary by their place, with their number here.
    known_rows: Vec<(usize, u16)>,
    /// Tables by the text of their name.
    known_codes: Vec<(u16, u16)>,
}

impl Builder {
    fn new(version: Version) -> Self {
        let facts = Facts {
            version,
            segments: Vec::new(),
            types: Vec::new(),
            rows: Vec::new(),
            checks: Vec::new(),
            codes: Vec::new(),
            structures: version.structures().map(|name| (name, OnceLock::new())).collect(),
        };
        Self { facts, known_rows: Vec::new(), known_codes: Vec::new() }
    }

    fn build(mut self) -> Facts {
        let version = self.facts.version;
        let types = version.map(4);
        for at in 0..types.count {
            let row = self.row(Row(types.value(at)));
            if text(types.key(at)) == "TS" {
                self.time_of(row);
            }
            self.facts.types.push((text(types.key(at)), row));
        }
        let segments = version.map(3);
        for at in 0..segments.count {
            if let Ok(id) = bytes(segments.key(at)).try_into() {
                let row = self.row(Row(segments.value(at)));
                self.facts.segments.push((id, row));
            }
        }
        self.facts.checks.shrink_to_fit();
        self.facts.rows.shrink_to_fit();
        self.facts
    }

    fn row(&mut self, row: Row) -> u16 {
        if let Some((_, number)) = self.known_rows.iter().find(|(known, _)| *known == row.0) {
            return *number;
        }
        // Its components first, so that its own checks stand together.
        let checks: Vec<Check> = (1..=row.count()).map(|number| self.check(row.element(number))).collect();
        let number = self.facts.rows.len() as u16;
        self.facts.rows.push((self.facts.checks.len() as u32, checks.len() as u16));
        self.facts.checks.extend(checks);
        self.known_rows.push((row.0, number));
        number
    }

    /// Versions before 2.5 call the time in a time stamp a text, and say in prose what a time is.
    fn time_of(&mut self, row: u16) {
        let (start, _) = self.facts.rows[usize::from(row)];
        if let Some(time) = self.facts.checks.get_mut(start as usize) {
            time.form = Form::Moment;
            time.flags.set(Flags::CODED, false);
        }
    }

    fn check(&mut self, element: Option<Element>) -> Check {
        let Some(element) = element else { return Check::gap() };
        let mut check = Check::of_type(element.datatype(), element.0 as u32);
        check.flags.set(Flags::REQUIRED, element.optionality() == Optionality::Required);
        check.flags.set(Flags::WITHDRAWN, element.optionality() == Optionality::Withdrawn);
        check.flags.set(Flags::TABLE, element.has_table());
        check.most = element.repetitions_max().unwrap_or(0);
        check.length = element.length_max().filter(|most| *most < 60_000).unwrap_or(0);
        check.codes = self.codes(element);
        if let Some(row) = self.facts.version.datatype_of(element) {
            check.row = self.row(row);
            let required = self.facts.row(check.row).iter().any(|part| part.flags.has(Flags::REQUIRED));
            check.flags.set(Flags::ASKS_INSIDE, required);
        }
        check
    }

    fn codes(&mut self, element: Element) -> u16 {
        let id = element.id(4);
        if id == NONE || TABLES_LEFT_OUT.contains(&text(id)) {
            return NOTHING;
        }
        if let Some((_, number)) = self.known_codes.iter().find(|(known, _)| *known == id) {
            return *number;
        }
        let mut ids: Vec<u16> = Vec::new();
        if let Some(own) = self.facts.version.codes_of(element) {
            ids.extend((0..own.count()).map(|at| own.id(at)));
        }
        if let Some(table) = element.register() {
            let count = usize::from(u16_at(super::SECTIONS.code_tables, table.0 + 4));
            ids.extend((0..count).map(|at| u16_at(super::SECTIONS.code_tables, table.0 + 8 + 4 * at)));
        }
        ids.sort_unstable();
        ids.dedup();
        let number = self.facts.codes.len() as u16;
        self.facts.codes.push(CodeSet {
            name: Cow::Borrowed(text(id)),
            ids: ids.into_boxed_slice(),
            local: Vec::new(),
        });
        self.known_codes.push((id, number));
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolved_version_says_what_the_dictionary_says() {
        for version in Version::all() {
            let facts = Facts::of(version);
            for id in version.segments() {
                let row = version.segment(id).unwrap();
                let checks = facts.row(facts.segment(id.as_bytes().try_into().unwrap()).unwrap());
                assert_eq!(checks.len(), row.count(), "{id}");
                for (number, element) in row.elements() {
                    let check = &checks[number - 1];
                    assert_eq!(label(check.label), (element.name(), element.datatype()));
                    let composite = version.datatype(element.datatype()).map(|row| row.count());
                    assert_eq!((check.row != NOTHING).then(|| facts.row(check.row).len()), composite);
                    if check.codes != NOTHING {
                        let codes = facts.codes(check.codes);
                        assert_eq!(Some(codes.name.as_ref()), element.table());
                        let own = version.codes(&codes.name).into_iter().flat_map(super::super::Codes::iter);
                        assert!(own.into_iter().all(|code| codes.contains(code.as_bytes())));
                        assert_eq!(codes.contains(b"no such code"), codes.is_open());
                    }
                }
            }
        }
    }

    #[test]
    fn a_version_stays_small_in_memory() {
        for version in Version::all() {
            let facts = Facts::of(version);
            for name in version.structures() {
                facts.plan(name);
            }
            let kib = facts.heap_bytes() / 1024;
            eprintln!("{}: {kib} KiB", version.name());
            assert!(kib < 600, "{}: {kib} KiB", version.name());
        }
    }
}
