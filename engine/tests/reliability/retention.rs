//! What is old enough goes to the archive, and what something still needs stays.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use orderly_engine::audit;
use orderly_engine::clock::Clock;
use orderly_engine::configuration::{Retention, RetentionClass};
use orderly_engine::engine::{Engine, EngineOptions};
use orderly_engine::message_box::{Declared, Incoming};
use orderly_engine::retention::{self, Dropped};
use orderly_engine::store::{Durability, partition};
use orderly_engine::view::search::{self, Filter, Origin};
use orderly_rules::Properties;

use crate::flow::{number, run};
use crate::support::{accepted, database, incoming, ports, serve};

const DAY: Duration = Duration::from_secs(86_400);

fn class(bodies: u32, tracking: u32) -> Retention {
    let class = RetentionClass {
        name: "default".to_owned(),
        title: "default".to_owned(),
        filter: None,
        bodies: bodies * DAY,
        tracking: tracking * DAY,
        tasks: 100 * DAY,
    };
    Retention {
        default: "default".to_owned(),
        classes: [("default".to_owned(), class)].into_iter().collect(),
    }
}

/// Three messages on the first day; then the time of the test moves on.
async fn three_messages() -> (Arc<Engine>, Clock, DateTime<Utc>) {
    let start = DateTime::from_timestamp(1_900_000_000, 0).unwrap();
    let clock = Clock::manual(start);
    let options = EngineOptions {
        configuration: Some(ports(&["ward"])),
        clock: clock.clone(),
        durability: Durability::NotCheckedForTests,
        committers: 1,
        ..EngineOptions::new(database().await)
    };
    let engine = Engine::start(options).await.unwrap();
    let _sent = serve(&engine, accepted);
    for (control, patient) in [("1", "p1"), ("2", "p2"), ("3", "p3")] {
        engine.message_box().publish(1, incoming(&engine, &["ward"], control, patient)).await.unwrap();
    }
    engine.run_until_idle().await;
    (engine, clock, start)
}

