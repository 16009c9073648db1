//! Numbers of what a configuration names: subscribers, sources and lanes. They are given once and never change.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::configuration::{Configuration, OnFailure};
use crate::store::{Error, Store, partition};

/// So long after one node took a configuration up all nodes have.
const DECLARED_AFTER: TimeDelta = TimeDelta::seconds(5);

/// What a subscriber is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SubscriberKind {
    /// Sends messages out.
    SendPort,
    /// Runs instances.
    Orchestration,
    /// Collects the messages of a send port into batches.
    Collector,
}

impl SubscriberKind {
    /// The word of the column `subscriber.kind`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::SendPort => "send_port",
            Self::Orchestration => "orchestration",
            Self::Collector => "collector",
        }
    }
}

/// What made a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceKind {
    /// A receive location, named `port/location`.
    ReceiveLocation,
    /// An orchestration.
    Orchestration,
    /// A send port: the source of answers.
    SendPort,
    /// A person who resubmitted it.
    Person,
}

impl SourceKind {
    fn word(self) -> &'static str {
        match self {
            Self::ReceiveLocation => "receive_location",
            Self::Orchestration => "orchestration",
            Self::SendPort => "send_port",
            Self::Person => "person",
        }
    }
}

/// A subscriber with its lanes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscriber {
    /// Number in the table `subscriber`.
    pub id: i32,
    /// What it is.
    pub kind: SubscriberKind,
    /// Its name in the site.
    pub name: String,
    /// Its lanes by shard. What is new is spread over the first `shards` of them.
    pub lanes: Vec<i32>,
    /// Lanes that get new work.
    pub shards: u16,
    /// True where a failed delivery holds what has the same key.
    pub holds_keys: bool,
}

impl Subscriber {
    /// The lane that keeps the order of a key.
    #[must_use]
    pub fn lane_of(&self, key: i64) -> i32 {
        let shards = u64::from(self.shards.max(1)).min(self.lanes.len() as u64);
        // The low bits of an id are a counter and of a hash are random: both spread.
        self.lanes[usize::try_from(key.cast_unsigned() % shards).unwrap_or_default()]
    }
}

/// All numbers of one configuration. Names of earlier ones stay known.
#[derive(Debug, Default)]
pub struct Directory {
    subscribers: HashMap<i32, Subscriber>,
    by_name: HashMap<(SubscriberKind, String), i32>,
    by_lane: HashMap<i32, i32>,
    sources: HashMap<(&'static str, String), i32>,
    classes: HashMap<String, i16>,
}

impl Directory {
    /// Gives numbers to what is new in the configuration and reads all of them.
    ///
    /// # Errors
    ///
    /// Fails when the database does.
    pub async fn load(store: &Store, configuration: &Configuration) -> Result<Self, Error> {
        let wanted = wanted(configuration);
        let sources = sources(configuration);
        let mut tx = store.begin("directory: number names").await?;
        let (kinds, names): (Vec<&str>, Vec<&str>) =
            wanted.iter().map(|(kind, name, ..)| (kind.word(), *name)).unzip();
        sqlx::query!(
            r#"INSERT INTO subscriber (kind, name)
               SELECT u.kind, u.name FROM unnest($1::text[], $2::text[]) AS u(kind, name)
                WHERE NOT EXISTS (SELECT FROM subscriber s WHERE s.kind = u.kind AND s.name = u.name)
                   ON CONFLICT DO NOTHING"#,
            &kinds as _,
            &names as _
        )
        .execute(tx.connection())
        .await?;
        let (kinds, source_names): (Vec<&str>, Vec<String>) = sources.into_iter().unzip();
        sqlx::query!(
            r#"INSERT INTO source (kind, name)
               SELECT u.kind, u.name FROM unnest($1::text[], $2::text[]) AS u(kind, name)
                WHERE NOT EXISTS (SELECT FROM source s WHERE s.kind = u.kind AND s.name = u.name)
                   ON CONFLICT DO NOTHING"#,
            &kinds as _,
            &source_names
        )
        .execute(tx.connection())
        .await?;
        let shards: Vec<i32> = wanted.iter().map(|(_, _, shards, _)| i32::from(*shards)).collect();
        let (kinds, names): (Vec<&str>, Vec<&str>) =
            wanted.iter().map(|(kind, name, ..)| (kind.word(), *name)).unzip();
        sqlx::query!(
            r#"INSERT INTO lane (subscriber, shard)
               SELECT s.id, g.shard
                 FROM unnest($1::text[], $2::text[], $3::integer[]) AS u(kind, name, shards)
                 JOIN subscriber s ON s.kind = u.kind AND s.name = u.name
                CROSS JOIN LATERAL generate_series(0, u.shards - 1) AS g(shard)
                WHERE NOT EXISTS (SELECT FROM lane l WHERE l.subscriber = s.id AND l.shard = g.shard)
                   ON CONFLICT DO NOTHING"#,
            &kinds as _,
            &names as _,
            &shards
        )
        .execute(tx.connection())
        .await?;
        number_classes(&mut tx, configuration, store.clock().now()).await?;
        declare(&mut tx, &configuration.tracking.index, store.clock().now()).await?;
        let directory = Self::read(&mut tx, &wanted).await?;
        tx.commit().await?;
        Ok(directory)
    }

