//! The database makes us wait for a lock: what was asked for is given up and told, and everything goes on by itself.

use std::time::Duration;

use orderly_engine::store::testing;
use sqlx::{Connection, PgConnection};

use crate::flow::{number, received, sound, started};
use crate::poison::WAITS;
use crate::wire::{Script, Site, adt};

/// Holds a table until it is committed or dropped.
async fn hold(other: &mut PgConnection, table: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")))
        .execute(other)
        .await
        .unwrap();
}

async fn let_go(other: &mut PgConnection) {
    sqlx::raw_sql("COMMIT").execute(other).await.unwrap();
}

/// Waits until somebody was seen to wait for the lock of a table, and then nobody any more: it was given up.
async fn given_up(watcher: &mut PgConnection, table: &str) {
    let end = tokio::time::Instant::now() + Duration::from_secs(15);
    for wanted in [true, false] {
        loop {
            assert!(tokio::time::Instant::now() < end, "waits for {table}: never {wanted}");
            let waits: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = $1::text::regclass AND NOT granted)",
            )
            .bind(table)
            .fetch_one(&mut *watcher)
            .await
            .unwrap();
            if waits == wanted {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// A site whose connections wait shortly for locks: the address of the database says so.
async fn site() -> Site {
    let database = testing::fresh_database().await.options([("lock_timeout", "100ms")]);
    Site::start_on(database, Script::Answer("AA"), |draft| {
        draft.port(|port| port.retry.wait = Duration::from_millis(50));
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_another_holds_is_answered_with_send_it_again_later_and_the_same_connection_goes_on() {
    let site = site().await;
    let mut other = site.engine.store().owner_for_tests().await.unwrap();
    let mut sender = site.sender().await;
    for table in ["message", "duplicate", "tracking", "work"] {
        hold(&mut other, table).await;
        // As often as it is tried meanwhile.
        for _ in 0..2 {
            let answer = sender.send_raw(&adt(table, "4711")).await;
            assert!(answer.contains(&format!("MSA|AR|{table}")), "{answer}");
            assert!(answer.contains("|207^"), "{answer}");
            assert!(!answer.contains("4711"), "{answer}");
        }
        let_go(&mut other).await;
        assert_eq!(sender.send(&adt(table, "4711")).await, format!("AA {table}"));
        assert!(site.receiver.next().await.contains(table));
    }
    // Nothing is lost and nothing is there twice.
    assert_eq!(site.count("SELECT count(*) FROM message WHERE message_type LIKE 'ADT%'").await, 4);
    site.until("SELECT count(*) FROM tracking WHERE kind = 6", 4).await;
    assert!(site.parked().await.is_empty());
    let report = orderly_engine::audit::verify(site.engine.store().pool()).await.unwrap();
    assert!(report.is_sound(), "{report:?}");
    other.close().await.unwrap();
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_cannot_be_recorded_for_a_while_is_recorded_once_and_not_sent_again() {
    let site = site().await;
    let mut other = site.engine.store().owner_for_tests().await.unwrap();
    hold(&mut other, "progress").await;
    let mut sender = site.sender().await;
    for control in ["ONE", "TWO"] {
        assert_eq!(sender.send(&adt(control, control)).await, format!("AA {control}"));
    }
    let (first, second) = (site.receiver.next().await, site.receiver.next().await);
    assert!(first.contains("ONE") && second.contains("TWO"), "{first} {second}");
    let mut watcher = site.engine.store().owner_for_tests().await.unwrap();
    given_up(&mut watcher, "progress").await;
    let_go(&mut other).await;
    site.until("SELECT count(*) FROM tracking WHERE kind = 6", 2).await;
    site.engine.run_until_idle().await;
    assert_eq!(site.count("SELECT count(*) FROM tracking WHERE kind = 6").await, 2);
    assert!(site.parked().await.is_empty());
    assert_eq!(sender.send(&adt("THREE", "ONE")).await, "AA THREE");
    assert!(site.receiver.next().await.contains("THREE"), "nothing was sent twice before it");
    for connection in [other, watcher] {
        connection.close().await.unwrap();
    }
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_cannot_be_stored_for_a_while_is_not_taken_for_the_fault_of_its_message() {
    let database = testing::fresh_database().await.options([("lock_timeout", "100ms")]);
    let engine = started(&database, WAITS).await;
    let mut other = engine.store().owner_for_tests().await.unwrap();
    let mut watcher = engine.store().owner_for_tests().await.unwrap();
    hold(&mut other, "instance").await;
    engine.message_box().publish(1, received(&engine, "1", "p1")).await.unwrap();
    for _ in 0..3 {
        given_up(&mut watcher, "instance").await;
    }
    let_go(&mut other).await;
    engine.run_until_idle().await;
    assert_eq!(number(&engine, "SELECT count(*) FROM parked").await, 0);
    assert_eq!(number(&engine, "SELECT count(*) FROM instance WHERE state <> 2").await, 1);
    sound(&engine).await;
    engine.shutdown().await.unwrap();
}

#[tokio::test]
async fn every_connection_gives_up_after_its_time_unless_the_address_names_another() {
    let ask = "SELECT current_setting('statement_timeout') || ' ' || current_setting('lock_timeout') || ' '
                   || current_setting('idle_in_transaction_session_timeout')";
    let store = testing::fresh_store().await;
    let told: String = sqlx::query_scalar(ask).fetch_one(store.pool()).await.unwrap();
    assert_eq!(told, "30s 10s 10s");
    // One that a loop keeps, and makes anew when it is lost.
    let told: String =
        sqlx::query_scalar(ask).fetch_one(&mut store.connection().await.unwrap()).await.unwrap();
    assert_eq!(told, "30s 10s 10s");
    // What copies the database takes as long as it takes.
    let told: String = sqlx::query_scalar(ask).fetch_one(&mut store.snapshot().await.unwrap()).await.unwrap();
    assert_eq!(told, "0 0 0");

    let database = testing::fresh_database().await.options([("statement_timeout", "90s")]);
    let clock = orderly_engine::clock::Clock::system();
    let store = orderly_engine::store::Store::connect(database, clock).await.unwrap();
    let told: String = sqlx::query_scalar(ask).fetch_one(store.pool()).await.unwrap();
    assert_eq!(told, "90s 10s 10s");
}

/// A statement that is cancelled takes nothing with it but itself.
#[tokio::test]
async fn a_statement_that_takes_too_long_ends_and_its_connection_is_used_again() {
    let database = testing::fresh_database().await.options([("statement_timeout", "50ms")]);
    let clock = orderly_engine::clock::Clock::system();
    let store = orderly_engine::store::Store::connect(database, clock).await.unwrap();
    let mut connection = store.connection().await.unwrap();
    let slow = sqlx::query("SELECT pg_sleep(600)").execute(&mut connection).await.unwrap_err();
    let slow = orderly_engine::store::Error::from(slow);
    assert!(slow.is_impatience() && slow.surely_not_committed(), "{slow:?}");
    let alive: i32 = sqlx::query_scalar("SELECT 1").fetch_one(&mut connection).await.unwrap();
    assert_eq!(alive, 1);
}
