//! Closing a batch: the message that stands for it, and the work that its send port gets.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use orderly_hl7::batch::{Envelope, Wrapper};

use super::assign::Open;
use super::worker::{load, rule};
use crate::audit::sha256;
use crate::configuration::{BatchOrder, OutboundBatch, Release, SendPort};
use crate::current::Current;
use crate::directory::{SourceKind, SubscriberKind};
use crate::ids::MessageId;
use crate::lane::Item;
use crate::message_box::subscription::hash_of;
use crate::receive::BATCH_TYPE;
use crate::store::{Error, Store, Tx};
use crate::tracking::{self, Detail, Entry, Kind};
use crate::work::NewWork;

/// The rule of a port that collects no more: what it has leaves at once.
pub(super) fn leftovers() -> OutboundBatch {
    OutboundBatch {
        release: Release::default(),
        group_by: Vec::new(),
        order: BatchOrder::Arrival,
        send_empty: false,
        envelope: Envelope::File,
        answer: None,
        header: BTreeMap::new(),
        starts: None,
    }
}

/// Values of the properties that tell batches apart.
pub(super) fn group_of(current: &Current, rule: &OutboundBatch, item: &Item) -> String {
    let Some(message) = item.message.as_ref().filter(|_| !rule.group_by.is_empty()) else {
        return String::new();
    };
    let properties = current.configuration.rules.promote(message);
    let values: Vec<String> = rule.group_by.iter().map(|name| properties.text(name)).collect();
    values.join("\u{1f}")
}

/// Closes a batch that is still open, and gives the work for its send port. One that somebody else closed fails the
/// transaction.
pub(super) async fn seal(
    tx: &mut Tx,
    store: &Store,
    current: &Current,
    collector: i32,
    batch: &Open,
    cause: &str,
    now: DateTime<Utc>,
) -> Result<Option<NewWork>, Error> {
    let Some(port) = current.directory.subscriber_by_id(collector).map(|known| known.name.as_str()) else {
        return Ok(None);
    };
    let settings = current.configuration.send_ports.get(port);
    let (id, control_id) = (store.ids().message(), MessageId(batch.id).to_string());
    let body = envelope(current, settings, batch, &control_id, now);
    let hash = sha256(&body);
    store_envelope(tx, current, port, (id, &control_id, &body, hash), now).await?;
    let answer = rule(current, collector).and_then(|(_, rule)| rule.answer);
    let answer_by = answer.and_then(|within| TimeDelta::from_std(within).ok()).map(|within| now + within);
    let hit = sqlx::query!(
        "UPDATE collector
            SET state = 2, sealed_at = $2, cause = $3, control_id = $4, message_id = $5, answer_by = $6
          WHERE id = $1 AND state = 1",
        batch.id,
        now,
        cause,
        control_id,
        id.0,
        answer_by
    )
    .execute(tx.connection())
    .await?;
    if hit.rows_affected() != 1 {
        let row = batch.id.to_string();
        return Err(Error::Inconsistent { table: "collector", column: "state", row });
    }
    let text = format!("Batch {control_id} closed by {cause} with {} messages", batch.items);
    let detail = Detail::Cause { code: "batch.closed".to_owned(), text, sha256: Some(hash) };
    let mut entry = Entry::new(Kind::Collected, current.configuration.version, detail).about(id);
    entry.subscriber = Some(collector);
    tracking::record(tx, &[entry]).await?;
    let key = hash_of(&batch.group);
    let subscriber = current.directory.subscriber(SubscriberKind::SendPort, port);
    Ok(subscriber.map(|subscriber| NewWork::message(subscriber.lane_of(key), id, key)))
}

/// Closes what is open for a send port, or one batch of it, and gives the work for the port; the caller appends it as the
/// last thing of its transaction. Whoever collects at this moment waits for it, or is waited for.
pub(crate) async fn close_open(
    tx: &mut Tx,
    current: &Current,
    port: &str,
    batch: Option<i64>,
    cause: &str,
) -> Result<Vec<NewWork>, Error> {
    let store = tx.store().clone();
    let Some(collector) = current.directory.subscriber(SubscriberKind::Collector, port) else {
        return Ok(Vec::new());
    };
    let open = load(tx, &[collector.id]).await?;
    let now = store.clock().now();
    let mut work = Vec::new();
    let wanted = open.into_values().flatten().filter(|open| batch.is_none_or(|batch| batch == open.id));
    for open in wanted {
        work.extend(seal(tx, &store, current, collector.id, &open, cause, now).await?);
    }
    Ok(work)
}

/// The lines around the messages, without them. What is stored is never longer than this: the messages are stored already.
fn envelope(
    current: &Current,
    settings: Option<&SendPort>,
    batch: &Open,
    control_id: &str,
    now: DateTime<Utc>,
) -> Vec<u8> {
    let configuration = &current.configuration;
    let party =
        settings.and_then(|port| port.party.as_ref()).and_then(|party| configuration.parties.get(party));
    let address = party.and_then(|party| party.address.as_ref());
    let own = |place: &str| party.and_then(|party| party.outbound.header.get(place)).cloned();
    let zone = configuration.site.timezone;
    let wrapper = Wrapper {
        sending_app: own("MSH-3").unwrap_or_else(|| configuration.site.name.clone()),
        sending_facility: own("MSH-4").unwrap_or_default(),
        receiving_app: address.map(|address| address.app.clone()).unwrap_or_default(),
        receiving_facility: address.and_then(|address| address.facility.clone()).unwrap_or_default(),
        time: now.with_timezone(&zone).fixed_offset(),
        control_id: control_id.to_owned(),
        reference_id: String::new(),
        own: settings
            .and_then(|port| port.batch.as_ref())
            .map(|rule| rule.header.clone())
            .unwrap_or_default(),
    };
    let count = u64::try_from(batch.items).unwrap_or_default();
    let lines = [
        wrapper.header("FHS"),
        wrapper.header("BHS"),
        Wrapper::trailer("BTS", count),
        Wrapper::trailer("FTS", 1),
    ];
    lines.concat()
}

async fn store_envelope(
    tx: &mut Tx,
    current: &Current,
    port: &str,
    (id, control_id, body, hash): (MessageId, &str, &[u8], [u8; 32]),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let source = current.directory.source(SourceKind::SendPort, port).unwrap_or_default();
    let party = current.configuration.send_ports.get(port).and_then(|port| port.party.clone());
    sqlx::query!(
        "INSERT INTO message (id, received_at, source, party, message_type, control_id, body_sha256, body)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        id.0,
        now,
        source,
        party,
        BATCH_TYPE,
        control_id,
        &hash[..],
        body
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}
