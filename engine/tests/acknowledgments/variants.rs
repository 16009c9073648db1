//! Variants of publish and subscribe (scenario S1): a subscriber on hold, one more while it runs, and what a receiver may
//! answer.

use crate::town::{Answering, LISTEN, Neighbour, Town, ack, adt};
use std::sync::Arc;

const SITE: &str = "
receive_ports:
  in:
    locations:
      mllp:
        LISTEN
send_ports:
  rx:
    target: { mllp: { socket: { connect: $rx } } }
    filter: { port.name: in }
    retry: { wait: 10ms, times: 2 }
    ack: { within: 300ms }
  his:
    target: { mllp: { socket: { connect: $his } } }
    filter: { port.name: in }
";

fn site() -> String {
    SITE.replace("LISTEN", LISTEN)
}

const DELIVERED: &str = "SELECT count(*) FROM tracking WHERE kind = 6";

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_on_hold_waits_others_do_not_and_its_release_delivers_in_order() {
    let (rx, his) = (Neighbour::accepting().await, Neighbour::accepting().await);
    let mut town = Town::start(&site(), &[("rx", &rx), ("his", &his)]).await;
    let hold = "INSERT INTO port_state (kind, name, state, changed_by, changed_at) VALUES ('send_port', 'rx', 'on_hold', 't', now())";
    town.run(hold).await;
    town.outside.ports.look().await.unwrap();
    let mut caller = town.caller("in/mllp").await;
    for id in ["1", "2", "3"] {
        assert_eq!(caller.send(&adt(id, "Doe^Jane")).await, format!("AA {id}"));
        assert_eq!(his.next_message().await.text("MSH-10"), id);
    }
    town.until(DELIVERED, 3).await;
    assert!(rx.rest().await.is_empty());
    town.kill_and_restart().await;
    town.run("UPDATE port_state SET state = 'running'").await;
    town.outside.ports.look().await.unwrap();
    for id in ["1", "2", "3"] {
        assert_eq!(rx.next_message().await.text("MSH-10"), id);
    }
    town.until(DELIVERED, 6).await;
    assert!(his.rest().await.is_empty(), "nobody else gets it again");
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_more_subscriber_gets_what_comes_from_then_on() {
    let (rx, his, fourth) =
        (Neighbour::accepting().await, Neighbour::accepting().await, Neighbour::accepting().await);
    let neighbours = [("rx", &rx), ("his", &his), ("fourth", &fourth)];
    let town = Town::start(&site(), &neighbours).await;
    let mut caller = town.caller("in/mllp").await;
    assert_eq!(caller.send(&adt("1", "Doe^Jane")).await, "AA 1");
    let more =
        "  fourth:\n    target: { mllp: { socket: { connect: $fourth } } }\n    filter: { port.name: in }\n";
    town.deploy(&format!("{}{more}", site()), &neighbours).await;
    // The same connection: nobody notices.
    assert_eq!(caller.send(&adt("2", "Doe^Jane")).await, "AA 2");
    assert_eq!(fourth.next_message().await.text("MSH-10"), "2");
    town.until(DELIVERED, 5).await;
    assert_eq!((rx.rest().await.len(), his.rest().await.len(), fourth.rest().await.len()), (2, 2, 0));
    town.stop().await;
}

/// What becomes of a message by the answer of one of its receivers; the other one always has it once.
async fn answered(answer: Answering, code: &str) -> (usize, Vec<String>) {
    let (rx, his) = (Neighbour::open(answer).await, Neighbour::accepting().await);
    let town = Town::start(&site(), &[("rx", &rx), ("his", &his)]).await;
    assert_eq!(town.caller("in/mllp").await.send(&adt("1", "Doe^Jane")).await, "AA 1");
    his.next().await;
    match code {
        "" => town.until(DELIVERED, 2).await,
        _ => town.until(&format!("SELECT count(*) FROM parked WHERE state = 2 AND code = '{code}'"), 1).await,
    }
    assert!(his.rest().await.is_empty());
    let odd = town
        .texts(
            "SELECT m.message_type FROM tracking t JOIN message m ON m.id = t.message_id WHERE t.kind = 18",
        )
        .await;
    let times = rx.rest().await.len();
    town.stop().await;
    (times, odd)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_refuses_is_not_asked_again_one_that_cannot_now_or_says_nothing_is() {
    let says = |code: &'static str| -> Answering { Arc::new(move |message| vec![ack(message, code)]) };
    assert_eq!(answered(says("AA"), "").await.0, 1);
    assert_eq!(answered(says("AE"), "ack.error").await.0, 1);
    assert_eq!(answered(says("AR"), "send.exhausted").await.0, 3);
    assert_eq!(answered(Arc::new(|_| vec![]), "send.exhausted").await.0, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_a_wrong_msa_2_is_told_and_the_right_one_is_waited_for() {
    let other: Answering = Arc::new(|message| {
        let wrong = ack(message, "AA");
        let wrong = String::from_utf8(wrong).unwrap().replace("MSA|AA|1", "MSA|AA|000009").into_bytes();
        vec![wrong, ack(message, "AA")]
    });
    let (times, odd) = answered(other, "").await;
    assert_eq!((times, odd), (1, vec!["ACK".to_owned()]));
}
