//! Operators send batches now, stop collecting and start it again; the console sees what is collected and what left.

use orderly_engine::access;
use orderly_engine::alert::Watch;
use orderly_engine::clock::Clock;
use orderly_engine::operate::batch::{Control, Controlled, control};
use orderly_engine::view::batches::{self, BatchState, InterchangeState};

use crate::support::{Site, adt, bad, control_ids};

/// A site whose port `out` collects, with a port beside it that is never stopped.
fn site(release: &str, rest: &str) -> String {
    format!(
        r#"
parties:
  billing: {{ address: {{ app: BILL }} }}
receive_ports:
  in:
    locations:
      mllp: {{ adapter: {{ mllp: {{ socket: {{ listen: 127.0.0.1:0 }} }} }} }}
      folder: {{ adapter: {{ folder: {{ path: in/, every: 20ms, stable_for: 40ms }} }} }}
send_ports:
  out:
    party: billing
    target: {{ folder: {{ path: out/, name: "{{message.id}}.hl7" }} }}
    filter: {{ hl7.event: A03 }}
    batch: {{ release: {{ {release} }}{rest} }}
  beside:
    target: {{ folder: {{ path: beside/ }} }}
    filter: {{ hl7.event: A03 }}
    batch: {{ release: {{ count: 1000 }} }}
"#
    )
}

async fn act(site: &Site, what: Control) -> Controlled {
    let who = access::Entry {
        person: "erin",
        session: None,
        address: "127.0.0.1",
        action: "batch.controlled",
        object_kind: "send_port",
        object: "out",
        reason: "billing asked for it",
        result: "done",
        at: site.engine.store().clock().now(),
    };
    control(site.engine.store(), &site.engine.current(), "out", what, who).await.unwrap()
}

/// Messages that the port `out` has collected, in open and closed batches.
const OUT: &str = "SELECT count(*) FROM collector_item i JOIN collector c ON c.id = i.collector
                     JOIN subscriber s ON s.id = c.subscriber WHERE s.name = 'out'";
/// The same of the port `beside`.
const BESIDE: &str = "SELECT count(*) FROM collector_item i JOIN collector c ON c.id = i.collector
                        JOIN subscriber s ON s.id = c.subscriber WHERE s.name = 'beside'";

