//! Which messages wait for one that is refused, and that what an operator does keeps the order; what is sent again.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use orderly_engine::access;
use orderly_engine::configuration::{Configuration, Filter, OnFailure, Order};
use orderly_engine::delivery::Outcome;
use orderly_engine::engine::Engine;
use orderly_engine::ids::{MessageId, ParkedId};
use orderly_engine::message_box::{Arrival, Incoming, Refusal};
use orderly_engine::operate::job::{self, Action, NewJob};
use orderly_engine::operate::resubmit::{self, Resubmitted, Which};
use orderly_engine::operate::{self, Fate};
use orderly_engine::view::outcome::{self, outcomes};
use orderly_rules::Value;
use orderly_rules::filter::Test;

use crate::flow::{number, sound, until};
use crate::support::{Sent, accepted, database, drain, incoming, oru, ports, serve, start};

/// Control ids that the receiver refuses now.
type Refused = Arc<Mutex<HashSet<String>>>;

/// A site whose ports get every result, ordered so.
fn site(order: &Order) -> Arc<Configuration> {
    let mut site = Configuration::clone(&ports(&["ward", "archive"]));
    let ward = site.send_ports.get_mut("ward").unwrap();
    let mut filter = Filter::everything();
    filter.and("hl7.type", Test::OneOf(vec![Value::Text("ORU".to_owned())]));
    ward.filter = Some(filter);
    ward.order = order.clone();
    Arc::new(site)
}

async fn receiver(order: Order, refused: &[&str]) -> (Arc<Engine>, Sent, Refused) {
    let engine = start(&database().await, site(&order)).await;
    let refused: Refused = Arc::new(Mutex::new(refused.iter().map(|id| (*id).to_owned()).collect()));
    let refuses = refused.clone();
    let sent = serve(&engine, move |work| {
        let says = work.message.text("NTE-3");
        if refuses.lock().unwrap().contains(&work.control_id) && says != "mended" {
            let (code, reason) = ("ack.reject".to_owned(), "refused".to_owned());
            return Outcome::Suspend { code, reason, answer: None };
        }
        accepted(work)
    });
    (engine, sent, refused)
}

/// A message as the door routes it.
fn routed(engine: &Engine, control_id: &str, patient: &str, source: &str) -> Incoming {
    let mut message = incoming(engine, &[], control_id, patient);
    let current = engine.current();
    let properties = current.configuration.rules.promote(message.parsed.as_ref().unwrap());
    message.routes = current.routes(&properties, Arrival { message: message.id, order_source: source });
    message
}

async fn receive(engine: &Engine, messages: &[(&str, &str, &str)]) {
    for (control_id, patient, source) in messages {
        engine.message_box().publish(1, routed(engine, control_id, patient, source)).await.unwrap();
    }
    engine.run_until_idle().await;
}

fn by(engine: &Engine) -> access::Entry<'static> {
    access::Entry {
        person: "op",
        session: None,
        address: "test",
        action: "message.resubmitted",
        object_kind: "message",
        object: "",
        reason: "the ward was misspelt",
        result: "done",
        at: engine.store().clock().now(),
    }
}

async fn suspended(engine: &Engine) -> Vec<(ParkedId, i32)> {
    let rows: Vec<(i64, i32)> = sqlx::query_as("SELECT id, version FROM parked WHERE state = 2 ORDER BY id")
        .fetch_all(engine.store().pool())
        .await
        .unwrap();
    rows.into_iter().map(|(id, version)| (ParkedId(id), version)).collect()
}

