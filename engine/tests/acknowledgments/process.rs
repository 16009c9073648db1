//! Accept and application acknowledgments as exchanges of their own (scenarios S7, S8).

use crate::town::{Answering, LISTEN, Neighbour, Town, ack, adt};
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread")]
async fn the_application_acknowledgment_repeats_the_software_of_the_sender_where_it_shall() {
    for (echo, wanted) in [(true, "Maker"), (false, "")] {
        let his = Neighbour::accepting().await;
        let site = format!(
            "parties:
  adt:
    identify: [{{ sending_app: ADT }}]
    inbound: {{ acknowledgment: {{ echo_software: {echo} }} }}
receive_ports:
  in:
    locations:
      mllp:
        {LISTEN}
send_ports:
  out:
    target: {{ mllp: {{ socket: {{ connect: $his }} }} }}
    filter: {{ hl7.type: ADT }}
"
        );
        let town = Town::start(&site, &[("his", &his)]).await;
        let message = "MSH|^~\\&|ADT|N|HUB|N|20260301||ADT^A01^ADT_A01|S7|P|2.5|||AL|AL\r\
                       SFT|Maker|1.0|Registration|b7\rEVN||20260301\rPID|1||7^^^N||Doe^Jane\rPV1|1|O\r";
        let answers = town.caller("in/mllp").await.ask(message, 2).await;
        let told = |index: usize| (answers[index].text("MSA-1"), answers[index].text("SFT-1"));
        assert_eq!(told(0), ("CA".into(), String::new()));
        assert_eq!(told(1), ("AA".into(), wanted.into()));
        assert!(his.next_text().await.contains("SFT|Maker|"), "the message itself keeps it");
        town.stop().await;
    }
}

const PROCESS: &str = "parties:
  lis:
    identify: [{ sending_app: LIS }]
    inbound: { acknowledgment: { of_acks: true } }
    outbound: { ask: { accept: AL, application: AL } }
receive_ports:
  in:
    locations:
      mllp:
        adapter: { mllp: { socket: { listen: 127.0.0.1:0 } } }
  later:
    locations:
      mllp:
        adapter: { mllp: { socket: { listen: 127.0.0.1:0 } } }
send_ports:
  lis:
    party: lis
    target: { mllp: { socket: { connect: $lis } } }
    filter: { port.name: in, hl7.type: ADT }
    ack: { expect: application, accept_from: [same_connection, any_receive_port] }
";

fn stored() -> Answering {
    Arc::new(|message| vec![ack(message, "CA")])
}

fn handled(id: &str, code: &str) -> String {
    format!("MSH|^~\\&|LIS|N|HUB|N|20260301||ACK^A03^ACK|L{id}|P|2.3.1|||AL|NE\rMSA|{code}|{id}\r")
}

