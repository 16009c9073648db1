//! A site with one orchestration between the receive port `lab` and the send ports `ward` and `billing`.

use std::sync::Arc;
use std::time::Duration;

use orderly_engine::configuration::{Binding, Configuration, Enlisted, PortState, SendTarget};
use orderly_engine::engine::Engine;
use orderly_engine::message_box::{Arrival, Incoming};
use orderly_orchestrations::{Definition, Known};
use sqlx::postgres::PgConnectOptions;

use crate::support::{incoming, ports, start};

pub(crate) const FORWARD: &str = r#"
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

/// The patient `bad` makes a formula fail.
pub(crate) const FRAGILE: &str = r#"
orchestration: forward
version: 1
title: Forward results that can be counted
owner: lab-analyst
timeout: 2d
ports:
  results: { direction: in, accepts: [ORU^R01] }
  ward: { direction: out }
start:
  - receive: { as: oru, from: results, where: { hl7.type: ORU } }
steps:
  - decide:
      cases:
        - when: oru["PID-3.1"] == "bad"
          do: [ { throw: { error: unusable, text: This one cannot be handled } } ]
  - send: { message: oru, to: ward }
"#;

pub(crate) fn site(text: &str) -> Arc<Configuration> {
    let mut configuration = Configuration::clone(&ports(&["ward", "billing"]));
    configuration.version = 1;
    let definition =
        Definition::compile("orchestrations/forward.yaml", text, &configuration.rules, &Known::default())
            .unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let mut bindings = indexmap::IndexMap::new();
    bindings.insert("results".to_owned(), Binding { receive_port: Some("lab".to_owned()), send: None });
    let ward = Some(SendTarget::Port("ward".to_owned()));
    bindings.insert("ward".to_owned(), Binding { receive_port: None, send: ward });
    let enlisted = Enlisted {
        name: "forward".to_owned(),
        application: String::new(),
        definition: Arc::new(definition),
        ports: bindings,
        settings: indexmap::IndexMap::new(),
        shards: 1,
        weight: 5,
        state: PortState::Running,
    };
    configuration.orchestrations.insert("forward".to_owned(), enlisted);
    Arc::new(configuration)
}

pub(crate) async fn started(database: &PgConnectOptions, text: &str) -> Arc<Engine> {
    let engine = start(database, site(text)).await;
    run(
        &engine,
        "INSERT INTO config_version (version, created_by, origin, sha256) VALUES (1, 't', 'deploy', '')",
    )
    .await;
    engine
}

/// A message as `receive` would route it.
pub(crate) fn received(engine: &Engine, control_id: &str, patient: &str) -> Incoming {
    let mut message = incoming(engine, &[], control_id, patient);
    let current = engine.current();
    let mut properties = current.configuration.rules.promote(message.parsed.as_ref().unwrap());
    properties.set("port.name", "lab");
    message.routes = current.routes(&properties, Arrival { message: message.id, order_source: "lab" });
    assert!(!message.routes.is_empty(), "somebody subscribes");
    message
}

/// Does what the engine may not, as the owner of the tables.
pub(crate) async fn run(engine: &Engine, statement: &'static str) {
    let mut owner = engine.store().owner_for_tests().await.unwrap();
    sqlx::query(statement).execute(&mut owner).await.unwrap();
}

pub(crate) async fn number(engine: &Engine, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(engine.store().pool()).await.unwrap()
}

pub(crate) async fn until(engine: &Engine, query: &'static str, wanted: i64) {
    let end = tokio::time::Instant::now() + Duration::from_secs(15);
    loop {
        let found = number(engine, query).await;
        if found == wanted {
            return;
        }
        assert!(tokio::time::Instant::now() < end, "{query} gives {found}, not {wanted}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn sound(engine: &Engine) {
    let report = orderly_engine::audit::verify(engine.store().pool()).await.unwrap();
    assert!(report.is_sound(), "{report:?}");
}

/// The database as an address for another process.
pub(crate) fn address(database: &PgConnectOptions) -> String {
    let place = database.get_socket().map(|socket| format!("?host={}", socket.display()));
    format!(
        "postgres://{}@{}:{}/{}{}",
        database.get_username(),
        if place.is_some() { "localhost" } else { database.get_host() },
        database.get_port(),
        database.get_database().unwrap(),
        place.unwrap_or_default()
    )
}