async fn enforced(engine: &Engine, retention: &Retention, data: &Path) -> Vec<Dropped> {
    let dropped = retention::enforce(engine.store(), retention, data).await.unwrap();
    let report = audit::verify(engine.store().pool()).await.unwrap();
    assert!(report.is_sound(), "{:?}", report.breaks);
    dropped.into_iter().filter(|day| day.rows > 0).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_is_archived_and_dropped_when_its_class_says_so_and_not_before() {
    let (engine, clock, start) = three_messages().await;
    let data = tempfile::tempdir().unwrap();
    let stored = number(&engine, "SELECT count(*) FROM message").await;
    let rows = number(&engine, "SELECT count(*) FROM tracking").await;

    clock.set(start + TimeDelta::days(4));
    partition::ensure(engine.store()).await.unwrap();
    assert_eq!(enforced(&engine, &class(5, 10), data.path()).await, [], "nothing is old enough");

    clock.set(start + TimeDelta::days(7));
    let dropped = enforced(&engine, &class(5, 10), data.path()).await;
    assert_eq!(dropped.len(), 1, "{dropped:?}");
    assert_eq!((dropped[0].rows, dropped[0].kept), (u64::try_from(stored).unwrap(), 0));
    assert_eq!(number(&engine, "SELECT count(*) FROM message").await, 0);
    assert_eq!(number(&engine, "SELECT count(*) FROM message_past").await, stored);
    let archive = std::fs::read(&dropped[0].file).unwrap();
    let recorded: Vec<u8> = sqlx::query_scalar("SELECT sha256 FROM dropped_partition WHERE name = $1")
        .bind(&dropped[0].name)
        .fetch_one(engine.store().pool())
        .await
        .unwrap();
    assert_eq!(recorded, audit::sha256(&archive), "the file is what was recorded");
    assert!(String::from_utf8_lossy(&archive).starts_with("id,retention,parent,"));

    clock.set(start + TimeDelta::days(12));
    let dropped = enforced(&engine, &class(5, 10), data.path()).await;
    assert_eq!(dropped.len(), 1, "{dropped:?}");
    assert_eq!(dropped[0].rows, u64::try_from(rows).unwrap());
    let report = audit::verify(engine.store().pool()).await.unwrap();
    assert!(report.archived > 0, "the blocks still prove what there was");
    assert_eq!(
        number(&engine, "SELECT count(*) FROM access_entry WHERE action = 'partition.dropped'").await,
        number(&engine, "SELECT count(*) FROM dropped_partition").await
    );
    engine.abandon();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_parked_or_held_by_law_outlives_its_day() {
    let (engine, clock, start) = three_messages().await;
    let data = tempfile::tempdir().unwrap();
    run(
        &engine,
        "INSERT INTO parked (id, kind, subject, key, state, first_at, code)
         SELECT 1, 1, id, 0, 2, received_at, 'refused' FROM message WHERE control_id = '1' AND parent IS NULL",
    )
    .await;
    run(
        &engine,
        "INSERT INTO legal_hold (kind, object, reason, placed_by, placed_at) VALUES ('patient', 'p2', 'claim', 'a', now())",
    )
    .await;
    let of_p2 = number(
        &engine,
        "SELECT count(*) FROM message m WHERE m.patient = 'p2'
             OR EXISTS (SELECT FROM message p WHERE p.id = m.parent AND p.patient = 'p2')",
    )
    .await;
    clock.set(start + TimeDelta::days(7));
    partition::ensure(engine.store()).await.unwrap();
    let dropped = enforced(&engine, &class(5, 10), data.path()).await;
    assert_eq!(dropped[0].kept, 1 + of_p2);
    assert_eq!(
        number(&engine, "SELECT count(*) FROM message WHERE control_id IN ('1', '2') AND parent IS NULL")
            .await,
        2,
        "found as before"
    );
    assert_eq!(number(&engine, "SELECT count(*) FROM message WHERE control_id = '3'").await, 0);
    engine.abandon();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_message_is_searched_by_goes_and_stays_with_it() {
    let (engine, clock, start) = three_messages().await;
    let data = tempfile::tempdir().unwrap();
    let placer = |value: &str| {
        let mut properties = Properties::new();
        properties.set("order.placer", value);
        Declared::of(&["order.placer".to_owned()], &properties)
    };
    for (control, patient) in [("4", "p4"), ("5", "p5")] {
        let message = Incoming { context: placer(control), ..incoming(&engine, &["ward"], control, patient) };
        engine.message_box().publish(1, message).await.unwrap();
    }
    engine.run_until_idle().await;
    for sql in [
        "INSERT INTO legal_hold (kind, object, reason, placed_by, placed_at) VALUES ('patient', 'p5', 'claim', 'a', now())",
        "INSERT INTO search_property (name, since) VALUES ('order.placer', '2020-01-01')",
    ] {
        run(&engine, sql).await;
    }
    let found = async |value: &str| {
        let property = Some(("order.placer".to_owned(), value.to_owned()));
        let filter = Filter { property, origin: Origin::All, ..Filter::default() };
        let page = search::search(engine.store().pool(), &filter, clock.now(), 10).await.unwrap();
        page.rows.into_iter().filter_map(|row| row.control_id).collect::<Vec<_>>()
    };
    assert_eq!((found("4").await, found("5").await), (vec!["4".to_owned()], vec!["5".to_owned()]));
    assert_eq!(
        number(&engine, "SELECT count(*) FROM message_search").await,
        2,
        "and no other message has any"
    );
    clock.set(start + TimeDelta::days(7));
    partition::ensure(engine.store()).await.unwrap();
    assert_eq!(enforced(&engine, &class(5, 10), data.path()).await.len(), 1);
    assert_eq!(number(&engine, "SELECT count(*) FROM message_search").await, 1);
    assert_eq!((found("4").await, found("5").await), (vec![], vec!["5".to_owned()]));
    engine.abandon();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_tracking_names_for_a_held_instance_outlives_its_day() {
    let (engine, clock, start) = three_messages().await;
    let data = tempfile::tempdir().unwrap();
    for sql in [
        "INSERT INTO tracking (at, node, kind, message_id, instance, config_version, chain, block, position)
         SELECT received_at, 0, 5, id, 77, 0, 999, 1, 0 FROM message WHERE control_id = '3' AND parent IS NULL",
        "INSERT INTO legal_hold (kind, object, reason, placed_by, placed_at)
         VALUES ('instance', '77', 'claim', 'a', now()), ('patient', 'no number', 'claim', 'a', now())",
    ] {
        run(&engine, sql).await;
    }
    clock.set(start + TimeDelta::days(7));
    partition::ensure(engine.store()).await.unwrap();
    // The chain is not looked at: the entry made by hand above has no block in it.
    let dropped = retention::enforce(engine.store(), &class(5, 10), data.path()).await.unwrap();
    assert_eq!(dropped.iter().map(|day| day.kept).sum::<i64>(), 1);
    assert_eq!(number(&engine, "SELECT count(*) FROM message WHERE control_id = '3'").await, 1);
    engine.abandon();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_class_goes_when_it_says_so_and_a_message_of_another_class_that_vanished_that_day_is_found() {
    let (engine, clock, start) = three_messages().await;
    let data = tempfile::tempdir().unwrap();
    let classes = |long: u32, short: u32| {
        let mut retention = class(long, 100);
        let mut routine = retention.classes["default"].clone();
        (routine.name, routine.bodies) = ("routine".to_owned(), short * DAY);
        retention.classes.insert(routine.name.clone(), routine);
        retention
    };
    run(&engine, "INSERT INTO retention_class (number, name) VALUES (1, 'routine')").await;
    partition::ensure(engine.store()).await.unwrap();
    for (control, patient) in [("4", "p4"), ("5", "p5")] {
        let routine = Incoming { retention: 1, ..incoming(&engine, &["ward"], control, patient) };
        engine.message_box().publish(1, routine).await.unwrap();
    }
    engine.run_until_idle().await;
    let usual = number(&engine, "SELECT count(*) FROM message WHERE retention = 0").await;

    clock.set(start + TimeDelta::days(4));
    partition::ensure(engine.store()).await.unwrap();
    let dropped = enforced(&engine, &classes(20, 2), data.path()).await;
    assert_eq!(dropped.iter().map(|day| day.rows).collect::<Vec<_>>(), [2], "{dropped:?}");
    assert_eq!(number(&engine, "SELECT count(*) FROM message WHERE retention = 0").await, usual);
    assert_eq!(number(&engine, "SELECT count(*) FROM message WHERE control_id IN ('4', '5')").await, 0);

    run(&engine, "DELETE FROM message WHERE control_id = '1' AND parent IS NULL").await;
    let report = audit::verify(engine.store().pool()).await.unwrap();
    assert!(matches!(report.breaks[..], [audit::Break::Gone { .. }]), "{:?}", report.breaks);
    run(&engine, "DELETE FROM message_past WHERE control_id = '4'").await;
    let report = audit::verify(engine.store().pool()).await.unwrap();
    assert_eq!(report.breaks.len(), 2, "what is left of a dropped message cannot be taken away either");
    engine.abandon();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_kept_in_a_class_that_left_the_site_goes_with_the_longest() {
    let (engine, clock, start) = three_messages().await;
    let data = tempfile::tempdir().unwrap();
    run(&engine, "INSERT INTO retention_class (number, name) VALUES (1, 'gone')").await;
    partition::ensure(engine.store()).await.unwrap();
    let gone = Incoming { retention: 1, ..incoming(&engine, &["ward"], "4", "p4") };
    engine.message_box().publish(1, gone).await.unwrap();
    engine.run_until_idle().await;
    clock.set(start + TimeDelta::days(4));
    partition::ensure(engine.store()).await.unwrap();
    assert_eq!(enforced(&engine, &class(5, 10), data.path()).await, []);
    clock.set(start + TimeDelta::days(7));
    assert_eq!(enforced(&engine, &class(5, 10), data.path()).await.len(), 2, "both days of messages");
    engine.abandon();
}
