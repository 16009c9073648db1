//! Which retention class a message falls into, and that what belongs to it goes with it.

use crate::town::{LISTEN, Neighbour, Town, adt};

fn site() -> String {
    format!(
        "parties:
  psychiatry:
    identify: [{{ sending_app: PSY }}]
    retention: short
receive_ports:
  in:
    locations:
      main:
        {LISTEN}
send_ports:
  out:
    target: {{ mllp: {{ socket: {{ connect: $his }} }} }}
    filter: {{ port.name: in }}
retention:
  default: clinical
  classes:
    clinical: {{ bodies: 1y }}
    routine: {{ bodies: 90d, filter: {{ hl7.type: ADT, hl7.event: [A04, A08] }} }}
    longer: {{ bodies: 180d, filter: {{ hl7.event: A08 }} }}
    short: {{ bodies: 30d }}
"
    )
}

/// The class in which the message with this control id is stored; its partition says so too.
async fn class_of(town: &Town, control_id: &str) -> i64 {
    let number =
        town.count(&format!("SELECT retention::bigint FROM message WHERE control_id = '{control_id}'")).await;
    let partition = format!(
        "SELECT count(*) FROM message WHERE control_id = '{control_id}' AND tableoid::regclass::text ~ '^message_{number}_'"
    );
    assert_eq!(town.count(&partition).await, 1, "{control_id} is in a partition of its class");
    number
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_takes_the_class_of_its_sender_else_of_the_longest_filter_else_the_default() {
    let his = Neighbour::accepting().await;
    let town = Town::start(&site(), &[("his", &his)]).await;
    let mut caller = town.caller("in/main").await;
    let of = |id: &str, app: &str, event: &str| {
        adt(id, "Doe^Jane").replace("|REG|", &format!("|{app}|")).replace("ADT^A03", &format!("ADT^{event}"))
    };
    for message in
        [of("1", "REG", "A03"), of("2", "REG", "A04"), of("3", "REG", "A08"), of("4", "PSY", "A04")]
    {
        assert!(caller.send(&message).await.starts_with("AA"));
    }
    let number = async |name: &str| {
        town.count(&format!("SELECT number::bigint FROM retention_class WHERE name = '{name}'")).await
    };
    assert_eq!(class_of(&town, "1").await, 0, "the default");
    assert_eq!(class_of(&town, "2").await, number("routine").await);
    assert_eq!(class_of(&town, "3").await, number("longer").await, "two filters take it: the longer class");
    assert_eq!(
        class_of(&town, "4").await,
        number("short").await,
        "the sender says so, whatever a filter says"
    );
    town.stop().await;
}
