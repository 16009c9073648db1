//! One message that cannot be handled holds nobody up.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};

use chrono::TimeDelta;
use orderly_engine::access;
use orderly_engine::clock::Clock;
use orderly_engine::engine::{Engine, EngineOptions};
use orderly_engine::fault::{self, Place};
use orderly_engine::ids::ParkedId;
use orderly_engine::operate::{self, Fate};
use orderly_engine::store::Durability;
use sqlx::Connection as _;
use sqlx::postgres::PgConnectOptions;

use crate::flow::{FORWARD, FRAGILE, address, number, received, run, site, sound, started, until};
use crate::support::{accepted, database, drain, serve};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_cannot_be_stored_is_parked_alone_and_its_neighbours_go_on_in_order() {
    let engine = started(&database().await, FORWARD).await;
    let mut sent = serve(&engine, accepted);
    run(
        &engine,
        "CREATE FUNCTION refuse_one() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF NEW.kind = 5 AND EXISTS (SELECT FROM message WHERE id = NEW.message_id AND control_id = '7') THEN
                 RAISE EXCEPTION 'poison' USING ERRCODE = 'check_violation';
             END IF;
             RETURN NEW;
         END $$",
    )
    .await;
    run(
        &engine,
        "CREATE TRIGGER refuse_one BEFORE INSERT ON tracking FOR EACH ROW EXECUTE FUNCTION refuse_one()",
    )
    .await;
    // While this is held no turn commits, so that what comes meanwhile is one batch.
    let mut owner = engine.store().owner_for_tests().await.unwrap();
    let mut held = owner.begin().await.unwrap();
    sqlx::query("LOCK TABLE progress IN SHARE MODE").execute(&mut *held).await.unwrap();
    for number in 0..20 {
        let message = received(&engine, &number.to_string(), "p1");
        engine.message_box().publish(1, message).await.unwrap();
    }
    held.rollback().await.unwrap();
    engine.run_until_idle().await;
    let expected: Vec<String> =
        (0..20).filter(|number| *number != 7).map(|number| number.to_string()).collect();
    assert_eq!(drain(&mut sent), expected);
    let parked: Vec<(String, i16)> =
        sqlx::query_as("SELECT code, state FROM parked").fetch_all(engine.store().pool()).await.unwrap();
    assert_eq!(parked, [("turn.not_stored".to_owned(), 2)]);
    sound(&engine).await;
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_in_a_definition_suspends_its_own_instance_only() {
    let engine = started(&database().await, FRAGILE).await;
    let mut sent = serve(&engine, accepted);
    for (control_id, patient) in [("1", "a"), ("2", "bad"), ("3", "b"), ("4", "bad"), ("5", "a")] {
        engine.message_box().publish(1, received(&engine, control_id, patient)).await.unwrap();
    }
    engine.run_until_idle().await;
    let mut all = drain(&mut sent);
    all.sort();
    assert_eq!(all, ["1", "3", "5"]);
    assert_eq!(number(&engine, "SELECT count(*) FROM instance WHERE state = 2").await, 2);
    assert_eq!(number(&engine, "SELECT count(*) FROM instance").await, 2);
    sound(&engine).await;
    engine.shutdown().await.unwrap();
}

/// While it is set, a turn that a timer moves panics.
static TIMERS_PANIC: AtomicBool = AtomicBool::new(false);

/// What the control id of a message brings about in a turn.
fn with_faults() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        fault::inject(|place, control_id| match (place, control_id) {
            (Place::Turn, "panics") => panic!("a defect of the program"),
            (Place::Turn, "kills") => std::process::abort(),
            (Place::Timer, _) => assert!(!TIMERS_PANIC.load(Ordering::SeqCst), "a defect of the program"),
            _ => {}
        });
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_a_turn_parks_its_own_message_only() {
    with_faults();
    let engine = started(&database().await, FORWARD).await;
    let mut sent = serve(&engine, accepted);
    for control_id in ["1", "2", "panics", "3", "4"] {
        engine.message_box().publish(1, received(&engine, control_id, "p1")).await.unwrap();
    }
    engine.run_until_idle().await;
    assert_eq!(drain(&mut sent), ["1", "2", "3", "4"]);
    let parked: Vec<(String, i16)> =
        sqlx::query_as("SELECT code, state FROM parked").fetch_all(engine.store().pool()).await.unwrap();
    assert_eq!(parked, [("panic".to_owned(), 2)]);
    sound(&engine).await;
    engine.shutdown().await.unwrap();
}

pub(crate) const WAITS: &str = r#"
orchestration: forward
version: 1
title: Forward results after a while
owner: lab-analyst
timeout: 2d
ports:
  results: { direction: in, accepts: [ORU^R01] }
  ward: { direction: out }
start:
  - receive: { as: oru, from: results, where: { hl7.type: ORU } }
steps:
  - delay: { id: pause, for: 1h }
  - send: { message: oru, to: ward }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_that_cannot_be_fired_is_parked_and_goes_on_when_it_is_resumed() {
    with_faults();
    let clock = Clock::manual(chrono::DateTime::from_timestamp(1_790_000_000, 0).unwrap());
    let mut options = EngineOptions::new(database().await);
    options.configuration = Some(site(WAITS));
    options.durability = Durability::NotCheckedForTests;
    options.clock = clock.clone();
    let engine = Engine::start(options).await.unwrap();
    run(
        &engine,
        "INSERT INTO config_version (version, created_by, origin, sha256) VALUES (1, 't', 'deploy', '')",
    )
    .await;
    let mut sent = serve(&engine, accepted);
    engine.message_box().publish(1, received(&engine, "1", "p1")).await.unwrap();
    until(&engine, "SELECT count(*) FROM timer", 2).await;

    TIMERS_PANIC.store(true, Ordering::SeqCst);
    clock.set(clock.now() + TimeDelta::hours(1));
    engine.orchestrations().look();
    until(&engine, "SELECT count(*) FROM parked WHERE kind = 8 AND state = 2 AND code = 'panic'", 1).await;
    until(&engine, "SELECT count(*) FROM instance WHERE state = 2", 1).await;
    assert_eq!(
        number(&engine, "SELECT count(*) FROM timer").await,
        1,
        "the fired timer does not come back by itself"
    );

    TIMERS_PANIC.store(false, Ordering::SeqCst);
    let parked = ParkedId(number(&engine, "SELECT id FROM parked").await);
    let who = access::Entry { reason: "mended", ..by(clock.now()) };
    assert_eq!(
        operate::work(engine.store(), &engine.current(), Fate::Resume, &[(parked, 0)], who)
            .await
            .unwrap()
            .done,
        1
    );
    until(&engine, "SELECT count(*) FROM instance", 0).await;
    engine.run_until_idle().await;
    assert_eq!(drain(&mut sent), ["1"]);
    assert_eq!(number(&engine, "SELECT count(*) FROM parked").await, 0);
    sound(&engine).await;
    engine.shutdown().await.unwrap();
}

fn by(at: chrono::DateTime<chrono::Utc>) -> access::Entry<'static> {
    access::Entry {
        at,
        person: "operator",
        session: None,
        address: "",
        action: "work.resumed",
        object_kind: "work",
        object: "",
        reason: "",
        result: "done",
    }
}

