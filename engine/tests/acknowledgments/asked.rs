//! A query and its response: by two one-way legs, and as an exchange of a two-way port (scenario S2).

use crate::town::{Answering, LISTEN, Neighbour, Town, ack};
use std::sync::Arc;

const CLOSED: &str = "SELECT count(*) FROM exchange WHERE response IS NOT NULL";

fn site() -> String {
    format!(
        "parties:
  adt:
    identify: [{{ sending_app: ADT }}]
    inbound: {{ acknowledgment: {{ mode: enhanced, accept_when: AL, application_when: NE }} }}
  his:
    identify: [{{ sending_app: HIS }}]
receive_ports:
  queries:
    locations:
      mllp:
        {LISTEN}
  responses:
    locations:
      mllp:
        {LISTEN}
send_ports:
  to-his:
    target: {{ mllp: {{ socket: {{ connect: $his }} }} }}
    filter: {{ port.name: queries }}
  to-adt:
    target: {{ mllp: {{ socket: {{ connect: $adt }} }} }}
    filter: {{ port.name: responses, hl7.receiving_app: ADT }}
"
    )
}

const QUERY: &str = "MSH|^~\\&|ADT|N|HIS|N|20260301||QRY^Q01|MSG00001|P|2.4\r\
                     QRD|20260301|R|I|Q4412|||10^RD|7^Doe^Jane|DEM|X\r";

