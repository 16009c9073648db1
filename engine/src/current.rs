//! What applies right now: the configuration with its numbers, swapped as one.

use std::sync::Arc;

use arc_swap::ArcSwap;
use orderly_rules::Properties;

use crate::configuration::Configuration;
use crate::directory::Directory;
use crate::message_box::{Arrival, Declared, Route, SubscriptionIndex};

/// One configuration with the numbers of what it names.
#[derive(Debug)]
pub struct Current {
    /// The configuration.
    pub configuration: Arc<Configuration>,
    /// Numbers of subscribers, sources and lanes.
    pub directory: Directory,
    /// Who must see which message.
    pub subscriptions: SubscriptionIndex,
}

impl Current {
    /// A configuration with its numbers.
    #[must_use]
    pub fn new(
        configuration: Arc<Configuration>,
        directory: Directory,
        older: &[Arc<Configuration>],
    ) -> Self {
        let subscriptions = SubscriptionIndex::build(&configuration, &directory, older);
        Self { configuration, directory, subscriptions }
    }

    /// `message.retention` of a message from that party.
    #[must_use]
    pub fn retention(&self, party: Option<&str>, properties: &Properties) -> i16 {
        let party = party.and_then(|name| self.configuration.parties.get(name));
        let class = self.configuration.retention.class_of(party, properties);
        if class == self.configuration.retention.default { 0 } else { self.directory.retention(class) }
    }

    /// What a message with these properties can be searched by, as the site declares it.
    #[must_use]
    pub fn declared(&self, properties: &Properties) -> Option<Declared> {
        Declared::of(&self.configuration.tracking.index, properties)
    }

    /// Everybody who must see a message with these properties.
    #[must_use]
    pub fn routes(&self, properties: &Properties, arrival: Arrival<'_>) -> Vec<Route> {
        self.subscriptions.matching(properties, arrival, &self.directory)
    }
}

/// Where everybody reads what applies.
pub type Running = Arc<ArcSwap<Current>>;
