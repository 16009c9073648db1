//! A query and its response by two one-way legs (scenario S2).

use crate::town::{LISTEN, Neighbour, Town};

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
