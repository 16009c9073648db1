//! The bytes of a value, which separators they have, and the place they stand at.

use std::fmt::Write;

use crate::segment::Reading;

pub(super) const PLAIN: u8 = 1;
pub(super) const REPETITION: u8 = 2;
pub(super) const COMPONENT: u8 = 4;
pub(super) const SUBCOMPONENT: u8 = 8;
/// Escapes and bytes beyond ASCII: the value must be decoded before it is looked at.
pub(super) const ENCODED: u8 = 16;

pub(super) fn classes(reading: Reading) -> [u8; 256] {
    let mut classes = [PLAIN; 256];
    classes[0x80..].fill(ENCODED);
    classes[0x1B] = ENCODED;
    let delimiters = reading.delimiters;
    classes[usize::from(delimiters.repetition)] = REPETITION;
    classes[usize::from(delimiters.component)] = COMPONENT;
    if let Some(subcomponent) = delimiters.subcomponent {
        classes[usize::from(subcomponent)] = SUBCOMPONENT;
    }
    if let Some(escape) = delimiters.escape {
        classes[usize::from(escape)] = ENCODED;
    }
    classes
}

/// The path of the value in hand, written only when something is found.
#[derive(Default)]
pub(super) struct Place {
    pub(super) occurrence: u32,
    pub(super) field: usize,
    pub(super) repetition: usize,
    pub(super) component: usize,
    pub(super) subcomponent: usize,
}

impl Place {
    pub(super) fn at(&mut self, field: usize, repetition: usize, component: usize, subcomponent: usize) {
        (self.field, self.repetition, self.component, self.subcomponent) =
            (field, repetition, component, subcomponent);
    }

    pub(super) fn path(&self, id: &str) -> String {
        let mut path = id.to_owned();
        if self.occurrence > 1 {
            let _ = write!(path, "[{}]", self.occurrence);
        }
        let _ = write!(path, "-{}", self.field);
        if self.repetition > 1 {
            let _ = write!(path, "[{}]", self.repetition);
        }
        if self.component > 0 {
            let _ = write!(path, ".{}", self.component);
        }
        if self.subcomponent > 0 {
            let _ = write!(path, ".{}", self.subcomponent);
        }
        path
    }
}

/// Some bytes of a field and which classes of bytes they have.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'m> {
    pub(super) raw: &'m [u8],
    pub(super) mask: u8,
}

impl Bytes<'_> {
    pub(super) fn has(self, class: u8) -> bool {
        self.mask & class != 0
    }

    /// Nothing but separators, which carry no meaning at the end.
    pub(super) fn is_blank(self) -> bool {
        !self.has(PLAIN | ENCODED)
    }

    pub(super) fn is_delete(self) -> bool {
        self.raw == b"\"\""
    }
}
