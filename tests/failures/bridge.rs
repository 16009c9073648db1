//! Two message boxes, each with a database of its own, and a send port of one that leads to a receive port of the other.

use std::time::Duration;

use orderly_tests::{Database, Outcome, Traffic, doubled, until_done};
use rand::RngExt as _;

use crate::{Bench, Node, random, rounds, wait};

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_from_one_message_box_to_another_is_there_once_and_in_order() {
    let (mut random, seed) = random("two message boxes");
    let mut far = Bench::start(Database::create().await, 1).await;
    let database = Database::create().await;
    let mut near = Node::new(&far.nodes[0].listen).await;
    near.start(&database).await;
    let traffic = Traffic::begin(vec![near.listen.clone()], 4, 16, Duration::from_millis(5), seed);
    for round in 0..rounds(6) {
        wait(random.random_range(100..900)).await;
        if round % 2 == 0 {
            far.nodes[0].kill();
            far.nodes[0].start(&far.database).await;
        } else {
            near.kill();
            near.start(&database).await;
        }
    }
    let acknowledged = traffic.finish().await;
    until_done(&database).await;
    until_done(&far.database).await;
    let (here, there) = (database.pool().await, far.database.pool().await);
    // What the first sent twice the second knows by its control id, and answers without taking it again.
    let taken: Vec<String> =
        sqlx::query_scalar("SELECT control_id FROM message WHERE message_type LIKE 'ADT%'")
            .fetch_all(&there)
            .await
            .expect("the database answers");
    let different: std::collections::HashSet<&String> = taken.iter().collect();
    assert_eq!(taken.len(), different.len(), "seed {seed}: the second box took a message twice");
    assert_eq!(doubled(&here).await, Vec::<String>::new(), "seed {seed}");
    let outcome = Outcome::of(&acknowledged, &there, &far.receiver.received()).await;
    let again: i64 = sqlx::query_scalar("SELECT count(*) FROM tracking WHERE kind = 2")
        .fetch_one(&there)
        .await
        .expect("the database answers");
    println!("two message boxes: {outcome}, {again} repeats recognised by the second");
    assert!(outcome.is_clean(), "seed {seed}: {outcome}\n{}", near.log_tail());
    assert!(outcome.acknowledged > 20, "too few messages to mean anything: {outcome}");
    near.stop().await;
    far.nodes[0].stop().await;
    here.close().await;
    there.close().await;
    database.drop().await;
    far.database.drop().await;
}
