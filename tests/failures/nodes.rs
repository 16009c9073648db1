//! Several nodes on one database: who works on which lane, and what happens when one of them goes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use orderly_tests::{Database, Receiver, Sender, Server, Traffic, answer_as_asked, eventually, hospital};
use rand::RngExt as _;
use sqlx::PgPool;

use crate::{Bench, random, rounds, wait};

/// Lanes of each node that is alive.
async fn shares(pool: &PgPool) -> HashMap<i16, i64> {
    sqlx::query_as("SELECT node, count(*) FROM lane WHERE node IS NOT NULL GROUP BY node")
        .fetch_all(pool)
        .await
        .expect("the database answers")
        .into_iter()
        .collect()
}

async fn until_shared(pool: &PgPool, nodes: usize) {
    eventually(&format!("the lanes are shared by {nodes} nodes"), async || {
        let shares = shares(pool).await;
        (shares.len() == nodes && shares.values().sum::<i64>() == 8).then_some(())
    })
    .await;
}

/// So many nodes live and all lanes have an owner. Of eight lanes not each node need have one.
async fn until_alive(pool: &PgPool, nodes: i64) {
    eventually(&format!("{nodes} nodes live and own the lanes"), async || {
        let alive: i64 = sqlx::query_scalar("SELECT count(*) FROM node WHERE expires_at > now()")
            .fetch_one(pool)
            .await
            .ok()?;
        (alive == nodes && shares(pool).await.values().sum::<i64>() == 8).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_joins_gets_lanes_and_hands_them_back_when_it_stops() {
    let database = Database::create().await;
    let mut bench = Bench::start(database, 1).await;
    let pool = bench.database.pool().await;
    let traffic = Traffic::begin(bench.hubs(), 4, 16, Duration::from_millis(5), 1);
    until_shared(&pool, 1).await;

    let mut second = crate::Node::new(bench.receiver.address()).await;
    second.start(&bench.database).await;
    until_shared(&pool, 2).await;
    let before = traffic.acknowledged();
    eventually("messages go on", async || (traffic.acknowledged() > before + 50).then_some(())).await;

    second.stop().await;
    until_shared(&pool, 1).await;
    bench.nodes.push(second);
    bench.prove(traffic, "join and leave", 1).await;
}

const ANSWERED_LATER: &str = "site:
  format: 1
  name: later
  title: Answers take another way
  timezone: UTC
values:
  connect: { default: 127.0.0.1:1, env: ORDERLY_TEST_CONNECT }
parties:
  lis:
    identify: [{ sending_app: LIS }]
    inbound: { acknowledgment: { of_acks: true } }
    outbound: { ask: { accept: AL, application: AL } }
receive_ports:
  in:
    locations:
      mllp:
        adapter: { mllp: { socket: { listen: 127.0.0.1:0 } } }
  later:
    locations:
      mllp:
        adapter: { mllp: { socket: { listen: 127.0.0.1:0 } } }
send_ports:
  out:
    party: lis
    target: { mllp: { socket: { connect: $connect } } }
    filter: { port.name: in, hl7.type: ADT }
    order: strict
    ack: { expect: application, accept_from: [same_connection, any_receive_port] }
";

#[tokio::test(flavor = "multi_thread")]
async fn an_application_acknowledgment_that_comes_to_the_other_process_settles_the_delivery() {
    let receiver = Receiver::answering(Arc::new(|message| Some(answer_as_asked(message)))).await;
    let (site, database) = (tempfile::tempdir().expect("a folder can be made"), Database::create().await);
    std::fs::write(site.path().join("site.yaml"), ANSWERED_LATER).expect("the site is written");
    let environment = [("ORDERLY_TEST_CONNECT", receiver.address().to_owned())];
    let mut servers = Vec::new();
    for _ in 0..2 {
        let data = tempfile::tempdir().expect("a folder can be made");
        let server = Server::start(site.path(), &database, data.path(), &environment).await;
        servers.push((server.expect("the server starts"), data));
    }
    let pool = database.pool().await;
    let count = async |query: &'static str| {
        sqlx::query_scalar::<_, i64>(query).fetch_one(&pool).await.expect("the database answers")
    };
    let mut sender = Sender::connect(&servers[0].0.address("in/mllp")).await.expect("it listens");
    let answer = sender.send(&hospital::registration("SETTLED", 1)).await.expect("it answers");
    assert_eq!(answer.text("MSA-1"), "AA");
    let sent = receiver.expect("the message", |_| true).await;
    let owner = count(
        "SELECT n.process::bigint FROM lane l JOIN subscriber s ON s.id = l.subscriber JOIN node n ON n.slot = l.node
          WHERE s.name = 'out'",
    )
    .await;
    let other = servers.iter().find(|(server, _)| i64::from(server.id()) != owner).expect("there are two");
    let mut application = Sender::connect(&other.0.address("later/mllp")).await.expect("it listens");
    let handled = format!(
        "MSH|^~\\&|LIS|N|HUB|N|20260301||ACK^A04^ACK|L1|P|2.3.1|||AL|NE\rMSA|AA|{}\r",
        sent.text("MSH-10")
    );
    let stored = application.send(&handled).await.expect("it answers");
    assert_eq!((stored.text("MSA-1"), stored.text("MSA-2")), ("CA".into(), "L1".into()));
    // The application may take its ten minutes; only the other process's word ends the wait earlier.
    eventually("the delivery is settled", async || {
        (count("SELECT count(*) FROM tracking WHERE kind = 6").await == 1).then_some(())
    })
    .await;
    assert_eq!(receiver.received().len(), 1, "it was sent once");
    assert_eq!(count("SELECT count(*) FROM tracking WHERE kind = 18").await, 0, "it was waited for");
    assert_eq!(count("SELECT count(*) FROM parked").await, 0);
    for (server, _data) in servers {
        assert!(server.stop().await.success());
    }
    pool.close().await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_is_replaced_within_seconds() {
    let mut bench = Bench::start(Database::create().await, 2).await;
    let pool = bench.database.pool().await;
    until_shared(&pool, 2).await;
    // The senders know the node that stays only, so that what is delivered shows when the lanes are taken over.
    let traffic = Traffic::begin(vec![bench.nodes[1].listen.clone()], 4, 32, Duration::from_millis(5), 2);
    eventually("messages flow", async || (traffic.acknowledged() > 50).then_some(())).await;
    bench.nodes[0].kill();
    let killed = std::time::Instant::now();
    until_shared(&pool, 1).await;
    println!("the lanes of a killed node were taken over after {:?}", killed.elapsed());
    bench.prove(traffic, "kill of one of two nodes", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stood_still_is_fenced_and_joins_again() {
    let bench = Bench::start(Database::create().await, 2).await;
    let pool = bench.database.pool().await;
    until_shared(&pool, 2).await;
    let traffic = Traffic::begin(bench.hubs(), 4, 32, Duration::from_millis(5), 3);
    eventually("messages flow", async || (traffic.acknowledged() > 50).then_some(())).await;
    for _ in 0..rounds(1) {
        bench.nodes[0].running().pause();
        until_shared(&pool, 1).await;
        let before = traffic.acknowledged();
        eventually("the other goes on", async || (traffic.acknowledged() > before + 50).then_some(())).await;
        bench.nodes[0].running().resume();
        until_shared(&pool, 2).await;
        let before = traffic.acknowledged();
        eventually("both go on", async || (traffic.acknowledged() > before + 50).then_some(())).await;
    }
    bench.prove(traffic, "a node stood still", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_restarted_one_after_the_other_and_no_sender_is_refused() {
    let mut bench = Bench::start(Database::create().await, 3).await;
    let pool = bench.database.pool().await;
    until_alive(&pool, 3).await;
    let traffic = Traffic::begin(bench.hubs(), 8, 64, Duration::from_millis(2), 5);
    for _ in 0..rounds(1) {
        for place in 0..3 {
            let before = traffic.acknowledged();
            eventually("messages flow", async || (traffic.acknowledged() > before + 50).then_some(())).await;
            bench.nodes[place].stop().await;
            until_alive(&pool, 2).await;
            bench.nodes[place].start(&bench.database).await;
            until_alive(&pool, 3).await;
        }
    }
    // A sender notices that its connection ends, and nothing else.
    assert_eq!(traffic.refused(), 0);
    let outcome = bench.prove(traffic, "rolling restart", 5).await;
    assert_eq!(outcome.repeated_outside, 0, "a node that stops finishes what it began to send");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_every_key_survives_random_failures_of_three_nodes() {
    let (mut random, seed) = random("order of keys over three nodes");
    let mut bench = Bench::start(Database::create().await, 3).await;
    let keys = if rounds(1) > 1 { 10_000 } else { 200 };
    let traffic = Traffic::begin(bench.hubs(), 8, keys, Duration::from_millis(2), seed);
    let mut told = Vec::new();
    for _ in 0..rounds(8) {
        wait(random.random_range(50..1_500)).await;
        let place = random.random_range(0..3);
        match random.random_range(0..10) {
            0 => {
                bench.nodes[place].running().pause();
                wait(random.random_range(7_000..9_000)).await;
                bench.nodes[place].running().resume();
                told.push(format!("pause {place}"));
            }
            1 | 2 => {
                bench.nodes[place].stop().await;
                bench.nodes[place].start(&bench.database).await;
                told.push(format!("stop {place}"));
            }
            _ => {
                bench.nodes[place].kill();
                wait(random.random_range(0..1_500)).await;
                bench.nodes[place].start(&bench.database).await;
                told.push(format!("kill {place}"));
            }
        }
    }
    println!("{}", told.join(", "));
    bench.prove(traffic, "order of keys over three nodes", seed).await;
}
