//! Exchanges: what comes by a two-way receive port asks, and closes once: by its response, or by AE when none came in time.
//! The row of `exchange` is what lasts; the connection of the asker is known to the node that holds it, and to no other.

use super::made::closing;
use super::*;
use crate::acknowledge::Ack;
use crate::adapter::mllp::Line;
use crate::configuration::{AckMode, Exchange};
use crate::crash_point::Point as _;
use crate::directory::SubscriberKind;
use crate::message_box::Asked;
use crate::message_box::subscription::send_route;
use chrono::TimeDelta;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often a node looks for responses that came by another one, and for questions without any.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A response that nobody took by then is shown to a person.
const TAKEN_WITHIN: TimeDelta = TimeDelta::seconds(5);
/// How long a closed exchange is known, so that a repeat of the question reads the same response.
const KNOWN_FOR: TimeDelta = TimeDelta::days(1);
/// Connections with an open question that a node remembers.
const ASKERS_MAX: usize = 65_536;
/// Rows of one look.
const LOOK_MOST: i64 = 200;
/// Stable code of a response whose asker hung up.
const ASKER_GONE: &str = "exchange.asker_gone";

/// Connections of this node whose question waits for its response. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Askers(Arc<Mutex<BTreeMap<MessageId, Asker>>>);

#[derive(Debug)]
struct Asker {
    line: Line,
    /// In original mode the response is the answer, and nothing goes before it.
    held: Option<Reply>,
}

impl Askers {
    /// Answers that the question is stored, and waits for what comes back by the same connection.
    pub(super) fn keep(&self, question: MessageId, composed: Composed, reply: Reply) {
        let Some(line) = reply.line() else { return reply.answer(composed.answer(false)) };
        let held = match composed.acks.iter().any(|ack| !ack.code.is_accept()) {
            true => Some(reply),
            false => {
                reply.answer(composed.answer(false));
                None
            }
        };
        let mut askers = self.lock();
        let before = askers.insert(question, Asker { line, held });
        if askers.len() > ASKERS_MAX {
            // Its response is shown to a person, as if it had hung up.
            askers.pop_first();
        }
        drop(askers);
        if let Some(held) = before.and_then(|asker| asker.held) {
            // It asked again: the response answers the repeat.
            held.answer(Answer::Nothing);
        }
    }

    /// Writes the response; false when the connection is not here, or gone.
    fn give(&self, question: MessageId, response: &[u8]) -> bool {
        let Some(asker) = self.lock().remove(&question) else { return false };
        match asker.held {
            Some(held) if asker.line.is_open() => {
                held.answer(Answer::Ack(response.to_vec()));
                true
            }
            _ => asker.line.send(response),
        }
    }

    /// Whether anybody waits here.
    fn any(&self) -> bool {
        let mut askers = self.lock();
        askers.retain(|_, asker| asker.line.is_open());
        !askers.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<MessageId, Asker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a message asks, by where it came in; a refused one and an acknowledgment do not.
pub(super) fn asks<'a>(known: &Known, port: &'a ReceivePort) -> Option<&'a Exchange> {
    let header = known.header();
    let can = known.refusal.is_none()
        && known.verdict == Verdict::Accepted
        && header.message_type != "ACK"
        && !header.control_id.is_empty();
    port.exchange.as_ref().filter(|_| can)
}

/// Whether a message is answered later on its connection: by its response, or by the step that decides.
pub(super) fn is_answered_later(known: &Known, port: &ReceivePort) -> bool {
    let settings = &known.inbound.acknowledgment;
    let by_step = settings.mode == AckMode::Application && known.verdict == Verdict::Accepted;
    asks(known, port).is_some() || (by_step && settings.route.is_none())
}

/// The row that a question opens.
pub(super) fn opened(known: &Known, arrival: &Arrival<'_>) -> Option<Asked> {
    let exchange = asks(known, arrival.port)?;
    Some(Asked {
        message: arrival.id.0,
        control_id: known.header().control_id.clone(),
        port: arrival.port.name.clone(),
        route: exchange.route.clone(),
        due_at: arrival.id.made_at() + TimeDelta::from_std(exchange.within).unwrap_or(TimeDelta::MAX),
    })
}

