//! The transaction T3: outcomes of all send lanes that came in during the last commit, in one round trip.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::batch::{Batch, Context};
use super::columns::{KeptColumns, RangeColumns};
use super::{Done, Shared, UNCONFIRMED_MAX};
use crate::audit::{Chain, Purpose};
use crate::crash_point::Point as _;
use crate::lane::{Item, Range};
use crate::store::{Error, unless_empty};
use crate::tracking::Rows;
use crate::work;

/// Outcomes of one commit.
const BATCH_MAX: usize = 1_000;
/// How long outcomes that nobody waits for are gathered: a transaction costs as much as twenty rows of it. What a crash
/// sends twice grows by so much.
const GATHER_TIME: Duration = Duration::from_millis(10);
/// An instance is told that bytes were written only when the answer takes longer than this.
const WRITTEN_AFTER: Duration = Duration::from_millis(500);

pub(super) struct Committer {
    shared: Arc<Shared>,
    connection: PgConnection,
    chain: Chain,
    /// Outcomes per lane that wait for an earlier one.
    early: HashMap<i32, BTreeMap<i64, Done>>,
    /// Bytes that are written, until the answer comes: message and send, when.
    written: HashMap<(i64, u32), (Instant, Done)>,
}

pub(super) async fn run(
    mut committer: Committer,
    mut outcomes: mpsc::UnboundedReceiver<Done>,
    stop: CancellationToken,
) {
    let mut done = Vec::new();
    loop {
        tokio::select! {
            biased;
            count = outcomes.recv_many(&mut done, BATCH_MAX) => if count == 0 { break },
            () = stop.cancelled() => break,
            () = tokio::time::sleep(WRITTEN_AFTER), if !committer.written.is_empty() => {}
        }
        if !done.is_empty() && done.iter().all(Done::can_wait) {
            tokio::select! {
                () = tokio::time::sleep(GATHER_TIME) => {}
                () = committer.shared.hurry.notified() => {}
                () = stop.cancelled() => {}
            }
        }
        while done.len() < BATCH_MAX
            && let Ok(further) = outcomes.try_recv()
        {
            done.push(further);
        }
        let batch = committer.in_order(std::mem::take(&mut done));
        if !batch.is_empty() {
            committer.commit(batch).await;
        }
    }
    committer.close().await;
}

impl Committer {
    pub(super) async fn open(shared: &Arc<Shared>) -> Result<Self, Error> {
        let mut connection = shared.store.connection().await?;
        let chain = Chain::open(&mut connection, &shared.store, Purpose::Deliver).await?;
        Ok(Self { shared: shared.clone(), connection, chain, early: HashMap::new(), written: HashMap::new() })
    }

