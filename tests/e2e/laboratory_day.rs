//! The laboratory day: registration, order, approval, confirmation, result, critical value.

use orderly_tests::{Northgate, eventually, hospital};

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_reaches_three_systems_that_its_sender_does_not_know() {
    let northgate = Northgate::open().await;
    let message = hospital::registration("REG1", 700_001);
    assert!(northgate.send(&message).await);
    for (name, system) in [
        ("order entry", &northgate.order_entry),
        ("laboratory", &northgate.laboratory),
        ("billing", &northgate.billing),
    ] {
        let received = system
            .expect(&format!("the registration reaches {name}"), |message| message.text("MSH-10") == "REG1")
            .await;
        assert_eq!(received.text("PID-3.1"), "700001");
    }
    assert!(northgate.ward.received().is_empty());
    northgate.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cheap_order_reaches_the_laboratory_and_ends_with_its_final_result() {
    let northgate = Northgate::open().await;
    assert!(northgate.send(&hospital::order("ORD1", 700_002, "P1", "K")).await);
    let order = northgate
        .laboratory
        .expect("the order reaches the laboratory", |message| message.text("ORC-2.1") == "P1")
        .await;
    assert!(northgate.send(&hospital::confirmation(&order)).await);
    northgate
        .order_entry
        .expect("order entry hears that the laboratory has the order", |message| {
            message.text("MSH-9.1") == "ORL" && message.text("ORC-2.1") == "P1"
        })
        .await;
    assert!(northgate.send(&hospital::result("RES1", 700_002, "P1", "4.1")).await);
    northgate
        .order_entry
        .expect("the result reaches order entry", |message| message.text("MSH-10") == "RES1")
        .await;
    northgate.billing.expect("the result reaches billing", |message| message.text("MSH-10") == "RES1").await;
    no_instance_left(&northgate).await;
    northgate.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_about_an_order_is_found_by_its_number() {
    let northgate = Northgate::open().await;
    // Messages that come right after the first start of a site may be older than what it declares.
    eventually("the declaration holds", async || {
        let since = "SELECT count(*) FROM search_property WHERE name = 'order.placer' AND since < now()";
        let found: i64 = sqlx::query_scalar(since).fetch_one(&northgate.pool).await.ok()?;
        (found == 1).then_some(())
    })
    .await;
    let long = "N".repeat(400);
    for (control, order) in [("ORD7", "P7"), ("ORD8", "P8"), ("ORDLONG", long.as_str())] {
        assert!(northgate.send(&hospital::order(control, 700_012, order, "K")).await);
    }
    assert!(northgate.send(&hospital::result("RES7", 700_012, "P7", "4.1")).await);
    let person = northgate.person("r.meyer").await;
    let page = person.get("/messages").await;
    let by = async |value: &str| {
        person.submit(&page, "/messages", &[("property", "order.placer"), ("value", value)]).await.text()
    };
    let found = by("P7").await;
    assert!(found.contains("ORD7") && found.contains("RES7") && !found.contains("ORD8"), "{found}");
    assert!(found.contains("One value of order.placer") && !found.contains("P7"), "{found}");
    let found = by(&long).await;
    assert!(found.contains("ORDLONG") && found.contains("1 message, as of"), "{found}");
    assert!(by(&long[1..]).await.contains("Nothing matched"), "another value of nearly the same length");
    northgate.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_without_a_known_order_is_delivered_all_the_same() {
    let northgate = Northgate::open().await;
    assert!(northgate.send(&hospital::result("RES2", 700_003, "NOBODYS", "4.4")).await);
    northgate
        .order_entry
        .expect("the result reaches order entry", |message| message.text("MSH-10") == "RES2")
        .await;
    northgate.billing.expect("the result reaches billing", |message| message.text("MSH-10") == "RES2").await;
    no_instance_left(&northgate).await;
    northgate.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_message_again_gets_the_first_answer_and_is_not_delivered_twice() {
    let northgate = Northgate::open().await;
    let message = hospital::registration("REG3", 700_004);
    let mut sender = northgate.sender().await;
    let first = sender.send(&message).await.expect("an answer");
    let second = sender.send(&message).await.expect("an answer");
    assert_eq!((first.text("MSA-1"), first.text("MSA-2")), ("AA".to_owned(), "REG3".to_owned()));
    assert_eq!((second.text("MSA-1"), second.text("MSA-2")), ("AA".to_owned(), "REG3".to_owned()));
    // What comes behind it on the same connection and for the same patient arrives after it.
    sender.send(&hospital::registration("REG4", 700_004)).await.expect("an answer");
    northgate
        .billing
        .expect("the next registration arrives", |message| message.text("MSH-10") == "REG4")
        .await;
    let copies =
        northgate.billing.received().iter().filter(|message| message.text("MSH-10") == "REG3").count();
    assert_eq!(copies, 1);
    northgate.close().await;
}

async fn no_instance_left(northgate: &Northgate) {
    eventually("every instance has ended", async || {
        let left: i64 =
            sqlx::query_scalar("SELECT count(*) FROM instance").fetch_one(&northgate.pool).await.ok()?;
        (left == 0).then_some(())
    })
    .await;
}
