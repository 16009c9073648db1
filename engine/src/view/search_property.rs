//! Which properties messages can be searched by, from when on, and the key of a search.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::search::{Filter, id_floor};
use crate::message_box::key_of;

/// Where a search looks messages up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    /// In the column `message_search.key`.
    pub(super) key: i64,
    /// Messages from here on have their keys.
    pub(super) since_id: i64,
    /// The same as a moment.
    pub(super) since: DateTime<Utc>,
}

/// The key of what is looked for; none where no property that this filter names is declared. A sender and a type can be
/// declared like every other property, and then rare ones are found as fast as frequent ones.
pub(super) async fn key(pool: &PgPool, filter: &Filter, now: DateTime<Utc>) -> sqlx::Result<Option<Key>> {
    let wanted = wanted(filter);
    if wanted.is_empty() {
        return Ok(None);
    }
    let rows = sqlx::query!("SELECT name, since FROM search_property").fetch_all(pool).await?;
    let declared: HashMap<String, DateTime<Utc>> =
        rows.into_iter().map(|row| (row.name, row.since)).collect();
    let found = wanted.iter().find_map(|(name, value)| {
        let since = *declared.get(*name)?;
        Some(Key { key: key_of(name, value), since_id: id_floor(since), since })
    });
    // What is not declared any more cannot be searched at all, from now back.
    let never = Key { key: 0, since_id: i64::MAX, since: now };
    Ok(found.or(filter.property.is_some().then_some(never)))
}

/// What the filter says of properties, the most telling first.
fn wanted(filter: &Filter) -> Vec<(&str, &str)> {
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    if let Some((name, value)) = &filter.property {
        return vec![(name, value)];
    }
    wanted.extend(filter.party.as_deref().map(|party| ("party.name", party)));
    if let Some(kind) = &filter.message_type {
        let (kind, event) = kind.split_once('^').unwrap_or((kind, ""));
        if !event.is_empty() {
            wanted.push(("hl7.event", event));
        }
        wanted.push(("hl7.type", kind));
    }
    wanted
}

/// Messages with this key and ids of `low..high`, newest first, each once.
pub(super) async fn ids(
    pool: &PgPool,
    key: Key,
    (low, high): (i64, i64),
    limit: usize,
) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar!(
        "SELECT id FROM message_search WHERE key = $1 AND id >= $2 AND id < $3 ORDER BY id DESC LIMIT $4",
        key.key,
        low,
        high,
        i64::try_from(limit).unwrap_or(i64::MAX)
    )
    .fetch_all(pool)
    .await
}
