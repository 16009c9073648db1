//! What auditors look at: the log of views, the proof, holds that two people end.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod support;

use axum::http::StatusCode;
use support::seed;
use support::{Browser, Console};

async fn place(browser: &Browser, kind: &str, object: &str, reason: &str) -> StatusCode {
    let key = browser.get("/retention").await.hidden("form_key");
    let fields = [("form_key", key.as_str()), ("kind", kind), ("object", object), ("reason", reason)];
    browser.post("/retention/holds", &fields).await.status
}

async fn release(browser: &Browser, to: &str) -> support::Answer {
    let page = browser.get("/retention").await;
    let start = page.body.find("/retention/holds/").unwrap();
    let address: String = page.body[start..].chars().take_while(|letter| *letter != '"').collect();
    let form = page.body[start..].find("name=\"form_key\" value=\"").unwrap() + start + 23;
    let key: String = page.body[form..].chars().take_while(|letter| *letter != '"').collect();
    let fields = [("form_key", key.as_str()), ("to", to), ("reason", "the case is closed")];
    browser.post(&address, &fields).await
}

async fn open_holds(console: &Console) -> i64 {
    let open = "SELECT count(*) FROM legal_hold WHERE ended_at IS NULL";
    sqlx::query_scalar(open).fetch_one(&console.pool).await.unwrap()
}

#[tokio::test]
async fn one_person_places_a_hold_and_two_end_it() {
    let console = Console::start().await;
    let morning = seed::morning(&console.store, console.now()).await;
    let (one, other) = (console.signed_in("admin").await, console.signed_in("w.peters").await);
    let auditor = console.signed_in("h.nair").await;
    auditor.get("/retention").await.expect(StatusCode::OK).says("Nothing is held").says("retention.config");

    let message = morning.result.to_string();
    assert_eq!(
        place(&one, "message", &message, " ").await,
        StatusCode::UNPROCESSABLE_ENTITY,
        "a reason is needed"
    );
    assert_eq!(place(&one, "message", "no id", "claim 7").await, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(place(&one, "message", &message, "claim 7").await, StatusCode::SEE_OTHER);
    assert_eq!(place(&other, "message", &message, "claim 7").await, StatusCode::SEE_OTHER);
    assert_eq!(open_holds(&console).await, 1, "held once");

    release(&one, "ask").await.expect(StatusCode::SEE_OTHER);
    auditor.get("/retention").await.says("Waiting for second person").says("the case is closed");
    release(&one, "agree").await.expect(StatusCode::CONFLICT).says("Another person must agree");
    assert_eq!(open_holds(&console).await, 1);
    release(&other, "agree").await.expect(StatusCode::SEE_OTHER);
    assert_eq!(open_holds(&console).await, 0);
    auditor
        .get("/audit?action=hold")
        .await
        .expect(StatusCode::OK)
        .says("hold.placed")
        .says("hold.ended")
        .says("Wim Peters");
}

#[tokio::test]
async fn the_log_of_views_never_holds_a_patient_id() {
    let console = Console::start().await;
    let one = console.signed_in("admin").await;
    assert_eq!(place(&one, "patient", "00482117", "claim 8").await, StatusCode::SEE_OTHER);
    let log =
        console.signed_in("h.nair").await.get("/audit").await.expect(StatusCode::OK).says("hold.placed");
    assert!(!log.body.contains("00482117"), "the patient id is in the log");
    let page = console.signed_in("h.nair").await.get("/retention").await;
    assert!(!page.body.contains("00482117"), "the list shows the end of it only");
}
