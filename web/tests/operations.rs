//! Operations in the console: what operators see, and that each action happens once, with a reason, on what they saw.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod support;

use axum::http::StatusCode;
use support::seed::{self, Morning};
use support::{Browser, Console};

async fn console() -> (Console, Morning) {
    let console = Console::start().await;
    let morning = seed::morning(&console.store, console.now()).await;
    (console, morning)
}

async fn count(console: &Console, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&console.pool).await.unwrap()
}

/// The address of the group of rejected orders.
async fn group(browser: &Browser) -> String {
    let page = browser.get("/suspended").await.expect(StatusCode::OK).says("The receiver refused it (AR)");
    let end = page.body.find("\">The receiver refused it (AR)").unwrap();
    let start = page.body[..end].rfind("href=\"").unwrap() + 6;
    page.body[start..end].to_owned()
}

#[tokio::test]
async fn the_overview_puts_what_needs_attention_first() {
    let (console, _) = console().await;
    let browser = console.signed_in("m.okafor").await;
    browser
        .get("/ops")
        .await
        .expect(StatusCode::OK)
        .says("billing refuses connections since 10:35")
        .says("The receiver refused it (AR)")
        .says("Down")
        .says("node-a");
    for page in ["/ports", "/queues", "/orchestrations", "/instances", "/alerts", "/ports/send/billing"] {
        browser.get(page).await.expect(StatusCode::OK);
    }
    browser.get("/queues").await.says("6 min");
    browser
        .get("/ports/send/billing")
        .await
        .says("Acknowledgment awaited")
        .says("AE, error")
        .says("Suspended: a person decides");
}

#[tokio::test]
async fn a_port_whose_receiver_is_gone_says_since_when_and_when_it_is_tried_again() {
    let (console, _) = console().await;
    let now = console.now();
    sqlx::query(
        "INSERT INTO port_trouble (kind, name, node, state, since, until)
         SELECT 'send_port', 'emr', slot, 'open', $1, $2 FROM node WHERE expires_at > $3 LIMIT 1",
    )
    .bind(now - chrono::TimeDelta::minutes(6))
    .bind(now + chrono::TimeDelta::seconds(25))
    .bind(now)
    .execute(&console.pool)
    .await
    .unwrap();
    let browser = console.signed_in("m.okafor").await;
    let words = "no answer for 6 min; the next try goes out in 25 s";
    browser.get("/ports").await.expect(StatusCode::OK).says(words);
    browser.get("/ports/send/emr").await.says(words).says("Open: nothing is sent before the next try");
    console.pass(chrono::TimeDelta::minutes(30));
    let later = console.signed_in("m.okafor").await.get("/ports/send/emr").await.expect(StatusCode::OK);
    assert!(!later.body.contains("no answer for"), "what a dead node said does not count any more");
}

#[tokio::test]
async fn rejections_that_differ_only_in_a_value_are_one_group() {
    let (console, _) = console().await;
    let browser = console.signed_in("m.okafor").await;
    let group = group(&browser).await;
    browser.get(&group).await.expect(StatusCode::OK).says("Resume 3…").says("Unknown location 2");
}

#[tokio::test]
async fn a_group_is_resumed_once_with_a_reason_and_recorded() {
    let (console, _) = console().await;
    let browser = console.signed_in("m.okafor").await;
    let group = group(&browser).await;
    let check =
        browser.get(&format!("{group}?check=resume")).await.says("What is suspended later is not included");
    let (key, up_to) = (check.hidden("form_key"), check.hidden("up_to"));
    let form = |reason: &'static str| {
        vec![("form_key", key.clone()), ("up_to", up_to.clone()), ("reason", reason.to_owned())]
    };
    let send = async |fields: Vec<(&'static str, String)>| {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        browser.post(&format!("{group}/resume"), &fields).await
    };
    send(form("  ")).await.expect(StatusCode::UNPROCESSABLE_ENTITY).says("A reason is needed");
    send(form("location table updated")).await.expect(StatusCode::SEE_OTHER);
    send(form("location table updated")).await.expect(StatusCode::SEE_OTHER);
    browser.get("/suspended").await.says("Resumed 3.");
    assert_eq!(
        count(&console, "SELECT count(*) FROM parked WHERE code = 'ack.reject' AND state = 1").await,
        3
    );
    assert_eq!(
        count(&console, "SELECT count(*) FROM tracking WHERE kind = 10 AND person = 'm.okafor'").await,
        3
    );
    assert_eq!(count(&console, "SELECT count(*) FROM access_entry WHERE action = 'work.resumed'").await, 1);
}

