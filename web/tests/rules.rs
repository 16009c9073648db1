//! Rules in the console: reading, drafting, testing, trying, publishing, going back.
#![expect(clippy::disallowed_methods, reason = "a test stands outside the server")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use orderly_engine::configuration::Files;
use orderly_engine::site::{self, By, ConfigurationStore, Environment};
use support::{Answer, Browser, Console};

const SITE: &str = "site:
  format: 1
  name: northgate
  title: Northgate
  timezone: Europe/Amsterdam
roles:
";

const LIMIT: &str = "//@ policy: day-limit
//@ title: How many orders a day
//@ owner: integration-analyst
//@ facts: { orders: int }
//@ result: { refuse: { type: bool, default: false } }
//@ rule: too-many
//@ title: More than ten
if orders > 10 { refuse = true; }
";

const TESTS: &str = "test: day-limit
cases:
  - { name: ten is fine, facts: { orders: 10 }, expect: { result: { refuse: false } } }
  - { name: eleven is not, facts: { orders: 11 }, expect: { result: { refuse: true }, fired: [too-many] } }
";

/// A console over a deployed site, whose configuration follows what is published as in the server.
async fn console() -> Console {
    let console = Console::start().await;
    // The people of the test console keep their roles when this site starts to run.
    let roles: String = support::PEOPLE
        .iter()
        .map(|(_, _, role, like)| {
            (*role, format!("  {role}: {{ title: {}, like: {like} }}\n", role.replace('-', " ")))
        })
        .collect::<std::collections::BTreeMap<_, _>>()
        .into_values()
        .collect();
    let site_file = format!("{SITE}{roles}");
    let files: Files = [
        ("site.yaml", site_file.as_str()),
        ("rules/policies/day-limit.rhai", LIMIT),
        ("rules/policies/day-limit.test.yaml", TESTS),
    ]
    .into_iter()
    .map(|(path, text)| (path.to_owned(), Arc::from(text.as_bytes())))
    .collect();
    let by = By { person: "r.meyer", reason: "first" };
    site::deploy(&console.store, &files, &Environment::local(), by).await.unwrap();
    let configurations = ConfigurationStore::open(console.store.clone()).await.unwrap();
    console.configuration.store(configurations.current());
    let running = console.configuration.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if configurations.refresh().await.unwrap_or(false) {
                running.store(configurations.current());
            }
        }
    });
    console
}

const SET: &str = "/rules/policy/day-limit";

async fn save(browser: &Browser, content: &str, tests: &str) -> Answer {
    let page = browser.get(&format!("{SET}/draft")).await.expect(StatusCode::OK);
    let (key, version) = (page.hidden("form_key"), page.hidden("version"));
    let fields = [("form_key", &*key), ("version", &*version), ("content", content), ("tests", tests)];
    browser.post(&format!("{SET}/draft"), &fields).await.expect(StatusCode::SEE_OTHER);
    browser.get(&format!("{SET}/draft")).await.expect(StatusCode::OK)
}

/// The value of a hidden field of the form with this action.
fn field(page: &Answer, action: &str, name: &str) -> Option<String> {
    let form = page.body.split_once(&format!("action=\"{action}\""))?.1;
    let value = form.split_once(&format!("name=\"{name}\" value=\""))?.1;
    Some(value.split_once('"')?.0.to_owned())
}

async fn publish(browser: &Browser, page: &Answer) -> Answer {
    let action = format!("{SET}/publish");
    let key = field(page, &action, "form_key").expect("the page offers publishing");
    let version = field(page, &action, "version").unwrap();
    let fields = [("form_key", &*key), ("version", &*version), ("reason", "ward asked for it")];
    browser.post(&action, &fields).await
}

#[tokio::test]
async fn a_policy_shows_its_text_rules_tests_and_version() {
    let console = console().await;
    let browser = console.signed_in("t.visser").await;
    browser
        .get("/rules")
        .await
        .expect(StatusCode::OK)
        .says("day-limit")
        .says("2 tests pass")
        .says("critical-values");
    browser
        .get(SET)
        .await
        .expect(StatusCode::OK)
        .says("How many orders a day")
        .says("More than ten")
        .says("eleven is not")
        .says("orders: int")
        .says(">v1</a>");
}

#[tokio::test]
async fn a_mistake_in_a_draft_is_shown_with_its_place_and_nothing_goes_live() {
    let console = console().await;
    let browser = console.signed_in("n.bakker").await;
    let wrong = LIMIT.replace("orders > 10", "ordres > 10");
    let page = save(&browser, &wrong, TESTS).await.says("ordres").says("line 8");
    assert!(field(&page, &format!("{SET}/publish"), "form_key").is_none(), "publishing is offered");
    let key = page.hidden("form_key");
    let fields = [("form_key", &*key), ("version", "1"), ("reason", "anyway")];
    browser
        .post(&format!("{SET}/publish"), &fields)
        .await
        .expect(StatusCode::CONFLICT)
        .says("errors in the text");
    assert!(!console.signed_in("h.nair").await.get("/messages").await.body.contains("ordres"));
    browser.get(SET).await.says("orders &#62; 10");
}

