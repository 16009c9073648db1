//! What must not shake the server: each with its named outcome, and nothing lost.

use orderly_tests::{Northgate, eventually, hospital};

async fn suspended(northgate: &Northgate, code: &str) {
    eventually(&format!("something is kept as {code}"), async || {
        let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM parked WHERE code = $1")
            .bind(code)
            .fetch_one(&northgate.pool)
            .await
            .ok()?;
        (kept > 0).then_some(())
    })
    .await;
}

/// The server still works: a registration goes through.
async fn still_works(northgate: &Northgate, control: &str) {
    assert!(northgate.send(&hospital::registration(control, 700_100)).await);
    northgate
        .billing
        .expect("a registration goes through", |message| message.text("MSH-10") == control)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_socket_disturbs_nobody() {
    let northgate = Northgate::open().await;
    let mut vandal = northgate.sender().await;
    vandal.write(b"GET / HTTP/1.1\r\n\r\n\x00\xff\xfe").await.expect("written");
    still_works(&northgate, "OK1").await;
    northgate.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_frame_is_not_a_message() {
    let northgate = Northgate::open().await;
    let mut sender = northgate.sender().await;
    sender
        .write(b"\x0bMSH|^~\\&|REG|NORTHGATE|ORDERLY|NORTHGATE|20260301||ADT^A04|HALF")
        .await
        .expect("written");
    drop(sender);
    still_works(&northgate, "OK2").await;
    // What had come is kept for a person to look at; nobody was told that it arrived, and nobody got it.
    suspended(&northgate, "frame.incomplete").await;
    assert!(!northgate.billing.received().iter().any(|message| message.text("MSH-10") == "HALF"));
    northgate.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_a_header_is_rejected_and_kept() {
    let northgate = Northgate::open().await;
    let answer = northgate.sender().await.send("PID|1||70001^^^NORTH^MR\r").await.expect("an answer");
    assert_eq!(answer.text("MSA-1"), "AR");
    suspended(&northgate, "unreadable").await;
    still_works(&northgate, "OK3").await;
    northgate.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_nobody_subscribes_to_is_accepted_and_shown_as_not_routed() {
    let northgate = Northgate::open().await;
    let message = hospital::registration("LOST1", 700_101)
        .replace("ADT^A04^ADT_A01", "ADT^A08^ADT_A01")
        .replace("EVN|A04", "EVN|A08");
    assert!(northgate.send(&message).await);
    suspended(&northgate, "no_subscriber").await;
    still_works(&northgate, "OK4").await;
    northgate.close().await;
}
