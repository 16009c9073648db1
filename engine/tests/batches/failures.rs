//! What goes wrong with folders: each file is taken and written once, or a person is told what to do, and it goes on once
//! it is mended.

use std::os::unix::fs::symlink;

use orderly_engine::access;
use orderly_engine::alert::Watch;
use orderly_engine::ids::ParkedId;
use orderly_engine::operate::{Fate, work};

use crate::support::{Site, adt, file_of};

const SITE: &str = r#"
teams:
  desk: { title: Desk, roles: [], email: desk@n.example }
alerts:
  team: desk
  rules:
    down: { when: { port_down: { over: 0s } }, clear: 0s }
receive_ports:
  in:
    locations:
      folder:
        adapter: { folder: { path: in/, mask: "*.hl7", every: 20ms, stable_for: 40ms } }
send_ports:
  out:
    target: { folder: { path: out/, name: "{hl7.control_id}.hl7" } }
    filter: { hl7.event: A03 }
    order: none
    retry: { wait: 20ms, most: 50ms }
    breaker: { failures: 100000 }
"#;

async fn alerts(site: &Site) -> Vec<String> {
    let (engine, ports) = (&site.engine, site.outside.ports.clone());
    let mut watch = Watch::new(engine.store().clone(), engine.running().clone(), Some(ports));
    watch.look().await.unwrap();
    site.texts("SELECT rule || ' ' || object || ': ' || text FROM alert WHERE closed_at IS NULL ORDER BY 1")
        .await
}