    async fn read(tx: &mut crate::store::Tx, wanted: &[Wanted<'_>]) -> Result<Self, Error> {
        let mut directory = Self::default();
        for row in sqlx::query!("SELECT id, kind, name FROM subscriber").fetch_all(tx.connection()).await? {
            let kinds = [SubscriberKind::SendPort, SubscriberKind::Collector];
            let kind = kinds.into_iter().find(|kind| kind.word() == row.kind);
            let kind = kind.unwrap_or(SubscriberKind::Orchestration);
            let wanted = wanted.iter().find(|(known, name, ..)| *known == kind && *name == row.name);
            directory.by_name.insert((kind, row.name.clone()), row.id);
            directory.subscribers.insert(
                row.id,
                Subscriber {
                    id: row.id,
                    kind,
                    name: row.name,
                    lanes: Vec::new(),
                    shards: wanted.map_or(1, |(_, _, shards, _)| *shards),
                    holds_keys: wanted.is_none_or(|(_, _, _, holds_keys)| *holds_keys),
                },
            );
        }
        for row in sqlx::query!("SELECT id, subscriber FROM lane ORDER BY subscriber, shard")
            .fetch_all(tx.connection())
            .await?
        {
            directory.by_lane.insert(row.id, row.subscriber);
            if let Some(subscriber) = directory.subscribers.get_mut(&row.subscriber) {
                subscriber.lanes.push(row.id);
            }
        }
        for row in sqlx::query!("SELECT id, kind, name FROM source").fetch_all(tx.connection()).await? {
            let kind = [
                SourceKind::ReceiveLocation,
                SourceKind::Orchestration,
                SourceKind::SendPort,
                SourceKind::Person,
            ]
            .into_iter()
            .find(|kind| kind.word() == row.kind);
            directory.sources.extend(kind.map(|kind| ((kind.word(), row.name), row.id)));
        }
        for row in sqlx::query!("SELECT number, name FROM retention_class").fetch_all(tx.connection()).await?
        {
            directory.classes.insert(row.name, row.number);
        }
        Ok(directory)
    }

    /// Numbers for a configuration that no database knows: for measurements of what needs none.
    #[must_use]
    pub fn without_database(configuration: &Configuration) -> Self {
        let mut directory = Self::default();
        for (id, (kind, name, shards, holds_keys)) in (1..).zip(wanted(configuration)) {
            let lanes: Vec<i32> = (0..i32::from(shards)).map(|shard| id * 64 + shard).collect();
            directory.by_lane.extend(lanes.iter().map(|lane| (*lane, id)));
            directory.by_name.insert((kind, name.to_owned()), id);
            let name = name.to_owned();
            directory.subscribers.insert(id, Subscriber { id, kind, name, lanes, shards, holds_keys });
        }
        directory
    }

    /// The subscriber with that name.
    #[must_use]
    pub fn subscriber(&self, kind: SubscriberKind, name: &str) -> Option<&Subscriber> {
        self.subscribers.get(self.by_name.get(&(kind, name.to_owned()))?)
    }

    /// The subscriber with that number.
    #[must_use]
    pub fn subscriber_by_id(&self, id: i32) -> Option<&Subscriber> {
        self.subscribers.get(&id)
    }

    /// Whose lane it is.
    #[must_use]
    pub fn subscriber_of_lane(&self, lane: i32) -> Option<&Subscriber> {
        self.subscribers.get(self.by_lane.get(&lane)?)
    }

    /// All lanes.
    pub fn lanes(&self) -> impl Iterator<Item = i32> + '_ {
        self.by_lane.keys().copied()
    }

