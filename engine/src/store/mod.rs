//! The database: connections, named transactions, the schema and what must be true of the server.

mod durability;
mod hosts;
pub mod partition;
pub(crate) mod patience;
mod role;
mod standby;
pub mod testing;

use std::sync::atomic::{AtomicI16, AtomicI32, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, Postgres, Transaction};
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::crash_point::Point as _;
use crate::disk::Disk;
use crate::ids::IdSource;
use crate::tracking;

pub use durability::Durability;
pub use hosts::Hosts;
pub use standby::{AsOf, Reading, Standby, newest_beat};

/// Schema of the message box, applied at start.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");

/// What can go wrong between the engine and its database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database refused or could not be reached.
    #[error("the database did not do it")]
    Database(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("could not bring the schema up to date")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A setting of the server would break the promise behind every acknowledgment.
    #[error(
        "the database server has {setting} = {value}: an acknowledged message could be lost; set it to {wanted}"
    )]
    NotDurable {
        /// Name of the setting.
        setting: &'static str,
        /// What it is.
        value: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// Nobody but an administrator can make the role that the engine works as.
    #[error(
        "the database user {user} may not act as the role orderly_engine, which adds to the record but never changes \
         it: let an administrator run `CREATE ROLE orderly_engine NOLOGIN; GRANT orderly_engine TO \"{user}\";`"
    )]
    NoEngineRole {
        /// The user of the connection.
        user: String,
    },
    /// Nobody but the owner can give the engine its rights.
    #[error(
        "the database user {user} does not own the tables of orderly: connect as their owner, who brings the schema up \
         to date and gives the role orderly_engine its rights"
    )]
    NotOwner {
        /// The user of the connection.
        user: String,
    },
    /// A stored row cannot be read.
    #[error("row {row} of {table} cannot be read: {column}")]
    Inconsistent {
        /// Table of the row.
        table: &'static str,
        /// What in it is wrong.
        column: &'static str,
        /// Its key.
        row: String,
    },
}

impl Error {
    /// True when the server answered with an error, so the transaction surely is not committed.
    #[must_use]
    pub fn surely_not_committed(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(_)))
    }

    /// Whether two transactions were in each other's way (deadlock, serialisation): the same one can succeed next time.
    #[must_use]
    pub fn is_clash(&self) -> bool {
        self.sql_state().is_some_and(|state| matches!(state.as_str(), "40P01" | "40001"))
    }

    /// Whether the server gave up because something took too long: a lock that another holds, or the statement itself. It
    /// is no fault of what was to be written.
    #[must_use]
    pub fn is_impatience(&self) -> bool {
        self.sql_state().is_some_and(|state| matches!(state.as_str(), "55P03" | "57014"))
    }

    /// The five-letter SQLSTATE, when the server gave one.
    #[must_use]
    pub fn sql_state(&self) -> Option<String> {
        match self {
            Self::Database(sqlx::Error::Database(error)) => error.code().map(std::borrow::Cow::into_owned),
            _ => None,
        }
    }

    /// Name of the violated constraint, when that was it.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Database(sqlx::Error::Database(error)) => error.constraint(),
            _ => None,
        }
    }
}

/// A parameter of a function that is called only when there is something for it: null spares the call.
pub(crate) fn unless_empty<T>(column: &[T]) -> Option<&[T]> {
    only_if(!column.is_empty(), column)
}

/// The same for a function with several groups of columns, any of which may be empty.
pub(crate) fn only_if<T>(any: bool, column: &[T]) -> Option<&[T]> {
    any.then_some(column)
}

/// The database as the engine uses it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: PgPool,
    hosts: Hosts,
    /// The same for connections that a loop keeps.
    loops: Hosts,
    clock: Clock,
    slot: AtomicI16,
    epoch: AtomicI64,
    record_chain: AtomicI32,
    ids: OnceLock<Arc<IdSource>>,
    disk: Disk,
    woken: Mutex<Vec<i32>>,
    wake: Notify,
    standby: OnceLock<Standby>,
}

impl Store {
    /// Connects as the owner of the database, checks that commits are durable and brings the schema up to date; from
    /// then on works as the role `orderly_engine`, which may add to the record but never change it. Makes the
    /// partitions of the days ahead.
    ///
    /// # Errors
    ///
    /// Refuses a server that could lose acknowledged messages; see [`Durability`]. Fails where the user of `options` does
    /// not own the tables, or may neither make that role nor act as it.
    pub async fn open(hosts: impl Into<Hosts>, clock: Clock, durability: Durability) -> Result<Self, Error> {
        let hosts = hosts.into();
        // A warning with the text of a whole migration tells nobody anything.
        let quiet =
            |options| own(options).log_slow_statements(tracing::log::LevelFilter::Off, Duration::ZERO);
        let mut owner = hosts.clone().map(quiet).connect().await?;
        durability.check(&mut owner).await?;
        MIGRATIONS.run(&mut owner).await?;
        role::ensure(&mut owner).await?;
        let folder = durability.data_folder(&mut owner).await;
        owner.close().await?;
        let store = Self::connect(hosts, clock).await?;
        if let Some(folder) = folder {
            // The write-ahead log may be elsewhere.
            store.disk().watch_folders(&[folder.join("pg_wal"), folder]);
        }
        partition::ensure_soon(&store).await?;
        Ok(store)
    }

