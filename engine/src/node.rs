//! This node among others: its slot, its lease, and the lanes it owns.
//!
//! A slot is held by a lease in the table `node`, counted by the database's clock, and by an advisory lock of a session
//! that ends with the process. Who gets the lock of a slot knows that its holder is gone and need not wait for the lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::audit::{Chain, Purpose};
use crate::ids::IdSource;
use crate::store::{Error, Store};

/// Time between two beats.
const BEAT: Duration = Duration::from_secs(1);
/// A node that could not beat for so long starts nothing new; its lease ends two seconds later.
const SILENCE_MAX_MS: i64 = 4_000;

/// A node that joined.
#[derive(Debug)]
pub struct Node {
    store: Store,
    slot: i16,
    epoch: i64,
    started: Instant,
    last_beat_ms: AtomicI64,
    leaving: AtomicBool,
    /// Holds the slot's advisory lock.
    session: Mutex<Option<PgConnection>>,
}

/// A lane that this node just got.
#[derive(Debug, Clone)]
pub(crate) struct Claimed {
    pub(crate) lane: i32,
    pub(crate) subscriber: i32,
    pub(crate) epoch: i64,
    /// The cursor: what is behind it was consumed.
    pub(crate) cursor: i64,
    pub(crate) cursor_at: chrono::DateTime<chrono::Utc>,
    /// Its owner before never gave it back: it crashed, or lost the database.
    pub(crate) lost: bool,
}

impl Node {
    /// Takes a free slot, or that of a node that is gone.
    ///
    /// # Errors
    ///
    /// Fails when the database does.
    pub async fn join(store: &Store) -> Result<Arc<Self>, Error> {
        let mut session = store.connection().await?;
        let (slot, epoch) = take_slot(&mut session).await?;
        // Nothing this slot ever made may be made again, even when the clock went back.
        let floor = sqlx::query_scalar!(
            r#"SELECT greatest((SELECT max(id) FROM message), (SELECT max(id) FROM instance), (SELECT max(id) FROM parked),
                               (SELECT max(id) FROM task), (SELECT max(id) FROM outgoing_mail), 0) AS "floor!""#
        )
        .fetch_one(&mut session)
        .await?;
        store.joined(slot, epoch, IdSource::new(store.clock().clone(), slot, floor));
        let chain = Chain::open(&mut session, store, Purpose::Record).await?;
        store.set_record_chain(chain.id());
        let node = Self {
            store: store.clone(),
            slot,
            epoch,
            started: Instant::now(),
            last_beat_ms: AtomicI64::new(0),
            leaving: AtomicBool::new(false),
            session: Mutex::new(Some(session)),
        };
        node.beat().await?;
        tracing::info!(node.slot = slot, node.epoch = epoch, "Joined as node {slot}");
        Ok(Arc::new(node))
    }

    /// Its slot.
    #[must_use]
    pub fn slot(&self) -> i16 {
        self.slot
    }

    /// False while the lease may have passed to another: nothing new is started and nothing is sent.
    #[must_use]
    pub fn may_act(&self) -> bool {
        let now = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        !self.leaving.load(Ordering::Relaxed)
            && now - self.last_beat_ms.load(Ordering::Relaxed) < SILENCE_MAX_MS
    }

    async fn beat(&self) -> Result<(), Error> {
        if !self.holds_slot().await? {
            tracing::error!(
                node.slot = self.slot,
                "Another process has the lock of this node's slot; nothing more is started"
            );
            return Ok(());
        }
        let hit = sqlx::query!(
            r#"UPDATE node SET beat_at = now(), expires_at = now() + interval '6 seconds' WHERE slot = $1 AND epoch = $2"#,
            self.slot,
            self.epoch
        )
        .execute(self.store.pool())
        .await?
        .rows_affected();
        if hit == 1 {
            let now = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
            self.last_beat_ms.store(now, Ordering::Relaxed);
        } else {
            tracing::error!(
                node.slot = self.slot,
                "Another process took the slot of this node; nothing more is started"
            );
        }
        Ok(())
    }

    /// Whether the slot's lock is held. A session that was cut off lost it: it is taken again, unless somebody else was
    /// faster and must have taken this node for dead.
    async fn holds_slot(&self) -> Result<bool, Error> {
        let mut session = self.session.lock().await;
        if let Some(alive) = session.as_mut()
            && alive.ping().await.is_ok()
        {
            return Ok(true);
        }
        *session = None;
        let mut fresh = self.store.connection().await?;
        let locked =
            sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock(2, $1) AS "locked!""#, i32::from(self.slot))
                .fetch_one(&mut fresh)
                .await?;
        if locked {
            *session = Some(fresh);
        }
        Ok(locked)
    }

    /// Beats until told to stop.
    pub async fn keep_beating(self: Arc<Self>, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(BEAT)).await.is_some() {
            if let Err(error) = self.beat().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "Could not renew the lease of this node"
                );
            }
        }
    }

    /// Claims lanes that are free or whose owner is gone, and reads where their consumers stood.
    pub(crate) async fn claim(&self, lanes: &[i32]) -> Result<Vec<Claimed>, Error> {
        let mut tx = self.store.begin("node: claim lanes").await?;
        let claimed = sqlx::query!(
            r#"UPDATE lane l
                  SET node = $1, epoch = l.epoch + 1
                 FROM lane before
                WHERE before.id = l.id
                  AND l.id = ANY ($2)
                  AND (l.node IS NULL OR l.node = $1
                       OR l.node NOT IN (SELECT slot FROM node WHERE expires_at > now()))
            RETURNING l.id, l.subscriber, l.epoch, l.base, before.node IS NOT NULL AS "lost!""#,
            self.slot,
            lanes
        )
        .fetch_all(tx.connection())
        .await?;
        let ids: Vec<i32> = claimed.iter().map(|lane| lane.id).collect();
        let cursors = sqlx::query!(
            r#"SELECT u.lane AS "lane!", p.to_sequence, p.to_created_at
                 FROM unnest($1::integer[]) AS u(lane)
                CROSS JOIN LATERAL (
                      SELECT to_sequence, to_created_at FROM progress WHERE lane = u.lane ORDER BY from_sequence DESC LIMIT 1
                      ) p"#,
            &ids
        )
        .fetch_all(tx.connection())
        .await?;
        tx.commit().await?;
        let cursors: std::collections::HashMap<i32, _> =
            cursors.into_iter().map(|row| (row.lane, row)).collect();
        Ok(claimed
            .into_iter()
            .map(|lane| {
                let cursor = cursors.get(&lane.id);
                Claimed {
                    lane: lane.id,
                    subscriber: lane.subscriber,
                    epoch: lane.epoch,
                    cursor: cursor.map_or(lane.base, |row| row.to_sequence.max(lane.base)),
                    cursor_at: cursor.map_or(chrono::DateTime::UNIX_EPOCH, |row| row.to_created_at),
                    lost: lane.lost,
                }
            })
            .collect())
    }

    /// Those of the lanes that are still this node's, with their cursors as the database has them.
    pub(crate) async fn still_mine(&self, lanes: &[i32]) -> Result<Vec<Claimed>, Error> {
        let rows = sqlx::query!(
            r#"SELECT l.id, l.subscriber, l.epoch, l.base, p.to_sequence AS "to_sequence?", p.to_created_at AS "to_created_at?"
                 FROM lane l
                 LEFT JOIN LATERAL (
                      SELECT to_sequence, to_created_at FROM progress WHERE lane = l.id ORDER BY from_sequence DESC LIMIT 1
                      ) p ON true
                WHERE l.id = ANY ($1) AND l.node = $2"#,
            lanes,
            self.slot
        )
        .fetch_all(self.store.pool())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| Claimed {
                lane: row.id,
                subscriber: row.subscriber,
                epoch: row.epoch,
                cursor: row.to_sequence.unwrap_or(0).max(row.base),
                cursor_at: row.to_created_at.unwrap_or(chrono::DateTime::UNIX_EPOCH),
                lost: false,
            })
            .collect())
    }

    /// Gives its lanes and its slot back. Nothing of this node may commit work afterwards.
    ///
    /// # Errors
    ///
    /// Fails when the database does; then the lease runs out by itself.
    pub async fn leave(&self) -> Result<(), Error> {
        self.leaving.store(true, Ordering::Relaxed);
        let mut tx = self.store.begin("node: leave").await?;
        sqlx::query!("UPDATE lane SET node = NULL WHERE node = $1", self.slot)
            .execute(tx.connection())
            .await?;
        sqlx::query!(
            "UPDATE node SET expires_at = NULL WHERE slot = $1 AND epoch = $2",
            self.slot,
            self.epoch
        )
        .execute(tx.connection())
        .await?;
        let chain = self.store.record_chain();
        sqlx::query!("SELECT pg_advisory_xact_lock(3, $1)", chain).execute(tx.connection()).await?;
        sqlx::query!(
            "UPDATE audit_chain
                SET last = coalesce((SELECT max(number) FROM audit_block WHERE chain = $1), 0)
              WHERE id = $1",
            chain
        )
        .execute(tx.connection())
        .await?;
        tx.commit().await?;
        if let Some(session) = self.session.lock().await.take() {
            session.close().await?;
        }
        Ok(())
    }
}

