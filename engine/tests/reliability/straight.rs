//! Straight through: the turn of a definition that never waits is committed with the message that it is about.

use std::process::Command;
use std::sync::Arc;

use orderly_engine::engine::Engine;
use orderly_engine::tracking::Detail;
use sqlx::postgres::PgConnectOptions;

use crate::flow::{FORWARD, address, number, received, run, site, sound, started, until};
use crate::support::{accepted, database, drain, serve};

/// Rows that the ordinary way writes for an orchestration.
const WORK: &str =
    "SELECT count(*) FROM work w JOIN lane l ON l.id = w.lane JOIN subscriber s ON s.id = l.subscriber
                     WHERE s.kind = 'orchestration'";

async fn publish(engine: &Arc<Engine>, messages: usize) {
    for number in 0..messages {
        engine.message_box().publish(1, received(engine, &number.to_string(), "p1")).await.unwrap();
    }
}

/// Kind, configuration, subscriber, control id, whether it names an instance, and detail of a tracking entry.
type Tracked = (i16, i64, Option<i32>, Option<String>, bool, Option<Vec<u8>>);

/// Tracking in order, without the numbers that differ from run to run.
async fn journey(engine: &Engine) -> Vec<String> {
    let rows: Vec<Tracked> = sqlx::query_as(
        "SELECT t.kind, t.config_version, t.subscriber, m.control_id, t.instance IS NOT NULL, t.detail
           FROM tracking t LEFT JOIN message m ON m.id = t.message_id ORDER BY t.kind, m.control_id",
    )
    .fetch_all(engine.store().pool())
    .await
    .unwrap();
    let told = |detail: Option<Vec<u8>>| match Detail::decode(detail.as_deref()) {
        // What it took differs, too.
        Some(Detail::Delivered { answer, .. }) => format!("{:?}", answer.map(|answer| answer.code)),
        other => {
            let text = format!("{other:?}");
            text.split(|letter: char| !letter.is_alphanumeric())
                .map(|word| {
                    if word.len() > 15 && word.bytes().all(|byte| byte.is_ascii_digit()) { "#" } else { word }
                })
                .collect::<Vec<_>>()
                .join(" ")
        }
    };
    rows.into_iter()
        .map(|(kind, version, subscriber, message, instance, detail)| {
            format!("{kind} {version} {subscriber:?} {message:?} {instance} {}", told(detail))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_tracked_and_delivered_as_by_the_ordinary_way_without_work_of_its_own() {
    let straight = started(&database().await, FORWARD).await;
    let mut sent = serve(&straight, accepted);
    straight.run_until_idle().await;
    publish(&straight, 9).await;
    straight.run_until_idle().await;
    let expected: Vec<String> = (0..9).map(|number| number.to_string()).collect();
    assert_eq!(drain(&mut sent), expected);
    assert_eq!(number(&straight, WORK).await, 0);
    sound(&straight).await;

    let place = database().await;
    let ordinary = started(&place, FORWARD).await;
    let hold = "INSERT INTO port_state (kind, name, state, changed_by, changed_at)
                VALUES ('orchestration', 'forward', 'on_hold', 'operator', now())";
    run(&ordinary, hold).await;
    ordinary.shutdown().await.unwrap();
    let ordinary = crate::support::start(&place, site(FORWARD)).await;
    publish(&ordinary, 9).await;
    assert_eq!(number(&ordinary, WORK).await, 9, "what is held waits in its lane");
    assert_eq!(number(&ordinary, "SELECT count(*) FROM tracking WHERE kind = 5").await, 0);
    run(&ordinary, "DELETE FROM port_state").await;
    ordinary.shutdown().await.unwrap();
    let ordinary = crate::support::start(&place, site(FORWARD)).await;
    let mut sent = serve(&ordinary, accepted);
    until(&ordinary, "SELECT count(*) FROM tracking WHERE kind = 6", 9).await;
    assert_eq!(drain(&mut sent), expected);
    assert_eq!(journey(&straight).await, journey(&ordinary).await);
    straight.shutdown().await.unwrap();
    ordinary.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_node_put_into_the_lane_goes_first() {
    let place = database().await;
    let owner = started(&place, FORWARD).await;
    let mut sent = serve(&owner, accepted);
    owner.run_until_idle().await;
    let other = crate::support::start(&place, site(FORWARD)).await;
    let mut by_other = serve(&other, accepted);
    // Each is acknowledged before the next one comes, so that they must leave in this order. What the other node receives
    // has to wait in the lane for its owner, who does not know of it yet when the next one comes in.
    let mut expected = Vec::new();
    for number in 0..60 {
        let through = if number % 3 == 0 { &other } else { &owner };
        through.message_box().publish(1, received(through, &number.to_string(), "p1")).await.unwrap();
        expected.push(number.to_string());
    }
    until(&owner, "SELECT count(*) FROM tracking WHERE kind = 6", 60).await;
    let all = [drain(&mut sent), drain(&mut by_other)];
    assert_eq!(number(&owner, "SELECT count(DISTINCT message_id) FROM tracking WHERE kind = 5").await, 60);
    assert_eq!(number(&owner, "SELECT count(*) FROM tracking WHERE kind = 5").await, 60);
    // The lane of the send port belongs to one of them.
    assert!(all.contains(&expected), "{all:?}");
    sound(&owner).await;
    owner.shutdown().await.unwrap();
    other.shutdown().await.unwrap();
}

/// Name of the variable by which the test below starts its own program again as a server that dies.
const DATABASE_OF_CHILD: &str = "ORDERLY_TEST_DATABASE_OF_STRAIGHT_CHILD";

/// The server that dies: started by the test below, nothing by itself. It says what it acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(database) = std::env::var(DATABASE_OF_CHILD) else { return };
    let database: PgConnectOptions = database.parse().unwrap();
    let engine = crate::support::start(&database, site(FORWARD)).await;
    engine.run_until_idle().await;
    for number in 0..9 {
        engine.message_box().publish(1, received(&engine, &number.to_string(), "p1")).await.unwrap();
        println!("acknowledged {number}");
    }
    panic!("the process outlived its crash point");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_beside_its_commit_leaves_all_of_it_or_nothing() {
    for (point, acknowledged, stored) in [
        ("before publish:1", 0, 0),
        ("after publish:1", 0, 1),
        ("before publish:5", 4, 4),
        ("after publish:5", 4, 5),
    ] {
        let place = database().await;
        started(&place, FORWARD).await.shutdown().await.unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "straight::child", "--nocapture"])
            .env(DATABASE_OF_CHILD, address(&place))
            .env("ORDERLY_CRASH_POINT", point)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout).matches("acknowledged ").count();
        assert_eq!(told, acknowledged, "{point}: {output:?}");
        let engine = crate::support::start(&place, site(FORWARD)).await;
        assert_eq!(number(&engine, "SELECT count(*) FROM message").await, stored, "{point}");
        assert_eq!(number(&engine, "SELECT count(*) FROM tracking WHERE kind = 5").await, stored, "{point}");
        assert_eq!(number(&engine, WORK).await, 0, "{point}: they went straight through");
        let mut sent = serve(&engine, accepted);
        // The one that nobody acknowledged comes again, and more: now by the ordinary way, behind what is there.
        for next in stored..stored + 2 {
            engine.message_box().publish(1, received(&engine, &next.to_string(), "p1")).await.unwrap();
        }
        assert_eq!(
            number(&engine, WORK).await,
            2,
            "{point}: what may have killed the process is stored first"
        );
        engine.run_until_idle().await;
        let all: Vec<String> = (0..stored + 2).map(|number| number.to_string()).collect();
        assert_eq!(drain(&mut sent), all, "{point}");
        assert_eq!(number(&engine, "SELECT count(*) FROM tracking WHERE kind = 5").await, stored + 2);
        sound(&engine).await;
        engine.shutdown().await.unwrap();
    }
}
