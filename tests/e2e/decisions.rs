//! People decide in the console, and the hospital goes on accordingly.

use orderly_tests::{Console, Northgate, Page, eventually, hospital};

/// The open task of a person, once there is one; the page of it.
async fn open_task(console: &Console) -> (String, Page) {
    let path = eventually("a task is on the worklist", async || {
        console.get("/tasks").await.links("/tasks/").into_iter().find(|link| !link.contains("history"))
    })
    .await;
    let page = console.get(&path).await;
    assert_eq!(page.status, 200, "{}", page.body);
    (path, page)
}

/// Goes through decision, check and receipt.
async fn decide(console: &Console, password: &str, outcome: &str, reason: &str) -> Page {
    let (_, page) = open_task(console).await;
    let check = console.submit(&page, "/check", &[("outcome", outcome), ("reason", reason)]).await;
    assert!(check.body.contains("Check your decision"), "{}", check.body);
    console.submit(&check, "/decide", &[("password", password)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expensive_order_waits_for_one_approver_and_then_reaches_the_laboratory() {
    let northgate = Northgate::open().await;
    assert!(northgate.send(&hospital::order("ORD10", 700_010, "P10", "PETCT")).await);
    // A later, cheap order is not held up by it.
    assert!(northgate.send(&hospital::order("ORD11", 700_011, "P11", "K")).await);
    northgate
        .laboratory
        .expect("the cheap order goes ahead", |message| message.text("ORC-2.1") == "P11")
        .await;
    assert!(!northgate.laboratory.received().iter().any(|message| message.text("ORC-2.1") == "P10"));

    let approver = northgate.person("s.devries").await;
    let receipt = decide(&approver, "demo-devries", "approve", "").await;
    assert_eq!(receipt.status, 200, "{}", receipt.body);
    northgate
        .laboratory
        .expect("the approved order reaches the laboratory", |message| message.text("ORC-2.1") == "P10")
        .await;
    northgate.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restricted_order_needs_two_different_people_and_survives_a_crash_in_between() {
    let mut northgate = Northgate::open().await;
    assert!(northgate.send(&hospital::order("ORD20", 700_020, "P20", "GENOME")).await);
    let first = northgate.person("l.jansen").await;
    decide(&first, "demo-jansen", "approve", "indicated").await;
    assert!(northgate.laboratory.received().is_empty(), "one person is not enough");

    northgate.crash_and_restart().await;
    let second = northgate.person("s.devries").await;
    decide(&second, "demo-devries", "approve", "indicated").await;
    northgate
        .laboratory
        .expect("the order reaches the laboratory", |message| message.text("ORC-2.1") == "P20")
        .await;
    northgate.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declined_order_goes_back_to_order_entry_and_never_to_the_laboratory() {
    let northgate = Northgate::open().await;
    assert!(northgate.send(&hospital::order("ORD30", 700_030, "P30", "PETCT")).await);
    let approver = northgate.person("s.devries").await;
    decide(&approver, "demo-devries", "decline", "not indicated").await;
    northgate
        .order_entry
        .expect("order entry hears of the refusal", |message| message.text("ORC-2.1") == "P30")
        .await;
    assert!(northgate.laboratory.received().is_empty());
    northgate.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_critical_value_waits_for_a_physician_tells_her_by_mail_and_reaches_the_ward() {
    let northgate = Northgate::open().await;
    assert!(northgate.send(&hospital::result("RES40", 700_040, "P40", "6.9")).await);
    northgate
        .order_entry
        .expect("the result itself is not held up", |message| message.text("MSH-10") == "RES40")
        .await;
    assert!(northgate.ward.received().is_empty(), "the ward hears of it when somebody has seen it");

    let physician = northgate.person("a.lind").await;
    let (path, page) = open_task(&physician).await;
    assert!(page.body.contains("6.9"), "the value is on the page");
    assert!(!path.contains("700040") && !path.contains("Aldermark"), "no patient data in the address");
    let receipt = decide(&physician, "demo-lind", "seen-and-acting", "").await;
    assert_eq!(receipt.status, 200, "{}", receipt.body);
    northgate.ward.expect("the ward gets the read-back", |message| message.text("PID-3.1") == "700040").await;
    northgate.close().await;
}
