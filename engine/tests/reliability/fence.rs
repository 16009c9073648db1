//! Two owners of one lane: the range decides, and the loser keeps nothing of its batch.

use std::time::Duration;

use crate::flow::{FORWARD, number, received, run, sound, started, until};
use crate::support::{accepted, database, drain, incoming, ports, serve, start};

/// As if another node had consumed the next row of every lane that consumed something.
const ANOTHER_WAS_FASTER: &str =
    "INSERT INTO progress (lane, from_sequence, to_sequence, to_created_at, epoch)
     SELECT lane, max(to_sequence) + 1, max(to_sequence) + 1, now(), 99 FROM progress GROUP BY lane";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turns_on_a_range_that_another_owner_consumed_are_discarded_whole() {
    let engine = started(&database().await, &waits()).await;
    let mut sent = serve(&engine, accepted);
    engine.message_box().publish(1, received(&engine, "1", "p1")).await.unwrap();
    engine.run_until_idle().await;

    run(
        &engine,
        "INSERT INTO progress (lane, from_sequence, to_sequence, to_created_at, epoch)
         SELECT p.lane, 2, 2, now(), 99 FROM progress p JOIN lane l ON l.id = p.lane
           JOIN subscriber s ON s.id = l.subscriber WHERE s.kind = 'orchestration'",
    )
    .await;
    engine.message_box().publish(1, received(&engine, "2", "p1")).await.unwrap();
    engine.message_box().publish(1, received(&engine, "3", "p1")).await.unwrap();
    until(&engine, "SELECT count(*) FROM tracking WHERE kind = 6", 2).await;
    engine.run_until_idle().await;
    assert_eq!(drain(&mut sent), ["1", "3"], "2 belongs to the other owner; 3 is behind its range");
    assert_eq!(number(&engine, "SELECT count(*) FROM tracking WHERE kind = 5").await, 2);
    assert_eq!(number(&engine, "SELECT count(*) FROM parked").await, 0);
    sound(&engine).await;
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_whose_range_another_owner_consumed_is_not_recorded_twice() {
    let engine = start(&database().await, ports(&["ward"])).await;
    let mut sent = serve(&engine, accepted);
    engine.message_box().publish(1, incoming(&engine, &["ward"], "1", "p1")).await.unwrap();
    engine.run_until_idle().await;
    run(&engine, ANOTHER_WAS_FASTER).await;
    engine.message_box().publish(1, incoming(&engine, &["ward"], "2", "p1")).await.unwrap();
    // The lane is given up, claimed again, and goes on behind the other's range.
    engine.message_box().publish(1, incoming(&engine, &["ward"], "3", "p1")).await.unwrap();
    until(&engine, "SELECT count(*) FROM tracking t JOIN message m ON m.id = t.message_id WHERE t.kind = 6 AND m.control_id = '3'", 1).await;
    assert_eq!(number(&engine, "SELECT count(*) FROM tracking WHERE kind = 6").await, 2);
    let all = drain(&mut sent);
    assert_eq!((all.first().map(String::as_str), all.last().map(String::as_str)), (Some("1"), Some("3")));
    sound(&engine).await;
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_whose_lane_was_taken_moves_nothing_more_of_it() {
    let engine = started(&database().await, &waits()).await;
    let mut sent = serve(&engine, accepted);
    engine.message_box().publish(1, received(&engine, "1", "p1")).await.unwrap();
    engine.run_until_idle().await;
    // The other node is alive: it holds the lock of its slot.
    let mut other = engine.store().connection().await.unwrap();
    sqlx::query("SELECT pg_advisory_lock(2, 99)").execute(&mut other).await.unwrap();
    run(&engine, "INSERT INTO node (slot, epoch, expires_at) VALUES (99, 1, now() + interval '1 hour')")
        .await;
    run(&engine, "UPDATE lane SET node = 99, epoch = epoch + 1").await;
    run(&engine, ANOTHER_WAS_FASTER).await;
    engine.message_box().publish(1, received(&engine, "2", "p1")).await.unwrap();
    engine.message_box().publish(1, received(&engine, "3", "p1")).await.unwrap();
    let before = engine.owned_lanes().len();
    let given_up = async {
        while engine.owned_lanes().len() == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), given_up).await.expect("the lane is given up");
    assert_eq!(drain(&mut sent), ["1"]);
    assert_eq!(number(&engine, "SELECT count(*) FROM tracking WHERE kind = 5").await, 1);
    assert_eq!(number(&engine, "SELECT count(*) FROM progress WHERE from_sequence > 2").await, 0);
}

/// A flow that waits at its end, so that its messages go through its lane.
fn waits() -> String {
    format!("{FORWARD}  - delay: {{ id: pause, for: 1h }}\n")
}
