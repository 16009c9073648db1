//! Whoever touches the record is found out, and the place is named.

use std::sync::Arc;

use orderly_engine::audit::seal::{AnchorFile, Key};
use orderly_engine::audit::{self, Break};
use orderly_engine::engine::Engine;

use crate::flow::{number, run};
use crate::support::{accepted, database, incoming, ports, serve, start};

/// Ten messages in ten blocks, delivered; the record is whole.
async fn recorded() -> Arc<Engine> {
    let engine = start(&database().await, ports(&["ward"])).await;
    let _sent = serve(&engine, accepted);
    for number in 0..10 {
        let message = incoming(&engine, &["ward"], &number.to_string(), "p1");
        engine.message_box().publish(1, message).await.unwrap();
    }
    engine.run_until_idle().await;
    audit::anchor(engine.store(), None).await.unwrap();
    assert!(audit::verify(engine.store().pool()).await.unwrap().is_sound());
    engine
}

async fn first_break(engine: &Engine) -> Break {
    let mut breaks = audit::verify(engine.store().pool()).await.unwrap().breaks;
    assert!(!breaks.is_empty(), "the change was not seen");
    breaks.swap_remove(0)
}

/// The chain of received messages; its third block is the one that is touched.
const CHAIN: &str = "SELECT min(chain)::bigint FROM tracking WHERE kind = 1";