/// Resumes all that waits for a person.
async fn resume(site: &Site) {
    let wanted: Vec<(i64, i32)> = sqlx::query_as("SELECT id, version FROM parked WHERE state = 2")
        .fetch_all(site.engine.store().pool())
        .await
        .unwrap();
    let wanted: Vec<(ParkedId, i32)> =
        wanted.into_iter().map(|(id, version)| (ParkedId(id), version)).collect();
    let who = access::Entry {
        person: "erin",
        session: None,
        address: "",
        action: "work.resumed",
        object_kind: "parked",
        object: "",
        reason: "mended",
        result: "done",
        at: site.engine.store().clock().now(),
    };
    let many = work(site.engine.store(), &site.engine.current(), Fate::Resume, &wanted, who).await.unwrap();
    assert_eq!(many.done, wanted.len(), "{many:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_delays_a_file_and_leaves_no_half_of_it() {
    let site = Site::start(SITE).await;
    std::fs::create_dir_all(site.data.join("out")).unwrap();
    // Whatever is written here finds no space left.
    symlink("/dev/full", site.data.join("out/A1.hl7.part")).unwrap();
    site.put("in/one.hl7", &adt("A1"));
    site.until("SELECT count(*) FROM tracking WHERE kind = 7", 1).await;
    // The next attempt finds what the first one cleared away.
    site.until_files("out", 1).await;
    assert_eq!(site.files("out"), [("A1.hl7".to_owned(), adt("A1"))]);
    site.until("SELECT count(*) FROM parked", 0).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_may_not_be_written_to_is_told_of_and_taken_up_again() {
    let site = Site::start(SITE).await;
    let _made_already = std::fs::remove_dir(site.data.join("out"));
    // Nobody may make files there, not even root.
    symlink("/sys/kernel", site.data.join("out")).unwrap();
    site.put("in/one.hl7", &adt("A1"));
    site.until("SELECT count(*) FROM parked WHERE code = 'file.not_written' AND attempt > 2", 1).await;
    let reason = &site.texts("SELECT reason FROM parked").await[0];
    assert!(reason.starts_with("folder out/: the file could not be written: "), "{reason}");
    assert!(!reason.contains("A1"), "names of files may name patients: {reason}");
    let told = alerts(&site).await;
    assert!(told.len() == 1 && told[0].starts_with("down out: "), "{told:?}");
    std::fs::remove_file(site.data.join("out")).unwrap();
    std::fs::create_dir(site.data.join("out")).unwrap();
    site.until_files("out", 1).await;
    site.until("SELECT count(*) FROM parked", 0).await;
    assert_eq!(site.count("SELECT count(*) FROM tracking WHERE kind = 6").await, 1);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_renamed_or_has_a_taken_name_waits_until_it_is_mended() {
    for (write, code) in [("create", "file.exists"), ("replace", "file.not_written")] {
        let text = SITE.replace(".hl7\" }", &format!(".hl7\", write: {write} }}"));
        let text = text.replace("retry: { wait: 20ms,", "retry: { times: 2, wait: 20ms,");
        let site = Site::start(&text).await;
        // A folder of that name: nothing can be renamed to it.
        std::fs::create_dir_all(site.data.join("out/A1.hl7")).unwrap();
        site.put("in/one.hl7", &[adt("A1"), adt("A2")].concat());
        site.until("SELECT count(*) FROM parked WHERE state = 2", 1).await;
        site.until_files("out", 1).await;
        assert!(
            site.parked().await == [code] || site.parked().await == ["send.exhausted"],
            "{:?}",
            site.parked().await
        );
        assert!(alerts(&site).await.iter().any(|told| told.starts_with("suspended-work out: ")));
        std::fs::remove_dir(site.data.join("out/A1.hl7")).unwrap();
        resume(&site).await;
        site.until_files("out", 2).await;
        site.until("SELECT count(*) FROM parked", 0).await;
        assert_eq!(site.contents("out"), [adt("A1"), adt("A2")]);
        site.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_put_away_is_taken_once_all_the_same() {
    let site = Site::start(SITE).await;
    std::fs::write(site.data.join("in/done"), "no folder").unwrap();
    site.put("in/one.hl7", &[adt("A1"), adt("A2")].concat());
    site.until_files("out", 2).await;
    let why = site.until_failure("in/folder").await;
    assert!(why.starts_with("folder in/: "), "{why}");
    let told = alerts(&site).await;
    assert!(
        told.iter().any(|told| told.starts_with("down in/folder: the location cannot work: ")),
        "{told:?}"
    );
    std::fs::remove_file(site.data.join("in/done")).unwrap();
    site.until_files("in/done", 1).await;
    assert_eq!(site.count("SELECT count(*) FROM message").await, 2);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_vanishes_while_it_is_read_is_told_to_a_person() {
    let site = Site::start(&SITE.replace("order: none", "order: strict")).await;
    // The first message cannot be stored, so it stays claimed; then somebody removes it.
    let mut owner = <sqlx::PgConnection as sqlx::Connection>::connect_with(&site.database).await.unwrap();
    for statement in [
        "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN IF new.control_id = 'A2' THEN RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END IF; RETURN new; END $$",
        "CREATE TRIGGER broken BEFORE INSERT ON message FOR EACH ROW EXECUTE FUNCTION broken()",
    ] {
        sqlx::query(statement).execute(&mut owner).await.unwrap();
    }
    site.put("in/a.hl7", &adt("A1"));
    site.until_files("out", 1).await;
    site.put("in/b.hl7", &[adt("A3"), adt("A2"), adt("A4")].concat());
    site.until_failure("in/folder").await;
    let claimed = std::fs::read_dir(site.data.join("in/.orderly")).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(claimed).unwrap();
    site.until("SELECT count(*) FROM parked WHERE code = 'file.vanished' AND state = 2", 1).await;
    let told = "SELECT count(*) FROM interchange WHERE code = 'file.vanished' AND finished_at IS NOT NULL";
    site.until(told, 1).await;
    let reason = "SELECT reason FROM interchange WHERE code = 'file.vanished' AND finished_at IS NOT NULL";
    assert!(site.texts(reason).await[0].starts_with("the file vanished before all of it was read; "));
    assert!(alerts(&site).await.iter().any(|told| told.contains("file.vanished")));
    // It comes again, and goes through; what was stored of it the first time is a repeat.
    sqlx::query("DROP TRIGGER broken ON message").execute(&mut owner).await.unwrap();
    site.put("in/b.hl7", &[adt("A3"), adt("A2"), adt("A4")].concat());
    site.until_files("out", 4).await;
    assert_eq!(site.contents("out"), ["A1", "A2", "A3", "A4"].map(adt));
    site.until("SELECT count(*) FROM parked", 1).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_share_a_folder_in_which_things_go_wrong() {
    let site = Site::start(SITE).await;
    let mut other = site.another_node().await;
    for round in 0..3 {
        for number in 0..10 {
            site.put(&format!("in/{round}-{number}.hl7"), &file_of(&[adt(&format!("{round}{number}"))]));
        }
        match round {
            // The target vanishes, a node dies, the folder itself is away for a moment.
            0 => {
                std::fs::rename(site.data.join("out"), site.data.join("gone")).unwrap();
                std::fs::create_dir(site.data.join("out")).unwrap();
            }
            1 => other = other.crash_and_restart().await,
            _ => {
                std::fs::rename(site.data.join("in"), site.data.join("away")).unwrap();
                std::fs::rename(site.data.join("away"), site.data.join("in")).unwrap();
            }
        }
    }
    site.until("SELECT count(DISTINCT control_id) FROM message", 30).await;
    site.until("SELECT count(*) FROM tracking WHERE kind = 6", 30).await;
    assert_eq!(site.count("SELECT count(*) FROM message WHERE message_type = 'ADT^A03'").await, 30);
    let gone = site.files("gone").len() + site.files("out").len();
    assert!(gone >= 30, "each is written: {gone}");
    other.stop().await;
    site.stop().await;
}
