//! S1, end to end: publish and subscribe.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use orderly_hl7::Message;
use orderly_tests::{Answering, Receiver, answer_as_asked};

use crate::caller::told;
use crate::keeper::Kills;
use crate::stage::{Stage, distinct};
use crate::{Told, play, play_variant};

const SITE: &str = "s01-publish-and-subscribe";
const RECEIVE: &str = "ORDERLY_SCENE_ONE_WAY_RECEIVE";

fn discharge(control: &str) -> String {
    format!(
        "MSH|^~\\&|Tutorial_ADTSystem|MCM|BTAHL7InterfaceEngine||20260301101500||ADT^A03|{control}|P|2.3.1\r\
         EVN|A03|20260301101500\rPID|1||7001^^^MCM^MR||Doe^Jane||19800229|F\rPD1||||2001^Lind^Anna\rPV1|1|O\r"
    )
}

/// The form in which Tutorial_HISystem gets it: six places of the header are its own, the body is untouched.
fn at_his(control: &str) -> String {
    discharge(control)
        .replace("|Tutorial_ADTSystem|", "|BTAHL7^IE^UUID|")
        .replace("|BTAHL7InterfaceEngine|", "|HI^System^GUID|")
        .replace("ADT^A03|", "ADT^A04|")
        .replace("|2.3.1\r", "|2.4|||SU|NE\r")
}

/// The form in which Tutorial_RXSystem gets it.
fn at_rx(control: &str) -> String {
    discharge(control)
        .replace("|Tutorial_ADTSystem|", "|BTAHL7|")
        .replace("|BTAHL7InterfaceEngine|", "|Tutorial_RXSystem|")
}

async fn open(his: &Receiver, kills: Kills) -> Stage {
    Stage::open(SITE, &[RECEIVE], &[("ORDERLY_SCENE_HIS", his)], kills).await
}

fn as_asked() -> Answering {
    Arc::new(|message: &Message| Some(answer_as_asked(message)))
}

#[track_caller]
fn check_ack(answer: &Message, code: &str, control: &str) {
    let text = |path: &str| answer.text(path);
    assert_eq!(told(answer), (code.to_owned(), control.to_owned()));
    assert_eq!((text("MSH-3"), text("MSH-5")), ("BTAHL7InterfaceEngine".into(), "Tutorial_ADTSystem".into()));
    assert_eq!((text("MSH-6"), text("MSH-9")), ("MCM".into(), "ACK^A03^ACK".into()));
    assert_eq!((text("MSH-11"), text("MSH-12")), ("P".into(), "2.3.1".into()));
}

/// What stands in the folder of acknowledgments: those that the sender got, and none of another message. Where the sender
/// asked again, whoever else gets its answers gets the same bytes again.
fn check_ack_folder(stage: &Stage, expected: &[(&str, &str)], asked_again: bool) -> Vec<String> {
    let mut texts = stage.contents("ACK");
    if asked_again || stage.was_killed() {
        texts.sort();
        texts.dedup();
    }
    let found: Vec<Message> = texts.into_iter().map(|text| Message::parse(text).expect("HL7")).collect();
    let mut codes: Vec<(String, String)> = found.iter().map(told).collect();
    codes.sort();
    let wanted: Vec<(String, String)> =
        expected.iter().map(|(code, control)| ((*code).to_owned(), (*control).to_owned())).collect();
    assert_eq!(codes, wanted);
    found.iter().for_each(|ack| check_ack(ack, &ack.text("MSA-1"), &ack.text("MSA-2")));
    let own: BTreeSet<String> = found.iter().map(|ack| ack.text("MSH-10")).collect();
    assert_eq!(own.len(), found.len(), "each has a control id of its own");
    codes.into_iter().map(|(code, control)| format!("{code} {control}")).collect()
}

