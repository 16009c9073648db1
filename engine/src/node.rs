//! This node among others: its slot, its lease, and the lanes it owns.
//!
//! A slot is held by a lease in the table `node`, counted by the database's clock, and by an advisory lock of a session
//! that ends with the process. Where the lock of a slot is gone its holder is gone too, and nobody waits for the lease.
//! A process that was silent so long that others may have taken its lanes asks which ones it still has before it acts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::audit::{Chain, Purpose};
use crate::crash_point::Point as _;
use crate::ids::IdSource;
use crate::store::{Error, Store};

pub(crate) mod assignment;
pub(crate) mod wake;

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
    /// It was silent, or without its lock: others may have its lanes.
    doubtful: AtomicBool,
    /// Cancelled when another process has the slot.
    lost: CancellationToken,
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
        // Nothing this slot ever made may be made again, and no time that was written may come again.
        let floor = sqlx::query_scalar!(
            r#"SELECT greatest((SELECT max(id) FROM message), (SELECT max(id) FROM instance), (SELECT max(id) FROM parked),
                               (SELECT max(id) FROM task), (SELECT max(id) FROM outgoing_mail), (SELECT max(id) FROM interchange),
                               (SELECT max(id) FROM collector),
                               0) AS "floor!""#
        )
        .fetch_one(&mut session)
        .await?;
        store.clock().follow(crate::ids::made_at(floor).max(store.clock().now()));
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
            doubtful: AtomicBool::new(false),
            lost: CancellationToken::new(),
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
        !self.leaving.load(Ordering::SeqCst) && !self.doubtful.load(Ordering::SeqCst) && !self.was_silent()
    }

    /// True when this node must find out which lanes it still has; then it calls [`Node::trust`].
    pub(crate) fn is_doubtful(&self) -> bool {
        self.doubtful.load(Ordering::SeqCst)
    }

    /// Lanes of others are given up: this node may act again.
    pub(crate) fn trust(&self) {
        self.doubtful.store(false, Ordering::SeqCst);
    }

    /// Cancelled when another process has this node's slot: this one must end.
    #[must_use]
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    fn was_silent(&self) -> bool {
        self.now_ms() - self.last_beat_ms.load(Ordering::SeqCst) >= SILENCE_MAX_MS
    }

    fn now_ms(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    async fn beat(&self) -> Result<(), Error> {
        if !self.holds_slot().await? {
            tracing::warn!(
                node.slot = self.slot,
                "The lock of this node's slot is taken; nothing more is started"
            );
            return Ok(());
        }
        let asked_ms = self.now_ms();
        let hit = sqlx::query_scalar!(
            r#"UPDATE node SET beat_at = now(), expires_at = now() + interval '6 seconds'
                WHERE slot = $1 AND epoch = $2
            RETURNING clock_timestamp() AS "now!""#,
            self.slot,
            self.epoch
        )
        .fetch_optional(self.store.pool())
        .point("node: heartbeat")
        .await?;
        let Some(now) = hit else {
            tracing::error!(
                node.slot = self.slot,
                "Another process took the slot of this node; this one ends"
            );
            self.lost.cancel();
            return Ok(());
        };
        self.store.clock().follow(now);
        // In this order: whoever sees the fresh beat sees the doubt as well.
        if self.was_silent() {
            self.doubtful.store(true, Ordering::SeqCst);
        }
        self.last_beat_ms.store(asked_ms, Ordering::SeqCst);
        Ok(())
    }

    /// Whether the slot's lock is held. A session that was cut off lost it, and others took this node for dead: it is
    /// taken again, and with it comes the doubt.
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
            self.doubtful.store(true, Ordering::SeqCst);
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
                self.store.find_primary().await;
            }
        }
    }

    /// Slots of live nodes. A node whose lock is gone is dead; its lease is ended here, so that nobody waits for it.
    pub(crate) async fn live(&self) -> Result<Vec<i16>, Error> {
        let ended = sqlx::query_scalar!(
            r#"UPDATE node n SET expires_at = NULL
                WHERE slot <> $1 AND expires_at > now()
                  AND NOT EXISTS (SELECT FROM pg_locks l
                                   WHERE l.locktype = 'advisory' AND l.classid = 2 AND l.objid::bigint = n.slot
                                     AND l.objsubid = 2 AND l.granted
                                     AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))
            RETURNING slot"#,
            self.slot
        )
        .fetch_all(self.store.pool())
        .point("node: declare dead").await?;
        for slot in ended {
            tracing::warn!(node.slot = slot, "Node {slot} is gone");
        }
        let live = sqlx::query_scalar!("SELECT slot FROM node WHERE expires_at > now() ORDER BY slot")
            .fetch_all(self.store.pool())
            .await?;
        Ok(live)
    }

    /// Hands lanes over whose work is finished, and tells the others that they are free.
    pub(crate) async fn release(&self, lanes: &[i32]) -> Result<(), Error> {
        let mut tx = self.store.begin("node: release lanes").await?;
        sqlx::query!("UPDATE lane SET node = NULL WHERE id = ANY ($1) AND node = $2", lanes, self.slot)
            .execute(tx.connection())
            .await?;
        wake::tell_free(tx.connection(), self.slot).await?;
        tx.commit().await
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
        wake::tell_free(tx.connection(), self.slot).await?;
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
        .point("node: take a slot").await?;
        return Ok((slot, epoch));
    }
    Err(Error::Inconsistent { table: "node", column: "slot", row: "no slot can be taken".to_owned() })
}
