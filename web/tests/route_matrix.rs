//! Every route with every role: who is let in, who is refused, who is asked to sign in.

mod support;

use axum::http::StatusCode;
use orderly_web::Needs;
use support::{Console, PEOPLE};

#[tokio::test]
async fn every_route_lets_in_exactly_those_who_hold_its_capability() {
    let console = Console::start().await;
    let roles = support::roles();
    let mut wrong = Vec::new();
    let nobody = console.browser();
    for (person, _, role, _) in PEOPLE {
        let browser = console.signed_in(person).await;
        let may = roles.capabilities(&[(*role).to_owned()]);
        for (method, path, needs) in orderly_web::declared_routes() {
            // What ends or locks the session that is looked with.
            if ["/logout", "/login", "/lock", "/unlock"].contains(&path) {
                continue;
            }
            let path = path.replace("{file}", "none").replace(['{', '}'], "");
            let ask = async |browser: &support::Browser| match method {
                "GET" => browser.get(&path).await.status,
                _ => browser.post(&path, &[]).await.status,
            };
            let allowed = needs.met_by(|need| may.contains(&need));
            let status = ask(&browser).await;
            if (status == StatusCode::FORBIDDEN) == allowed {
                wrong.push(format!("{person} {method} {path}: {status}, allowed: {allowed}"));
            }
            if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED {
                wrong.push(format!("{person} {method} {path}: {status}"));
            }
            let expected = match (needs, method) {
                (Needs::Nothing, _) => continue,
                (_, "GET") => StatusCode::SEE_OTHER,
                _ => StatusCode::UNAUTHORIZED,
            };
            let status = ask(&nobody).await;
            if status != expected {
                wrong.push(format!("nobody {method} {path}: {status}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn every_page_forbids_foreign_scripts_and_being_kept() {
    let console = Console::start().await;
    let answer = console.browser().get("/login").await.expect(StatusCode::OK);
    let policy = answer.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert!(!answer.body.contains(" style=\"") && !answer.body.contains("<script>"));
}

#[tokio::test]
async fn an_unknown_page_says_what_to_do_next() {
    let console = Console::start().await;
    let browser = console.signed_in("a.lind").await;
    browser
        .get("/no/such/page")
        .await
        .expect(StatusCode::NOT_FOUND)
        .says("no such page")
        .says("Go to your start page");
}
