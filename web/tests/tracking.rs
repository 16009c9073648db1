//! Tracking in the console: finding a message, its journey, its content, who looked, and the proof.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod support;

use axum::http::StatusCode;
use std::sync::Arc;
use support::seed::{self, Morning};

use orderly_engine::ids::{IdSource, MessageId};
use orderly_engine::message_box::{Declared, key_of};
use orderly_rules::Properties;
use support::{Browser, Console};

async fn console() -> (Console, Morning) {
    let console = Console::start().await;
    let morning = seed::morning(&console.store, console.now()).await;
    (console, morning)
}

async fn accesses(console: &Console, action: &str, object: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM access_entry WHERE action = $1 AND object = $2")
        .bind(action)
        .bind(object)
        .fetch_one(&console.pool)
        .await
        .unwrap()
}

async fn search(browser: &Browser, fields: &[(&str, &str)]) -> String {
    let key = browser.get("/messages").await.hidden("form_key");
    let mut all = vec![("form_key", key.as_str())];
    all.extend_from_slice(fields);
    let sent = browser.post("/messages", &all).await.expect(StatusCode::SEE_OTHER);
    sent.location
}

#[tokio::test]
async fn a_message_is_found_by_control_id_with_its_outcome() {
    let (console, morning) = console().await;
    let browser = console.signed_in("h.nair").await;
    let address = search(&browser, &[("control_id", "MSG00088121")]).await;
    assert_eq!(address, "/messages?control_id=MSG00088121");
    browser
        .get(&address)
        .await
        .expect(StatusCode::OK)
        .says("1 message, as of")
        .says(&format!("/messages/{}", morning.result))
        .says("Waiting")
        .says("for a person: Confirm critical result");
}

#[tokio::test]
async fn a_patient_id_never_stands_in_an_address_and_the_search_is_recorded() {
    let (console, _) = console().await;
    let browser = console.signed_in("h.nair").await;
    let address = search(&browser, &[("patient", "00482117")]).await;
    assert!(address.starts_with("/messages?s=") && !address.contains("0048"), "{address}");
    let found = browser.get(&address).await.expect(StatusCode::OK).says("MSG00088121");
    assert!(!found.body.contains("00482117"), "the patient id is on the page");
    let stranger = console.signed_in("r.meyer").await;
    stranger.get(&address).await.expect(StatusCode::CONFLICT).says("no longer kept");
    let object = orderly_engine::view::patient_search::fingerprint("00482117");
    assert_eq!(accesses(&console, "patient.searched", &object).await, 1);
}

/// Declares properties as a deployment does, since the day before the morning.
async fn declare(console: &Console, names: &[&str], since: &str) {
    let mut configuration = (*console.configuration.load_full()).clone();
    configuration.tracking.index = names.iter().map(|name| (*name).to_owned()).collect();
    console.configuration.store(Arc::new(configuration));
    for name in names {
        sqlx::query("INSERT INTO search_property (name, since) VALUES ($1, $2)")
            .bind(name)
            .bind(support::at(since))
            .execute(&console.pool)
            .await
            .unwrap();
    }
}