#[tokio::test]
async fn terminating_a_group_asks_for_the_number_and_a_right_of_its_own() {
    let (console, _) = console().await;
    let operator = console.signed_in("m.okafor").await;
    let group = group(&operator).await;
    operator
        .post(&format!("{group}/terminate"), &[])
        .await
        .expect(StatusCode::FORBIDDEN)
        .says("inst.terminate");
    let lead = console.signed_in("r.meyer").await;
    let check = lead.get(&format!("{group}?check=terminate")).await.says("cannot be undone");
    let (key, up_to) = (check.hidden("form_key"), check.hidden("up_to"));
    let with = |typed| {
        [("form_key", key.as_str()), ("up_to", up_to.as_str()), ("reason", "sent by phone"), ("typed", typed)]
    };
    lead.post(&format!("{group}/terminate"), &with("2")).await.expect(StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(count(&console, "SELECT count(*) FROM parked WHERE code = 'ack.reject'").await, 3);
    lead.post(&format!("{group}/terminate"), &with("3")).await.expect(StatusCode::SEE_OTHER);
    assert_eq!(count(&console, "SELECT count(*) FROM parked WHERE code = 'ack.reject'").await, 0);
}

#[tokio::test]
async fn a_port_is_held_once_and_a_stale_form_is_refused() {
    let (console, _) = console().await;
    let first = console.signed_in("m.okafor").await;
    let second = console.signed_in("r.meyer").await;
    let pages = [first.get("/ports/send/billing").await, second.get("/ports/send/billing").await];
    let hold = async |browser: &Browser, page: &support::Answer| {
        let (key, version) = (page.hidden("form_key"), page.hidden("version"));
        let fields =
            [("form_key", &*key), ("version", &*version), ("to", "on_hold"), ("reason", "billing restarts")];
        browser.post("/ports/send/billing", &fields).await
    };
    hold(&first, &pages[0]).await.expect(StatusCode::SEE_OTHER);
    hold(&second, &pages[1]).await.expect(StatusCode::CONFLICT).says("It changed while you were looking");
    first.get("/ports/send/billing").await.says("On hold").says("billing restarts").says("Start port now");
    assert_eq!(count(&console, "SELECT count(*) FROM tracking WHERE kind = 16").await, 1);
    assert_eq!(count(&console, "SELECT count(*) FROM access_entry WHERE action = 'port.held'").await, 1);
}

#[tokio::test]
async fn a_stopped_instance_gets_its_command_as_work() {
    let (console, morning) = console().await;
    let browser = console.signed_in("r.meyer").await;
    let address = format!("/instances/{}", morning.stopped);
    let page = browser.get(&address).await.says("Suspended");
    let (key, version) = (page.hidden("form_key"), page.hidden("version"));
    let fields = [("form_key", &*key), ("version", &*version), ("how", "retry"), ("reason", "rule mended")];
    browser.post(&format!("{address}/resume"), &fields).await.expect(StatusCode::SEE_OTHER);
    assert_eq!(count(&console, "SELECT count(*) FROM work WHERE kind = 7").await, 1);
    let waiting = format!("/instances/{}", morning.instance);
    let fields =
        [("form_key", "0123456789abcdef0"), ("version", "0"), ("how", "retry"), ("reason", "why not")];
    browser.post(&format!("{waiting}/resume"), &fields).await.expect(StatusCode::CONFLICT);
}

#[tokio::test]
async fn an_alert_is_taken_note_of_by_the_first_who_does() {
    let (console, morning) = console().await;
    let browser = console.signed_in("m.okafor").await;
    let key = browser.get("/alerts").await.says("Critical").hidden("form_key");
    let address = format!("/alerts/{}/acknowledge", orderly_engine::ids::AlertId(morning.alert));
    browser.post(&address, &[("form_key", &key)]).await.expect(StatusCode::SEE_OTHER);
    browser.get("/alerts").await.says("taken note of by m.okafor");
}

/// The newest order that the receiver rejected.
async fn rejected_work(console: &Console) -> String {
    let id: i64 =
        sqlx::query_scalar("SELECT id FROM parked WHERE code = 'ack.reject' ORDER BY id DESC LIMIT 1")
            .fetch_one(&console.pool)
            .await
            .unwrap();
    format!("/suspended/work/{}", orderly_engine::ids::ParkedId(id))
}

#[tokio::test]
async fn an_edited_copy_is_checked_before_it_is_sent_and_the_reading_is_recorded() {
    let (console, _) = console().await;
    let work = rejected_work(&console).await;
    let edit = format!("{work}/edit");
    console.signed_in("m.okafor").await.get(&edit).await.expect(StatusCode::FORBIDDEN);
    let lead = console.signed_in("r.meyer").await;
    lead.get(&work).await.says("Edit a copy and send it");
    let page = lead.get(&edit).await.expect(StatusCode::OK).says("ORM^O01");
    let (key, version) = (page.hidden("form_key"), page.hidden("version"));
    let mended = "MSH|^~\\&|REG|N|||20260301||ADT^A04^ADT_A01|R3|P|2.5.1\r\nEVN||20260301\r\n\
                  PID|1||94^^^N||Doe^Jane\r\nPV1|1|O\r\n";
    let with = |text: &'static str, step: &'static str, reason: &'static str| {
        [
            ("form_key", key.clone()),
            ("version", version.clone()),
            ("text", text.to_owned()),
            ("step", step.to_owned()),
            ("reason", reason.to_owned()),
        ]
    };
    let send = async |fields: [(&'static str, String); 5]| {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        lead.post(&edit, &fields).await
    };
    send(with("PID|1", "check", "")).await.expect(StatusCode::OK).says("it needs an MSH segment first");
    let checked = send(with(mended, "check", "")).await.expect(StatusCode::OK).says("PID");
    checked.says("93").says("94").says("Send the copy");
    send(with(mended, "send", " ")).await.expect(StatusCode::UNPROCESSABLE_ENTITY).says("A reason is needed");
    send(with(mended, "send", "the ward said so")).await.expect(StatusCode::SEE_OTHER);
    assert_eq!(
        count(
            &console,
            "SELECT count(*) FROM message WHERE parent IS NOT NULL AND position('|94'::bytea IN body) > 0"
        )
        .await,
        1
    );
    assert_eq!(count(&console, "SELECT count(*) FROM parked WHERE code = 'ack.reject'").await, 2);
    assert_eq!(
        count(&console, "SELECT count(*) FROM parked WHERE code = 'resubmitted' AND state = 1").await,
        1
    );
    let recorded =
        "SELECT count(*) FROM access_entry WHERE action = 'message.resubmitted' AND person = 'r.meyer'";
    assert_eq!(count(&console, recorded).await, 1);
    assert!(count(&console, "SELECT count(*) FROM access_entry WHERE action = 'message.viewed'").await >= 1);
}

#[tokio::test]
async fn a_paced_group_is_a_job_that_can_be_paused_and_cancelled() {
    let (console, _) = console().await;
    let browser = console.signed_in("m.okafor").await;
    let group = group(&browser).await;
    let check = browser.get(&format!("{group}?check=resume")).await.says("5 a second");
    let (key, up_to) = (check.hidden("form_key"), check.hidden("up_to"));
    let form = [
        ("form_key", &*key),
        ("up_to", &*up_to),
        ("reason", "ward is back"),
        ("pace", "5"),
        ("stop_after", "2"),
    ];
    browser.post(&format!("{group}/resume"), &form).await.expect(StatusCode::SEE_OTHER);
    assert_eq!(
        count(&console, "SELECT count(*) FROM parked WHERE code = 'ack.reject' AND state = 2").await,
        3
    );
    let list = browser.get("/jobs").await.says("Resume 3").says("Running");
    let start = list.body.find("/jobs/").unwrap();
    let address = list.body[start..start + "/jobs/".len() + 13].to_owned();
    for (to, word) in [("pause", "Paused"), ("go-on", "Running"), ("cancel", "Cancelled")] {
        let page = browser.get(&address).await.expect(StatusCode::OK).says("0 of 3").says("5 a second");
        let (key, version) = (page.hidden("form_key"), page.hidden("version"));
        let form = [("form_key", &*key), ("version", &*version), ("to", to)];
        browser.post(&address, &form).await.expect(StatusCode::SEE_OTHER);
        browser.get(&address).await.says(word);
    }
    assert_eq!(count(&console, "SELECT count(*) FROM access_entry WHERE action LIKE 'job.%'").await, 4);
}

#[tokio::test]
async fn a_send_port_is_drained_and_an_orchestration_held_by_their_own_names() {
    let (console, _) = console().await;
    let browser = console.signed_in("m.okafor").await;
    let page = browser.get("/ports/send/emr").await.expect(StatusCode::OK).says("Drain");
    let key = page.hidden("form_key");
    let fields = [("form_key", key.as_str()), ("to", "draining"), ("reason", "new cable"), ("version", "0")];
    browser.post("/ports/send/emr", &fields).await.expect(StatusCode::SEE_OTHER);
    browser.get("/ports/send/emr").await.says("Draining").says("new cable").says("Start port now");
    let stored =
        "SELECT count(*) FROM port_state WHERE kind = 'send_port' AND name = 'emr' AND state = 'draining'";
    assert_eq!(count(&console, stored).await, 1);

    let page = browser.get("/ports/receive/lab/mllp").await.expect(StatusCode::OK).says("Hold port now");
    let key = page.hidden("form_key");
    let fields = [("form_key", key.as_str()), ("to", "draining"), ("reason", "new cable"), ("version", "0")];
    browser.post("/ports/receive/lab/mllp", &fields).await.expect(StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn a_disk_of_the_database_host_that_fills_up_is_shown_and_ends_readiness() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    let console = Console::start().await;
    let browser = console.signed_in("m.okafor").await;
    let free = Arc::new(AtomicU32::new(20));
    let (read, disk) = (free.clone(), console.store.disk());
    disk.watch(move || Ok(f64::from(read.load(Ordering::SeqCst))));
    assert!(!browser.get("/ops").await.body.contains("disk of the database host"));
    free.store(9, Ordering::SeqCst);
    disk.look();
    browser.get("/ops").await.says("9.0 % of the disk of the database host is free. Below 5 % nothing");
    browser.get("/health/ready").await.expect(StatusCode::OK);
    free.store(4, Ordering::SeqCst);
    disk.look();
    browser.get("/ops").await.says("4.0 % of the disk of the database host is free. Nothing is received");
    browser.get("/health/ready").await.expect(StatusCode::SERVICE_UNAVAILABLE).says("nearly full");
}
