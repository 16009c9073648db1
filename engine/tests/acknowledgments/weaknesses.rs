//! Where BizTalk is weak by its own documentation (W12 to W19); the character sets of W18 are in `outbound`, the
//! table of all of them is in docs/biztalk-weaknesses.md.

use crate::town::{LISTEN, Neighbour, Town, ack, adt};
use orderly_engine::configuration::{Configuration, Files};
use orderly_engine::site::Environment;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn site() -> String {
    format!(
        "receive_ports:
  in:
    locations:
      first:
        {LISTEN}
      second:
        {LISTEN}
send_ports:
  out:
    target: {{ mllp: {{ socket: {{ connect: $his }} }} }}
    filter: {{ port.name: in }}
    retry: {{ wait: 10ms }}
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn many_listeners_work_side_by_side_and_a_held_port_hangs_up_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let his = Neighbour::accepting().await;
    let site = site().replace("$his", &listener.local_addr().unwrap().to_string());
    let town = Town::start(&site, &[("his", &his)]).await;
    let (mut first, mut second) = (town.caller("in/first").await, town.caller("in/second").await);
    assert_eq!(first.send(&adt("1", "Doe^Jane")).await, "AA 1");
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut buffer = [0; 4096];
    assert!(stream.read(&mut buffer).await.unwrap() > 0);
    stream.write_all(b"\x0bMSH|^~\\&|R|R|||20260301||ACK|A|P|2.5\rMSA|AA|1\r\x1c\r").await.unwrap();
    town.until("SELECT count(*) FROM tracking WHERE kind = 6", 1).await;
    town.run("INSERT INTO port_state (kind, name, state, changed_by, changed_at) VALUES ('send_port', 'out', 'on_hold', 't', now())").await;
    town.outside.ports.look().await.unwrap();
    let gone = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buffer)).await;
    assert_eq!(gone.expect("the connection ends").unwrap(), 0);
    assert_eq!(second.send(&adt("2", "Doe^Jane")).await, "AA 2", "receiving goes on");
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledgment_has_an_id_of_its_own_that_grows() {
    let his = Neighbour::accepting().await;
    let town = Town::start(&site(), &[("his", &his)]).await;
    let mut caller = town.caller("in/first").await;
    let mut ids = Vec::new();
    for number in 0..20 {
        let asks = adt(&format!("{number:06}"), "Doe^Jane").replace("|2.3.1\r", "|2.3.1|||AL|AL\r");
        for answer in caller.ask(&asks, 2).await {
            assert_eq!(answer.text("MSA-2"), format!("{number:06}"));
            ids.push(answer.text("MSH-10"));
        }
    }
    assert!(ids.is_sorted() && ids.iter().all(|id| id.len() <= 20), "{ids:?}");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 40);
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_no_acknowledgment_to_this_message_is_no_acceptance() {
    let xml = "<?xml version=\"1.0\"?><ACK xmlns=\"urn:hl7-org:v2xml\"><MSA><MSA.1>AA</MSA.1><MSA.2>1</MSA.2></MSA></ACK>";
    for wrong in [xml.as_bytes().to_vec(), b"MSH|^~\\&|R|R|||20260301||ACK|A|P|2.5\r".to_vec()] {
        let answer = wrong.clone();
        let his = Neighbour::open(Arc::new(move |_| vec![answer.clone()])).await;
        let town = Town::start(&site(), &[("his", &his)]).await;
        town.caller("in/first").await.send(&adt("1", "Doe^Jane")).await;
        his.next().await;
        his.next().await;
        assert_eq!(town.count("SELECT count(*) FROM tracking WHERE kind = 6").await, 0);
        assert_eq!(town.texts("SELECT DISTINCT code FROM parked").await, ["ack.unreadable"]);
        town.engine.abandon();
    }
    let reversed = Neighbour::open(Arc::new(|message| {
        let id: String = message.head().control_id.chars().rev().collect();
        let other = format!("MSH|^~\\&|R|R|||20260301||ACK|A|P|2.5\rMSA|AA|{id}\r").into_bytes();
        vec![other, ack(message, "AA")]
    }))
    .await;
    let town = Town::start(&site(), &[("his", &reversed)]).await;
    town.caller("in/first").await.send(&adt("12", "Doe^Jane")).await;
    town.until("SELECT count(*) FROM tracking WHERE kind = 6", 1).await;
    assert_eq!(
        town.count("SELECT count(*) FROM tracking WHERE kind = 18").await,
        1,
        "the other one is told of"
    );
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_type_needs_a_deployment_and_no_misspelt_name_drops_a_message() {
    let his = Neighbour::accepting().await;
    let town = Town::start(&site(), &[("his", &his)]).await;
    let mut caller = town.caller("in/first").await;
    let head = |kind: &str, id: &str, version: &str| {
        format!("MSH|^~\\&|REG|N|||20260301||{kind}|{id}|P|{version}\r")
    };
    for (message, wanted) in [
        (
            head("ADT^A24^ADT_A24", "1", "2.5") + "EVN||20260301\rPID|1||7^^^N||A^B\rPID|2||8^^^N||C^D\r",
            "AA 1",
        ),
        (head("MFN^M02^MFN_M02", "2", "2.5") + "MFI|STF||UPD|||AL\rMFE|MAD|||7|CE\rSTF|7\r", "AA 2"),
        (head("QBP^Q22^QBP_Q21", "3", "2.5") + "QPD|Q22^Find^HL7|T1\rRCP|I\r", "AA 3"),
    ] {
        assert_eq!(caller.send(&message).await, wanted);
        assert_eq!(his.next_text().await, message);
    }
    town.stop().await;

    for (right, misspelt, code) in [
        ("filter: { port.name: in }", "filter: { port.nam: in }", "S3"),
        ("filter: { port.name: in }", "filter: { port.name: IN }", ""),
        ("adapter:", "adaptor:", "S00"),
    ] {
        let text = format!(
            "site:\n  format: 1\n  name: town\n  title: Town\n  timezone: UTC\n{}",
            site().replace("$his", "127.0.0.1:9")
        );
        let text = text.replace(right, misspelt);
        let files: Files = [("site.yaml".to_owned(), Arc::from(text.as_bytes()))].into_iter().collect();
        match Configuration::compile(&files, &Environment::local(), 1) {
            Err(found) => assert!(found.iter().any(|one| one.to_string().contains(code)), "{found:?}"),
            // A filter that matches nothing is legal; what nobody takes is shown as not routed.
            Ok(_) => assert!(code.is_empty(), "{misspelt} is refused"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_stopped_in_an_exchange_waits_for_its_answer_and_hangs_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let his = Neighbour::accepting().await;
    let site = site().replace("$his", &listener.local_addr().unwrap().to_string());
    let town = Town::start(&site, &[("his", &his)]).await;
    let mut caller = town.caller("in/first").await;
    caller.send(&adt("1", "Doe^Jane")).await;
    caller.send(&adt("2", "Doe^Jane")).await;
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut buffer = [0; 4096];
    let count = stream.read(&mut buffer).await.unwrap();
    assert!(String::from_utf8_lossy(&buffer[..count]).contains("|1|P|"));
    town.run("INSERT INTO port_state (kind, name, state, changed_by, changed_at) VALUES ('send_port', 'out', 'on_hold', 't', now())").await;
    town.outside.ports.look().await.unwrap();
    stream.write_all(b"\x0bMSH|^~\\&|R|R|||20260301||ACK|A|P|2.5\rMSA|AA|1\r\x1c\r").await.unwrap();
    // Its answer counts, and the second message does not leave any more.
    town.until("SELECT count(*) FROM tracking WHERE kind = 6", 1).await;
    let gone = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buffer)).await;
    assert_eq!(gone.expect("the connection ends").unwrap(), 0, "no new frame");
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_of_a_batch_has_its_commit() {
    let his = Neighbour::accepting().await;
    let town = Town::start(&site(), &[("his", &his)]).await;
    let asks = |id: &str| adt(id, "Doe^Jane").replace("|2.3.1\r", "|2.3.1|||AL|NE\r");
    let batch =
        format!("FHS|^~\\&|REG\rBHS|^~\\&|REG\r{}{}{}BTS|3\rFTS|1\r", asks("1"), asks("2"), asks("3"));
    let answers = town.caller("in/first").await.ask(&batch, 3).await;
    let told: Vec<String> =
        answers.iter().map(|answer| format!("{}{}", answer.text("MSA-1"), answer.text("MSA-2"))).collect();
    assert_eq!(told, ["CA1", "CA2", "CA3"]);
    town.until("SELECT count(*) FROM tracking WHERE kind = 6", 3).await;
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trailing_delimiters_and_fields_nobody_expects_are_taken_and_leave_as_they_came() {
    let his = Neighbour::accepting().await;
    let town = Town::start(&site(), &[("his", &his)]).await;
    let mut caller = town.caller("in/first").await;
    let odd = adt("1", "Doe^Jane^^^||||")
        .replace("EVN|A03|20260301\r", "EVN|A03|20260301|||||||||more|&&\r")
        .replace("PV1|1|O\r", "PV1|1|O|~|^^\rZZZ|of our own^x\r");
    assert_eq!(caller.send(&odd).await, "AA 1");
    assert_eq!(his.next_text().await, odd);
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn structures_that_cannot_be_parsed_there_are_taken_here() {
    let his = Neighbour::accepting().await;
    let town = Town::start(&site(), &[("his", &his)]).await;
    let mut caller = town.caller("in/first").await;
    let kinds = [
        ("CSU^C09^CSU_C09", "2.5"),
        ("OMD^O03^OMD_O03", "2.5"),
        ("ORD^O04^ORD_O04", "2.5"),
        ("SUR^P09^SUR_P09", "2.3.1"),
        ("RDE^O25^RDE_O11", "2.5"),
        ("OUL^R24^OUL_R24", "2.5"),
        ("OML^O35^OML_O35", "2.5"),
        ("ORL^O34^ORL_O34", "2.5"),
        ("ZZZ^Z73", "2.5"),
        ("ADT^Z99", "2.4"),
    ];
    for (number, (kind, version)) in kinds.into_iter().enumerate() {
        let message = format!("MSH|^~\\&|REG|N|HUB|N|20260301||{kind}|{number}|P|{version}\rZZ1|{number}\r");
        let answer = caller.ask(&message, 1).await.remove(0);
        assert_eq!(answer.text("MSA-2"), number.to_string());
        // What lacks in them is told by place; no kind of message is unknown.
        assert!(!["200", "201"].contains(&answer.text("ERR-1.4.1").as_str()), "{kind}: {answer:?}");
        assert_ne!(answer.text("MSA-1"), "AR", "{kind}");
    }
    town.stop().await;
}
