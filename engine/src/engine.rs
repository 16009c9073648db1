//! The assembly: starts everything in order, swaps configurations, and stops everything in order.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::collect::Collectors;
use crate::configuration::Configuration;
use crate::current::{Current, Running};
use crate::deadly::Suspicion;
use crate::delivery::Deliveries;
use crate::directory::Directory;
use crate::lane::{self, Lanes};
use crate::message_box::MessageBox;
use crate::node::Node;
use crate::notice::Notices;
use crate::receive::Awaited;
use crate::site::{self, ConfigurationStore};
use crate::store::{Durability, Error, Store, partition};
use crate::{operate, orchestrate};

/// Rest before the next try to switch to a configuration.
const SWITCH_AGAIN: Duration = Duration::from_secs(1);
/// How long shutting down waits for deliveries that are under way.
const DRAIN_MAX: Duration = Duration::from_secs(20);

/// Committers of received messages.
const COMMITTERS: usize = 2;

/// What an engine is started with.
pub struct EngineOptions {
    /// The database.
    pub database: PgConnectOptions,
    /// Runs instead of what is deployed, and is never replaced by itself; for tests. None: the deployed version runs,
    /// and newer ones as they appear.
    pub configuration: Option<Arc<Configuration>>,
    /// The clock.
    pub clock: Clock,
    /// Whether the server's settings are insisted on.
    pub durability: Durability,
    /// Committers of received messages; one is enough up to about 128 connections.
    pub committers: usize,
}

impl EngineOptions {
    /// The usual: the machine's clock, durable commits, two committers.
    #[must_use]
    pub fn new(database: PgConnectOptions) -> Self {
        Self {
            database,
            configuration: None,
            clock: Clock::system(),
            durability: Durability::Required,
            committers: COMMITTERS,
        }
    }
}

