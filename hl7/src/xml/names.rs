//! Element names of components: the data type that the version gives a place.

use std::borrow::Cow;

use crate::Segment;
use crate::dictionary::{Row, Version};

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
    pub(crate) fn of_field(version: Version, segment: &Segment<'m>, number: usize) -> Self {
        let declared = version.segment(segment.id()).and_then(|row| row.element(number));
        match declared.map(|element| element.datatype()) {
            Some("varies") => {
                let teller = match (segment.id(), number) {
                    ("OBX", 5) => segment.get(2, 1, 1, 1).into_text(),
                    ("MFE", 4) => segment.get(5, 1, 1, 1).into_text(),
                    _ => Cow::Borrowed(""),
                };
                Self::named(version, teller)
            }
            Some(name) => Self::named(version, Cow::Borrowed(name)),
            None => Self::named(version, Cow::Borrowed("")),
        }
    }

    fn named(version: Version, name: Cow<'m, str>) -> Self {
        let usable = name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
            && name.starts_with(|c: char| c.is_ascii_uppercase());
        if !usable || name == "WD" {
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

    /// The element of component `number`: `CX.4`.
    pub(crate) fn component_name(&self, number: usize) -> String {
        format!("{}.{number}", self.name())
    }

    /// The type of component `number`.
    pub(crate) fn component(&self, version: Version, number: usize) -> Self {
        let declared = self.row.and_then(|row| row.element(number));
        let name = declared.map_or("", |element| element.datatype());
        Self::named(version, Cow::Borrowed(name))
    }
}
