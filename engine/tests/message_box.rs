//! The message box on a real Postgres: publish, lanes, deliveries, parked work, restart, audit.
#![expect(clippy::disallowed_methods, reason = "a test stands outside the server")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use orderly_engine::audit;
use orderly_engine::delivery::{Answer, Outcome};
use orderly_engine::engine::Engine;
use orderly_engine::message_box::{DuplicateKey, Published};
use orderly_engine::tracking::Detail;
use orderly_hl7::Message;
use support::{accepted, database, drain, incoming, ports, serve, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_message_is_delivered_and_its_answer_is_kept_with_the_delivery() {
    let engine = start(&database().await, ports(&["ward", "billing"])).await;
    let mut sent = serve(&engine, accepted);

    let message = incoming(&engine, &["ward", "billing"], "1", "p1");
    let id = message.id;
    assert_eq!(engine.message_box().publish(1, message).await.unwrap(), Published::Stored);
    engine.run_until_idle().await;

    assert_eq!(drain(&mut sent), ["1", "1"]);
    assert_eq!(answers(&engine, id.0).await, 0, "they say nothing that their deliveries do not tell");
    let details: Vec<Vec<u8>> = sqlx::query_scalar("SELECT detail FROM tracking WHERE kind = 6")
        .fetch_all(engine.store().pool())
        .await
        .unwrap();
    for detail in details {
        let Some(Detail::Delivered { answer: Some(answer), .. }) = Detail::decode(Some(&detail)) else {
            panic!("a delivery has its answer");
        };
        let text = String::from_utf8_lossy(&answer.bytes);
        assert!(answer.message.is_none() && text.ends_with("MSA|AA|1\r"), "{text}");
        assert_eq!(audit::sha256(&answer.bytes), answer.sha256);
    }
    let report = audit::verify(engine.store().pool()).await.unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.rows, report.bodies), (3, 1));
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_says_more_is_a_message() {
    let engine = start(&database().await, ports(&["ward"])).await;
    let _sent = serve(&engine, |work| {
        let text = "MSH|^~\\&|R|R|||20260301||ACK|A1|P|2.5.1\rMSA|AA|1\rNTE|1||in room 4\r";
        match accepted(work) {
            Outcome::Delivered { answer: Some(answer), took } => {
                let message = Message::parse(text.as_bytes().to_vec()).unwrap();
                Outcome::Delivered { answer: Some(Answer { message, ..answer }), took }
            }
            other => other,
        }
    });
    let message = incoming(&engine, &["ward"], "1", "p1");
    let id = message.id.0;
    engine.message_box().publish(1, message).await.unwrap();
    engine.run_until_idle().await;
    assert_eq!(answers(&engine, id).await, 1);
    engine.shutdown().await.unwrap();
}