/// What a message that answers something means for the exchanges whose responses come by its port.
pub(super) enum Standing {
    /// Its port takes no responses, or it is a mere acknowledgment.
    Apart,
    /// It closes this one.
    Closes { question: MessageId, route: Option<String> },
    /// The same response came before.
    Repeats,
    /// It answers nothing that is open.
    Refused(&'static str, String),
}

impl keep::Again {
    /// Looks for the exchange that an answer closes.
    pub(super) async fn standing(
        &self,
        known: &Known,
        answer: &orderly_hl7::acknowledge::Answer,
        arrival: &Arrival<'_>,
    ) -> Result<Standing, sqlx::Error> {
        let takes = |port: &ReceivePort| {
            port.exchange.as_ref().is_some_and(|own| own.responses.contains(&arrival.port.name))
        };
        let ports = arrival.current.configuration.receive_ports.values().filter(|port| takes(port));
        let ports: Vec<String> = ports.map(|port| port.name.clone()).collect();
        let is_ack = known.header().message_type == "ACK";
        if ports.is_empty() || known.refusal.is_some() || (is_ack && is_positive(&answer.code)) {
            return Ok(Standing::Apart);
        }
        let found = sqlx::query!(
            r#"SELECT e.message_id, e.route, e.response, r.control_id AS "closed_by?"
                 FROM exchange e
                 LEFT JOIN message r ON r.id = e.response
                WHERE e.control_id = $1
                  AND e.port = ANY ($2)
                ORDER BY e.response IS NOT NULL, e.message_id DESC
                LIMIT 1"#,
            answer.control_id,
            &ports
        )
        .fetch_optional(self.receiver().store.pool())
        .await?;
        Ok(match found {
            None if is_ack => Standing::Apart,
            None => {
                let reason = "it answers a question that nobody asked here (MSA-2)";
                Standing::Refused("exchange.unknown", reason.to_owned())
            }
            Some(open) if open.response.is_none() => {
                Standing::Closes { question: MessageId(open.message_id), route: open.route }
            }
            Some(closed) if closed.closed_by.as_deref() == Some(known.header().control_id.as_str()) => {
                Standing::Repeats
            }
            Some(_) => {
                let reason = "its question was answered before, or its time was up (MSA-2)";
                Standing::Refused("exchange.closed", reason.to_owned())
            }
        })
    }
}

/// An accept or application acknowledgment that says no more than that.
fn is_positive(code: &str) -> bool {
    matches!(code, "AA" | "CA")
}

/// The lane of the send port that a response takes.
pub(super) fn way_back(
    route: Option<&str>,
    properties: &Properties,
    place: message_box::Arrival<'_>,
    current: &Current,
) -> Option<Route> {
    let port = route?;
    let subscriber = current.directory.subscriber(SubscriberKind::SendPort, port)?;
    let order = &current.configuration.send_ports.get(port)?.order;
    send_route(subscriber.id, order, properties, place, &current.directory)
}

impl Receiver {
    /// A question is stored: its sender is told so, and its connection kept where the response takes it.
    pub(super) fn asked(&self, asked: &Asked, composed: Composed, routed: bool, reply: Reply) {
        match asked.route {
            Some(_) => reply.answer(composed.answer(routed)),
            None => self.askers.keep(MessageId(asked.message), composed, reply),
        }
    }

    /// Writes a response that is stored to the connection of its asker, if it is here.
    pub(super) async fn hand_back(&self, question: MessageId, response: &[u8]) -> Result<(), sqlx::Error> {
        if self.askers.give(question, response) { self.returned(question).await } else { Ok(()) }
    }

