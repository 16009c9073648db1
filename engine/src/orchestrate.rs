//! T2: the owner of orchestration lanes moves instances, one transaction for all lanes that have work.
//!
//! A batch is loaded in bulk, moved in memory by pure turns, and committed with everything the turns asked for. When a
//! batch cannot be committed, halves of it are tried; what fails alone is parked for a person, the rest goes on.

mod acknowledgments;
mod commit;
mod effects;
mod inputs;
mod load;
mod plan;
mod straight;
mod suspects;
mod turns;
mod versions;
mod worker;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt as _;
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use crate::audit::{Chain, Purpose};
use crate::crash_point::Point as _;
use crate::lane::Item;
use crate::store::Error;
use crate::timer::Timers;
use suspects::Suspects;
use turns::{Batch, Trouble};
use worker::{Shared, lock};

pub(crate) use plan::Stored;
pub(crate) use straight::{Straight, Through};
pub use worker::Worker;

/// Work rows of one batch.
const BATCH_MAX: usize = 200;
/// A batch of at least so many rows is followed by the next one not before [`PACE`]: where messages come that fast, a
/// transaction for more of them costs each one less, and the processor is what they wait for.
const PACE_FROM: usize = 8;
/// Shortest time from one batch of many to the next.
const PACE: Duration = Duration::from_millis(8);
/// Longest time between two looks at timers.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Attempts at one piece of work before it is parked.
const ATTEMPTS_MAX: u32 = 5;

/// What moves an instance: a piece of work, or a timer of an owned lane.
#[derive(Debug, Clone)]
pub(crate) enum Moved {
    Item(Box<Item>),
    Timer { instance: i64, token: u32 },
}

/// The loop with its connection and its audit chain.
struct Mover {
    shared: Arc<Shared>,
    connection: PgConnection,
    chain: Chain,
    timers: Timers,
    suspects: Suspects,
}