/// Sends messages and waits until the port beside has collected as many as came in all.
async fn send(site: &Site, numbers: &[&str], all: i64) {
    let mut sender = site.sender().await;
    for number in numbers {
        sender.send(&adt(number)).await;
    }
    site.until(BESIDE, all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_batch_leaves_when_an_operator_says_so() {
    let site = Site::start(&site("count: 100", "")).await;
    assert_eq!(act(&site, Control::SendNow(None)).await, Controlled::NothingOpen);
    send(&site, &["1", "2"], 2).await;
    site.until(OUT, 2).await;
    let pool = site.engine.store().pool();
    let open = batches::open(pool).await.unwrap();
    let ours = open.iter().find(|open| open.port == "out").unwrap();
    assert_eq!(
        (ours.items, ours.bytes, ours.due_at, ours.on_hold),
        (2, 2 * adt("1").len() as i64, None, false)
    );
    assert_eq!(act(&site, Control::SendNow(Some(ours.id + 1))).await, Controlled::NothingOpen);
    // Whichever node the console asks: another one owns the lane here, or this one does.
    let other = site.another_node().await;
    assert_eq!(act(&other, Control::SendNow(Some(ours.id))).await, Controlled::Done(1));
    site.until_files("out", 1).await;
    assert_eq!(control_ids(&site.contents("out")[0]), ["1", "2"]);
    site.until("SELECT count(*) FROM tracking WHERE kind = 6", 1).await;
    let sealed = batches::sealed(pool, Some("out"), None, 10).await.unwrap();
    assert_eq!((sealed[0].id, sealed[0].items, sealed[0].cause.as_str()), (ours.id, 2, "operator"));
    assert_eq!(sealed[0].state(), BatchState::Sent);
    let told = "SELECT person || ': ' || reason FROM access_entry WHERE action = 'batch.controlled'";
    assert_eq!(site.texts(told).await, ["erin: billing asked for it"]);
    assert_eq!(site.count("SELECT count(*) FROM tracking WHERE kind = 16").await, 1);
    // What comes now is the beginning of the next one.
    send(&site, &["3"], 3).await;
    site.until(OUT, 3).await;
    assert_eq!(batches::items(pool, ours.id, 0, false, 10).await.unwrap().len(), 2);
    assert_eq!(batches::open(pool).await.unwrap().iter().filter(|open| open.port == "out").count(), 1);
    other.stop().await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stopped_and_held_collects_and_closes_nothing_until_it_is_started() {
    let clock = Clock::manual("2026-11-20T12:00:00Z".parse().unwrap());
    let site = Site::start_at(&site("count: 3, oldest: 1h", ""), clock.clone()).await;
    send(&site, &["1", "2"], 2).await;
    site.until(OUT, 2).await;
    assert_eq!(act(&site, Control::StopAndHold(0)).await, Controlled::Done(0));
    assert_eq!(act(&site, Control::StopAndHold(0)).await, Controlled::Changed, "somebody else was faster");
    // Neither its count nor its time closes it.
    send(&site, &["3", "4"], 4).await;
    clock.set("2026-11-20T14:00:00Z".parse().unwrap());
    send(&site, &["5"], 5).await;
    assert_eq!(site.files("out"), []);
    let open = batches::open(site.engine.store().pool()).await.unwrap();
    let ours = open.iter().find(|open| open.port == "out").unwrap();
    assert_eq!((ours.items, ours.on_hold), (2, true));
    let mut site = site.crash_and_restart().await;
    send(&site, &["6"], 6).await;
    assert_eq!(site.files("out"), [], "it is held by the next life too");
    assert_eq!(act(&site, Control::Start(1)).await, Controlled::Done(0));
    // In their order: three by count; the rest waits for its hour.
    site.until_files("out", 2).await;
    let files = site.contents("out");
    assert_eq!([control_ids(&files[0]), control_ids(&files[1])], [["1", "2", "3"], ["4", "5", "6"]]);
    site = site.crash_and_restart().await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stopped_and_released_leaves_once_and_then_waits() {
    let site = Site::start(&site("count: 100", ", group_by: [hl7.receiving_app]")).await;
    let mut sender = site.sender().await;
    sender.send(&adt("x").replace("|ORD|", "|LAB|")).await;
    send(&site, &["1"], 2).await;
    site.until(OUT, 2).await;
    assert_eq!(act(&site, Control::StopAndRelease(0)).await, Controlled::Done(2), "one of each group");
    site.until_files("out", 2).await;
    send(&site, &["2"], 3).await;
    let open = batches::open(site.engine.store().pool()).await.unwrap();
    assert!(open.iter().all(|open| open.port != "out"), "nothing is collected");
    assert_eq!(act(&site, Control::SendNow(None)).await, Controlled::NothingOpen);
    assert_eq!(act(&site, Control::Start(1)).await, Controlled::Done(0));
    site.until("SELECT count(*) FROM collector_item WHERE control_id = '2'", 2).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_batch_leaves_at_once_where_the_site_wants_empty_ones() {
    let clock = Clock::manual("2026-11-20T12:00:00Z".parse().unwrap());
    let site = Site::start_at(&site("cron: 0 0 23 * * *", ", empty: send"), clock).await;
    site.until("SELECT count(*) FROM collector WHERE state = 1", 1).await;
    assert_eq!(act(&site, Control::SendNow(None)).await, Controlled::Done(1));
    site.until_files("out", 1).await;
    assert!(site.contents("out")[0].ends_with("BTS|0\rFTS|1\r"));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_not_answered_in_time_raises_an_alert() {
    let clock = Clock::manual("2026-11-20T12:00:00Z".parse().unwrap());
    let alerts = "
teams:
  desk: { title: Desk, roles: [], email: desk@n.example }
alerts:
  team: desk
  rules:
    late: { when: { batch_late: { over: 10m } }, clear: 0s }
";
    let text = format!("{alerts}{}", site("count: 2", ", answer: { expect: batch, within: 1h }"));
    let site = Site::start_at(&text, clock.clone()).await;
    send(&site, &["1", "2"], 2).await;
    site.until_files("out", 1).await;
    let mut watch = Watch::new(site.engine.store().clone(), site.engine.running().clone(), None);
    clock.set("2026-11-20T13:05:00Z".parse().unwrap());
    watch.look().await.unwrap();
    let open = "SELECT object || ': ' || text FROM alert WHERE rule = 'late' AND closed_at IS NULL";
    assert_eq!(site.texts(open).await, Vec::<String>::new(), "ten minutes are granted");
    clock.set("2026-11-20T13:11:00Z".parse().unwrap());
    watch.look().await.unwrap();
    let told = "out: 1 batches were not answered in time, the first since 20 Nov 13:00 UTC";
    assert_eq!(site.texts(open).await, [told]);
    let ack = |id: &str| format!("MSH|^~\\&|BILL|N|||20260301||ACK|A{id}|P|2.5.1\rMSA|AA|{id}\r");
    site.put("in/answers", &format!("BHS|^~\\&|BILL\r{}{}BTS|2\r", ack("1"), ack("2")));
    site.until("SELECT count(*) FROM collector_item WHERE outcome = 'AA'", 2).await;
    watch.look().await.unwrap();
    assert_eq!(site.texts(open).await, Vec::<String>::new());
    let sealed = batches::sealed(site.engine.store().pool(), Some("out"), None, 1).await.unwrap();
    assert_eq!((sealed[0].unanswered, sealed[0].refused), (0, 0));
    site.engine.abandon();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_sees_what_came_in_one_go_and_what_became_of_it() {
    let site = Site::start(&site("count: 100", "")).await;
    let file =
        |messages: &str| format!("FHS|^~\\&|REG||||20260301||||F1\rBHS|^~\\&|REG\r{messages}BTS|3\rFTS|1\r");
    site.put("in/three", &file(&[adt("1"), bad("2"), adt("3")].concat()));
    site.until_files("in/done", 1).await;
    let pool = site.engine.store().pool();
    let page = batches::interchanges(pool, None, 10).await.unwrap();
    let row = &page[0];
    assert_eq!(
        (row.name.as_str(), row.location.as_str(), row.control_id.as_str()),
        ("three", "in/folder", "F1")
    );
    assert_eq!((row.messages, row.stored, row.bad, row.state()), (3, 3, 1, InterchangeState::Done));
    assert_eq!(batches::interchanges(pool, Some(row.id), 10).await.unwrap().len(), 0);
    let items = batches::interchange_items(pool, row.id, 0, false, 10).await.unwrap();
    let items: Vec<(i32, &str, &str)> = items
        .iter()
        .map(|item| (item.number, item.control_id.as_deref().unwrap_or_default(), item.code.as_str()))
        .collect();
    assert_eq!(items, [(1, "1", ""), (2, "2", "refused"), (3, "3", "")]);
    let bad = batches::interchange_items(pool, row.id, 0, true, 10).await.unwrap();
    assert_eq!(bad.len(), 1);
    assert_eq!(batches::came_in(pool, bad[0].message_id).await.unwrap(), Some((row.id, 2)));
    assert_eq!(batches::interchange(pool, row.id).await.unwrap().unwrap().messages, 3);
    site.stop().await;
}
