//! Acknowledgments that come on the connection of a send port and ask for a commit of their own (MSH-15): stored first,
//! answered then.

use super::made::made;
use super::*;
use crate::configuration::SendPort;

/// An acknowledgment that is stored, and what its sender reads on the connection.
#[derive(Debug)]
pub(crate) struct Committed {
    /// The message it is stored as; that of the first one for a repeat.
    pub(crate) stored: MessageId,
    /// Our commit.
    pub(crate) commit: Vec<u8>,
}

impl Receiver {
    /// Stores an acknowledgment to `sent` whose MSH-15 asks for a commit; none where it does not ask, or where the record
    /// of its sender does not say `of_acks`.
    ///
    /// # Errors
    ///
    /// Fails when it could not be stored; then nothing may be answered.
    pub(crate) async fn commit_of_ack(
        &self,
        message: &Message,
        sent: Option<MessageId>,
        port: &SendPort,
    ) -> Result<Option<Committed>, Error> {
        let header = message.header();
        if header.message_type != "ACK" || header.accept_ack.is_empty() {
            return Ok(None);
        }
        let current = self.running.load_full();
        let configuration = &current.configuration;
        let party = port.party.as_ref().and_then(|party| configuration.parties.get(party));
        let Some(settings) = party.map(|party| &party.inbound.acknowledgment).filter(|own| own.of_acks)
        else {
            return Ok(None);
        };
        let answer = |id: MessageId| {
            let control_id = id.to_string();
            let answers = Answers {
                settings,
                control_id: &control_id,
                now: local(configuration, id.made_at()),
                help_desk: None,
                expected_sequence: None,
                part: Part::Whole,
            };
            let composed = answers.to(message, &header, &Verdict::Accepted);
            composed.acks.into_iter().next()
        };
        let id = self.store.ids().message();
        let Some(told) = answer(id).map(|ack| ack.code.as_str()) else { return Ok(None) };
        let text = format!("{told} was sent back for it");
        let mut incoming = made(message.clone(), (id, sent), configuration.version, "ack.received", text);
        incoming.source = current.directory.source(SourceKind::SendPort, &port.name).unwrap_or_default();
        incoming.party = port.party.clone();
        // A repeat, because our commit was lost, reads the first one again.
        incoming.duplicate = Some(DuplicateKey::of(&[
            &port.name,
            &header.sending_app,
            &header.sending_facility,
            &header.control_id,
        ]));
        if port.ack.publish {
            let mut properties = configuration.rules.promote(message);
            properties.set("port.name", port.name.as_str());
            let place = message_box::Arrival { message: id, order_source: &port.name };
            incoming.routes = current.routes(&properties, place);
        }
        let stored = match self.message_box.publish(id.0.cast_unsigned(), incoming).await? {
            Published::Stored | Published::Taken => id,
            Published::Repeat { first, .. } => first,
        };
        Ok(answer(stored).map(|commit| Committed { stored, commit: commit.bytes }))
    }
}