/// AA to the sender, asked for both, CA, AA on another connection, CA to that: all on one journey, closed once.
async fn run(kill: bool) {
    let lis = Neighbour::open(stored()).await;
    let mut town = Town::start(PROCESS, &[("lis", &lis)]).await;
    assert_eq!(town.caller("in/mllp").await.send(&adt("1", "Doe^Jane")).await, "AA 1");
    let asked = lis.next_message().await;
    assert_eq!(
        (asked.text("MSH-15"), asked.text("MSH-16"), asked.text("MSH-10")),
        ("AL".into(), "AL".into(), "1".into())
    );
    if kill {
        town.kill_and_restart().await;
        assert_eq!(lis.next_message().await.bytes(), asked.bytes(), "what is open is asked again");
    }
    assert_eq!(
        town.count("SELECT count(*) FROM tracking WHERE kind = 6").await,
        0,
        "CA promises storage, no more"
    );
    let mut back = town.caller("later/mllp").await;
    // The receiver may be faster than our wait for it.
    let answer = back.ask(&handled("1", "AA"), 1).await.remove(0);
    assert_eq!((answer.text("MSA-1"), answer.text("MSA-2")), ("CA".into(), "L1".into()));
    town.until("SELECT count(*) FROM tracking WHERE kind = 6", 1).await;

    let journey = "SELECT convert_from(a.body, 'UTF8') FROM message a JOIN message m ON m.id = a.parent
                    WHERE m.control_id = '1' AND m.message_type LIKE 'ADT%' ORDER BY a.id";
    let texts = town.texts(journey).await;
    let has = |part: &str| texts.iter().filter(|text| text.contains(part)).count();
    assert_eq!((has("MSA|CA|1"), has("MSA|AA|1"), has("|AL|AL\r")), (1, 1, 1), "{texts:?}");
    // The same acknowledgment again closes nothing: it is answered as before.
    assert_eq!(back.send(&handled("1", "AA")).await, "CA L1");
    assert_eq!(town.count("SELECT count(*) FROM tracking WHERE kind = 6").await, 1);
    assert_eq!(town.count("SELECT count(*) FROM parked").await, 0);
    assert!(orderly_engine::audit::verify(town.engine.store().pool()).await.unwrap().is_sound());
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_messages_of_one_exchange_stand_on_one_journey_and_it_closes_once() {
    run(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_that_a_kill_cut_in_two_is_asked_again_and_closes_once() {
    run(true).await;
}

/// The laboratory says CA, then AA on the same connection, and wants to know that this one is stored.
fn both_at_once() -> Answering {
    Arc::new(|message| match message.head().message_type.as_str() {
        "ACK" => Vec::new(),
        _ => vec![ack(message, "CA"), handled(&message.head().control_id, "AA").into_bytes()],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgment_on_the_connection_of_the_message_gets_its_commit_on_it() {
    let lis = Neighbour::open(both_at_once()).await;
    let mut town = Town::start(PROCESS, &[("lis", &lis)]).await;
    assert_eq!(town.caller("in/mllp").await.send(&adt("1", "Doe^Jane")).await, "AA 1");
    let asked = lis.next_message().await;
    assert_eq!(asked.text("MSH-10"), "1");
    let commit = lis.next_message().await;
    assert_eq!((commit.text("MSA-1"), commit.text("MSA-2")), ("CA".into(), "L1".into()));
    town.until("SELECT count(*) FROM tracking WHERE kind = 6", 1).await;
    let journey = "SELECT convert_from(a.body, 'UTF8') FROM message a JOIN message m ON m.id = a.parent
                    WHERE m.control_id = '1' AND m.message_type LIKE 'ADT%' ORDER BY a.id";
    let texts = town.texts(journey).await;
    let has = |part: &str| texts.iter().filter(|text| text.contains(part)).count();
    assert_eq!((has("MSA|CA|1"), has("MSA|AA|1"), has("|AL|AL\r")), (1, 1, 1), "{texts:?}");
    assert_eq!(texts.len(), 3, "each once: {texts:?}");
    // What was sent and confirmed before the end of a node is not sent again.
    town.kill_and_restart().await;
    assert_eq!(town.caller("in/mllp").await.send(&adt("2", "Doe^Jane")).await, "AA 2");
    assert_eq!(lis.next_message().await.text("MSH-10"), "2");
    assert_eq!(lis.next_message().await.text("MSA-2"), "L2");
    town.until("SELECT count(*) FROM tracking WHERE kind = 6", 2).await;
    assert_eq!(town.count("SELECT count(*) FROM parked").await, 0);
    assert!(orderly_engine::audit::verify(town.engine.store().pool()).await.unwrap().is_sound());
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_acknowledgment_on_the_connection_reads_the_first_commit_again() {
    let twice: Answering = Arc::new(|message| match message.head().message_type.as_str() {
        "ACK" => Vec::new(),
        _ => {
            let id = &message.head().control_id;
            vec![ack(message, "CA"), handled(id, "AA").into_bytes(), handled(id, "AA").into_bytes()]
        }
    });
    let lis = Neighbour::open(twice).await;
    let town = Town::start(PROCESS, &[("lis", &lis)]).await;
    let mut caller = town.caller("in/mllp").await;
    caller.send(&adt("1", "Doe^Jane")).await;
    lis.next().await;
    let first = lis.next_message().await;
    assert_eq!(first.text("MSA-2"), "L1");
    // The second one is read before the next message goes out.
    town.until("SELECT count(*) FROM tracking WHERE kind = 6", 1).await;
    caller.send(&adt("2", "Doe^Jane")).await;
    let mut commits = Vec::new();
    while commits.len() < 2 {
        let message = lis.next_message().await;
        match message.head().message_type.as_str() {
            "ACK" => commits.push(message),
            _ => assert_eq!(message.text("MSH-10"), "2"),
        }
    }
    assert_eq!(commits[0].bytes(), first.bytes());
    assert_eq!(commits[1].text("MSA-2"), "L2");
    assert_eq!(town.count("SELECT count(*) FROM message WHERE control_id = 'L1'").await, 1);
    // Told of as double.
    town.until("SELECT count(*) FROM tracking WHERE kind = 18", 1).await;
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_refuses_later_suspends_the_delivery() {
    let lis = Neighbour::open(stored()).await;
    let town = Town::start(PROCESS, &[("lis", &lis)]).await;
    town.caller("in/mllp").await.send(&adt("1", "Doe^Jane")).await;
    lis.next().await;
    assert_eq!(town.caller("later/mllp").await.send(&handled("1", "AE")).await, "CA L1");
    town.until("SELECT count(*) FROM parked WHERE state = 2 AND code = 'ack.error'", 1).await;
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_acknowledgment_that_comes_to_another_node_settles_the_delivery_at_once() {
    let lis = Neighbour::open(stored()).await;
    let one_lane = PROCESS.replace("    ack:", "    order: strict\n    ack:");
    let first = Town::start(&one_lane, &[("lis", &lis)]).await;
    let second = first.beside().await;
    first.until("SELECT count(*) FROM node WHERE expires_at > now()", 2).await;
    assert_eq!(first.caller("in/mllp").await.send(&adt("1", "Doe^Jane")).await, "AA 1");
    lis.next_message().await;
    let owner =
        "SELECT node::bigint FROM lane l JOIN subscriber s ON s.id = l.subscriber WHERE s.name = 'lis'";
    let owner = first.count(owner).await;
    let other = if owner == i64::from(first.engine.store().slot()) { &second } else { &first };
    assert_eq!(other.caller("later/mllp").await.send(&handled("1", "AA")).await, "CA L1");
    // The application may take its ten minutes; only the other node's word ends the wait earlier.
    first.until("SELECT count(*) FROM tracking WHERE kind = 6", 1).await;
    assert!(lis.rest().await.is_empty(), "it was sent once");
    assert_eq!(first.count("SELECT count(*) FROM tracking WHERE kind = 18").await, 0, "it was waited for");
    assert_eq!(first.count("SELECT count(*) FROM parked").await, 0);
    second.stop().await;
    first.stop().await;
}
