//! Operators: suspended work, ports on hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use orderly_hl7::Message;
use orderly_tests::{Answering, Northgate, answer_as_asked, eventually, hospital};

use crate::browser::Browser;

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_resumes_what_a_receiver_refused_and_it_is_delivered() {
    let broken = Arc::new(AtomicBool::new(true));
    let laboratory: Answering = {
        let broken = broken.clone();
        Arc::new(move |message| {
            let good = answer_as_asked(message);
            let refuses = broken.load(Ordering::SeqCst);
            Some(if refuses { good.replace("MSA|AA", "MSA|AE").replace("MSA|CA", "MSA|CE") } else { good })
        })
    };
    let northgate = Northgate::with_laboratory(laboratory).await;
    assert!(northgate.send(&hospital::registration("REF1", 700_601)).await);
    let browser = Browser::open(&northgate).await;
    browser.sign_in("r.meyer").await;
    browser.reloads_until("/suspended", "Laboratory system").await;
    browser.fits_a_phone().await;
    browser.go("/ops").await;
    browser.sees("Needs attention").await;
    browser.fits_a_phone().await;
    browser.click("main table a[href^='/suspended/']").await;
    browser.fits_a_phone().await;

    broken.store(false, Ordering::SeqCst);
    let refused = northgate.laboratory.received().len();
    browser.follow("Resume 1").await;
    browser.fill("#reason", "The laboratory repaired its table").await;
    browser.press("Resume 1").await;
    northgate
        .laboratory
        .expect("it arrives once more, and is taken", |_| northgate.laboratory.received().len() > refused)
        .await;
    browser.reloads_until("/suspended", "Nothing suspended").await;
    northgate.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_holds_a_port_and_what_is_for_it_waits_until_it_is_started() {
    let northgate = Northgate::open().await;
    let browser = Browser::open(&northgate).await;
    browser.sign_in("r.meyer").await;
    browser.go("/ports").await;
    browser.fits_a_phone().await;
    browser.click("main a[href='/ports/send/laboratory']").await;
    browser.fits_a_phone().await;
    browser.fill("#reason", "Maintenance of the laboratory system").await;
    browser.press("Stop port now").await;
    browser.sees("On hold").await;
    browser.sees("Maintenance of the laboratory system").await;

    // The lane hears of it within a second; what is sent before that may still go out.
    let mut number = 0;
    let held = eventually("what is for the port waits", async || {
        number += 1;
        let control = format!("HELD{number}");
        assert!(northgate.send(&hospital::registration(&control, 700_700 + number)).await);
        let others = |message: &Message| message.text("MSH-10") == control;
        northgate.billing.expect("others go on as usual", others).await;
        browser.go("/queues").await;
        let waits = browser.text().await.contains("laboratory");
        (waits && !northgate.laboratory.received().iter().any(others)).then_some(control)
    })
    .await;

    browser.go("/ports/send/laboratory").await;
    browser.fill("#reason", "Maintenance is over").await;
    browser.press("Start port now").await;
    northgate.laboratory.expect("what waited is delivered", |message| message.text("MSH-10") == held).await;
    northgate.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_operations_tells_what_happens_without_being_asked_again() {
    let broken = Arc::new(AtomicBool::new(true));
    let laboratory: Answering = {
        let broken = broken.clone();
        Arc::new(move |message| {
            let good = answer_as_asked(message);
            let refuses = broken.load(Ordering::SeqCst);
            Some(if refuses { good.replace("MSA|AA", "MSA|AE").replace("MSA|CA", "MSA|CE") } else { good })
        })
    };
    let northgate = Northgate::with_laboratory(laboratory).await;
    let browser = Browser::open(&northgate).await;
    browser.sign_in("r.meyer").await;
    browser.go("/suspended").await;
    browser.sees("Nothing suspended").await;
    browser.sees("Updates by itself").await;
    assert!(northgate.send(&hospital::registration("LIVE1", 700_801)).await);
    browser.sees("Laboratory system").await;
    browser.sees("The receiver answered that it failed (AE)").await;
    northgate.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_asks_who_would_receive_a_message() {
    let northgate = Northgate::open().await;
    let browser = Browser::open(&northgate).await;
    browser.sign_in("r.meyer").await;
    browser.go("/subscriptions").await;
    browser.fits_a_phone().await;
    let message = hospital::result("ASK1", 700_802, "P802", "6.9").replace("|LIS|", "|POCT|");
    browser.paste("#text", &message.replace('\r', "\n")).await;
    browser.press("Show who would receive it").await;
    browser.sees("Every result to the record, critical values to a physician").await;
    browser.sees("hl7.sending_app begins with LIS").await;
    browser.sees("the message has POCT").await;
    browser.fits_a_phone().await;
    let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM message")
        .fetch_one(&northgate.pool)
        .await
        .expect("messages can be counted");
    assert_eq!(stored, 0, "nothing is stored");
    northgate.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sends_a_batch_now_instead_of_at_its_time() {
    let northgate = Northgate::with_send_ports(
        "  statistics:
    title: Office of statistics
    target: { folder: { path: statistics } }
    filter: { port.name: hospital, hl7.type: ADT }
    batch: { release: { count: 1000 } }\n",
    )
    .await;
    for (control, patient) in [("BAT1", 700_901), ("BAT2", 700_902)] {
        assert!(northgate.send(&hospital::registration(control, patient)).await);
    }
    let browser = Browser::open(&northgate).await;
    browser.sign_in("r.meyer").await;
    browser.reloads_until("/batches", "Office of statistics").await;
    browser.fits_a_phone().await;
    browser.click("main table th a[href^='/batches/']").await;
    let batch = browser.path().await;
    browser.reloads_until(&batch, "BAT2").await;
    browser.fits_a_phone().await;
    browser.fill("#reason", "The office asked for it today").await;
    browser.press("Act on the batch now").await;
    browser.sees("Closed. It is sent now").await;
    browser.reloads_until(&batch, "Sent").await;
    browser.sees("a person sent it").await;
    browser.follow("Journey of the batch").await;
    browser.reloads_until(&browser.path().await, "Delivered to Office of statistics").await;
    northgate.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lab_person_reads_what_was_found_and_sends_a_corrected_copy() {
    let northgate = Northgate::open().await;
    let wrong =
        hospital::result("FIND1", 700_903, "P903", "6.1").replace("PID|1||700903^^^NORTH^MR|", "PID|1|||");
    assert!(
        northgate.send(&wrong).await,
        "in enhanced mode its sender reads that it is stored, whatever is wrong with it"
    );
    let browser = Browser::open(&northgate).await;
    browser.sign_in("r.meyer").await;
    browser.go("/messages?findings=errors").await;
    browser.fits_a_phone().await;
    browser.click("main table.messages a[href*='tab=findings']").await;
    browser.sees("PID-3").await;
    browser.fits_a_phone().await;
    browser.follow("Edit a copy and send it").await;
    browser.press("Check the copy").await;
    browser.sees("It would be refused at the door").await;
    browser.fits_a_phone().await;
    let right = hospital::result("FIND1", 700_903, "P903", "6.1");
    browser.paste("#text", &right.replace('\r', "\n")).await;
    browser.press("Check the copy").await;
    browser.sees("The door would take it").await;
    browser.fill("#reason", "The laboratory gave the number by telephone").await;
    browser.press("Send the copy").await;
    northgate.billing.expect("billing gets the copy", |message| message.text("PID-3.1") == "700903").await;
    northgate.close().await;
}
