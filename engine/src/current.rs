//! What applies right now: the configuration with its numbers, swapped as one.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::configuration::Configuration;
use crate::directory::Directory;

/// One configuration with the numbers of what it names.
#[derive(Debug)]
pub struct Current {
    /// The configuration.
    pub configuration: Arc<Configuration>,
    /// Numbers of subscribers, sources and lanes.
    pub directory: Directory,
}

impl Current {
    /// A configuration with its numbers.
    #[must_use]
    pub fn new(configuration: Arc<Configuration>, directory: Directory) -> Self {
        Self { configuration, directory }
    }
}

/// Where everybody reads what applies.
pub type Running = Arc<ArcSwap<Current>>;