    /// `message.retention` of a class by its name; 0 for the default class.
    #[must_use]
    pub fn retention(&self, class: &str) -> i16 {
        self.classes.get(class).copied().unwrap_or_default()
    }

    /// Number of a source; `port/location` for receive locations.
    #[must_use]
    pub fn source(&self, kind: SourceKind, name: &str) -> Option<i32> {
        self.sources.get(&(kind.word(), name.to_owned())).copied()
    }
}

/// Gives numbers to retention classes that are new, and makes the partitions that their messages need at once.
async fn number_classes(
    tx: &mut crate::store::Tx,
    configuration: &Configuration,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let retention = &configuration.retention;
    let others = retention.classes.keys().filter(|name| **name != retention.default);
    let others: Vec<String> = others.cloned().collect();
    if others.is_empty() {
        return Ok(());
    }
    // Whoever is at it makes partitions, which takes as long as it takes.
    tx.be_patient().await?;
    // Nodes that load the same version at the same time number one after the other.
    sqlx::query!("SELECT pg_advisory_xact_lock(4, 3)").execute(tx.connection()).await?;
    let new = sqlx::query!(
        "INSERT INTO retention_class (number, name)
         SELECT (SELECT coalesce(max(number), 0) FROM retention_class) + row_number() OVER (ORDER BY u.place), u.name
           FROM unnest($1::text[]) WITH ORDINALITY AS u(name, place)
          WHERE NOT EXISTS (SELECT FROM retention_class c WHERE c.name = u.name)",
        &others
    )
    .execute(tx.connection())
    .await?;
    if new.rows_affected() > 0 {
        partition::ensure_for_classes(tx, now).await?;
    }
    Ok(())
}

/// Notes from when on messages can be searched by which property. Other nodes take a new configuration up within seconds.
async fn declare(tx: &mut crate::store::Tx, index: &[String], now: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!("DELETE FROM search_property WHERE name <> ALL ($1)", index)
        .execute(tx.connection())
        .await?;
    sqlx::query!(
        "INSERT INTO search_property (name, since)
         SELECT u.name, $2 FROM unnest($1::text[]) AS u(name)
             ON CONFLICT DO NOTHING",
        index,
        now + DECLARED_AFTER
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

type Wanted<'a> = (SubscriberKind, &'a str, u16, bool);

fn wanted(configuration: &Configuration) -> Vec<Wanted<'_>> {
    let ports = configuration.send_ports.values().map(|port| {
        let holds_keys = port.order.on_failure() == OnFailure::HoldKey;
        (SubscriberKind::SendPort, port.name.as_str(), port.order.shards().max(1), holds_keys)
    });
    let orchestrations = configuration.orchestrations.values().map(|enlisted| {
        (SubscriberKind::Orchestration, enlisted.name.as_str(), enlisted.shards.max(1), true)
    });
    let batches = configuration.send_ports.values().filter(|port| port.batch.is_some());
    // One lane: the order of a batch is the order of its lane.
    let collectors = batches.map(|port| (SubscriberKind::Collector, port.name.as_str(), 1, false));
    ports.chain(orchestrations).chain(collectors).collect()
}

fn sources(configuration: &Configuration) -> Vec<(&'static str, String)> {
    let locations = configuration.receive_locations().map(|(port, location)| {
        (SourceKind::ReceiveLocation.word(), format!("{}/{}", port.name, location.name))
    });
    let orchestrations =
        configuration.orchestrations.keys().map(|name| (SourceKind::Orchestration.word(), name.clone()));
    let ports = configuration.send_ports.keys().map(|name| (SourceKind::SendPort.word(), name.clone()));
    let people = configuration.people.keys().map(|name| (SourceKind::Person.word(), name.clone()));
    locations.chain(orchestrations).chain(ports).chain(people).collect()
}
