//! An application acknowledgment that takes another way than the connection the message came by.

use crate::town::{LISTEN, Neighbour, Town, adt};
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread")]
async fn the_application_acknowledgment_takes_the_send_port_of_the_senders_record() {
    let (his, desk) = (Neighbour::accepting().await, Neighbour::open(Arc::new(|_| vec![])).await);
    let site = format!(
        "parties:
  reg:
    identify: [{{ sending_app: REG }}]
    inbound: {{ acknowledgment: {{ mode: enhanced, application_when: AL, route: {{ port: desk }} }} }}
receive_ports:
  in:
    locations:
      mllp:
        {LISTEN}
send_ports:
  out:
    target: {{ mllp: {{ socket: {{ connect: $his }} }} }}
    filter: {{ port.name: in }}
  desk:
    target: {{ mllp: {{ socket: {{ connect: $desk }} }} }}
    ack: {{ expect: none }}
"
    );
    let mut town = Town::start(&site, &[("his", &his), ("desk", &desk)]).await;
    let mut caller = town.caller("in/mllp").await;
    assert_eq!(caller.send(&adt("1", "Doe^Jane")).await, "CA 1");
    let later = desk.next_message().await;
    assert_eq!(
        (later.text("MSA-1"), later.text("MSA-2"), later.text("MSH-5")),
        ("AA".into(), "1".into(), "REG".into())
    );
    // Nothing more on the connection, and after a kill nothing twice from a message that is done.
    assert_eq!(caller.send(&adt("2", "Doe^Jane")).await, "CA 2");
    assert_eq!(desk.next_message().await.text("MSA-2"), "2");
    town.until("SELECT count(*) FROM tracking WHERE kind = 6", 4).await;
    town.kill_and_restart().await;
    assert_eq!(town.caller("in/mllp").await.send(&adt("3", "Doe^Jane")).await, "CA 3");
    assert_eq!(desk.next_message().await.text("MSA-2"), "3");
    assert!(desk.rest().await.is_empty());
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_receiver_decides_its_acknowledgment_is_routed_back_to_the_sender() {
    let (his, desk) = (Neighbour::accepting().await, Neighbour::open(Arc::new(|_| vec![])).await);
    let site = format!(
        "parties:
  reg:
    identify: [{{ sending_app: REG }}]
    inbound: {{ acknowledgment: {{ mode: application }} }}
receive_ports:
  in:
    locations:
      mllp:
        {LISTEN}
send_ports:
  out:
    target: {{ mllp: {{ socket: {{ connect: $his }} }} }}
    filter: {{ port.name: in }}
    ack: {{ publish: true }}
  desk:
    target: {{ mllp: {{ socket: {{ connect: $desk }} }} }}
    filter: {{ port.name: out, ack.code: {{ present: true }} }}
    ack: {{ expect: none }}
"
    );
    let town = Town::start(&site, &[("his", &his), ("desk", &desk)]).await;
    let mut caller = town.caller("in/mllp").await;
    let asks = adt("1", "Doe^Jane").replace("|2.3.1\r", "|2.3.1|||AL|AL\r");
    assert_eq!(caller.send(&asks).await, "CA 1", "only that it is stored");
    let later = desk.next_message().await;
    assert_eq!(
        (later.text("MSA-1"), later.text("MSA-2"), later.text("MSH-3")),
        ("AA".into(), "1".into(), "R".into())
    );
    assert_eq!(caller.send(&asks.replace("|1|P", "|2|P")).await, "CA 2");
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fixed_text_answers_where_a_party_wants_no_hl7() {
    let his = Neighbour::accepting().await;
    let site = format!(
        "parties:
  reg:
    identify: [{{ sending_app: REG }}]
    inbound: {{ acknowledgment: {{ mode: static, static_text: {{ success: taken, failure: refused }} }} }}
receive_ports:
  in:
    locations:
      mllp:
        {LISTEN}
send_ports:
  out:
    target: {{ mllp: {{ socket: {{ connect: $his }} }} }}
    filter: {{ port.name: in }}
"
    );
    let town = Town::start(&site, &[("his", &his)]).await;
    let mut caller = town.caller("in/mllp").await;
    for (message, wanted) in
        [(adt("1", "Doe^Jane"), "taken"), (adt("2", "X").replace("PV1|1|O\r", ""), "refused")]
    {
        caller.write(&message).await;
        let until = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
        assert_eq!(caller.0.read(until).await.unwrap(), wanted.as_bytes());
    }
    town.until("SELECT count(*) FROM parked WHERE code = 'refused'", 1).await;
    town.stop().await;
}