/// 102 is refused: what is delivered at once, and what after 102 was resumed.
async fn when_102_is_refused(order: Order) -> (Vec<String>, Vec<String>) {
    let (engine, mut sent, refused) = receiver(order, &["102"]).await;
    let messages =
        [("101", "a", "x"), ("102", "a", "x"), ("103", "a", "y"), ("104", "b", "x"), ("105", "b", "y")];
    receive(&engine, &messages).await;
    let mut at_once = drain(&mut sent);
    at_once.sort();
    refused.lock().unwrap().clear();
    let wanted = suspended(&engine).await;
    let done = operate::work(engine.store(), &engine.current(), Fate::Resume, &wanted, by(&engine)).await;
    assert_eq!(done.unwrap().done, 1);
    until(&engine, "SELECT count(*) FROM parked", 0).await;
    engine.run_until_idle().await;
    let after = drain(&mut sent);
    sound(&engine).await;
    engine.shutdown().await.unwrap();
    (at_once, after)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_strict_order_everything_waits_for_the_one_that_is_refused() {
    let order = Order::Strict { on_failure: OnFailure::HoldKey };
    let (at_once, after) = when_102_is_refused(order).await;
    assert_eq!(at_once, ["101"]);
    assert_eq!(after, ["102", "103", "104", "105"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_gap_is_allowed_only_the_refused_one_waits() {
    for order in [Order::Strict { on_failure: OnFailure::Skip }, Order::None] {
        let (at_once, after) = when_102_is_refused(order).await;
        assert_eq!(at_once, ["101", "103", "104", "105"]);
        assert_eq!(after, ["102"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_keyed_order_only_the_same_patient_waits_and_by_source_only_the_same_sender() {
    let (at_once, after) = when_102_is_refused(Order::default()).await;
    assert_eq!(at_once, ["101", "104", "105"]);
    assert_eq!(after, ["102", "103"]);
    let (at_once, after) = when_102_is_refused(Order::Source { on_failure: OnFailure::HoldKey }).await;
    assert_eq!(at_once, ["101", "103", "105"]);
    assert_eq!(after, ["102", "104"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_copy_takes_the_place_of_the_original_which_stays_as_it_came() {
    let (engine, mut sent, _) = receiver(Order::default(), &["102"]).await;
    receive(&engine, &[("101", "a", "x"), ("102", "a", "x"), ("103", "a", "x")]).await;
    assert_eq!(drain(&mut sent), ["101"]);
    let original = number(&engine, "SELECT subject FROM parked WHERE state = 2").await;
    let (parked, version) = suspended(&engine).await[0];

    let again = async |version, body| {
        let which = Which::Parked(parked, version);
        resubmit::resubmit(engine.store(), &engine.current(), which, Some(body), by(&engine)).await.unwrap()
    };
    assert!(matches!(again(version, b"PID|1\r".to_vec()).await, Resubmitted::Invalid(_)));
    assert_eq!(again(version + 1, oru("102", "a")).await, Resubmitted::Changed);
    let edited = [oru("102", "a"), b"NTE|1||mended\r".to_vec()].concat();
    let Resubmitted::Done(copy) = again(version, edited.clone()).await else { panic!("it was not sent") };
    until(&engine, "SELECT count(*) FROM parked", 0).await;
    engine.run_until_idle().await;
    assert_eq!(drain(&mut sent), ["102", "103"], "it goes before what waited behind the original");

    let rows: Vec<(i64, Option<i64>, Vec<u8>)> =
        sqlx::query_as("SELECT id, parent, body FROM message WHERE id IN ($1, $2) ORDER BY id")
            .bind(original)
            .bind(copy.0)
            .fetch_all(engine.store().pool())
            .await
            .unwrap();
    assert_eq!(rows, [(original, None, oru("102", "a")), (copy.0, Some(original), edited)]);
    let words =
        outcomes(engine.store().pool(), &[original, copy.0], engine.store().clock().now()).await.unwrap();
    assert_eq!(words[&original].0, outcome::Outcome::Replaced);
    assert_eq!(words[&copy.0].0, outcome::Outcome::Delivered);
    assert_eq!(
        number(&engine, "SELECT count(*) FROM tracking WHERE kind = 17 AND person = 'op'").await,
        2,
        "both tell of it"
    );
    assert_eq!(number(&engine, "SELECT count(*) FROM access_entry").await, 1);
    sound(&engine).await;
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_took_is_routed_again_once_somebody_subscribes() {
    let database = database().await;
    let engine = start(&database, ports(&["ward"])).await;
    let mut message = incoming(&engine, &[], "1", "a");
    let (code, reason) = ("no_subscriber".to_owned(), "nobody".to_owned());
    message.parked = Some(Refusal { code, reason });
    let first = message.id;
    engine.message_box().publish(1, message).await.unwrap();
    let resume = async |engine: &Engine| {
        let wanted = suspended(engine).await;
        operate::work(engine.store(), &engine.current(), Fate::Resume, &wanted, by(engine)).await.unwrap()
    };
    let many = resume(&engine).await;
    assert_eq!((many.done, many.refused, many.why.as_str()), (0, 1, "nobody would take it"));
    assert_eq!(suspended(&engine).await.len(), 1, "it stays where it was");
    engine.shutdown().await.unwrap();

    let engine = start(&database, site(&Order::default())).await;
    let mut sent = serve(&engine, accepted);
    assert_eq!(resume(&engine).await.done, 1);
    // The operator's transaction appended it: the lane reads it from the log, in its own time.
    let came = tokio::time::timeout(std::time::Duration::from_secs(30), sent.recv()).await;
    assert_eq!(came.expect("it is sent").unwrap().1, "1");
    engine.run_until_idle().await;
    assert_eq!(drain(&mut sent), [""; 0], "once");
    assert!(suspended(&engine).await.is_empty());
    let parent =
        number(&engine, "SELECT parent FROM message WHERE message_type = 'ORU^R01' AND parent IS NOT NULL")
            .await;
    assert_eq!(MessageId(parent), first);
    sound(&engine).await;
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_is_moved_goes_by_the_other_port_and_what_waited_behind_it_goes_on() {
    let (engine, mut sent, _) = receiver(Order::default(), &["1"]).await;
    receive(&engine, &[("1", "a", "x"), ("2", "a", "x")]).await;
    assert_eq!(drain(&mut sent), Vec::<String>::new());
    let seen = suspended(&engine).await[0];
    let current = engine.current();
    let nowhere = resubmit::move_to(engine.store(), &current, seen, "nowhere", by(&engine)).await.unwrap();
    assert_eq!(nowhere, Resubmitted::NoSubscriber);
    // The receiver behind `archive` refuses it too: it is suspended there.
    let moved = resubmit::move_to(engine.store(), &current, seen, "archive", by(&engine)).await.unwrap();
    assert!(matches!(moved, Resubmitted::Done(_)));
    until(&engine, "SELECT count(*) FROM parked p JOIN subscriber s ON s.id = p.subscriber WHERE s.name = 'archive' AND p.state = 2", 1).await;
    // The operator's transaction let it go: the lane sees it in the log, in its own time.
    let came = tokio::time::timeout(std::time::Duration::from_secs(30), sent.recv()).await;
    assert_eq!(came.expect("it is sent").unwrap().1, "2");
    engine.run_until_idle().await;
    assert_eq!(drain(&mut sent), [""; 0], "once");
    assert_eq!(number(&engine, "SELECT count(*) FROM parked").await, 1);
    sound(&engine).await;
    engine.shutdown().await.unwrap();
}

/// The newest job.
async fn newest(engine: &Engine) -> job::Job {
    job::newest(engine.store().pool()).await.unwrap().remove(0)
}

fn resume(work: Vec<(ParkedId, i32)>, stop_after: Option<i32>) -> NewJob {
    NewJob { action: Action::Resume, title: "ward: refused".to_owned(), work, pace: Some(50), stop_after }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_takes_what_was_chosen_and_nothing_that_came_later() {
    let (engine, mut sent, refused) = receiver(Order::None, &["1", "2", "3", "4"]).await;
    receive(&engine, &[("1", "a", "x"), ("2", "b", "x"), ("3", "c", "x")]).await;
    let chosen = suspended(&engine).await;
    receive(&engine, &[("4", "d", "x")]).await;
    // Somebody gives one of them up before the job comes to it.
    let gone =
        operate::work(engine.store(), &engine.current(), Fate::Terminate, &chosen[..1], by(&engine)).await;
    assert_eq!(gone.unwrap().done, 1);
    refused.lock().unwrap().clear();
    job::start(engine.store(), resume(chosen, None), by(&engine)).await.unwrap();
    until(&engine, "SELECT count(*) FROM job WHERE state = 'done'", 1).await;
    until(&engine, "SELECT count(*) FROM parked", 1).await;
    engine.run_until_idle().await;
    let mut resumed = drain(&mut sent);
    resumed.sort();
    assert_eq!(resumed, ["2", "3"]);
    let job = newest(&engine).await;
    assert_eq!((job.total, job.done, job.changed, job.failed), (3, 2, 1, 0));
    sound(&engine).await;
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_stops_when_too_much_of_what_it_resumed_fails_again() {
    let ids: Vec<String> = (0..60).map(|number| number.to_string()).collect();
    let refused: Vec<&str> = ids.iter().map(String::as_str).collect();
    let (engine, _sent, _) = receiver(Order::None, &refused).await;
    let messages: Vec<(&str, &str, &str)> = refused.iter().map(|id| (*id, "a", "x")).collect();
    receive(&engine, &messages).await;
    let chosen = suspended(&engine).await;
    assert_eq!(chosen.len(), 60);
    job::start(engine.store(), resume(chosen, Some(5)), by(&engine)).await.unwrap();
    until(&engine, "SELECT count(*) FROM job WHERE state = 'stopped'", 1).await;
    let stopped = newest(&engine).await;
    assert!(stopped.failed >= 5 && stopped.done < 60, "{stopped:?}");
    assert_eq!(
        number(&engine, "SELECT count(*) FROM job_item WHERE result IS NULL").await,
        i64::from(60 - stopped.done)
    );
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_goes_to_whoever_wants_reports_and_holds_nobody_up() {
    let mut configuration = Configuration::clone(&site(&Order::default()));
    let mut filter = Filter::everything();
    filter.and("fault.code", Test::Present(true));
    filter.and("orig.patient.id", Test::OneOf(vec![Value::Text("a".to_owned())]));
    configuration.send_ports.get_mut("archive").unwrap().filter = Some(filter);
    let engine = start(&database().await, Arc::new(configuration)).await;
    let mut sent = serve(&engine, |work| {
        if work.control_id.starts_with("bad") && work.key != 0 {
            let (code, reason) = ("ack.reject".to_owned(), "refused".to_owned());
            return Outcome::Suspend { code, reason, answer: None };
        }
        accepted(work)
    });
    receive(&engine, &[("bad-1", "a", "x"), ("2", "a", "x"), ("bad-3", "b", "x")]).await;
    // Patient a's failure went to the archive, which refuses it too: reports are not reported again.
    let parked: Vec<(String, String)> = sqlx::query_as(
        "SELECT s.name, m.control_id
           FROM parked p JOIN subscriber s ON s.id = p.subscriber JOIN message m ON m.id = p.subject
          ORDER BY s.name",
    )
    .fetch_all(engine.store().pool())
    .await
    .unwrap();
    let own = |port: &str, id: &str| (port.to_owned(), id.to_owned());
    assert_eq!(parked, [own("archive", "bad-1"), own("ward", "bad-3")]);
    assert_eq!(drain(&mut sent), ["2"], "what came behind the failure is not held");
    sound(&engine).await;
    engine.shutdown().await.unwrap();
}