fn response(control_id: &str) -> String {
    let lines: String =
        (1..=8).map(|line| format!("DSP|{line}||  line {line}   of the display \r")).collect();
    format!(
        "MSH|^~\\&|HIS|N|ADT|N|20260301||DSR^Q01|ZXT23469|P|2.4\rMSA|AA|{control_id}\r\
         QRD|20260301|R|I|Q4412|||10^RD|7^Doe^Jane|DEM|X\r{lines}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_and_its_response_pass_unchanged_and_stand_on_one_journey() {
    let (his, adt) = (Neighbour::accepting().await, Neighbour::accepting().await);
    let mut town = Town::start(&site(), &[("his", &his), ("adt", &adt)]).await;
    let mut asker = town.caller("queries/mllp").await;
    assert_eq!(asker.send(QUERY).await, "CA MSG00001");
    assert_eq!(his.next_text().await, QUERY);
    // One CA and nothing else: the next thing on the connection is the answer to the next message.
    assert_eq!(asker.send(&QUERY.replace("MSG00001", "MSG00002")).await, "CA MSG00002");
    town.kill_and_restart().await;
    assert_eq!(town.caller("responses/mllp").await.send(&response("MSG00001")).await, "AA ZXT23469");
    assert_eq!(adt.next_text().await, response("MSG00001"));
    let joined = "SELECT count(*) FROM message r JOIN message q ON q.id = r.parent
                   WHERE r.control_id = 'ZXT23469' AND q.control_id = 'MSG00001'";
    assert_eq!(town.count(joined).await, 1);
    assert_eq!(town.count("SELECT count(*) FROM tracking WHERE kind = 18").await, 0);
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_to_something_else_is_delivered_and_flagged() {
    let (his, adt) = (Neighbour::accepting().await, Neighbour::accepting().await);
    let town = Town::start(&site(), &[("his", &his), ("adt", &adt)]).await;
    assert_eq!(town.caller("queries/mllp").await.send(QUERY).await, "CA MSG00001");
    assert_eq!(town.caller("responses/mllp").await.send(&response("MSG00003")).await, "AA ZXT23469");
    assert_eq!(adt.next_text().await, response("MSG00003"));
    assert_eq!(town.count("SELECT count(*) FROM tracking WHERE kind = 18").await, 1);
    town.stop().await;
}

/// The same as an exchange; `route` is where the response goes.
fn exchange(within: &str, route: &str) -> String {
    let two_way = format!(
        "  queries:\n    two_way: true\n    exchange: {{ within: {within}, responses: [responses], route: {route} }}\n"
    );
    let filter = "    filter: { port.name: responses, hl7.receiving_app: ADT }\n";
    site().replace("  queries:\n", &two_way).replace(filter, "    ack: { expect: none }\n")
}

const BY_PORT: &str = "{ port: to-adt }";
const JOURNEY: &str = "SELECT count(*) FROM message r JOIN message q ON q.id = r.parent
                        WHERE r.message_type LIKE 'DSR%' AND q.control_id = 'MSG00001'";

#[tokio::test(flavor = "multi_thread")]
async fn a_response_closes_its_exchange_once_and_takes_the_way_to_the_asker() {
    let (his, adt) = (Neighbour::accepting().await, Neighbour::open(Arc::new(|_| vec![])).await);
    let mut town = Town::start(&exchange("1m", BY_PORT), &[("his", &his), ("adt", &adt)]).await;
    assert_eq!(town.caller("queries/mllp").await.send(QUERY).await, "CA MSG00001");
    assert_eq!(his.next_text().await, QUERY);
    // A mere acknowledgment of the query is no response.
    town.until("SELECT count(*) FROM tracking WHERE kind = 6", 1).await;
    assert_eq!(town.count(CLOSED).await, 0);
    town.kill_and_restart().await;
    let mut his_back = town.caller("responses/mllp").await;
    let first = his_back.ask(&response("MSG00001"), 1).await;
    assert_eq!((first[0].text("MSA-1"), first[0].text("MSA-2")), ("AA".into(), "ZXT23469".into()));
    assert_eq!(adt.next_text().await, response("MSG00001"), "unchanged, spaces and all");
    assert_eq!((town.count(CLOSED).await, town.count(JOURNEY).await), (1, 1));
    // It comes again because its answer was lost: the same answer, and the asker gets it once.
    assert_eq!(his_back.ask(&response("MSG00001"), 1).await, first);
    // Another response to the same question is refused.
    let second = response("MSG00001").replace("ZXT23469", "ZXT23470");
    assert_eq!(his_back.send(&second).await, "AE ZXT23470");
    assert_eq!(town.texts("SELECT code FROM parked").await, ["exchange.closed"]);
    assert_eq!(town.count(JOURNEY).await, 1);
    town.until("SELECT count(*) FROM tracking WHERE kind = 6", 2).await;
    assert!(adt.rest().await.is_empty());
    assert!(orderly_engine::audit::verify(town.engine.store().pool()).await.unwrap().is_sound());
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_with_a_wrong_msa_2_is_refused_where_questions_are_exchanges() {
    let (his, adt) = (Neighbour::accepting().await, Neighbour::accepting().await);
    let town = Town::start(&exchange("1m", BY_PORT), &[("his", &his), ("adt", &adt)]).await;
    assert_eq!(town.caller("queries/mllp").await.send(QUERY).await, "CA MSG00001");
    let mut his_back = town.caller("responses/mllp").await;
    let refused = his_back.ask(&response("MSG00003"), 1).await.remove(0);
    assert_eq!((refused.text("MSA-1"), refused.text("MSA-2")), ("AE".into(), "ZXT23469".into()));
    assert_eq!((refused.text("ERR-1.1"), refused.text("ERR-1.3")), ("MSA".into(), "2".into()));
    assert_eq!(town.texts("SELECT code FROM parked").await, ["exchange.unknown"]);
    assert_eq!(town.count(CLOSED).await, 0);
    // With the right one it closes the exchange all the same.
    assert_eq!(his_back.send(&response("MSG00001")).await, "AA ZXT23469");
    assert_eq!(adt.next_text().await, response("MSG00001"));
    assert!(adt.rest().await.is_empty());
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_asker_without_a_response_reads_ae_also_when_the_node_ended_meanwhile() {
    for kill in [false, true] {
        let (his, adt) = (Neighbour::accepting().await, Neighbour::open(Arc::new(|_| vec![])).await);
        let mut town = Town::start(&exchange("500ms", BY_PORT), &[("his", &his), ("adt", &adt)]).await;
        assert_eq!(town.caller("queries/mllp").await.send(QUERY).await, "CA MSG00001");
        if kill {
            town.kill_and_restart().await;
        }
        let told = adt.next_message().await;
        assert_eq!((told.text("MSA-1"), told.text("MSA-2")), ("AE".into(), "MSG00001".into()));
        assert_eq!((told.text("MSA-3"), told.text("MSH-5")), ("no answer from HIS".into(), "ADT".into()));
        assert_eq!(town.count(CLOSED).await, 1);
        // What comes too late is refused, and kept.
        assert_eq!(town.caller("responses/mllp").await.send(&response("MSG00001")).await, "AE ZXT23469");
        assert_eq!(town.texts("SELECT code FROM parked").await, ["exchange.closed"]);
        town.stop().await;
    }
}

/// Answers a query with its response, on the connection of the query.
fn asked_directly() -> Answering {
    Arc::new(|message| match message.head().message_type.as_str() {
        "QRY" => vec![response(&message.head().control_id).into_bytes()],
        _ => vec![ack(message, "AA")],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_goes_back_on_the_connection_of_its_asker() {
    let (his, adt) = (Neighbour::open(asked_directly()).await, Neighbour::accepting().await);
    let town = Town::start(&exchange("1m", "same_connection"), &[("his", &his), ("adt", &adt)]).await;
    let mut asker = town.caller("queries/mllp").await;
    let answers = asker.ask(QUERY, 2).await;
    assert_eq!(answers[0].text("MSA-1"), "CA");
    assert_eq!(answers[1].bytes(), response("MSG00001").as_bytes());
    assert_eq!((town.count(CLOSED).await, town.count(JOURNEY).await), (1, 1));
    // The same question again: the same answers, and nobody is asked.
    assert_eq!(asker.ask(QUERY, 2).await, answers);
    town.until("SELECT count(*) FROM tracking WHERE kind = 6", 1).await;
    his.next().await;
    assert!(his.rest().await.is_empty());
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_original_mode_the_response_is_the_answer_and_ae_comes_in_its_place() {
    let (his, adt) = (Neighbour::accepting().await, Neighbour::accepting().await);
    let site = exchange("600ms", "same_connection").replace("mode: enhanced", "mode: original");
    let town = Town::start(&site, &[("his", &his), ("adt", &adt)]).await;
    let mut asker = town.caller("queries/mllp").await;
    asker.write(QUERY).await;
    his.next().await;
    assert_eq!(town.caller("responses/mllp").await.send(&response("MSG00001")).await, "AA ZXT23469");
    assert_eq!(asker.read().await.bytes(), response("MSG00001").as_bytes());
    let told = asker.ask(&QUERY.replace("MSG00001", "MSG00002"), 1).await.remove(0);
    assert_eq!((told.text("MSA-1"), told.text("MSA-2")), ("AE".into(), "MSG00002".into()));
    assert_eq!(told.text("MSA-3"), "no answer from HIS");
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_whose_asker_hung_up_is_shown_until_it_asks_again() {
    let (his, adt) = (Neighbour::accepting().await, Neighbour::accepting().await);
    let mut town = Town::start(&exchange("1m", "same_connection"), &[("his", &his), ("adt", &adt)]).await;
    assert_eq!(town.caller("queries/mllp").await.send(QUERY).await, "CA MSG00001");
    his.next().await;
    town.kill_and_restart().await;
    assert_eq!(town.caller("responses/mllp").await.send(&response("MSG00001")).await, "AA ZXT23469");
    town.run("UPDATE exchange SET closed_at = closed_at - interval '1 minute'").await;
    town.until("SELECT count(*) FROM parked WHERE code = 'exchange.asker_gone'", 1).await;
    let answers = town.caller("queries/mllp").await.ask(QUERY, 2).await;
    assert_eq!(answers[1].bytes(), response("MSG00001").as_bytes());
    town.until("SELECT count(*) FROM parked", 0).await;
    town.stop().await;
}
