//! Who finds out afterwards: what came, what it caused, who looked.

use orderly_tests::{Northgate, hospital};

use crate::browser::{Browser, password};

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_follows_a_result_to_its_acknowledgment_and_sees_who_looked() {
    let northgate = Northgate::open().await;
    assert!(northgate.send(&hospital::result("AUD1", 700_401, "P401", "6.9")).await);
    let browser = Browser::open(&northgate).await;

    browser.sign_in("a.lind").await;
    browser.reloads_until("/tasks", "Critical value").await;
    browser.click("main table a[href^='/tasks/']").await;
    browser.follow("Read the whole message").await;
    browser.sees("Potassium").await;
    browser.click("input[value='seen-and-acting']").await;
    browser.press("Continue").await;
    browser.fill("#password", &password("a.lind")).await;
    browser.press("Sign and").await;
    browser.sees("What happens next").await;
    northgate.ward.expect("the ward gets the read-back", |message| message.text("PID-3.1") == "700401").await;

    browser.sign_in("h.nair").await;
    browser.go("/messages").await;
    browser.fits_a_phone().await;
    browser.fill("#control_id", "AUD1").await;
    browser.press("Search").await;
    browser.click("main table.messages a").await;
    browser.sees("Journey").await;
    let message = browser.path().await;
    // What it caused comes in its own time: the notice to the ward and the ward's word for it.
    for words in ["k-high", "fired", "Anna Lind", "Seen and acting", "Ward system", "AA"] {
        browser.reloads_until(&message, words).await;
    }
    browser.fits_a_phone().await;

    browser.follow("Acknowledgments").await;
    browser.sees("AA").await;
    browser.fits_a_phone().await;
    browser.follow("Readable").await;
    browser.sees("Aldermark · Testa").await;
    browser.fits_a_phone().await;
    browser.follow("Raw").await;
    browser.sees("OBX|1|NM|2823-3^Potassium^LN||6.9|mmol/L").await;
    browser.fits_a_phone().await;
    browser.follow("Access").await;
    browser.sees("Anna Lind").await;
    browser.sees("Hari Nair").await;
    browser.fits_a_phone().await;
    browser.follow("Custody").await;
    browser.press("Verify now").await;
    browser.sees("SHA-256").await;
    assert!(!browser.has("main .notice.bad").await, "the chain is whole: {}", browser.text().await);
    northgate.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_a_message_is_text_and_never_markup() {
    const ATTACK: &str =
        "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">";
    let northgate = Northgate::open().await;
    let message = hospital::result("EVIL1", 700_402, "P402", "6.9")
        .replace("Aldermark^Testa", &format!("{ATTACK}^\"'><b>Testa</b>"))
        .replace("|3.5-5.1|", "|<b onmouseover=alert(1)>3.5</b>|");
    assert!(northgate.send(&message).await);
    let browser = Browser::open(&northgate).await;

    browser.sign_in("a.lind").await;
    browser.reloads_until("/tasks", "Critical value").await;
    browser.runs_nothing().await;
    browser.click("main table a[href^='/tasks/']").await;
    browser.sees("<SCRIPT>DOCUMENT.TITLE").await;
    browser.runs_nothing().await;
    browser.follow("Read the whole message").await;
    browser.sees("<script>document.title='owned'</script>").await;
    browser.runs_nothing().await;

    browser.sign_in("h.nair").await;
    browser.go("/messages?control_id=EVIL1").await;
    browser.runs_nothing().await;
    browser.click("main table.messages a").await;
    browser.sees("Journey").await;
    let message = browser.path().await;
    for tab in ["", "?tab=readable", "?tab=tree", "?tab=raw", "?tab=acknowledgments"] {
        browser.go(&format!("{message}{tab}")).await;
        browser.runs_nothing().await;
    }
    northgate.close().await;
}