    /// Connects to a database whose schema is up to date, as the role `orderly_engine`. Statements take at most 30 s, wait
    /// at most 10 s for a lock and leave a transaction idle for at most 10 s, unless the address says otherwise.
    ///
    /// # Errors
    ///
    /// Fails when the server cannot be reached.
    pub async fn connect(hosts: impl Into<Hosts>, clock: Clock) -> Result<Self, Error> {
        let hosts =
            hosts.into().map(|options| patience::limited(own(options)).options([("role", role::ENGINE)]));
        // Finds the one that takes writes.
        hosts.connect().await?.close().await?;
        let pool = PgPoolOptions::new()
            .max_connections(12)
            .acquire_timeout(std::time::Duration::from_secs(5))
            .test_before_acquire(false)
            .connect_with(hosts.current().clone())
            .await?;
        clock.begin_at(sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#).fetch_one(&pool).await?);
        // A custom plan is made anew for each call and costs more than it saves: these loops run few statements.
        let loops = hosts.clone().map(|options| options.options([("plan_cache_mode", "force_generic_plan")]));
        Ok(Self {
            inner: Arc::new(Inner {
                pool,
                hosts,
                loops,
                clock,
                slot: AtomicI16::new(0),
                epoch: AtomicI64::new(0),
                record_chain: AtomicI32::new(0),
                ids: OnceLock::new(),
                disk: Disk::default(),
                woken: Mutex::new(Vec::new()),
                wake: Notify::new(),
                standby: OnceLock::new(),
            }),
        })
    }

    /// The shared pool, for reads and low-rate writes.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.inner.pool
    }

    /// Searches and reads of the record go to this standby from now on, while it is near. The first one stays.
    pub fn read_from(&self, standby: Standby) {
        let _one_is_enough = self.inner.standby.set(standby);
    }

    /// The standby that takes reads.
    pub(crate) fn standby(&self) -> Option<&Standby> {
        self.inner.standby.get()
    }

    /// A connection of its own for a loop that keeps it for life.
    ///
    /// # Errors
    ///
    /// Fails when the server cannot be reached.
    pub async fn connection(&self) -> Result<PgConnection, Error> {
        self.inner.loops.connect().await
    }

    /// A connection for one long thing, such as the copy of a day: the server waits as long as it takes.
    ///
    /// # Errors
    ///
    /// Fails when the server cannot be reached.
    pub(crate) async fn patient(&self) -> Result<PgConnection, Error> {
        let mut connection = self.connection().await?;
        patience::lift(&mut connection).await?;
        Ok(connection)
    }

    /// A connection that sees one moment of the database until it is dropped, and writes nothing. However long that is.
    ///
    /// # Errors
    ///
    /// Fails when the server cannot be reached.
    pub async fn snapshot(&self) -> Result<PgConnection, Error> {
        let mut connection = self.patient().await?;
        sqlx::query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").execute(&mut connection).await?;
        Ok(connection)
    }

    /// A connection with the rights of the owner, for tests that do to the record what the engine may not.
    ///
    /// # Errors
    ///
    /// Fails when the server cannot be reached.
    pub async fn owner_for_tests(&self) -> Result<PgConnection, Error> {
        Ok(self.options().options([("role", "none")]).connect().await?)
    }

    /// How to connect to the host that takes writes.
    pub(crate) fn options(&self) -> PgConnectOptions {
        self.inner.hosts.current().clone()
    }

    /// Where there are several hosts: looks which one takes writes now, and sends the pool there.
    pub(crate) async fn find_primary(&self) {
        if self.inner.hosts.are_several()
            && let Ok(connection) = self.inner.hosts.connect().await
        {
            self.inner.pool.set_connect_options(self.options());
            let _ = connection.close().await;
        }
    }

