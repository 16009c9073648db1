//! An application acknowledgment that comes later, on a connection of its own, reaches the instance that waits for it.

use std::sync::Arc;
use std::time::Duration;

use orderly_engine::configuration::{Binding, Enlisted, PortState, SendTarget};
use orderly_hl7::mllp::frame;
use orderly_orchestrations::{Definition, Known};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::wire::{Draft, Script, Site, adt};

const ASKED: &str = "orchestration: asked
version: 1
title: Wait until the receiver has handled it
owner: desk
timeout: 2d
ports:
  in: { direction: in, accepts: [ADT^A04] }
  out: { direction: out }
start:
  - receive: { as: adt, from: in, where: { hl7.type: ADT } }
steps:
  - send: { id: tell, message: adt, to: out, expect: { ack: application, within: 1h } }
";

fn asked(draft: &mut Draft) {
    draft.0.version = 1;
    draft.port(|port| port.filter = None);
    let definition =
        Definition::compile("orchestrations/asked.yaml", ASKED, &draft.0.rules, &Known::default()).unwrap();
    let receive = Binding { receive_port: Some("in".to_owned()), send: None };
    let send = Binding { receive_port: None, send: Some(SendTarget::Port("out".to_owned())) };
    let enlisted = Enlisted {
        name: "asked".to_owned(),
        application: String::new(),
        definition: Arc::new(definition),
        ports: [("in".to_owned(), receive), ("out".to_owned(), send)].into_iter().collect(),
        settings: indexmap::IndexMap::new(),
        shards: 2,
        weight: 5,
        state: PortState::Running,
    };
    draft.0.orchestrations.insert("asked".to_owned(), enlisted);
}

fn application_ack(to: &str) -> Vec<u8> {
    frame(format!("MSH|^~\\&|R|R|||20260301||ACK|A{to}|P|2.5.1\rMSA|AA|{to}\r").as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_on_another_connection_finds_its_instance_by_the_control_id() {
    let site = Site::start(Script::Answer("CA"), asked).await;
    sqlx::query(
        "INSERT INTO config_version (version, created_by, origin, sha256) VALUES (1, 't', 'deploy', '')",
    )
    .execute(site.engine.store().pool())
    .await
    .unwrap();
    let mut sender = site.sender().await;
    assert_eq!(sender.send(&adt("1", "P1")).await, "AA 1");
    assert_eq!(sender.send(&adt("2", "P2")).await, "AA 2");
    site.until("SELECT count(*) FROM tracking WHERE kind = 6", 2).await;
    site.engine.run_until_idle().await;
    assert_eq!(site.count("SELECT count(*) FROM expectation").await, 2, "CA promises storage, no more");
    assert_eq!(site.count("SELECT count(*) FROM instance").await, 2);

    let address = site.outside.ports.address("in/mllp").await.unwrap();
    let mut other = TcpStream::connect(address).await.unwrap();
    other.write_all(&application_ack("2")).await.unwrap();
    site.until("SELECT count(*) FROM instance", 1).await;
    site.until("SELECT count(*) FROM expectation WHERE control_id = '1'", 1).await;
    // The same answer again moves nobody.
    other.write_all(&application_ack("2")).await.unwrap();
    other.write_all(&application_ack("1")).await.unwrap();
    site.until("SELECT count(*) FROM instance", 0).await;
    site.until("SELECT count(*) FROM expectation", 0).await;
    tokio::time::timeout(Duration::from_secs(10), site.engine.run_until_idle()).await.unwrap();
    assert_eq!(site.count("SELECT count(*) FROM parked").await, 0);
    site.stop().await;
}
