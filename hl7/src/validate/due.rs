//! What a profile asks at a place once the conditions around it are known.

use super::nearby::Nearby;
use crate::profile::{Condition, Predicate, Usage};

/// A usage, and why it is so.
#[derive(Clone, Copy, Default)]
pub(super) struct Due<'p> {
    /// None where the profile leaves it to the standard.
    pub(super) usage: Option<Usage>,
    /// The condition that decided, and whether it held.
    pub(super) why: Option<(&'p Condition, bool)>,
}

impl Predicate {
    /// What it asks around a place.
    pub(super) fn decide(&self, near: &mut Nearby<'_>) -> Due<'_> {
        let holds = self.condition.holds(near);
        let usage = if holds { self.holds } else { self.otherwise };
        Due { usage, why: Some((&self.condition, holds)) }
    }
}

impl Due<'_> {
    /// ` when PV1-2 = I`, ` unless PV1-2 = I`, or nothing.
    pub(super) fn reason(self) -> String {
        match self.why {
            Some((condition, true)) => format!(" when {condition}"),
            Some((condition, false)) => format!(" unless {condition}"),
            None => String::new(),
        }
    }
}