    async fn close(mut self) {
        if let Err(error) = self.chain.close(&mut self.connection).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "Could not close an audit chain");
        }
    }

    /// Keeps what came before its turn; a range must begin where the last one ended.
    fn in_order(&mut self, done: Vec<Done>) -> Vec<Done> {
        let mut batch = Vec::with_capacity(done.len());
        let mut touched = HashSet::new();
        for done in done {
            if let Done::Attempt(work, _) = &done
                && let Some(send) = &work.send
            {
                self.written.remove(&(work.message_id.0, send.send));
            }
            if let Done::Written { message, send, .. } = &done {
                self.written.insert((message.0, send.send), (Instant::now(), done));
            } else if let Some((lane, sequence, _)) = done.place() {
                touched.insert(lane);
                self.early.entry(lane).or_default().insert(sequence, done);
            } else {
                batch.push(done);
            }
        }
        for lane in touched {
            let Some(cursor) = self.shared.lanes.cursor(lane) else {
                self.forget_early(lane);
                continue;
            };
            let Some(early) = self.early.get_mut(&lane) else { continue };
            let mut next = cursor + 1;
            while let Some(done) = early.remove(&next) {
                batch.push(done);
                next += 1;
            }
        }
        let due: Vec<_> = self
            .written
            .iter()
            .filter(|(_, (at, _))| at.elapsed() >= WRITTEN_AFTER)
            .map(|(key, _)| *key)
            .collect();
        batch.extend(due.into_iter().filter_map(|key| self.written.remove(&key)).map(|(_, done)| done));
        batch
    }

    /// The lane is another node's: what waits for its turn will not be written here.
    fn forget_early(&mut self, lane: i32) {
        let count = self.early.remove(&lane).map_or(0, |early| early.len());
        if let Some(state) = self.shared.states().get_mut(&lane) {
            state.unconfirmed = state.unconfirmed.saturating_sub(count);
        }
    }

    /// Commits a batch, whatever it takes; only a lost lane makes it give up, and only that lane.
    async fn commit(&mut self, mut batch: Vec<Done>) {
        let mut gone: HashSet<i64> = HashSet::new();
        // Blocks of attempts whose answer was lost: where one of them is stored, so is everything of the batch.
        let mut unsure: Vec<(i32, i64)> = Vec::new();
        loop {
            if self.is_recorded(&unsure).await {
                return self.was_committed(&batch);
            }
            let place = self.chain.next_place();
            let Err(error) = self.write(&batch, &gone).await else { return };
            if self.is_recorded(&unsure).await {
                return self.was_committed(&batch);
            }
            if error.constraint().is_some_and(|name| name.contains("pkey") || name.starts_with("progress")) {
                batch = self.without_lost_lanes(batch).await;
                if batch.is_empty() {
                    return;
                }
            } else if error.sql_state().as_deref() == Some("OB003") {
                if let Ok(missing) = self.missing(&batch).await {
                    gone.extend(missing);
                }
            } else {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    outcomes = batch.len(),
                    "Could not commit deliveries; trying again"
                );
                tokio::time::sleep(Duration::from_millis(200)).await;
                if !error.surely_not_committed() {
                    unsure.push(place);
                    self.reconnect().await;
                }
            }
        }
    }

    async fn is_recorded(&mut self, blocks: &[(i32, i64)]) -> bool {
        if blocks.is_empty() {
            return false;
        }
        let (chains, numbers): (Vec<i32>, Vec<i64>) = blocks.iter().copied().unzip();
        let found = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM unnest($1::integer[], $2::bigint[]) AS u(chain, number)
                                JOIN audit_block b USING (chain, number)) AS "found!""#,
            &chains,
            &numbers
        )
        .fetch_one(&mut self.connection)
        .await;
        found.unwrap_or(false)
    }

    /// The answer to the commit was lost, but it happened. What it appended was not handed over: the log is read.
    fn was_committed(&self, done: &[Done]) {
        self.shared.lanes.committed(&self.ranges(done));
        // Keys stay blocked; what comes behind them next finds out that nobody holds them.
        self.settle(done, &Batch::default(), &[]);
        self.shared.retries.notify_one();
        let homes: Vec<i32> = done.iter().filter_map(Done::home).collect();
        self.shared.store.wake(&homes);
    }

    async fn reconnect(&mut self) {
        if let Ok(mut connection) = self.shared.store.connection().await
            && let Ok(chain) = Chain::open(&mut connection, &self.shared.store, Purpose::Deliver).await
        {
            self.connection = connection;
            self.chain = chain;
        }
    }

    async fn missing(&mut self, batch: &[Done]) -> Result<Vec<i64>, Error> {
        let ids: Vec<i64> = batch.iter().filter_map(Done::parked).collect();
        let there = sqlx::query_scalar!("SELECT id FROM parked WHERE id = ANY ($1)", &ids)
            .fetch_all(&mut self.connection)
            .await?;
        Ok(ids.into_iter().filter(|id| !there.contains(id)).collect())
    }

    /// A range was there already: either our own commit happened although its answer was lost, or another node has the
    /// lane. Either way these outcomes are not written again.
    async fn without_lost_lanes(&mut self, batch: Vec<Done>) -> Vec<Done> {
        let ranges = self.ranges(&batch);
        let mut over: HashSet<i32> = HashSet::new();
        for range in ranges {
            let found = sqlx::query!(
                "SELECT to_sequence, epoch FROM progress WHERE lane = $1 AND from_sequence = $2",
                range.lane,
                range.from
            )
            .fetch_optional(&mut self.connection)
            .await;
            match found {
                Ok(None) | Err(_) => {}
                Ok(Some(row)) if row.epoch == range.epoch && row.to_sequence == range.to => {
                    self.shared.lanes.committed(std::slice::from_ref(&range));
                    over.insert(range.lane);
                }
                Ok(Some(_)) => {
                    tracing::warn!(
                        lane = range.lane,
                        "Another node went on with lane {}; giving it up",
                        range.lane
                    );
                    self.shared.lanes.close(range.lane);
                    self.forget_early(range.lane);
                    if let Some(state) = self.shared.states().get_mut(&range.lane) {
                        state.closed = true;
                        state.notify.notify_one();
                    }
                    over.insert(range.lane);
                }
            }
        }
        let (lost, kept) = batch.into_iter().partition::<Vec<_>, _>(|done| over.contains(&done.lane()));
        let mut states = self.shared.states();
        for done in lost {
            if let Some(state) = states.get_mut(&done.lane()) {
                if let Some(key) = done.holds() {
                    state.is_parked(key);
                }
                state.unconfirmed = state.unconfirmed.saturating_sub(1);
                state.notify.notify_one();
            }
        }
        kept
    }

    fn ranges(&self, batch: &[Done]) -> Vec<Range> {
        let mut ends: BTreeMap<i32, (i64, DateTime<Utc>)> = BTreeMap::new();
        for (lane, sequence, created_at) in batch.iter().filter_map(Done::place) {
            let end = ends.entry(lane).or_insert((sequence, created_at));
            if sequence > end.0 {
                *end = (sequence, created_at);
            }
        }
        ends.into_iter().filter_map(|(lane, (to, at))| self.shared.lanes.range(lane, to, at)).collect()
    }

    async fn write(&mut self, done: &[Done], gone: &HashSet<i64>) -> Result<(), Error> {
        let begun = Instant::now();
        let shared = self.shared.clone();
        let now = shared.store.clock().now();
        let current = shared.running.load_full();
        let ids = shared.store.ids();
        let context = Context { ids: &ids, current: &current, gone };
        let mut batch = Batch { ranges: self.ranges(done), ..Batch::default() };
        for done in done {
            batch.add(done, &context);
        }
        let (tails, held, work) = self.execute(&batch, now).await?;
        shared.lanes.committed(&batch.ranges);
        let items = batch.work.iter().enumerate().map(|(index, new)| Item {
            lane: new.lane,
            sequence: work.sequence(&tails, index),
            created_at: now,
            kind: new.kind,
            subject: new.subject,
            key: new.key,
            instance: new.instance.map(|instance| instance.0),
            detail: new.detail.clone(),
            message: batch
                .heard
                .iter()
                .find(|(id, _)| {
                    id.0 == new.subject && matches!(new.kind, work::Kind::Answered | work::Kind::Message)
                })
                .map(|(_, answer)| answer.clone())
                .or_else(|| {
                    let reported = batch.reported.iter().find(|(id, _)| *id == new.subject);
                    reported.filter(|_| new.kind == work::Kind::Message).map(|(_, message)| message.clone())
                }),
        });
        shared.lanes.hand_over(items);
        self.settle(done, &batch, &held);
        for notice in batch.notices {
            shared.notices.tell(notice);
        }
        metrics::histogram!("orderly_transaction_seconds", "transaction" => "deliver")
            .record(begun.elapsed().as_secs_f64());
        metrics::histogram!("orderly_batch_rows", "transaction" => "deliver").record(done.len() as f64);
        Ok(())
    }

    /// The batch is committed: senders may go on.
    fn settle(&self, done: &[Done], batch: &Batch, held: &[bool]) {
        let mut states = self.shared.states();
        for done in done {
            let Some(state) = states.get_mut(&done.lane()) else { continue };
            if let Some(parked) = done.parked() {
                state.retrying.remove(&parked);
            }
            if let Some(key) = done.holds() {
                state.is_parked(key);
            }
            if !matches!(done, Done::Written { .. }) {
                // Only a lane at the limit waits for this; waking the others costs each message a wake-up for nothing.
                if state.unconfirmed >= UNCONFIRMED_MAX {
                    state.notify.notify_one();
                }
                state.unconfirmed = state.unconfirmed.saturating_sub(1);
            }
        }
        for ((lane, key), held) in batch.released.iter().zip(held) {
            // What was given to us meanwhile will hold the key, too.
            if let Some(state) = states.get_mut(lane)
                && !held
                && !state.parking.contains_key(key)
            {
                state.blocked.remove(key);
            }
        }
        if !batch.released.is_empty() {
            self.shared.retries.notify_one();
        }
    }

    /// One transaction, one round trip: the tails of the lanes that got work, and which released keys are still held.
    #[expect(clippy::too_many_lines, reason = "one statement and its parameters, in order")]
    async fn execute(
        &mut self,
        batch: &Batch,
        now: DateTime<Utc>,
    ) -> Result<(Vec<i64>, Vec<bool>, work::Columns), Error> {
        let store = &self.shared.store;
        let ranges = RangeColumns::of(&batch.ranges);
        let rows = Rows::of(now, store.slot(), batch.entries.iter());
        let block = self.chain.seal(now, &rows.leaves);
        let work = work::Columns::of(batch.work.iter(), |lane| self.shared.lanes.newest(lane));
        let (released_lanes, released_keys): (Vec<i32>, Vec<i64>) = batch.released.iter().copied().unzip();
        let mut locked: Vec<i32> =
            batch.parked.lane.iter().flatten().copied().chain(released_lanes.iter().copied()).collect();
        locked.sort_unstable();
        locked.dedup();
        let closed: (Vec<i64>, Vec<i64>, Vec<i32>) = batch.closed.iter().copied().collect();
        let kept = KeptColumns::of(batch);
        let row = sqlx::query!(
            r#"WITH claimed AS MATERIALIZED (SELECT claim_ranges($1, $2, $3, $4, $5) AS n),
                    locked AS MATERIALIZED (SELECT lock_parked($6) AS n FROM claimed),
                    stored AS MATERIALIZED (
                    SELECT store_messages($7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19) AS n FROM locked),
                    parked AS MATERIALIZED (
                    SELECT park_work($7, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33) AS n
                      FROM stored),
                    changed AS MATERIALIZED (SELECT change_parked($34, $35, $36, $37, $38, $39) AS n FROM parked),
                    gone AS MATERIALIZED (SELECT unpark($40) AS n FROM changed),
                    released AS MATERIALIZED (SELECT release_parked($7, $41, $42) AS held FROM gone),
                    closed AS MATERIALIZED (SELECT close_expectations($43, $44, $45) AS n, held FROM released),
                    tracked AS MATERIALIZED (
                    SELECT record_tracking($7, $46, $47, $48, $49, $50, $51, $52, $53, $54, $55, $56, $57, $58, $59) AS n,
                           held
                      FROM closed)
               SELECT append_work($7, $60, $61, $62, $63, $64, $65, $66, $67, $68) AS "tails!", coalesce(held, '{}') AS "held!"
                 FROM tracked"#,
            &ranges.lane,
            &ranges.from,
            &ranges.to,
            &ranges.to_created_at,
            &ranges.epoch,
            unless_empty(&locked),
            now,
            &kept.id,
            &kept.retention,
            &kept.parent,
            &kept.source,
            &kept.none as _,
            &kept.message_type as _,
            &kept.control_id as _,
            &kept.none as _,
            &kept.charset,
            &kept.sha256 as _,
            &kept.no_bytes as _,
            &kept.body as _,
            unless_empty(&batch.parked.id),
            unless_empty(&batch.parked.lane) as _,
            unless_empty(&batch.parked.subscriber) as _,
            unless_empty(&batch.parked.sequence),
            unless_empty(&batch.parked.kind),
            unless_empty(&batch.parked.subject),
            unless_empty(&batch.parked.key),
            unless_empty(&batch.parked.instance) as _,
            unless_empty(&batch.parked.detail) as _,
            unless_empty(&batch.parked.state),
            unless_empty(&batch.parked.attempt),
            unless_empty(&batch.parked.due_at) as _,
            unless_empty(&batch.parked.code),
            unless_empty(&batch.parked.reason),
            unless_empty(&batch.changed.id),
            unless_empty(&batch.changed.state),
            unless_empty(&batch.changed.attempt),
            unless_empty(&batch.changed.due_at) as _,
            unless_empty(&batch.changed.code),
            unless_empty(&batch.changed.reason),
            unless_empty(&batch.unparked),
            unless_empty(&released_lanes),
            unless_empty(&released_keys),
            unless_empty(&closed.0),
            unless_empty(&closed.1),
            unless_empty(&closed.2),
            store.slot(),
            &rows.kind,
            &rows.message as _,
            &rows.instance as _,
            &rows.subscriber as _,
            &rows.task as _,
            &rows.person as _,
            &rows.config_version,
            &rows.detail as _,
            block.chain,
            block.number,
            &block.root[..],
            &block.previous[..],
            &block.hash[..],
            &work.lane,
            &work.hint,
            &work.place,
            &work.number,
            &work.kind,
            &work.subject,
            &work.key,
            &work.instance as _,
            &work.detail as _,
        )
        .fetch_one(&mut self.connection)
        .point("deliver").await?;
        if !batch.entries.is_empty() {
            self.chain.advance(&block);
        }
        Ok((row.tails, row.held, work))
    }
}