#[tokio::test]
async fn publishing_is_refused_while_a_test_fails() {
    let console = console().await;
    let browser = console.signed_in("n.bakker").await;
    let page =
        save(&browser, &LIMIT.replace("> 10", "> 9"), TESTS).await.says("Fails").says("Not all tests pass");
    let key = page.hidden("form_key");
    let fields = [("form_key", &*key), ("version", "1"), ("reason", "anyway")];
    browser
        .post(&format!("{SET}/publish"), &fields)
        .await
        .expect(StatusCode::CONFLICT)
        .says("Not all tests pass");
}

#[tokio::test]
async fn a_draft_becomes_a_new_version_and_an_old_one_can_be_live_again() {
    let console = console().await;
    let browser = console.signed_in("n.bakker").await;
    let (content, tests) = (LIMIT.replace("> 10", "> 20"), TESTS.replace("10", "20").replace("11", "21"));
    let page = save(&browser, &content, &tests).await.says("Publish as new version");
    publish(&browser, &page).await.expect(StatusCode::SEE_OTHER);
    browser
        .get(SET)
        .await
        .says("orders &#62; 20")
        .says(">v2</a>")
        .says("ward asked for it")
        .says("Running instances finish");
    browser.get(&format!("{SET}?version=1")).await.says("orders &#62; 10").says("not live any more");
    let action = format!("{SET}/rollback");
    let asked = browser.get(&format!("{action}?version=1")).await.says("Make v1 live again");
    let key = field(&asked, &action, "form_key").expect("the page offers going back");
    let fields = [("form_key", &*key), ("version", "1"), ("reason", "too generous")];
    browser.post(&action, &fields).await.expect(StatusCode::SEE_OTHER);
    browser.get(SET).await.says("orders &#62; 10").says("too generous");
    let acts: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM access_entry WHERE action IN ('rules.published', 'rules.rolled-back')",
    )
    .fetch_one(&console.pool)
    .await
    .unwrap();
    assert_eq!(acts, 2);
}

#[tokio::test]
async fn two_people_in_one_draft_lose_nothing() {
    let console = console().await;
    let (first, second) = (console.signed_in("t.visser").await, console.signed_in("n.bakker").await);
    let page = second.get(&format!("{SET}/draft")).await;
    save(&first, &LIMIT.replace("> 10", "> 12"), TESTS).await;
    let (key, version) = (page.hidden("form_key"), page.hidden("version"));
    let mine = LIMIT.replace("> 10", "> 13");
    let fields = [("form_key", &*key), ("version", &*version), ("content", &*mine), ("tests", TESTS)];
    let answer = second.post(&format!("{SET}/draft"), &fields).await.expect(StatusCode::OK);
    answer.says("Somebody else saved this draft").says("orders &#62; 13");
    first.get(&format!("{SET}/draft")).await.says("orders &#62; 12");
}

#[tokio::test]
async fn trying_a_policy_shows_what_fired_and_what_nearly_did() {
    let console = console().await;
    let browser = console.signed_in("t.visser").await;
    let key = browser.get(&format!("{SET}/try")).await.expect(StatusCode::OK).hidden("form_key");
    let try_with = async |orders| {
        browser.post(&format!("{SET}/try"), &[("form_key", &*key), ("fact_orders", orders)]).await
    };
    try_with("11").await.expect(StatusCode::OK).says("Fired");
    try_with("10").await.says("Near miss.").says("orders &#62; 10");
    try_with("many").await.says("orders:");
}

#[tokio::test]
async fn a_tracked_message_is_tried_only_by_those_who_may_read_it() {
    let console = console().await;
    let page = "/rules/policy/critical-values/try";
    let browser = console.signed_in("t.visser").await;
    let key = browser.get(page).await.expect(StatusCode::OK).hidden("form_key");
    let fields = [("form_key", &*key), ("tracked_oru", "0000000000000")];
    browser.post(page, &fields).await.says("needs the right to read messages");
    let fields = [("form_key", &*key), ("sample_oru", "oru-potassium.hl7")];
    browser.post(page, &fields).await.expect(StatusCode::OK).says("critical-limits").says("Fired");
}

#[tokio::test]
async fn analysts_edit_but_do_not_publish() {
    let console = console().await;
    let analyst = console.signed_in("t.visser").await;
    let page =
        save(&analyst, &LIMIT.replace("> 10", "> 10 "), TESTS).await.says("Publishing needs rules.publish");
    assert!(field(&page, &format!("{SET}/publish"), "form_key").is_none());
    analyst.post(&format!("{SET}/publish"), &[]).await.expect(StatusCode::FORBIDDEN);
    let operator = console.signed_in("m.okafor").await;
    operator.get("/rules").await.expect(StatusCode::FORBIDDEN);
}
