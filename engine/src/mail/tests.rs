//! From the outbox to a real SMTP server.

use super::catcher::MailCatcher;
use super::*;
use crate::configuration::{Address, Mail};
use crate::store::testing::fresh_store;
use orderly_rules::RuleBook;
use std::sync::Arc;

fn site(catcher: &MailCatcher) -> Configuration {
    let rules = RuleBook::load(&Default::default(), &Default::default()).unwrap();
    let mut configuration = Configuration::empty(Arc::new(rules));
    configuration.mail = Some(Mail {
        from: "Orderly <orderly@northgate.example>".into(),
        reply_to: None,
        console_url: "http://127.0.0.1:8080".into(),
        server: MailServer {
            host: Address::new("127.0.0.1", catcher.address().port()),
            security: MailSecurity::Plain,
            user: None,
            password: None,
            ca: None,
            timeout: Duration::from_secs(5),
        },
        per_person_hour: 20,
    });
    configuration
}

async fn queued(recipients: &[&str]) -> (Store, MailCatcher) {
    let store = fresh_store().await;
    let mut tx = store.begin("test: queue").await.unwrap();
    let letter = Letter {
        recipients: recipients.iter().map(|address| (*address).to_owned()).collect(),
        subject: "Task waiting".into(),
        body: "You are asked to decide one task.".into(),
        link: Some("/tasks/1".into()),
        thread: None,
    };
    queue(&mut tx, &letter).await.unwrap();
    tx.commit().await.unwrap();
    (store, MailCatcher::bind("127.0.0.1:0".parse().unwrap()).await.unwrap())
}

async fn open_rows(store: &Store) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM outgoing_mail WHERE sent_at IS NULL AND failed IS NULL")
        .fetch_one(store.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn each_person_gets_one_mail_once() {
    let (store, catcher) = queued(&["a@n.example", "b@n.example"]).await;
    let site = site(&catcher);
    assert_eq!(look(&store, &site, Path::new(".")).await.unwrap(), 2);
    assert_eq!(look(&store, &site, Path::new(".")).await.unwrap(), 0);
    let mails = catcher.mails();
    assert_eq!(mails.len(), 2);
    assert_eq!(mails[0].subject, "[Orderly] Task waiting");
    assert!(mails[0].text.contains("http://127.0.0.1:8080/tasks/1"), "{}", mails[0].text);
}

#[tokio::test]
async fn a_mail_that_is_refused_for_now_waits_and_goes_with_the_same_message_id() {
    let (store, catcher) = queued(&["a@n.example"]).await;
    let site = site(&catcher);
    catcher.refuse_next("451 later");
    assert_eq!(look(&store, &site, Path::new(".")).await.unwrap(), 0);
    assert_eq!(open_rows(&store).await, 1);
    sqlx::query("UPDATE outgoing_mail SET due_at = created_at").execute(store.pool()).await.unwrap();
    assert_eq!(look(&store, &site, Path::new(".")).await.unwrap(), 1);
    let id: i64 = sqlx::query_scalar("SELECT id FROM outgoing_mail").fetch_one(store.pool()).await.unwrap();
    assert_eq!(catcher.mails()[0].message_id, format!("<mail.{id:x}@northgate.example>"));
}

#[tokio::test]
async fn a_mail_that_is_refused_for_good_is_given_up_and_says_why() {
    let (store, catcher) = queued(&["a@n.example"]).await;
    catcher.refuse_next("550 no such person");
    look(&store, &site(&catcher), Path::new(".")).await.unwrap();
    let failed: Option<String> =
        sqlx::query_scalar("SELECT failed FROM outgoing_mail").fetch_one(store.pool()).await.unwrap();
    assert_eq!(failed.as_deref(), Some("the mail server refused it"));
}

#[tokio::test]
async fn mails_wait_while_the_server_is_away() {
    let (store, catcher) = queued(&["a@n.example"]).await;
    let mut site = site(&catcher);
    site.mail.as_mut().unwrap().server.host = Address::new("127.0.0.1", 1);
    assert_eq!(look(&store, &site, Path::new(".")).await.unwrap(), 0);
    assert_eq!(open_rows(&store).await, 1);
}

#[tokio::test]
async fn mails_above_the_limit_of_a_person_leave_as_one() {
    let (store, catcher) = queued(&["a@n.example", "a@n.example", "a@n.example", "b@n.example"]).await;
    let mut site = site(&catcher);
    site.mail.as_mut().unwrap().per_person_hour = 1;
    assert_eq!(look(&store, &site, Path::new(".")).await.unwrap(), 2);
    assert_eq!(look(&store, &site, Path::new(".")).await.unwrap(), 0, "the others wait");
    assert_eq!(open_rows(&store).await, 2);
    sqlx::query("UPDATE outgoing_mail SET due_at = now() - interval '1 second' WHERE held")
        .execute(store.pool())
        .await
        .unwrap();
    assert_eq!(look(&store, &site, Path::new(".")).await.unwrap(), 1);
    assert_eq!(open_rows(&store).await, 0);
    let mails = catcher.mails();
    let summed: Vec<_> = mails.iter().filter(|mail| mail.subject.contains("2 notices")).collect();
    assert_eq!((mails.len(), summed.len()), (3, 1));
}
