//! What is given up at a send port goes to whoever wants reports of failures, where somebody does.

use super::SendWork;
use super::batch::{Batch, Context};
use crate::configuration::SendPort;
use crate::message_box::Arrival;
use crate::message_box::fault;
use crate::work::{Fault, NewWork};

impl Batch {
    /// Gives a message that failed for good to the subscribers of failures. False where there are none: then it waits
    /// for a person. A report that cannot be delivered is not reported again.
    pub(super) fn report(&mut self, work: &SendWork, code: &str, context: &Context<'_>) -> bool {
        let current = context.current;
        let Some(known) = current.directory.subscriber_by_id(work.subscriber) else { return false };
        let settings = current.configuration.send_ports.get(&known.name);
        if settings.is_none_or(wants_faults) || !current.subscriptions.takes_faults() {
            return false;
        }
        let original = current.configuration.rules.promote(&work.message);
        let party = settings.and_then(|port| port.party.as_deref()).unwrap_or_default();
        let report = Fault {
            code: code.to_owned(),
            step: "send".to_owned(),
            port: known.name.clone(),
            party: party.to_owned(),
            class: "delivery".to_owned(),
        };
        let arrival = Arrival { message: work.message_id, order_source: &known.name };
        let routes = fault::routes(current, &original, &report, arrival);
        if routes.is_empty() {
            return false;
        }
        self.work.extend(routes.into_iter().map(|route| NewWork {
            detail: route.detail,
            ..NewWork::message(route.lane, work.message_id, route.key)
        }));
        self.reported.push((work.message_id.0, work.message.clone()));
        self.leave(work, context);
        if work.parked.is_none() {
            // Its key was taken for held as soon as the attempt had failed.
            self.released.push((work.lane, work.key));
        }
        true
    }
}

fn wants_faults(port: &SendPort) -> bool {
    let filter = port.filter.as_ref();
    filter.is_some_and(|filter| filter.properties().any(|property| property.starts_with("fault.")))
}
