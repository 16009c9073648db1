//! Pressure back to senders: what goes to a send port that is too far behind is acknowledged late, and where that does
//! not help, new connections are refused. Nothing is dropped, and nothing is refused that was taken.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::current::Running;
use crate::directory::SubscriberKind;
use crate::message_box::Route;
use crate::store::Store;
use crate::view::{operations, pressure};

/// How often the queues of ports with a limit are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How a message's answer is held back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Hold {
    /// How long.
    pub(crate) time: Duration,
    /// Its location takes no new connections for a while.
    pub(crate) refuses: bool,
}

/// What every door looks at before it answers. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Pressure {
    /// Subscribers that are behind.
    holds: Arc<ArcSwap<HashMap<i32, Hold>>>,
    stop: CancellationToken,
}

impl Pressure {
    /// None yet; answers that are held leave at `stop`.
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Self { holds: Arc::default(), stop }
    }

    /// How long the answer to a message with these routes is held: the worst of its subscribers decides.
    pub(crate) fn on(&self, routes: &[Route]) -> Hold {
        let holds = self.holds.load();
        if holds.is_empty() {
            return Hold::default();
        }
        let found = routes.iter().filter_map(|route| holds.get(&route.subscriber));
        found.max_by_key(|hold| hold.time).copied().unwrap_or_default()
    }

    /// Waits as long as told, or until the node stops.
    pub(crate) async fn wait(&self, hold: Hold) {
        if !hold.time.is_zero() {
            let _ = self.stop.run_until_cancelled(tokio::time::sleep(hold.time)).await;
        }
    }

    /// Looks each second how far behind the ports are. While the database does not answer, what was seen last counts.
    pub(crate) async fn run(self, store: Store, running: Running) {
        let stop = self.stop.clone();
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            if let Err(error) = self.look(&store, &running).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "Could not look how long queues are"
                );
            }
        }
    }

    async fn look(&self, store: &Store, running: &Running) -> sqlx::Result<()> {
        let current = running.load_full();
        let mut holds = HashMap::new();
        if pressure::any_limit(&current.configuration) {
            let queues = operations::queues(store.pool(), store.clock().now()).await?;
            for slowed in pressure::slowed(&current.configuration, &queues) {
                let port = current.directory.subscriber(SubscriberKind::SendPort, &slowed.send_port);
                holds.extend(port.map(|port| (port.id, Hold { time: slowed.hold, refuses: slowed.refuses })));
            }
        }
        let before = self.holds.load();
        for id in holds.keys().filter(|id| !before.contains_key(id)) {
            let name = current.directory.subscriber_by_id(*id).map(|known| known.name.as_str());
            tracing::warn!(send_port = name, "Senders are slowed: more waits for this port than it may have");
        }
        for id in before.keys().filter(|id| !holds.contains_key(id)) {
            let name = current.directory.subscriber_by_id(*id).map(|known| known.name.as_str());
            tracing::info!(send_port = name, "Senders are not slowed any more");
        }
        self.holds.store(Arc::new(holds));
        Ok(())
    }
}
