//! Messages that answer one of ours: to the send that waits on this node, to the instance that waits in the
//! database, or kept as late or foreign when nobody waits.

use super::exchange::{Standing, way_back};
use super::*;
use crate::ids::InstanceId;
use crate::message_box::{ClosedExpectation, NotedOutcome, Response};
use crate::node::wake;
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

impl keep::Again {
    /// Finds out who waits for an answer, stores it, and hands it on.
    pub(super) async fn correlate(self, known: Known, answer: acknowledge::Answer, reply: Reply) {
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
        let awaited = &self.receiver().awaited;
        // A send of this node that is under way comes first: it closes its own wait in the database.
        let sent = awaited.sent(&answer.control_id).filter(|_| known.header().message_type == "ACK");
        let expected = match sent {
            Some(_) => Ok(None),
            None => self.expected(known, answer).await,
        };
        let Ok(expected) = expected else {
            // The database is away: nothing is stored, so nothing is answered; the sender repeats.
            return Told::NotStored(Answer::Close);
        };
        let unclaimed = expected.is_none() && sent.is_none();
        let item = match unclaimed {
            true => crate::collect::awaited_item(&self.receiver().store, &answer.control_id).await,
            false => Ok(None),
        };
        let Ok(item) = item else { return Told::NotStored(Answer::Close) };
        let current = self.receiver().running.load_full();
        let configuration = Arc::clone(&current.configuration);
        let Some((door, arrival)) = self.arrive(&current, &configuration) else {
            return Told::NotStored(Answer::Close);
        };
        let standing = match (&expected, sent) {
            (None, None) => self.standing(known, answer, &arrival).await,
            _ => Ok(Standing::Apart),
        };
        let Ok(standing) = standing else { return Told::NotStored(Answer::Close) };
        if let Standing::Refused(code, reason) = &standing {
            return self.refuse(known, (code, reason), &door, &arrival).await;
        }
        let composed = compose(known, &arrival, arrival.id);
        let routes = self.routes(known, answer, &arrival, expected.as_ref(), &standing);
        let whose = match (&expected, sent) {
            (Some(open), _) => Whose::Instance(open),
            (None, Some(_)) => Whose::Delivery,
            (None, None) if item.is_some() => Whose::Batch,
            (None, None) if matches!(standing, Standing::Closes { .. }) => Whose::Asker,
            (None, None) if routes.is_empty() && known.header().message_type == "ACK" => Whose::Nobody,
            (None, None) => Whose::Subscribers,
        };
        let mut incoming = door.incoming(known, &arrival, routes, composed.code);
        incoming.parent = sent;
        let Ok(whose) = self.place_beside(whose, answer, &arrival, &mut incoming).await else {
            return Told::NotStored(Answer::Close);
        };
        close(&standing, &mut incoming, known, answer);
        incoming.settles.entries.extend(told_of(&arrival, answer, &whose));
        if !matches!(whose, Whose::Subscribers) {
            incoming.parked = None;
        }
        if let Some(item) = item {
            let (collector, number) = (item.collector, item.number);
            incoming.settles.entries.push(item.told(&answer.code, configuration.version));
            let code = answer.code.clone();
            incoming.settles.rows.outcomes.push(NotedOutcome { collector, number, code });
        }
        let elsewhere = matches!(whose, Whose::OtherNode);
        incoming.settles.rows.expectations.extend(expected.map(|open| open.row));
        match self.receiver().message_box.publish(self.peer().connection, incoming).await {
            Ok(published) => {
                self.stored(known, &arrival, (published, composed), (&standing, elsewhere), answer).await
            }
            // Another answer closed the wait meanwhile: this one looks again, and finds nobody.
            Err(Error::Overtaken { .. }) => Told::LookAgain,
            Err(error) => Told::NotStored(self.not_stored(&error, known)),
        }
    }

