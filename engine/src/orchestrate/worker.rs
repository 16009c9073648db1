//! What the rest of the node has of the worker on orchestration lanes: its lanes come and go here.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Mover;
use super::suspects::Suspects;
use super::versions::Versions;
use crate::audit::{Chain, Purpose};
use crate::configuration::Configuration;
use crate::current::Running;
use crate::deadly::Company;
use crate::lane::Lanes;
use crate::node::{Claimed, Node};
use crate::notice::Notices;
use crate::site::ConfigurationStore;
use crate::store::{Error, Store};
use crate::timer::Timers;

/// The node's worker on orchestration lanes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Worker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) lanes: Lanes,
    pub(super) node: Arc<Node>,
    pub(super) running: Running,
    pub(super) notices: Notices,
    pub(super) company: Company,
    pub(super) versions: Versions,
    pub(super) owned: Mutex<Vec<i32>>,
    /// Lanes of orchestrations that an operator holds: their work and timers wait.
    pub(super) held: Mutex<HashSet<i32>>,
    /// Lanes that were claimed and not looked at yet.
    pub(super) claimed: Mutex<Vec<Claimed>>,
    /// Lanes to give up before the next batch, and those that were.
    pub(super) leaving: Mutex<Vec<i32>>,
    pub(super) left: Mutex<Vec<i32>>,
    pub(super) notify: Arc<Notify>,
    pub(super) busy: AtomicBool,
    /// Lanes came: their timers must be read.
    pub(super) opened: AtomicBool,
}

impl Worker {
    /// Starts the worker; it ends on `stop`, after the batch it is at.
    #[expect(clippy::too_many_arguments, reason = "called once, by the assembly")]
    pub(crate) async fn start(
        store: &Store,
        lanes: &Lanes,
        node: &Arc<Node>,
        running: &Running,
        notices: &Notices,
        company: &Company,
        stored: Option<Arc<ConfigurationStore>>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            store: store.clone(),
            lanes: lanes.clone(),
            node: node.clone(),
            running: running.clone(),
            notices: notices.clone(),
            company: company.clone(),
            versions: Versions::new(running, stored),
            owned: Mutex::default(),
            held: Mutex::default(),
            claimed: Mutex::default(),
            leaving: Mutex::default(),
            left: Mutex::default(),
            notify: Arc::new(Notify::new()),
            busy: AtomicBool::new(false),
            opened: AtomicBool::new(false),
        });
        let mut connection = store.connection().await?;
        let chain = Chain::open(&mut connection, store, Purpose::Orchestrate).await?;
        let mover = Mover {
            shared: shared.clone(),
            connection,
            chain,
            timers: Timers::default(),
            suspects: Suspects::default(),
        };
        tasks.spawn(mover.run(stop.clone()));
        Ok(Self { shared })
    }

    /// Compiles the versions of all open instances.
    pub(crate) async fn compile_open(&self) -> Result<(), Error> {
        let versions = sqlx::query_scalar!("SELECT DISTINCT config_version FROM instance")
            .fetch_all(self.shared.store.pool())
            .await?;
        self.shared.versions.need(versions).await;
        Ok(())
    }

    /// Starts lanes that this node just claimed. Versions that their instances run on are compiled first.
    pub(crate) async fn open(&self, claimed: &[Claimed]) -> Result<(), Error> {
        if claimed.is_empty() {
            return Ok(());
        }
        let lanes: Vec<i32> = claimed.iter().map(|lane| lane.lane).collect();
        let versions =
            sqlx::query_scalar!("SELECT DISTINCT config_version FROM instance WHERE lane = ANY ($1)", &lanes)
                .fetch_all(self.shared.store.pool())
                .await?;
        self.shared.versions.need(versions).await;
        for lane in claimed {
            self.shared.lanes.open(lane, self.shared.notify.clone());
        }
        // Together, so that nothing of a lane is begun before the worker knows whether its owner was lost.
        let mut owned = self.shared.owned();
        lock(&self.shared.claimed).extend_from_slice(claimed);
        owned.extend(lanes);
        drop(owned);
        self.shared.opened.store(true, Ordering::SeqCst);
        self.shared.notify.notify_one();
        Ok(())
    }

    /// Holds these lanes and no others: what is under way is finished, the rest waits.
    pub(crate) fn hold(&self, lanes: HashSet<i32>) {
        let mut held = lock(&self.shared.held);
        if *held != lanes {
            self.shared.lanes.hold(&lanes);
            *held = lanes;
            // Timers are read anew for the lanes that run.
            self.shared.opened.store(true, Ordering::SeqCst);
            self.shared.notify.notify_one();
        }
    }

    /// Gives lanes up after the batch that is under way; [`Worker::take_finished`] says when.
    pub(crate) fn release(&self, lanes: &[i32]) {
        let owned = self.shared.owned().clone();
        let mut leaving = lock(&self.shared.leaving);
        for lane in lanes.iter().filter(|lane| owned.contains(lane)) {
            if !leaving.contains(lane) {
                leaving.push(*lane);
            }
        }
        drop(leaving);
        self.shared.notify.notify_one();
    }

    pub(crate) fn is_handing_over(&self) -> bool {
        !lock(&self.shared.leaving).is_empty() || !lock(&self.shared.left).is_empty()
    }

    /// Lanes that are given up, with nothing of them under way.
    pub(crate) fn take_finished(&self) -> Vec<i32> {
        std::mem::take(&mut *lock(&self.shared.left))
    }

    /// Keeps a configuration that is about to be replaced: its instances run on.
    pub(crate) fn remember(&self, configuration: &Arc<Configuration>) {
        self.shared.versions.remember(configuration);
    }

    /// Older configurations with open instances, as far as they are compiled.
    pub(crate) fn remembered(&self) -> Vec<Arc<Configuration>> {
        self.shared.versions.all()
    }

    /// True when no batch is under way.
    pub(crate) fn is_idle(&self) -> bool {
        !self.shared.busy.load(Ordering::SeqCst)
    }

    /// Looks for due timers now; for tests that moved the clock.
    pub fn look(&self) {
        self.shared.notify.notify_one();
    }
}

impl Shared {
    pub(super) fn owned(&self) -> std::sync::MutexGuard<'_, Vec<i32>> {
        lock(&self.owned)
    }

    /// Lanes with the weights of their orchestrations, as the site says now.
    pub(super) fn weighed(&self, lanes: &[i32]) -> Vec<(i32, u8)> {
        let current = self.running.load();
        let weight = |lane: i32| {
            let subscriber = current.directory.subscriber_of_lane(lane)?;
            Some(current.configuration.orchestrations.get(&subscriber.name)?.weight)
        };
        // What is no longer enlisted finishes in its turn.
        lanes.iter().map(|lane| (*lane, weight(*lane).unwrap_or(1))).collect()
    }

    /// The owned lanes that are not held, and those that were claimed since the last call.
    pub(super) fn open_lanes(&self) -> (Vec<i32>, Vec<Claimed>) {
        let owned = self.owned();
        let claimed = std::mem::take(&mut *lock(&self.claimed));
        let held = lock(&self.held);
        (owned.iter().copied().filter(|lane| !held.contains(lane)).collect(), claimed)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
