//! What leaves is checked as the record of its receiver asks: held for a person, or told on its journey.

use crate::town::{LISTEN, Neighbour, Town, adt};

const WARD: &str = "profile: ward
places:
  PID-8: required
";

fn site(outbound: &str) -> String {
    format!(
        "parties:
  ward:
    outbound: {outbound}
receive_ports:
  in:
    locations:
      mllp:
        {LISTEN}
send_ports:
  ward:
    party: ward
    target: {{ mllp: {{ socket: {{ connect: $ward }} }} }}
    filter: {{ port.name: in }}
"
    )
}

async fn town(outbound: &str) -> (Town, Neighbour) {
    let ward = Neighbour::accepting().await;
    let files = [("rules/profiles/ward.yaml", WARD)];
    let town = Town::start_with(&site(outbound), &files, &[("ward", &ward)], |_| {}).await;
    (town, ward)
}

fn complete(id: &str) -> String {
    adt(id, "Doe^Jane").replace("||Doe^Jane\r", "||Doe^Jane|||F\r")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_receivers_profile_refuses_waits_for_a_person_and_others_go_on() {
    let (town, ward) = town("{ profile: ward }").await;
    let mut caller = town.caller("in/mllp").await;
    assert_eq!(caller.send(&adt("1", "Doe^Jane")).await, "AA 1", "its sender did nothing wrong");
    town.until("SELECT count(*) FROM parked WHERE state = 2 AND code = 'send.invalid'", 1).await;
    let reason = town.texts("SELECT reason FROM parked").await.remove(0);
    assert!(reason.starts_with("PID-8: ") && !reason.contains("Doe"), "{reason}");
    assert_eq!(caller.send(&complete("2").replace("|7^^^N|", "|8^^^N|")).await, "AA 2");
    assert_eq!(ward.next_message().await.text("MSH-10"), "2");
    assert!(ward.rest().await.is_empty());
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn findings_that_are_warnings_for_the_receiver_are_told_and_hold_nothing_back() {
    let (town, ward) = town("{ profile: ward, validation: { findings: { profile: warn } } }").await;
    town.caller("in/mllp").await.send(&adt("1", "Doe^Jane")).await;
    assert_eq!(ward.next_text().await, adt("1", "Doe^Jane"));
    town.until("SELECT count(*) FROM tracking WHERE kind = 19", 1).await;
    let messages = "SELECT count(*) FROM message WHERE message_type LIKE 'ADT%'";
    assert_eq!(town.count(messages).await, 1, "nothing was changed, so no second form is kept");
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_without_a_check_gets_what_came() {
    let (town, ward) = town("{}").await;
    town.caller("in/mllp").await.send(&adt("1", "Doe^Jane")).await;
    assert_eq!(ward.next_text().await, adt("1", "Doe^Jane"));
    town.until("SELECT count(*) FROM tracking WHERE kind = 6", 1).await;
    assert_eq!(town.count("SELECT count(*) FROM tracking WHERE kind = 19").await, 0);
    town.stop().await;
}