    /// Puts what no wait of this node names beside the message that it is to. Says who waits, now that this is known.
    async fn place_beside<'e>(
        &self,
        whose: Whose<'e>,
        answer: &acknowledge::Answer,
        arrival: &Arrival<'_>,
        incoming: &mut Incoming,
    ) -> Result<Whose<'e>, sqlx::Error> {
        match whose {
            Whose::Nobody => {
                incoming.parent = self.sent_elsewhere(answer).await?;
                Ok(if incoming.parent.is_some() { Whose::OtherNode } else { Whose::Nobody })
            }
            Whose::Subscribers => {
                incoming.parent = self.asked(answer).await?;
                incoming.settles.entries.extend(incoming.parent.is_none().then(|| unasked(arrival)));
                Ok(whose)
            }
            known => Ok(known),
        }
    }

    /// Who gets an answer: subscribers, the asker's send port, the instance that waits.
    fn routes(
        &self,
        known: &Known,
        answer: &acknowledge::Answer,
        arrival: &Arrival<'_>,
        expected: Option<&Expected>,
        standing: &Standing,
    ) -> Vec<Route> {
        let mut routes = match known.refusal {
            None => super::routes(arrival, known),
            Some(_) => Vec::new(),
        };
        if let Standing::Closes { route, .. } = standing {
            let source = source_key(arrival, known.party.as_deref());
            let place = message_box::Arrival { message: arrival.id, order_source: &source };
            let back = way_back(route.as_deref(), &known.properties, place, arrival.current);
            let is_new = |back: &Route| routes.iter().all(|known| known.subscriber != back.subscriber);
            let back = back.filter(is_new);
            routes.extend(back);
        }
        routes.extend(expected.and_then(|open| route_to(open, answer, arrival.current)));
        routes
    }

    /// An answer is stored: who waits for it gets it, and its sender is told.
    async fn stored(
        &self,
        known: &Known,
        arrival: &Arrival<'_>,
        (published, composed): (Published, Composed),
        (standing, elsewhere): (&Standing, bool),
        answer: &acknowledge::Answer,
    ) -> Told {
        // After a crash the receiver may repeat an answer that we stored and did not use yet.
        let (stored, composed) = match published {
            Published::Stored | Published::Taken => (arrival.id, composed),
            Published::Repeat { first, .. } => (first, compose(known, arrival, first)),
        };
        let heard = Heard { message: known.message.clone(), stored };
        if !self.receiver().awaited.hand(&answer.control_id, heard)
            && elsewhere
            && let Err(error) = wake::tell_answer(&self.receiver().store, stored).await
        {
            // Who waits for it sends its message again, and this answer comes again.
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "Could not tell other nodes of an answer"
            );
        }
        if let Standing::Closes { question, .. } = standing {
            // Where this fails, the next look finds what is still owed.
            let _ = self.receiver().hand_back(*question, known.message.bytes()).await;
        }
        Told::Answer(composed.answer(false))
    }

    /// A response that closes no exchange is kept for a person, and its sender told so.
    async fn refuse(
        &self,
        known: &Known,
        (code, reason): (&str, &str),
        door: &Door,
        arrival: &Arrival<'_>,
    ) -> Told {
        let verdict = Verdict::OutOfSequence(vec![finding("MSA-2", Severity::Error, reason)]);
        let to = |id| careful::compose_in_row(known, arrival, id, &verdict, None, Part::Whole);
        let composed = to(arrival.id);
        let mut incoming = door.incoming(known, arrival, Vec::new(), composed.code);
        // The same response is kept once for as long as it is refused for the same reason.
        let key = door.key_of_kept(known.message.bytes(), arrival, code);
        incoming.duplicate = incoming.duplicate.and(Some(key));
        incoming.parked = Some(Refusal { code: code.to_owned(), reason: reason.to_owned() });
        incoming.settles.attached = door.generated(known, &composed, arrival, arrival.id);
        let routed = is_routed(known, arrival.peer);
        match self.receiver().message_box.publish(self.peer().connection, incoming).await {
            Ok(Published::Repeat { first, .. }) => Told::Answer(to(first).answer(routed)),
            Ok(_) => Told::Answer(composed.answer(routed)),
            Err(error) => Told::NotStored(self.not_stored(&error, known)),
        }
    }

    /// The message that an answer is to, where it is not delivered and another node may be sending it.
    async fn sent_elsewhere(&self, answer: &acknowledge::Answer) -> Result<Option<MessageId>, sqlx::Error> {
        let store = &self.receiver().store;
        let found = sqlx::query_scalar!(
            "SELECT m.id FROM message m
              WHERE m.control_id = $1 AND m.message_type NOT LIKE 'ACK%'
                AND EXISTS (SELECT FROM node n WHERE n.expires_at > now() AND n.slot <> $2)
                AND NOT EXISTS (SELECT FROM tracking t WHERE t.message_id = m.id AND t.kind = 6)
              ORDER BY m.id DESC LIMIT 1",
            answer.control_id,
            store.slot()
        );
        Ok(found.fetch_optional(store.pool()).await?.map(MessageId))
    }

    /// The message that a response answers, so that both stand on one journey.
    async fn asked(&self, answer: &acknowledge::Answer) -> Result<Option<MessageId>, sqlx::Error> {
        let found = sqlx::query_scalar!(
            "SELECT id FROM message WHERE control_id = $1 ORDER BY id DESC LIMIT 1",
            answer.control_id
        );
        Ok(found.fetch_optional(self.receiver().store.pool()).await?.map(MessageId))
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

/// A response closes its exchange and stands on the journey of its question.
fn close(standing: &Standing, incoming: &mut Incoming, known: &Known, answer: &acknowledge::Answer) {
    if let Standing::Closes { question, .. } = standing {
        incoming.parent = Some(*question);
        let sha256 = crate::audit::sha256(known.message.bytes());
        let text = format!("{}: its response", answer.code);
        let detail =
            Detail::Beside { message: incoming.id, sha256, code: "exchange.closed".to_owned(), text };
        let entry = Entry::new(Kind::AnswerReceived, incoming.config_version, detail).about(*question);
        incoming.settles.entries.push(entry);
        let response = Response { message: question.0, response: incoming.id.0 };
        incoming.settles.rows.responses.push(response);
    }
}

/// Who waits for an answer.
enum Whose<'a> {
    Instance(&'a Expected),
    Delivery,
    /// A message that is not delivered, and that another node may be sending.
    OtherNode,
    /// A message that went out in a batch.
    Batch,
    /// Whoever asked by a two-way port.
    Asker,
    /// Nobody waits, but somebody subscribes to it.
    Subscribers,
    Nobody,
}

/// A response to something that did not pass here: delivered, and flagged.
fn unasked(arrival: &Arrival<'_>) -> Entry {
    let text = "it answers a message that did not pass here (MSA-2)".to_owned();
    let detail = Detail::Cause { code: "answer.unknown".to_owned(), text, sha256: None };
    Entry::new(Kind::LateAnswer, arrival.current.configuration.version, detail).about(arrival.id)
}

/// What an answer is to, as tracking tells it.
fn told_of(arrival: &Arrival<'_>, answer: &acknowledge::Answer, whose: &Whose<'_>) -> Option<Entry> {
    let code = &answer.code;
    let (kind, cause, text) = match whose {
        Whose::Instance(_) => {
            (Kind::AnswerReceived, "ack.received", format!("{code} for a message that an instance sent"))
        }
        Whose::Delivery => {
            (Kind::AnswerReceived, "ack.received", format!("{code} for a message that is being delivered"))
        }
        Whose::OtherNode => {
            (Kind::AnswerReceived, "ack.received", format!("{code} for a message that another node sends"))
        }
        Whose::Batch => {
            (Kind::AnswerReceived, "ack.received", format!("{code} for a message that went out in a batch"))
        }
        Whose::Asker => {
            (Kind::AnswerReceived, "exchange.closed", format!("{code}: the response to a question"))
        }
        Whose::Nobody => {
            (Kind::LateAnswer, "ack.foreign", format!("{code} that nobody waits for (any more)"))
        }
        Whose::Subscribers => return None,
    };
    let detail = Detail::Cause { code: cause.to_owned(), text, sha256: None };
    let mut entry = Entry::new(kind, arrival.current.configuration.version, detail).about(arrival.id);
    if let Whose::Instance(open) = whose {
        entry.instance = Some(InstanceId(open.row.instance));
    }
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