async fn answers(engine: &Engine, message: i64) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM message WHERE parent = $1")
        .bind(message)
        .fetch_one(engine.store().pool())
        .await
        .expect("a count")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_publishers_make_dense_sequences_in_every_lane() {
    let engine = start(&database().await, ports(&["ward"])).await;
    let publishers = (0..8_u64).map(|publisher| {
        let engine = engine.clone();
        tokio::spawn(async move {
            for number in 0..100 {
                let message =
                    incoming(&engine, &["ward"], &format!("{publisher}-{number}"), &format!("p{number}"));
                // Neighbours share a committer; these do not.
                engine.message_box().publish(publisher * 128, message).await.unwrap();
            }
        })
    });
    for publisher in publishers.collect::<Vec<_>>() {
        publisher.await.unwrap();
    }
    let lanes: Vec<(i32, i64, i64, i64)> = sqlx::query_as(
        "SELECT lane, count(*), count(DISTINCT sequence), max(sequence) FROM work GROUP BY lane ORDER BY lane",
    )
    .fetch_all(engine.store().pool())
    .await
    .unwrap();
    assert_eq!(lanes.len(), 8);
    assert_eq!(lanes.iter().map(|lane| lane.1).sum::<i64>(), 800);
    assert!(lanes.iter().all(|(_, count, distinct, max)| count == distinct && distinct == max), "{lanes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_control_ids_whose_keys_collide_are_both_stored() {
    let engine = start(&database().await, ports(&["ward"])).await;
    let publish = async |control_id: &str| {
        let mut message = incoming(&engine, &["ward"], control_id, "p1");
        message.duplicate = Some(DuplicateKey(7));
        engine.message_box().publish(1, message).await.unwrap()
    };
    assert_eq!(publish("a").await, Published::Stored);
    assert_eq!(publish("b").await, Published::Stored);
    assert!(matches!(publish("a").await, Published::Repeat { same_content: true, .. }));
    // In one batch, or in two: the committer takes what is there.
    let together = tokio::join!(publish("c"), publish("d"), publish("e"));
    assert_eq!(together, (Published::Stored, Published::Stored, Published::Stored));
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_key_sent_at_once_is_stored_once() {
    let engine = start(&database().await, ports(&["ward"])).await;
    let mut sent = serve(&engine, accepted);
    let tries = (0..20_u64).map(|committer| {
        let engine = engine.clone();
        tokio::spawn(async move {
            let message = incoming(&engine, &["ward"], "same", "p1");
            engine.message_box().publish(committer * 128, message).await.unwrap()
        })
    });
    let mut stored = 0;
    for answer in tries.collect::<Vec<_>>() {
        match answer.await.unwrap() {
            Published::Stored => stored += 1,
            Published::Repeat { same_content, .. } => assert!(same_content),
            Published::Taken => panic!("it came in no interchange"),
        }
    }
    engine.run_until_idle().await;
    assert_eq!(stored, 1);
    assert_eq!(drain(&mut sent), ["same"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_goes_on_where_the_first_one_stopped() {
    let database = database().await;
    let first = start(&database, ports(&["ward"])).await;
    for number in 0..50 {
        let message = incoming(&first, &["ward"], &number.to_string(), "p1");
        first.message_box().publish(1, message).await.unwrap();
    }
    let delivered = Arc::new(AtomicUsize::new(0));
    let count = delivered.clone();
    let mut before = serve(&first, move |work| {
        count.fetch_add(1, Ordering::SeqCst);
        accepted(work)
    });
    first.run_until_idle().await;
    first.shutdown().await.unwrap();

    let second = start(&database, ports(&["ward"])).await;
    let mut after = serve(&second, accepted);
    for number in 50..60 {
        let message = incoming(&second, &["ward"], &number.to_string(), "p1");
        second.message_box().publish(1, message).await.unwrap();
    }
    second.run_until_idle().await;
    let expected: Vec<String> = (0..60).map(|number| number.to_string()).collect();
    assert_eq!([drain(&mut before), drain(&mut after)].concat(), expected);
    second.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_delivered_before_a_restart_is_delivered_after_it() {
    let database = database().await;
    let first = start(&database, ports(&["ward"])).await;
    for number in 0..30 {
        let message = incoming(&first, &["ward"], &number.to_string(), "p1");
        first.message_box().publish(1, message).await.unwrap();
    }
    first.shutdown().await.unwrap();
    let second = start(&database, ports(&["ward"])).await;
    let mut sent = serve(&second, accepted);
    second.run_until_idle().await;
    assert_eq!(drain(&mut sent), (0..30).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_message_holds_its_key_and_order_is_kept_behind_it() {
    let engine = start(&database().await, ports(&["ward"])).await;
    let clock = engine.store().clock().clone();
    let mut sent = serve(&engine, move |work| {
        if work.control_id == "1" && work.attempt < 3 {
            return Outcome::Retry {
                due_at: clock.now(),
                code: "ack.timeout".to_owned(),
                reason: "no answer".to_owned(),
                answer: None,
            };
        }
        accepted(work)
    });
    for (control_id, patient) in [("1", "a"), ("2", "a"), ("x", "b"), ("3", "a"), ("4", "a")] {
        engine.message_box().publish(1, incoming(&engine, &["ward"], control_id, patient)).await.unwrap();
    }
    let mut all = Vec::new();
    while all.len() < 5 {
        all.extend(sent.recv().await.map(|(_, control_id)| control_id));
    }
    all.retain(|control_id| control_id != "x");
    assert_eq!(all, ["1", "2", "3", "4"]);
    engine.run_until_idle().await;
    let parked: i64 =
        sqlx::query_scalar("SELECT count(*) FROM parked").fetch_one(engine.store().pool()).await.unwrap();
    assert_eq!(parked, 0);
    assert!(audit::verify(engine.store().pool()).await.unwrap().is_sound());
}
