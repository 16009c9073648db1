//! Sign-in, sessions, cookies, and requests from other sites.

mod support;

use axum::http::{StatusCode, header};
use chrono::TimeDelta;
use orderly_web::ConsoleOptions;
use support::Console;

#[tokio::test]
async fn a_person_signs_in_and_sees_name_and_role() {
    let console = Console::start().await;
    let browser = console.signed_in("h.nair").await;
    browser.get("/me").await.expect(StatusCode::OK).says("Hari Nair").says("Auditor");
}

#[tokio::test]
async fn unknown_names_and_wrong_passwords_get_the_same_answer() {
    let console = Console::start().await;
    let strip = |body: String, name: &str| body.replace(name, "NAME");
    let unknown = console.browser().sign_in("nobody", "x").await.expect(StatusCode::UNAUTHORIZED);
    let wrong = console.browser().sign_in("a.lind", "x").await.expect(StatusCode::UNAUTHORIZED);
    assert_eq!(strip(unknown.body, "nobody"), strip(wrong.body, "a.lind"));
}

#[tokio::test]
async fn the_sixth_failure_within_a_quarter_of_an_hour_waits() {
    let console = Console::start().await;
    let browser = console.browser();
    for _ in 0..5 {
        browser.sign_in("a.lind", "wrong").await.expect(StatusCode::UNAUTHORIZED);
    }
    browser
        .sign_in("a.lind", "demo-a.lind")
        .await
        .expect(StatusCode::TOO_MANY_REQUESTS)
        .says("Too many failed tries");
    browser.sign_in("p.ray", "demo-p.ray").await.expect(StatusCode::SEE_OTHER);
    console.pass(TimeDelta::minutes(16));
    browser.sign_in("a.lind", "demo-a.lind").await.expect(StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn tries_at_the_same_moment_do_not_slip_past_the_limit() {
    let console = Console::start().await;
    let tries = (0..12).map(|_| {
        let browser = console.browser();
        async move { browser.sign_in("a.lind", "wrong").await.status }
    });
    let answers = futures::future::join_all(tries).await;
    let looked_at = answers.iter().filter(|status| **status == StatusCode::UNAUTHORIZED).count();
    assert!(looked_at <= 5, "{looked_at} passwords were looked at");
}

#[tokio::test]
async fn one_address_may_not_try_many_accounts() {
    let console = Console::start().await;
    let browser = console.browser();
    for number in 0..30 {
        browser.sign_in(&format!("guess{number}"), "x").await.expect(StatusCode::UNAUTHORIZED);
    }
    browser.sign_in("a.lind", "demo-a.lind").await.expect(StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn the_cookie_is_closed_to_scripts_and_other_sites_and_new_at_each_sign_in() {
    let console = Console::start_with(ConsoleOptions { tls: true, ..ConsoleOptions::default() }).await;
    let cookie = |answer: &support::Answer| {
        answer
            .headers
            .get_all(header::SET_COOKIE)
            .iter()
            .map(|c| c.to_str().unwrap().to_owned())
            .next()
            .unwrap()
    };
    let first = cookie(&console.browser().sign_in("a.lind", "demo-a.lind").await);
    for flag in ["__Host-orderly=", "HttpOnly", "SameSite=Lax", "Secure", "Path=/"] {
        assert!(first.contains(flag), "{flag} is not in {first}");
    }
    let second = cookie(&console.browser().sign_in("a.lind", "demo-a.lind").await);
    assert_ne!(first, second);
}

#[tokio::test]
async fn a_session_ends_when_idle_and_after_twelve_hours() {
    let console = Console::start().await;
    let browser = console.signed_in("a.lind").await;
    console.pass(TimeDelta::minutes(14));
    browser.get("/me").await.expect(StatusCode::OK);
    console.pass(TimeDelta::minutes(14));
    browser.get("/me").await.expect(StatusCode::OK);
    console.pass(TimeDelta::minutes(16));
    let answer = browser.get("/me").await.expect(StatusCode::SEE_OTHER);
    assert_eq!(answer.location, "/login?next=/me");

    let browser = console.signed_in("a.lind").await;
    for _ in 0..71 {
        console.pass(TimeDelta::minutes(10));
        browser.get("/me").await.expect(StatusCode::OK);
    }
    console.pass(TimeDelta::minutes(10));
    browser.get("/me").await.expect(StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_signed_out_session_cannot_be_used_again() {
    let console = Console::start().await;
    let browser = console.signed_in("a.lind").await;
    let kept = browser.cookies.lock().unwrap().clone();
    let page = browser.get("/me").await;
    browser.post("/logout", &[("form_key", &page.hidden("form_key"))]).await.expect(StatusCode::SEE_OTHER);
    *browser.cookies.lock().unwrap() = kept;
    browser.get("/me").await.expect(StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_disabled_person_and_a_changed_password_end_sessions() {
    let console = Console::start().await;
    let browser = console.signed_in("a.lind").await;
    orderly_engine::people::disable(&console.pool, "a.lind", "admin", console.now()).await.unwrap();
    browser.get("/me").await.expect(StatusCode::SEE_OTHER);
    console.browser().sign_in("a.lind", "demo-a.lind").await.expect(StatusCode::UNAUTHORIZED);

    let browser = console.signed_in("p.ray").await;
    let roles = vec!["auditor".to_owned()];
    orderly_engine::people::set_roles(&console.pool, "p.ray", &roles, "admin", console.now()).await.unwrap();
    browser.get("/me").await.expect(StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn the_sixth_session_of_a_person_ends_the_first() {
    let console = Console::start().await;
    let first = console.signed_in("a.lind").await;
    for _ in 0..5 {
        console.pass(TimeDelta::seconds(1));
        console.signed_in("a.lind").await;
    }
    first.get("/me").await.expect(StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn forms_from_other_sites_are_refused() {
    let console = Console::start().await;
    let mut browser = console.signed_in("a.lind").await;
    let key = browser.get("/me").await.hidden("form_key");
    for origin in ["http://evil.test", "http://sub.orderly.test", "null"] {
        browser.origin = Some(origin);
        browser
            .post("/logout", &[("form_key", &key)])
            .await
            .expect(StatusCode::FORBIDDEN)
            .says("came from another site");
    }
    browser.origin = Some("http://orderly.test");
    browser.get("/me").await.expect(StatusCode::OK);
}

#[tokio::test]
async fn signing_in_never_sends_people_to_another_site() {
    let console = Console::start().await;
    for next in ["//evil.test", "https://evil.test", "/\\evil.test", "javascript:alert(1)"] {
        let answer = console
            .browser()
            .post("/login", &[("name", "h.nair"), ("password", "demo-h.nair"), ("next", next)])
            .await;
        assert_eq!(answer.location, "/", "{next}");
    }
}

#[tokio::test]
async fn every_sign_in_stands_in_an_unbroken_access_log() {
    let console = Console::start().await;
    console.signed_in("a.lind").await;
    console.browser().sign_in("a.lind", "wrong").await;
    let chain = orderly_engine::access::verify(&console.pool).await.unwrap();
    assert_eq!(chain, orderly_engine::access::Chain::Whole { rows: 2 });
    let mut owner = console.store.owner_for_tests().await.unwrap();
    sqlx::query("UPDATE access_entry SET person = 'p.ray' WHERE number = 1")
        .execute(&mut owner)
        .await
        .unwrap();
    let chain = orderly_engine::access::verify(&console.pool).await.unwrap();
    assert_eq!(chain, orderly_engine::access::Chain::Broken { number: 1 });
}
