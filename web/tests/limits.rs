//! How large requests may be, how long they may take, and how many a person may have under way.
#![expect(clippy::disallowed_methods, reason = "a test stands outside the server")]

mod support;

use std::task::Poll;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode, header};
use orderly_web::{ConsoleOptions, RequestLimits};
use support::{Browser, Console};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tower::ServiceExt;

fn post(browser: &Browser, body: Body) -> Request<Body> {
    let cookies = browser.cookies.lock().expect("nobody panicked with it");
    let cookies: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
    Request::builder()
        .method("POST")
        .uri("/me/sessions/end")
        .header(header::HOST, "orderly.test")
        .header(header::ORIGIN, "http://orderly.test")
        .header(header::COOKIE, cookies.join("; "))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(body)
        .expect("is a request")
}

/// A body that never comes; tells when its handler waits for it.
fn stalled(waited_for: &mpsc::UnboundedSender<()>) -> Body {
    let waited_for = waited_for.clone();
    Body::from_stream(futures::stream::poll_fn(move |_| -> Poll<Option<std::io::Result<Bytes>>> {
        let _ = waited_for.send(());
        Poll::Pending
    }))
}

/// Sends a form that never comes; returns when it is under way.
async fn begin(console: &Console, browser: &Browser) -> JoinHandle<StatusCode> {
    let (waited_for, mut waits) = mpsc::unbounded_channel();
    let request = post(browser, stalled(&waited_for));
    let router = console.router.clone();
    let sent = tokio::spawn(async move { router.oneshot(request).await.expect("answers").status() });
    waits.recv().await.expect("its handler reads it");
    sent
}

#[tokio::test]
async fn a_person_with_twenty_requests_under_way_is_told_to_wait_and_nobody_else_is() {
    let console = Console::start().await;
    let browser = console.signed_in("a.lind").await;
    let elsewhere = console.signed_in("a.lind").await;
    let other = console.signed_in("p.ray").await;
    let mut under_way = Vec::new();
    for _ in 0..RequestLimits::default().at_once - 1 {
        under_way.push(begin(&console, &browser).await);
    }
    // The twentieth.
    browser.get("/me").await.expect(StatusCode::OK);
    under_way.push(begin(&console, &browser).await);
    for _ in 0..100 {
        let refused =
            browser.get("/me").await.expect(StatusCode::TOO_MANY_REQUESTS).says("Too many requests");
        assert_eq!(refused.headers[header::RETRY_AFTER], "1");
    }
    elsewhere.get("/me").await.expect(StatusCode::TOO_MANY_REQUESTS);
    // What open pages ask for by themselves has room of its own.
    browser.refresh("/me").await.expect(StatusCode::OK);
    other.get("/me").await.expect(StatusCode::OK);
    console.browser().get("/login").await.expect(StatusCode::OK);
    let ended = under_way.pop().unwrap();
    ended.abort();
    assert!(ended.await.unwrap_err().is_cancelled());
    browser.get("/me").await.expect(StatusCode::OK);
    under_way.iter().for_each(JoinHandle::abort);
}

#[tokio::test]
async fn a_form_may_have_a_mebibyte() {
    let console = Console::start().await;
    let browser = console.signed_in("a.lind").await;
    let most = RequestLimits::default().body_bytes;
    for (length, expected) in [
        (most, StatusCode::SEE_OTHER),
        (most + 1, StatusCode::PAYLOAD_TOO_LARGE),
        (100 * most, StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let key = browser.get("/me").await.hidden("form_key");
        let form = format!("form_key={key}&rest=");
        let form = format!("{form}{}", "x".repeat(length - form.len()));
        let answer = console.router.clone().oneshot(post(&browser, Body::from(form))).await.unwrap();
        assert_eq!(answer.status(), expected, "{length} bytes");
        if expected == StatusCode::PAYLOAD_TOO_LARGE {
            let page = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
            assert!(String::from_utf8_lossy(&page).contains("That was too large"));
        }
    }
}

#[tokio::test]
async fn a_form_that_does_not_come_within_its_time_is_given_up() {
    assert_eq!(RequestLimits::default().time, Duration::from_secs(30));
    let requests = RequestLimits { time: Duration::from_secs(2), ..RequestLimits::default() };
    let console = Console::start_with(ConsoleOptions { requests, ..ConsoleOptions::default() }).await;
    let browser = console.signed_in("a.lind").await;
    let sent = begin(&console, &browser).await;
    assert!(!sent.is_finished(), "it may take its time");
    assert_eq!(sent.await.unwrap(), StatusCode::REQUEST_TIMEOUT);
    browser.get("/me").await.expect(StatusCode::OK);
}

#[tokio::test]
async fn headers_may_have_sixteen_kibibytes() {
    let console = Console::start().await;
    let most = RequestLimits::default().header_bytes;
    let fixed = "GET /login HTTP/1.1\r\nhost: orderly.test\r\nx: \r\n\r\n".len();
    for (length, expected) in [
        (most, StatusCode::OK),
        (most + 1, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        (100 * most, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
    ] {
        let request = Request::builder()
            .uri("/login")
            .header(header::HOST, "orderly.test")
            .header("x", "x".repeat(length - fixed))
            .body(Body::empty())
            .unwrap();
        let answer = console.router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), expected, "{length} bytes");
    }
    // The address counts as well.
    let long = format!("/login?next={}", "x".repeat(most));
    console.browser().get(&long).await.expect(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE).says("too long");
}
