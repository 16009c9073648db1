//! One message of an interchange.

use super::*;

impl Door {
    /// Takes one message of an interchange through the door.
    pub(super) fn take_part(
        &self,
        part: Part,
        number: i32,
        whole: &Interchange,
        is_deadly: bool,
        reply: Reply,
    ) -> Result<Taken, Away> {
        self.arrive_at(number, whole, |arrival| match part {
            Part::Message { bytes, .. } if is_deadly => self.keep_deadly(bytes, arrival, reply),
            Part::Message { bytes, .. } => self.receive_one(bytes, arrival, reply),
            Part::TooLong { head, .. } => self.keep_broken(Input::TooLarge(head), arrival, reply),
            Part::Stray { bytes, .. } | Part::Envelope { bytes, .. } => {
                let finding = unreadable_finding(&orderly_hl7::Unreadable::NoHeader);
                self.keep_unreadable(bytes, finding, "unreadable", arrival, reply)
            }
        })
    }

    /// After a crash: whether the process ended too often while this message was read.
    pub(super) async fn is_deadly_part(
        &self,
        part: &Part,
        number: i32,
        whole: &Interchange,
    ) -> Result<bool, Away> {
        let Part::Message { bytes, .. } = part else { return Ok(false) };
        if !self.receiver.suspicion.is_raised() {
            return Ok(false);
        }
        let current = self.receiver.running.load_full();
        let (port, location) = self.find(&current)?;
        let peer = whole.peer_at(number);
        let id = self.receiver.store.ids().message();
        let arrival = Arrival { current: &current, port, location, peer: &peer, id };
        self.is_deadly(bytes, &arrival).await.map_err(Away::from)
    }

    /// Does something as what arrives at a place of the interchange, by the configuration that runs now.
    pub(super) fn arrive_at<T>(
        &self,
        number: i32,
        whole: &Interchange,
        take: impl FnOnce(&Arrival<'_>) -> T,
    ) -> Result<T, Away> {
        let current = self.receiver.running.load_full();
        let (port, location) = self.find(&current)?;
        let peer = whole.peer_at(number);
        let id = self.receiver.store.ids().message();
        Ok(take(&Arrival { current: &current, port, location, peer: &peer, id }))
    }

    /// Builds the answer to a message that an earlier delivery stored.
    pub(super) fn answer_again(
        &self,
        part: Part,
        number: i32,
        whole: &Interchange,
        reply: Reply,
    ) -> Result<Taken, Away> {
        let answer = self.examined(part, number, whole, |examined, arrival| {
            let control_id = arrival.id.to_string();
            match examined {
                Examined::Known(known) => {
                    let routed = is_routed(&known, arrival.peer);
                    compose(&known, arrival, arrival.id).answer(routed)
                }
                Examined::Unreadable(bytes, finding) => {
                    let inbound = arrival.location.inbound(None);
                    let answers = answers(inbound, None, &control_id, arrival, arrival.id);
                    Answer::Ack(answers.to_unreadable(&bytes, Some(finding), AckCode::AR))
                }
            }
        })?;
        reply.answer(answer);
        Ok(Taken::Queued)
    }
}
