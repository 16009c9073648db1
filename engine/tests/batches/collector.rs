//! Batches out: each message in exactly one, closed by count, size or time, and reconciled with the answer.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use orderly_engine::clock::Clock;
use orderly_hl7::Message;
use orderly_hl7::mllp::{Deframer, FrameLimits, frame};
use sqlx::Connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{Site, acks, adt, control_ids};

/// A site that collects everything for its party.
pub(crate) fn site(target: &str, batch: &str) -> String {
    format!(
        r#"
parties:
  billing:
    address: {{ app: BILL, facility: NORTH }}
receive_ports:
  in:
    locations:
      mllp: {{ adapter: {{ mllp: {{ socket: {{ listen: 127.0.0.1:0 }} }} }} }}
      folder: {{ adapter: {{ folder: {{ path: in/, every: 20ms, stable_for: 40ms }} }} }}
send_ports:
  out:
    party: billing
    target: {target}
    filter: {{ hl7.event: A03 }}
    batch: {{ {batch} }}
"#
    )
}

pub(crate) const FOLDER: &str = "{ folder: { path: out/, name: \"{message.id}-{batch.control_id}.hl7\" } }";

/// Scenario S6.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_closes_by_count_and_the_rest_when_nothing_more_comes() {
    let site = Site::start(&site(FOLDER, "release: { count: 2, idle: 300ms }")).await;
    let mut sender = site.sender().await;
    for number in ["1", "2", "3"] {
        assert_eq!(acks(&sender.send(&adt(number)).await), [format!("AA {number}")]);
    }
    site.until_files("out", 2).await;
    let files = site.contents("out");
    let lines: Vec<&str> = files[0].split_inclusive('\r').collect();
    assert!(lines[0].starts_with("FHS|^~\\&|batches||BILL|NORTH|20"), "{}", lines[0]);
    assert!(lines[1].starts_with("BHS|^~\\&|batches||BILL|NORTH|20"), "{}", lines[1]);
    assert_eq!(lines[0][3..], lines[1][3..]);
    assert_eq!(lines[2..lines.len() - 2].concat(), [adt("1"), adt("2")].concat());
    assert_eq!(lines[lines.len() - 2..].concat(), "BTS|2\rFTS|1\r");
    assert_eq!(control_ids(&files[1]), ["3"]);
    assert!(files[1].ends_with("BTS|1\rFTS|1\r"));
    let causes = "SELECT cause FROM collector WHERE state = 2 ORDER BY id";
    assert_eq!(site.texts(causes).await, ["count", "time"]);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_around_a_batch_say_what_its_receiver_wants() {
    let own = "header: { FHS-8: key, BHS-3: HUB, BHS-9: RESULTS^DAY, BHS-10: of the day }";
    let site = Site::start(&site(FOLDER, &format!("release: {{ count: 1 }}, {own}"))).await;
    site.sender().await.send(&adt("1")).await;
    site.until_files("out", 1).await;
    let file = site.contents("out").remove(0);
    let fields: Vec<Vec<&str>> = file.split('\r').take(2).map(|line| line.split('|').collect()).collect();
    assert_eq!((fields[0][2], fields[0][7], fields[0][8]), ("batches", "key", ""), "{file}");
    assert_eq!((fields[1][2], fields[1][4], fields[1][7]), ("HUB", "BILL", ""), "{file}");
    assert_eq!((fields[1][8], fields[1][9]), ("RESULTS^DAY", "of the day"), "{file}");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_leaves_when_its_first_message_is_old_enough() {
    let clock = Clock::manual("2026-11-20T12:00:00Z".parse().unwrap());
    let site = Site::start_at(&site(FOLDER, "release: { oldest: 10m }"), clock.clone()).await;
    site.sender().await.send(&adt("1")).await;
    site.until("SELECT count(*) FROM collector_item", 1).await;
    clock.set("2026-11-20T12:09:00Z".parse().unwrap());
    site.sender().await.send(&adt("2")).await;
    site.until("SELECT count(*) FROM collector_item", 2).await;
    assert_eq!(site.count("SELECT count(*) FROM collector WHERE state = 2").await, 0);
    clock.set("2026-11-20T12:10:01Z".parse().unwrap());
    site.until_files("out", 1).await;
    assert_eq!(control_ids(&site.contents("out")[0]), ["1", "2"]);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn size_groups_order_and_envelope_are_as_the_site_says() {
    let two = 2 * adt("1").len();
    let batch = format!("release: {{ bytes: {two}B, idle: 300ms }}, envelope: bare");
    let bytes = Site::start(&site(FOLDER, &batch)).await;
    bytes.put("in/five", &["1", "2", "3", "4", "5"].map(adt).concat());
    bytes.until_files("out", 3).await;
    let files = bytes.contents("out");
    assert_eq!(files, [[adt("1"), adt("2")].concat(), [adt("3"), adt("4")].concat(), adt("5")]);
    bytes.stop().await;
    let batch = "release: { idle: 300ms }, group_by: [hl7.receiving_app], order: control_id, envelope: batch";
    let groups = Site::start(&site(FOLDER, batch)).await;
    let other = |id: &str| adt(id).replace("|ORD|", "|LAB|");
    groups.put("in/five", &[adt("3"), other("5"), adt("1"), other("4"), adt("2")].concat());
    groups.until_files("out", 2).await;
    let mut found: Vec<Vec<String>> = groups.contents("out").iter().map(|file| control_ids(file)).collect();
    found.sort();
    assert_eq!(found, [["1", "2", "3"].to_vec(), ["4", "5"].to_vec()]);
    assert!(groups.contents("out").iter().all(|file| file.starts_with("BHS|") && !file.contains("FTS|")));
    groups.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_batch_leaves_where_the_site_wants_it() {
    let site = Site::start(&site(FOLDER, "release: { cron: \"* * * * * *\" }, empty: send")).await;
    site.until("SELECT least(count(*), 2) FROM tracking WHERE kind = 6", 2).await;
    assert!(site.contents("out").iter().all(|file| file.ends_with("BTS|0\rFTS|1\r")));
    site.stop().await;
}

/// Scenario S12.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_at_the_cut_off_is_in_exactly_one_batch() {
    let at = |text: &str| text.parse().unwrap();
    let clock = Clock::manual(at("2026-11-20T12:59:59Z"));
    let text = site(FOLDER, "release: { cron: 0 0 14 * * *, cut_off: true }");
    let site = Site::start_at(&text, clock.clone()).await;
    let mut sender = site.sender().await;
    for number in 0..200 {
        // The last but one of a second, the very instant, and behind it.
        match number {
            100 => clock.set(at("2026-11-20T12:59:59.999999Z")),
            120 => clock.set(at("2026-11-20T13:00:00Z")),
            150 => clock.set(at("2026-11-20T13:00:00.5Z")),
            _ => {}
        }
        sender.send(&adt(&format!("{number:03}"))).await;
    }
    site.until("SELECT count(*) FROM collector_item", 200).await;
    assert_eq!(site.files("out").len(), 0, "it stays open a moment, for what is still on its way");
    clock.set(at("2026-11-20T13:00:05Z"));
    site.until_files("out", 1).await;
    sender.send(&adt("late")).await;
    clock.set(at("2026-11-21T13:00:05Z"));
    site.until_files("out", 2).await;
    let files: Vec<Vec<String>> = site.contents("out").iter().map(|file| control_ids(file)).collect();
    let expected: Vec<String> = (0..200).map(|number| format!("{number:03}")).collect();
    assert_eq!(files[0], expected[..120]);
    assert_eq!(files[1][..80], expected[120..]);
    assert_eq!(files[1][80..], ["late"]);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_leave_each_message_in_exactly_one_batch() {
    let mut site = Site::start(&site(FOLDER, "release: { count: 50 }")).await;
    let all: Vec<String> = (0..1_000).map(|number| format!("{number:04}")).collect();
    site.put("in/all", &all.iter().map(|id| adt(id)).collect::<String>());
    let (mut seen, mut in_the_middle) = (0, 0);
    for _ in 0..5 {
        let end = tokio::time::Instant::now() + Duration::from_secs(30);
        while seen < 1_000 && site.count("SELECT count(*) FROM collector_item").await <= seen {
            assert!(tokio::time::Instant::now() < end, "nothing more is collected after {seen}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        site = site.crash_and_restart().await;
        in_the_middle += i64::from(site.files("out").len() < 20);
        seen = site.count("SELECT count(*) FROM collector_item").await;
    }
    assert!(in_the_middle > 0, "no crash came in the middle");
    site.until_files("out", 20).await;
    let files: Vec<Vec<String>> = site.contents("out").iter().map(|file| control_ids(file)).collect();
    assert!(files.iter().all(|file| file.len() == 50));
    let found: BTreeSet<String> = files.concat().into_iter().collect();
    assert_eq!(found.into_iter().collect::<Vec<_>>(), all);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_a_batch_is_noted_at_each_of_its_messages() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("{{ mllp: {{ socket: {{ connect: {} }} }} }}", listener.local_addr().unwrap());
    let site = Site::start(&site(&target, "release: { count: 3 }")).await;
    let receiver = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut deframer, mut buffer) = (Deframer::new(FrameLimits::default()), [0; 4096]);
        let got = loop {
            if let Some(got) = deframer.next() {
                break got.unwrap().bytes;
            }
            let count = stream.read(&mut buffer).await.unwrap();
            deframer.push(&buffer[..count]);
        };
        let batch = Message::parse(got.clone()).unwrap().header().control_id;
        let ack = |code: &str, id: &str| {
            format!("MSH|^~\\&|BILL|N|||20260301||ACK|A{id}|P|2.5.1\rMSA|{code}|{id}\r")
        };
        let answers = [ack("AA", "1"), ack("AE", "2"), ack("AA", "3")].concat();
        let answer = format!("BHS|^~\\&|BILL||||20260301||||9|{batch}\r{answers}BTS|3\r");
        stream.write_all(&frame(answer.as_bytes())).await.unwrap();
        (String::from_utf8(got).unwrap(), stream)
    };
    let mut sender = site.sender().await;
    for number in ["1", "2", "3"] {
        sender.send(&adt(number)).await;
    }
    let (got, _open) = tokio::time::timeout(Duration::from_secs(30), receiver).await.unwrap();
    assert_eq!(control_ids(&got), ["1", "2", "3"]);
    site.until("SELECT count(*) FROM collector_item WHERE outcome <> ''", 3).await;
    let outcomes = "SELECT control_id || ' ' || outcome FROM collector_item ORDER BY number";
    assert_eq!(site.texts(outcomes).await, ["1 AA", "2 AE", "3 AA"]);
    site.until("SELECT count(*) FROM tracking WHERE kind = 9", 3).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_come_as_a_file_are_noted_too() {
    let batch = "release: { count: 2 }, answer: { expect: batch, within: 1d }";
    let site = Site::start(&site(FOLDER, batch)).await;
    let mut sender = site.sender().await;
    for number in ["1", "2"] {
        sender.send(&adt(number)).await;
    }
    site.until_files("out", 1).await;
    let ack =
        |code: &str, id: &str| format!("MSH|^~\\&|BILL|N|||20260301||ACK|A{id}|P|2.5.1\rMSA|{code}|{id}\r");
    site.put("in/answers", &format!("BHS|^~\\&|BILL\r{}{}BTS|2\r", ack("AR", "2"), ack("AA", "1")));
    site.until("SELECT count(*) FROM collector_item WHERE outcome <> ''", 2).await;
    let outcomes = "SELECT control_id || ' ' || outcome FROM collector_item ORDER BY number";
    assert_eq!(site.texts(outcomes).await, ["1 AA", "2 AR"]);
    assert_eq!(site.count("SELECT count(*) FROM tracking WHERE kind = 18").await, 0, "nobody is late");
    site.stop().await;
}

/// Scenario S6: a daylight-saving change at closing by cron.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_leaves_once_on_the_days_on_which_the_clocks_change() {
    for (before, instants, causes) in [
        // Spring: 02:30 is skipped, so 03:00 counts (01:00 UTC).
        ("2026-03-28T12:00:00Z", ["2026-03-29T00:59:59Z", "2026-03-29T01:00:01Z", "2026-03-30T00:30:01Z"], 2),
        // Autumn: 02:30 comes twice, and the first one counts (00:30 UTC).
        ("2026-10-24T12:00:00Z", ["2026-10-25T00:29:59Z", "2026-10-25T00:30:01Z", "2026-10-26T01:30:01Z"], 2),
    ] {
        let clock = Clock::manual(before.parse().unwrap());
        let text = r#"
receive_ports:
  in: { locations: { mllp: { adapter: { mllp: { socket: { listen: 127.0.0.1:0 } } } } } }
send_ports:
  out:
    target: { folder: { path: out/ } }
    filter: { hl7.event: A03 }
    batch: { release: { cron: 0 30 2 * * * } }
"#;
        let site = Site::start_at(text, clock.clone()).await;
        // What the hourly look at the partitions would have made in all these hours.
        let mut owner = sqlx::PgConnection::connect_with(&site.database).await.unwrap();
        for instant in instants {
            let make = "SELECT ensure_partitions($1::timestamptz, 1, 3)";
            let at: DateTime<Utc> = instant.parse().unwrap();
            sqlx::query(make).bind(at).execute(&mut owner).await.unwrap();
        }
        assert_eq!(acks(&site.sender().await.send(&adt("1")).await), ["AA 1"]);
        site.until("SELECT count(*) FROM collector_item", 1).await;
        clock.set(instants[0].parse().unwrap());
        assert_eq!(acks(&site.sender().await.send(&adt("2")).await), ["AA 2"]);
        site.until("SELECT count(*) FROM collector_item", 2).await;
        assert_eq!(site.count("SELECT count(*) FROM collector WHERE state = 2").await, 0);
        clock.set(instants[1].parse().unwrap());
        site.until_files("out", 1).await;
        // The second 02:30 of the autumn night closes nothing.
        clock.set(instants[1].parse::<DateTime<Utc>>().unwrap() + TimeDelta::hours(1));
        assert_eq!(acks(&site.sender().await.send(&adt("3")).await), ["AA 3"]);
        site.until("SELECT count(*) FROM collector_item", 3).await;
        assert_eq!(site.count("SELECT count(*) FROM collector WHERE state = 2").await, 1);
        clock.set(instants[2].parse().unwrap());
        site.until_files("out", causes).await;
        site.stop().await;
    }
}
