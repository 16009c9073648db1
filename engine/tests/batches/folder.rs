//! Files in, files out: each once, whoever dies.

use std::time::Duration;

use crate::support::{Site, adt, bad};

const FOLDERS: &str = r#"
receive_ports:
  in:
    locations:
      folder:
        adapter: { folder: { path: in/, mask: "*.hl7", every: 20ms, stable_for: 40ms } }
send_ports:
  out:
    target: { folder: { path: out/, name: "{hl7.type}-{hl7.control_id}.hl7" } }
    filter: { hl7.event: A03 }
    retry: { wait: 20ms, most: 50ms }
    breaker: { failures: 100000 }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_file_becomes_a_message_and_the_message_a_file_named_after_its_facts() {
    let site = Site::start(FOLDERS).await;
    site.put("in/one.hl7", &adt("A1"));
    site.until_files("out", 1).await;
    assert_eq!(site.files("out"), [("ADT-A1.hl7".to_owned(), adt("A1"))]);
    site.until_files("in/done", 1).await;
    assert_eq!(site.files("in/done"), [("one.hl7".to_owned(), adt("A1"))]);
    assert_eq!(site.files("in"), []);
    site.until("SELECT count(*) FROM interchange WHERE finished_at IS NOT NULL AND messages = 1", 1).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_stay_where_they_are_while_the_database_host_is_nearly_out_of_disk() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let site = Site::start(FOLDERS).await;
    let full = std::sync::Arc::new(AtomicBool::new(true));
    let (read, disk) = (full.clone(), site.engine.store().disk().clone());
    disk.watch(move || Ok(if read.load(Ordering::SeqCst) { 4.9 } else { 12.1 }));
    site.put("in/one.hl7", &adt("A1"));
    assert!(site.until_failure("in/folder").await.contains("nearly full"));
    assert_eq!(site.files("in"), [("one.hl7".to_owned(), adt("A1"))]);
    full.store(false, Ordering::SeqCst);
    disk.look();
    site.until_files("out", 1).await;
    site.until_files("in/done", 1).await;
    assert_eq!(site.contents("out"), [adt("A1")]);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn temporary_hidden_and_foreign_names_stay_where_they_are() {
    let site = Site::start(FOLDERS).await;
    for name in ["in/.hidden.hl7", "in/half.hl7.tmp", "in/other.txt", "in/up.hl7.filepart"] {
        std::fs::write(site.data.join(name), adt("A1")).unwrap();
    }
    site.put("in/last.hl7", &adt("A2"));
    site.until_files("out", 1).await;
    assert_eq!(site.contents("out"), [adt("A2")]);
    assert_eq!(site.files("in").len(), 3);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_still_grows_is_not_taken_before_it_stands_still() {
    let slow = FOLDERS.replace("stable_for: 40ms", "stable_for: 400ms");
    let site = Site::start(&slow).await;
    let path = site.data.join("in/grows.hl7");
    for number in 0..12 {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
        file.write_all(adt(&format!("A{number}")).as_bytes()).unwrap();
        drop(file);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(path.exists(), "it was taken while it grew, after {number} messages");
    }
    site.until_files("out", 12).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_taken_by_name_or_by_time() {
    for (order, expected) in [("name", ["A1", "A2", "A3"]), ("time", ["A3", "A2", "A1"])] {
        let text = FOLDERS.replace("stable_for: 40ms", &format!("stable_for: 40ms, order: {order}"));
        let text = text.replace("retry:", "order: strict\n    retry:");
        let site = Site::start(&text).await;
        let old = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        for (number, age) in [(1, 30), (2, 20), (3, 10)] {
            let part = site.data.join(format!("in/{number}.tmp"));
            std::fs::write(&part, adt(&format!("A{number}"))).unwrap();
            let file = std::fs::File::options().write(true).open(&part).unwrap();
            file.set_modified(old + Duration::from_secs(age)).unwrap();
        }
        // They appear at once, so that one look sees all of them.
        let held = site.data.join("held");
        std::fs::rename(site.data.join("in"), &held).unwrap();
        for number in 1..=3 {
            std::fs::rename(held.join(format!("{number}.tmp")), held.join(format!("{number}.hl7"))).unwrap();
        }
        std::fs::rename(&held, site.data.join("in")).unwrap();
        site.until_files("out", 3).await;
        let ids = site.texts("SELECT control_id FROM message ORDER BY id").await;
        assert_eq!(ids, expected, "by {order}");
        site.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_no_message_at_all_is_shown_and_does_not_stop_the_others() {
    let site = Site::start(FOLDERS).await;
    site.put("in/a.hl7", "no message at all\n");
    site.put("in/b.hl7", &bad("A1"));
    site.put("in/c.hl7", &adt("A2"));
    site.until_files("out", 1).await;
    site.until_files("in/done", 3).await;
    assert_eq!(site.parked().await, ["refused", "unreadable"]);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_above_the_limit_is_set_aside_with_its_reason() {
    let site = Site::start(&FOLDERS.replace("every: 20ms", "largest: 1MiB, every: 20ms")).await;
    let long = format!("{}NTE|1||{}\r", adt("A1"), "x".repeat(1 << 20));
    site.put("in/long.hl7", &long);
    site.until_files("in/failed", 2).await;
    let failed = site.files("in/failed");
    assert_eq!(failed[0], ("long.hl7".to_owned(), long));
    assert_eq!(failed[1].1, "the batch is larger than 1 MiB\n");
    assert_eq!(site.parked().await, ["batch.too_large"]);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_more_messages_or_bytes_than_any_may_have_is_set_aside_as_a_whole() {
    let site = Site::start(FOLDERS).await;
    let many: String =
        (0..=100_000).map(|number| format!("MSH|^~\\&|REG|N|||||ADT^A03|{number}|P|2.5\r")).collect();
    site.put("in/many.hl7", &many);
    // A hundred times 256 MiB, which nobody reads: it takes no place on the disk either.
    let part = site.data.join("in/large.part");
    std::fs::File::create(&part).unwrap().set_len(100 * (256 << 20)).unwrap();
    std::fs::rename(&part, site.data.join("in/large.hl7")).unwrap();
    site.until("SELECT count(*) FROM parked", 2).await;
    assert_eq!(site.parked().await, ["batch.too_large", "batch.too_many"]);
    assert_eq!(site.count("SELECT count(*) FROM interchange_item").await, 2, "each is one entry, as a whole");
    assert_eq!(site.files("out"), []);
    let reason = |name: &str| std::fs::read_to_string(site.data.join("in/failed").join(name));
    let end = tokio::time::Instant::now() + Duration::from_secs(15);
    while reason("many.hl7.reason.txt").is_err() || reason("large.hl7.reason.txt").is_err() {
        assert!(tokio::time::Instant::now() < end, "no reason beside the files");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(reason("many.hl7.reason.txt").unwrap(), "the batch has 100001 messages, more than 100000\n");
    assert_eq!(reason("large.hl7.reason.txt").unwrap(), "the batch is larger than 256 MiB\n");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_away_is_shown_and_taken_up_again() {
    let site = Site::start(FOLDERS).await;
    std::fs::rename(site.data.join("in"), site.data.join("away")).unwrap();
    let end = tokio::time::Instant::now() + Duration::from_secs(15);
    while !site.outside.ports.failures().contains_key("in/folder") {
        assert!(tokio::time::Instant::now() < end, "nobody says that the folder is away");
        site.outside.ports.look().await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    std::fs::rename(site.data.join("away"), site.data.join("in")).unwrap();
    site.put("in/one.hl7", &adt("A1"));
    site.until_files("out", 1).await;
    site.outside.ports.look().await.unwrap();
    assert!(!site.outside.ports.failures().contains_key("in/folder"));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_away_is_tried_again_and_nothing_is_lost() {
    let site = Site::start(FOLDERS).await;
    site.put("in/one.hl7", &adt("A1"));
    site.until_files("out", 1).await;
    std::fs::rename(site.data.join("out"), site.data.join("gone")).unwrap();
    site.put("in/two.hl7", &adt("A2"));
    site.until("SELECT count(*) FROM parked WHERE code = 'folder.missing' AND attempt > 2", 1).await;
    std::fs::create_dir(site.data.join("out")).unwrap();
    site.until_files("out", 1).await;
    assert_eq!(site.contents("out"), [adt("A2")]);
    site.until("SELECT count(*) FROM parked", 0).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_file_of_the_same_name_is_never_overwritten() {
    let site = Site::start(&FOLDERS.replace("{hl7.type}-{hl7.control_id}", "{hl7.type}")).await;
    site.put("in/one.hl7", &adt("A1"));
    site.until_files("out", 1).await;
    site.put("in/two.hl7", &adt("A2"));
    site.until("SELECT count(*) FROM parked WHERE code = 'file.exists' AND state = 2", 1).await;
    assert_eq!(site.files("out"), [("ADT.hl7".to_owned(), adt("A1"))]);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_grow_or_are_replaced_where_the_site_says_so() {
    for (word, expected) in [("append", format!("{}{}", adt("A1"), adt("A2"))), ("replace", adt("A2"))] {
        let text = FOLDERS
            .replace("\"{hl7.type}-{hl7.control_id}.hl7\"", &format!("all.hl7, write: {word}"))
            .replace("retry:", "order: strict\n    retry:");
        let site = Site::start(&text).await;
        site.put("in/1.hl7", &format!("{}{}", adt("A1"), adt("A2")));
        site.until("SELECT count(*) FROM tracking WHERE kind = 6", 2).await;
        assert_eq!(site.files("out"), [("all.hl7".to_owned(), expected)]);
        site.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_take_each_file_once() {
    let site = Site::start(FOLDERS).await;
    let other = site.another_node().await;
    for number in 0..40 {
        site.put(&format!("in/{number}.hl7"), &adt(&format!("A{number}")));
    }
    site.until_files("out", 40).await;
    site.until_files("in/done", 40).await;
    assert_eq!(site.count("SELECT count(*) FROM interchange").await, 40);
    assert_eq!(site.count("SELECT count(*) FROM message").await, 40);
    other.stop().await;
    site.stop().await;
}
