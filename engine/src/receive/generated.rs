//! Acknowledgments that others than the waiting sender get: by subscription, or through the send port that the record of
//! the sender names. They are stored with the message or not at all.

use super::*;
use crate::acknowledge::Ack;
use crate::directory::SubscriberKind;
use crate::message_box::subscription::send_route;
use orderly_rules::Properties;

impl Door {
    /// The acknowledgments of a message as messages of their own; `parent` is what they answer.
    pub(super) fn generated(
        &self,
        known: &Known,
        composed: &Composed,
        arrival: &Arrival<'_>,
        parent: MessageId,
    ) -> Vec<Incoming> {
        let route = known.inbound.acknowledgment.route.as_deref();
        if is_gathered(arrival.peer) {
            return Vec::new();
        }
        if route.is_none() && !arrival.current.subscriptions.takes_acks() {
            return Vec::new();
        }
        composed
            .acks
            .iter()
            .filter_map(|ack| self.generated_one(known, ack, route, arrival, parent))
            .collect()
    }

    fn generated_one(
        &self,
        known: &Known,
        ack: &Ack,
        route: Option<&str>,
        arrival: &Arrival<'_>,
        parent: MessageId,
    ) -> Option<Incoming> {
        let message = Message::parse(ack.bytes.as_slice()).ok()?;
        let id = self.receiver.store.ids().message();
        let properties = self.properties_of_ack(&message, known, arrival);
        let source = source_key(arrival, known.party.as_deref());
        let place = message_box::Arrival { message: id, order_source: &source };
        let mut routes = arrival.current.routes(&properties, place);
        if let Some(port) = route.filter(|_| !ack.code.is_accept()) {
            let directory = &arrival.current.directory;
            let subscriber = directory.subscriber(SubscriberKind::SendPort, port)?;
            if routes.iter().all(|route| route.subscriber != subscriber.id) {
                let order = &arrival.current.configuration.send_ports.get(port)?.order;
                routes.extend(send_route(subscriber.id, order, &properties, place, directory));
            }
        }
        if routes.is_empty() {
            return None;
        }
        let header = message.head();
        let text = format!("{} to the sender", ack.code.as_str());
        Some(Incoming {
            id,
            body: bytes::Bytes::copy_from_slice(message.bytes()),
            source: self.source(arrival),
            parent: Some(parent),
            party: known.party.clone(),
            message_type: message_type(header),
            control_id: Some(header.control_id.clone()),
            patient: None,
            charset: 0,
            context: None,
            // As long as the message that it is about.
            retention: arrival.current.retention(known.party.as_deref(), &known.properties),
            duplicate: None,
            place: None,
            routes,
            parked: None,
            config_version: arrival.current.configuration.version,
            detail: Detail::Cause { code: "ack.generated".to_owned(), text, sha256: Some([0; 32]) },
            settles: Settles::default(),
            parsed: Some(message),
        })
    }

    fn properties_of_ack(&self, ack: &Message, known: &Known, arrival: &Arrival<'_>) -> Properties {
        let rules = &arrival.current.configuration.rules;
        let party = known.party.as_deref();
        let mut properties = promote::promote(rules, ack, arrival.port, arrival.location, party, &[]);
        properties.set("ack.generated", true);
        properties
    }
}
