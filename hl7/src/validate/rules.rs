//! What one message is checked against: the facts of its version, and a profile's changes to them.

use crate::dictionary::Version;
use crate::dictionary::facts::{Check, CodeSet, Facts, LOCAL, is_local_label, label};
use crate::dictionary::plan::Plan;
use crate::profile::{Asked, Overlay, Profile};
use crate::{Header, Message};

#[derive(Clone, Copy)]
pub(crate) struct Rules<'p> {
    pub(crate) facts: &'static Facts,
    pub(crate) overlay: Option<&'p Overlay>,
    profile: Option<&'p Profile>,
}

impl<'p> Rules<'p> {
    pub(crate) fn of(message: &Message, profile: Option<&'p Profile>) -> Self {
        let header = message.head();
        let version = Version::nearest(&header.version);
        let overlay = profile.and_then(|profile| profile.overlay(version, header));
        Self { facts: Facts::of(version), overlay, profile }
    }

    pub(crate) fn version(self) -> Version {
        self.facts.version()
    }

    pub(crate) fn segment(self, id: [u8; 3]) -> Option<u16> {
        self.overlay.and_then(|overlay| overlay.segment(id)).or_else(|| self.facts.segment(id))
    }

    pub(crate) fn row(self, row: u16) -> &'p [Check] {
        match self.overlay {
            Some(overlay) if row >= LOCAL => overlay.row(row),
            _ => self.facts.row(row),
        }
    }

    pub(crate) fn codes(self, codes: u16) -> &'p CodeSet {
        match self.overlay {
            Some(overlay) => overlay.codes(codes),
            None => self.facts.codes(codes),
        }
    }

    pub(crate) fn datatype(self, name: &str) -> Option<u16> {
        self.overlay.and_then(|overlay| overlay.datatype(name)).or_else(|| self.facts.datatype(name))
    }

    /// What the profile asks of a check.
    pub(crate) fn asked(self, check: &Check) -> Option<&'p Asked> {
        self.overlay.and_then(|overlay| overlay.asked(check.rule))
    }

    /// Whether the profile declares what is checked, so that what is wrong with it is the profile's to say.
    pub(crate) fn is_local(self, check: &Check) -> bool {
        self.overlay.is_some() && is_local_label(check.label).is_some()
    }

    pub(crate) fn name(self, check: &Check) -> &'p str {
        self.label(check).0
    }

    pub(crate) fn datatype_name(self, check: &Check) -> &'p str {
        self.label(check).1
    }

    fn label(self, check: &Check) -> (&'p str, &'p str) {
        match (is_local_label(check.label), self.overlay) {
            (Some(number), Some(overlay)) => overlay.label(number),
            _ => label(check.label),
        }
    }

    /// The structure that a message follows: MSH-9.3 when it is one, else that of its event, else `code_event`.
    pub(crate) fn plan_of(self, header: &Header) -> Option<&'p Plan> {
        let (own, named) = self.profile.map_or((None, None), |profile| profile.plan(header));
        if own.is_some() {
            return own;
        }
        let known = named.and_then(|name| self.facts.plan(name));
        known.or_else(|| {
            let structure = super::structure_of(self.version(), header)?;
            self.facts.plan(structure.name())
        })
    }
}
