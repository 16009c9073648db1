//! Instances on a real Postgres: start, send, wait, restart, continue by correlation, timers, tasks.
#![expect(clippy::disallowed_methods, reason = "a test stands outside the server")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use orderly_engine::clock::Clock;
use orderly_engine::configuration::{Binding, Configuration, Enlisted, PortState, SendTarget};
use orderly_engine::engine::{Engine, EngineOptions};
use orderly_engine::ids::InstanceId;
use orderly_engine::message_box::{Arrival, Incoming};
use orderly_engine::store::Durability;
use orderly_engine::{audit, tracking, view, work};
use orderly_orchestrations::{Definition, Known};
use sqlx::postgres::PgConnectOptions;
use support::{accepted, database, drain, incoming, ports, serve};

const FORWARD: &str = r#"
orchestration: forward
version: 1
title: Forward results
owner: lab-analyst
timeout: 2d
ports:
  results: { direction: in, accepts: [ORU^R01] }
  ward: { direction: out }
start:
  - receive: { as: oru, from: results, where: { hl7.type: ORU } }
steps:
  - send: { message: oru, to: ward }
"#;

const CONFIRMED: &str = r#"
orchestration: forward
version: 1
title: Forward results and wait for the receiver
owner: lab-analyst
timeout: 2d
ports:
  results: { direction: in, accepts: [ORU^R01] }
  ward: { direction: out }
  billing: { direction: out }
start:
  - receive: { as: oru, from: results, where: { hl7.type: ORU } }
steps:
  - send: { id: tell, message: oru, to: ward, expect: { ack: any, within: 1h, as: answer } }
  - delay: { id: rest, for: 10m }
  - send: { message: oru, to: billing }
"#;

const PAIR: &str = r#"
orchestration: forward
version: 1
title: Two results of one patient
owner: lab-analyst
timeout: 2d
ports:
  results: { direction: in, accepts: [ORU^R01] }
  ward: { direction: out }
correlations:
  patient: { by: [patient.id] }
start:
  - receive: { as: first, from: results, where: { hl7.type: ORU }, opens: { patient: first } }
steps:
  - receive: { id: second, as: second, from: results, where: { hl7.type: ORU }, follows: patient, within: 1h }
  - send: { message: second, to: ward }
"#;

fn site(text: &str) -> Arc<Configuration> {
    let ports = ports(&["ward", "billing"]);
    let mut configuration = Configuration::clone(&ports);
    configuration.version = 1;
    let definition =
        Definition::compile("orchestrations/forward.yaml", text, &configuration.rules, &Known::default())
            .unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let mut bindings = indexmap::IndexMap::new();
    bindings.insert("results".to_owned(), Binding { receive_port: Some("lab".to_owned()), send: None });
    for port in ["ward", "billing"] {
        let send = Some(SendTarget::Port(port.to_owned()));
        bindings.insert(port.to_owned(), Binding { receive_port: None, send });
    }
    let enlisted = Enlisted {
        name: "forward".to_owned(),
        application: String::new(),
        definition: Arc::new(definition),
        ports: bindings,
        settings: indexmap::IndexMap::new(),
        shards: 4,
        weight: 5,
        state: PortState::Running,
    };
    configuration.orchestrations.insert("forward".to_owned(), enlisted);
    Arc::new(configuration)
}

async fn start(database: &PgConnectOptions, text: &str, clock: Clock) -> Arc<Engine> {
    let mut options = EngineOptions::new(database.clone());
    options.configuration = Some(site(text));
    options.clock = clock;
    options.durability = Durability::NotCheckedForTests;
    let engine = Engine::start(options).await.unwrap();
    sqlx::query(
        "INSERT INTO config_version (version, created_by, origin, sha256) VALUES (1, 't', 'deploy', '') ON CONFLICT DO NOTHING",
    )
    .execute(engine.store().pool())
    .await
    .unwrap();
    engine
}

/// A message as `receive` would route it.
fn received(engine: &Engine, control_id: &str, patient: &str) -> Incoming {
    let mut message = incoming(engine, &[], control_id, patient);
    let current = engine.current();
    let mut properties = current.configuration.rules.promote(message.parsed.as_ref().unwrap());
    properties.set("port.name", "lab");
    message.routes = current.routes(&properties, Arrival { message: message.id, order_source: "lab" });
    assert!(!message.routes.is_empty(), "somebody subscribes");
    message
}

async fn count(engine: &Engine, table: &'static str) -> i64 {
    let query = match table {
        "instance" => "SELECT count(*) FROM instance",
        "timer" => "SELECT count(*) FROM timer",
        "expectation" => "SELECT count(*) FROM expectation",
        "correlation" => "SELECT count(*) FROM correlation",
        _ => "SELECT count(*) FROM parked",
    };
    sqlx::query_scalar(query).fetch_one(engine.store().pool()).await.unwrap()
}

