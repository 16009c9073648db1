//! An instance keeps the configuration version it started with, over deployments and restarts.

use std::sync::Arc;
use std::time::Duration;

use orderly_engine::configuration::Files;
use orderly_engine::engine::{Engine, EngineOptions};
use orderly_engine::ids::TaskId;
use orderly_engine::people::Person;
use orderly_engine::site::{By, Deployment, Environment, deploy};
use orderly_engine::store::{Durability, Store};
use orderly_engine::task::{Counted, Vote, vote};
use sqlx::postgres::PgConnectOptions;

use crate::flow::{number, received, sound, until};
use crate::support::{accepted, database, serve};

const SITE: &str = "site:
  format: 1
  name: north
  title: North
  timezone: UTC
roles:
  desk: { title: Desk, like: approver }
people:
  a.one: { title: Ada One, email: a@north.example, roles: [desk] }
receive_ports:
  lab:
    locations:
      mllp:
        adapter: { mllp: { socket: { listen: 127.0.0.1:2575 } } }
send_ports:
  ward:
    target: { mllp: { socket: { connect: 127.0.0.1:2601 } } }
  billing:
    target: { mllp: { socket: { connect: 127.0.0.1:2602 } } }
orchestrations:
  forward:
    ports:
      results: { receive_port: lab }
      out:     { send_port: ward }
";

const DEFINITION: &str = "orchestration: forward
version: 1
title: A person lets results pass
owner: desk
timeout: 2d
ports:
  results: { direction: in, accepts: [ORU^R01] }
  out: { direction: out }
start:
  - receive: { as: oru, from: results, where: { hl7.type: ORU } }
steps:
  - approve: { id: look, task: result, title: First way, assign: { role: desk }, outcomes: [pass, stop], as: decision }
  - send: { message: oru, to: out }
";

fn files(site: &str, definition: &str) -> Files {
    [("site.yaml", site), ("orchestrations/forward.yaml", definition)]
        .into_iter()
        .map(|(path, text)| (path.to_owned(), Arc::from(text.as_bytes())))
        .collect()
}

async fn deployed(store: &Store, site: &str, definition: &str) {
    let by = By { person: "a.one", reason: "" };
    let made = deploy(store, &files(site, definition), &Environment::local(), by).await;
    assert!(matches!(made, Ok(Deployment::Applied { .. })), "{made:?}");
}

async fn engine(database: &PgConnectOptions) -> Arc<Engine> {
    let mut options = EngineOptions::new(database.clone());
    options.durability = Durability::NotCheckedForTests;
    Engine::start(options).await.unwrap()
}

/// The person of the desk lets the result of the task with this title pass.
async fn approve(engine: &Engine, title: &str) {
    let (id, version): (i64, i32) =
        sqlx::query_as("SELECT id, version FROM task WHERE state = 0 AND title = $1")
            .bind(title)
            .fetch_one(engine.store().pool())
            .await
            .unwrap();
    let person = Person {
        id: "a.one".to_owned(),
        title: String::new(),
        email: String::new(),
        roles: vec!["desk".to_owned()],
        identifiers: Vec::new(),
        wards: Vec::new(),
    };
    let counted = vote(
        engine.store(),
        Vote {
            task: TaskId(id),
            person: &person,
            outcome: "pass",
            reason: "",
            inputs: &serde_json::Map::new(),
            signed: true,
            version,
            key: title,
            session: 0,
            address: "test",
        },
    )
    .await;
    assert!(matches!(counted, Ok(Ok(Counted::Decided { .. }))), "{counted:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_goes_on_with_the_version_it_started_with_after_another_was_deployed() {
    let database = database().await;
    let store = orderly_engine::store::Store::open(
        database.clone(),
        orderly_engine::clock::Clock::system(),
        Durability::NotCheckedForTests,
    )
    .await
    .unwrap();
    deployed(&store, SITE, DEFINITION).await;
    let running = engine(&database).await;
    for (control_id, patient) in [("1", "p1"), ("2", "p2")] {
        running.message_box().publish(1, received(&running, control_id, patient)).await.unwrap();
    }
    until(&running, "SELECT count(*) FROM task WHERE state = 0 AND title = 'First way'", 2).await;
    // One of the two is renamed so that each can be decided on its own.
    let other = "UPDATE task SET title = 'Later' WHERE id = (SELECT max(id) FROM task)";
    crate::flow::run(&running, other).await;

    let site = SITE.replace("{ send_port: ward }", "{ send_port: billing }");
    let definition = DEFINITION.replace("First way", "Second way").replace("id: look", "id: glance");
    deployed(&store, &site, &definition).await;
    while running.configuration().version != 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running.message_box().publish(1, received(&running, "3", "p3")).await.unwrap();
    until(&running, "SELECT count(*) FROM task WHERE state = 0 AND title = 'Second way'", 1).await;

    let mut sent = serve(&running, accepted);
    approve(&running, "First way").await;
    assert_eq!(sent.recv().await.unwrap(), ("ward".to_owned(), "1".to_owned()));
    approve(&running, "Second way").await;
    assert_eq!(sent.recv().await.unwrap(), ("billing".to_owned(), "3".to_owned()));
    running.run_until_idle().await;
    running.shutdown().await.unwrap();

    // The next node has never run version 1; it compiles it from what is stored.
    let next = engine(&database).await;
    let mut sent = serve(&next, accepted);
    assert_eq!(next.configuration().version, 2);
    approve(&next, "Later").await;
    assert_eq!(sent.recv().await.unwrap(), ("ward".to_owned(), "2".to_owned()));
    next.run_until_idle().await;
    assert_eq!(number(&next, "SELECT count(*) FROM instance").await, 0);
    sound(&next).await;
    next.shutdown().await.unwrap();
}
