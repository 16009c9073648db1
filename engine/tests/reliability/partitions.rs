//! What every lane has passed is dropped; nothing that somebody still needs is.
#![expect(clippy::disallowed_methods, reason = "a test stands outside the server")]

use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use orderly_engine::clock::Clock;
use orderly_engine::delivery::Outcome;
use orderly_engine::engine::{Engine, EngineOptions};
use orderly_engine::store::{Durability, partition};
use sqlx::postgres::PgConnectOptions;

use crate::flow::{number, run, sound};
use crate::support::{accepted, database, drain, incoming, ports, serve};

const BASE: &str = "SELECT max(base) FROM lane";
const HOURS: &str = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'work'::regclass";
const DAYS: &str = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'duplicate'::regclass";

async fn at(database: &PgConnectOptions, clock: &Clock) -> Arc<Engine> {
    let mut options = EngineOptions::new(database.clone());
    options.configuration = Some(ports(&["ward"]));
    options.clock = clock.clone();
    options.durability = Durability::NotCheckedForTests;
    Engine::start(options).await.unwrap()
}

async fn publish(engine: &Engine, control_ids: std::ops::Range<u32>) {
    for number in control_ids {
        let message = incoming(engine, &["ward"], &number.to_string(), "p1");
        engine.message_box().publish(1, message).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passed_work_is_dropped_and_its_lanes_go_on_counting() {
    let (database, clock) = (database().await, Clock::manual(Utc::now()));
    let engine = at(&database, &clock).await;
    let mut sent = serve(&engine, accepted);
    publish(&engine, 0..5).await;
    engine.run_until_idle().await;
    assert_eq!(drain(&mut sent).len(), 5);
    engine.shutdown().await.unwrap();

    clock.set(clock.now() + TimeDelta::days(4));
    let engine = at(&database, &clock).await;
    // Otherwise they come in the background while this counts.
    partition::ensure(engine.store()).await.unwrap();
    let before = (number(&engine, HOURS).await, number(&engine, DAYS).await);
    while partition::drop_passed(engine.store()).await.unwrap() > 0 {}
    let after = (number(&engine, HOURS).await, number(&engine, DAYS).await);
    assert!(after.0 < before.0 + 1 && after.1 <= before.1, "{before:?} {after:?}");
    assert_eq!(number(&engine, "SELECT count(*) FROM work").await, 0);
    assert_eq!((number(&engine, BASE).await, number(&engine, "SELECT count(*) FROM progress").await), (5, 1));

    // The next row is the sixth, with the owner that is there and with the next one.
    let mut sent = serve(&engine, accepted);
    publish(&engine, 5..7).await;
    engine.run_until_idle().await;
    assert_eq!(drain(&mut sent), ["5", "6"]);
    assert_eq!(number(&engine, "SELECT min(sequence) FROM work").await, 6);
    engine.shutdown().await.unwrap();
    let engine = at(&database, &clock).await;
    let mut sent = serve(&engine, accepted);
    publish(&engine, 7..8).await;
    engine.run_until_idle().await;
    assert_eq!(drain(&mut sent), ["7"]);
    sound(&engine).await;
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_one_lane_has_not_passed_is_kept() {
    let (database, clock) = (database().await, Clock::manual(Utc::now()));
    let engine = at(&database, &clock).await;
    // Nobody sends.
    publish(&engine, 0..3).await;
    engine.shutdown().await.unwrap();
    clock.set(clock.now() + TimeDelta::days(4));
    let engine = at(&database, &clock).await;
    while partition::drop_passed(engine.store()).await.unwrap() > 0 {}
    assert_eq!(number(&engine, "SELECT count(*) FROM work").await, 3);
    assert_eq!(number(&engine, BASE).await, 0);
    let mut sent = serve(&engine, accepted);
    engine.run_until_idle().await;
    assert_eq!(drain(&mut sent), ["0", "1", "2"]);
    while partition::drop_passed(engine.store()).await.unwrap() > 0 {}
    assert_eq!((number(&engine, BASE).await, number(&engine, "SELECT count(*) FROM work").await), (3, 0));
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_parked_outlives_its_work() {
    let (database, clock) = (database().await, Clock::manual(Utc::now()));
    let engine = at(&database, &clock).await;
    let _sent = serve(&engine, |_| Outcome::Suspend {
        code: "ack.reject".to_owned(),
        reason: "refused".to_owned(),
        answer: None,
    });
    publish(&engine, 0..2).await;
    engine.run_until_idle().await;
    engine.shutdown().await.unwrap();
    clock.set(clock.now() + TimeDelta::days(4));
    let engine = at(&database, &clock).await;
    while partition::drop_passed(engine.store()).await.unwrap() > 0 {}
    assert_eq!(number(&engine, "SELECT count(*) FROM work").await, 0);
    run(&engine, "UPDATE parked SET state = 1, due_at = '2000-01-01' WHERE state = 2").await;
    let mut sent = serve(&engine, accepted);
    while number(&engine, "SELECT count(*) FROM parked").await > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(drain(&mut sent), ["0", "1"]);
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_slept_for_days_cannot_consume_what_was_dropped() {
    let (database, clock) = (database().await, Clock::manual(Utc::now()));
    let engine = at(&database, &clock).await;
    let _sent = serve(&engine, accepted);
    publish(&engine, 0..1).await;
    engine.run_until_idle().await;
    publish(&engine, 1..2).await;
    engine.run_until_idle().await;
    clock.set(clock.now() + TimeDelta::days(4));
    partition::ensure(engine.store()).await.unwrap();
    while partition::drop_passed(engine.store()).await.unwrap() > 0 {}
    assert_eq!(number(&engine, "SELECT count(*) FROM progress WHERE from_sequence = 1").await, 0);
    let refused = sqlx::query(
        "SELECT claim_ranges(ARRAY[lane], ARRAY[1::bigint], ARRAY[1::bigint], ARRAY[now()], ARRAY[1::bigint])
           FROM progress LIMIT 1",
    )
    .execute(engine.store().pool())
    .await
    .unwrap_err();
    let constraint = refused.as_database_error().and_then(|error| error.constraint().map(str::to_owned));
    assert_eq!(constraint.as_deref(), Some("progress_once_per_range"));
    engine.shutdown().await.unwrap();
}