impl Mover {
    async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            self.leave_lanes();
            let (batch, suspected) = self.next_batch().await;
            if batch.is_empty() {
                self.shared.busy.store(false, Ordering::SeqCst);
                let now = self.shared.store.clock().now();
                let pause = self.timers.next().map_or(LOOK_EVERY, |at| {
                    (at - now).to_std().unwrap_or(Duration::from_millis(1)).min(LOOK_EVERY)
                });
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = self.shared.notify.notified() => {}
                    () = tokio::time::sleep(pause) => {}
                }
                continue;
            }
            self.shared.busy.store(true, Ordering::SeqCst);
            let (begun, rows) = (tokio::time::Instant::now(), batch.len());
            if suspected {
                self.move_carefully(batch).await;
            } else {
                self.move_all(batch).await;
            }
            if (PACE_FROM..BATCH_MAX / 2).contains(&rows) {
                stop.run_until_cancelled(tokio::time::sleep_until(begun + PACE)).await;
            }
        }
        self.shared.busy.store(false, Ordering::SeqCst);
        if let Err(error) = self.chain.close(&mut self.connection).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "Could not close an audit chain");
        }
    }

    /// Between two batches nothing of any lane is under way.
    fn leave_lanes(&mut self) {
        let leaving = std::mem::take(&mut *lock(&self.shared.leaving));
        if leaving.is_empty() {
            return;
        }
        self.shared.owned().retain(|lane| !leaving.contains(lane));
        for lane in &leaving {
            self.shared.lanes.close(*lane);
        }
        self.timers.clear();
        lock(&self.shared.left).extend(leaving);
    }

    /// What to move next, and whether it may be what ended the process before.
    async fn next_batch(&mut self) -> (Vec<Moved>, bool) {
        if !self.shared.node.may_act() {
            return (Vec::new(), false);
        }
        if self.shared.opened.swap(false, Ordering::SeqCst) {
            self.timers.clear();
        }
        let (mut open, claimed) = self.shared.open_lanes();
        if let Err(error) = self.suspects.note(&mut self.connection, &claimed).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "Could not read what ended the process");
            lock(&self.shared.claimed).extend(claimed);
            self.reload().await;
            return (Vec::new(), false);
        }
        if let Err(error) = self.timers.look(&self.shared.store, &open).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "Could not look for timers");
        }
        // Set before the work leaves the lanes, so that nobody sees both empty.
        self.shared.busy.store(true, Ordering::SeqCst);
        if !self.suspects.is_empty() {
            let now = self.shared.store.clock().now();
            let batch = self.suspects.next(&open, &self.shared.lanes, &mut self.timers, now);
            if !batch.is_empty() {
                return (batch, true);
            }
            open.retain(|lane| !self.suspects.holds(*lane));
        }
        let due = self.timers.take(self.shared.store.clock().now(), BATCH_MAX);
        let mut batch: Vec<Moved> =
            due.into_iter().map(|due| Moved::Timer { instance: due.instance, token: due.token }).collect();
        let items = self.shared.lanes.take(&self.shared.weighed(&open), BATCH_MAX);
        batch.extend(items.into_iter().map(|item| Moved::Item(Box::new(item))));
        (batch, false)
    }

    /// Moves what may have ended the process before, noted before it is begun.
    async fn move_carefully(&mut self, batch: Vec<Moved>) {
        let _held = self.shared.company.hold(self.suspects.was_begun(&batch)).await;
        match self.suspects.begin(&mut self.connection, &batch).await {
            Ok(true) => self.park_alone(&batch, &Trouble::Deadly).await,
            Ok(false) => self.move_all(batch.clone()).await,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "Could not note what is begun");
                return self.reload().await;
            }
        }
        if let Err(error) = self.suspects.finish(&mut self.connection, &batch).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "Could not note what is done");
        }
    }

    /// Commits a batch, in halves where the whole cannot be.
    async fn move_all(&mut self, batch: Vec<Moved>) {
        let mut rest = vec![(batch, 0_u32)];
        while let Some((mut batch, attempts)) = rest.pop() {
            let trouble = match AssertUnwindSafe(self.attempt(&batch)).catch_unwind().await {
                Ok(Ok(())) => continue,
                Ok(Err(trouble)) => trouble,
                Err(_) => {
                    // Outside of a turn: the connection may be in the middle of something.
                    self.reconnect().await;
                    Trouble::Panicked
                }
            };
            match self.judge(&trouble, attempts) {
                Verdict::Again => rest.push((batch, attempts + 1)),
                Verdict::Halve if batch.len() > 1 => {
                    // Lanes stand one after the other, each in sequence: any cut leaves beginnings of lanes in front.
                    let second = batch.split_off(batch.len() / 2);
                    rest.push((second, 0));
                    rest.push((batch, 0));
                }
                Verdict::Halve => self.park_alone(&batch, &trouble).await,
                Verdict::Reload => {
                    self.reload().await;
                    return;
                }
            }
        }
    }

    fn judge(&self, trouble: &Trouble, attempts: u32) -> Verdict {
        let error = match trouble {
            Trouble::Panicked | Trouble::Deadly => return Verdict::Halve,
            Trouble::Store(error) => error,
        };
        let state = error.sql_state().unwrap_or_default();
        if error.constraint() == Some("progress_once_per_range") || !error.surely_not_committed() {
            return Verdict::Reload;
        }
        match state.as_str() {
            // No fault of the work: the server goes down, has no room, is too slow, or does not take anything now.
            state
                if error.is_impatience()
                    || ["08", "25", "53", "58", "57P"].iter().any(|class| state.starts_with(class)) =>
            {
                tracing::error!(
                    error = error as &dyn std::error::Error,
                    "The database does not store turns now"
                );
                Verdict::Reload
            }
            // Moved or taken by somebody else, or a deadlock: what is loaded anew may fit.
            "OB002" | "OB003" | "40P01" | "40001" if attempts < ATTEMPTS_MAX => Verdict::Again,
            _ => {
                tracing::error!(
                    error = error as &dyn std::error::Error,
                    "Could not commit turns; looking for the one that cannot"
                );
                Verdict::Halve
            }
        }
    }

    /// Loads, moves and commits.
    async fn attempt(&mut self, batch: &[Moved]) -> Result<(), Trouble> {
        let shared = self.shared.clone();
        let current = shared.running.load_full();
        let now = shared.store.clock().now();
        let timers: Vec<Item> = batch
            .iter()
            .filter_map(|moved| match moved {
                Moved::Timer { instance, token } => Some(load::of_timer(*instance, *token)),
                Moved::Item(_) => None,
            })
            .collect();
        let items: Vec<&Item> = batch
            .iter()
            .filter_map(|moved| match moved {
                Moved::Item(item) => Some(item.as_ref()),
                Moved::Timer { .. } => None,
            })
            .chain(&timers)
            .collect();
        let loaded =
            load::load(&mut self.connection, &shared.store, &shared.versions, &current, &items).await?;
        let mut moving = Batch::new(&shared.store, &current, now, loaded);
        for moved in batch {
            moving.take(moved, &mut self.connection).await?;
        }
        self.commit(batch, moving.plan, now).await?;
        Ok(())
    }

    /// One piece of work cannot be committed: it is parked, and an instance it was for is suspended.
    async fn park_alone(&mut self, batch: &[Moved], trouble: &Trouble) {
        let (code, text) = match trouble {
            Trouble::Panicked => {
                ("panic", "The turn stopped with a defect of the program; nothing of it was kept.")
            }
            Trouble::Deadly => {
                ("deadly", "The program ended each time it handled this; nothing of it was kept.")
            }
            Trouble::Store(_) => ("turn.not_stored", "The turn could not be stored; nothing of it was kept."),
        };
        let shared = self.shared.clone();
        let current = shared.running.load_full();
        let now = shared.store.clock().now();
        for moved in batch {
            let mut parking = Batch::new(&shared.store, &current, now, load::Loaded::default());
            let item = match moved {
                Moved::Item(item) => item.as_ref().clone(),
                Moved::Timer { instance, token } => {
                    tracing::error!(instance, code, "A timer cannot be fired; its instance is suspended");
                    let lane = self.lane_of(*instance).await;
                    // In the same commit it is no timer any more, so that it does not come back by itself.
                    parking.plan.fired.push((*instance, *token));
                    Item { lane, ..load::of_timer(*instance, *token) }
                }
            };
            parking.park(&item, code, text);
            if let Err(error) = self.commit(batch, parking.plan, now).await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    lane = item.lane,
                    "Could not park work"
                );
                self.reload().await;
                return;
            }
            if let Some(instance) = item.instance {
                self.suspend(instance, code, text).await;
            }
        }
    }

    /// Lane of an instance; 0 when it ended meanwhile.
    async fn lane_of(&mut self, instance: i64) -> i32 {
        let lane = sqlx::query_scalar!("SELECT lane FROM instance WHERE id = $1", instance);
        lane.fetch_optional(&mut self.connection).await.ok().flatten().unwrap_or_default()
    }

    async fn suspend(&mut self, instance: i64, code: &str, text: &str) {
        let hit = sqlx::query!(
            "UPDATE instance SET state = 2, suspend_code = $2, waiting = $3, version = version + 1 WHERE id = $1",
            instance,
            code,
            text
        )
        .execute(&mut self.connection)
        .point("orchestrate: suspend").await;
        if let Err(error) = hit {
            tracing::error!(error = &error as &dyn std::error::Error, "Could not suspend an instance");
        }
    }

    /// What is in memory may be wrong: connects anew, reads the cursors, goes on from the log.
    async fn reload(&mut self) {
        loop {
            self.reconnect().await;
            self.timers.clear();
            if self.reload_lanes().await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn reconnect(&mut self) {
        loop {
            if let Ok(mut connection) = self.shared.store.connection().await
                && let Ok(chain) =
                    Chain::open(&mut connection, &self.shared.store, Purpose::Orchestrate).await
            {
                self.connection = connection;
                self.chain = chain;
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn reload_lanes(&mut self) -> Result<(), Error> {
        let owned = self.shared.owned().clone();
        let mine = self.shared.node.still_mine(&owned).await?;
        for lane in &owned {
            match mine.iter().find(|claimed| claimed.lane == *lane) {
                Some(claimed) => self.shared.lanes.open(claimed, self.shared.notify.clone()),
                None => {
                    tracing::warn!(lane, "Another node has lane {lane} now; giving it up");
                    self.shared.lanes.close(*lane);
                }
            }
        }
        self.shared.owned().retain(|lane| mine.iter().any(|claimed| claimed.lane == *lane));
        Ok(())
    }
}

enum Verdict {
    Again,
    Halve,
    Reload,
}
