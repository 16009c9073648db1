//! A message sent again as a new one: edited, or as it was because nobody took it. The original stays untouched and is
//! the parent of the new one; both tell of it in tracking.

use chrono::{DateTime, Utc};
use orderly_hl7::{Finding, Message, Severity};
use orderly_rules::Properties;

use super::commit;
use crate::access;
use crate::audit::sha256;
use crate::current::Current;
use crate::directory::{SourceKind, SubscriberKind};
use crate::ids::{InstanceId, MessageId, ParkedId};
use crate::message_box::{Arrival, Route, indexed};
use crate::parked::{self, State};
use crate::pipeline::{parse, promote, validate};
use crate::store::{Error, Store, Tx};
use crate::tracking::{self, Detail, Entry, Kind};
use crate::work::{self, NewWork};

/// How far up an edited copy of an edited copy is followed to where the first came in.
const GENERATIONS_MOST: usize = 100;

/// What is sent again.
#[derive(Debug, Clone, Copy)]
pub enum Which {
    /// Suspended work, with the version its person saw. The new message takes its place.
    Parked(ParkedId, i32),
    /// Any stored message: the new one goes to whoever subscribes.
    Message(MessageId),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resubmitted {
    /// The new message.
    Done(MessageId),
    /// The work changed since the person looked, or is gone.
    Changed,
    /// There is no such message, or its content is not kept any more.
    NoMessage,
    /// It is no HL7 message, or an error in it would have been refused at the door.
    Invalid(String),
    /// Nobody would take it: nothing was done.
    NoSubscriber,
}

impl Resubmitted {
    /// Why nothing was done, in words.
    #[must_use]
    pub fn why(&self) -> String {
        match self {
            Self::Done(_) => String::new(),
            Self::Changed => "it changed meanwhile".to_owned(),
            Self::NoMessage => "its message is not kept any more".to_owned(),
            Self::Invalid(why) => why.clone(),
            Self::NoSubscriber => "nobody would take it".to_owned(),
        }
    }
}

/// A stored message, as far as a copy of it needs it.
pub(super) struct Original {
    pub(super) id: MessageId,
    body: Vec<u8>,
    party: Option<String>,
    control_id: Option<String>,
    patient: Option<String>,
    source: i32,
    retention: i16,
    parent: Option<i64>,
}

/// The copy with what routing knows about it.
pub(super) struct Copied {
    message: Message,
    pub(super) properties: Properties,
    pub(super) order_source: String,
}

/// Work that the copy takes the place of.
struct Place {
    parked: ParkedId,
    lane: Option<i32>,
    subscriber: Option<i32>,
    orchestrated: bool,
    sequence: i64,
    key: i64,
    instance: Option<i64>,
    detail: Option<Vec<u8>>,
}

/// Sends a message again as a new one, `body` instead of its own bytes where that is given. One transaction.
///
/// # Errors
///
/// Fails when the database does.
pub async fn resubmit(
    store: &Store,
    current: &Current,
    which: Which,
    body: Option<Vec<u8>>,
    who: access::Entry<'_>,
) -> Result<Resubmitted, Error> {
    let mut tx = store.begin("operate: resubmit").await?;
    let mut append = Vec::new();
    let done = resubmit_in(&mut tx, current, which, body, who, &mut append).await?;
    if let Resubmitted::Done(_) = done {
        work::append(&mut tx, &append).await?;
        commit(tx, who).await?;
    }
    Ok(done)
}

/// As [`resubmit`] within a transaction; the caller appends the work as the last thing it does.
pub(super) async fn resubmit_in(
    tx: &mut Tx,
    current: &Current,
    which: Which,
    body: Option<Vec<u8>>,
    who: access::Entry<'_>,
    append: &mut Vec<NewWork>,
) -> Result<Resubmitted, Error> {
    let (subject, place) = match which {
        Which::Message(message) => (message.0, None),
        Which::Parked(id, version) => match take(tx, id, version).await? {
            Some((subject, place)) => (subject, Some(place)),
            None => return Ok(Resubmitted::Changed),
        },
    };
    let Some(original) = original(tx, subject).await? else { return Ok(Resubmitted::NoMessage) };
    let bytes = body.unwrap_or_else(|| original.body.clone());
    let copied = match copy(tx, current, &original, bytes).await? {
        Ok(copied) => copied,
        Err(why) => return Ok(Resubmitted::Invalid(why)),
    };
    let id = tx.store().ids().message();
    let routes = match &place {
        Some(place) if place.lane.is_some() && !place.orchestrated => Vec::new(),
        _ => routes(current, id, &copied, place.as_ref()),
    };
    let stands = place.as_ref().filter(|place| place.lane.is_some() && !place.orchestrated);
    if routes.is_empty() && stands.is_none() {
        return Ok(Resubmitted::NoSubscriber);
    }
    store_copy(tx, current, &original, &copied, id, who).await?;
    if let Some(place) = stands {
        stand_in(tx, place, id).await?;
    }
    append.extend(routes.iter().map(|route| {
        let mut work = NewWork::message(route.lane, id, route.key);
        work.detail.clone_from(&route.detail);
        work
    }));
    let to = routes
        .iter()
        .map(|route| route.subscriber)
        .chain(stands.and_then(|place| place.subscriber))
        .collect();
    note(tx, current, &original, &copied, id, to, who).await?;
    Ok(Resubmitted::Done(id))
}

/// Takes suspended work away: its subject and its place. Only what waits for a person: nobody is at it.
async fn take(tx: &mut Tx, id: ParkedId, version: i32) -> Result<Option<(i64, Place)>, Error> {
    parked::lock(tx, id).await?;
    let row = sqlx::query!(
        r#"DELETE FROM parked p
            WHERE id = $1 AND version = $2 AND state IN (2, 4) AND kind = 1
        RETURNING lane, subscriber, sequence, subject, key, instance, detail,
                  EXISTS (SELECT FROM lane l JOIN subscriber s ON s.id = l.subscriber
                           WHERE l.id = p.lane AND s.kind = 'orchestration') AS "orchestrated!""#,
        id.0,
        version
    )
    .fetch_optional(tx.connection())
    .await?;
    Ok(row.map(|row| {
        let place = Place {
            parked: id,
            lane: row.lane,
            subscriber: row.subscriber,
            orchestrated: row.orchestrated,
            sequence: row.sequence,
            key: row.key,
            instance: row.instance,
            detail: row.detail,
        };
        (row.subject, place)
    }))
}

pub(super) async fn original(tx: &mut Tx, id: i64) -> Result<Option<Original>, Error> {
    let row = sqlx::query!(
        "SELECT body, party, control_id, patient, source, retention, parent FROM message WHERE id = $1",
        id
    )
    .fetch_optional(tx.connection())
    .await?;
    Ok(row.map(|row| Original {
        id: MessageId(id),
        body: row.body,
        party: row.party,
        control_id: row.control_id,
        patient: row.patient,
        source: row.source,
        // What was kept beyond its time is made a message of today: its class is not known any more.
        retention: row.retention.max(0),
        parent: row.parent,
    }))
}

/// What the door says of a copy.
pub(super) struct AtDoor {
    pub(super) findings: Vec<Finding>,
    /// The copy, or why it would be refused.
    pub(super) copied: Result<Copied, String>,
}

/// Reads the copy as the door would have: by the place where the first of its ancestors came in.
async fn copy(
    tx: &mut Tx,
    current: &Current,
    original: &Original,
    bytes: Vec<u8>,
) -> Result<Result<Copied, String>, Error> {
    Ok(at_door(tx, current, original, bytes).await?.copied)
}

pub(super) async fn at_door(
    tx: &mut Tx,
    current: &Current,
    original: &Original,
    bytes: Vec<u8>,
) -> Result<AtDoor, Error> {
    let Ok(message) = Message::parse(bytes) else {
        let why = "It cannot be read as an HL7 message: it needs an MSH segment first.".to_owned();
        return Ok(AtDoor { findings: Vec::new(), copied: Err(why) });
    };
    let configuration = &current.configuration;
    let came_by = came_by(tx, original).await?.unwrap_or_default();
    let place = came_by.split_once('/').and_then(|(port, location)| {
        Some((configuration.receive_ports.get(port)?, configuration.receive_location(port, location)?))
    });
    let Some((port, location)) = place else {
        let properties = configuration.rules.promote(&message);
        let copied = Copied { message, properties, order_source: came_by };
        return Ok(AtDoor { findings: Vec::new(), copied: Ok(copied) });
    };
    let inbound = location.inbound(original.party.as_deref());
    let message = parse::parse_again(message, &inbound.charset);
    let findings = validate::validate(&message, inbound, &configuration.rules);
    if let Some(worst) = findings.iter().find(|finding| finding.severity == Severity::Error) {
        let why = said(worst);
        return Ok(AtDoor { findings, copied: Err(why) });
    }
    let party = original.party.as_deref();
    let properties = promote::promote(&configuration.rules, &message, port, location, party, &findings);
    let copied = Copied { message, properties, order_source: came_by };
    Ok(AtDoor { findings, copied: Ok(copied) })
}

fn said(finding: &Finding) -> String {
    format!("{}: {}", finding.path, finding.text)
}

/// `port/location` of the receive location that the first of its ancestors came by; none where it was made inside.
async fn came_by(tx: &mut Tx, original: &Original) -> Result<Option<String>, Error> {
    let (mut source, mut parent) = (original.source, original.parent);
    for _ in 0..GENERATIONS_MOST {
        let found = sqlx::query!("SELECT kind, name FROM source WHERE id = $1", source)
            .fetch_optional(tx.connection())
            .await?;
        match (found, parent) {
            (Some(found), _) if found.kind == "receive_location" => return Ok(Some(found.name)),
            (Some(found), Some(above)) if found.kind == "person" => {
                let row = sqlx::query!("SELECT source, parent FROM message WHERE id = $1", above)
                    .fetch_optional(tx.connection())
                    .await?;
                let Some(row) = row else { return Ok(None) };
                (source, parent) = (row.source, row.parent);
            }
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// Who gets the copy: whoever subscribes; of suspended work only the one it was suspended at.
fn routes(current: &Current, id: MessageId, copied: &Copied, place: Option<&Place>) -> Vec<Route> {
    let arrival = Arrival { message: id, order_source: &copied.order_source };
    let mut routes = current.routes(&copied.properties, arrival);
    if let Some(subscriber) = place.and_then(|place| place.lane.and(place.subscriber)) {
        routes.retain(|route| route.subscriber == subscriber);
    }
    routes
}

async fn store_copy(
    tx: &mut Tx,
    current: &Current,
    original: &Original,
    copied: &Copied,
    id: MessageId,
    who: access::Entry<'_>,
) -> Result<(), Error> {
    let header = copied.message.header();
    let kind = match (header.message_type.as_str(), header.trigger_event.as_str()) {
        ("", _) => "?".to_owned(),
        (kind, "") => kind.to_owned(),
        (kind, event) => format!("{kind}^{event}"),
    };
    // What equals the parent's is not repeated, so that searches find the received message first.
    let own = |value: String, before: &Option<String>| {
        let value = indexed(&value);
        (!value.is_empty() && before.as_deref() != Some(value)).then(|| value.to_owned())
    };
    let control_id = own(header.control_id, &original.control_id);
    let patient = own(copied.properties.text("patient.id"), &original.patient);
    let source = current.directory.source(SourceKind::Person, who.person).unwrap_or(original.source);
    let body = copied.message.bytes();
    let declared = current.declared(&copied.properties);
    sqlx::query!(
        "SELECT store_messages($1, ARRAY[$2::bigint], ARRAY[$3::smallint], ARRAY[$4::bigint], ARRAY[$5::integer],
                               ARRAY[$6::text], ARRAY[$7::text], ARRAY[$8::text], ARRAY[$9::text], ARRAY[0::smallint],
                               ARRAY[$10::bytea], ARRAY[$12::bytea], ARRAY[$11::bytea])",
        tx.store().clock().now(),
        id.0,
        original.retention,
        original.id.0,
        source,
        original.party,
        kind,
        control_id,
        patient,
        &sha256(body)[..],
        body,
        declared.as_ref().map(|declared| &declared.context[..])
    )
    .fetch_one(tx.connection())
    .await?;
    if let Some(declared) = declared {
        let (ids, classes) = (vec![id.0; declared.keys.len()], vec![original.retention; declared.keys.len()]);
        sqlx::query!("SELECT record_search_keys($1, $2, $3)", &declared.keys, &ids, &classes)
            .fetch_one(tx.connection())
            .await?;
    }
    Ok(())
}

/// The copy stands where the original stood, before what waits behind it, and is due now.
async fn stand_in(tx: &mut Tx, place: &Place, id: MessageId) -> Result<(), Error> {
    let now: DateTime<Utc> = tx.store().clock().now();
    let parked = tx.store().ids().next_id();
    sqlx::query!(
        "INSERT INTO parked (id, lane, subscriber, sequence, kind, subject, key, instance, detail, state, attempt,
                             first_at, due_at, code, reason)
         VALUES ($1, $2, $3, $4, 1, $5, $6, $7, $8, $9, 0, $10, $10, 'resubmitted', 'An edited copy, to be sent now.')",
        parked,
        place.lane,
        place.subscriber,
        place.sequence,
        id.0,
        place.key,
        place.instance,
        place.detail,
        State::Retry as i16,
        now
    )
    .execute(tx.connection())
    .await?;
    tx.lanes.extend(place.lane);
    tracing::debug!(parked = place.parked.0, "An edited copy took the place of suspended work");
    Ok(())
}

/// One entry about the original, one about the copy with the hash of its bytes.
async fn note(
    tx: &mut Tx,
    current: &Current,
    original: &Original,
    copied: &Copied,
    id: MessageId,
    to: Vec<i32>,
    who: access::Entry<'_>,
) -> Result<(), Error> {
    let version = current.configuration.version;
    let action = Detail::Action {
        action: "message.resubmitted".to_owned(),
        reason: who.reason.to_owned(),
        object: id.to_string(),
    };
    let received = Detail::Received {
        sha256: sha256(copied.message.bytes()),
        remote: String::new(),
        answer: String::new(),
        findings: Vec::new(),
        to,
    };
    let mut entries = [
        Entry::new(Kind::Resubmitted, version, action).about(original.id),
        Entry::new(Kind::Resubmitted, version, received).about(id),
    ];
    for entry in &mut entries {
        entry.person = Some(who.person.to_owned());
    }
    tracking::record(tx, &entries).await
}

/// Moves suspended work to another send port: the same message, there ordered as everything else. What waited behind it
/// goes on. One transaction.
///
/// # Errors
///
/// Fails when the database does.
pub async fn move_to(
    store: &Store,
    current: &Current,
    which: (ParkedId, i32),
    to: &str,
    who: access::Entry<'_>,
) -> Result<Resubmitted, Error> {
    let mut tx = store.begin("operate: move suspended work").await?;
    let mut append = Vec::new();
    let done = move_in(&mut tx, current, which, to, who, &mut append).await?;
    if let Resubmitted::Done(_) = done {
        work::append(&mut tx, &append).await?;
        commit(tx, who).await?;
    }
    Ok(done)
}

/// As [`move_to`] within a transaction; the caller appends the work as the last thing it does.
pub(super) async fn move_in(
    tx: &mut Tx,
    current: &Current,
    (id, version): (ParkedId, i32),
    to: &str,
    who: access::Entry<'_>,
    append: &mut Vec<NewWork>,
) -> Result<Resubmitted, Error> {
    let Some((subject, place)) = take(tx, id, version).await? else { return Ok(Resubmitted::Changed) };
    let Some(original) = original(tx, subject).await? else { return Ok(Resubmitted::NoMessage) };
    let Some(port) = current.configuration.send_ports.get(to) else { return Ok(Resubmitted::NoSubscriber) };
    let Some(known) = current.directory.subscriber(SubscriberKind::SendPort, to) else {
        return Ok(Resubmitted::NoSubscriber);
    };
    let bytes = original.body.clone();
    let copied = match copy(tx, current, &original, bytes).await? {
        Ok(copied) => copied,
        Err(why) => return Ok(Resubmitted::Invalid(why)),
    };
    let arrival = Arrival { message: original.id, order_source: &copied.order_source };
    let route = crate::message_box::subscription::send_route(
        known.id,
        &port.order,
        &copied.properties,
        arrival,
        &current.directory,
    );
    let Some(route) = route else { return Ok(Resubmitted::NoSubscriber) };
    append.push(NewWork {
        instance: place.instance.map(InstanceId),
        detail: place.detail.as_deref().and_then(work::Detail::decode),
        ..NewWork::message(route.lane, original.id, route.key)
    });
    if let Some(lane) = place.lane {
        parked::release(tx, lane, place.key).await?;
    }
    let detail = Detail::Action {
        action: "work.moved".to_owned(),
        reason: who.reason.to_owned(),
        object: to.to_owned(),
    };
    let mut entry = Entry::new(Kind::Resumed, current.configuration.version, detail).about(original.id);
    entry.subscriber = place.subscriber;
    entry.person = Some(who.person.to_owned());
    tracking::record(tx, &[entry]).await?;
    Ok(Resubmitted::Done(original.id))
}
