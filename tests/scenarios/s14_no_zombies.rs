//! S14, no zombies: what was sent is consumed, routed again or not routed, and nothing stays with a flow that is over.
//! (b), delay and message in the same instant, is a property of a turn: `orchestrations/src/turn/tests.rs`.

use std::sync::Arc;

use orderly_hl7::Message;
use orderly_tests::{Receiver, answer_as_asked};

use crate::caller::{Caller, told};
use crate::keeper::Kills;
use crate::stage::Stage;
use crate::{Told, play, play_variant};

const SITE: &str = "s14-no-zombies";
const RECEIVE: &str = "ORDERLY_SCENE_RECEIVE";
const NOT_ROUTED: &str = "SELECT count(*) FROM parked WHERE code = 'no_subscriber'";
const PATIENT: &str = "PID|1||7001^^^N^MR||Doe^Jane\r";

fn order(facility: &str) -> String {
    format!(
        "MSH|^~\\&|OE|{facility}|HUB|N|20260301101500||ORM^O01|ORDER|P|2.4\r{PATIENT}PV1|1|O\rORC|NW|P1^OE\r\
         OBR|1|P1^OE||K^Potassium^L\r"
    )
}

fn result(number: u32) -> String {
    format!(
        "MSH|^~\\&|LIS|N|HUB|N|20260301101500||ORU^R01^ORU_R01|R{number:02}|P|2.5.1\r{PATIENT}ORC|RE|P1^OE\r\
         OBR|1|P1^OE|L1^LIS|K^Potassium^L|||20260301101500\rOBX|1|NM|K^Potassium^L||4.{number}|mmol/L|||||F\r"
    )
}

/// A site on which one flow is enlisted, so that no other is asked for the results.
async fn open(flow: &str, laboratory: &Receiver, kills: Kills) -> (Stage, Caller) {
    let alone = |site: &str| {
        let (ports, flows) = site.split_once("orchestrations:\n").expect("it has flows");
        let flow = flows.lines().find(|line| line.trim_start().starts_with(flow)).expect("it has this one");
        format!("{ports}orchestrations:\n{flow}\n")
    };
    let connects = [("ORDERLY_SCENE_LABORATORY", laboratory)];
    let stage = Stage::open_changed(SITE, alone, &[RECEIVE], &connects, kills).await;
    let sender = stage.caller(RECEIVE);
    (stage, sender)
}

async fn send_results(sender: &mut Caller, count: u32) {
    for number in 1..=count {
        assert_eq!(sender.send(&result(number)).await.text("MSA-1"), "AA");
    }
}

/// Consumed, routed again and not routed make together what was sent; gives how they split.
async fn balance(stage: &Stage, sent: usize) -> Vec<String> {
    stage.until("SELECT count(*) FROM instance", 0).await;
    let taken = stage.files("taken").len();
    let not_routed = stage.texts("SELECT m.control_id FROM parked p JOIN message m ON m.id = p.subject WHERE p.code = 'no_subscriber' ORDER BY 1").await;
    assert_eq!(taken + not_routed.len(), sent, "{not_routed:?}");
    for table in ["timer", "correlation", "expectation"] {
        let left: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
            .fetch_one(&stage.pool)
            .await
            .expect("the database answers");
        assert_eq!(left, 0, "{table}");
    }
    vec![format!("{taken} taken"), format!("not routed: {}", not_routed.join(" "))]
}

async fn loop_of_17(kills: Kills) -> Told {
    let laboratory = Receiver::open().await;
    let (stage, mut sender) = open("loop-of-17", &laboratory, kills).await;
    sender.send(&order("LOOP")).await;
    send_results(&mut sender, 18).await;
    stage.until_files("taken", 17).await;
    stage.until(NOT_ROUTED, 1).await;
    let ending = balance(&stage, 18).await;
    assert_eq!(ending, ["17 taken", "not routed: R18"]);
    stage.close_with(|_| {}).await.ending(ending)
}

#[tokio::test(flavor = "multi_thread")]
async fn s14_the_eighteenth_message_of_a_loop_of_17_is_not_routed_and_shown() {
    play("S14 (a)", loop_of_17).await;
}

async fn second_answer(kills: Kills) -> Told {
    // It stores the order; what its application says comes later.
    let laboratory = Receiver::answering(Arc::new(|message: &Message| Some(answer_as_asked(message)))).await;
    let (stage, mut sender) = open("one-answer", &laboratory, kills).await;
    sender.send(&order("ANSWER")).await;
    let asked = laboratory.expect("the laboratory is asked", |_| true).await.text("MSH-10");
    let answer = |own: &str| {
        format!("MSH|^~\\&|LAB|N|HUB|N|20260301101500||ACK^O01|{own}|P|2.4|||AL|NE\rMSA|AA|{asked}\r")
    };
    stage.until("SELECT count(*) FROM expectation", 1).await;
    let mut late = stage.caller(RECEIVE);
    assert_eq!(told(&late.send(&answer("FIRST")).await), ("CA".into(), "FIRST".into()));
    stage.until("SELECT count(*) FROM instance", 0).await;
    assert_eq!(told(&late.send(&answer("SECOND")).await), ("CA".into(), "SECOND".into()));
    stage.until("SELECT count(*) FROM message WHERE control_id = 'SECOND'", 1).await;
    assert_eq!(stage.count("SELECT count(*) FROM tracking WHERE kind = 6").await, 1, "it was delivered once");
    let ending = balance(&stage, 0).await;
    stage.close_with(|stage| assert!(stage.files("taken").is_empty())).await.ending(ending)
}

#[tokio::test(flavor = "multi_thread")]
async fn s14_a_second_answer_moves_nothing_and_stands_on_the_journey_of_the_message() {
    play_variant("S14 (c)", second_answer).await;
}

async fn terminated(kills: Kills) -> Told {
    let laboratory = Receiver::open().await;
    let (stage, mut sender) = open("long-delay", &laboratory, kills).await;
    sender.send(&order("DELAY")).await;
    send_results(&mut sender, 3).await;
    stage.until("SELECT count(*) FROM tracking WHERE kind = 5", 4).await;
    stage.terminate_instance().await;
    stage.until(NOT_ROUTED, 3).await;
    let ending = balance(&stage, 3).await;
    assert_eq!(ending, ["0 taken", "not routed: R01 R02 R03"]);
    stage.close_with(|_| {}).await.ending(ending)
}

#[tokio::test(flavor = "multi_thread")]
async fn s14_messages_that_wait_for_a_terminated_flow_are_not_routed_and_shown() {
    play_variant("S14 (d)", terminated).await;
}

async fn scope_timeout(kills: Kills) -> Told {
    let laboratory = Receiver::open().await;
    let (stage, mut sender) = open("scope-timeout", &laboratory, kills).await;
    assert_eq!(told(&sender.send(&order("SCOPE")).await), ("AA".into(), "ORDER".into()));
    send_results(&mut sender, 2).await;
    stage.until(NOT_ROUTED, 2).await;
    let ending = balance(&stage, 2).await;
    assert_eq!(ending, ["0 taken", "not routed: R01 R02"]);
    stage.close_with(|_| {}).await.ending(ending)
}

#[tokio::test(flavor = "multi_thread")]
async fn s14_messages_that_wait_in_a_scope_that_times_out_are_not_routed_and_shown() {
    play_variant("S14 (e)", scope_timeout).await;
}
