//! The answer to an interchange as a message of its own: for the send port that the record of its sender names, and for
//! whoever subscribes to acknowledgments.

use super::*;
use crate::directory::SubscriberKind;
use crate::message_box::subscription::send_route;

impl Door {
    /// Whether others than the connection it came by get the answer to an interchange.
    pub(super) fn tells_others(&self, whole: &Interchange) -> bool {
        whole.inbound.acknowledgment.route.is_some()
            || self.receiver.running.load().subscriptions.takes_acks()
    }

    /// Publishes the answer once: its place in the interchange is taken in the same transaction.
    pub(super) async fn publish_answer(&self, whole: &Interchange, answer: Vec<u8>) -> Result<(), Away> {
        let Ok(message) = Message::parse(answer) else { return Ok(()) };
        let (sender, stored) = tokio::sync::oneshot::channel();
        let reply = Reply::call(move |told| drop(sender.send(told)));
        self.arrive_at(ANSWER, whole, |arrival| self.submit_answer(whole, message, arrival, reply))?;
        match stored.await {
            Ok(Told::Stored(_)) => Ok(()),
            Ok(Told::NotStored) | Err(_) => Err(Away::NotStored),
        }
    }

    fn submit_answer(&self, whole: &Interchange, message: Message, arrival: &Arrival<'_>, reply: Reply) {
        let routes = self.routes_of_answer(whole, &message, arrival);
        if routes.is_empty() {
            return reply.answer(Answer::Nothing);
        }
        let header = message.header();
        let is_batch = message.is_envelope();
        let text = if is_batch { "a batch of acknowledgments" } else { "one acknowledgment for the batch" };
        let incoming = Incoming {
            id: arrival.id,
            body: Bytes::from_owner(Whole(message.clone())),
            source: self.source(arrival),
            parent: None,
            party: whole.party.clone(),
            message_type: if is_batch { BATCH_TYPE.to_owned() } else { message_type(&header) },
            control_id: (!header.control_id.is_empty()).then_some(header.control_id),
            patient: None,
            charset: 0,
            context: None,
            retention: arrival.current.retention(whole.party.as_deref(), &Properties::default()),
            duplicate: None,
            place: arrival.peer.place,
            routes,
            parked: None,
            config_version: arrival.current.configuration.version,
            detail: Detail::Cause {
                code: "ack.generated".to_owned(),
                text: text.to_owned(),
                sha256: Some([0; 32]),
            },
            settles: Settles::default(),
            parsed: Some(message),
        };
        self.submit(incoming, arrival, move |published| match published {
            Ok(_) => reply.answer(Answer::Nothing),
            Err(_) => reply.not_stored(Answer::Nothing),
        });
    }

    fn routes_of_answer(&self, whole: &Interchange, answer: &Message, arrival: &Arrival<'_>) -> Vec<Route> {
        let (current, party) = (arrival.current, whole.party.as_deref());
        let rules = &current.configuration.rules;
        let mut properties = promote::promote(rules, answer, arrival.port, arrival.location, party, &[]);
        properties.set("ack.generated", true);
        if answer.is_envelope() {
            describe_batch(&mut properties, whole.found.survey.envelope.word(), &answer.header().control_id);
        }
        let source = source_key(arrival, party);
        let place = message_box::Arrival { message: arrival.id, order_source: &source };
        let mut routes = current.routes(&properties, place);
        let port = whole.inbound.acknowledgment.route.as_deref();
        let named = port.and_then(|port| {
            let subscriber = current.directory.subscriber(SubscriberKind::SendPort, port)?;
            Some((subscriber.id, &current.configuration.send_ports.get(port)?.order))
        });
        if let Some((subscriber, order)) = named
            && routes.iter().all(|route| route.subscriber != subscriber)
        {
            routes.extend(send_route(subscriber, order, &properties, place, &current.directory));
        }
        routes
    }
}
