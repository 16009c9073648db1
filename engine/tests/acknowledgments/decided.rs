//! An orchestration decides the application acknowledgment of what it received: on the connection of the message, or by a
//! send port, across a kill.

use crate::town::{LISTEN, Neighbour, Town, adt};
use std::sync::Arc;

const JUDGE: &str = r#"orchestration: judge
version: 1
title: Judge registrations
owner: analyst
timeout: 1d
ports: { door: { direction: in, accepts: [ADT^A03] } }
start:
  - receive: { as: adt, from: door, where: { hl7.type: ADT }, acknowledge: deferred }
steps:
  - delay: { id: think, for: 100ms }
  - decide:
      cases:
        - when: adt["PID-5.1"] == "Nobody"
          do:
            - acknowledge: { message: adt, code: AE, text: "no such person", error_path: PID-5 }
            - end: { outcome: refused }
  - acknowledge: { message: adt, code: AA }
"#;

fn site(route: &str) -> String {
    format!(
        "roles:
  analyst: {{ title: Analyst, like: analyst }}
parties:
  reg:
    identify: [{{ sending_app: REG }}]
    inbound: {{ acknowledgment: {{ mode: application{route} }} }}
receive_ports:
  in:
    locations:
      mllp:
        {LISTEN}
send_ports:
  desk:
    target: {{ mllp: {{ socket: {{ connect: $desk }} }} }}
    ack: {{ expect: none }}
orchestrations:
  judge:
    ports: {{ door: {{ receive_port: in }} }}
"
    )
}

async fn town(route: &str) -> (Town, Neighbour) {
    let desk = Neighbour::open(Arc::new(|_| vec![])).await;
    let files = [("orchestrations/judge.yaml", JUDGE)];
    let town = Town::start_with(&site(route), &files, &[("desk", &desk)], |_| {}).await;
    (town, desk)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_decision_reaches_the_sender_on_its_connection() {
    let (town, _desk) = town("").await;
    let mut caller = town.caller("in/mllp").await;
    let answers = caller.ask(&adt("1", "Doe^Jane"), 2).await;
    let told = |at: usize| (answers[at].text("MSA-1"), answers[at].text("MSA-2"));
    assert_eq!((told(0), told(1)), (("CA".into(), "1".into()), ("AA".into(), "1".into())));
    assert_ne!(answers[0].text("MSH-10"), answers[1].text("MSH-10"));
    // Refused, with its place.
    let refused = caller.ask(&adt("2", "Nobody^Jane"), 2).await.remove(1);
    assert_eq!(
        (refused.text("MSA-1"), refused.text("MSA-2"), refused.text("MSA-3")),
        ("AE".into(), "2".into(), "no such person".into())
    );
    assert_eq!((refused.text("ERR-1.1"), refused.text("ERR-1.3")), ("PID".into(), "5".into()));
    // The same message again: both answers as they were, and no second decision.
    assert_eq!(caller.ask(&adt("1", "Doe^Jane"), 2).await, answers);
    town.until("SELECT count(*) FROM instance", 0).await;
    assert_eq!(
        town.count("SELECT count(*) FROM tracking WHERE kind = 5 AND message_id IS NOT NULL").await,
        2
    );
    assert_eq!(town.count("SELECT count(*) FROM parked").await, 0);
    assert!(orderly_engine::audit::verify(town.engine.store().pool()).await.unwrap().is_sound());
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_decision_takes_the_send_port_of_the_senders_record_also_after_a_kill() {
    let (mut town, desk) = town(", route: { port: desk }").await;
    assert_eq!(town.caller("in/mllp").await.send(&adt("1", "Doe^Jane")).await, "CA 1");
    town.kill_and_restart().await;
    let told = desk.next_message().await;
    assert_eq!(
        (told.text("MSA-1"), told.text("MSA-2"), told.text("MSH-5")),
        ("AA".into(), "1".into(), "REG".into())
    );
    town.until("SELECT count(*) FROM tracking WHERE kind = 6", 1).await;
    assert!(desk.rest().await.is_empty());
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_whose_sender_hung_up_is_read_when_it_sends_again() {
    let (mut town, _desk) = town("").await;
    assert_eq!(town.caller("in/mllp").await.send(&adt("1", "Doe^Jane")).await, "CA 1");
    town.kill_and_restart().await;
    town.until("SELECT count(*) FROM exchange", 1).await;
    town.run("UPDATE exchange SET closed_at = closed_at - interval '1 minute'").await;
    town.until("SELECT count(*) FROM parked WHERE code = 'exchange.asker_gone'", 1).await;
    let answers = town.caller("in/mllp").await.ask(&adt("1", "Doe^Jane"), 2).await;
    assert_eq!((answers[0].text("MSA-1"), answers[1].text("MSA-1")), ("CA".into(), "AA".into()));
    town.until("SELECT count(*) FROM parked", 0).await;
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_the_door_answers_gets_no_second_answer() {
    let desk = Neighbour::open(Arc::new(|_| vec![])).await;
    let site = site("").replace("mode: application", "mode: original");
    let town =
        Town::start_with(&site, &[("orchestrations/judge.yaml", JUDGE)], &[("desk", &desk)], |_| {}).await;
    let mut caller = town.caller("in/mllp").await;
    assert_eq!(caller.send(&adt("1", "Doe^Jane")).await, "AA 1");
    town.until("SELECT count(*) FROM tracking WHERE kind = 20", 1).await;
    assert_eq!(caller.send(&adt("2", "Doe^Jane")).await, "AA 2");
    assert_eq!(town.count("SELECT count(*) FROM message WHERE message_type LIKE 'ACK%'").await, 0);
    town.stop().await;
}
