//! What each version of HL7 v2 from 2.1 to 2.8.2 declares: structures, segments, data types, code tables.
//!
//! The facts are embedded and read in place, without allocation; pages nobody asks for are never loaded. What
//! validation needs of a version is resolved from them when it is first asked for ([`facts`]). Local segments and
//! profiles of a site come on top ([`crate::profile`]); they have no place in the embedded data.

pub(crate) mod facts;
pub(crate) mod plan;

const PACKED: &[u8] = include_bytes!("../dictionary/dictionary.bin");
const NONE: u16 = 0xFFFF;

/// The sections of the packed data; `dictionary/build.py` writes and describes them.
struct Sections {
    starts: &'static [u8],
    strings: &'static [u8],
    elements: &'static [u8],
    rows: &'static [u8],
    structures: &'static [u8],
    lists: &'static [u8],
    code_tables: &'static [u8],
    maps: &'static [u8],
    versions: &'static [u8],
}

static SECTIONS: Sections = Sections {
    starts: section(0),
    strings: section(1),
    elements: section(2),
    rows: section(3),
    structures: section(4),
    lists: section(5),
    code_tables: section(6),
    maps: section(7),
    versions: section(8),
};

const fn section(number: usize) -> &'static [u8] {
    let (_, rest) = PACKED.split_at(u32_at(PACKED, 8 + 8 * number) as usize);
    rest.split_at(u32_at(PACKED, 12 + 8 * number) as usize).0
}

const fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

const fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Text number `id`.
fn text(id: u16) -> &'static str {
    std::str::from_utf8(bytes(id)).expect("the packer wrote UTF-8")
}

fn bytes(id: u16) -> &'static [u8] {
    let at = 4 * usize::from(id);
    &SECTIONS.strings[u32_at(SECTIONS.starts, at) as usize..u32_at(SECTIONS.starts, at + 4) as usize]
}

/// The first place in `0..count` whose key is not below the wanted one.
fn lower_bound(count: usize, below: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low.midpoint(high);
        if below(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

/// One sorted map of a version.
#[derive(Clone, Copy)]
struct Map {
    first: usize,
    count: usize,
}

impl Map {
    fn at(entry: usize) -> Self {
        let versions = SECTIONS.versions;
        Self { first: u32_at(versions, entry) as usize, count: u32_at(versions, entry + 4) as usize }
    }

    fn key(self, at: usize) -> u16 {
        u16_at(SECTIONS.maps, 8 * (self.first + at))
    }

    fn value(self, at: usize) -> usize {
        u32_at(SECTIONS.maps, 8 * (self.first + at) + 4) as usize
    }

    fn get(self, key: u16) -> Option<usize> {
        let found = lower_bound(self.count, |at| self.key(at) < key);
        (found < self.count && self.key(found) == key).then(|| self.value(found))
    }

    /// The value under a text; keys are numbered in the order of their texts.
    fn find(self, wanted: &str) -> Option<usize> {
        self.position(wanted).map(|at| self.value(at))
    }

    fn position(self, wanted: &str) -> Option<usize> {
        let wanted = wanted.as_bytes();
        let found = lower_bound(self.count, |at| bytes(self.key(at)) < wanted);
        (found < self.count && bytes(self.key(found)) == wanted).then_some(found)
    }

    /// The value under `message_type^trigger_event`, without writing that text.
    fn find_event(self, message_type: &str, trigger_event: &str) -> Option<usize> {
        let wanted = || message_type.bytes().chain([b'^']).chain(trigger_event.bytes());
        let key = |at: usize| bytes(self.key(at)).iter().copied();
        let found = lower_bound(self.count, |at| key(at).lt(wanted()));
        (found < self.count && key(found).eq(wanted())).then(|| self.value(found))
    }

    fn keys(self) -> impl Iterator<Item = &'static str> {
        (0..self.count).map(move |at| text(self.key(at)))
    }
}

const VERSION_COUNT: u8 = 13;
const VERSION_BYTES: usize = 4 + 6 * 8;

/// One version of the standard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Version(u8);

impl Version {
    /// All versions, oldest first.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..VERSION_COUNT).map(Self)
    }

    /// The version called `name`, as in MSH-12.
    pub fn find(name: &str) -> Option<Self> {
        Self::all().find(|version| bytes(version.name_id()) == name.as_bytes())
    }

    /// The version to read a message by: its own, or the newest one not above it, or the oldest.
    pub fn nearest(name: &str) -> Self {
        if let Some(own) = Self::find(name) {
            return own;
        }
        let numbers =
            |text: &str| -> Vec<u32> { text.split('.').map(|part| part.parse().unwrap_or(0)).collect() };
        let wanted = numbers(name);
        Self::all().filter(|version| numbers(version.name()) <= wanted).last().unwrap_or(Self(0))
    }

    /// The name, as in MSH-12.
    pub fn name(self) -> &'static str {
        text(self.name_id())
    }

    fn name_id(self) -> u16 {
        u16_at(SECTIONS.versions, usize::from(self.0) * VERSION_BYTES)
    }

    /// Bytes on the heap that checking messages of this version has taken so far; the embedded facts are not on it.
    pub fn heap_bytes(self) -> usize {
        facts::Facts::of(self).heap_bytes()
    }

    /// Its place among all versions, oldest first.
    pub(crate) fn number(self) -> u8 {
        self.0
    }

    fn map(self, kind: usize) -> Map {
        Map::at(usize::from(self.0) * VERSION_BYTES + 4 + kind * 8)
    }

    /// The message structure called `name`, for instance `ORU_R01`.
    pub fn structure(self, name: &str) -> Option<Structure> {
        let (map, at) = (self.map(0), self.map(0).position(name)?);
        Some(Structure { name: map.key(at), at: map.value(at) })
    }

    /// The names of all message structures.
    pub fn structures(self) -> impl Iterator<Item = &'static str> {
        self.map(0).keys()
    }

    /// The structure that carries a trigger event: `ADT` and `A04` give `ADT_A01`.
    pub fn structure_of(self, message_type: &str, trigger_event: &str) -> Option<&'static str> {
        self.map(1).find_event(message_type, trigger_event).map(|value| text(value as u16))
    }

    /// Whether any event of this version has this message type.
    pub fn has_message_type(self, message_type: &str) -> bool {
        // Keys are sorted as texts, so those of one type stand together.
        let events = self.map(1);
        let at = lower_bound(events.count, |at| text(events.key(at)) < message_type);
        let next = (at < events.count).then(|| text(events.key(at)));
        let rest = next.and_then(|key| key.strip_prefix(message_type));
        message_type == "ACK" || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('^'))
    }

    /// What a trigger event means, for people.
    pub fn event_name(self, message_type: &str, trigger_event: &str) -> Option<&'static str> {
        self.map(2).find_event(message_type, trigger_event).map(|value| text(value as u16))
    }

    /// A segment.
    pub fn segment(self, id: &str) -> Option<Row> {
        self.map(3).find(id).map(Row)
    }

    pub(crate) fn datatype_of(self, element: Element) -> Option<Row> {
        self.map(4).get(element.id(2)).map(Row)
    }

    pub(crate) fn codes_of(self, element: Element) -> Option<Codes> {
        self.map(5).get(element.id(4)).map(Codes)
    }

    /// The ids of all segments.
    pub fn segments(self) -> impl Iterator<Item = &'static str> {
        self.map(3).keys()
    }

    /// A composite data type; none for primitives such as `ST`.
    pub fn datatype(self, name: &str) -> Option<Row> {
        self.map(4).find(name).map(Row)
    }

    /// The codes that this version gives a table; none before 2.3.1.
    pub fn codes(self, table: &str) -> Option<Codes> {
        self.map(5).find(table).map(Codes)
    }
}

