//! Reports of failures: a message that failed is routed once more, to those whose filter names `fault.*`. Where somebody
//! takes it, the failure is theirs; where nobody does, it waits for a person as ever.

use orderly_rules::Properties;

use super::{Arrival, Route};
use crate::current::Current;
use crate::work::Fault;

/// Who takes the report. What the message was is told below `orig.`; `hl7.type` and the like are not set, so that only
/// filters that ask for faults see it.
pub(crate) fn routes(
    current: &Current,
    original: &Properties,
    fault: &Fault,
    arrival: Arrival<'_>,
) -> Vec<Route> {
    if !current.subscriptions.takes_faults() {
        return Vec::new();
    }
    let mut properties = Properties::new();
    for (name, values) in original.iter() {
        for value in values {
            properties.add(format!("orig.{name}"), value.clone());
        }
    }
    fault.promote(&mut properties);
    // Orchestrations listen at receive ports: a failure at one is for those who do so there. What fails on its way out
    // knows none.
    let came_by = original.text("port.name");
    if !came_by.is_empty() {
        properties.set("port.name", came_by);
    }
    current.routes(&properties, arrival)
}
