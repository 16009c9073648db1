//! S17, order: what waits when the destination refuses one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use orderly_hl7::Message;
use orderly_tests::{Receiver, answer_as_asked};

use crate::keeper::Kills;
use crate::stage::{Stage, distinct};
use crate::{Told, play};

fn message(control: &str, patient: &str) -> String {
    format!(
        "MSH|^~\\&|ADT|N|HUB|N|20260301101500||ADT^A08^ADT_A01|{control}|P|2.5.1\rEVN||20260301101500\r\
         PID|1||{patient}^^^N^MR||Doe^Jane\rPV1|1|I\r"
    )
}

/// Refuses 102 until it is mended.
async fn receiver(mended: &Arc<AtomicBool>) -> Receiver {
    let mended = mended.clone();
    Receiver::answering(Arc::new(move |message: &Message| {
        let refuses = message.text("MSH-10") == "102" && !mended.load(Ordering::Relaxed);
        let answer = answer_as_asked(message);
        Some(if refuses { answer.replace("MSA|AA|", "MSA|AE|") } else { answer })
    }))
    .await
}

fn ids(receiver: &Receiver) -> Vec<String> {
    let found = distinct(receiver);
    found.iter().filter_map(|text| text.split('|').nth(9).map(str::to_owned)).collect()
}

/// Control ids of the deliveries to a port, in the order in which they were committed.
async fn delivered(stage: &Stage, port: &'static str) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT m.control_id FROM tracking t JOIN subscriber s ON s.id = t.subscriber JOIN message m ON m.id = t.message_id
          WHERE t.kind = 6 AND s.name = $1 ORDER BY t.at",
    )
    .bind(port)
    .fetch_all(&stage.pool)
    .await
    .expect("the database answers")
}

async fn story(kills: Kills) -> Told {
    let mended = Arc::new(AtomicBool::new(false));
    let (stops, gap, keyed) = (receiver(&mended).await, receiver(&mended).await, receiver(&mended).await);
    let connects =
        [("ORDERLY_SCENE_STOPS", &stops), ("ORDERLY_SCENE_GAP", &gap), ("ORDERLY_SCENE_KEYED", &keyed)];
    let stage = Stage::open("s17-order", &["ORDERLY_SCENE_RECEIVE"], &connects, kills).await;
    let mut sender = stage.caller("ORDERLY_SCENE_RECEIVE");
    // 104 is of another patient.
    for (control, patient) in [("101", "7001"), ("102", "7001"), ("103", "7001"), ("104", "7002")] {
        assert_eq!(sender.send(&message(control, patient)).await.text("MSA-1"), "AA");
    }
    stage.until("SELECT count(*) FROM parked WHERE state = 2 AND code = 'ack.error'", 3).await;
    gap.expect("in gap mode the others go on", |message| message.text("MSH-10") == "104").await;
    keyed.expect("in keyed mode the other patient goes on", |message| message.text("MSH-10") == "104").await;
    stage.until("SELECT count(*) FROM parked WHERE state = 3", 3).await;
    assert_eq!(ids(&stops), ["101", "102"], "in stop mode 103 and 104 wait");
    assert_eq!(ids(&gap), ["101", "102", "103", "104"]);
    assert_eq!(
        ids(&keyed).iter().filter(|id| *id == "103").count(),
        0,
        "in keyed mode the same patient waits"
    );

    let told = stage.before_resuming().await;
    let warned: Vec<&String> = told.iter().filter(|text| text.contains("out of order")).collect();
    assert_eq!((told.len(), warned.len()), (3, 1), "{told:?}");
    assert!(warned[0].contains("Place gap"), "{warned:?}");
    mended.store(true, Ordering::Relaxed);
    stage.resume_suspended().await;
    stage.until("SELECT count(*) FROM parked", 0).await;
    let mut ending = Vec::new();
    for port in ["stops", "gap"] {
        ending.push(format!("{port}: {}", delivered(&stage, port).await.join(" ")));
    }
    let keyed_order = delivered(&stage, "keyed").await;
    let same_patient: Vec<&String> = keyed_order.iter().filter(|id| *id != "104").collect();
    assert_eq!(same_patient, ["101", "102", "103"]);
    assert_eq!(ending, ["stops: 101 102 103 104", "gap: 101 103 104 102"]);
    let told = stage.close_with(|_| {
        assert_eq!(ids(&stops), ["101", "102", "103", "104"], "order is kept after the repair");
        assert_eq!(ids(&keyed).len(), 4);
    });
    told.await.ending(ending)
}

#[tokio::test(flavor = "multi_thread")]
async fn s17_a_refused_message_stops_the_port_or_leaves_a_gap_or_holds_back_its_patient() {
    play("S17", story).await;
}