/// Why an engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database.
    #[error(transparent)]
    Store(#[from] Error),
    /// The configuration.
    #[error(transparent)]
    Site(#[from] site::Error),
}

/// A running node.
#[derive(Debug)]
pub struct Engine {
    store: Store,
    running: Running,
    pub(crate) node: Arc<Node>,
    pub(crate) lanes: Lanes,
    pub(crate) suspicion: Suspicion,
    /// Another node said that lanes are free.
    pub(crate) lanes_changed: Notify,
    /// One look after the lanes at a time.
    pub(crate) looking: tokio::sync::Mutex<()>,
    message_box: MessageBox,
    pub(crate) deliveries: Deliveries,
    /// Sends of this node that wait for their answer.
    pub(crate) awaited: Awaited,
    pub(crate) orchestrations: orchestrate::Worker,
    pub(crate) collectors: Collectors,
    stored: Option<Arc<ConfigurationStore>>,
    notices: Notices,
    /// Tasks that end with [`Engine::stopping`].
    tasks: TaskTracker,
    stopping: CancellationToken,
    /// Committers and workers; they end after everything that feeds them.
    committers: TaskTracker,
    stop_committers: CancellationToken,
}

impl Engine {
    /// Joins as a node and starts message box, lanes, workers and committers. Listeners and senders are started by
    /// their own modules on the engine that this returns.
    ///
    /// # Errors
    ///
    /// Fails when the database cannot be reached, is not durable, or cannot be brought up to date.
    pub async fn start(options: EngineOptions) -> Result<Arc<Self>, StartError> {
        let store = Store::open(options.database, options.clock, options.durability).await?;
        let (stored, configuration) = match options.configuration {
            Some(given) => (None, given),
            None => {
                let stored = Arc::new(ConfigurationStore::open(store.clone()).await?);
                (Some(stored.clone()), stored.current())
            }
        };
        Self::assemble(store, stored, configuration, options.committers).await
    }

    /// As [`Engine::start`] on a database that is open already, with what was deployed there.
    ///
    /// # Errors
    ///
    /// As [`Engine::start`].
    pub async fn start_on(store: Store, stored: ConfigurationStore) -> Result<Arc<Self>, StartError> {
        let configuration = stored.current();
        Self::assemble(store, Some(Arc::new(stored)), configuration, COMMITTERS).await
    }

    async fn assemble(
        store: Store,
        stored: Option<Arc<ConfigurationStore>>,
        configuration: Arc<Configuration>,
        committers_of_received: usize,
    ) -> Result<Arc<Self>, StartError> {
        let node = Node::join(&store).await?;
        let directory = Directory::load(&store, &configuration).await?;
        let current = Current::new(configuration, directory, &[]);
        let running: Running = Arc::new(ArcSwap::from_pointee(current));
        let (lanes, notices) = (Lanes::default(), Notices::default());
        let (tasks, stopping) = (TaskTracker::new(), CancellationToken::new());
        let (committers, stop_committers) = (TaskTracker::new(), CancellationToken::new());
        let message_box = MessageBox::start(
            &store,
            &lanes,
            &running,
            &notices,
            committers_of_received,
            &committers,
            &stop_committers,
        )
        .await?;
        let deliveries =
            Deliveries::start(&store, &lanes, &node, &running, &notices, &committers, &stop_committers)
                .await?;
        let suspicion = Suspicion::new(store.clone());
        let orchestrations = orchestrate::Worker::start(
            &store,
            &lanes,
            &node,
            &running,
            &notices,
            suspicion.company(),
            stored.clone(),
            &committers,
            &stopping,
        )
        .await?;
        let collectors = Collectors::start(&store, &lanes, &node, &running, &committers, &stopping);
        let engine = Arc::new(Self {
            store,
            running,
            node,
            lanes,
            suspicion,
            lanes_changed: Notify::new(),
            looking: tokio::sync::Mutex::default(),
            message_box,
            deliveries,
            awaited: Awaited::default(),
            orchestrations,
            collectors,
            stored,
            notices,
            tasks,
            stopping,
            committers,
            stop_committers,
        });
        // Versions with open instances, on whatever node, are compiled now; what they wait for must be subscribed before
        // anything comes in.
        engine.orchestrations.hold(crate::port::held_at_start(&engine.store, &engine.current()).await?);
        engine.orchestrations.compile_open().await?;
        engine.look_after_lanes().await?;
        engine.subscribe_older().await?;
        engine.keep_going();
        Ok(engine)
    }

    fn keep_going(self: &Arc<Self>) {
        let stop = self.stopping.clone();
        self.committers.spawn(self.node.clone().keep_beating(self.stop_committers.clone()));
        let deliveries = self.deliveries.clone();
        self.committers.spawn(lane::keep_reading(
            self.store.clone(),
            self.lanes.clone(),
            self.notices.clone(),
            move || deliveries.look(),
            self.stop_committers.clone(),
        ));
        self.tasks.spawn(operate::job::run(self.store.clone(), self.running.clone(), stop.clone()));
        self.tasks.spawn(partition::keep_ahead(self.store.clone(), stop.clone()));
        if let Some(stored) = self.stored.clone() {
            self.tasks.spawn(self.clone().follow(stored.clone(), stop.clone()));
            let stop = stop.clone();
            self.tasks.spawn(async move { stored.follow(stop).await });
        }
        self.tasks.spawn(self.clone().keep_lanes(stop.clone()));
        self.tasks.spawn(self.clone().keep_hearing(stop));
        let sending = self.lanes.wakeups().clone();
        self.committers.spawn(sending.keep_sending(self.store.clone(), self.stop_committers.clone()));
    }

    /// Subscribes what instances on older versions wait for.
    async fn subscribe_older(&self) -> Result<(), Error> {
        let older = self.orchestrations.remembered();
        if !older.is_empty() {
            let configuration = self.configuration();
            let directory = Directory::load(&self.store, &configuration).await?;
            self.running.store(Arc::new(Current::new(configuration, directory, &older)));
        }
        Ok(())
    }

    /// Runs every newer version as it appears, until told to stop.
    async fn follow(self: Arc<Self>, stored: Arc<ConfigurationStore>, stop: CancellationToken) {
        let mut changes = stored.changes();
        while let Some(Ok(())) = stop.run_until_cancelled(changes.changed()).await {
            if let Err(error) = self.activate(stored.current()).await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "Could not switch to the new configuration; trying again"
                );
                changes.mark_changed();
                tokio::time::sleep(SWITCH_AGAIN).await;
            }
        }
    }

    /// Makes another configuration the running one: numbers what is new, then swaps.
    ///
    /// # Errors
    ///
    /// Fails when the database does; then the old one goes on running.
    pub async fn activate(&self, configuration: Arc<Configuration>) -> Result<(), Error> {
        let directory = Directory::load(&self.store, &configuration).await?;
        self.orchestrations.remember(&self.running.load_full().configuration);
        self.running.store(Arc::new(Current::new(
            configuration,
            directory,
            &self.orchestrations.remembered(),
        )));
        self.look_after_lanes().await
    }

    /// The database.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The running configuration.
    #[must_use]
    pub fn configuration(&self) -> Arc<Configuration> {
        self.running.load().configuration.clone()
    }

    /// The running configuration with its numbers and subscriptions.
    #[must_use]
    pub fn current(&self) -> Arc<Current> {
        self.running.load_full()
    }

    /// The deployed configurations; none in tests that were given theirs.
    #[must_use]
    pub fn configurations(&self) -> Option<&Arc<ConfigurationStore>> {
        self.stored.as_ref()
    }

    /// Where the running configuration is read, by whoever lives as long as the engine.
    #[must_use]
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// The message box.
    #[must_use]
    pub fn message_box(&self) -> &MessageBox {
        &self.message_box
    }

    /// The send lanes.
    #[must_use]
    pub fn deliveries(&self) -> &Deliveries {
        &self.deliveries
    }

    /// The worker on orchestration lanes.
    #[must_use]
    pub fn orchestrations(&self) -> &orchestrate::Worker {
        &self.orchestrations
    }

    /// What may have ended a process of this cluster.
    pub(crate) fn suspicion(&self) -> &Suspicion {
        &self.suspicion
    }

    /// Where notices to operators come from.
    #[must_use]
    pub fn notices(&self) -> &Notices {
        &self.notices
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Work behind the cursor, per lane of this node.
    #[must_use]
    pub fn waiting(&self) -> Vec<(i32, i64)> {
        self.lanes.waiting()
    }

    /// Where listeners and other loops are spawned; they end on [`Engine::stopping`].
    #[must_use]
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Cancelled when the node shuts down.
    #[must_use]
    pub fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Waits until nothing that can move is left: lanes consumed, turns and deliveries committed. For tests.
    pub async fn run_until_idle(&self) {
        let mut quiet = 0;
        while quiet < 3 {
            let idle = self.lanes.is_idle() && self.deliveries.is_idle() && self.orchestrations.is_idle();
            quiet = if idle { quiet + 1 } else { 0 };
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Stops in order: listeners and senders, what is under way, workers and committers, lanes, slot.
    ///
    /// # Errors
    ///
    /// Fails when the database is away; then the lease runs out by itself.
    pub async fn shutdown(&self) -> Result<(), Error> {
        self.stopping.cancel();
        self.deliveries.close();
        self.tasks.close();
        if tokio::time::timeout(DRAIN_MAX, self.tasks.wait()).await.is_err() {
            tracing::warn!("Some listeners or senders did not stop in time");
        }
        let deadline = tokio::time::Instant::now() + DRAIN_MAX;
        while !self.deliveries.is_confirmed() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.stop_committers.cancel();
        self.committers.close();
        if tokio::time::timeout(DRAIN_MAX, self.committers.wait()).await.is_err() {
            tracing::warn!("Some commits did not end in time; their work is done again by the next owner");
        }
        self.node.leave().await
    }

    /// Ends at once, as a crash would: nothing is finished, nothing is handed over. For tests.
    pub fn abandon(&self) {
        self.stopping.cancel();
        self.stop_committers.cancel();
        self.deliveries.close();
    }

    /// Lanes of this node. For tests.
    #[must_use]
    pub fn owned_lanes(&self) -> HashSet<i32> {
        self.running.load().directory.lanes().filter(|lane| self.lanes.owns(*lane)).collect()
    }
}
