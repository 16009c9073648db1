//! Reports of failures: a message that failed is routed once more, to those whose filter names `fault.*`. Where somebody
//! takes it, the failure is theirs; where nobody does, it waits for a person as ever.

use orderly_rules::Properties;

use super::{Arrival, Route};
use crate::current::Current;

/// What failed, where, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault<'a> {
    /// Stable code, as in `parked.code`.
    pub(crate) code: &'a str,
    /// `receive`, `route`, `send`.
    pub(crate) step: &'a str,
    /// Receive port or send port.
    pub(crate) port: &'a str,
    /// Party on the other side.
    pub(crate) party: &'a str,
    /// `refused`, `not_routed`, `delivery`.
    pub(crate) class: &'a str,
}

/// Who takes the report. What the message was is told below `orig.`; `hl7.type` and the like are not set, so that only
/// filters that ask for faults see it.
pub(crate) fn routes(
    current: &Current,
    original: &Properties,
    fault: Fault<'_>,
    arrival: Arrival<'_>,
) -> Vec<Route> {
    if !current.subscriptions.takes_faults() {
        return Vec::new();
    }
    let mut properties = Properties::new();
    for (name, values) in original.iter() {
        for value in values {
            properties.add(&format!("orig.{name}"), value.clone());
        }
    }
    properties.set("fault.code", fault.code);
    properties.set("fault.step", fault.step);
    properties.set("fault.port", fault.port);
    properties.set("fault.party", fault.party);
    properties.set("fault.class", fault.class);
    current.routes(&properties, arrival)
}
