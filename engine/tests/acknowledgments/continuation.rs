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
