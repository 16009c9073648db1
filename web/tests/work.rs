//! Decisions of people, from the worklist to the receipt.

mod support;

use axum::http::StatusCode;
use chrono::TimeDelta;
use serde_json::json;
use support::Console;
use support::tasks::{self, NewTask, check, confirm, count, decide};

const WORK: &str = "SELECT count(*) FROM work WHERE kind = 2";
const VOTES: &str = "SELECT count(*) FROM vote";

#[tokio::test]
async fn a_decision_goes_from_the_worklist_over_the_check_page_to_its_receipt() {
    let console = Console::start().await;
    let task = tasks::make(&console, NewTask::default()).await;
    let browser = console.signed_in("a.lind").await;

    browser.get("/tasks").await.expect(StatusCode::OK).says("Potassium far above its limit").says("··117");
    let page = browser.get(&task).await.expect(StatusCode::OK);
    let page = page.says("TANAKA, Yuki (Ms)").says("30-Jul-1974 (52y)").says("6.9 mmol/L").says("6.5 mmol/L");
    page.says("Critically high (HH)").says("Haemolysed, suggest repeat");

    let page = check(&browser, &task, "release", "").await.expect(StatusCode::OK);
    assert_eq!(count(&console, VOTES).await, 0, "the check page changes nothing");
    let page = page.says("Check your decision").says("goes on at once");
    let answer = confirm(&browser, &task, &page, "").await.expect(StatusCode::SEE_OTHER);
    assert_eq!(answer.location, format!("{task}/done"));
    browser
        .get(&answer.location)
        .await
        .says("Decision taken")
        .says("Anna Lind")
        .says("goes on with this decision")
        .expect(StatusCode::OK);
    assert_eq!(count(&console, WORK).await, 1, "the instance is told once");
    assert_eq!(count(&console, "SELECT count(*) FROM tracking WHERE kind IN (13, 14)").await, 2);
    browser.get("/tasks").await.says("Nothing waits for you").expect(StatusCode::OK);
    browser.get("/tasks/history").await.says("Potassium far above its limit").expect(StatusCode::OK);
}

#[tokio::test]
async fn two_people_at_once_get_one_outcome_and_one_polite_refusal() {
    let console = Console::start().await;
    let task = tasks::make(&console, NewTask::default()).await;
    let (anna, priya) = (console.signed_in("a.lind").await, console.signed_in("p.ray").await);
    let first = check(&anna, &task, "release", "").await;
    let second = check(&priya, &task, "decline", "haemolysed").await;
    let answers = tokio::join!(confirm(&anna, &task, &first, ""), confirm(&priya, &task, &second, ""));
    let mut answers = [answers.0, answers.1];
    answers.sort_by_key(|answer| answer.status);
    let [decided, refused] = answers;
    decided.expect(StatusCode::SEE_OTHER);
    let refused = refused.expect(StatusCode::CONFLICT).says("Already decided").says("nothing was changed");
    assert!(refused.body.contains("Anna Lind decided") || refused.body.contains("Priya Ray decided"));
    assert_eq!(count(&console, VOTES).await, 1);
    assert_eq!(count(&console, WORK).await, 1);
    assert_eq!(count(&console, "SELECT count(*) FROM access_entry WHERE action = 'task.voted'").await, 1);
    assert_eq!(count(&console, "SELECT count(*) FROM access_entry WHERE action = 'task.refused'").await, 1);
}

#[tokio::test]
async fn a_double_click_is_one_vote_and_shows_the_same_receipt_twice() {
    let console = Console::start().await;
    let task = tasks::make(&console, NewTask::default()).await;
    let browser = console.signed_in("a.lind").await;
    let page = check(&browser, &task, "release", "").await;
    let answers = tokio::join!(confirm(&browser, &task, &page, ""), confirm(&browser, &task, &page, ""));
    for answer in [answers.0, answers.1] {
        assert_eq!(answer.expect(StatusCode::SEE_OTHER).location, format!("{task}/done"));
    }
    assert_eq!(count(&console, VOTES).await, 1);
    assert_eq!(count(&console, WORK).await, 1);
}

