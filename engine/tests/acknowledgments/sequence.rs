//! The sequence number protocol: MSH-13 in, MSA-4 out, across a kill.

use crate::town::{Caller, LISTEN, Neighbour, Town};

fn site(rule: &str) -> String {
    format!(
        "parties:
  reg:
    identify: [{{ sending_app: REG }}]
    inbound: {{ sequence: {rule} }}
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
    )
}

fn numbered(id: &str, number: &str) -> String {
    format!(
        "MSH|^~\\&|REG|NORTH|ENGINE|HUB|20250314093000||ADT^A01^ADT_A01|{id}|P|2.5|{number}\rEVN|A01|20250314092955\r\
         PID|1||70001^^^NORTH^MR||Sample^Alex^Q||19800229|F\rPV1|1|I|WARD1^101^A\r"
    )
}

/// MSA-1 and MSA-4 of the answer.
async fn told(caller: &mut Caller, id: &str, number: &str) -> String {
    let answer = caller.ask(&numbered(id, number), 1).await.remove(0);
    assert_eq!(answer.text("MSA-2"), id);
    format!("{} {}", answer.text("MSA-1"), answer.text("MSA-4"))
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_kept_gaps_refused_and_links_started_anew_across_a_kill() {
    let his = Neighbour::accepting().await;
    let mut town = Town::start(&site("enforce"), &[("his", &his)]).await;
    let mut caller = town.caller("in/mllp").await;
    assert_eq!(told(&mut caller, "E045", "0").await, "AA -1", "a start, and nothing is known yet");
    assert_eq!(told(&mut caller, "M41", "41").await, "AA 41", "the first positive number is the base");
    assert_eq!(told(&mut caller, "M42", "42").await, "AA 42");
    // What was written and not yet confirmed would leave a second time.
    town.until("SELECT count(*) FROM tracking WHERE kind = 6", 3).await;
    town.kill_and_restart().await;
    let mut caller = town.caller("in/mllp").await;
    assert_eq!(told(&mut caller, "M42", "42").await, "AA 43", "its answer was lost; it goes on");
    assert_eq!(told(&mut caller, "M44", "44").await, "AE 43", "one is missing");
    assert_eq!(told(&mut caller, "M43", "43").await, "AA 43");
    assert_eq!(told(&mut caller, "M44", "44").await, "AA 44", "sent again after the gap");
    let start =
        caller.ask("MSH|^~\\&|REG|NORTH|ENGINE|HUB|20250314||ADT^A01|S0|P|2.5|0\r", 1).await.remove(0);
    assert_eq!(
        (start.text("MSA-1"), start.text("MSA-4")),
        ("AA".into(), "45".into()),
        "MSH alone may start a link"
    );
    assert_eq!(told(&mut caller, "E046", "-1").await, "AA -1", "the next one is a new base");
    assert_eq!(told(&mut caller, "M7", "7").await, "AA 7");
    town.until("SELECT count(*) FROM tracking WHERE kind = 6", 7).await;
    let mut got: Vec<String> = Vec::new();
    for _ in 0..7 {
        got.push(his.next_message().await.text("MSH-10"));
    }
    assert_eq!(got, ["E045", "M41", "M42", "M43", "M44", "E046", "M7"]);
    assert!(his.rest().await.is_empty());
    assert_eq!(town.texts("SELECT code FROM parked").await, ["sequence.gap"]);
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_message_under_an_accepted_number_is_kept_and_not_handled() {
    let his = Neighbour::accepting().await;
    let town = Town::start(&site("enforce"), &[("his", &his)]).await;
    let mut caller = town.caller("in/mllp").await;
    assert_eq!(told(&mut caller, "M1", "1").await, "AA 1");
    assert_eq!(told(&mut caller, "OTHER", "1").await, "AA 2");
    assert_eq!(town.texts("SELECT code FROM parked").await, ["sequence.repeat"]);
    assert_eq!(his.next_message().await.text("MSH-10"), "M1");
    town.until("SELECT count(*) FROM tracking WHERE kind = 6", 1).await;
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_ce_for_a_sender_in_enhanced_mode() {
    let his = Neighbour::accepting().await;
    let town = Town::start(&site("enforce"), &[("his", &his)]).await;
    let mut caller = town.caller("in/mllp").await;
    let enhanced = |id: &str, number: &str| {
        numbered(id, number).replace(&format!("|2.5|{number}\r"), &format!("|2.5|{number}||AL|NE\r"))
    };
    caller.ask(&enhanced("M1", "1"), 1).await;
    let answer = caller.ask(&enhanced("M3", "3"), 1).await.remove(0);
    assert_eq!((answer.text("MSA-1"), answer.text("MSA-4")), ("CE".into(), "2".into()));
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_repeated_or_ignored_as_the_record_of_the_sender_says() {
    for (rule, wanted) in [("echo", "AA 9"), ("ignore", "AA ")] {
        let his = Neighbour::accepting().await;
        let town = Town::start(&site(rule), &[("his", &his)]).await;
        assert_eq!(told(&mut town.caller("in/mllp").await, "M9", "9").await, wanted);
        town.stop().await;
    }
}