async fn main_path(kills: Kills) -> Told {
    let his = Receiver::answering(as_asked()).await;
    let stage = open(&his, kills).await;
    let answers = stage.caller(RECEIVE).ask(&discharge("000001"), 2).await;
    check_ack(&answers[0], "CA", "000001");
    check_ack(&answers[1], "AA", "000001");
    assert_eq!(stage.until_files("RX", 1).await, [at_rx("000001")]);
    his.expect("HIS has it", |_| true).await;
    stage.until_files("ACK", 2).await;
    let mut ending = check_ack_folder(&stage, &[("AA", "000001"), ("CA", "000001")], false);
    let told = stage.close_with(|stage| {
        // The acknowledgments never reach HIS, although its filter is by receive port.
        assert_eq!(distinct(&his), [at_his("000001")]);
        assert_eq!(stage.files("RX").len(), 1);
        check_ack_folder(stage, &[("AA", "000001"), ("CA", "000001")], false);
    });
    ending.extend(distinct(&his));
    told.await.ending(ending)
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_both_systems_get_their_form_and_the_acknowledgments_go_to_who_asked() {
    play("S1", main_path).await;
}

async fn on_hold(kills: Kills) -> Told {
    let his = Receiver::answering(as_asked()).await;
    // The port begins on hold, so that no message can be faster than the hold.
    let held =
        |site: &str| site.replace("title: Tutorial_RXSend\n", "title: Tutorial_RXSend\n    state: on_hold\n");
    let stage = Stage::open_changed(SITE, held, &[RECEIVE], &[("ORDERLY_SCENE_HIS", &his)], kills).await;
    let mut sender = stage.caller(RECEIVE);
    for control in ["000001", "000002"] {
        sender.ask(&discharge(control), 2).await;
    }
    his.expect("HIS is not affected", |message| message.text("MSH-10") == "000002").await;
    stage.until_files("ACK", 4).await;
    assert_eq!(stage.files("RX"), [], "what is for RX waits");
    stage.start_port("tutorial-rxsend").await;
    stage.until_files("RX", 2).await;
    let told = stage.close_with(|stage| {
        assert_eq!(stage.contents("RX"), [at_rx("000001"), at_rx("000002")]);
        assert_eq!(distinct(&his), [at_his("000001"), at_his("000002")]);
    });
    told.await.ending(distinct(&his))
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_what_is_for_a_port_on_hold_waits_and_leaves_when_it_is_started() {
    play_variant("S1, RX on hold", on_hold).await;
}

async fn fourth_subscriber(kills: Kills) -> Told {
    let his = Receiver::answering(as_asked()).await;
    let stage = open(&his, kills).await;
    let mut sender = stage.caller(RECEIVE);
    sender.ask(&discharge("000001"), 2).await;
    stage.until_files("RX", 1).await;
    let fourth = "  tutorial-fourth:\n    target: { folder: { path: FOURTH/, name: \"{message.id}.hl7\" } }\n    \
                  filter: { hl7.event: A03 }\n";
    stage.deploy(|site| format!("{site}{fourth}")).await;
    stage.until_folder("FOURTH").await;
    sender.ask(&discharge("000002"), 2).await;
    assert_eq!(stage.until_files("FOURTH", 1).await, [discharge("000002")]);
    let told = stage.close_with(|stage| {
        assert_eq!(stage.contents("FOURTH"), [discharge("000002")]);
        assert_eq!(stage.contents("RX"), [at_rx("000001"), at_rx("000002")]);
        assert_eq!(distinct(&his), [at_his("000001"), at_his("000002")]);
    });
    told.await.ending(distinct(&his))
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_a_fourth_subscriber_that_is_added_while_it_runs_gets_what_comes_from_then_on() {
    play_variant("S1, a fourth subscriber", fourth_subscriber).await;
}

async fn bad_birth_date(kills: Kills) -> Told {
    let his = Receiver::answering(as_asked()).await;
    let stage = open(&his, kills).await;
    let bad = discharge("000001").replace("|19800229|", "|29.02.1980|");
    let answers = stage.caller(RECEIVE).ask(&bad, 2).await;
    check_ack(&answers[0], "CA", "000001");
    check_ack(&answers[1], "AE", "000001");
    assert_eq!(answers[1].text("ERR-1.1"), "PID", "{}", String::from_utf8_lossy(answers[1].bytes()));
    assert_eq!((answers[1].text("ERR-1.2"), answers[1].text("ERR-1.3")), ("1".into(), "7".into()));
    stage.until_parked(&["refused"]).await;
    assert_eq!((stage.files("RX"), his.received().len()), (vec![], 0), "nobody gets it");
    stage.edit_suspended(|text| text.replace("|29.02.1980|", "|19800229|")).await;
    stage.until_files("RX", 1).await;
    his.expect("HIS has the copy", |_| true).await;
    let told = stage.close_with(|stage| {
        assert_eq!(stage.contents("RX"), [at_rx("000001")]);
        assert_eq!(distinct(&his), [at_his("000001")]);
    });
    told.await.ending(distinct(&his))
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_a_bad_birth_date_is_refused_and_suspended_and_the_corrected_copy_is_delivered() {
    play_variant("S1, bad PID-7", bad_birth_date).await;
}

async fn repeated(kills: Kills) -> Told {
    let his = Receiver::answering(as_asked()).await;
    let stage = open(&his, kills).await;
    let first = stage.caller(RECEIVE).ask(&discharge("000001"), 2).await;
    // Its answers were lost on the way: it calls again.
    let again = stage.caller(RECEIVE).ask(&discharge("000001"), 2).await;
    let bytes = |answers: &[Message]| answers.iter().map(|one| one.bytes().to_vec()).collect::<Vec<_>>();
    assert_eq!(bytes(&again), bytes(&first), "the same answers");
    stage.until_files("ACK", 2).await;
    his.expect("HIS has it", |_| true).await;
    stage.until_files("RX", 1).await;
    let told = stage.close_with(|stage| {
        assert_eq!(distinct(&his), [at_his("000001")]);
        assert_eq!(stage.contents("RX"), [at_rx("000001")]);
        check_ack_folder(stage, &[("AA", "000001"), ("CA", "000001")], true);
    });
    told.await.ending(distinct(&his))
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_a_sender_that_repeats_after_a_lost_answer_gets_the_same_answers_and_nobody_gets_it_twice() {
    play_variant("S1, repeated", repeated).await;
}

/// HIS answers the first times as told, then as asked. Gives what is parked at the end.
async fn his_answers(
    kills: Kills,
    first: impl Fn(&Message) -> Option<String> + Send + Sync + 'static,
    times: u32,
    parked: &[&str],
) -> Told {
    let asked = AtomicU32::new(0);
    let his = Receiver::answering(Arc::new(move |message: &Message| {
        let answer = first(message);
        if asked.fetch_add(1, Ordering::Relaxed) < times { answer } else { Some(answer_as_asked(message)) }
    }))
    .await;
    let stage = open(&his, kills).await;
    stage.caller(RECEIVE).ask(&discharge("000001"), 2).await;
    stage.until_files("RX", 1).await;
    let sent = i64::from(parked.is_empty());
    let query = "SELECT count(*) FROM tracking t JOIN subscriber s ON s.id = t.subscriber
                  WHERE t.kind = 6 AND s.name = 'tutorial-hissend'";
    stage.until(query, sent).await;
    stage.until_parked(parked).await;
    let mut ending = stage.parked().await;
    let told = stage.close_with(|stage| {
        assert_eq!(distinct(&his), [at_his("000001")], "every attempt has the same bytes");
        assert_eq!(stage.contents("RX"), [at_rx("000001")]);
    });
    ending.extend(distinct(&his));
    told.await.ending(ending)
}

fn answer(code: &'static str) -> impl Fn(&Message) -> Option<String> + Send + Sync + Copy {
    move |message| Some(answer_as_asked(message).replace("MSA|CA|", &format!("MSA|{code}|")))
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_his_answers_ae_and_the_message_is_suspended() {
    let parked = &["tutorial-hissend: ack.error"];
    play_variant("S1, HIS answers AE", async |kills| {
        his_answers(kills, answer("AE"), u32::MAX, parked).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_his_answers_ar_and_it_is_sent_again_until_it_is_taken() {
    play_variant("S1, HIS answers AR", async |kills| his_answers(kills, answer("AR"), 2, &[]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_his_answers_nothing_and_it_is_sent_again_with_the_same_control_id() {
    play_variant("S1, HIS is silent", async |kills| his_answers(kills, |_| None, 2, &[]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_his_answers_with_the_control_id_of_another_message_and_that_is_no_answer() {
    let wrong = |message: &Message| Some(answer_as_asked(message).replace("MSA|CA|000001", "MSA|CA|000009"));
    play_variant("S1, HIS answers another message", async |kills| his_answers(kills, wrong, 2, &[]).await)
        .await;
}
