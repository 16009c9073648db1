//! Compares what was acknowledged with what the database holds and what the receivers got.

use std::collections::{HashMap, HashSet};
use std::fmt;

use orderly_hl7::Message;
use orderly_tests::{Database, doubled, eventually, left, lines};
use sqlx::PgPool;

use crate::hospital_day::{HospitalDay, Kind, Ledger};

/// What does not add up; empty when all is well.
#[derive(Default)]
pub(crate) struct Report {
    lost: Vec<String>,
    doubled: Vec<String>,
    stuck: Vec<String>,
    disordered: Vec<String>,
    repeated_outside: usize,
}

impl Report {
    pub(crate) fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty() && self.stuck.is_empty() && self.disordered.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some = |list: &[String]| list.iter().take(10).cloned().collect::<Vec<_>>().join("; ");
        write!(
            f,
            "lost {} [{}], doubled inside {} [{}], stuck {} [{}], out of order {} [{}], repeated outside {}",
            self.lost.len(),
            some(&self.lost),
            self.doubled.len(),
            some(&self.doubled),
            self.stuck.len(),
            some(&self.stuck),
            self.disordered.len(),
            some(&self.disordered),
            self.repeated_outside
        )
    }
}

/// Waits until no lane has work left, nobody owes a decision and the laboratory has answered every order.
pub(crate) async fn until_idle(database: &Database, day: &HospitalDay) {
    let pool = database.pool().await;
    let mut best = i64::MAX;
    loop {
        let left = eventually("less is left to do than before", async || {
            let left = left(&pool).await? + i64::try_from(day.unanswered()).ok()?;
            (left < best).then_some(left)
        })
        .await;
        if left == 0 {
            return;
        }
        best = left;
    }
}

/// The comparison itself.
pub(crate) async fn compare(database: &Database, ledger: &Ledger) -> Report {
    let pool = database.pool().await;
    let mut report = Report::default();

    let stored: HashSet<String> = lines(
        &pool,
        "SELECT DISTINCT m.control_id FROM message m JOIN source s ON s.id = m.source
          WHERE s.kind = 'receive_location' AND m.control_id IS NOT NULL",
    )
    .await
    .into_iter()
    .collect();
    for (control, _) in &ledger.acknowledged {
        if !stored.contains(control) {
            report.lost.push(format!("{control} is not stored"));
        }
    }
    check_arrivals(ledger, &mut report);
    check_order(ledger, &mut report);
    report.doubled.extend(doubled(&pool).await);
    check_lost(&pool, ledger, &mut report).await;
    check_stuck(&pool, &mut report).await;
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
            Kind::Order | Kind::Expensive => &["laboratory"],
            Kind::Result => &["order entry", "billing"],
            Kind::Confirmation => &["order entry"],
        };
        for place in places {
            let key = control.replace("ORD", "P");
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

/// A patient's registrations arrive in the order in which they were acknowledged, repeats left aside.
fn check_order(ledger: &Ledger, report: &mut Report) {
    for (place, messages) in [("order entry", &ledger.order_entry), ("laboratory", &ledger.laboratory)] {
        let mut seen: HashSet<String> = HashSet::new();
        let mut last: HashMap<String, u32> = HashMap::new();
        for message in messages.iter().filter(|message| message.text("MSH-9.1") == "ADT") {
            let control = message.text("MSH-10");
            if !seen.insert(control.clone()) {
                continue;
            }
            let number = control.rsplit('x').next().and_then(|number| number.parse().ok()).unwrap_or(0);
            let before = last.insert(message.text("PID-3.1"), number);
            if before.is_some_and(|before| before > number) {
                report.disordered.push(format!("{control} reached {place} late"));
            }
        }
    }
}

/// Decisions that nobody counted, and a record that does not fit together.
async fn check_lost(pool: &PgPool, ledger: &Ledger, report: &mut Report) {
    let votes: i64 =
        sqlx::query_scalar("SELECT count(*) FROM vote").fetch_one(pool).await.expect("the database answers");
    let orders = ledger.count(Kind::Expensive);
    if usize::try_from(votes) != Ok(orders) {
        report.lost.push(format!("{votes} votes for {orders} orders that need one"));
    }
    let proof = orderly_engine::audit::verify(pool).await.expect("the record can be read");
    report.lost.extend(proof.breaks.iter().map(|broken| format!("audit: {broken}")));
}

/// Whatever should be over and is not.
async fn check_stuck(pool: &PgPool, report: &mut Report) {
    let queries = [
        "SELECT 'instance ' || id || ' waits: ' || waiting FROM instance",
        "SELECT count(*) || ' parked: ' || code FROM parked GROUP BY code",
        "SELECT 'task ' || id || ' is in state ' || state FROM task WHERE state <> 2",
        "SELECT 'timer of instance ' || instance FROM timer",
        "SELECT 'expectation of instance ' || instance FROM expectation",
        "SELECT 'correlation of instance ' || instance FROM correlation",
    ];
    for query in queries {
        report.stuck.extend(lines(pool, query).await);
    }
}
