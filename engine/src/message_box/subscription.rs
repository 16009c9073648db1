//! Who must see a message: all subscriptions of the running configuration, evaluated in memory.
//!
//! The filters are indexed as a whole, with every kind of test; what only an orchestration knows (the correlation, the
//! event of `accepts`) is looked at for those that are found.

use std::sync::Arc;

use orderly_hl7::Message;
use orderly_orchestrations::{CorrelationKey, Definition, correlation_keys};
use orderly_rules::filter::{FilterIndex, Test};
use orderly_rules::{Filter, Properties, Value};

use super::Route;
use crate::audit::sha256;
use crate::configuration::{Configuration, Enlisted, OnFailure, Order, PortState, SendPort};
use crate::directory::{Directory, SubscriberKind};
use crate::ids::MessageId;
use crate::work::{self, Subscribed};

/// Property with the name of the receive port a message came by; messages made inside have none.
const PORT: &str = "port.name";
/// Property with the message type, on which a small index is built.
const TYPE: &str = "hl7.type";

/// What routing knows about a message besides its properties.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Its id.
    pub message: MessageId,
    /// What counts as one sender where order is kept by source: connection, peer, location or party.
    pub order_source: &'a str,
}

/// All subscriptions of one configuration. Immutable; swapped as a whole.
#[derive(Debug, Default)]
pub struct SubscriptionIndex {
    entries: Vec<Entry>,
    filters: FilterIndex,
    /// Some entry wants reports of failures.
    takes_faults: bool,
    /// Some entry can match an acknowledgment.
    takes_acks: bool,
    config_version: i64,
}

#[derive(Debug)]
struct Entry {
    subscriber: i32,
    filter: Filter,
    target: Target,
}

#[derive(Debug)]
enum Target {
    SendPort(Order),
    Orchestration {
        definition: Arc<Definition>,
        port: String,
        activates: Option<usize>,
        set: Option<String>,
        accepts: Vec<String>,
        /// Several triggers open the set: the first message of it starts, the others join.
        convoy: bool,
    },
}

impl SubscriptionIndex {
    /// Builds the index. `older` are configurations with open instances: what these wait for stays subscribed.
    #[must_use]
    pub fn build(configuration: &Configuration, directory: &Directory, older: &[Arc<Configuration>]) -> Self {
        let mut index = Self { config_version: configuration.version, ..Self::default() };
        for port in configuration.send_ports.values() {
            index.add_send_port(port, configuration, directory);
        }
        for enlisted in configuration.orchestrations.values() {
            index.add_orchestration(enlisted, directory, true);
        }
        for enlisted in older.iter().flat_map(|configuration| configuration.orchestrations.values()) {
            let running = configuration.orchestrations.get(&enlisted.name);
            if running.is_none_or(|running| running.definition.hash() != enlisted.definition.hash()) {
                index.add_orchestration(enlisted, directory, false);
            }
        }
        index.sort_in();
        index
    }

    fn add_send_port(&mut self, port: &SendPort, configuration: &Configuration, directory: &Directory) {
        if port.state == PortState::NotDeployed {
            return;
        }
        let (kind, order) = match &port.batch {
            None => (SubscriberKind::SendPort, port.order.clone()),
            Some(_) => (SubscriberKind::Collector, Order::Strict { on_failure: OnFailure::Skip }),
        };
        let Some(subscriber) = directory.subscriber(kind, &port.name) else { return };
        let groups = configuration
            .send_port_groups
            .values()
            .filter(|group| group.state != PortState::NotDeployed && group.members.contains(&port.name))
            .filter_map(|group| group.filter.as_ref());
        for filter in port.filter.iter().chain(groups) {
            self.entries.push(Entry {
                subscriber: subscriber.id,
                filter: filter.clone(),
                target: Target::SendPort(order.clone()),
            });
        }
    }