/// A segment or a composite data type: a row of elements.
#[derive(Clone, Copy, Debug)]
pub struct Row(usize);

impl Row {
    /// What it is, for people.
    pub fn name(self) -> &'static str {
        text(u16_at(SECTIONS.rows, self.0))
    }

    /// How many fields or components are declared.
    pub fn count(self) -> usize {
        usize::from(u16_at(SECTIONS.rows, self.0 + 2))
    }

    /// Field or component `number`, from 1.
    pub fn element(self, number: usize) -> Option<Element> {
        if number == 0 || number > self.count() {
            return None;
        }
        let id = u16_at(SECTIONS.rows, self.0 + 2 + 2 * number);
        (id != NONE).then_some(Element(usize::from(id) * 16))
    }

    /// All declared elements with their numbers.
    pub fn elements(self) -> impl Iterator<Item = (usize, Element)> {
        (1..=self.count()).filter_map(move |number| Some((number, self.element(number)?)))
    }
}

/// Whether an element must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optionality {
    /// R: never empty.
    Required,
    /// O: may be empty.
    Optional,
    /// C: depends; the facts do not say on what.
    Conditional,
    /// W: no longer used.
    Withdrawn,
}

/// One field or component.
#[derive(Clone, Copy, Debug)]
pub struct Element(usize);

impl Element {
    fn id(self, offset: usize) -> u16 {
        u16_at(SECTIONS.elements, self.0 + offset)
    }

    /// What it is, for people.
    pub fn name(self) -> &'static str {
        text(self.id(0))
    }

    /// Its data type; `varies` where another field tells.
    pub fn datatype(self) -> &'static str {
        text(self.id(2))
    }

    /// The table its codes come from.
    pub fn table(self) -> Option<&'static str> {
        Some(self.id(4)).filter(|id| *id != NONE).map(text)
    }

    pub(crate) fn has_table(self) -> bool {
        self.id(4) != NONE
    }

    /// The register's entry for its table.
    pub(crate) fn register(self) -> Option<Table> {
        Map::at(usize::from(VERSION_COUNT) * VERSION_BYTES + 4).get(self.id(4)).map(Table)
    }

    /// Whether it must be there.
    pub fn optionality(self) -> Optionality {
        match SECTIONS.elements[self.0 + 6] {
            b'R' => Optionality::Required,
            b'C' => Optionality::Conditional,
            b'W' | b'X' => Optionality::Withdrawn,
            _ => Optionality::Optional,
        }
    }

    /// How often it may repeat; none means any number.
    pub fn repetitions_max(self) -> Option<u16> {
        Some(self.id(8)).filter(|most| *most != NONE)
    }

    /// How many characters it may have, where the version says so.
    pub fn length_max(self) -> Option<u32> {
        Some(u32_at(SECTIONS.elements, self.0 + 12)).filter(|most| *most > 0)
    }
}

