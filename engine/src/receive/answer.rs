//! Messages that answer one of ours: to the send that waits on this node, to the instance that waits in the
//! database, or kept as late or foreign when nobody waits.

use super::*;
use crate::ids::InstanceId;
use crate::tracking::{self, Entry, Kind};
use crate::work;
use orderly_hl7::acknowledge;

/// An open expectation that an answer fits.
struct Expected {
    message: i64,
    instance: i64,
    send: i32,
    lane: i32,
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
        let Ok(expected) = self.expected(&known, &answer).await else {
            // The database is away: nothing is stored, so nothing is answered; the sender repeats.
            return reply.answer(Answer::Close);
        };
        let current = self.receiver().running.load_full();
        let configuration = Arc::clone(&current.configuration);
        let Some((door, port, location)) = self.place(&configuration) else {
            return reply.answer(Answer::Close);
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
            None => super::routes(&arrival, &known),
            Some(_) => Vec::new(),
        };
        routes.extend(expected.iter().filter_map(|open| route_to(open, &answer, &current)));
        let nobody = routes.is_empty() && known.header.message_type == "ACK";
        let mut incoming = door.incoming(&known, &arrival, routes, code);
        if nobody {
            incoming.parked = None;
        }
        // Read from the box before the borrow of the arrival ends.
        let (id, now, hash) = (arrival.id, local(&arrival), self.peer().connection);
        let published = self.receiver().message_box.publish(hash, incoming).await;
        match published {
            Ok(Published::Stored) => {
                self.track(id, &answer, expected.as_ref(), nobody).await;
                reply.answer(out);
            }
            Ok(Published::Repeat { .. }) => reply.answer(out),
            Err(error) => reply.answer(not_stored(&error, &known, &control_id, now)),
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
            message: row.message_id,
            instance: row.instance,
            send: row.send,
            lane: row.lane,
        }))
    }

    /// Closes the expectation and says what the answer is to. What fails here is only told later: the answer
    /// itself and the work it causes are committed.
    async fn track(&self, id: MessageId, answer: &acknowledge::Answer, to: Option<&Expected>, nobody: bool) {
        if to.is_none() && !nobody {
            return;
        }
        let result = async {
            let store = &self.receiver().store;
            let mut tx = store.begin("receive: note an answer").await?;
            let kind = if to.is_some() { Kind::AnswerReceived } else { Kind::LateAnswer };
            let text = match to {
                Some(_) => format!("{} for a message that an instance sent", answer.code),
                None => format!("{} that nobody waits for (any more)", answer.code),
            };
            let code = if to.is_some() { "ack.received" } else { "ack.foreign" };
            let detail = Detail::Cause { code: code.to_owned(), text, sha256: None };
            let version = self.receiver().running.load().configuration.version;
            let mut entry = Entry::new(kind, version, detail).about(id);
            if let Some(open) = to {
                sqlx::query!(
                    "DELETE FROM expectation WHERE message_id = $1 AND instance = $2 AND send = $3",
                    open.message,
                    open.instance,
                    open.send
                )
                .execute(tx.connection())
                .await?;
                entry.instance = Some(InstanceId(open.instance));
            }
            tracking::record(&mut tx, &[entry]).await?;
            tx.commit().await
        };
        if let Err(error) = result.await {
            tracing::warn!(error = &error as &dyn std::error::Error, "Could not track an answer");
        }
    }
}

fn route_to(open: &Expected, answer: &acknowledge::Answer, current: &Current) -> Option<Route> {
    Some(Route {
        subscriber: current.directory.subscriber_of_lane(open.lane)?.id,
        lane: open.lane,
        key: open.instance,
        detail: Some(work::Detail::Answered {
            send: u32::try_from(open.send).ok()?,
            code: answer.code.clone(),
            text: answer.text.clone(),
        }),
        instance: Some(InstanceId(open.instance)),
    })
}
