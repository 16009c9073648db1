//! Timers of this node's instances: the next minutes in memory, the rest in the table.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use crate::store::{Error, Store};

/// How far ahead rows are held in memory.
const AHEAD: TimeDelta = TimeDelta::minutes(5);
/// Time between two looks into the table.
const LOOK_EVERY: TimeDelta = TimeDelta::minutes(1);

/// A timer in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Due {
    pub(crate) at: DateTime<Utc>,
    pub(crate) instance: i64,
    pub(crate) token: u32,
}

/// Timers that come up soon.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeSet<Due>,
    by_place: BTreeMap<(i64, u32), DateTime<Utc>>,
    looked_at: Option<DateTime<Utc>>,
}

impl Timers {
    /// Notes a timer that was just committed, when it comes up soon.
    pub(crate) fn set(&mut self, now: DateTime<Utc>, due: Due) {
        self.cancel(due.instance, due.token);
        if due.at <= now + AHEAD {
            self.by_place.insert((due.instance, due.token), due.at);
            self.due.insert(due);
        }
    }

    /// Forgets one timer.
    pub(crate) fn cancel(&mut self, instance: i64, token: u32) {
        if let Some(at) = self.by_place.remove(&(instance, token)) {
            self.due.remove(&Due { at, instance, token });
        }
    }

    /// Forgets all timers of an ended instance.
    pub(crate) fn forget(&mut self, instance: i64) {
        let places: Vec<(i64, u32)> =
            self.by_place.range((instance, 0)..=(instance, u32::MAX)).map(|(place, _)| *place).collect();
        for (instance, token) in places {
            self.cancel(instance, token);
        }
    }

    /// Forgets everything; the next look reads the table again.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes what is due, `most` at a time, the oldest first.
    pub(crate) fn take(&mut self, now: DateTime<Utc>, most: usize) -> Vec<Due> {
        let taken: Vec<Due> = self.due.iter().take_while(|due| due.at <= now).take(most).copied().collect();
        for due in &taken {
            self.cancel(due.instance, due.token);
        }
        taken
    }

    /// When the next one comes up.
    pub(crate) fn next(&self) -> Option<DateTime<Utc>> {
        self.due.first().map(|due| due.at)
    }

    /// Reads the table when the last look is old.
    pub(crate) async fn look(&mut self, store: &Store, lanes: &[i32]) -> Result<(), Error> {
        let now = store.clock().now();
        if self.looked_at.is_some_and(|at| now < at + LOOK_EVERY && at <= now) {
            return Ok(());
        }
        let rows = sqlx::query!(
            "SELECT due_at, instance, token FROM timer WHERE lane = ANY ($1) AND due_at <= $2 ORDER BY due_at LIMIT 100000",
            lanes,
            now + AHEAD
        )
        .fetch_all(store.pool())
        .await?;
        for row in rows {
            let token = u32::try_from(row.token).unwrap_or_default();
            self.set(now, Due { at: row.due_at, instance: row.instance, token });
        }
        self.looked_at = Some(now);
        Ok(())
    }
}