/// Notes that a message has a value; `key` is that of another value where two share it.
async fn note(console: &Console, message: MessageId, value: (&str, &str), key: (&str, &str)) {
    let mut properties = Properties::new();
    properties.set(value.0.to_owned(), value.1);
    let declared = Declared::of(&[value.0.to_owned()], &properties).unwrap();
    sqlx::query("UPDATE message SET context = $2 WHERE id = $1")
        .bind(message.0)
        .bind(&declared.context)
        .execute(&mut console.store.owner_for_tests().await.unwrap())
        .await
        .unwrap();
    sqlx::query("INSERT INTO message_search (key, id) VALUES ($1, $2)")
        .bind(key_of(key.0, key.1))
        .bind(message.0)
        .execute(&console.pool)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_search_by_a_declared_property_shows_real_matches_and_is_recorded() {
    let (console, morning) = console().await;
    declare(&console, &["order.placer", "visit.number"], "2026-11-20T00:00:00Z").await;
    let placer = ("order.placer", "ORD-5512");
    note(&console, morning.result, placer, placer).await;
    // Another message whose value has the same key by chance, as no two values of a test do.
    note(&console, morning.unrouted, ("order.placer", "ORD-9999"), placer).await;
    let browser = console.signed_in("h.nair").await;
    browser.get("/messages").await.says("order.placer").says("visit.number");
    let address = search(&browser, &[("property", "order.placer"), ("value", "ORD-5512")]).await;
    assert!(address.starts_with("/messages?p=") && !address.contains("5512"), "{address}");
    let found = browser.get(&address).await.expect(StatusCode::OK);
    assert!(!found.body.contains("SIU^S12") && !found.body.contains("ORD-5512"), "{}", found.body);
    found.says("MSG00088121").says("One value of order.placer").says("1 message, as of");
    let other = search(&browser, &[("property", "visit.number"), ("value", "ORD-5512")]).await;
    browser.get(&other).await.says("Nothing matched");
    let object = orderly_engine::view::patient_search::fingerprint("ORD-5512");
    assert_eq!(accesses(&console, "property.searched", &object).await, 2, "one for each property");
    let stranger = console.signed_in("r.meyer").await;
    stranger.get(&address).await.expect(StatusCode::CONFLICT).says("no longer kept");

    let key = browser.get("/messages").await.hidden("form_key");
    let unknown = [("form_key", key.as_str()), ("property", "order.filler"), ("value", "1")];
    browser.post("/messages", &unknown).await.expect(StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn a_search_says_since_when_a_property_is_known_and_a_sender_needs_no_form_for_it() {
    let (console, morning) = console().await;
    declare(&console, &["visit.number", "party.name"], "2026-11-21T09:00:00Z").await;
    let browser = console.signed_in("h.nair").await;
    let address = search(&browser, &[("property", "visit.number"), ("value", "V1")]).await;
    browser.get(&address).await.says("Nothing matched").says("Only messages since").says("21 Nov 2026 10:00");
    // From its declaration on a sender is looked up; what came before is still looked through.
    let party = ("party.name", "laboratory");
    note(&console, morning.result, party, party).await;
    let all = "SELECT count(*) FROM message WHERE party = 'laboratory'";
    let all: i64 = sqlx::query_scalar(all).fetch_one(&console.pool).await.unwrap();
    assert!(all > 1, "only one of them has a key");
    let found = browser.get("/messages?party=laboratory").await;
    found.says("MSG00088121").says("1 message, as of");
    sqlx::query("UPDATE search_property SET since = '2026-11-21T09:42:00Z'")
        .execute(&console.pool)
        .await
        .unwrap();
    browser.get("/messages?party=laboratory").await.says(&format!("{all} messages, newest first"));
}

#[tokio::test]
async fn a_search_by_status_looks_at_what_became_of_each() {
    let (console, _) = console().await;
    let browser = console.signed_in("h.nair").await;
    let found = browser.get("/messages?status=Rejected").await.expect(StatusCode::OK);
    assert!(!found.body.contains("ADT^A04"));
    browser.get("/messages?status=Suspended").await.says("R1").says("R3").says("refused it (AR)");
    browser.get("/messages?status=Not%20routed").await.says("SIU^S12");
    browser.get("/messages?status=Delivered&type=ADT").await.says("12 messages").says("to 2");
}

#[tokio::test]
async fn the_journey_tells_every_step_with_the_rules_that_decided() {
    let (console, morning) = console().await;
    let browser = console.signed_in("h.nair").await;
    browser
        .get(&format!("/messages/{}", morning.result))
        .await
        .expect(StatusCode::OK)
        .says("Received from Laboratory")
        .says("on lab/mllp, ")
        .says("The sender was told AA (accepted) after it was stored.")
        .says("Delivered to Emr")
        .says("Critical result")
        .says("Near miss.")
        .says("observation.value (OBX[1]-5) is 6.9")
        .says("Confirm critical result")
        .says("Repeat sample agrees");
}

#[tokio::test]
async fn content_is_hidden_from_those_who_may_only_find_messages() {
    let (console, morning) = console().await;
    let browser = console.signed_in("m.okafor").await;
    let address = format!("/messages/{}", morning.result);
    for tab in ["readable", "tree", "raw"] {
        let page = browser.get(&format!("{address}?tab={tab}")).await.expect(StatusCode::OK);
        assert!(!page.body.contains("TANAKA") && !page.body.contains("6.9"), "{tab} shows content");
        page.says("You can see that this message exists, not what it says");
    }
    let journey = browser.get(&address).await.expect(StatusCode::OK);
    assert!(!journey.body.contains("6.9"), "the trace shows a value");
    journey.says("is ••••");
    browser.get(&format!("{address}/bytes")).await.expect(StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn every_view_is_recorded_and_shown_to_auditors() {
    let (console, morning) = console().await;
    let browser = console.signed_in("h.nair").await;
    let address = format!("/messages/{}", morning.result);
    browser.get(&format!("{address}?tab=raw")).await.expect(StatusCode::OK);
    assert_eq!(accesses(&console, "message.viewed", &morning.result.to_string()).await, 1);
    browser
        .get(&format!("{address}?tab=access"))
        .await
        .says("Hari Nair")
        .says("Viewed: raw")
        .says("Viewed: access");
}

#[tokio::test]
async fn the_three_views_of_the_content_say_the_same_and_run_nothing() {
    let (console, morning) = console().await;
    let browser = console.signed_in("h.nair").await;
    let address = format!("/messages/{}", morning.result);
    browser
        .get(&format!("{address}?tab=readable"))
        .await
        .says("Patient Identification")
        .says("TANAKA · Yuki · Ms");
    browser.get(&format!("{address}?tab=tree")).await.says("PID-5.2").says("Yuki");
    browser.get(&format!("{address}?tab=raw")).await.says("00482117").says("␍");
    let hostile =
        browser.get(&format!("/messages/{}?tab=readable", morning.unreadable)).await.expect(StatusCode::OK);
    assert!(!hostile.body.contains("<script>alert"), "bytes became markup");
    hostile.says("cannot be read as HL7").says("␀␁</span>garbage");
}

#[tokio::test]
async fn acknowledgments_of_both_sides_are_listed() {
    let (console, morning) = console().await;
    let browser = console.signed_in("h.nair").await;
    browser
        .get(&format!("/messages/{}?tab=acknowledgments", morning.result))
        .await
        .says("Sent to the sender")
        .says("Received from the receiver");
    browser.get(&format!("/messages/{}?tab=acknowledgments", morning.rejected[0])).await.says("AR");
}

#[tokio::test]
async fn verify_now_proves_an_untouched_message_and_catches_a_changed_one() {
    let (console, morning) = console().await;
    let browser = console.signed_in("h.nair").await;
    let address = format!("/messages/{}?tab=custody&verify=now", morning.result);
    browser.get(&address).await.expect(StatusCode::OK).says("Unchanged:");
    let mut owner = console.store.owner_for_tests().await.unwrap();
    sqlx::query("UPDATE tracking SET detail = detail || '\\x00' WHERE message_id = $1 AND kind = 1")
        .bind(morning.result.0)
        .execute(&mut owner)
        .await
        .unwrap();
    browser.get(&address).await.says("The record does not fit").says("a tracking row was changed");
}

#[tokio::test]
async fn an_instance_tells_where_it_rests_and_what_brought_it_there() {
    let (console, morning) = console().await;
    let browser = console.signed_in("r.meyer").await;
    browser
        .get(&format!("/instances/{}", morning.instance))
        .await
        .expect(StatusCode::OK)
        .says("waits for a decision by duty-physician")
        .says("critical-values")
        .says("ORU^R01");
    browser.get("/instances/0000000000000").await.expect(StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_was_found_in_a_message_is_marked_searched_and_told_with_its_place() {
    let (console, morning) = console().await;
    let browser = console.signed_in("h.nair").await;
    let found = browser.get("/messages?findings=any").await.expect(StatusCode::OK);
    found.says(&format!("/messages/{}?tab=findings", morning.result)).says("1 finding").says("With findings");
    browser.get("/messages?findings=errors").await.expect(StatusCode::OK).says("Nothing matched");
    browser
        .get(&format!("/messages/{}?tab=findings", morning.result))
        .await
        .expect(StatusCode::OK)
        .says("Findings 1")
        .says("Warning")
        .says("tab=readable#f-OBX-1-8")
        .says("103 Table value not found")
        .says("Value is not in its table")
        .says("Tables, level standard");
    browser
        .get(&format!("/messages/{}?tab=readable", morning.result))
        .await
        .says("id=\"f-OBX-1-8\" class=\"found\"")
        .says("Value is not in its table");
}

/// Stores a message as it would come, and answers the address of its page.
async fn stored(console: &Console, ids: &IdSource, body: &[u8]) -> String {
    let id = ids.message();
    sqlx::query(
        "INSERT INTO message (id, received_at, source, message_type, control_id, body_sha256, body)
         VALUES ($1, $2, 1, 'ADT^A01', 'E1', $3, $4)",
    )
    .bind(id.0)
    .bind(console.now())
    .bind(orderly_engine::audit::sha256(body).to_vec())
    .bind(body)
    .execute(&console.pool)
    .await
    .unwrap();
    format!("/messages/{id}")
}

#[tokio::test]
async fn what_is_written_in_utf_16_or_shift_jis_is_shown_as_its_sender_wrote_it() {
    let (console, _) = console().await;
    let browser = console.signed_in("h.nair").await;
    let ids = IdSource::new(console.store.clock().clone(), 6, 0);
    // In Shift-JIS the second bytes of these are `|` and a backslash: neither may end a field or begin an escape.
    let name = "ポソ山田";
    for (form, declared) in
        [("UNICODE UTF-16", "UNICODE UTF-16"), ("UTF-16LE", ""), ("SHIFT_JIS", "SHIFT_JIS")]
    {
        let text = format!(
            "MSH|^~\\&|REG|N|E|H|20261121||ADT^A01^ADT_A01|E1|P|2.5||||||{declared}\rEVN|A01|2026\r\
             PID|1||7^^^N^MR||{name}^花子||19800229|F\rPV1|1|I\r"
        );
        let body = orderly_hl7::Charset::from_name(form).unwrap().encode(&text).unwrap().into_owned();
        assert_ne!(body, text.as_bytes());
        let address = stored(&console, &ids, &body).await;
        let readable = browser.get(&format!("{address}?tab=readable")).await.expect(StatusCode::OK);
        readable.says(&format!("{name} · 花子")).says("1980");
        let tree = browser.get(&format!("{address}?tab=tree")).await.expect(StatusCode::OK);
        tree.says("PID-5.2").says(name).says("花子");
        let raw = browser.get(&format!("{address}?tab=raw")).await.expect(StatusCode::OK);
        raw.says(name).says("花子").says("19800229");
        // What is downloaded is what came.
        let bytes = browser.get(&format!("{address}/bytes")).await.expect(StatusCode::OK);
        assert_eq!(bytes.headers[axum::http::header::CONTENT_LENGTH], body.len().to_string());
    }
}