#[tokio::test]
async fn two_different_people_make_a_quorum_and_nobody_counts_twice() {
    let console = Console::start().await;
    let task = tasks::make(&console, NewTask { quorum: 2, ..NewTask::default() }).await;
    let (anna, priya) = (console.signed_in("a.lind").await, console.signed_in("p.ray").await);
    let early = check(&anna, &task, "release", "").await;
    let answer = decide(&anna, &task, "release", "").await.expect(StatusCode::SEE_OTHER);
    anna.get(&answer.location)
        .await
        .says("Your vote is kept")
        .says("One more person must agree")
        .expect(StatusCode::OK);
    assert_eq!(count(&console, WORK).await, 0, "one of two is not enough");

    confirm(&anna, &task, &early, "").await.expect(StatusCode::CONFLICT).says("decided this before");
    anna.get(&task).await.says("somebody else decides now").expect(StatusCode::OK);
    anna.get("/tasks?tab=others").await.says("You agreed; 1 of 2 so far").expect(StatusCode::OK);

    priya.get(&task).await.says("Anna Lind has agreed already").expect(StatusCode::OK);
    decide(&priya, &task, "release", "").await.expect(StatusCode::SEE_OTHER);
    assert_eq!(count(&console, WORK).await, 1);
    anna.get(&task).await.says("Anna Lind and Priya Ray decided “Release”").expect(StatusCode::OK);
}

#[tokio::test]
async fn a_refusal_ends_the_vote_at_once_and_is_never_outvoted() {
    let console = Console::start().await;
    let task = tasks::make(&console, NewTask { quorum: 2, ..NewTask::default() }).await;
    let (anna, priya) = (console.signed_in("a.lind").await, console.signed_in("p.ray").await);
    decide(&anna, &task, "release", "").await.expect(StatusCode::SEE_OTHER);
    decide(&priya, &task, "decline", "haemolysed").await.expect(StatusCode::SEE_OTHER);
    assert_eq!(count(&console, "SELECT count(*) FROM task WHERE outcome = 'decline'").await, 1);
    anna.get(&task).await.says("Priya Ray decided “Decline”").expect(StatusCode::OK);
}

#[tokio::test]
async fn the_one_who_ordered_is_told_why_somebody_else_decides() {
    let console = Console::start().await;
    let task = tasks::make(&console, NewTask { excluded: vec!["2001"], ..NewTask::default() }).await;
    let (priya, anna) = (console.signed_in("p.ray").await, console.signed_in("a.lind").await);
    let page = priya.get(&task).await.says("the task excludes you").expect(StatusCode::OK);
    assert!(!page.body.contains("/check\""), "no form for the excluded");
    let form = anna.get(&task).await;
    let forged = [
        ("form_key", form.hidden("form_key")),
        ("version", form.hidden("version")),
        ("outcome", "release".to_owned()),
    ];
    let forged: Vec<(&str, &str)> = forged.iter().map(|(name, value)| (*name, value.as_str())).collect();
    priya.post(&format!("{task}/decide"), &forged).await.expect(StatusCode::CONFLICT).says("excludes you");
    assert_eq!(count(&console, VOTES).await, 0);
}

