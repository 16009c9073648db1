//! Compares what was acknowledged with what the database holds and what the receivers got.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use orderly_hl7::Message;
use orderly_tests::{Database, eventually};
use sqlx::Row as _;

use crate::hospital_day::{Kind, Ledger};

/// What does not add up; empty when all is well.
#[derive(Default)]
pub(crate) struct Report {
    lost: Vec<String>,
    doubled: Vec<String>,
    stuck: Vec<String>,
    repeated_outside: usize,
}

impl Report {
    pub(crate) fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty() && self.stuck.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some = |list: &[String]| list.iter().take(10).cloned().collect::<Vec<_>>().join("; ");
        write!(
            f,
            "lost {} [{}], doubled inside {} [{}], stuck {} [{}], repeated outside {}",
            self.lost.len(),
            some(&self.lost),
            self.doubled.len(),
            some(&self.doubled),
            self.stuck.len(),
            some(&self.stuck),
            self.repeated_outside
        )
    }
}

/// Waits until no lane has work left; how long that took.
pub(crate) async fn until_idle(database: &Database) -> Duration {
    let pool = database.pool().await;
    let started = Instant::now();
    eventually("every lane is worked off", async || {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM lane l
             WHERE coalesce((SELECT max(w.sequence) FROM work w WHERE w.lane = l.id), l.base)
                 > coalesce((SELECT max(p.to_sequence) FROM progress p WHERE p.lane = l.id), l.base)",
        )
        .fetch_one(&pool)
        .await
        .ok()?;
        let parked: i64 = sqlx::query_scalar("SELECT count(*) FROM parked WHERE state IN (1, 3)")
            .fetch_one(&pool)
            .await
            .ok()?;
        (waiting == 0 && parked == 0).then_some(())
    })
    .await;
    started.elapsed()
}

/// The comparison itself.
pub(crate) async fn compare(database: &Database, ledger: &Ledger) -> Report {
    let pool = database.pool().await;
    let mut report = Report::default();

    let mut stored: HashMap<String, i64> = HashMap::new();
    let rows = sqlx::query("SELECT control_id, count(*) AS times FROM message WHERE parent IS NULL AND control_id IS NOT NULL GROUP BY control_id")
        .fetch_all(&pool)
        .await
        .expect("the database answers");
    for row in rows {
        stored.insert(row.get("control_id"), row.get("times"));
    }
    for (control, _) in &ledger.acknowledged {
        match stored.get(control) {
            None => report.lost.push(format!("{control} is not stored")),
            Some(1) => {}
            Some(times) => report.doubled.push(format!("{control} is stored {times} times")),
        }
    }
    check_arrivals(ledger, &mut report);
    check_database(&pool, &mut report).await;
    report
}

/// Each registration reaches three systems, each order the laboratory, each result order entry and billing.
fn check_arrivals(ledger: &Ledger, report: &mut Report) {
    let places = [
        ("order entry", &ledger.order_entry),
        ("laboratory", &ledger.laboratory),
        ("billing", &ledger.billing),
    ];
    let mut arrived: HashMap<(&str, String), usize> = HashMap::new();
    for (place, messages) in places {
        for message in messages {
            *arrived.entry((place, key_of(message))).or_default() += 1;
        }
    }
    report.repeated_outside = arrived.values().map(|times| times - 1).sum();
    for (control, kind) in &ledger.acknowledged {
        let places: &[&str] = match kind {
            Kind::Registration => &["order entry", "laboratory", "billing"],
            Kind::Order => &["laboratory"],
            Kind::Result => &["order entry", "billing"],
            Kind::Confirmation => &[],
        };
        for place in places {
            let key = if *kind == Kind::Order { control.replace("ORD", "P") } else { control.clone() };
            if !arrived.contains_key(&(*place, key)) {
                report.lost.push(format!("{control} did not reach {place}"));
            }
        }
    }
}

/// Orders are new messages when they reach the laboratory, so they are known by their placer number.
fn key_of(message: &Message) -> String {
    match message.text("MSH-9.1").as_str() {
        "ORM" | "OML" => message.text("ORC-2.1"),
        _ => message.text("MSH-10"),
    }
}

async fn check_database(pool: &sqlx::PgPool, report: &mut Report) {
    // An orchestration that moved twice for one message would have made two messages from it.
    let rows = sqlx::query(
        "SELECT parent, message_type, source, count(*) AS times FROM message
         WHERE parent IS NOT NULL AND message_type NOT LIKE 'ACK%'
         GROUP BY parent, message_type, source HAVING count(*) > 1",
    )
    .fetch_all(pool)
    .await
    .expect("the database answers");
    for row in rows {
        report.doubled.push(format!(
            "{} made from message {}",
            row.get::<String, _>("message_type"),
            row.get::<i64, _>("parent")
        ));
    }
    // A delivery that was committed twice.
    let rows = sqlx::query(
        "SELECT message_id, subscriber, count(*) AS times FROM tracking WHERE kind = 6 GROUP BY message_id, subscriber HAVING count(*) > 1",
    )
    .fetch_all(pool)
    .await
    .expect("the database answers");
    for row in rows {
        report.doubled.push(format!(
            "message {} committed as delivered {} times",
            row.get::<i64, _>("message_id"),
            row.get::<i64, _>("times")
        ));
    }
    let rows = sqlx::query("SELECT id, waiting, state FROM instance")
        .fetch_all(pool)
        .await
        .expect("the database answers");
    for row in rows {
        report.stuck.push(format!(
            "instance {} waits: {}",
            row.get::<i64, _>("id"),
            row.get::<String, _>("waiting")
        ));
    }
    let rows = sqlx::query("SELECT code, count(*) AS times FROM parked GROUP BY code")
        .fetch_all(pool)
        .await
        .expect("the database answers");
    for row in rows {
        report.stuck.push(format!("{} parked: {}", row.get::<i64, _>("times"), row.get::<String, _>("code")));
    }
}
