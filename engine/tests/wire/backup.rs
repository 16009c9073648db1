//! The second way out of a send port: when it is taken, and when its use ends.

use crate::support::{Receiver, Script, Site, adt};
use orderly_engine::access;
use orderly_engine::configuration::{Backup, Breaker, Retry};
use orderly_engine::operate;
use orderly_engine::parked::Acted;
use std::time::Duration;

/// Two attempts at the first receiver, a few milliseconds apart.
fn twice() -> Retry {
    Retry { times: Some(1), wait: Duration::from_millis(5), ..Retry::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_receiver_does_not_take_goes_to_the_backup_in_order_until_it_is_back() {
    let other = Receiver::start(Script::Answer("AA")).await;
    let target = other.target();
    let site = Site::start(Script::Down, |site| {
        site.port(|port| {
            port.backup = Some(Backup { target, after: twice(), retry: Retry::default(), by_hand: false })
        });
    })
    .await;
    let mut sender = site.sender().await;
    let messages: Vec<String> = (1..=3).map(|number| adt(&number.to_string(), "P1")).collect();
    for message in &messages {
        sender.send(message).await;
    }
    for message in &messages {
        assert_eq!(&other.next().await, message);
    }
    site.until("SELECT count(*) FROM tracking WHERE kind = 6", 3).await;
    site.until("SELECT count(*) FROM parked", 0).await;
    site.receiver.come_up().await;
    sender.send(&adt("4", "P1")).await;
    assert_eq!(site.receiver.next().await, adt("4", "P1"), "nothing waits: the first way is tried again");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_whose_backup_takes_its_messages_is_not_told_as_down() {
    let other = Receiver::start(Script::Answer("AA")).await;
    let target = other.target();
    let site = Site::start(Script::Down, |site| {
        site.port(|port| {
            port.breaker = Breaker { failures: 2, ..Breaker::default() };
            port.backup = Some(Backup { target, after: twice(), retry: Retry::default(), by_hand: false })
        });
    })
    .await;
    site.sender().await.send(&adt("1", "P1")).await;
    assert_eq!(other.next().await, adt("1", "P1"));
    site.until("SELECT count(*) FROM tracking WHERE kind = 6", 1).await;
    site.outside.ports.look().await.unwrap();
    site.until("SELECT count(*) FROM port_trouble WHERE kind = 'send_port' AND state = 'backup'", 1).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_returns_by_hand_keeps_the_port_until_an_operator_says_so() {
    let other = Receiver::start(Script::Answer("AA")).await;
    let target = other.target();
    let site = Site::start(Script::Down, |site| {
        site.port(|port| {
            port.backup = Some(Backup { target, after: twice(), retry: Retry::default(), by_hand: true });
        });
    })
    .await;
    let mut sender = site.sender().await;
    sender.send(&adt("1", "P1")).await;
    assert_eq!(other.next().await, adt("1", "P1"));
    site.until("SELECT count(*) FROM port_on_backup", 1).await;
    site.receiver.come_up().await;
    site.until("SELECT count(*) FROM parked", 0).await;
    for (number, patient) in [("2", "P1"), ("3", "P2")] {
        sender.send(&adt(number, patient)).await;
        assert_eq!(
            other.next().await,
            adt(number, patient),
            "the first receiver is back, but nobody said so"
        );
    }

    let store = site.engine.store();
    let who = access::Entry {
        person: "op",
        session: None,
        address: "test",
        action: "port.returned",
        object_kind: "port",
        object: "out",
        reason: "the laboratory is back",
        result: "done",
        at: store.clock().now(),
    };
    let acted = operate::backup::return_to_first_way(store, "out", 1, who).await;
    assert_eq!(acted.unwrap(), Acted::Done);
    let again = operate::backup::return_to_first_way(store, "out", 1, who).await;
    assert_eq!(again.unwrap(), Acted::Changed, "there is nothing to return from");
    site.outside.ports.look().await.unwrap();
    sender.send(&adt("4", "P1")).await;
    assert_eq!(site.receiver.next().await, adt("4", "P1"));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_backup_does_not_take_it_either_a_person_decides() {
    let other = Receiver::start(Script::Down).await;
    let target = other.target();
    let site = Site::start(Script::Down, |site| {
        site.port(|port| {
            port.backup = Some(Backup { target, after: twice(), retry: twice(), by_hand: false })
        });
    })
    .await;
    site.sender().await.send(&adt("1", "P1")).await;
    site.until("SELECT count(*) FROM parked WHERE state = 2 AND code = 'send.exhausted'", 1).await;
    assert_eq!(site.count("SELECT attempt::bigint FROM parked").await, 4);
    site.stop().await;
}
