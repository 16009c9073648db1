//! Suspended work: an operator resumes it or gives it up, and what waits behind it keeps its order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use orderly_engine::access;
use orderly_engine::delivery::Outcome;
use orderly_engine::engine::Engine;
use orderly_engine::ids::ParkedId;
use orderly_engine::operate::{self, Fate, Many};

use crate::flow::{number, sound, until};
use crate::support::{Sent, accepted, database, drain, incoming, ports, serve, start};

/// The first message of patient `a` is refused until it may pass; two wait behind it, one of another patient passes.
async fn refused() -> (Arc<Engine>, Sent, Arc<AtomicBool>) {
    let engine = start(&database().await, ports(&["ward"])).await;
    let mended = Arc::new(AtomicBool::new(false));
    let passes = mended.clone();
    let mut sent = serve(&engine, move |work| {
        if work.control_id == "1" && !passes.load(Ordering::SeqCst) {
            let (code, reason) = ("ack.reject".to_owned(), "refused".to_owned());
            return Outcome::Suspend { code, reason, answer: None };
        }
        accepted(work)
    });
    for (control_id, patient) in [("1", "a"), ("2", "a"), ("x", "b"), ("3", "a")] {
        engine.message_box().publish(1, incoming(&engine, &["ward"], control_id, patient)).await.unwrap();
    }
    engine.run_until_idle().await;
    assert_eq!(drain(&mut sent), ["x"]);
    assert_eq!(number(&engine, "SELECT count(*) FROM parked WHERE state = 3").await, 2);
    (engine, sent, mended)
}

async fn act(engine: &Engine, fate: Fate, version: Option<i32>) -> Many {
    let (id, seen): (i64, i32) = sqlx::query_as("SELECT id, version FROM parked WHERE state = 2")
        .fetch_one(engine.store().pool())
        .await
        .unwrap();
    let who = access::Entry {
        person: "op",
        session: None,
        address: "test",
        action: "work",
        object_kind: "parked",
        object: "",
        reason: "test",
        result: "",
        at: engine.store().clock().now(),
    };
    operate::work(engine.store(), &engine.current(), fate, &[(ParkedId(id), version.unwrap_or(seen))], who)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resumed_work_goes_first_and_what_waited_behind_it_follows_in_order() {
    let (engine, mut sent, mended) = refused().await;
    mended.store(true, Ordering::SeqCst);
    assert_eq!(act(&engine, Fate::Resume, None).await, Many { done: 1, ..Many::default() });
    until(&engine, "SELECT count(*) FROM parked", 0).await;
    engine.message_box().publish(1, incoming(&engine, &["ward"], "4", "a")).await.unwrap();
    engine.run_until_idle().await;
    assert_eq!(drain(&mut sent), ["1", "2", "3", "4"]);
    sound(&engine).await;
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_is_given_up_lets_the_rest_go_on_in_order() {
    let (engine, mut sent, _) = refused().await;
    assert_eq!(act(&engine, Fate::Terminate, None).await, Many { done: 1, ..Many::default() });
    until(&engine, "SELECT count(*) FROM parked", 0).await;
    engine.run_until_idle().await;
    assert_eq!(drain(&mut sent), ["2", "3"]);
    sound(&engine).await;
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_who_saw_an_older_version_changes_nothing() {
    let (engine, mut sent, mended) = refused().await;
    mended.store(true, Ordering::SeqCst);
    assert_eq!(act(&engine, Fate::Resume, Some(77)).await, Many { changed: 1, ..Many::default() });
    engine.run_until_idle().await;
    assert!(drain(&mut sent).is_empty());
    assert_eq!(number(&engine, "SELECT count(*) FROM parked").await, 3);
    engine.shutdown().await.unwrap();
}
