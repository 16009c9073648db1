//! Where the answers to a batch go, and what answers to our batches become.

use sqlx::Connection;

use crate::support::{Site, acks, adt, bad, file_of as file};

/// A site that takes files and frames, and has its answers go through a send port.
fn site(batch: &str, route: &str, acks: &str) -> String {
    format!(
        r#"
parties:
  source:
    identify: [{{ sending_app: REG }}, {{ batch_sending_app: REG }}]
    inbound:
      batch: {{ {batch} }}
      acknowledgment: {{ from: {{ app: MESA_IS }}{route} }}
receive_ports:
  in:
    locations:
      mllp: {{ adapter: {{ mllp: {{ socket: {{ listen: 127.0.0.1:0 }} }} }} }}
      folder: {{ adapter: {{ folder: {{ path: in/, every: 20ms, stable_for: 40ms }} }} }}
send_ports:
  out:
    target: {{ folder: {{ path: out/ }} }}
    filter: {{ any: [{{ hl7.event: A03 }}, {{ batch.kind: {{ present: true }} }}] }}
    order: strict
  acks:
    target: {{ folder: {{ path: acks/ }} }}
    order: strict
    {acks}
"#
    )
}

const ROUTE: &str = ", route: { port: acks }";

/// Scenario S4: each acknowledgment by itself.
#[tokio::test(flavor = "multi_thread")]
async fn acknowledgments_of_a_file_leave_one_by_one_through_the_port_of_its_sender() {
    let site = Site::start(&site("answer: each", ROUTE, "")).await;
    site.put("in/two", &file(&[adt("000001"), adt("000002")]));
    site.until_files("acks", 2).await;
    let files = site.contents("acks");
    assert_eq!(files.iter().flat_map(|file| acks(file)).collect::<Vec<_>>(), ["AA 000001", "AA 000002"]);
    assert!(files.iter().all(|file| file.starts_with("MSH|^~\\&|MESA_IS||REG|N|")), "{files:?}");
    site.until_files("out", 2).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_a_file_leaves_as_one_batch_through_the_port_of_its_sender() {
    let three = [adt("1"), bad("2"), adt("3")];
    for (word, expected) in [("batch", vec!["AA 1", "AE 2", "AA 3"]), ("negative_only", vec!["AE 2"])] {
        let site = Site::start(&site(&format!("answer: {word}"), ROUTE, "")).await;
        site.put("in/three", &file(&three));
        site.until_files("acks", 1).await;
        let answer = &site.contents("acks")[0];
        assert!(answer.starts_with("FHS|^~\\&|MESA_IS||REG|N|"), "{answer}");
        assert!(answer.ends_with(&format!("BTS|{}\rFTS|1\r", expected.len())), "{answer}");
        assert!(answer.lines().next().unwrap().contains("|F1\r"), "FHS-12 names the file: {answer}");
        assert_eq!(acks(answer), expected);
        site.until_files("out", 2).await;
        let row = "SELECT m.message_type FROM interchange_item i JOIN message m ON m.id = i.message_id WHERE i.number = -1";
        assert_eq!(site.texts(row).await, ["BATCH"]);
        site.stop().await;
    }
    let nobody = Site::start(&site("answer: none", ROUTE, "")).await;
    nobody.put("in/three", &file(&three));
    nobody.until_files("in/done", 1).await;
    assert_eq!(nobody.count("SELECT count(*) FROM message").await, 3);
    nobody.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_a_file_reaches_those_who_subscribe_to_acknowledgments_and_nobody_else() {
    let text = site("answer: batch", "", "filter: { ack.generated: true, batch.kind: file }");
    let site = Site::start(&text).await;
    site.put("in/two", &file(&[adt("1"), adt("2")]));
    site.until_files("acks", 1).await;
    assert_eq!(acks(&site.contents("acks")[0]), ["AA 1", "AA 2"]);
    // A frame is answered on its connection, and they get the same.
    let answer = site.sender().await.send(&file(&[adt("3")])).await;
    assert_eq!(acks(&answer), ["AA 3"]);
    site.until_files("acks", 2).await;
    assert_eq!(site.contents("acks")[1], answer);
    site.until_files("out", 3).await;
    site.stop().await;
}

/// Scenario S5: one acknowledgment, or a batch of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_passes_whole_is_answered_once_or_by_a_batch() {
    let one = Site::start(&site("take: whole, answer: each", ROUTE, "")).await;
    one.put("in/a", &[adt("000001"), adt("000002")].concat());
    one.until_files("acks", 1).await;
    assert_eq!(acks(&one.contents("acks")[0]), ["AA 000001"]);
    one.put("in/b", &[adt("3"), bad("4"), adt("5")].concat());
    one.until_files("acks", 2).await;
    assert_eq!(acks(&one.contents("acks")[1]), ["AE 4"], "what is wrong is said");
    one.until_files("out", 2).await;
    assert_eq!(one.contents("out"), [[adt("000001"), adt("000002")].concat(), [adt("3"), adt("5")].concat()]);
    one.stop().await;
    let batch = Site::start(&site("take: whole, answer: batch", ROUTE, "")).await;
    batch.put("in/a", &[adt("1"), bad("2"), adt("3")].concat());
    batch.until_files("acks", 1).await;
    assert_eq!(acks(&batch.contents("acks")[0]), ["AA 1", "AE 2", "AA 3"]);
    batch.stop().await;
    let here = Site::start(&site("take: whole, answer: each", "", "")).await;
    let answer = here.sender().await.send(&[adt("000001"), adt("000002")].concat()).await;
    assert_eq!(acks(&answer), ["AA 000001"]);
    here.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_refused_as_a_whole_is_answered_so() {
    let site = Site::start(&site("on_bad: refuse_all, answer: batch", ROUTE, "")).await;
    site.put("in/two", &file(&[adt("1"), bad("2")]));
    site.until_files("acks", 1).await;
    assert_eq!(acks(&site.contents("acks")[0]), ["AR F1"]);
    assert_eq!(site.parked().await, ["batch.refused"]);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_a_batch_leaves_once_although_its_end_could_not_be_written_down() {
    let site = Site::start(&site("answer: batch", ROUTE, "")).await;
    let mut owner = sqlx::PgConnection::connect_with(&site.database).await.unwrap();
    break_writes(&mut owner, "BEFORE UPDATE ON interchange").await;
    site.put("in/two", &file(&[adt("1"), adt("2")]));
    site.until_files("acks", 1).await;
    site.until_failure("in/folder").await;
    sqlx::query("DROP TRIGGER broken ON interchange").execute(&mut owner).await.unwrap();
    site.until_files("in/done", 1).await;
    assert_eq!(site.count("SELECT count(*) FROM message WHERE message_type = 'BATCH'").await, 1);
    assert_eq!(site.files("acks").len(), 1);
    site.stop().await;
}

/// An acknowledgment of its own, for a message of a batch of ours: stored and noted together or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_receiver_says_is_noted_with_its_acknowledgment_or_not_at_all() {
    let text = "
receive_ports:
  in:
    locations:
      mllp: { adapter: { mllp: { socket: { listen: 127.0.0.1:0 } } } }
      folder: { adapter: { folder: { path: in/, every: 20ms, stable_for: 40ms } } }
send_ports:
  out:
    target: { folder: { path: out/ } }
    filter: { hl7.event: A03 }
    batch: { release: { count: 2 }, answer: { expect: batch, within: 1d } }
";
    let site = Site::start(text).await;
    let mut sender = site.sender().await;
    for number in ["1", "2"] {
        sender.send(&adt(number)).await;
    }
    site.until_files("out", 1).await;
    let mut owner = sqlx::PgConnection::connect_with(&site.database).await.unwrap();
    break_writes(&mut owner, "BEFORE INSERT ON message").await;
    site.put("in/ack", "MSH|^~\\&|BILL|N|||20260301||ACK|A1|P|2.5.1\rMSA|AE|1\r");
    site.until_failure("in/folder").await;
    assert_eq!(site.count("SELECT count(*) FROM collector_item WHERE outcome <> ''").await, 0);
    sqlx::query("DROP TRIGGER broken ON message").execute(&mut owner).await.unwrap();
    // The file is tried again, and now both are there.
    site.until_files("in/done", 1).await;
    assert_eq!(site.texts("SELECT outcome FROM collector_item ORDER BY number").await, ["AE", ""]);
    assert_eq!(site.count("SELECT count(*) FROM tracking WHERE kind = 9").await, 2);
    assert_eq!(site.count("SELECT count(*) FROM tracking WHERE kind = 18").await, 0, "it was awaited");
    // The same answer once more changes nothing; another one is late.
    site.put("in/again", "MSH|^~\\&|BILL|N|||20260301||ACK|A9|P|2.5.1\rMSA|AA|1\r");
    site.until_files("in/done", 2).await;
    assert_eq!(site.texts("SELECT outcome FROM collector_item ORDER BY number").await, ["AE", ""]);
    site.until("SELECT count(*) FROM tracking WHERE kind = 18", 1).await;
    site.stop().await;
}

/// From now on these writes fail, as on a disk that is full.
async fn break_writes(owner: &mut sqlx::PgConnection, which: &str) {
    let function = "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS
                    $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END $$";
    sqlx::query(function).execute(&mut *owner).await.unwrap();
    let trigger = format!("CREATE TRIGGER broken {which} FOR EACH ROW EXECUTE FUNCTION broken()");
    sqlx::query(sqlx::AssertSqlSafe(trigger)).execute(owner).await.unwrap();
}