#[tokio::test]
async fn a_task_of_others_shows_nothing_of_itself() {
    let console = Console::start().await;
    let task = tasks::make(&console, NewTask { roles: vec!["duty-physician"], ..NewTask::default() }).await;
    let browser = console.signed_in("a.lind").await;
    let page = browser.get(&task).await.expect(StatusCode::FORBIDDEN).says("Duty physician");
    assert!(!page.body.contains("TANAKA") && !page.body.contains("Potassium"));
    browser.get("/tasks/zzzz").await.expect(StatusCode::NOT_FOUND);
    browser.get("/tasks/0000000000042").await.expect(StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn somebody_who_leads_sees_the_task_but_does_not_decide_it() {
    let console = Console::start().await;
    let task = tasks::make(&console, NewTask::default()).await;
    let browser = console.signed_in("d.sorensen").await;
    browser.get("/tasks?tab=all").await.says("Potassium").expect(StatusCode::OK);
    browser.get(&task).await.says("because you lead").expect(StatusCode::OK);
}

#[tokio::test]
async fn a_missing_choice_or_reason_is_asked_for_with_what_was_typed_kept() {
    let console = Console::start().await;
    let task = tasks::make(&console, NewTask::default()).await;
    let browser = console.signed_in("a.lind").await;
    check(&browser, &task, "", "because")
        .await
        .expect(StatusCode::UNPROCESSABLE_ENTITY)
        .says("Choose what is to happen")
        .says("because</textarea>");
    check(&browser, &task, "decline", "")
        .await
        .expect(StatusCode::UNPROCESSABLE_ENTITY)
        .says("Say why you choose “Decline”");
    assert_eq!(count(&console, VOTES).await, 0);
}

#[tokio::test]
async fn extra_fields_are_asked_for_checked_and_told_to_the_instance() {
    let console = Console::start().await;
    let fields = json!({"called": {"type": "text", "required": true, "title": "Who was called"}});
    let task = tasks::make(&console, NewTask { fields, ..NewTask::default() }).await;
    let browser = console.signed_in("a.lind").await;
    let page = check(&browser, &task, "release", "").await.expect(StatusCode::UNPROCESSABLE_ENTITY);
    let page = page.says("Who was called").says("Fill this in");
    let fields = [
        ("form_key", page.hidden("form_key")),
        ("version", page.hidden("version")),
        ("outcome", "release".to_owned()),
        ("in.called", "Ward 4B".to_owned()),
    ];
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    browser.post(&format!("{task}/decide"), &fields).await.expect(StatusCode::SEE_OTHER);
    let kept: serde_json::Value =
        sqlx::query_scalar("SELECT fields FROM vote").fetch_one(&console.pool).await.unwrap();
    assert_eq!(kept, json!({"called": "Ward 4B"}));
}

#[tokio::test]
async fn a_signature_needs_the_password_again() {
    let console = Console::start().await;
    let task = tasks::make(&console, NewTask { sign: true, ..NewTask::default() }).await;
    let browser = console.signed_in("a.lind").await;
    let page = check(&browser, &task, "release", "").await.says("Your password").expect(StatusCode::OK);
    confirm(&browser, &task, &page, "")
        .await
        .expect(StatusCode::UNPROCESSABLE_ENTITY)
        .says("Type your password");
    confirm(&browser, &task, &page, "wrong")
        .await
        .expect(StatusCode::UNPROCESSABLE_ENTITY)
        .says("not your password");
    assert_eq!(count(&console, VOTES).await, 0);
    let answer = confirm(&browser, &task, &page, "demo-a.lind").await.expect(StatusCode::SEE_OTHER);
    assert_eq!(count(&console, "SELECT count(*) FROM vote WHERE signed").await, 1);
    browser.get(&answer.location).await.says("With password").expect(StatusCode::OK);
}

#[tokio::test]
async fn a_form_of_an_older_version_decides_nothing() {
    let console = Console::start().await;
    let task = tasks::make(&console, NewTask::default()).await;
    let browser = console.signed_in("a.lind").await;
    let page = check(&browser, &task, "release", "").await;
    sqlx::query("UPDATE task SET version = version + 1, priority = 1").execute(&console.pool).await.unwrap();
    confirm(&browser, &task, &page, "")
        .await
        .expect(StatusCode::CONFLICT)
        .says("changed while you looked")
        .says("Look again");
    assert_eq!(count(&console, VOTES).await, 0);
}

#[tokio::test]
async fn what_expired_or_is_no_longer_needed_says_so_and_takes_no_vote() {
    let console = Console::start().await;
    for (state, page_says, vote_says) in [
        (3, "Nobody decided in time", "time for this task is over"),
        (4, "no longer needed", "No longer needed"),
    ] {
        let task = tasks::make(&console, NewTask::default()).await;
        let browser = console.signed_in("a.lind").await;
        let page = check(&browser, &task, "release", "").await;
        sqlx::query("UPDATE task SET state = $1, closed_at = now() WHERE state = 0")
            .bind(state)
            .execute(&console.pool)
            .await
            .unwrap();
        browser.get(&task).await.says(page_says).expect(StatusCode::OK);
        confirm(&browser, &task, &page, "").await.expect(StatusCode::CONFLICT).says(vote_says);
    }
    assert_eq!(count(&console, VOTES).await, 0);
}

#[tokio::test]
async fn an_ended_session_decides_nothing() {
    let console = Console::start().await;
    let task = tasks::make(&console, NewTask::default()).await;
    let browser = console.signed_in("a.lind").await;
    let page = check(&browser, &task, "release", "").await;
    console.pass(TimeDelta::minutes(16));
    confirm(&browser, &task, &page, "").await.expect(StatusCode::UNAUTHORIZED).says("Sign in to go on");
    assert_eq!(count(&console, VOTES).await, 0);
}

#[tokio::test]
async fn another_persons_form_key_is_refused() {
    let console = Console::start().await;
    let (one, two) =
        (tasks::make(&console, NewTask::default()).await, tasks::make(&console, NewTask::default()).await);
    let (anna, priya) = (console.signed_in("a.lind").await, console.signed_in("p.ray").await);
    let page = check(&anna, &one, "release", "").await;
    confirm(&anna, &one, &page, "").await.expect(StatusCode::SEE_OTHER);
    confirm(&priya, &two, &page, "")
        .await
        .expect(StatusCode::UNPROCESSABLE_ENTITY)
        .says("belongs to another person");
}

#[tokio::test]
async fn every_look_at_a_patient_is_recorded_before_it_is_shown() {
    let console = Console::start().await;
    let task = tasks::make(&console, NewTask::default()).await;
    let browser = console.signed_in("a.lind").await;
    browser.get(&task).await.expect(StatusCode::OK);
    browser.get(&format!("{task}?open=0")).await.expect(StatusCode::OK).says("Patient Name").says("PID-5");
    let seen =
        "SELECT count(*) FROM access_entry WHERE action = 'message.viewed' AND object_kind = 'message'";
    assert_eq!(count(&console, seen).await, 1);
    assert_eq!(count(&console, "SELECT count(*) FROM access_entry WHERE action = 'task.viewed'").await, 2);

    // Where the record cannot be written, nothing is shown.
    let mut owner = console.store.owner_for_tests().await.unwrap();
    sqlx::query("ALTER TABLE access_entry RENAME TO access_entry_away").execute(&mut owner).await.unwrap();
    let page = browser.get(&task).await.expect(StatusCode::SERVICE_UNAVAILABLE);
    assert!(!page.body.contains("TANAKA"));
}

#[tokio::test]
async fn no_patient_data_stands_in_a_title_or_an_address() {
    let console = Console::start().await;
    let task = tasks::make(&console, NewTask::default()).await;
    let browser = console.signed_in("a.lind").await;
    for path in ["/tasks", &task, &format!("{task}?open=0")] {
        let page = browser.get(path).await.expect(StatusCode::OK);
        let title = page.body.split("<title>").nth(1).unwrap().split("</title>").next().unwrap().to_owned();
        let addresses: Vec<&str> =
            page.body.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        for secret in ["TANAKA", "Yuki", "00482117", "1974"] {
            assert!(!title.contains(secret), "{title}");
            assert!(addresses.iter().all(|address| !address.contains(secret)), "{addresses:?}");
        }
    }
}

#[tokio::test]
async fn what_a_message_says_never_becomes_markup() {
    let console = Console::start().await;
    let task = tasks::make(&console, NewTask::default()).await;
    let hostile = support::tasks::RESULT.replace("TANAKA", "<script>alert(1)</script>");
    let mut owner = console.store.owner_for_tests().await.unwrap();
    sqlx::query("UPDATE message SET body = $1").bind(hostile.as_bytes()).execute(&mut owner).await.unwrap();
    sqlx::query("UPDATE task SET title = '<img src=x onerror=alert(1)>'")
        .execute(&console.pool)
        .await
        .unwrap();
    let browser = console.signed_in("a.lind").await;
    for path in ["/tasks", &task, &format!("{task}?open=0")] {
        let page = browser.get(path).await.expect(StatusCode::OK);
        let body = page.body.to_lowercase();
        // Our own scripts have an address; nothing else is one.
        assert!(!body.contains("<script>") && !body.contains("<img"), "{path}");
    }
}

#[tokio::test]
async fn the_most_urgent_task_comes_first_and_long_lists_have_pages() {
    let console = Console::start().await;
    for _ in 0..27 {
        tasks::make(&console, NewTask { due_at: None, ..NewTask::default() }).await;
    }
    let late =
        tasks::make(&console, NewTask { due_at: Some("2026-11-21T08:00:00Z"), ..NewTask::default() }).await;
    let browser = console.signed_in("a.lind").await;
    let page = browser.get("/tasks").await.says("1 overdue").expect(StatusCode::OK);
    let first = page.body.split("<tbody>").nth(1).unwrap().split("href=\"").nth(1).unwrap().to_owned();
    assert!(first.starts_with(&late));
    let more = page.body.split("href=\"").find(|part| part.contains(";after=")).unwrap();
    let more = more.split('"').next().unwrap().replace("&#38;", "&").replace("&amp;", "&");
    let second = browser.get(&more).await.expect(StatusCode::OK);
    assert_eq!(second.body.matches("<th scope=\"row\">").count(), 3);
    assert_eq!(page.body.matches("<th scope=\"row\">").count(), 25);
}
