//! Keeps the server of a stage alive, and has it killed at the crash points that a run asks for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use orderly_tests::{Database, Server};
use tokio_util::sync::CancellationToken;

/// How often the server shall be killed at which crash points; a name is `after publish`.
pub(crate) type Kills = BTreeMap<String, u32>;

/// What the keeper knows of the lives of the server.
#[derive(Default)]
pub(crate) struct Life {
    /// Kills that are still to come.
    pub(crate) wanted: Kills,
    /// Kills that were.
    pub(crate) made: Kills,
    /// How many points were passed before the server was ready for the first time.
    pub(crate) before_ready: usize,
}

/// Where and how the server is started.
pub(crate) struct Keeper {
    pub(crate) site: PathBuf,
    pub(crate) url: String,
    pub(crate) data: PathBuf,
    pub(crate) environment: Vec<(&'static str, String)>,
    pub(crate) life: Arc<Mutex<Life>>,
    pub(crate) ended: CancellationToken,
}

/// The crash points that the server passed so far.
pub(crate) fn points(data: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(data.join("points.log")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

impl Keeper {
    /// Keeps the server alive until the stage is closed; the last life is not to be killed.
    pub(crate) async fn run(self) -> Server {
        let mut is_first = true;
        loop {
            let demand = self.demand();
            let database = Database::at(self.url.clone());
            let mut environment = self.environment.clone();
            environment.push(("ORDERLY_CRASH_POINT_LOG", self.data.join("points.log").display().to_string()));
            environment.extend(demand.clone().map(|demand| ("ORDERLY_CRASH_POINT", demand)));
            let started = Server::start(&self.site, &database, &self.data, &environment).await;
            let mut server = match started {
                Ok(server) => server,
                Err(error) => {
                    assert!(demand.is_some(), "{error:#}");
                    self.note();
                    continue;
                }
            };
            if is_first {
                self.life().before_ready = points(&self.data).len();
                is_first = false;
            }
            while !self.ended.is_cancelled() && !server.has_ended() {
                // A process that dies gives no signal to wait for without reaping it.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if !server.has_ended() {
                if demand.is_none() {
                    return server;
                }
                // What is left of the demand must not catch it while it stops.
                self.life().wanted.clear();
                server.kill();
                continue;
            }
            assert!(demand.is_some(), "the server ended by itself:\n{}", server.log_tail());
            self.note();
        }
    }

    /// What the next life shall die of: whichever of the points comes first.
    fn demand(&self) -> Option<String> {
        let wanted: Vec<String> = self.life().wanted.keys().cloned().collect();
        (!wanted.is_empty() && !self.ended.is_cancelled()).then(|| format!("{}:1", wanted.join(",")))
    }

    /// Notes a kill: the last point that it passed of those that were wanted. Other threads may pass one more before the
    /// process is gone.
    fn note(&self) {
        let mut life = self.life();
        let passed = points(&self.data).into_iter().rev();
        let last = passed
            .into_iter()
            .find(|point| life.wanted.contains_key(point))
            .expect("it died at a wanted point");
        let left = life.wanted.get_mut(&last).expect("it was found there");
        *left -= 1;
        if *left == 0 {
            life.wanted.remove(&last);
        }
        *life.made.entry(last).or_default() += 1;
    }

    fn life(&self) -> std::sync::MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