    /// The disk of the database host, as far as it is seen from here.
    #[must_use]
    pub fn disk(&self) -> &Disk {
        &self.inner.disk
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// Slot of this node; part of every id it makes and of its tracking rows.
    #[must_use]
    pub fn slot(&self) -> i16 {
        self.inner.slot.load(Ordering::Relaxed)
    }

    /// Epoch of this node's slot.
    #[must_use]
    pub fn epoch(&self) -> i64 {
        self.inner.epoch.load(Ordering::Relaxed)
    }

    /// Makes new ids. Before the node joined, ids of slot 1023.
    #[must_use]
    pub fn ids(&self) -> Arc<IdSource> {
        self.inner
            .ids
            .get()
            .cloned()
            .unwrap_or_else(|| Arc::new(IdSource::new(self.inner.clock.clone(), 1023, 0)))
    }

    pub(crate) fn joined(&self, slot: i16, epoch: i64, ids: IdSource) {
        self.inner.slot.store(slot, Ordering::Relaxed);
        self.inner.epoch.store(epoch, Ordering::Relaxed);
        // A second join of one process keeps the first source: its ids are unique anyway.
        let _ = self.inner.ids.set(Arc::new(ids));
    }

    pub(crate) fn record_chain(&self) -> i32 {
        self.inner.record_chain.load(Ordering::Relaxed)
    }

    pub(crate) fn set_record_chain(&self, chain: i32) {
        self.inner.record_chain.store(chain, Ordering::Relaxed);
    }

    /// Begins a transaction. The name shows up in metrics and slow-transaction reports.
    ///
    /// # Errors
    ///
    /// Fails when no connection is free within five seconds or the server is away.
    #[expect(clippy::disallowed_methods, reason = "this is the one that names them")]
    pub async fn begin(&self, name: &'static str) -> Result<Tx, Error> {
        let transaction = self.inner.pool.begin().await?;
        Ok(Tx {
            transaction,
            name,
            begun: Instant::now(),
            store: self.clone(),
            entries: Vec::new(),
            lanes: Vec::new(),
        })
    }

    /// Tells the owners in this node that lanes got work behind their back.
    pub(crate) fn wake(&self, lanes: &[i32]) {
        if lanes.is_empty() {
            return;
        }
        self.inner.woken.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend_from_slice(lanes);
        self.inner.wake.notify_one();
    }

    /// Lanes that were woken since the last call; waits for the first. May be dropped halfway.
    pub(crate) async fn woken(&self) -> Vec<i32> {
        loop {
            let lanes = std::mem::take(
                &mut *self.inner.woken.lock().unwrap_or_else(std::sync::PoisonError::into_inner),
            );
            if !lanes.is_empty() {
                return lanes;
            }
            self.inner.wake.notified().await;
        }
    }
}

/// See [`Tx::mark`]. A later one takes its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    entries: usize,
    lanes: usize,
}

/// How every connection of ours is made.
fn own(options: PgConnectOptions) -> PgConnectOptions {
    options
        .application_name("orderly")
        .log_statements(tracing::log::LevelFilter::Trace)
        .options([("jit", "off")])
}

/// A named transaction. What is dropped without [`Tx::commit`] never happened.
#[derive(Debug)]
pub struct Tx {
    transaction: Transaction<'static, Postgres>,
    name: &'static str,
    begun: Instant,
    store: Store,
    pub(crate) entries: Vec<tracking::Entry>,
    pub(crate) lanes: Vec<i32>,
}

impl Tx {
    /// The connection to run statements on.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// From here on the server waits for this transaction as long as it takes.
    ///
    /// # Errors
    ///
    /// Fails when the connection is lost.
    pub(crate) async fn be_patient(&mut self) -> Result<(), Error> {
        Ok(patience::lift_for_transaction(&mut self.transaction).await?)
    }

    /// The store it belongs to.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Writes the tracking entries it was given and commits; then the owners of lanes it appended to are woken.
    ///
    /// # Errors
    ///
    /// After an error that is not [`Error::surely_not_committed`] the outcome is unknown.
    #[expect(clippy::disallowed_methods, reason = "this is the one with crash points around it")]
    pub async fn commit(mut self) -> Result<(), Error> {
        // The chain lock comes last in every transaction, behind the lane locks: no deadlock between the two.
        let entries = std::mem::take(&mut self.entries);
        tracking::write_record(&self.store, &mut self.transaction, &entries).await?;
        self.transaction.commit().point(self.name).await?;
        let took = self.begun.elapsed();
        metrics::histogram!("orderly_transaction_seconds", "transaction" => self.name)
            .record(took.as_secs_f64());
        self.store.wake(&self.lanes);
        Ok(())
    }

    /// A place in the transaction to come back to with [`Tx::back_to`].
    pub(crate) async fn mark(&mut self) -> Result<Mark, Error> {
        sqlx::query("SAVEPOINT mark").execute(&mut *self.transaction).await?;
        Ok(Mark { entries: self.entries.len(), lanes: self.lanes.len() })
    }

    /// Undoes everything since the mark.
    pub(crate) async fn back_to(&mut self, mark: Mark) -> Result<(), Error> {
        sqlx::query("ROLLBACK TO SAVEPOINT mark").execute(&mut *self.transaction).await?;
        self.entries.truncate(mark.entries);
        self.lanes.truncate(mark.lanes);
        Ok(())
    }

    /// Gives it up now instead of when it is dropped.
    ///
    /// # Errors
    ///
    /// Fails when the connection is lost; the transaction is gone then too.
    pub async fn rollback(self) -> Result<(), Error> {
        Ok(self.transaction.rollback().await?)
    }
}
