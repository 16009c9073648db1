//! One message that cannot be handled holds nobody up.

use sqlx::Connection as _;

use crate::flow::{FORWARD, FRAGILE, number, received, run, sound, started};
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
    held.commit().await.unwrap();
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
