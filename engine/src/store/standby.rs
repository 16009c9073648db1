//! Reads that may be a moment old: from a hot standby while it is near, else from the database that takes writes.
//!
//! How near it is it says itself: the beat of this very node, written once a second, tells until when everything that was
//! committed is there. No row of the node is another database, or a standby of hours ago.

use std::str::FromStr as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

use super::{Store, own, patience, role};

/// How long the standby may take to say how near it is.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// How long a read of a page may last there before the primary is asked instead.
const READ_MAX: Duration = Duration::from_secs(15);
/// A standby that was away or too far behind is asked again after this time.
const PAUSE: Duration = Duration::from_secs(2);
/// Connections to it.
const CONNECTIONS_MAX: u32 = 6;

/// A hot standby that takes reads off the database that takes writes.
#[derive(Debug)]
pub struct Standby {
    pool: PgPool,
    behind_max: TimeDelta,
    state: Mutex<State>,
}

/// How it was found last.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// Not asked before.
    rests_until: Option<Instant>,
    /// What was logged last.
    is_used: Option<bool>,
}

/// What a read of the standby can have seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AsOf {
    /// Everything that was committed before this moment.
    pub at: DateTime<Utc>,
    /// How long ago that was.
    pub behind: TimeDelta,
}

impl Standby {
    /// A standby at an address of one host, read while it is no more than `behind_max` behind. It is connected to when it
    /// is first asked, so a server starts without it.
    ///
    /// # Errors
    ///
    /// An address that is none.
    pub fn at(address: &str, behind_max: Duration) -> sqlx::Result<Self> {
        let options =
            patience::limited(own(PgConnectOptions::from_str(address)?)).options([("role", role::ENGINE)]);
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(ANSWER_MAX)
            .connect_lazy_with(options);
        let behind_max = TimeDelta::from_std(behind_max).unwrap_or(TimeDelta::MAX);
        Ok(Self { pool, behind_max, state: Mutex::default() })
    }

    /// How near it is; none where it is away, too far behind, or another database.
    async fn near(&self, store: &Store) -> Option<AsOf> {
        let rests = self.state().rests_until.is_some_and(|until| Instant::now() < until);
        if rests {
            return None;
        }
        let found = tokio::time::timeout(ANSWER_MAX, self.as_of(store)).await;
        let near = found.ok().and_then(Result::ok).flatten().filter(|as_of| as_of.behind <= self.behind_max);
        self.note(near);
        near
    }

    async fn as_of(&self, store: &Store) -> sqlx::Result<Option<AsOf>> {
        let beat = sqlx::query_scalar!(
            r#"SELECT beat_at AS "at!" FROM node WHERE slot = $1 AND epoch = $2"#,
            store.slot(),
            store.epoch()
        )
        .fetch_optional(&self.pool)
        .await?;
        let now = store.clock().now();
        Ok(beat.map(|at| AsOf { at, behind: (now - at).max(TimeDelta::zero()) }))
    }

    fn note(&self, near: Option<AsOf>) {
        let mut state = self.state();
        state.rests_until = near.is_none().then(|| Instant::now() + PAUSE);
        if state.is_used == Some(near.is_some()) {
            return;
        }
        state.is_used = Some(near.is_some());
        match near {
            Some(as_of) => {
                let behind_ms = as_of.behind.num_milliseconds();
                tracing::info!(behind_ms, "Searches and the record are read from the standby");
            }
            None => tracing::warn!(
                "The standby for reading is away or too far behind; searches and the record are read from the primary"
            ),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the reads of one page go. The first that fails on the standby, or does not find there what must be somewhere, turns
/// to the primary, and all that follow stay there.
#[derive(Debug)]
pub struct Reading {
    primary: PgPool,
    standby: Mutex<Option<(PgPool, AsOf)>>,
}

impl Reading {
    /// Reads where everything that was committed is seen.
    #[must_use]
    pub fn of_primary(store: &Store) -> Self {
        Self { primary: store.pool().clone(), standby: Mutex::new(None) }
    }

    /// Reads from the standby where there is one that is near.
    pub async fn of(store: &Store) -> Self {
        let reading = Self::of_primary(store);
        if let Some(standby) = store.standby()
            && let Some(as_of) = standby.near(store).await
        {
            *reading.lock() = Some((standby.pool.clone(), as_of));
        }
        reading
    }

    /// What the reads so far can have seen; none where they went to the primary.
    #[must_use]
    pub fn as_of(&self) -> Option<AsOf> {
        self.lock().as_ref().map(|(_, as_of)| *as_of)
    }

    /// Runs a read; again on the primary when the standby fails, as it does when it must throw away what the read needs.
    ///
    /// # Errors
    ///
    /// Those of the read on the primary.
    pub async fn read<T, E, F>(&self, read: impl Fn(PgPool) -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        self.read_within(READ_MAX, read).await
    }

    /// As [`Reading::read`] for what lasts long: so long it may last on the standby.
    ///
    /// # Errors
    ///
    /// As [`Reading::read`].
    pub async fn read_within<T, E, F>(&self, most: Duration, read: impl Fn(PgPool) -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let standby = self.lock().as_ref().map(|(pool, _)| pool.clone());
        if let Some(pool) = standby {
            if let Ok(Ok(found)) = tokio::time::timeout(most, read(pool)).await {
                return Ok(found);
            }
            self.turn_to_primary();
        }
        read(self.primary.clone()).await
    }

    /// Runs a read of something by its id: what the standby does not have yet is looked for on the primary.
    ///
    /// # Errors
    ///
    /// As [`Reading::read`].
    pub async fn find<T, E, F>(&self, read: impl Fn(PgPool) -> F) -> Result<Option<T>, E>
    where
        F: Future<Output = Result<Option<T>, E>>,
    {
        let found = self.read(&read).await?;
        if found.is_none() && self.turn_to_primary() { read(self.primary.clone()).await } else { Ok(found) }
    }

    /// From here on the primary is read. Answers whether it was not read before.
    pub fn turn_to_primary(&self) -> bool {
        self.lock().take().is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(PgPool, AsOf)>> {
        self.standby.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The newest beat of any node that this database has: everything that was committed before it is there.
///
/// # Errors
///
/// Fails when the database does.
pub async fn newest_beat(pool: &PgPool) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!("SELECT max(beat_at) FROM node").fetch_one(pool).await
}
