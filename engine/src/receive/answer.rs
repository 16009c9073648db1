//! Messages that answer one of ours: to the send that waits on this node, to the instance that waits in the
//! database, or kept as late or foreign when nobody waits.

use super::*;
use crate::ids::InstanceId;
use crate::message_box::ClosedExpectation;
use crate::tracking::{Entry, Kind};
use crate::work;
use orderly_hl7::acknowledge;

/// An open expectation that an answer fits.
struct Expected {
    row: ClosedExpectation,
    lane: i32,
}

/// What came of an attempt to store an answer.
enum Told {
    Answer(Answer),
    NotStored(Answer),
    LookAgain,
}

impl Door {
    /// Finds out who waits for an answer, then stores it and hands it on.
    pub(super) fn correlate(
        &self,
        known: Known,
        answer: acknowledge::Answer,
        arrival: &Arrival<'_>,
        reply: Reply,
    ) {
        let is_ack = known.header.message_type == "ACK";
        if self.receiver.awaited.hand(&answer.control_id, known.message.clone()) && is_ack {
            // The delivery that waits stores it with its outcome.
            return reply.answer(Answer::Nothing);
        }
        let again = self.again(arrival);
        self.receiver.tasks.spawn(async move { again.correlate(known, answer, reply).await });
    }
}

impl keep::Again {
    async fn correlate(self, known: Known, answer: acknowledge::Answer, reply: Reply) {
        loop {
            match self.settle(&known, &answer).await {
                Told::Answer(out) => return reply.answer(out),
                Told::NotStored(out) => return reply.not_stored(out),
                Told::LookAgain => {}
            }
        }
    }

    /// Stores an answer, hands it to who waits for it and closes the wait, in one transaction.
    async fn settle(&self, known: &Known, answer: &acknowledge::Answer) -> Told {
        let Ok(expected) = self.expected(known, answer).await else {
            // The database is away: nothing is stored, so nothing is answered; the sender repeats.
            return Told::NotStored(Answer::Close);
        };
        let current = self.receiver().running.load_full();
        let configuration = Arc::clone(&current.configuration);
        let Some((door, port, location)) = self.place(&configuration) else {
            return Told::NotStored(Answer::Close);
        };
        let store = &self.receiver().store;
        let arrival = Arrival {
            current: &current,
            port,
            location,
            peer: self.peer(),
            id: store.ids().message(),
            now: store.clock().now(),
        };
        let control_id = arrival.id.to_string();
        let (out, code) =
            answers(&known.inbound, &control_id, &arrival).to(&known.message, &known.header, &known.verdict);
        let mut routes = match known.refusal {
            None => super::routes(&arrival, known),
            Some(_) => Vec::new(),
        };
        routes.extend(expected.iter().filter_map(|open| route_to(open, answer, &current)));
        let nobody = expected.is_none() && routes.is_empty() && known.header.message_type == "ACK";
        let mut incoming = door.incoming(known, &arrival, routes, code);
        if nobody {
            incoming.parked = None;
        }
        incoming.settles.entries.extend(told_of(&arrival, answer, expected.as_ref(), nobody));
        incoming.settles.rows.expectations.extend(expected.map(|open| open.row));
        // Read from the box before the borrow of the arrival ends.
        let (now, hash) = (local(&arrival), self.peer().connection);
        match self.receiver().message_box.publish(hash, incoming).await {
            Ok(Published::Stored | Published::Repeat { .. } | Published::Taken) => Told::Answer(out),
            // Another answer closed the wait meanwhile: this one looks again, and finds nobody.
            Err(Error::Overtaken { .. }) => Told::LookAgain,
            Err(error) => Told::NotStored(not_stored(&error, known, &control_id, now)),
        }
    }

    async fn expected(
        &self,
        known: &Known,
        answer: &acknowledge::Answer,
    ) -> Result<Option<Expected>, sqlx::Error> {
        let rows = sqlx::query!(
            "SELECT message_id, instance, send, lane, kind
               FROM expectation
              WHERE control_id = $1
              ORDER BY opened_at",
            answer.control_id
        )
        .fetch_all(self.receiver().store.pool())
        .await?;
        let structure = known.properties.text("hl7.structure");
        let fits = |kind: &str| match kind.strip_prefix("reply:") {
            // An error answer to a request ends the wait for its reply; a mere AA does not.
            Some(wanted) => wanted == structure || !matches!(answer.code.as_str(), "AA" | "CA"),
            None => match kind {
                "accept" => answer.code.starts_with('C'),
                "application" => answer.code.starts_with('A'),
                "transport" => false,
                _ => true,
            },
        };
        let row = rows.into_iter().find(|row| fits(&row.kind));
        Ok(row.map(|row| Expected {
            row: ClosedExpectation { message: row.message_id, instance: row.instance, send: row.send },
            lane: row.lane,
        }))
    }
}

/// What an answer is to, as tracking tells it.
fn told_of(
    arrival: &Arrival<'_>,
    answer: &acknowledge::Answer,
    to: Option<&Expected>,
    nobody: bool,
) -> Option<Entry> {
    let (kind, code, text) = match to {
        Some(_) => (
            Kind::AnswerReceived,
            "ack.received",
            format!("{} for a message that an instance sent", answer.code),
        ),
        None if nobody => {
            (Kind::LateAnswer, "ack.foreign", format!("{} that nobody waits for (any more)", answer.code))
        }
        None => return None,
    };
    let detail = Detail::Cause { code: code.to_owned(), text, sha256: None };
    let mut entry = Entry::new(kind, arrival.current.configuration.version, detail).about(arrival.id);
    entry.instance = to.map(|open| InstanceId(open.row.instance));
    Some(entry)
}

fn route_to(open: &Expected, answer: &acknowledge::Answer, current: &Current) -> Option<Route> {
    Some(Route {
        subscriber: current.directory.subscriber_of_lane(open.lane)?.id,
        lane: open.lane,
        key: open.row.instance,
        detail: Some(work::Detail::Answered {
            send: u32::try_from(open.row.send).ok()?,
            code: answer.code.clone(),
            text: answer.text.clone(),
        }),
        instance: Some(InstanceId(open.row.instance)),
    })
}