/// A message structure: a tree of groups and segments.
#[derive(Clone, Copy, Debug)]
pub struct Structure {
    name: u16,
    at: usize,
}

impl Structure {
    /// The name, for instance `ORU_R01`.
    pub fn name(self) -> &'static str {
        text(self.name)
    }

    /// What it is for, for people; may be empty.
    pub fn title(self) -> &'static str {
        text(u16_at(SECTIONS.structures, self.at))
    }

    /// Its top nodes.
    pub fn nodes(self) -> Nodes {
        let count = usize::from(u16_at(SECTIONS.structures, self.at + 2));
        Nodes { at: self.at + 4, end: self.at + 4 + 8 * count }
    }
}

/// The nodes of one level, in order.
#[derive(Clone, Copy, Debug)]
pub struct Nodes {
    at: usize,
    end: usize,
}

impl Iterator for Nodes {
    type Item = Node;

    fn next(&mut self) -> Option<Node> {
        if self.at >= self.end {
            return None;
        }
        let node = Node { at: self.at };
        self.at = node.end();
        Some(node)
    }
}

/// What a node of a structure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A segment.
    Segment,
    /// A group: its nodes in order.
    Group,
    /// A choice: exactly one of its nodes.
    Choice,
}

/// A segment or group at its place in a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    at: usize,
}

impl Node {
    fn end(self) -> usize {
        self.at + 8 + 8 * usize::from(u16_at(SECTIONS.structures, self.at + 6))
    }

    /// Segment id or group name.
    pub fn name(self) -> &'static str {
        text(u16_at(SECTIONS.structures, self.at))
    }

    /// How often it must be there.
    pub fn min(self) -> u32 {
        u32::from(SECTIONS.structures[self.at + 2])
    }

    /// How often it may be there; none means any number.
    pub fn max(self) -> Option<u32> {
        Some(u32::from(SECTIONS.structures[self.at + 3])).filter(|most| *most != 255)
    }

    /// What it is.
    pub fn kind(self) -> Kind {
        match SECTIONS.structures[self.at + 4] {
            0 => Kind::Segment,
            1 => Kind::Group,
            _ => Kind::Choice,
        }
    }

    /// The nodes inside a group or choice.
    pub fn nodes(self) -> Nodes {
        Nodes { at: self.at + 8, end: self.end() }
    }
}

/// The codes one version gives a table.
#[derive(Clone, Copy, Debug)]
pub struct Codes(usize);

impl Codes {
    /// The table's name.
    pub fn name(self) -> &'static str {
        text(u16_at(SECTIONS.lists, self.0))
    }

    fn count(self) -> usize {
        usize::from(u16_at(SECTIONS.lists, self.0 + 2))
    }

    fn id(self, at: usize) -> u16 {
        u16_at(SECTIONS.lists, self.0 + 4 + 2 * at)
    }

    /// Whether nothing is listed.
    pub fn is_empty(self) -> bool {
        self.count() == 0
    }

    /// Whether `code` is one of them.
    pub fn contains(self, code: &str) -> bool {
        let code = code.as_bytes();
        let found = lower_bound(self.count(), |at| bytes(self.id(at)) < code);
        found < self.count() && bytes(self.id(found)) == code
    }

    /// All codes in the order of their bytes.
    pub fn iter(self) -> impl Iterator<Item = &'static str> {
        (0..self.count()).map(move |at| text(self.id(at)))
    }
}

/// A table of the register, which has all versions together and a text for each code.
#[derive(Clone, Copy, Debug)]
pub struct Table(usize);

/// Table `number` of the register, for instance `0001`.
pub fn table(name: &str) -> Option<Table> {
    let map = Map::at(usize::from(VERSION_COUNT) * VERSION_BYTES + 4);
    map.find(name).map(Table)
}

impl Table {
    /// The table's name.
    pub fn name(self) -> &'static str {
        text(u16_at(SECTIONS.code_tables, self.0))
    }

    /// Whether it belongs to HL7, so that its codes are closed; user tables are suggestions.
    pub fn is_hl7(self) -> bool {
        text(u16_at(SECTIONS.code_tables, self.0 + 2)).starts_with("HL7")
    }

    /// All codes with their texts; empty for tables kept by others.
    pub fn codes(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let count = usize::from(u16_at(SECTIONS.code_tables, self.0 + 4));
        let id = move |at: usize| text(u16_at(SECTIONS.code_tables, self.0 + 8 + 2 * at));
        (0..count).map(move |at| (id(2 * at), id(2 * at + 1)))
    }

    /// What a code means.
    pub fn meaning(self, code: &str) -> Option<&'static str> {
        self.codes().find(|(known, _)| *known == code).map(|(_, meaning)| meaning)
    }
}

#[cfg(test)]
mod tests;
