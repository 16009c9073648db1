//! A repeat reads the first answer, whatever that was, with an end of the node in between, and is kept once.

use crate::town::{LISTEN, Neighbour, Town, adt};
use orderly_hl7::Message;

fn site(inbound: &str) -> String {
    format!(
        "parties:
  reg:
    identify: [{{ sending_app: REG }}]
    inbound: {{ {inbound} }}
receive_ports:
  in:
    locations:
      mllp:
        unknown_party: refuse
        {LISTEN}
send_ports:
  out:
    target: {{ mllp: {{ socket: {{ connect: $his }} }} }}
    filter: {{ hl7.type: ADT }}
"
    )
}

/// Sends a message twice with an end of the node in between: the codes of its answers, and how many rows it left.
async fn twice(inbound: &str, message: &str, answers: usize) -> (Vec<String>, i64) {
    let his = Neighbour::accepting().await;
    let mut town = Town::start(&site(inbound), &[("his", &his)]).await;
    let first: Vec<Message> = town.caller("in/mllp").await.ask(message, answers).await;
    town.engine.run_until_idle().await;
    town.kill_and_restart().await;
    let mut caller = town.caller("in/mllp").await;
    let again = caller.ask(message, answers).await;
    assert_eq!(first, again, "byte for byte");
    // Other bytes under the same control id are judged by themselves.
    let other = caller.ask(&message.replace("Doe^", "Moe^"), answers).await;
    assert_ne!(first[0].text("MSH-10"), other[0].text("MSH-10"));
    let stored =
        town.count("SELECT count(*) FROM message WHERE control_id = '1' AND message_type LIKE 'ADT%'").await;
    town.stop().await;
    (first.iter().map(|answer| answer.text("MSA-1")).collect(), stored)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_answer_is_given_once_more_and_nothing_is_kept_twice() {
    let bad = adt("1", "Doe^Jane").replace("PV1|1|O\r", "");
    let both = |message: &str| message.replace("|2.3.1\r", "|2.3.1|||AL|AL\r");
    let good = adt("1", "Doe^Jane");
    let cases = [
        ("", good.clone(), vec!["AA"]),
        ("", bad.clone(), vec!["AE"]),
        ("versions: ['2.5']", good.clone(), vec!["AR"]),
        ("", both(&good), vec!["CA", "AA"]),
        ("", both(&bad), vec!["CA", "AE"]),
        ("versions: ['2.5']", both(&good), vec!["CR"]),
        ("", good.replace("|REG|", "|WHO|"), vec!["AR"]),
    ];
    for (inbound, message, codes) in cases {
        let (told, stored) = twice(inbound, &message, codes.len()).await;
        assert_eq!((told, stored), (codes.iter().map(|code| (*code).to_owned()).collect(), 2), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_that_is_still_there_is_told_as_before_and_kept_once() {
    let his = Neighbour::accepting().await;
    let mut town = Town::start(&site("sequence: enforce"), &[("his", &his)]).await;
    let numbered =
        |id: &str, number: u32| adt(id, "Doe^Jane").replace("|2.3.1\r", &format!("|2.3.1|{number}||AL|NE\r"));
    let mut caller = town.caller("in/mllp").await;
    assert_eq!(caller.send(&numbered("1", 1)).await, "CA 1");
    let gap = caller.ask(&numbered("3", 3), 1).await;
    assert_eq!((gap[0].text("MSA-1"), gap[0].text("MSA-4")), ("CE".into(), "2".into()));
    town.engine.run_until_idle().await;
    town.kill_and_restart().await;
    let mut caller = town.caller("in/mllp").await;
    assert_eq!(caller.ask(&numbered("3", 3), 1).await, gap);
    assert_eq!(town.texts("SELECT code FROM parked").await, ["sequence.gap"]);
    assert_eq!(caller.send(&numbered("2", 2)).await, "CA 2");
    assert_eq!(caller.send(&numbered("3", 3)).await, "CA 3", "nothing is missing any more");
    for id in ["1", "2", "3"] {
        assert_eq!(his.next_message().await.text("MSH-10"), id);
    }
    town.stop().await;
}

const UNREADABLE: &str = "MSH|\rPID|1||2\r";

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_told_so_as_before_and_kept_once() {
    let his = Neighbour::accepting().await;
    let mut town = Town::start(&site(""), &[("his", &his)]).await;
    let first = town.caller("in/mllp").await.ask(UNREADABLE, 1).await;
    assert_eq!(first[0].text("MSA-1"), "AR");
    town.kill_and_restart().await;
    assert_eq!(town.caller("in/mllp").await.ask(UNREADABLE, 1).await, first);
    assert_eq!(town.texts("SELECT code FROM parked").await, ["unreadable"]);
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_message_is_judged_anew_once_the_site_was_changed() {
    let his = Neighbour::accepting().await;
    let town = Town::start(&site("versions: ['2.5']"), &[("his", &his)]).await;
    let message = adt("1", "Doe^Jane");
    let mut caller = town.caller("in/mllp").await;
    for _ in 0..3 {
        assert_eq!(caller.send(&message).await, "AR 1");
    }
    assert_eq!(town.texts("SELECT code FROM parked").await, ["refused"]);
    assert_eq!(town.count("SELECT count(*) FROM tracking WHERE kind = 2").await, 2, "it came again twice");
    town.deploy(&site(""), &[("his", &his)]).await;
    assert_eq!(caller.send(&message).await, "AA 1");
    assert_eq!(his.next_text().await, message);
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_content_under_a_known_control_id_is_kept_once_and_answered_as_before() {
    for (rule, code, kept) in [("refuse", "AR 1", 2), ("suspend", "AA 1", 2), ("accept", "AA 1", 0)] {
        let his = Neighbour::accepting().await;
        let site = site(&format!("duplicates: {{ different: {rule} }}"));
        let town = Town::start(&site, &[("his", &his)]).await;
        let mut caller = town.caller("in/mllp").await;
        assert_eq!(caller.send(&adt("1", "Doe^Jane")).await, "AA 1");
        // Each other content is one message, however often it comes.
        for name in ["Moe^Jane", "Roe^Jane"] {
            let first = caller.ask(&adt("1", name), 1).await;
            assert_eq!(format!("{} {}", first[0].text("MSA-1"), first[0].text("MSA-2")), code, "{rule}");
            assert_eq!(caller.ask(&adt("1", name), 1).await, first, "{rule}: byte for byte");
        }
        let stored = "SELECT count(*) FROM message WHERE control_id = '1' AND message_type LIKE 'ADT%'";
        assert_eq!(town.count(stored).await, 3, "{rule}");
        assert_eq!(town.count("SELECT count(*) FROM parked").await, kept, "{rule}");
        town.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_party_whose_repeats_are_taken_again_has_each_of_them_taken() {
    let his = Neighbour::accepting().await;
    let town = Town::start(&site("duplicates: { same: accept_again }"), &[("his", &his)]).await;
    let mut caller = town.caller("in/mllp").await;
    for _ in 0..3 {
        assert_eq!(caller.send(&adt("1", "Doe^Jane")).await, "AA 1");
        assert_eq!(his.next_message().await.text("MSH-10"), "1");
    }
    town.stop().await;
}
