//! Element names of components: the data type that the version gives a place.

use std::borrow::Cow;

use crate::Segment;
use crate::dictionary::{Element, Row, Version};

/// What components are called where the standard has no type.
const UNKNOWN: &str = "UNKNOWN";

/// The data type of one place.
#[derive(Clone, Debug)]
pub(crate) struct Type<'m> {
    name: Cow<'m, str>,
    row: Option<Row>,
}

impl<'m> Type<'m> {
    /// The type of a field; where another field tells (OBX-5, MFE-4), that one is asked.
    pub(crate) fn of_field(version: Version, row: Option<Row>, segment: &Segment<'m>, number: usize) -> Self {
        let declared = row.and_then(|row| row.element(number));
        match declared.map(|element| element.datatype()) {
            Some("varies") => {
                let teller = match (segment.id(), number) {
                    ("OBX", 5) => segment.get(2, 1, 1, 1).into_text(),
                    ("MFE", 4) => segment.get(5, 1, 1, 1).into_text(),
                    _ => Cow::Borrowed(""),
                };
                Self::named(version, teller)
            }
            _ => Self::declared(version, declared),
        }
    }

    /// The type that the facts give an element.
    fn declared(version: Version, element: Option<Element>) -> Self {
        let name = element.map_or("", |element| element.datatype());
        match element.filter(|_| is_usable(name)) {
            Some(element) => Self { name: Cow::Borrowed(name), row: version.datatype_of(element) },
            None => Self { name: Cow::Borrowed(UNKNOWN), row: None },
        }
    }

    fn named(version: Version, name: Cow<'m, str>) -> Self {
        if !is_usable(&name) {
            return Self { name: Cow::Borrowed(UNKNOWN), row: None };
        }
        let row = version.datatype(&name);
        Self { name, row }
    }

    /// Its name, without the suffix that the facts give a shorter form; `UNKNOWN` where the standard has none.
    pub(crate) fn name(&self) -> &str {
        self.name.strip_suffix("_SIMPLE").unwrap_or(&self.name)
    }

    /// Whether it has components of its own.
    pub(crate) fn is_composite(&self) -> bool {
        self.row.is_some()
    }

    /// The type of component `number`.
    pub(crate) fn component(&self, version: Version, number: usize) -> Self {
        Self::declared(version, self.row.and_then(|row| row.element(number)))
    }
}

/// Whether a type can name an element.
fn is_usable(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name != "WD"
}