    async fn returned(&self, question: MessageId) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "WITH returned AS (
                  UPDATE exchange
                     SET returned_at = $2
                   WHERE message_id = $1
                  RETURNING response)
             DELETE FROM parked p USING returned r WHERE p.subject = r.response AND p.lane IS NULL AND p.code = $3",
            question.0,
            self.store.clock().now(),
            ASKER_GONE
        )
        .execute(self.store.pool())
        .point("exchange: note returned")
        .await?;
        Ok(())
    }

    /// The question came again: its asker waits by another connection now, or reads the response that was stored.
    pub(super) async fn asked_again(
        &self,
        question: MessageId,
        composed: Composed,
        routed: bool,
        reply: Reply,
    ) -> Result<(), sqlx::Error> {
        let found = sqlx::query!(
            r#"SELECT e.route, m.body AS "body?"
                 FROM exchange e
                 LEFT JOIN message m ON m.id = e.response
                WHERE e.message_id = $1"#,
            question.0
        )
        .fetch_optional(self.store.pool())
        .await?;
        match found {
            Some(known) if known.route.is_none() => {
                self.askers.keep(question, composed, reply);
                match known.body {
                    Some(body) => self.hand_back(question, &body).await,
                    None => Ok(()),
                }
            }
            // A step did not decide yet.
            None if !routed && composed.acks.iter().all(|ack| ack.code.is_accept()) => {
                self.askers.keep(question, composed, reply);
                Ok(())
            }
            _ => {
                reply.answer(composed.answer(routed));
                Ok(())
            }
        }
    }

    /// An answer on the connection on which a question was sent: stored as its response, where it is open. The message it
    /// is stored as; none when it closes nothing.
    ///
    /// # Errors
    ///
    /// Fails when the database does; then nothing is closed.
    pub(crate) async fn respond(
        &self,
        question: MessageId,
        answer: &Message,
        send_port: &str,
    ) -> Result<Option<MessageId>, Error> {
        let not_read = |error: sqlx::Error| Error::NotStored { message: question, reason: error.to_string() };
        let open =
            sqlx::query!("SELECT route FROM exchange WHERE message_id = $1 AND response IS NULL", question.0)
                .fetch_optional(self.store.pool())
                .await
                .map_err(not_read)?;
        let Some(open) = open else { return Ok(None) };
        let current = self.running.load_full();
        let id = self.store.ids().message();
        let properties = current.configuration.rules.promote(answer);
        let place = message_box::Arrival { message: id, order_source: send_port };
        let routes = way_back(open.route.as_deref(), &properties, place, &current).into_iter().collect();
        let text = "the response came on the connection of the question".to_owned();
        let version = current.configuration.version;
        let mut incoming = closing(answer.clone(), (id, question), routes, version, text);
        incoming.source = current.directory.source(SourceKind::SendPort, send_port).unwrap_or_default();
        match self.message_box.publish(id.0.cast_unsigned(), incoming).await {
            Ok(_) => {
                let _ = self.hand_back(question, answer.bytes()).await;
                Ok(Some(id))
            }
            Err(Error::Overtaken { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps the promise to every asker, until told to stop.
    pub(crate) async fn keep_exchanges(self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            let looked = async {
                self.give_back_what_came().await?;
                self.tell_that_none_came().await?;
                self.show_what_nobody_took().await
            };
            if let Err(error) = looked.await {
                tracing::warn!(error = &error as &dyn std::error::Error, "Could not look after questions");
            }
        }
    }

    /// Responses that came by another node, or in the moment before the asker was noted.
    async fn give_back_what_came(&self) -> Result<(), crate::store::Error> {
        if !self.askers.any() {
            return Ok(());
        }
        let came = sqlx::query!(
            "SELECT e.message_id, m.body
               FROM exchange e JOIN message m ON m.id = e.response
              WHERE e.returned_at IS NULL AND e.route IS NULL
              ORDER BY e.closed_at
              LIMIT $1",
            LOOK_MOST
        )
        .fetch_all(self.store.pool())
        .await?;
        for row in came {
            self.hand_back(MessageId(row.message_id), &row.body).await?;
        }
        Ok(())
    }

    async fn tell_that_none_came(&self) -> Result<(), crate::store::Error> {
        let due = sqlx::query!(
            "SELECT e.message_id, e.port, m.body, m.party
               FROM exchange e JOIN message m ON m.id = e.message_id
              WHERE e.response IS NULL AND e.due_at <= $1
              ORDER BY e.due_at
              LIMIT $2",
            self.store.clock().now(),
            LOOK_MOST
        )
        .fetch_all(self.store.pool())
        .await?;
        for row in due {
            let Ok(question) = Message::parse(row.body) else { continue };
            let question = Overdue {
                id: MessageId(row.message_id),
                port: row.port,
                party: row.party,
                message: question,
            };
            match self.give_up(&question).await {
                Ok(response) => self.hand_back(question.id, &response).await?,
                // Its response came at the last moment, maybe by another node.
                Err(Error::Overtaken { .. }) => {}
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "Could not close an exchange");
                }
            }
        }
        Ok(())
    }

    /// Closes an exchange with AE.
    async fn give_up(&self, question: &Overdue) -> Result<Vec<u8>, Error> {
        let current = self.running.load_full();
        let configuration = &current.configuration;
        let port = configuration.receive_ports.get(&question.port);
        let default = Arc::<Inbound>::default();
        let location = port.and_then(|port| port.locations.first());
        let inbound = location.map_or(&default, |location| location.inbound(question.party.as_deref()));
        let header = question.message.header();
        let from = match header.receiving_app.as_str() {
            "" => "the receiver",
            app => app,
        };
        let (id, control_id) = (self.store.ids().message(), question.id.to_string());
        let answers = Answers {
            settings: &inbound.acknowledgment,
            control_id: &control_id,
            now: local(configuration, self.store.clock().now()),
            help_desk: None,
            expected_sequence: None,
            part: Part::Whole,
        };
        let Ack { bytes, .. } = answers.unanswered(&question.message, &format!("no answer from {from}"));
        let ack = Message::parse(bytes.as_slice()).map_err(|_| Error::Unknown { message: question.id })?;
        let mut properties = configuration.rules.promote(&ack);
        properties.set("ack.generated", true);
        let place = message_box::Arrival { message: id, order_source: &question.port };
        let mut routes = current.routes(&properties, place);
        let route = port.and_then(|port| port.exchange.as_ref()?.route.as_deref());
        if let Some(back) = way_back(route, &properties, place, &current)
            && routes.iter().all(|known| known.subscriber != back.subscriber)
        {
            routes.push(back);
        }
        let text = format!("AE to the asker: no answer from {from}");
        let incoming = closing(ack, (id, question.id), routes, configuration.version, text);
        self.message_box.publish(id.0.cast_unsigned(), incoming).await?;
        Ok(bytes)
    }

    /// A response whose asker hung up waits for the repeat of the question; a person sees it meanwhile. What ended long
    /// ago is forgotten.
    async fn show_what_nobody_took(&self) -> Result<(), crate::store::Error> {
        let now = self.store.clock().now();
        let mut tx = self.store.begin("receive: show responses that nobody took").await?;
        let left = sqlx::query_scalar!(
            r#"UPDATE exchange
                  SET returned_at = $1
                WHERE returned_at IS NULL AND response IS NOT NULL AND closed_at < $2
            RETURNING response AS "response!""#,
            now,
            now - TAKEN_WITHIN
        )
        .fetch_all(tx.connection())
        .await?;
        let forgotten = sqlx::query!(
            "DELETE FROM exchange WHERE closed_at < $1 AND returned_at IS NOT NULL",
            now - KNOWN_FOR
        )
        .execute(tx.connection())
        .await?;
        if left.is_empty() && forgotten.rows_affected() == 0 {
            return tx.rollback().await;
        }
        let why = (ASKER_GONE, "its asker hung up; it reads it when it asks again");
        parked::show(&mut tx, &self.store, &left, why).await?;
        tx.commit().await
    }
}

/// A question whose time is up.
struct Overdue {
    id: MessageId,
    port: String,
    party: Option<String>,
    message: Message,
}
