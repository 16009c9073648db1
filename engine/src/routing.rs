//! Who would receive a message, and why: the subscriptions of a configuration in words, and each of them held against a
//! message. For people who ask; the message box has an index of its own.

use std::collections::HashMap;

use orderly_hl7::{Finding, Message};
use orderly_orchestrations::Trigger;
use orderly_rules::filter::{Condition, Test};
use orderly_rules::{Filter, Properties, Value};
use sqlx::PgPool;

use crate::adapter::mllp::Peer;
use crate::configuration::{Configuration, ReceiveLocation, ReceivePort, SendTarget};
use crate::current::Current;
use crate::ids::{InstanceId, MessageId};
use crate::message_box::Arrival;
use crate::pipeline::{promote, resolve_party, validate};
use crate::work::Detail;

/// One subscription.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// `send_port` or `orchestration`.
    pub kind: &'static str,
    /// Name of the subscriber.
    pub name: String,
    /// What a match means.
    pub means: Means,
    /// Receive port that an orchestration's logical port is bound to.
    port: Option<String>,
    /// Patterns of MSH-9 that the logical port takes; empty: every type.
    accepts: Vec<String>,
    filter: Filter,
}

/// What a match means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Means {
    /// The port sends it.
    Sends,
    /// The port sends it because it is a member of this group.
    SendsAsMember(String),
    /// The port puts it into the batch that is open, and sends that.
    Collects,
    /// An instance begins.
    Starts,
    /// An instance that waits for it goes on; without one, the message is not for this subscriber.
    Follows,
}

/// A condition, and whether a message meets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The condition in words: "hl7.type is ORU".
    pub text: String,
    /// The message meets it.
    pub holds: bool,
    /// The property that it reads, and what the message has there. May be patient data.
    pub found: String,
}

/// A subscription held against a message.
#[derive(Debug, Clone)]
pub struct Judged {
    /// Place in [`subscriptions`].
    pub number: usize,
    /// All conditions hold.
    pub takes: bool,
    /// Each condition.
    pub tried: Vec<Tried>,
}

impl Judged {
    /// How many conditions failed: one is a near miss.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.tried.iter().filter(|one| !one.holds).count()
    }
}

/// What would become of a message.
#[derive(Debug, Clone)]
pub struct Routing {
    /// The party that it would be taken for.
    pub party: Option<String>,
    /// What is wrong or odd in it, as the door would say.
    pub findings: Vec<Finding>,
    /// Every subscription, in the order of [`subscriptions`].
    pub judged: Vec<Judged>,
    properties: Properties,
}

/// All subscriptions of a configuration: ports first, each in the order of the site's files.
#[must_use]
pub fn subscriptions(configuration: &Configuration) -> Vec<Subscription> {
    let of_port = |name: &str, means, filter: &Filter| Subscription {
        kind: "send_port",
        name: name.to_owned(),
        means,
        port: None,
        accepts: Vec::new(),
        filter: filter.clone(),
    };
    let mut found = Vec::new();
    for port in configuration.send_ports.values() {
        let means = if port.batch.is_some() { Means::Collects } else { Means::Sends };
        found.extend(port.filter.iter().map(|filter| of_port(&port.name, means.clone(), filter)));
        for (group, settings) in &configuration.send_port_groups {
            if let Some(filter) = settings.filter.as_ref().filter(|_| settings.members.contains(&port.name)) {
                found.push(of_port(&port.name, Means::SendsAsMember(group.clone()), filter));
            }
        }
    }
    for enlisted in configuration.orchestrations.values() {
        for subscription in enlisted.definition.subscriptions() {
            found.push(Subscription {
                kind: "orchestration",
                name: enlisted.name.clone(),
                means: if subscription.activates.is_some() { Means::Starts } else { Means::Follows },
                port: enlisted.ports.get(&subscription.port).and_then(|bound| bound.receive_port.clone()),
                accepts: subscription.accepts.clone(),
                filter: subscription.filter.clone(),
            });
        }
    }
    found
}

/// Who receives without a filter, because a definition sends to it: name of the send port and of the definitions.
#[must_use]
pub fn sent_to_directly(configuration: &Configuration) -> Vec<(String, Vec<String>)> {
    let sends = |port: &str| {
        let bound = configuration.orchestrations.values().filter(|enlisted| {
            enlisted.ports.values().any(|binding| match &binding.send {
                Some(SendTarget::Port(name)) => name == port,
                Some(SendTarget::Group(group)) => configuration
                    .send_port_groups
                    .get(group)
                    .is_some_and(|group| group.members.iter().any(|member| member == port)),
                None => false,
            })
        });
        bound.map(|enlisted| enlisted.name.clone()).collect::<Vec<_>>()
    };
    let ports = configuration.send_ports.keys().map(|port| (port.clone(), sends(port)));
    ports.filter(|(_, senders)| !senders.is_empty()).collect()
}