async fn chain(engine: &Engine) -> i32 {
    i32::try_from(number(engine, CHAIN).await).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_row_is_found() {
    let engine = recorded().await;
    run(&engine, "UPDATE tracking SET config_version = 7 WHERE kind = 1 AND block = 3").await;
    let chain = chain(&engine).await;
    assert_eq!(first_break(&engine).await, Break::Rows { chain, block: 3, expected: 1, found: 1 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_row_is_found() {
    let engine = recorded().await;
    run(&engine, "DELETE FROM tracking WHERE kind = 1 AND block = 3").await;
    let chain = chain(&engine).await;
    assert_eq!(first_break(&engine).await, Break::Rows { chain, block: 3, expected: 1, found: 0 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inserted_row_is_found() {
    let engine = recorded().await;
    run(
        &engine,
        "INSERT INTO tracking (at, node, kind, message_id, config_version, detail, chain, block, position)
         SELECT at, node, kind, message_id, config_version, detail, chain, block, 2 FROM tracking
          WHERE kind = 1 AND block = 3",
    )
    .await;
    let chain = chain(&engine).await;
    assert_eq!(first_break(&engine).await, Break::Rows { chain, block: 3, expected: 1, found: 2 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_swapped_rows_are_found() {
    let engine = recorded().await;
    run(
        &engine,
        "UPDATE tracking t SET message_id = o.message_id, detail = o.detail FROM tracking o
          WHERE t.kind = 1 AND o.kind = 1 AND (t.block, o.block) IN ((3, 4), (4, 3))",
    )
    .await;
    let chain = chain(&engine).await;
    assert_eq!(first_break(&engine).await, Break::Rows { chain, block: 3, expected: 1, found: 1 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_body_is_found() {
    let engine = recorded().await;
    let id = number(&engine, "SELECT max(id) FROM message").await;
    run(&engine, "UPDATE message SET body = body || '\\x41' WHERE id = (SELECT max(id) FROM message)").await;
    assert_eq!(first_break(&engine).await, Break::Body { message: id });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_block_is_found_even_with_its_rows() {
    let engine = recorded().await;
    let chain = chain(&engine).await;
    run(&engine, "DELETE FROM tracking WHERE kind = 1 AND block = 3").await;
    run(
        &engine,
        "DELETE FROM audit_block WHERE number = 3 AND chain = (SELECT min(chain) FROM tracking WHERE kind = 1)",
    )
    .await;
    assert_eq!(first_break(&engine).await, Break::Missing { chain, block: 3 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_was_cut_short_is_found_by_its_anchor() {
    let engine = recorded().await;
    let chain = chain(&engine).await;
    run(&engine, "DELETE FROM tracking WHERE kind = 1 AND block > 8").await;
    run(
        &engine,
        "DELETE FROM audit_block WHERE number > 8 AND chain = (SELECT min(chain) FROM tracking WHERE kind = 1)",
    )
    .await;
    assert_eq!(first_break(&engine).await, Break::Cut { chain, last: 8, seen: 10 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_chain_is_closed_at_shutdown_with_its_last_block() {
    let database = database().await;
    let engine = start(&database, ports(&["ward"])).await;
    engine.message_box().publish(1, incoming(&engine, &["ward"], "1", "p1")).await.unwrap();
    engine.message_box().publish(1, incoming(&engine, &["ward"], "1", "p1")).await.unwrap();
    engine.shutdown().await.unwrap();
    let open: Vec<String> = sqlx::query_scalar(
        "SELECT purpose FROM audit_chain c
          WHERE last IS DISTINCT FROM (SELECT coalesce(max(number), 0) FROM audit_block b WHERE b.chain = c.id)",
    )
    .fetch_all(engine.store().pool())
    .await
    .unwrap();
    assert!(open.is_empty(), "not closed: {open:?}");
    assert_eq!(number(&engine, "SELECT max(last) FROM audit_chain WHERE purpose = 'record'").await, 1);
}

/// SQLSTATE of a statement that the engine's own connection is not allowed.
const NOT_ALLOWED: &str = "42501";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_connections_of_the_engine_can_add_to_the_record_but_not_change_it() {
    let engine = recorded().await;
    let tables = [
        "message",
        "tracking",
        "audit_block",
        "audit_anchor",
        "access_entry",
        "work",
        "progress",
        "config_version",
    ];
    let mut own = engine.store().connection().await.unwrap();
    for table in tables {
        for statement in [format!("DELETE FROM {table}"), format!("TRUNCATE {table}")] {
            let pooled =
                sqlx::query(sqlx::AssertSqlSafe(statement.clone())).execute(engine.store().pool()).await;
            let kept = sqlx::query(sqlx::AssertSqlSafe(statement.clone())).execute(&mut own).await;
            for done in [pooled, kept] {
                let error = done.expect_err(&statement).into_database_error().unwrap();
                assert_eq!(error.code().unwrap(), NOT_ALLOWED, "{statement}");
            }
        }
    }
    let changed = sqlx::query("UPDATE tracking SET config_version = 7").execute(&mut own).await;
    assert_eq!(changed.unwrap_err().into_database_error().unwrap().code().unwrap(), NOT_ALLOWED);
    assert!(number(&engine, "SELECT count(*) FROM tracking").await > 0);
    // What waits is changed all the time.
    sqlx::query("UPDATE parked SET version = version").execute(&mut own).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_was_inserted_at_another_time_is_found() {
    let engine = recorded().await;
    run(
        &engine,
        "INSERT INTO tracking (at, node, kind, message_id, config_version, detail, chain, block, position)
         SELECT at + interval '1 hour', node, kind, message_id, config_version, detail, chain, block, 2 FROM tracking
          WHERE kind = 1 AND block = 3",
    )
    .await;
    let chain = chain(&engine).await;
    assert_eq!(first_break(&engine).await, Break::Orphan { chain, block: 3 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_message_and_one_that_nobody_recorded_are_found() {
    let engine = recorded().await;
    let id = number(&engine, "SELECT min(id) FROM message WHERE parent IS NULL").await;
    run(
        &engine,
        "INSERT INTO message (id, retention, received_at, source, message_type, body_sha256, body)
         SELECT id + 1, retention, received_at, source, message_type, body_sha256, body FROM message
          WHERE id = (SELECT min(id) FROM message WHERE parent IS NULL)",
    )
    .await;
    assert_eq!(first_break(&engine).await, Break::Unrecorded { message: id + 1 });
    run(&engine, "DELETE FROM message WHERE id = (SELECT min(id) FROM message WHERE parent IS NULL)").await;
    assert_eq!(first_break(&engine).await, Break::Gone { message: id });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_cut_off_with_its_anchors_is_named_by_the_file() {
    let data = tempfile::tempdir().unwrap();
    let key = Key::open(data.path()).unwrap();
    let engine = start(&database().await, ports(&["ward"])).await;
    let _sent = serve(&engine, accepted);
    for control in ["1", "2", "3"] {
        engine.message_box().publish(1, incoming(&engine, &["ward"], control, "p1")).await.unwrap();
        engine.run_until_idle().await;
        audit::anchor(engine.store(), Some(&key)).await.unwrap();
    }
    let file = AnchorFile::of(data.path());
    assert_eq!(audit::export(engine.store(), &file).await.unwrap(), 3);
    assert_eq!(audit::export(engine.store(), &file).await.unwrap(), 0, "each anchor once");
    let sealed = file.read().unwrap();
    let trusted = [key.public()];
    let found = async |trusted: &[Vec<u8>]| {
        audit::verify_sealed(engine.store().pool(), &sealed, trusted).await.unwrap()
    };
    let sound = found(&trusted).await;
    assert!(sound.is_sound() && sound.sealed == 3, "{sound:?}");
    assert_eq!(found(&[vec![1; 32]]).await.breaks, [Break::Sealed { number: 1 }], "signed by a stranger");

    // Whoever may change the database cuts the end off, and makes the rest fit again.
    let chain = chain(&engine).await;
    run(
        &engine,
        "DELETE FROM message WHERE id > (SELECT min(message_id) FROM tracking WHERE kind = 1 AND block = 2)",
    )
    .await;
    run(&engine, "DELETE FROM tracking WHERE block > 2").await;
    run(&engine, "DELETE FROM audit_block WHERE number > 2").await;
    run(&engine, "DELETE FROM audit_anchor WHERE number > 2").await;
    let breaks = found(&trusted).await.breaks;
    assert!(breaks.contains(&Break::Sealed { number: 3 }), "{breaks:?}");
    assert!(breaks.contains(&Break::Cut { chain, last: 2, seen: 3 }), "{breaks:?}");
    engine.shutdown().await.unwrap();
}
