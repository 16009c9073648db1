//! People who write rules: a draft, its mistakes, its tests, a version, and the way back.

use orderly_tests::{Northgate, hospital};

use crate::browser::Browser;

const SET: &str = "/rules/policy/test-approval";

const RULE: &str = r#"
//@ rule: scarce
//@ title: Glucose is scarce this week
if order.test == "GLU"
{ approval = true; reason = "Scarce test"; }
"#;

const CASE: &str = r#"  - { name: glucose is scarce, facts: { orm: "MSH|^~\\&|E\rORC|NW\rOBR|1|P1||GLU", price: "4.00", limit: "250.00" }, expect: { result: { approval: true, reason: Scarce test } } }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_analyst_changes_a_rule_publishes_it_and_only_later_orders_follow_it() {
    let northgate = Northgate::open().await;
    // It waits for a person, on the rules of before.
    assert!(northgate.send(&hospital::order("OLD1", 700_501, "P501", "PETCT")).await);
    assert!(northgate.send(&hospital::order("FREE1", 700_502, "P502", "GLU")).await);
    northgate
        .laboratory
        .expect("glucose needs nobody at first", |message| message.text("ORC-2.1") == "P502")
        .await;

    let browser = Browser::open(&northgate).await;
    browser.sign_in("t.visser").await;
    browser.go("/rules").await;
    browser.fits_a_phone().await;
    browser.click(&format!("main a[href='{SET}']")).await;
    browser.fits_a_phone().await;
    browser.follow("Edit as draft").await;
    browser.fits_a_phone().await;
    let (text, tests) = (browser.content("#content").await, browser.content("#tests").await);

    let broken = RULE.replace("order.test", "order.tset");
    browser.paste("#content", &format!("{text}{broken}")).await;
    browser.press("Save, check and run tests").await;
    let line = text.lines().count() + 4;
    browser.sees("order.tset").await;
    browser.sees(&format!("line {line},")).await;
    browser.sees("order.test`").await;
    assert!(!browser.has("button.go").await, "nothing can be published while there are errors");

    browser.paste("#content", &format!("{text}{RULE}")).await;
    browser.paste("#tests", &format!("{}\n{CASE}", tests.trim_end())).await;
    browser.press("Save, check and run tests").await;
    browser.sees("glucose is scarce").await;
    browser.sees("None found.").await;
    browser.sees("Publishing needs rules.publish").await;

    browser.sign_in("n.bakker").await;
    browser.go(&format!("{SET}/draft")).await;
    browser.fill("#reason", "The reagent is short until Friday").await;
    browser.press("Publish as new version").await;
    browser.sees("test-approval is live as part of configuration").await;
    browser.sees("Glucose is scarce this week").await;
    browser.sees("The reagent is short until Friday").await;

    assert!(northgate.send(&hospital::order("NEW1", 700_503, "P503", "GLU")).await);
    browser.sign_in("s.devries").await;
    for _ in ["the one from before", "the new one"] {
        browser.reloads_until("/tasks", "GLU").await;
    }
    assert!(!northgate.laboratory.received().iter().any(|message| message.text("ORC-2.1") == "P503"));
    assert_eq!(versions_that_wait(&northgate).await, [1, 2], "the order from before stays on its version");

    browser.sign_in("n.bakker").await;
    browser.go(SET).await;
    browser.sees("2 running instances stay on it").await;
    browser.follow("Make v1 live again").await;
    browser.sees("What changes").await;
    browser.sees("Glucose is scarce this week").await;
    browser.fits_a_phone().await;
    browser.fill("#reason", "Reagent is back").await;
    browser.press("live again").await;
    browser.sees("again, with configuration").await;
    assert!(northgate.send(&hospital::order("FREE2", 700_504, "P504", "GLU")).await);
    northgate
        .laboratory
        .expect("glucose needs nobody again", |message| message.text("ORC-2.1") == "P504")
        .await;
    northgate.close().await;
}

/// The configuration versions of the orders that wait for a person.
async fn versions_that_wait(northgate: &Northgate) -> Vec<i64> {
    sqlx::query_scalar(
        "SELECT i.config_version FROM instance i JOIN task t ON t.instance = i.id ORDER BY i.config_version",
    )
    .fetch_all(&northgate.pool)
    .await
    .expect("instances can be read")
}