/// The definitions that only others start.
#[must_use]
pub fn only_called(configuration: &Configuration) -> Vec<String> {
    let called = |triggers: &[Trigger]| triggers.iter().all(|one| matches!(one, Trigger::Called { .. }));
    let definitions = configuration.orchestrations.values();
    definitions
        .filter(|enlisted| called(enlisted.definition.triggers()))
        .map(|enlisted| enlisted.name.clone())
        .collect()
}

impl Subscription {
    /// All that must hold, in words.
    #[must_use]
    pub fn conditions(&self) -> Vec<String> {
        self.tried(&Properties::new()).into_iter().map(|one| one.text).collect()
    }

    /// Each condition held against a message's properties.
    fn tried(&self, properties: &Properties) -> Vec<Tried> {
        let mut tried = Vec::new();
        if let Some(port) = &self.port {
            let wanted = Value::text(port.as_str());
            let condition = Condition { property: "port.name".to_owned(), test: Test::OneOf(vec![wanted]) };
            tried.push(try_one(&condition, properties));
        }
        if !self.accepts.is_empty() {
            let event = [properties.text("hl7.type"), properties.text("hl7.event")].join("^");
            tried.push(Tried {
                text: format!("the type is {}", self.accepts.join(" or ")),
                holds: self.accepts.iter().any(|pattern| fits(pattern, properties)),
                found: event.trim_matches('^').to_owned(),
            });
        }
        tried.extend(self.filter.all.iter().map(|condition| try_one(condition, properties)));
        if !self.filter.any.is_empty() {
            let words = |group: &Vec<Condition>| group.iter().map(words).collect::<Vec<_>>().join(" and ");
            let holds = |group: &Vec<Condition>| group.iter().all(|condition| condition.holds(properties));
            let mut names: Vec<&str> =
                self.filter.any.iter().flatten().map(|condition| condition.property.as_str()).collect();
            names.dedup();
            tried.push(Tried {
                text: self.filter.any.iter().map(words).collect::<Vec<_>>().join(", or "),
                holds: self.filter.any.iter().any(holds),
                found: names.into_iter().map(|name| found(name, properties)).collect::<Vec<_>>().join("; "),
            });
        }
        tried
    }

    fn judge(&self, number: usize, properties: &Properties) -> Judged {
        let mut tried = self.tried(properties);
        let all = tried.iter().all(|one| one.holds);
        // Acknowledgments and faults reach only those who ask for them; no condition says so.
        let takes = all && self.filter.matches(properties);
        if all && !takes {
            tried.push(Tried {
                text: "it asks for acknowledgments or faults by name".to_owned(),
                holds: false,
                found: properties.text("hl7.type"),
            });
        }
        Judged { number, takes, tried }
    }
}

fn try_one(condition: &Condition, properties: &Properties) -> Tried {
    Tried {
        text: words(condition),
        holds: condition.holds(properties),
        found: found(&condition.property, properties),
    }
}

fn found(property: &str, properties: &Properties) -> String {
    let values: Vec<String> = properties.get(property).iter().map(ToString::to_string).collect();
    values.join(", ")
}

/// A condition as people say it: "hl7.event is R01 or R03".
fn words(condition: &Condition) -> String {
    let name = &condition.property;
    let list = |values: &[Value]| values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    match &condition.test {
        Test::OneOf(values) => format!("{name} is {}", list(values)),
        Test::Not(values) => format!("{name} is not {}", list(values)),
        Test::Prefix(prefix) => format!("{name} begins with {prefix}"),
        Test::Above(limit) => format!("{name} is above {limit}"),
        Test::Below(limit) => format!("{name} is below {limit}"),
        Test::Present(true) => format!("{name} is given"),
        Test::Present(false) => format!("{name} is not given"),
    }
}

fn fits(pattern: &str, properties: &Properties) -> bool {
    let mut parts = pattern.split('^');
    let fits = |part: Option<&str>, value: &str| part.is_none_or(|part| part == "*" || part == value);
    fits(parts.next(), &properties.text("hl7.type")) && fits(parts.next(), &properties.text("hl7.event"))
}

/// What would become of a message that came in at a location. Nothing is stored and nothing is sent.
#[must_use]
pub fn route(
    configuration: &Configuration,
    port: &ReceivePort,
    location: &ReceiveLocation,
    message: &Message,
) -> Routing {
    // Nobody is connected: parties that are known by address or certificate are not recognised.
    let peer = Peer::default();
    let resolved = resolve_party::resolve(configuration, location, &message.header(), &peer);
    let party = resolved.name();
    let findings = validate::validate(message, location.inbound(party), &configuration.rules);
    let properties = promote::promote(&configuration.rules, message, port, location, party, &findings);
    let judged = subscriptions(configuration)
        .iter()
        .enumerate()
        .map(|(number, one)| one.judge(number, &properties))
        .collect();
    Routing { party: party.map(str::to_owned), findings, judged, properties }
}

