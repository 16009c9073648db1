//! The sequence number protocol where we are the sender: MSH-13 out, MSA-4 back, across a kill.

use crate::town::{LISTEN, Neighbour, Town, adt};
use orderly_hl7::Message;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

fn site(order: &str) -> String {
    format!(
        "parties:
  lis:
    outbound: {{ sequence: number }}
receive_ports:
  in:
    locations:
      mllp:
        {LISTEN}
send_ports:
  lis:
    party: lis
    target: {{ mllp: {{ socket: {{ connect: $lis }} }} }}
    filter: {{ port.name: in }}
    order: {order}
    retry: {{ wait: 10ms }}
    ack: {{ within: 2s }}
"
    )
}

fn told(message: &Message, code: &str, number: i64) -> Vec<u8> {
    let id = &message.head().control_id;
    format!("MSH|^~\\&|R|R|||20260301||ACK|A{id}|P|2.5.1\rMSA|{code}|{id}||{number}\r").into_bytes()
}

fn number_of(message: &Message) -> i64 {
    message.text("MSH-13").parse().unwrap()
}

/// A receiver that holds to the protocol: `last` is what it accepted last, `forgets` how many answers are lost first.
async fn strict(last: Arc<AtomicI64>, forgets: usize) -> Neighbour {
    let lost = AtomicUsize::new(0);
    Neighbour::open(Arc::new(move |message| {
        let (number, known) = (number_of(message), last.load(Ordering::SeqCst));
        if number == 0 {
            return vec![told(message, "AA", if known == 0 { -1 } else { known + 1 })];
        }
        let answer = match number {
            number if known == 0 || number == known + 1 => {
                last.store(number, Ordering::SeqCst);
                told(message, "AA", number)
            }
            number if number == known => told(message, "AA", known + 1),
            _ => told(message, "AE", known + 1),
        };
        match lost.fetch_add(1, Ordering::SeqCst) < forgets {
            true => vec![],
            false => vec![answer],
        }
    }))
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_numbered_from_one_and_keep_their_number_when_an_answer_is_lost_or_the_node_ends() {
    let last = Arc::new(AtomicI64::new(0));
    let lis = strict(last.clone(), 1).await;
    let mut town = Town::start(&site("strict"), &[("lis", &lis)]).await;
    let mut caller = town.caller("in/mllp").await;
    assert_eq!(caller.send(&adt("1", "Doe^Jane")).await, "AA 1");
    // Its answer is lost with the node.
    let first = lis.next_message().await;
    assert_eq!((first.text("MSH-10"), number_of(&first)), ("1".into(), 1));
    town.kill_and_restart().await;
    let again = lis.next_message().await;
    assert_eq!(again.bytes(), first.bytes(), "the same message keeps its number");
    let mut caller = town.caller("in/mllp").await;
    for id in ["2", "3"] {
        caller.send(&adt(id, "Doe^Jane")).await;
        let message = lis.next_message().await;
        assert_eq!((message.text("MSH-10"), number_of(&message)), (id.to_owned(), id.parse().unwrap()));
    }
    town.until("SELECT count(*) FROM tracking WHERE kind = 6", 3).await;
    assert_eq!(last.load(Ordering::SeqCst), 3);
    assert_eq!(town.count("SELECT count(*) FROM parked").await, 0);
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_counts_differently_is_frozen_until_somebody_starts_the_port() {
    let last = Arc::new(AtomicI64::new(40));
    let lis = strict(last.clone(), 0).await;
    let town = Town::start(&site("strict"), &[("lis", &lis)]).await;
    let mut caller = town.caller("in/mllp").await;
    caller.send(&adt("1", "Doe^Jane")).await;
    assert_eq!(number_of(&lis.next_message().await), 1);
    town.until("SELECT count(*) FROM port_state WHERE name = 'lis' AND state = 'on_hold'", 1).await;
    town.until("SELECT count(*) FROM parked WHERE code = 'sequence.frozen' AND reason LIKE '%number 41%'", 1)
        .await;
    town.run("UPDATE port_state SET state = 'running' WHERE name = 'lis'").await;
    town.outside.ports.look().await.unwrap();
    let start = lis.next_message().await;
    assert_eq!((number_of(&start), start.segment_count()), (0, 1), "the link is started anew");
    let message = lis.next_message().await;
    assert_eq!((message.text("MSH-10"), number_of(&message)), ("1".into(), 41));
    caller.send(&adt("2", "Doe^Jane")).await;
    assert_eq!(number_of(&lis.next_message().await), 42);
    town.until("SELECT count(*) FROM tracking WHERE kind = 6", 2).await;
    assert_eq!(town.count("SELECT count(*) FROM parked").await, 0);
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_the_receiver_refused_leaves_its_number_to_the_next() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let lis = Neighbour::open(Arc::new(move |message| {
        log.lock().unwrap().push((message.text("MSH-10"), number_of(message)));
        let code = if message.text("MSH-10") == "2" { "AE" } else { "AA" };
        vec![told(message, code, number_of(message))]
    }))
    .await;
    let town = Town::start(&site("{ strict: { on_failure: skip } }"), &[("lis", &lis)]).await;
    let mut caller = town.caller("in/mllp").await;
    for id in ["1", "2", "3"] {
        caller.send(&adt(id, "Doe^Jane")).await;
        lis.next().await;
    }
    town.until("SELECT count(*) FROM tracking WHERE kind = 6", 2).await;
    let wanted: Vec<(String, i64)> = vec![("1".into(), 1), ("2".into(), 2), ("3".into(), 2)];
    assert_eq!(*seen.lock().unwrap(), wanted);
    assert_eq!(town.texts("SELECT code FROM parked").await, ["ack.error"]);
    town.stop().await;
}
