//! What a batch needs from the database: holders of correlations, instances, messages; in bulk.

use std::collections::{HashMap, HashSet};

use orderly_orchestrations::State;
use sqlx::PgConnection;

use super::plan::{Live, Stand};
use super::versions::Versions;
use crate::current::Current;
use crate::lane::{Item, load_messages};
use crate::store::{Error, Store};
use crate::work::{Detail, Kind};

/// Holders of correlation values: instance and its lane, by orchestration, set and key.
pub(super) type Holders = HashMap<(i32, String, [u8; 16]), Vec<(i64, i32)>>;

/// What was loaded for a batch.
#[derive(Default)]
pub(super) struct Loaded {
    pub(super) holders: Holders,
    pub(super) instances: HashMap<i64, Live>,
    pub(super) messages: HashMap<i64, orderly_hl7::Message>,
    /// Instances that are there but cannot be moved: their version or state cannot be read.
    pub(super) unreadable: HashSet<i64>,
}

/// Who holds these values.
pub(super) async fn holders(
    connection: &mut PgConnection,
    keys: &[(i32, String, [u8; 16])],
) -> Result<Holders, Error> {
    let mut holders: Holders = keys.iter().map(|key| (key.clone(), Vec::new())).collect();
    if keys.is_empty() {
        return Ok(holders);
    }
    let orchestrations: Vec<i32> = keys.iter().map(|key| key.0).collect();
    let sets: Vec<&str> = keys.iter().map(|key| key.1.as_str()).collect();
    let hashes: Vec<&[u8]> = keys.iter().map(|key| &key.2[..]).collect();
    let rows = sqlx::query!(
        r#"SELECT c.orchestration, c.correlation_set, c.key, c.instance, c.lane
             FROM unnest($1::integer[], $2::text[], $3::bytea[]) AS u(orchestration, correlation_set, key)
             JOIN correlation c USING (orchestration, correlation_set, key)
            ORDER BY c.instance"#,
        &orchestrations,
        &sets as _,
        &hashes as _
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let Ok(key) = row.key.try_into() else { continue };
        let held = holders.entry((row.orchestration, row.correlation_set, key)).or_default();
        if !held.contains(&(row.instance, row.lane)) {
            held.push((row.instance, row.lane));
        }
    }
    Ok(holders)
}

/// Loads what these items need.
pub(super) async fn load(
    connection: &mut PgConnection,
    store: &Store,
    versions: &Versions,
    current: &Current,
    items: &[&Item],
) -> Result<Loaded, Error> {
    let mut loaded = Loaded::default();
    let keys: HashSet<(i32, String, [u8; 16])> = items
        .iter()
        .filter_map(|item| match &item.detail {
            Some(Detail::Subscribed(subscribed)) => {
                let orchestration = current.directory.subscriber_of_lane(item.lane)?.id;
                let (set, key) = subscribed.correlation.clone()?;
                Some((orchestration, set, key))
            }
            _ => None,
        })
        .collect();
    let keys: Vec<_> = keys.into_iter().collect();
    loaded.holders = holders(&mut *connection, &keys).await?;
    let mut ids: HashSet<i64> = items.iter().filter_map(|item| named_instance(item)).collect();
    ids.extend(loaded.holders.values().flatten().map(|(instance, _)| *instance));
    let ids: Vec<i64> = ids.into_iter().collect();
    instances(connection, versions, current, &ids, &mut loaded).await?;

    let mut wanted: Vec<i64> = loaded
        .instances
        .values()
        .flat_map(|live| live.state.as_ref().map(State::message_ids).unwrap_or_default())
        .collect();
    for item in items {
        match &item.message {
            Some(message) => drop(loaded.messages.insert(item.subject, message.clone())),
            None if matches!(item.kind, Kind::Message | Kind::Answered) => wanted.push(item.subject),
            None => {}
        }
    }
    wanted.retain(|id| !loaded.messages.contains_key(id));
    loaded.messages.extend(load_messages(store.pool(), &wanted).await?);
    for live in loaded.instances.values_mut() {
        let missing = live.state.as_mut().map(|state| state.attach(&loaded.messages)).unwrap_or_default();
        if !missing.is_empty() {
            tracing::error!(
                instance.id = live.id,
                messages = missing.len(),
                "Messages of an instance are not stored"
            );
            loaded.unreadable.insert(live.id);
        }
    }
    Ok(loaded)
}

/// The instance that an item names itself.
fn named_instance(item: &Item) -> Option<i64> {
    match item.kind {
        Kind::Command | Kind::Timer => Some(item.instance.unwrap_or(item.subject)),
        Kind::Start => None,
        _ => item.instance,
    }
}

async fn instances(
    connection: &mut PgConnection,
    versions: &Versions,
    current: &Current,
    ids: &[i64],
    loaded: &mut Loaded,
) -> Result<(), Error> {
    if ids.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query!(
        r#"SELECT id, orchestration, config_version, lane, turn, state, waiting, suspend_code, state_blob
             FROM instance
            WHERE id = ANY ($1)"#,
        ids
    )
    .fetch_all(connection)
    .await?;
    let pinned: Vec<i64> = rows.iter().map(|row| row.config_version).collect();
    versions.need(pinned).await;
    for row in rows {
        let name = current.directory.subscriber_by_id(row.orchestration).map(|known| known.name.clone());
        let configuration = versions.get(row.config_version);
        let (Some(name), Some(configuration), Ok(state)) =
            (name, configuration, State::decode(&row.state_blob))
        else {
            loaded.unreadable.insert(row.id);
            continue;
        };
        let stand = match row.suspend_code {
            Some(code) => Stand::Suspended { code, text: row.waiting },
            None => Stand::Waiting(row.waiting),
        };
        loaded.instances.insert(
            row.id,
            Live {
                id: row.id,
                orchestration: row.orchestration,
                name,
                configuration,
                lane: row.lane,
                read_turn: row.turn,
                turn: row.turn,
                state: Some(state),
                stand,
                moved: false,
            },
        );
    }
    Ok(())
}

/// A timer as an item, so that its instance is loaded like any other.
pub(super) fn of_timer(instance: i64, token: u32) -> Item {
    Item {
        lane: 0,
        sequence: 0,
        created_at: chrono::DateTime::UNIX_EPOCH,
        kind: Kind::Timer,
        subject: instance,
        key: instance,
        instance: Some(instance),
        detail: Some(Detail::Timer { token }),
        message: None,
    }
}
