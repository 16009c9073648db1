//! Application acknowledgments that orchestrations decide: messages of the turn that says so.

use chrono::{DateTime, FixedOffset, Utc};
use orderly_hl7::acknowledge::AckCode;
use orderly_hl7::{Class, Finding, Message};
use serde_json::json;

use super::Mover;
use super::plan::{Plan, Stored};
use crate::acknowledge::{Answers, Part};
use crate::audit::sha256;
use crate::configuration::{AckMode, Configuration, Inbound};
use crate::current::Current;
use crate::directory::{SourceKind, SubscriberKind};
use crate::ids::{InstanceId, MessageId};
use crate::message_box::Arrival;
use crate::message_box::subscription::send_route;
use crate::store::Error;
use crate::tracking::{Detail, Entry, Kind};
use crate::work::NewWork;

/// An acknowledgment that a turn decided.
pub(super) struct Decided {
    pub(super) instance: i64,
    /// The message that is acknowledged.
    pub(super) message: i64,
    pub(super) code: String,
    pub(super) text: String,
    pub(super) path: String,
}

/// What is known of the message that is acknowledged.
struct Received {
    party: Option<String>,
    retention: i16,
    /// `port/location` that it came by.
    location: String,
    message: Message,
}

impl Mover {
    /// Makes the acknowledgments that the turns of this batch decided.
    pub(super) async fn acknowledgments(&mut self, plan: &mut Plan, now: DateTime<Utc>) -> Result<(), Error> {
        let decided = std::mem::take(&mut plan.acknowledgments);
        if decided.is_empty() {
            return Ok(());
        }
        let ids: Vec<i64> = decided.iter().map(|decided| decided.message).collect();
        let rows = sqlx::query!(
            r#"SELECT m.id AS "id!", m.retention AS "retention!", m.party, m.body AS "body!", s.name AS "location?", e.message_id AS "closed?"
                 FROM message m
                 LEFT JOIN source s ON s.id = m.source
                 LEFT JOIN exchange e ON e.message_id = m.id
                WHERE m.id = ANY ($1)"#,
            &ids
        )
        .fetch_all(&mut self.connection)
        .await?;
        let current = self.shared.running.load_full();
        for decided in decided {
            let Some(row) = rows.iter().find(|row| row.id == decided.message) else { continue };
            let Ok(message) = Message::parse(row.body.clone()) else { continue };
            let location = row.location.clone().unwrap_or_default();
            let (party, retention) = (row.party.clone(), row.retention);
            let received = Received { party, retention, location, message };
            let is_double =
                row.closed.is_some() || plan.returned.iter().any(|known| known["message"] == row.id);
            self.decide(plan, &current, &decided, &received, is_double, now);
        }
        Ok(())
    }

    fn decide(
        &self,
        plan: &mut Plan,
        current: &Current,
        decided: &Decided,
        received: &Received,
        is_double: bool,
        now: DateTime<Utc>,
    ) {
        let configuration = &current.configuration;
        let inbound = inbound(configuration, received);
        let why_not = match inbound {
            _ if is_double => Some("it was acknowledged before"),
            Some(inbound) if inbound.acknowledgment.mode == AckMode::Application => None,
            _ => Some("the record of its sender lets the door answer (`mode: application` lets a step)"),
        };
        let ack = match (why_not, inbound) {
            (None, Some(inbound)) => build(decided, received, inbound, local(configuration, now)),
            _ => None,
        };
        let Some((ack, inbound)) = ack.zip(inbound) else {
            let text = format!(
                "{} was not sent: {}",
                decided.code,
                why_not.unwrap_or("its sender asks for none (MSH-16)")
            );
            plan.entries.push(entry(decided, configuration, decided.message, text, None));
            return;
        };
        let id = self.shared.store.ids().message();
        let hash = sha256(ack.bytes());
        let header = ack.header();
        let name = plan.instances.get(&decided.instance).map(|live| live.name.clone()).unwrap_or_default();
        plan.stored.push(Stored {
            id: id.0,
            parent: Some(decided.message),
            source: current.directory.source(SourceKind::Orchestration, &name).unwrap_or_default(),
            retention: received.retention.max(0),
            message_type: super::effects::type_of(&ack),
            control_id: Some(header.control_id),
            patient: None,
            message: ack.clone(),
            sha256: hash,
        });
        let text = format!("{} to the sender, decided by {name}", decided.code);
        plan.entries.push(entry(decided, configuration, id.0, text, Some(hash)));
        let mut properties = configuration.rules.promote(&ack);
        properties.set("ack.generated", true);
        let place = Arrival { message: id, order_source: &received.location };
        let mut routes = current.routes(&properties, place);
        let port = inbound.acknowledgment.route.as_deref();
        let back = port.and_then(|port| {
            let subscriber = current.directory.subscriber(SubscriberKind::SendPort, port)?;
            let order = &configuration.send_ports.get(port)?.order;
            send_route(subscriber.id, order, &properties, place, &current.directory)
        });
        if let Some(back) = back.filter(|back| routes.iter().all(|known| known.subscriber != back.subscriber))
        {
            routes.push(back);
        }
        for route in routes {
            let mut work = NewWork::message(route.lane, id, route.key);
            work.detail = route.detail;
            plan.work.push(work);
        }
        plan.returned.push(json!({
            "message": decided.message, "control_id": received.message.header().control_id,
            "port": received.location.split('/').next().unwrap_or_default(), "route": port, "response": id.0,
        }));
        plan.messages.insert(id.0, ack);
    }
}

/// The settings of the sender, where it came in.
fn inbound<'c>(configuration: &'c Configuration, received: &Received) -> Option<&'c Inbound> {
    let (port, location) = received.location.split_once('/')?;
    let port = configuration.receive_ports.get(port)?;
    let location = port.locations.iter().find(|known| known.name == location)?;
    Some(location.inbound(received.party.as_deref()))
}

fn build(
    decided: &Decided,
    received: &Received,
    inbound: &Inbound,
    now: DateTime<FixedOffset>,
) -> Option<Message> {
    let code = AckCode::from_text(&decided.code)?;
    let control_id = MessageId(decided.message).to_string();
    let answers = Answers {
        settings: &inbound.acknowledgment,
        control_id: &control_id,
        now,
        help_desk: None,
        expected_sequence: None,
        part: Part::Whole,
    };
    let findings = match code.is_positive() {
        true => Vec::new(),
        false => vec![Finding::new(Class::Profile, decided.path.clone(), 207, decided.text.clone())],
    };
    let header = received.message.header();
    let ack = answers.decided(&received.message, &header, code, &decided.text, findings)?;
    Message::parse(ack.bytes).ok()
}

fn local(configuration: &Configuration, at: DateTime<Utc>) -> DateTime<FixedOffset> {
    at.with_timezone(&configuration.site.timezone).fixed_offset()
}

fn entry(
    decided: &Decided,
    configuration: &Configuration,
    about: i64,
    text: String,
    sha256: Option<[u8; 32]>,
) -> Entry {
    let detail = Detail::Cause { code: "ack.decided".to_owned(), text, sha256 };
    let mut entry = Entry::new(Kind::Acknowledged, configuration.version, detail).about(MessageId(about));
    entry.instance = Some(InstanceId(decided.instance));
    entry
}
