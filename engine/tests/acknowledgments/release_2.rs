//! MLLP release 2: the transport says itself whether a block is stored.

use crate::town::{LISTEN, Neighbour, Town, ack, adt};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_reads_the_commit_before_the_acknowledgment_and_a_receiver_is_waited_for() {
    let seen = AtomicUsize::new(0);
    // It cannot store the first block; then it commits, answers, and is confirmed itself.
    let his = Neighbour::open(Arc::new(move |message| match seen.fetch_add(1, Ordering::SeqCst) {
        0 => vec![vec![0x15]],
        _ => vec![vec![0x06], ack(message, "AA")],
    }))
    .await;
    let site = format!(
        "receive_ports:
  in:
    locations:
      mllp:
        {}
send_ports:
  out:
    target: {{ mllp: {{ socket: {{ connect: $his }}, framing: {{ commit_bytes: true }} }} }}
    filter: {{ hl7.type: ADT }}
",
        LISTEN.replace("} } }", "}, framing: { commit_bytes: true } } }")
    );
    let town = Town::start(&site, &[("his", &his)]).await;
    let mut caller = town.caller("in/mllp").await;
    caller.write(&adt("1", "Doe^Jane")).await;
    let until = Instant::now() + Duration::from_secs(20);
    assert_eq!(caller.0.read(until).await.unwrap(), [0x06]);
    assert_eq!(caller.read().await.text("MSA-1"), "AA");
    caller.0.write(&[0x06]).await.unwrap();
    assert_eq!(his.next_text().await, adt("1", "Doe^Jane"));
    assert_eq!(his.next_text().await, adt("1", "Doe^Jane"), "what was not stored is written again");
    assert_eq!(his.next().await, [0x06], "its acknowledgment is confirmed");
    town.until("SELECT count(*) FROM tracking WHERE kind = 6", 1).await;
    assert_eq!(
        town.count("SELECT count(*) FROM message WHERE message_type = '?'").await,
        0,
        "a commit is no message"
    );
    town.stop().await;
}