    fn add_orchestration(&mut self, enlisted: &Enlisted, directory: &Directory, may_activate: bool) {
        let Some(subscriber) = directory.subscriber(SubscriberKind::Orchestration, &enlisted.name) else {
            return;
        };
        let subscriptions = enlisted.definition.subscriptions();
        for subscription in subscriptions {
            if subscription.activates.is_some() && !may_activate {
                continue;
            }
            let openers = subscriptions.iter().filter(|other| {
                other.activates.is_some() && other.set.is_some() && other.set == subscription.set
            });
            let binding = enlisted.ports.get(&subscription.port);
            let mut filter = subscription.filter.clone();
            if let Some(receive_port) = binding.and_then(|binding| binding.receive_port.as_deref()) {
                filter.and(PORT, Test::OneOf(vec![Value::text(receive_port)]));
            }
            self.entries.push(Entry {
                subscriber: subscriber.id,
                filter,
                target: Target::Orchestration {
                    definition: enlisted.definition.clone(),
                    port: subscription.port.clone(),
                    activates: subscription.activates,
                    set: subscription.set.clone(),
                    accepts: subscription.accepts.clone(),
                    convoy: openers.count() > 1,
                },
            });
        }
    }

    fn sort_in(&mut self) {
        self.takes_faults = self.entries.iter().any(|entry| entry.filter.takes_faults());
        self.takes_acks = self.entries.iter().any(|entry| entry.filter.takes_acks());
        self.filters = FilterIndex::new(self.entries.iter().map(|entry| &entry.filter));
    }

    /// Everybody who must see a message with these properties; nobody twice for the same reason.
    #[must_use]
    pub fn matching(
        &self,
        properties: &Properties,
        arrival: Arrival<'_>,
        directory: &Directory,
    ) -> Vec<Route> {
        let mut routes: Vec<Route> = Vec::new();
        for number in self.filters.matching(properties) {
            let entry = &self.entries[number];
            match &entry.target {
                Target::SendPort(order) => {
                    if routes.iter().all(|route| route.subscriber != entry.subscriber) {
                        routes.extend(send_route(entry.subscriber, order, properties, arrival, directory));
                    }
                }
                Target::Orchestration { .. } => {
                    self.add_orchestration_routes(entry, properties, arrival, directory, &mut routes);
                }
            }
        }
        let sure = routes.iter().filter(|route| is_sure(route)).count();
        for route in &mut routes {
            let others = sure - usize::from(is_sure(route));
            if let Some(work::Detail::Subscribed(subscribed)) = &mut route.detail {
                subscribed.taken_elsewhere = others > 0;
            }
        }
        routes
    }

    fn add_orchestration_routes(
        &self,
        entry: &Entry,
        properties: &Properties,
        arrival: Arrival<'_>,
        directory: &Directory,
        routes: &mut Vec<Route>,
    ) {
        let Target::Orchestration { definition, port, activates, set, accepts, convoy } = &entry.target
        else {
            return;
        };
        if !accepted(accepts, properties) {
            return;
        }
        let Some(subscriber) = directory.subscriber_by_id(entry.subscriber) else { return };
        let fault = work::Fault::of(properties).map(Box::new);
        let mut keys: Vec<Option<CorrelationKey>> = match set {
            Some(set) => correlation_keys(definition, set, properties).into_iter().map(Some).collect(),
            None => Vec::new(),
        };
        if activates.is_some() {
            // One instance starts, whatever number of values it opens; without a value the turn says what is missing.
            keys.truncate(1);
            if keys.is_empty() {
                keys.push(None);
            }
        }
        for key in keys {
            let place = key.as_ref().map_or_else(
                || order_hash(&["patient.id".to_owned()], properties, arrival),
                |key| i64::from_be_bytes(key.hash64().to_be_bytes()),
            );
            let subscribed = Subscribed {
                port: port.clone(),
                activates: activates.and_then(|trigger| u16::try_from(trigger).ok()),
                follows: activates.is_none() || *convoy,
                correlation: key.map(|key| (key.set.clone(), key.hash())),
                taken_elsewhere: false,
                config_version: self.config_version,
                fault: fault.clone(),
            };
            merge(routes, entry.subscriber, subscriber.lane_of(place), place, subscribed);
        }
    }