async fn sound(engine: &Engine) {
    let report = audit::verify(engine.store().pool()).await.unwrap();
    assert!(report.is_sound(), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_that_never_waits_leaves_no_instance() {
    let engine = start(&database().await, FORWARD, Clock::system()).await;
    let mut sent = serve(&engine, accepted);
    for number in 0..40 {
        let message = received(&engine, &number.to_string(), "p1");
        engine.message_box().publish(1, message).await.unwrap();
    }
    engine.run_until_idle().await;
    assert_eq!(drain(&mut sent), (0..40).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!((count(&engine, "instance").await, count(&engine, "parked").await), (0, 0));
    the_delivery_stands_in_the_journey_of_the_instance(&engine).await;
    sound(&engine).await;
    engine.shutdown().await.unwrap();
}

/// No index leads from an instance to its deliveries: they are found by the messages that its turns name.
async fn the_delivery_stands_in_the_journey_of_the_instance(engine: &Engine) {
    let pool = engine.store().pool();
    let (root, instance): (i64, i64) =
        sqlx::query_as("SELECT message_id, instance FROM tracking WHERE kind = 5 ORDER BY instance LIMIT 1")
            .fetch_one(pool)
            .await
            .unwrap();
    let journey = view::tracking::journey_of_instance(pool, instance).await.unwrap();
    let kinds: Vec<_> = journey.entries.iter().filter_map(|entry| entry.kind).collect();
    assert_eq!(kinds, [tracking::Kind::Received, tracking::Kind::Turn, tracking::Kind::Delivered]);
    let outcomes = view::outcome::outcomes(pool, &[root], Utc::now()).await.unwrap();
    assert_eq!(outcomes[&root].0, view::outcome::Outcome::Delivered);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_waits_for_the_acknowledgment_then_for_a_timer_over_a_restart() {
    let database = database().await;
    let clock = Clock::manual(Utc::now());
    let engine = start(&database, CONFIRMED, clock.clone()).await;
    let mut sent = serve(&engine, accepted);
    engine.message_box().publish(1, received(&engine, "1", "p1")).await.unwrap();
    engine.run_until_idle().await;
    assert_eq!(sent.try_recv().unwrap().0, "ward");
    assert!(sent.try_recv().is_err(), "it rests before billing");
    assert_eq!((count(&engine, "instance").await, count(&engine, "expectation").await), (1, 0));
    engine.shutdown().await.unwrap();

    clock.set(clock.now() + TimeDelta::minutes(11));
    let engine = start(&database, CONFIRMED, clock.clone()).await;
    let mut sent = serve(&engine, accepted);
    assert_eq!(sent.recv().await.unwrap().0, "billing");
    engine.run_until_idle().await;
    assert_eq!((count(&engine, "instance").await, count(&engine, "timer").await), (0, 0));
    sound(&engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_message_of_a_conversation_continues_its_instance() {
    let engine = start(&database().await, PAIR, Clock::system()).await;
    let mut sent = serve(&engine, accepted);
    for (control_id, patient) in [("a1", "a"), ("b1", "b"), ("a2", "a")] {
        engine.message_box().publish(1, received(&engine, control_id, patient)).await.unwrap();
    }
    engine.run_until_idle().await;
    assert_eq!(drain(&mut sent), ["a2"]);
    assert_eq!((count(&engine, "instance").await, count(&engine, "correlation").await), (1, 1));
    engine.message_box().publish(1, received(&engine, "b2", "b")).await.unwrap();
    engine.run_until_idle().await;
    assert_eq!(drain(&mut sent), ["b2"]);
    assert_eq!((count(&engine, "instance").await, count(&engine, "correlation").await), (0, 0));
    sound(&engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_ends_an_instance() {
    let engine = start(&database().await, PAIR, Clock::system()).await;
    engine.message_box().publish(1, received(&engine, "a1", "a")).await.unwrap();
    engine.run_until_idle().await;
    let (id, lane): (i64, i32) =
        sqlx::query_as("SELECT id, lane FROM instance").fetch_one(engine.store().pool()).await.unwrap();
    let mut tx = engine.store().begin("test: terminate").await.unwrap();
    let detail = work::Detail::Command {
        command: work::Command::Terminate,
        person: "op".to_owned(),
        reason: "test".to_owned(),
    };
    let command = work::NewWork {
        lane,
        kind: work::Kind::Command,
        subject: id,
        key: id,
        instance: Some(InstanceId(id)),
        detail: Some(detail),
    };
    work::append(&mut tx, &[command]).await.unwrap();
    tx.commit().await.unwrap();
    while count(&engine, "instance").await > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!((count(&engine, "timer").await, count(&engine, "correlation").await), (0, 0));
}
