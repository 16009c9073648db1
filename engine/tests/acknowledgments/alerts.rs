//! Operators hear of refusing receivers, of control ids used twice and of a touched record; in one mail, and not while
//! they asked for silence.

use orderly_engine::alert::Watch;

use crate::town::{Neighbour, Town, ack, adt};
use std::sync::Arc;

fn site(alerts: &str) -> String {
    format!(
        "teams:
  desk: {{ title: Desk, roles: [], email: desk@n.example }}
alerts:
  team: desk
{alerts}receive_ports:
  in:
    locations:
      mllp:
        adapter: {{ mllp: {{ socket: {{ listen: 127.0.0.1:0 }} }} }}
send_ports:
  out:
    target: {{ mllp: {{ socket: {{ connect: $his }} }} }}
    filter: {{ hl7.type: ADT }}
    order: none
"
    )
}

fn watch(town: &Town) -> Watch {
    Watch::new(town.engine.store().clone(), town.engine.running().clone(), None)
}

const OPEN: &str = "SELECT rule || ' ' || object FROM alert WHERE closed_at IS NULL ORDER BY 1";

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_refuses_more_than_usual_is_told_of() {
    let his = Neighbour::open(Arc::new(|message| vec![ack(message, "AE")])).await;
    let rules = "  group_for: 0s\n  rules:\n    \
                 negative: { when: { negative_ack_rate: { over_percent: 50, least: 3 } } }\n    \
                 piled: { when: { suspended: { over: 2 } } }\n";
    let town = Town::start(&site(rules), &[("his", &his)]).await;
    let mut caller = town.caller("in/mllp").await;
    for number in ["1", "2", "3"] {
        caller.send(&adt(number, "Doe^Jane")).await;
    }
    town.until("SELECT count(*) FROM parked WHERE state = 2", 3).await;
    drop(caller);
    // The rates are written when the ports close, otherwise once a minute.
    town.outside.ports.close().await;
    watch(&town).look().await.unwrap();
    let open = town.texts(OPEN).await;
    assert!(open.contains(&"negative out".to_owned()) && open.contains(&"piled out".to_owned()), "{open:?}");
    assert!(
        town.texts("SELECT text FROM alert")
            .await
            .contains(&"3 of the last 3 answers refused the message".to_owned())
    );
    town.engine.abandon();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_id_with_other_bytes_is_told_of_although_the_message_is_taken() {
    let his = Neighbour::accepting().await;
    let rules = "  group_for: 0s\n  rules:\n    twice: { when: duplicate_with_other_content, ports: [in] }\n";
    let town = Town::start(&site(rules), &[("his", &his)]).await;
    let mut caller = town.caller("in/mllp").await;
    caller.send(&adt("1", "Doe^Jane")).await;
    caller.send(&adt("1", "Doe^Jane")).await;
    watch(&town).look().await.unwrap();
    assert_eq!(town.count("SELECT count(*) FROM alert").await, 0, "the same bytes are an ordinary repeat");
    assert_eq!(caller.send(&adt("1", "Roe^Richard")).await, "AA 1");
    town.until("SELECT coalesce(sum(other_content), 0)::bigint FROM port_minute", 1).await;
    watch(&town).look().await.unwrap();
    assert_eq!(town.texts(OPEN).await, ["twice in/mllp"]);
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_that_open_close_together_leave_in_one_mail() {
    let his = Neighbour::open(Arc::new(|message| vec![ack(message, "AE")])).await;
    let rules = "  group_for: 30s\n  rules:\n    piled: { when: { suspended: { over: 0 } } }\n    \
                 new: { when: new_suspended_cause, severity: critical }\n";
    let town = Town::start(&site(rules), &[("his", &his)]).await;
    town.caller("in/mllp").await.send(&adt("1", "Doe^Jane")).await;
    town.until("SELECT count(*) FROM parked WHERE state = 2", 1).await;
    let mut watch = watch(&town);
    watch.look().await.unwrap();
    assert_eq!(town.texts(OPEN).await, ["new out: ack.error", "piled out"]);
    assert_eq!(town.count("SELECT count(*) FROM outgoing_mail").await, 0, "more may follow");
    town.run("UPDATE alert SET opened_at = opened_at - interval '31 seconds'").await;
    watch.look().await.unwrap();
    watch.look().await.unwrap();
    let subjects = town.texts("SELECT subject FROM outgoing_mail").await;
    assert_eq!(subjects.len(), 1, "{subjects:?}");
    assert!(subjects[0].starts_with("CRITICAL 2 alerts"), "{subjects:?}");
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_silence_holds_the_mail_back_until_it_ends() {
    let his = Neighbour::open(Arc::new(|message| vec![ack(message, "AE")])).await;
    let (from, until) =
        (chrono::Utc::now() - chrono::TimeDelta::hours(1), chrono::Utc::now() + chrono::TimeDelta::hours(1));
    let rules = format!(
        "  group_for: 0s\n  rules:\n    piled: {{ when: {{ suspended: {{ over: 0 }} }} }}\n    \
         new: {{ when: new_suspended_cause }}\n  \
         mutes:\n    upgrade: {{ ports: [out], rules: [piled], reason: new release, from: '{}', until: '{}' }}\n",
        from.to_rfc3339(),
        until.to_rfc3339()
    );
    let town = Town::start(&site(&rules), &[("his", &his)]).await;
    town.caller("in/mllp").await.send(&adt("1", "Doe^Jane")).await;
    town.until("SELECT count(*) FROM parked WHERE state = 2", 1).await;
    watch(&town).look().await.unwrap();
    assert_eq!(town.texts(OPEN).await, ["new out: ack.error", "piled out"], "the console shows both");
    let subjects = town.texts("SELECT subject FROM outgoing_mail").await;
    assert_eq!(subjects, ["ALERT new: out: ack.error"]);
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_touched_record_is_found_while_the_server_runs() {
    let his = Neighbour::accepting().await;
    let town = Town::start(&site("  group_for: 0s\n"), &[("his", &his)]).await;
    town.caller("in/mllp").await.send(&adt("1", "Doe^Jane")).await;
    town.until("SELECT count(*) FROM tracking WHERE kind = 6", 1).await;
    let mut watch = watch(&town);
    for _ in 0..12 {
        watch.look().await.unwrap();
    }
    assert_eq!(town.count("SELECT count(*) FROM alert").await, 0);
    town.run("UPDATE tracking SET subscriber = 99 WHERE kind = 6").await;
    let mut looks = 0;
    while town.count("SELECT count(*) FROM alert WHERE rule = 'audit-chain-broken'").await == 0 {
        watch.look().await.unwrap();
        looks += 1;
        assert!(looks < 200, "the patrol comes round");
    }
    town.engine.abandon();
}
