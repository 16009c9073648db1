//! Configurations by version: an instance runs on the one it started with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::configuration::Configuration;
use crate::current::Running;
use crate::site::ConfigurationStore;

/// Versions that are compiled.
#[derive(Debug, Clone)]
pub(crate) struct Versions {
    running: Running,
    stored: Option<Arc<ConfigurationStore>>,
    known: Arc<Mutex<HashMap<i64, Arc<Configuration>>>>,
}

impl Versions {
    pub(crate) fn new(running: &Running, stored: Option<Arc<ConfigurationStore>>) -> Self {
        Self { running: running.clone(), stored, known: Arc::default() }
    }

    /// Keeps a version that is about to be replaced.
    pub(crate) fn remember(&self, configuration: &Arc<Configuration>) {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(configuration.version, configuration.clone());
    }

    /// All versions that are compiled besides the running one.
    pub(crate) fn all(&self) -> Vec<Arc<Configuration>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The version, when it is compiled.
    pub(crate) fn get(&self, version: i64) -> Option<Arc<Configuration>> {
        let running = self.running.load();
        if running.configuration.version == version {
            return Some(running.configuration.clone());
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&version).cloned()
    }

    /// Compiles versions that are missing. What cannot be compiled stays missing, and is logged.
    pub(crate) async fn need(&self, versions: Vec<i64>) {
        for version in versions {
            if self.get(version).is_some() {
                continue;
            }
            let Some(stored) = &self.stored else { continue };
            match stored.at(version).await {
                Ok(configuration) => self.remember(&configuration),
                Err(error) => {
                    tracing::error!(
                        config.version = version,
                        error = &error as &dyn std::error::Error,
                        "Could not load configuration {version}; its instances wait"
                    );
                }
            }
        }
    }
}
