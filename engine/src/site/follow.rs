//! The configurations of a running node: the current one, older ones on demand, and new ones as they appear.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::{
    deploy::{Error, compiled, files_of, running, version},
    values::Environment,
};
use crate::{configuration::Configuration, store::Store};

/// How often a node looks for a new version.
const POLL: Duration = Duration::from_secs(1);
/// Old versions kept compiled; more are compiled again when an instance needs them.
const KEPT: usize = 32;

/// The configurations of a node.
pub struct ConfigurationStore {
    store: Store,
    current: ArcSwap<Configuration>,
    older: Mutex<HashMap<i64, Arc<Configuration>>>,
    changed: tokio::sync::watch::Sender<i64>,
}

impl std::fmt::Debug for ConfigurationStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfigurationStore").field("current", &self.current.load()).finish_non_exhaustive()
    }
}

impl ConfigurationStore {
    /// Loads the version that runs.
    ///
    /// # Errors
    ///
    /// Nothing was deployed, or this program cannot compile it.
    pub async fn open(store: Store) -> Result<Self, Error> {
        let found = running(&store).await?.ok_or(Error::Nothing)?;
        let configuration = Arc::new(load(&store, found.version).await?);
        Ok(Self::begin(store, configuration))
    }

    /// Begins with the version that was just deployed, so that it need not be compiled again.
    pub fn begin(store: Store, configuration: Arc<Configuration>) -> Self {
        let (changed, _) = tokio::sync::watch::channel(configuration.version);
        Self { store, current: ArcSwap::new(configuration), older: Mutex::default(), changed }
    }

    /// The version that runs.
    pub fn current(&self) -> Arc<Configuration> {
        self.current.load_full()
    }

    /// Any version: an instance keeps the one it started with.
    ///
    /// # Errors
    ///
    /// There is no such version, or this program cannot compile it.
    pub async fn at(&self, version: i64) -> Result<Arc<Configuration>, Error> {
        let current = self.current();
        if current.version == version {
            return Ok(current);
        }
        if let Some(known) = self.known(version) {
            return Ok(known);
        }
        let configuration = Arc::new(load(&self.store, version).await?);
        let mut older = self.older.lock().unwrap_or_else(PoisonError::into_inner);
        if older.len() >= KEPT {
            older.clear();
        }
        older.insert(version, Arc::clone(&configuration));
        Ok(configuration)
    }

    fn known(&self, version: i64) -> Option<Arc<Configuration>> {
        self.older.lock().unwrap_or_else(PoisonError::into_inner).get(&version).cloned()
    }

    /// Takes a newer version if there is one; true when there was.
    ///
    /// # Errors
    ///
    /// The new version does not compile here; the old one goes on.
    pub async fn refresh(&self) -> Result<bool, Error> {
        let Some(found) = running(&self.store).await? else { return Ok(false) };
        let before = self.current();
        if found.version == before.version {
            return Ok(false);
        }
        let configuration = Arc::new(load(&self.store, found.version).await?);
        self.older.lock().unwrap_or_else(PoisonError::into_inner).insert(before.version, before);
        self.current.store(Arc::clone(&configuration));
        self.changed.send_replace(configuration.version);
        tracing::info!(
            configuration.version = configuration.version,
            "Configuration version {} runs",
            found.version
        );
        Ok(true)
    }

    /// Tells the number of each version that starts to run here.
    pub fn changes(&self) -> tokio::sync::watch::Receiver<i64> {
        self.changed.subscribe()
    }

    /// Looks for new versions until it is stopped. May be dropped halfway.
    pub async fn follow(&self, stop: CancellationToken) {
        let mut failed = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(POLL) => {}
            }
            match self.refresh().await {
                Ok(_) => failed = None,
                // The same failure every second would hide all else in the log.
                Err(error) if failed.as_deref() == Some(error.to_string().as_str()) => {}
                Err(error) => {
                    tracing::error!("Could not take the new configuration: {error}");
                    failed = Some(error.to_string());
                }
            }
        }
    }
}

async fn load(store: &Store, number: i64) -> Result<Configuration, Error> {
    let found = version(store, number).await?;
    compiled(files_of(store, number).await?, Environment::of_process(found.environment), number).await
}
