//! The server is killed again and again while a hospital talks to it; then everything must add up.
//!
//! `ORDERLY_CRASH_KILLS` (30) and `ORDERLY_CRASH_SEED` (printed) choose length and schedule.

mod approver;
mod audit;
mod hospital_day;
mod soak;

use std::time::{Duration, Instant};

use orderly_tests::{Database, Server, root};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use approver::Approver;
use hospital_day::{HospitalDay, Kind};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_or_done_twice_when_the_server_is_killed_at_random_moments() {
    let kills: u32 = number("ORDERLY_CRASH_KILLS").and_then(|kills| kills.try_into().ok()).unwrap_or(30);
    let seed = number("ORDERLY_CRASH_SEED").unwrap_or_else(rand::random);
    println!("crash test: {kills} kills, ORDERLY_CRASH_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);

    let database = Database::create().await;
    let data = tempfile::tempdir().expect("a folder can be made");
    let mut day = HospitalDay::begin(200).await;
    let environment = day.environment();
    let approver = Approver::begin(data.path());
    let started = Instant::now();
    for _ in 0..kills {
        let server = start(&database, data.path(), &environment).await;
        // The moment of the kill is the very thing that this test varies.
        tokio::time::sleep(Duration::from_millis(random.random_range(20..1500))).await;
        server.kill();
    }
    let server = start(&database, data.path(), &environment).await;
    day.closes().await;
    let closed = Instant::now();
    audit::until_idle(&database, &day).await;
    let idle_after = closed.elapsed();
    let person = approver.end().await;
    let ledger = day.ledger();
    println!(
        "{} registrations, {} orders, {} orders that a person approved ({} receipts, {} answers lost), \
         {} confirmations, {} results in {:?}; idle {idle_after:?} after the last order",
        ledger.count(Kind::Registration),
        ledger.count(Kind::Order),
        ledger.count(Kind::Expensive),
        person.receipts,
        person.answers_lost,
        ledger.count(Kind::Confirmation),
        ledger.count(Kind::Result),
        started.elapsed(),
    );
    let report = audit::compare(&database, &ledger).await;
    println!("{kills} kills, {} acknowledged, {report}", ledger.acknowledged.len());
    assert!(
        ledger.acknowledged.len() > 50 && ledger.count(Kind::Expensive) > 0,
        "too few messages to mean anything: {}",
        ledger.acknowledged.len()
    );
    assert!(report.is_clean(), "seed {seed}: {report}\n{}", server.log_tail());
    assert!(server.stop().await.success());
    database.drop().await;
}

async fn start(database: &Database, data: &std::path::Path, environment: &[(&str, String)]) -> Server {
    Server::start(&root().join("sites/demo"), database, data, environment)
        .await
        .expect("the server starts again")
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
