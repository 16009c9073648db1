//! Batches in: taken apart or passed whole, answered as the party wants it, finished whoever dies.

use crate::support::{Site, acks, adt, bad};

/// A site that takes frames and files, with what its party wants of batches.
fn site(batch: &str) -> String {
    format!(
        r#"
parties:
  source:
    identify: [{{ sending_app: REG }}, {{ batch_sending_app: REG }}]
    inbound: {{ batch: {{ {batch} }} }}
receive_ports:
  in:
    locations:
      mllp: {{ adapter: {{ mllp: {{ socket: {{ listen: 127.0.0.1:0 }} }} }} }}
      folder: {{ adapter: {{ folder: {{ path: in/, every: 20ms, stable_for: 40ms }} }} }}
send_ports:
  out:
    target: {{ folder: {{ path: out/, name: "{{hl7.control_id}}.hl7" }} }}
    filter: {{ any: [{{ hl7.event: A03 }}, {{ batch.kind: {{ present: true }} }}] }}
    order: strict
"#
    )
}

fn file(messages: &[String], said: usize) -> String {
    let all = messages.concat();
    format!(
        "FHS|^~\\&|REG|N|ORD|N|20260301||||F1\rBHS|^~\\&|REG|N|ORD|N|20260301||||B1\r{all}BTS|{said}\rFTS|1\r"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_with_a_batch_is_taken_apart_and_each_message_is_answered() {
    let site = Site::start(&site("answer: each")).await;
    let mut sender = site.sender().await;
    let first = sender.send(&file(&[adt("1"), adt("2")], 2)).await;
    let second = sender.read().await;
    assert_eq!((acks(&first), acks(&second)), (vec!["AA 1".to_owned()], vec!["AA 2".to_owned()]));
    site.until_files("out", 2).await;
    assert_eq!(site.files("out"), [("1.hl7".to_owned(), adt("1")), ("2.hl7".to_owned(), adt("2"))]);
    let row = "SELECT envelope || ' ' || messages || ' ' || control_id || ' ' || party FROM interchange";
    assert_eq!(site.texts(row).await, ["file 2 F1 source"]);
    assert_eq!(site.count("SELECT count(*) FROM interchange_item WHERE code = ''").await, 2);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_nothing_is_answered_by_a_batch_of_nothing() {
    let site = Site::start(&site("answer: each")).await;
    let answer = site.sender().await.send(&file(&[], 0)).await;
    assert!(answer.starts_with("FHS|^~\\&|ORD|N|REG|N|") && answer.ends_with("BTS|0\rFTS|1\r"), "{answer}");
    assert_eq!(acks(&answer), Vec::<String>::new());
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_may_be_one_batch_or_only_what_is_wrong() {
    let texts = [adt("1"), bad("2"), adt("3")];
    for (word, expected) in [("batch", vec!["AA 1", "AE 2", "AA 3"]), ("negative_only", vec!["AE 2"])] {
        let site = Site::start(&site(&format!("answer: {word}"))).await;
        let answer = site.sender().await.send(&file(&texts, 3)).await;
        assert_eq!(acks(&answer), expected);
        let lines: Vec<&str> = answer.split('\r').collect();
        assert!(lines[0].starts_with("FHS|^~\\&|ORD|N|REG|N|") && lines[0].ends_with("|F1"), "{}", lines[0]);
        assert!(lines[1].starts_with("BHS|^~\\&|ORD|N|REG|N|"), "{}", lines[1]);
        assert!(answer.ends_with(&format!("BTS|{}\rFTS|1\r", expected.len())), "{answer}");
        site.until_files("out", 2).await;
        assert_eq!(site.parked().await, ["refused"]);
        site.stop().await;
    }
    let site = Site::start(&site("answer: none")).await;
    let mut sender = site.sender().await;
    sender.write(&file(&texts, 3)).await;
    assert_eq!(acks(&sender.send(&adt("4")).await), ["AA 4"], "the batch itself is not answered");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bare_messages_other_delimiters_and_missing_trailers_are_taken() {
    let site = Site::start(&site("answer: batch")).await;
    let mut sender = site.sender().await;
    let other = adt("2").replace('|', "#");
    let answer = sender.send(&format!("{}{other}", adt("1"))).await;
    let text = answer.replace('#', "|");
    assert_eq!(acks(&text), ["AA 1", "AA 2"]);
    let open = format!("BHS|^~\\&|REG|N\r{}BHS|^~\\&|REG|N\r{}", adt("3"), adt("4"));
    assert_eq!(acks(&sender.send(&open).await), ["AA 3", "AA 4"]);
    let findings = "SELECT array_to_string(findings, '; ') FROM interchange ORDER BY id DESC LIMIT 1";
    assert_eq!(site.texts(findings).await, ["a batch has no trailer; a batch has no trailer"]);
    site.until_files("out", 4).await;
    assert_eq!(site.contents("out")[1], other);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_counts_are_noted_or_refuse_all_of_it() {
    let warned = Site::start(&site("answer: batch")).await;
    let answer = warned.sender().await.send(&file(&[adt("1"), adt("2")], 3)).await;
    assert_eq!(acks(&answer), ["AA 1", "AA 2"]);
    let findings = "SELECT array_to_string(findings, '; ') FROM interchange";
    assert_eq!(warned.texts(findings).await, ["BTS-1 counts 3 messages in the batch; there are 2"]);
    warned.stop().await;
    let refused = Site::start(&site("counts: refuse")).await;
    let answer = refused.sender().await.send(&file(&[adt("1"), adt("2")], 3)).await;
    assert_eq!(acks(&answer), ["AR F1"]);
    assert!(answer.contains("BTS-1 counts 3"), "{answer}");
    assert_eq!(refused.parked().await, ["batch.counts"]);
    assert_eq!(refused.count("SELECT count(*) FROM work").await, 0);
    refused.stop().await;
}

/// Scenario S4: what cannot even be read is set aside, whatever the trailers say.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_is_set_aside_and_the_others_go_on() {
    let site = Site::start(&site("answer: batch")).await;
    let broken = "MSH|\rPID|1||2\r".to_owned();
    let answer =
        site.sender().await.send(&file(&[adt("1"), broken, adt("3")], 3).replace("FTS|1\r", "")).await;
    let acks = acks(&answer);
    assert_eq!((acks.len(), acks[0].as_str(), acks[2].as_str()), (3, "AA 1", "AA 3"), "{answer}");
    assert!(acks[1].starts_with("AR"), "{answer}");
    assert_eq!(site.parked().await, ["unreadable"]);
    site.until_files("out", 2).await;
    assert_eq!(site.contents("out"), [adt("1"), adt("3")]);
    let findings = "SELECT array_to_string(findings, '; ') FROM interchange";
    assert_eq!(site.texts(findings).await, ["the file has no trailer"]);
    site.stop().await;
}

/// Scenario S18.
#[tokio::test(flavor = "multi_thread")]
async fn one_bad_message_is_set_aside_or_keeps_all_of_them_back() {
    let other = adt("2").replace("A03^ADT_A03", "A08^ADT_A01");
    let five = [adt("1"), other, adt("3"), bad("4"), adt("5")];
    let recoverable = Site::start(&site("on_bad: set_aside")).await;
    recoverable.put("in/five", &file(&five, 5));
    recoverable.until_files("out", 3).await;
    recoverable.until_files("in/done", 1).await;
    assert_eq!(recoverable.parked().await, ["no_subscriber", "refused"]);
    let outcome = "SELECT number || ' ' || code FROM interchange_item ORDER BY number";
    assert_eq!(recoverable.texts(outcome).await, ["1 ", "2 no_subscriber", "3 ", "4 refused", "5 "]);
    recoverable.stop().await;
    let standard = Site::start(&site("on_bad: refuse_all")).await;
    standard.put("in/five", &file(&five, 5));
    standard.until_files("in/failed", 2).await;
    let failed = standard.files("in/failed");
    assert_eq!(failed[0].1, file(&five, 5));
    assert!(failed[1].1.starts_with("message 2: no subscriber"), "{}", failed[1].1);
    assert_eq!(standard.parked().await, ["batch.refused"]);
    assert_eq!(standard.count("SELECT count(*) FROM message").await, 1);
    assert_eq!(standard.count("SELECT count(*) FROM work").await, 0);
    // Mended, the same file goes through.
    standard.put("in/mended", &file(&[adt("1"), adt("3"), adt("5")], 3));
    standard.until_files("out", 3).await;
    standard.stop().await;
}

/// Scenario S5.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_may_pass_through_as_one_byte_for_byte() {
    let site = Site::start(&site("take: whole, answer: batch")).await;
    let two = format!("{}\r\n{}", adt("000001"), adt("000002"));
    site.put("in/two", &two);
    site.until_files("out", 1).await;
    assert_eq!(site.contents("out"), [two]);
    let answer = site.sender().await.send(&file(&[adt("1"), bad("2"), adt("3")], 3)).await;
    assert_eq!(acks(&answer), ["AA 1", "AE 2", "AA 3"]);
    site.until_files("out", 2).await;
    assert_eq!(site.contents("out")[1], file(&[adt("1"), adt("3")], 2));
    assert_eq!(site.parked().await, ["refused"]);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_comes_again_is_answered_again_and_stored_once() {
    let site = Site::start(&site("answer: batch")).await;
    let mut sender = site.sender().await;
    let batch = file(&[adt("1"), bad("2"), adt("3")], 3);
    assert_eq!(acks(&sender.send(&batch).await), ["AA 1", "AE 2", "AA 3"]);
    assert_eq!(acks(&sender.send(&batch).await), ["AA 1", "AE 2", "AA 3"]);
    site.until_files("out", 2).await;
    assert_eq!(site.count("SELECT count(*) FROM work").await, 2);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_big_file_survives_crashes_and_each_message_is_there_once() {
    // Without control ids nothing but the row of the interchange tells what was done.
    let text = site("").replace("inbound: { batch: {  } }", "inbound: { validation: { level: none } }");
    let text = text.replace("{hl7.control_id}", "{message.id}").replace("order: strict", "order: none");
    let mut site = Site::start(&text).await;
    let messages: Vec<String> =
        (0..3_000).map(|number| adt("").replace("Doe", &format!("D{number}"))).collect();
    site.put("in/big", &file(&messages, 3_000));
    let (mut seen, mut in_the_middle) = (0, 0);
    for _ in 0..6 {
        // Somewhere in the middle, wherever that is by now.
        let end = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
        while site.count("SELECT count(*) FROM interchange_item").await <= seen {
            assert!(tokio::time::Instant::now() < end, "nothing more is stored after {seen} messages");
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        site = site.crash_and_restart().await;
        in_the_middle += site.count("SELECT count(*) FROM interchange WHERE finished_at IS NULL").await;
        seen = site.count("SELECT count(*) FROM interchange_item").await;
        if seen == 3_000 {
            break;
        }
    }
    assert!(in_the_middle > 0, "no crash came in the middle");
    site.until("SELECT count(*) FROM interchange WHERE finished_at IS NOT NULL", 1).await;
    assert_eq!(site.count("SELECT count(*) FROM interchange_item").await, 3_000);
    assert_eq!(site.count("SELECT count(*) FROM message").await, 3_000);
    assert_eq!(site.count("SELECT count(DISTINCT body_sha256) FROM message").await, 3_000);
    assert_eq!(site.count("SELECT count(*) FROM work").await, 3_000);
    site.until_files("in/done", 1).await;
    site.stop().await;
}
