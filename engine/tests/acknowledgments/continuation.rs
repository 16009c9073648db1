//! A message in fragments is joined, across a kill, and answered as the standard says.

use crate::town::{LISTEN, Neighbour, Town};

fn site() -> String {
    format!(
        "receive_ports:
  in:
    locations:
      mllp:
        {LISTEN}
        acknowledgment: {{ mode: original }}
send_ports:
  out:
    target: {{ mllp: {{ socket: {{ connect: $his }} }} }}
    filter: {{ hl7.type: ORU }}
"
    )
}

const HEAD: &str = "MSH|^~\\&|LAB|NORTH|ENGINE|HUB|20250314093000||ORU^R01^ORU_R01";

fn first(asks: &str) -> String {
    format!(
        "{HEAD}|C001|P|2.5|||{asks}\rPID|1||70001^^^NORTH^MR||Sample^Alex^Q||19800229|F\rOBR|1|P1|F1|1000^Long^L\r\
         OBX|1|TX|1^Text^L||first part of a long te\rADD\rDSC|PTR-1|F\r"
    )
}

fn second(asks: &str) -> String {
    format!("{HEAD}|C002|P|2.5||PTR-1|{asks}\rADD|xt, second part||||||F\r")
}

#[tokio::test(flavor = "multi_thread")]
async fn fragments_are_joined_across_a_kill_and_the_whole_is_delivered_once() {
    let his = Neighbour::accepting().await;
    let mut town = Town::start(&site(), &[("his", &his)]).await;
    assert_eq!(town.caller("in/mllp").await.send(&first("")).await, "AA C001");
    town.kill_and_restart().await;
    let mut caller = town.caller("in/mllp").await;
    assert_eq!(caller.send(&first("")).await, "AA C001", "a repeat is no second part");
    // Other traffic may come between.
    assert_eq!(caller.send(&first("").replace("C001", "D1").replace("PTR-1", "PTR-D")).await, "AA D1");
    assert_eq!(caller.send(&second("")).await, "AA C002");
    let whole = his.next_message().await;
    assert_eq!(whole.text("OBX-5"), "first part of a long text, second part");
    assert_eq!((whole.text("MSH-10"), whole.text("OBX-11")), ("C001".into(), "F".into()));
    assert_eq!(caller.send(&second("")).await, "AA C002");
    town.until("SELECT count(*) FROM tracking WHERE kind = 6", 1).await;
    assert!(his.rest().await.is_empty());
    assert_eq!(town.texts("SELECT pointer FROM fragment").await, ["PTR-D"]);
    assert_eq!(town.count("SELECT count(*) FROM parked").await, 0);
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fragment_has_its_commit_and_the_application_answers_the_first_one() {
    let his = Neighbour::accepting().await;
    let town = Town::start(&site(), &[("his", &his)]).await;
    let mut caller = town.caller("in/mllp").await;
    assert_eq!(caller.send(&first("AL|AL")).await, "CA C001");
    let answers = caller.ask(&second("AL|AL"), 2).await;
    let told: Vec<_> =
        answers.iter().map(|answer| format!("{} {}", answer.text("MSA-1"), answer.text("MSA-2"))).collect();
    assert_eq!(told, ["CA C002", "AA C001"]);
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_without_its_beginning_is_refused_and_kept() {
    let his = Neighbour::accepting().await;
    let town = Town::start(&site(), &[("his", &his)]).await;
    assert_eq!(town.caller("in/mllp").await.send(&second("")).await, "AE C002");
    assert_eq!(town.texts("SELECT code FROM parked").await, ["fragment.unknown"]);
    town.stop().await;
}

/// What is too large for its receiver leaves in fragments, and another site of ours makes one message of them again.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_message_leaves_in_fragments_that_its_receiver_joins() {
    let end = Neighbour::accepting().await;
    let far = Town::start(&site(), &[("his", &end)]).await;
    let address = far.address("in/mllp").await;
    let text = site().replace("$his", &address.to_string());
    let near = Town::start(&format!("{text}    limits: {{ message: 1KiB }}\n"), &[]).await;
    let lines: String = (0..40)
        .map(|line| format!("OBX|{line}|TX|1^Text^L||line {line} of a long report||||||F\r"))
        .collect();
    let long = format!(
        "{HEAD}|C001|P|2.5\rPID|1||70001^^^NORTH^MR||Sample^Alex^Q||19800229|F\rOBR|1|P1|F1|1000^Long^L\r{lines}"
    );
    assert_eq!(near.caller("in/mllp").await.send(&long).await, "AA C001");
    assert_eq!(end.next_text().await, long);
    near.until("SELECT count(*) FROM tracking WHERE kind = 6", 1).await;
    let parts = far
        .count("SELECT count(*) FROM message WHERE control_id LIKE 'C001%' AND octet_length(body) <= 1024")
        .await;
    assert!(parts > 2, "it left in {parts} parts");
    // What fits leaves as it is.
    let short = format!(
        "{HEAD}|C002|P|2.5\rPID|1||70001^^^NORTH^MR||Sample^Alex^Q||19800229|F\rOBR|1|P1|F1|1000^Long^L\rOBX|1|TX|1^Text^L||x||||||F\r"
    );
    assert_eq!(near.caller("in/mllp").await.send(&short).await, "AA C002");
    assert_eq!(end.next_text().await, short);
    near.stop().await;
    far.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fragment_that_is_refused_stops_the_rest() {
    let refusing = |message: &orderly_hl7::Message| match message.head().control_id.as_str() {
        "C001-2" => vec![crate::town::ack(message, "AE")],
        _ => vec![crate::town::ack(message, "AA")],
    };
    let his = Neighbour::open(std::sync::Arc::new(refusing)).await;
    let town = Town::start(&format!("{}    limits: {{ message: 1KiB }}\n", site()), &[("his", &his)]).await;
    let lines: String = (0..40)
        .map(|line| format!("OBX|{line}|TX|1^Text^L||line {line} of a long report||||||F\r"))
        .collect();
    let long = format!(
        "{HEAD}|C001|P|2.5\rPID|1||70001^^^NORTH^MR||Sample^Alex^Q||19800229|F\rOBR|1|P1|F1|1000^Long^L\r{lines}"
    );
    assert_eq!(town.caller("in/mllp").await.send(&long).await, "AA C001");
    town.until("SELECT count(*) FROM parked WHERE state = 2", 1).await;
    let got: Vec<String> = his
        .rest()
        .await
        .into_iter()
        .map(|part| orderly_hl7::Message::parse(part).unwrap().head().control_id.clone())
        .collect();
    assert_eq!(got, ["C001", "C001-2"]);
    town.stop().await;
}