    /// True where somebody wants reports of failures; where nobody does, none need be made.
    pub(crate) fn takes_faults(&self) -> bool {
        self.takes_faults
    }

    /// Whether any subscription can match an acknowledgment.
    #[must_use]
    pub fn takes_acks(&self) -> bool {
        self.takes_acks
    }

    /// Number of subscriptions.
    #[must_use]
    pub fn count(&self) -> usize {
        self.entries.len()
    }
}

/// Start-or-continue: subscriptions of one orchestration that mean the same conversation are one piece of work.
fn merge(routes: &mut Vec<Route>, subscriber: i32, lane: i32, key: i64, new: Subscribed) {
    for route in routes.iter_mut().filter(|route| route.subscriber == subscriber) {
        if let Some(work::Detail::Subscribed(known)) = &mut route.detail
            && known.correlation == new.correlation
        {
            known.activates = known.activates.or(new.activates);
            known.follows |= new.follows;
            return;
        }
    }
    routes.push(Route { subscriber, lane, key, detail: Some(work::Detail::Subscribed(new)), instance: None });
}

/// True where the subscriber surely takes the message: it need not look for an open instance.
fn is_sure(route: &Route) -> bool {
    match &route.detail {
        Some(work::Detail::Subscribed(subscribed)) => subscribed.activates.is_some(),
        _ => true,
    }
}

/// The place of a message at a send port.
pub(crate) fn send_route(
    subscriber: i32,
    order: &Order,
    properties: &Properties,
    arrival: Arrival<'_>,
    directory: &Directory,
) -> Option<Route> {
    let key = match order {
        Order::None => arrival.message.0,
        Order::Key { by, .. } => order_hash(by, properties, arrival),
        Order::Source { .. } => hash_of(arrival.order_source),
        Order::Strict { .. } => 0,
    };
    let lane = directory.subscriber_by_id(subscriber)?.lane_of(key);
    Some(Route { subscriber, lane, key, detail: None, instance: None })
}

/// Hash of the values of some properties; what has none of them is ordered by its source.
fn order_hash(by: &[String], properties: &Properties, arrival: Arrival<'_>) -> i64 {
    let mut text = String::new();
    for name in by {
        text.push_str(&properties.text(name));
        text.push('\u{1f}');
    }
    if text.chars().all(|letter| letter == '\u{1f}') { hash_of(arrival.order_source) } else { hash_of(&text) }
}

/// Hash of an order key.
pub(crate) fn hash_of(text: &str) -> i64 {
    let mut first = [0; 8];
    first.copy_from_slice(&sha256(text.as_bytes())[..8]);
    i64::from_be_bytes(first)
}

/// Whether the logical port takes this MSH-9. `ORU^*` takes all events of ORU.
fn accepted(patterns: &[String], properties: &Properties) -> bool {
    if patterns.is_empty() {
        return true;
    }
    // A report of a failure says what the message was below `orig.`.
    let orig = if properties.get("fault.code").is_empty() { "" } else { "orig." };
    let (kind, event) =
        (properties.text(&format!("{orig}{TYPE}")), properties.text(&format!("{orig}hl7.event")));
    patterns.iter().any(|pattern| {
        let mut parts = pattern.split('^');
        let fits = |part: Option<&str>, value: &str| part.is_none_or(|part| part == "*" || part == value);
        fits(parts.next(), &kind) && fits(parts.next(), &event)
    })
}

/// Properties of a message as routing sees them.
pub(crate) fn properties_of(configuration: &Configuration, message: &Message) -> Properties {
    configuration.rules.promote(message)
}
