//! What the clock starts happens once, however many nodes look at it.

use std::collections::BTreeSet;
use std::time::Duration;

use orderly_engine::alert::Watch;
use orderly_engine::clock::Clock;
use orderly_engine::configuration::{Retention, RetentionClass};
use orderly_engine::mail::{self, catcher::MailCatcher};
use orderly_engine::retention;
use orderly_engine::store::partition;

use crate::collector::{FOLDER, site};
use crate::support::{Site, bad};

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test(flavor = "multi_thread")]
async fn batches_mails_and_retention_happen_once_for_three_nodes() {
    let at = |text: &str| text.parse().unwrap();
    let clock = Clock::manual(at("2026-11-20T12:59:50Z"));
    let mails = MailCatcher::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let outside = format!(
        r#"
mail:
  from: orderly@batches.example
  console_url: http://127.0.0.1:8080
  server: {{ host: "{}", security: plain }}
teams:
  interfaces: {{ title: Interfaces, roles: [], email: interfaces@batches.example }}
alerts:
  team: interfaces
  group_for: 0s
"#,
        mails.address()
    );
    let text = format!("{}{outside}", site(FOLDER, "release: { cron: 0 0 * * * * }, empty: send"));
    let first = Site::start_at(&text, clock.clone()).await;
    let nodes = [first.another_node().await, first.another_node().await];
    first.until("SELECT count(*) FROM node WHERE expires_at > now()", 3).await;

    for (hour, files) in [("13", 1), ("14", 2), ("15", 3)] {
        clock.set(at(&format!("2026-11-20T{hour}:00:05Z")));
        first.until_files("out", files).await;
    }
    assert_eq!(first.count("SELECT count(*) FROM collector WHERE state = 2").await, 3);

    first.sender().await.send(&bad("1")).await;
    mails.wait_for(1).await;
    first.until("SELECT count(*) FROM outgoing_mail WHERE sent_at IS NOT NULL", 1).await;
    for node in [&first, &nodes[0], &nodes[1]] {
        let (store, running) = (node.engine.store(), node.engine.running());
        Watch::new(store.clone(), running.clone(), None).look().await.unwrap();
        mail::look(store, &node.engine.configuration(), &node.data).await.unwrap();
    }
    assert_eq!(mails.mails().len(), 1);
    assert_eq!(first.count("SELECT count(*) FROM alert WHERE rule = 'suspended-work'").await, 1);

    clock.set(at("2027-03-01T00:00:00Z"));
    partition::ensure(first.engine.store()).await.unwrap();
    let class = RetentionClass {
        name: "default".to_owned(),
        title: "default".to_owned(),
        filter: None,
        bodies: 30 * DAY,
        tracking: 60 * DAY,
        tasks: 100 * DAY,
    };
    let rules = Retention { default: class.name.clone(), classes: [(class.name.clone(), class)].into() };
    let archive = tempfile::tempdir().unwrap();
    let [one, two, three] = [&first, &nodes[0], &nodes[1]]
        .map(|node| retention::enforce(node.engine.store(), &rules, archive.path()));
    let (one, two, three) = tokio::join!(one, two, three);
    let dropped: Vec<String> =
        [one, two, three].into_iter().flat_map(|dropped| dropped.unwrap()).map(|day| day.name).collect();
    let names: BTreeSet<&String> = dropped.iter().collect();
    assert!(dropped.len() > 3, "days of November are old enough: {dropped:?}");
    assert_eq!(names.len(), dropped.len(), "each day went once");
    for node in nodes {
        node.stop().await;
    }
    first.stop().await;
}
