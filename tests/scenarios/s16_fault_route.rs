//! S16, fault route: what failed is a message, too.

use orderly_hl7::Message;

use crate::caller::told;
use crate::keeper::Kills;
use crate::stage::Stage;
use crate::{Told, play, play_variant};

const SITE: &str = "s16-fault-route";
const RECEIVE: &str = "ORDERLY_SCENE_RECEIVE";

fn discharge(control: &str, born: &str) -> String {
    format!(
        "MSH|^~\\&|REG|N|ORD|N|20260301101500||ADT^A03^ADT_A03|{control}|P|2.5.1\rEVN||20260301101500\r\
         PID|1||7001^^^N^MR||Doe^Jane||{born}\rPV1|1|O\r"
    )
}

async fn repaired(kills: Kills) -> Told {
    let stage = Stage::open(SITE, &[RECEIVE], &[], kills).await;
    let answer = stage.caller(RECEIVE).send(&discharge("F1", "29.02.1980")).await;
    assert_eq!(told(&answer), ("AE".into(), "F1".into()));
    let titles = "SELECT title FROM task";
    stage.until("SELECT count(*) FROM task WHERE state = 0", 1).await;
    assert_eq!(stage.texts(titles).await, ["refused at in"], "the flow reads what failed and where");
    assert_eq!(stage.parked().await.len(), 0, "the failure is the subscriber's");
    stage.decide("mended", &[("in.birth_date", "19800229")]).await;
    let out = stage.until_files("out", 1).await;
    let copy = Message::parse(out[0].clone()).expect("HL7");
    assert_eq!((copy.text("PID-7"), copy.text("PID-5.1")), ("19800229".into(), "Doe".into()));
    stage.until("SELECT count(*) FROM instance", 0).await;
    let parents = "SELECT count(*) FROM message c JOIN message o ON o.id = c.parent WHERE o.control_id = 'F1'
                     AND c.message_type LIKE 'ADT%'";
    assert_eq!(stage.count(parents).await, 1, "the copy tells of its original");
    assert_eq!(stage.outcome("F1").await, "Replaced");
    let ending = vec![copy.text("PID-7"), stage.parked().await.join(" ")];
    stage.close_with(|stage| assert_eq!(stage.files("out").len(), 1)).await.ending(ending)
}

#[tokio::test(flavor = "multi_thread")]
async fn s16_a_refused_message_becomes_a_repair_task_and_its_mended_copy_is_taken() {
    play("S16", repaired).await;
}

async fn nobody_subscribes(kills: Kills) -> Told {
    let stage = Stage::open(SITE, &[RECEIVE], &[], kills).await;
    // Nobody subscribes to the faults of this event.
    let other = discharge("F2", "29.02.1980").replace("ADT^A03^ADT_A03", "ADT^A04^ADT_A01");
    let answer = stage.caller(RECEIVE).send(&other).await;
    assert_eq!(told(&answer), ("AE".into(), "F2".into()));
    stage.until_parked(&["refused"]).await;
    assert_eq!(stage.outcome("F2").await, "Suspended");
    let ending = stage.parked().await;
    stage.close_with(|stage| assert!(stage.files("out").is_empty())).await.ending(ending)
}

#[tokio::test(flavor = "multi_thread")]
async fn s16_where_nobody_subscribes_to_the_fault_the_message_is_suspended() {
    play_variant("S16, nobody subscribes", nobody_subscribes).await;
}
