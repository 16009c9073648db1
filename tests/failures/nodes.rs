//! Several nodes on one database: who works on which lane, and what happens when one of them goes.

use std::collections::HashMap;
use std::time::Duration;

use orderly_tests::{Database, Traffic, eventually};
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
