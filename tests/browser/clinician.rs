//! People who decide: from a mail to the receipt, and two at the same task.

use orderly_engine::mail::catcher::CaughtMail;
use orderly_tests::{Northgate, eventually, hospital};

use crate::browser::{Browser, password};

/// What a message of the made-up patient says about her; none of it may leave by mail or stand in an address.
const PRIVATE: &[&str] = &["700301", "Aldermark", "ALDERMARK", "Testa", "6.9", "Potassium"];

#[tokio::test(flavor = "multi_thread")]
async fn a_physician_comes_by_mail_decides_on_a_critical_value_and_the_ward_hears_of_it() {
    let mut northgate = Northgate::open().await;
    assert!(northgate.send(&hospital::result("CRIT1", 700_301, "P301", "6.9")).await);
    let mail = reminder(&mut northgate, "a.lind@northgate.example").await;
    for word in PRIVATE {
        assert!(!mail.raw.contains(word) && !mail.text.contains(word), "{word} must not be in a mail");
    }
    let from = mail.text.find("/tasks/").expect("the mail has a link to the task");
    let link = mail.text[from..].split_whitespace().next().unwrap_or_default();

    let lind = Browser::open(&northgate).await;
    lind.go(link).await;
    assert!(lind.path().await.starts_with("/login"), "whoever has the link must sign in all the same");
    lind.type_password_of("a.lind").await;
    assert_eq!(lind.path().await, link, "the link leads to the task after signing in");
    lind.sees("6.9").await;
    lind.sees("ALDERMARK, Testa").await;
    lind.fits_a_phone().await;

    lind.go("/tasks").await;
    lind.fits_a_phone().await;
    lind.follow("Critical value").await;
    lind.press("Continue").await;
    lind.sees("Choose what is to happen").await;
    lind.click("input[value='seen-and-acting']").await;
    lind.press("Continue").await;
    lind.sees("Check your decision").await;
    lind.fits_a_phone().await;
    lind.fill("#password", "not-hers").await;
    lind.press("Sign and").await;
    lind.sees("That is not your password. Nothing was decided.").await;
    assert!(northgate.ward.received().is_empty(), "nothing goes out before she signed");
    lind.fill("#password", &password("a.lind")).await;
    lind.press("Sign and").await;
    lind.sees("What happens next").await;
    assert!(lind.path().await.ends_with("/done"));
    lind.fits_a_phone().await;
    let path = lind.path().await;
    assert!(PRIVATE.iter().all(|word| !path.contains(word)), "no patient data in {path}");
    northgate.ward.expect("the ward gets the read-back", |message| message.text("PID-3.1") == "700301").await;
    northgate.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_people_who_decide_the_same_task_one_gets_a_receipt_and_one_a_polite_no() {
    let northgate = Northgate::open().await;
    assert!(northgate.send(&hospital::order("DEAR1", 700_302, "P302", "PETCT")).await);
    let (sam, tess) = tokio::join!(Browser::open(&northgate), Browser::open(&northgate));
    for (browser, name, outcome) in [(&sam, "s.devries", "approve"), (&tess, "t.visser", "decline")] {
        browser.sign_in(name).await;
        browser.reloads_until("/tasks", "order").await;
        browser.click("main table a[href^='/tasks/']").await;
        browser.click(&format!("input[value='{outcome}']")).await;
        browser.fill("#reason", "Asked the ward").await;
        browser.press("Continue").await;
        browser.sees("Check your decision").await;
        if browser.has("#password").await {
            browser.fill("#password", &password(name)).await;
        }
    }
    assert_eq!(sam.path().await, tess.path().await, "both look at the same task");

    tokio::join!(sam.click("main button.go"), tess.click("main button.go"));
    let received = async |browser: &Browser| {
        eventually("an answer to the decision", async || {
            let text = browser.text().await;
            let known = ["What happens next", "Already decided", "The task changed while you looked at it"];
            known.into_iter().find(|words| text.contains(words))
        })
        .await
    };
    let answers = (received(&sam).await, received(&tess).await);
    let (loser, winner) = match answers {
        ("What happens next", other) if other != "What happens next" => (&tess, "Sam de Vries"),
        (other, "What happens next") if other != "What happens next" => (&sam, "Tess Visser"),
        both => panic!("exactly one of them decides: {both:?}"),
    };
    loser.sees(winner).await;
    loser.sees("Your decision was not taken; nothing was changed.").await;
    let votes: i64 =
        sqlx::query_scalar("SELECT count(*) FROM vote").fetch_one(&northgate.pool).await.expect("counted");
    assert_eq!(votes, 1);
    northgate.close().await;
}

/// The mail that brings a waiting task to mind. Its minute is over at once: the timer is moved while nobody runs.
async fn reminder(northgate: &mut Northgate, to: &str) -> CaughtMail {
    eventually("the task has its timers", async || {
        let timers: i64 =
            sqlx::query_scalar("SELECT count(*) FROM timer").fetch_one(&northgate.pool).await.ok()?;
        (timers > 0).then_some(())
    })
    .await;
    sqlx::query(
        "UPDATE timer SET due_at = now() WHERE (due_at, instance) IN (SELECT min(due_at), instance FROM timer GROUP BY instance)",
    )
    .execute(&northgate.pool)
    .await
    .expect("timers can be moved");
    northgate.crash_and_restart().await;
    eventually("a mail tells her", async || {
        northgate.mails.mails().into_iter().find(|mail| mail.to.iter().any(|person| person == to))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_screen_hides_the_patient_and_brings_back_what_was_typed() {
    let northgate = Northgate::open().await;
    assert!(northgate.send(&hospital::result("LOCK1", 700_303, "P303", "6.9")).await);
    let lind = Browser::open(&northgate).await;
    lind.sign_in("a.lind").await;
    lind.reloads_until("/tasks", "Critical value").await;
    lind.click("main table a[href^='/tasks/']").await;
    lind.sees("ALDERMARK, Testa").await;
    let task = lind.path().await;
    lind.fill("#reason", "Half a sentence").await;
    lind.click("header form[action='/lock'] button").await;
    lind.sees("Not you?").await;
    assert!(!lind.text().await.contains("ALDERMARK"), "the patient is not on the screen");
    lind.fits_a_phone().await;

    let elsewhere = northgate.person("s.devries").await;
    assert!(!elsewhere.get("/tasks").await.body.contains("Locked"), "only this screen is locked");
    lind.fill("#password", "not-hers").await;
    lind.press("Unlock").await;
    lind.sees("That is not your password.").await;
    lind.fill("#password", &password("a.lind")).await;
    lind.press("Unlock").await;
    lind.sees("ALDERMARK, Testa").await;
    assert_eq!(lind.content("#reason").await, "Half a sentence");

    // Whoever asks for another page of a locked session gets the lock, not the page.
    lind.click("header form[action='/lock'] button").await;
    lind.sees("Not you?").await;
    lind.go(&task).await;
    lind.sees("Locked").await;
    assert!(!lind.text().await.contains("ALDERMARK"));
    northgate.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_page_tells_that_somebody_else_was_faster() {
    let northgate = Northgate::open().await;
    assert!(northgate.send(&hospital::order("FAST1", 700_304, "P304", "PETCT")).await);
    let (sam, tess) = (Browser::open(&northgate).await, Browser::open(&northgate).await);
    for (browser, name) in [(&sam, "s.devries"), (&tess, "t.visser")] {
        browser.sign_in(name).await;
        browser.reloads_until("/tasks", "order").await;
        browser.click("main table a[href^='/tasks/']").await;
    }
    tess.fill("#reason", "Still thinking").await;
    sam.click("input[value='approve']").await;
    sam.press("Continue").await;
    sam.fill("#password", &password("s.devries")).await;
    sam.press("Sign and").await;
    sam.sees("What happens next").await;
    tess.sees("Sam de Vries decided “Approve”").await;
    assert_eq!(tess.content("#reason").await, "Still thinking", "what she typed is left alone");
    northgate.close().await;
}
