//! A receiver that stands still: its queue grows, its senders are slowed, memory stays as it is, and all goes on by itself.
#![expect(clippy::disallowed_methods, reason = "a test stands outside the server")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use orderly_tests::{Answering, Database, Receiver, Sender, Traffic, answer_as_asked, eventually, hospital};
use sqlx::PgPool;

use crate::wire::memory_kib;
use crate::{Bench, rounds};

/// `limits.waiting` of the port in this test.
const LIMIT: i64 = 100;

/// Work that no delivery has consumed.
async fn waiting(pool: &PgPool) -> i64 {
    let queues = orderly_engine::view::operations::queues(pool, chrono::Utc::now()).await;
    let queues = queues.expect("the database answers");
    queues.iter().map(|queue| queue.waiting + queue.retrying.number + queue.behind.number).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn senders_are_slowed_while_a_receiver_stands_still_and_nothing_is_lost() {
    let stands = Arc::new(AtomicBool::new(true));
    let still = Arc::clone(&stands);
    let answer: Answering =
        Arc::new(move |message| (!still.load(Ordering::Relaxed)).then(|| answer_as_asked(message)));
    let receiver = Receiver::answering(answer).await;
    let connect = receiver.address().to_owned();
    let limit = vec![("ORDERLY_TEST_WAITING", LIMIT.to_string())];
    let bench = Bench::start_with(Database::create().await, 1, receiver, &connect, limit).await;
    let pool = bench.database.pool().await;
    let hub = bench.nodes[0].listen.clone();
    let traffic = Traffic::begin(bench.hubs(), 32, 64, Duration::ZERO, 4);

    eventually("twice the limit waits", async || (waiting(&pool).await >= LIMIT * 2).then_some(())).await;
    // A probe of its own kind tells when a location does not take connections any more.
    eventually("new connections are refused", async || {
        let mut probe = Sender::connect(&hub).await.ok()?;
        let message = hospital::registration("PROBE", 9_999);
        probe.send(&message).await.is_none().then_some(())
    })
    .await;
    let memory = memory_kib(bench.nodes[0].running().id());
    let before = (traffic.acknowledged(), std::time::Instant::now());
    eventually("operators are told", async || {
        let told = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM alert WHERE rule = 'senders-slowed'");
        (told.fetch_one(&pool).await.ok()? == 1).then_some(())
    })
    .await;
    for _ in 1..rounds(1) {
        crate::wait(10_000).await;
    }
    let taken = traffic.acknowledged() - before.0;
    let (rate, grown) =
        (taken as f64 / before.1.elapsed().as_secs_f64(), memory_kib(bench.nodes[0].running().id()) - memory);
    println!("slowed to {rate:.1} messages/s of 32 senders; memory grew by {grown} KiB");
    assert!(grown < 32 << 10, "memory grew by {grown} KiB");

    stands.store(false, Ordering::Relaxed);
    eventually("the queue is worked off", async || (waiting(&pool).await < LIMIT).then_some(())).await;
    let before = traffic.acknowledged();
    eventually("senders go on", async || (traffic.acknowledged() > before + 100).then_some(())).await;
    bench.prove(traffic, "a receiver stands still", 4).await;
}
