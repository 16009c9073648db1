//! A receiver gets messages as its party's record asks, and the form in which they left is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::town::{Answering, Neighbour, Town, ack, adt};

fn site(outbound: &str) -> String {
    format!(
        "parties:
  reg:
    identify: [{{ sending_app: REG }}]
  his:
    address: {{ app: HUB }}
    outbound: {outbound}
receive_ports:
  in:
    locations:
      mllp:
        adapter: {{ mllp: {{ socket: {{ listen: 127.0.0.1:0 }} }} }}
send_ports:
  out:
    target: {{ mllp: {{ socket: {{ connect: $his }} }} }}
    filter: {{ port.name: in }}
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn version_header_and_asked_acknowledgments_reach_the_receiver_and_the_journey_keeps_both_forms() {
    let his = Neighbour::accepting().await;
    let outbound = "{ version: '2.4', ask: { accept: AL, application: NE }, \
                    header: { MSH-3: 'BTAHL7^IE^UUID', MSH-9: 'ADT^A04' } }";
    let town = Town::start(&site(outbound), &[("his", &his)]).await;
    assert_eq!(town.caller("in/mllp").await.send(&adt("000001", "Doe^Jane")).await, "AA 000001");
    let wanted = adt("000001", "Doe^Jane")
        .replace("|REG|", "|BTAHL7^IE^UUID|")
        .replace("ADT^A03|", "ADT^A04|")
        .replace("|2.3.1\r", "|2.4|||AL|NE\r");
    assert_eq!(his.next_text().await, wanted);
    town.until("SELECT count(*) FROM tracking WHERE kind = 6", 1).await;
    let kept = "SELECT convert_from(m.body, 'UTF8') FROM tracking t JOIN message m ON m.parent = t.message_id AND m.control_id IS NULL AND m.message_type NOT LIKE 'ACK%' WHERE t.kind = 19";
    assert_eq!(town.texts(kept).await, [wanted]);
    let received = "SELECT convert_from(body, 'UTF8') FROM message WHERE control_id = '000001'";
    assert_eq!(town.texts(received).await, [adt("000001", "Doe^Jane")]);
    let report = orderly_engine::audit::verify(town.engine.store().pool()).await.unwrap();
    assert!(report.is_sound(), "{report:?}");
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_reads_its_own_character_set_byte_for_byte() {
    let his = Neighbour::accepting().await;
    let town = Town::start(&site("{ charset: { name: 8859/1 } }"), &[("his", &his)]).await;
    town.caller("in/mllp").await.send(&adt("1", "Müller^Zoë")).await;
    let got = his.next().await;
    assert!(got.windows(10).any(|ten| ten == b"M\xFCller^Zo\xEB"), "{got:?}");
    assert!(got.windows(8).any(|eight| eight == b"||8859/1"), "MSH-18 says so");
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_receiver_cannot_read_is_held_for_a_person_and_no_question_mark_leaves() {
    let his = Neighbour::accepting().await;
    let town = Town::start(&site("{ charset: { name: 8859/1 } }"), &[("his", &his)]).await;
    let mut caller = town.caller("in/mllp").await;
    assert_eq!(caller.send(&adt("1", "\u{5C71}\u{7530}^\u{592A}\u{90CE}")).await, "AA 1");
    town.until("SELECT count(*) FROM parked WHERE state = 2 AND code = 'send.unwritable'", 1).await;
    let reason = town.texts("SELECT reason FROM parked").await.remove(0);
    assert!(reason.starts_with("PID-5 holds a character (U+5C71) that 8859/1"), "{reason}");
    // Others go on.
    caller.send(&adt("2", "Doe^Jane").replace("|7^^^N|", "|8^^^N|")).await;
    assert!(his.next_text().await.contains("Doe^Jane"));
    assert!(his.rest().await.is_empty());
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_above_127_pass_unchanged_where_nothing_is_configured() {
    let his = Neighbour::accepting().await;
    let town = Town::start(&site("{}"), &[("his", &his)]).await;
    let mut caller = town.caller("in/mllp").await;
    // Windows-1252, undeclared, and UTF-8 without a byte-order mark.
    let mut bytes = adt("1", "Doe^Jane").into_bytes();
    let place = bytes.windows(3).position(|three| three == b"Doe").unwrap();
    bytes[place + 1] = 0x93;
    caller.0.write(&bytes).await.unwrap();
    assert_eq!(caller.read().await.text("MSA-1"), "AA");
    assert_eq!(his.next().await, bytes);
    caller.send(&adt("2", "Zoë^\u{5C71}")).await;
    assert_eq!(his.next_text().await, adt("2", "Zoë^\u{5C71}"));
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_between_writing_and_answer_the_same_form_leaves_again() {
    let seen = AtomicUsize::new(0);
    let silent_once: Answering = Arc::new(move |message| match seen.fetch_add(1, Ordering::SeqCst) {
        0 => Vec::new(),
        _ => vec![ack(message, "AA")],
    });
    let his = Neighbour::open(silent_once).await;
    let mut town = Town::start(&site("{ version: '2.4' }"), &[("his", &his)]).await;
    assert_eq!(town.caller("in/mllp").await.send(&adt("1", "Doe^Jane")).await, "AA 1");
    let first = his.next_text().await;
    town.kill_and_restart().await;
    assert_eq!(his.next_text().await, first);
    assert!(first.contains("|2.4\r"));
    town.until("SELECT count(*) FROM tracking WHERE kind = 6", 1).await;
    town.stop().await;
}