/// Instances that wait for such a message now, by orchestration: those that hold its correlation values.
///
/// # Errors
///
/// Fails when the database does.
pub async fn waiting(
    pool: &PgPool,
    current: &Current,
    routing: &Routing,
) -> sqlx::Result<HashMap<String, Vec<InstanceId>>> {
    let arrival = Arrival { message: MessageId(0), order_source: "" };
    let (mut orchestrations, mut sets, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    for route in current.routes(&routing.properties, arrival) {
        let Some(Detail::Subscribed(subscribed)) = route.detail else { continue };
        let Some((set, key)) = subscribed.correlation.filter(|_| subscribed.follows) else { continue };
        orchestrations.push(route.subscriber);
        sets.push(set);
        keys.push(key.to_vec());
    }
    let rows = sqlx::query!(
        "SELECT DISTINCT s.name, c.instance
           FROM unnest($1::integer[], $2::text[], $3::bytea[]) AS u(orchestration, correlation_set, key)
           JOIN correlation c USING (orchestration, correlation_set, key)
           JOIN subscriber s ON s.id = c.orchestration
          ORDER BY s.name, c.instance
          LIMIT 100",
        &orchestrations,
        &sets,
        &keys
    )
    .fetch_all(pool)
    .await?;
    let mut waiting: HashMap<String, Vec<InstanceId>> = HashMap::new();
    for row in rows {
        waiting.entry(row.name).or_default().push(InstanceId(row.instance));
    }
    Ok(waiting)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(filter: Filter) -> Subscription {
        Subscription {
            kind: "send_port",
            name: "billing".to_owned(),
            means: Means::Sends,
            port: None,
            accepts: vec!["ORU^R01".to_owned()],
            filter,
        }
    }

    fn is(property: &str, value: &str) -> Condition {
        Condition { property: property.to_owned(), test: Test::OneOf(vec![Value::text(value)]) }
    }

    fn message(pairs: &[(&str, &str)]) -> Properties {
        let mut properties = Properties::new();
        for (name, value) in pairs {
            properties.add(String::from(*name), *value);
        }
        properties
    }

    #[test]
    fn a_near_miss_names_the_one_condition_that_failed_and_what_was_there() {
        let filter =
            Filter::of(vec![is("port.name", "hospital"), is("party.name", "laboratory")], Vec::new());
        let properties = message(&[
            ("hl7.type", "ORU"),
            ("hl7.event", "R01"),
            ("port.name", "hospital"),
            ("party.name", "ward"),
        ]);
        let judged = subscription(filter).judge(0, &properties);
        assert!(!judged.takes);
        assert_eq!(judged.failed(), 1);
        let failed = judged.tried.iter().find(|one| !one.holds).unwrap();
        assert_eq!((failed.text.as_str(), failed.found.as_str()), ("party.name is laboratory", "ward"));
    }

    #[test]
    fn the_words_are_those_of_the_filter() {
        let prefix = Condition { property: "hl7.sending_app".into(), test: Test::Prefix("LIS".into()) };
        let filter = Filter::of(vec![prefix], vec![vec![is("a", "1"), is("b", "2")], vec![is("c", "3")]]);
        assert_eq!(
            subscription(filter).conditions(),
            ["the type is ORU^R01", "hl7.sending_app begins with LIS", "a is 1 and b is 2, or c is 3"]
        );
    }

    #[test]
    fn the_demo_hospital_sends_a_result_where_its_files_say() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../sites/demo");
        let files = crate::site::read_folder(&folder).unwrap();
        let environment = crate::site::Environment::of_process("local".to_owned());
        let configuration = Configuration::compile(&files, &environment, 0).unwrap();
        let (port, location) = configuration.receive_locations().next().unwrap();
        let message = Message::parse(files["samples/oru-critical.hl7"].to_vec()).unwrap();
        let routing = route(&configuration, port, location, &message);
        assert_eq!(routing.party.as_deref(), Some("laboratory"));
        let all = subscriptions(&configuration);
        let named = |judged: Vec<&Judged>| -> Vec<&str> {
            judged.into_iter().map(|judged| all[judged.number].name.as_str()).collect()
        };
        let takes = routing.judged.iter().filter(|judged| judged.takes).collect();
        assert_eq!(named(takes), ["billing-results", "billing-night", "lab-order", "lab-results"]);
        let near = routing.judged.iter().filter(|judged| !judged.takes && judged.failed() == 1).collect();
        assert_eq!(named(near), ["order-entry"]);
    }

    #[test]
    fn an_acknowledgment_is_taken_only_where_it_is_asked_for() {
        let filter = Filter::of(vec![is("port.name", "lab")], Vec::new());
        let ack = message(&[("hl7.type", "ACK"), ("port.name", "lab")]);
        let judged = Subscription { accepts: Vec::new(), ..subscription(filter) }.judge(0, &ack);
        assert!(!judged.takes);
        assert_eq!(judged.failed(), 1);
    }
}
