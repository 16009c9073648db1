//! A message that meets a defect at the door or on a send lane holds nobody else up, even when it ends the process.

use std::process::Command;
use std::sync::Once;

use crate::support::{Script, Site, adt};
use orderly_engine::fault::{self, Place};
use orderly_engine::store::testing;
use sqlx::postgres::PgConnectOptions;

/// What the control id of a message brings about.
fn with_faults() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        fault::inject(|place, control_id| match (place, control_id) {
            (Place::Door, "door-panics") | (Place::Send, "send-panics") => panic!("a defect of the program"),
            (Place::Door, "door-kills") | (Place::Send, "send-kills") => std::process::abort(),
            _ => {}
        });
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_at_the_door_refuses_and_keeps_its_own_message_only() {
    with_faults();
    let site = Site::start(Script::Answer("AA"), |_| {}).await;
    let mut sender = site.sender().await;
    assert_eq!(sender.send(&adt("1", "P1")).await, "AA 1");
    assert_eq!(sender.send(&adt("door-panics", "P1")).await, "AR door-panics");
    assert_eq!(sender.send(&adt("2", "P1")).await, "AA 2");
    assert_eq!(site.receiver.next().await, adt("1", "P1"));
    assert_eq!(site.receiver.next().await, adt("2", "P1"));
    assert_eq!(site.parked().await, ["panic"]);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_on_a_send_lane_suspends_its_own_message_only() {
    with_faults();
    let site = Site::start(Script::Answer("AA"), |_| {}).await;
    let mut sender = site.sender().await;
    for (control_id, patient) in [("1", "P1"), ("send-panics", "P2"), ("2", "P1"), ("3", "P3")] {
        sender.send(&adt(control_id, patient)).await;
    }
    let mut got = Vec::new();
    for _ in 0..3 {
        got.push(site.receiver.next().await);
    }
    got.sort();
    assert_eq!(got, [adt("1", "P1"), adt("2", "P1"), adt("3", "P3")]);
    site.until("SELECT count(*) FROM parked WHERE state = 2 AND code = 'panic'", 1).await;
    site.stop().await;
}

/// Names of the variables by which a test starts its own program again as a server that dies.
const DATABASE_OF_CHILD: &str = "ORDERLY_TEST_DATABASE_OF_CHILD";
const POISON_OF_CHILD: &str = "ORDERLY_TEST_POISON_OF_CHILD";

/// The server that dies, with the sender that repeats what was not answered. Nothing by itself.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Ok(database) = std::env::var(DATABASE_OF_CHILD) else { return };
    let poison = std::env::var(POISON_OF_CHILD).expect("the parent says what to send");
    with_faults();
    let database: PgConnectOptions = database.parse().expect("the parent gives an address");
    let site = Site::start_on(database, Script::Answer("AA"), |_| {}).await;
    let mut sender = site.sender().await;
    sender.send(&adt("1", "P1")).await;
    let answer = sender.send(&adt(&poison, "P2")).await;
    let expected = if poison.starts_with("door") { "AR" } else { "AA" };
    assert!(answer.starts_with(expected), "{answer}");
    assert_eq!(sender.send(&adt("2", "P3")).await, "AA 2");
    site.until("SELECT count(*) FROM parked WHERE code = 'deadly'", 1).await;
    site.until("SELECT count(*) FROM tracking WHERE kind = 6", 2).await;
    site.until("SELECT count(*) FROM attempt", 0).await;
    site.stop().await;
}

/// How many times the process dies of a message until it is found.
async fn killed_by(poison: &str) -> u32 {
    let database = testing::fresh_database().await;
    let place = database.get_socket().map(|socket| format!("?host={}", socket.display()));
    let address = format!(
        "postgres://{}@{}:{}/{}{}",
        database.get_username(),
        if place.is_some() { "localhost" } else { database.get_host() },
        database.get_port(),
        database.get_database().unwrap_or_default(),
        place.unwrap_or_default()
    );
    for killed in 0..10 {
        let ended = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "poison::child", "--nocapture"])
            .env(DATABASE_OF_CHILD, &address)
            .env(POISON_OF_CHILD, poison)
            .output()
            .expect("it can be started again");
        if ended.status.success() {
            return killed;
        }
        // Killed, and by nothing else.
        assert_eq!(ended.status.code(), None, "{}", String::from_utf8_lossy(&ended.stderr));
    }
    panic!("{poison} kills for ever");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_kills_the_process_while_it_is_read_is_refused_in_the_end() {
    assert_eq!(killed_by("door-kills").await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_kills_the_process_while_it_is_sent_is_suspended_in_the_end() {
    assert_eq!(killed_by("send-kills").await, 5);
}