async fn take_slot(session: &mut PgConnection) -> Result<(i16, i64), Error> {
    let slots = sqlx::query!(
        r#"SELECT slot, coalesce(expires_at < now(), true) AS "free!" FROM node ORDER BY 2 DESC, 1"#
    )
    .fetch_all(&mut *session)
    .await?;
    let fresh = slots.iter().map(|row| row.slot + 1).max().unwrap_or(0);
    for slot in slots.into_iter().map(|row| row.slot).chain(fresh..fresh.saturating_add(16)) {
        // The lock of a living process is never given, whatever its lease says: it may only be slow.
        let locked =
            sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock(2, $1) AS "locked!""#, i32::from(slot))
                .fetch_one(&mut *session)
                .await?;
        if !locked {
            continue;
        }
        let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
        let epoch = sqlx::query_scalar!(
            r#"INSERT INTO node AS n (slot, epoch, host, process, started_at, beat_at, expires_at)
               VALUES ($1, 1, $2, $3, now(), now(), now() + interval '6 seconds')
                   ON CONFLICT (slot) DO UPDATE
                  SET epoch = n.epoch + 1, host = excluded.host, process = excluded.process, started_at = now(),
                      beat_at = now(), expires_at = excluded.expires_at
            RETURNING epoch"#,
            slot,
            host.trim(),
            i32::try_from(std::process::id()).unwrap_or_default()
        )
        .fetch_one(&mut *session)
        .await?;
        return Ok((slot, epoch));
    }
    Err(Error::Inconsistent { table: "node", column: "slot", row: "no slot can be taken".to_owned() })
}