/// Name of the variable by which the test below starts its own program again as a server that dies.
const DATABASE_OF_CHILD: &str = "ORDERLY_TEST_DATABASE_OF_CHILD";

/// The server that dies: started by the test below, nothing by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(database) = std::env::var(DATABASE_OF_CHILD) else { return };
    with_faults();
    let database: PgConnectOptions = database.parse().unwrap();
    let engine = crate::support::start(&database, site(FORWARD)).await;
    let _sent = serve(&engine, accepted);
    engine.run_until_idle().await;
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_kills_the_process_is_parked_after_five_times_and_its_neighbours_go_on() {
    let database = database().await;
    let engine = started(&database, FORWARD).await;
    hold(&engine).await;
    engine.shutdown().await.unwrap();
    let engine = crate::support::start(&database, site(FORWARD)).await;
    for number in 0..20 {
        let control_id = if number == 7 { "kills".to_owned() } else { number.to_string() };
        engine.message_box().publish(1, received(&engine, &control_id, "p1")).await.unwrap();
    }
    run(&engine, "DELETE FROM port_state").await;
    engine.shutdown().await.unwrap();
    assert_eq!(count_turns(&engine).await, 0, "what is held does not begin");

    let mut killed = 0;
    while !Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "poison::child", "--nocapture"])
        .env(DATABASE_OF_CHILD, address(&database))
        .output()
        .unwrap()
        .status
        .success()
    {
        killed += 1;
        assert!(killed < 10, "it kills for ever");
    }
    assert_eq!(killed, 5);
    let engine = crate::support::start(&database, site(FORWARD)).await;
    let parked: Vec<(String, i16)> =
        sqlx::query_as("SELECT code, state FROM parked").fetch_all(engine.store().pool()).await.unwrap();
    assert_eq!(parked, [("deadly".to_owned(), 2)]);
    assert_eq!(count_turns(&engine).await, 19);
    assert_eq!(number(&engine, "SELECT count(*) FROM tracking WHERE kind = 6").await, 19);
    assert_eq!(number(&engine, "SELECT count(*) FROM attempt").await, 0);
    sound(&engine).await;
    engine.shutdown().await.unwrap();
}

async fn count_turns(engine: &Arc<Engine>) -> i64 {
    number(engine, "SELECT count(*) FROM tracking WHERE kind = 5").await
}

/// As an operator who holds the orchestration.
async fn hold(engine: &Engine) {
    run(
        engine,
        "INSERT INTO port_state (kind, name, state, changed_by, changed_at)
         VALUES ('orchestration', 'forward', 'on_hold', 'operator', now())",
    )
    .await;
}
