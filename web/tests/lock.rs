//! Locked screens, sessions elsewhere, and pages that refresh themselves.

mod support;

use axum::http::StatusCode;
use chrono::TimeDelta;
use orderly_web::ConsoleOptions;
use support::tasks::{self, NewTask, check, confirm};
use support::{Browser, Console};

async fn lock(browser: &Browser, next: &str) {
    let key = browser.get("/me").await.hidden("form_key");
    let answer = browser.post("/lock", &[("form_key", &key), ("next", next)]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
}

#[tokio::test]
async fn a_locked_screen_shows_and_does_nothing_until_its_person_gives_the_password() {
    let console = Console::start().await;
    let task = tasks::make(&console, NewTask::default()).await;
    let browser = console.signed_in("a.lind").await;
    let page = check(&browser, &task, "release", "").await.expect(StatusCode::OK);
    lock(&browser, &task).await;

    let answer = browser.get(&task).await.expect(StatusCode::SEE_OTHER);
    assert_eq!(answer.location, format!("/lock?next={task}"));
    let shown = browser.get(&answer.location).await.expect(StatusCode::OK).says("Anna Lind");
    assert!(!shown.body.contains("TANAKA") && !shown.body.contains("/tasks/history"), "{}", shown.body);
    confirm(&browser, &task, &page, "").await.expect(StatusCode::UNAUTHORIZED).says("was not carried out");
    let unknown = browser.get("/no/such/page").await.expect(StatusCode::NOT_FOUND);
    assert!(!unknown.body.contains("Anna Lind"), "a locked screen names nobody on other pages");

    let wrong = [("password", "demo-p.ray"), ("next", task.as_str())];
    browser.post("/unlock", &wrong).await.expect(StatusCode::UNAUTHORIZED).says("not your password");
    browser.get(&task).await.expect(StatusCode::SEE_OTHER);
    let right = [("password", "demo-a.lind"), ("next", task.as_str())];
    let answer = browser.post("/unlock", &right).await.expect(StatusCode::SEE_OTHER);
    assert_eq!(answer.location, task);
    browser.get(&task).await.expect(StatusCode::OK).says("TANAKA");
    let chain = orderly_engine::access::verify(&console.pool).await.unwrap();
    assert!(matches!(chain, orderly_engine::access::Chain::Whole { .. }), "{chain:?}");
}

#[tokio::test]
async fn a_locked_session_outlives_the_idle_end_but_not_four_hours() {
    let console = Console::start().await;
    let (short, long) = (console.signed_in("a.lind").await, console.signed_in("a.lind").await);
    for browser in [&short, &long] {
        lock(browser, "/tasks").await;
    }
    console.pass(TimeDelta::minutes(90));
    short.post("/unlock", &[("password", "demo-a.lind")]).await.expect(StatusCode::SEE_OTHER);
    short.get("/tasks").await.expect(StatusCode::OK);
    console.pass(TimeDelta::minutes(151));
    let answer = long.get("/lock").await.expect(StatusCode::SEE_OTHER);
    assert_eq!(answer.location, "/login?next=/lock");
}

#[tokio::test]
async fn a_page_that_refreshes_itself_does_not_keep_a_session_alive() {
    let console = Console::start().await;
    let browser = console.signed_in("a.lind").await;
    for _ in 0..3 {
        console.pass(TimeDelta::minutes(4));
        browser.refresh("/tasks").await.expect(StatusCode::OK);
    }
    console.pass(TimeDelta::minutes(4));
    browser.refresh("/tasks").await.expect(StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_decision_page_hears_that_somebody_else_has_decided() {
    let console = Console::start().await;
    let task = tasks::make(&console, NewTask::default()).await;
    let (anna, priya) = (console.signed_in("a.lind").await, console.signed_in("p.ray").await);
    let state = format!("{task}/state");
    let open = priya.refresh(&state).await.expect(StatusCode::OK);
    assert!(!open.body.contains("decided") && !open.body.contains("TANAKA"), "{}", open.body);
    let page = check(&anna, &task, "release", "").await;
    confirm(&anna, &task, &page, "").await.expect(StatusCode::SEE_OTHER);
    priya
        .refresh(&state)
        .await
        .expect(StatusCode::OK)
        .says("Anna Lind decided “Release”")
        .says("was not sent");
    console.signed_in("h.nair").await.refresh(&state).await.expect(StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_person_sees_where_they_are_signed_in_and_signs_out_there() {
    let console = Console::start().await;
    let (ward, home) = (console.signed_in("a.lind").await, console.signed_in("a.lind").await);
    let other = console.signed_in("p.ray").await;
    let page = home.get("/me").await.says("This one").says("Sign out everywhere else");
    assert_eq!(page.body.matches("Sign out there").count(), 1, "{}", page.body);
    let key = page.hidden("form_key");
    home.post("/me/sessions/end", &[("form_key", &key)]).await.expect(StatusCode::SEE_OTHER);
    ward.get("/tasks").await.expect(StatusCode::SEE_OTHER);
    home.get("/me").await.expect(StatusCode::OK).says("That session has ended.");
    other.get("/tasks").await.expect(StatusCode::OK);
}

#[tokio::test]
async fn nobody_ends_the_session_of_another_person() {
    let console = Console::start().await;
    let (anna, priya) = (console.signed_in("a.lind").await, console.signed_in("p.ray").await);
    let session: i64 = sqlx::query_scalar("SELECT id FROM session WHERE person = 'p.ray'")
        .fetch_one(&console.pool)
        .await
        .unwrap();
    let key = anna.get("/me").await.hidden("form_key");
    let fields = [("form_key", key.as_str()), ("session", &session.to_string())];
    anna.post("/me/sessions/end", &fields).await.expect(StatusCode::SEE_OTHER);
    priya.get("/tasks").await.expect(StatusCode::OK);
}

#[tokio::test]
async fn the_minutes_until_the_lock_stand_on_every_page() {
    let options = ConsoleOptions { lock_after_minutes: 2, ..ConsoleOptions::default() };
    let console = Console::start_with(options).await;
    let browser = console.signed_in("a.lind").await;
    let page = browser.get("/tasks").await.says("data-lock-after=\"120\"");
    assert!(page.body.contains("-lock.js") && page.body.contains("-live.js"), "{}", page.body);
    let guest = console.browser().get("/login").await;
    assert!(!guest.body.contains("<script"), "nothing runs before somebody has signed in");
}
