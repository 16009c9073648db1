//! What became of a message: one word for the list, from its tracking and from what still waits.
//!
//! Nothing stores this word. It is derived for the few messages of one page, so that receiving and delivering
//! need not update a row for the console.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;

use crate::tracking::{Detail, Kind};

/// The status words of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// Stored; nothing else is known yet.
    Received,
    /// All that had to be delivered is delivered, or its instance ended without sending.
    Delivered,
    /// Nobody takes such messages.
    NotRouted,
    /// Waits for a person, an acknowledgment, a time or a receiver.
    Waiting,
    /// A receiver refused it, or an operator ended it.
    Rejected,
    /// Stopped until an operator decides.
    Suspended,
    /// Sent, answer unknown.
    InDoubt,
    /// An edited copy went instead.
    Replaced,
}

/// Every outcome, in the order of the form.
pub const OUTCOMES: [Outcome; 8] = [
    Outcome::Received,
    Outcome::Waiting,
    Outcome::Delivered,
    Outcome::NotRouted,
    Outcome::Suspended,
    Outcome::InDoubt,
    Outcome::Rejected,
    Outcome::Replaced,
];

impl Outcome {
    /// The word that people read.
    pub fn word(self) -> &'static str {
        match self {
            Self::Received => "Received",
            Self::Delivered => "Delivered",
            Self::NotRouted => "Not routed",
            Self::Waiting => "Waiting",
            Self::Rejected => "Rejected",
            Self::Suspended => "Suspended",
            Self::InDoubt => "In doubt",
            Self::Replaced => "Replaced",
        }
    }

    /// Reads the word back.
    pub fn from_word(word: &str) -> Option<Self> {
        OUTCOMES.into_iter().find(|outcome| outcome.word() == word)
    }
}

/// Code of the entry that tells that an orchestration had no open instance for a message which others took.
pub const NOT_AWAITED: &str = "no_instance";

#[derive(Default)]
struct Facts {
    delivered: HashSet<(Option<i64>, i32)>,
    failed: HashSet<(Option<i64>, i32)>,
    /// Subscribers that got the message, and those of them that have dealt with it.
    expected: HashSet<i32>,
    taken: HashSet<i32>,
    /// What orchestrations made of it.
    made: HashSet<i64>,
    turned: bool,
    not_routed: bool,
    at_the_door: bool,
    terminated: bool,
    replaced: bool,
    instances: HashSet<i64>,
    parked: Vec<(i16, String)>,
    /// What it waits for in a batch that goes out.
    batch: Option<&'static str>,
    waits_for: Option<String>,
    instance_suspended: bool,
    task: Option<(String, Option<DateTime<Utc>>)>,
}

/// The outcome of each message, with a few words more.
pub async fn outcomes(
    pool: &PgPool,
    ids: &[i64],
    now: DateTime<Utc>,
) -> sqlx::Result<HashMap<i64, (Outcome, String)>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let mut facts: HashMap<i64, Facts> = ids.iter().map(|id| (*id, Facts::default())).collect();
    read_tracking(pool, ids, &mut facts).await?;
    read_batches(pool, &mut facts).await?;
    read_parked(pool, ids, &mut facts).await?;
    read_instances(pool, &mut facts).await?;
    Ok(facts.into_iter().map(|(id, facts)| (id, facts.conclude(now))).collect())
}

/// A tracking row, and whose fate it tells.
struct Fact {
    root: i64,
    message: Option<i64>,
    instance: Option<i64>,
    subscriber: Option<i32>,
    kind: i16,
    detail: Option<Vec<u8>>,
}

async fn read_tracking(pool: &PgPool, ids: &[i64], facts: &mut HashMap<i64, Facts>) -> sqlx::Result<()> {
    // The second half follows the instances that a message moved to what these did from then on; what they sent is
    // looked up by message afterwards.
    let rows = sqlx::query_as!(
        Fact,
        r#"WITH own AS MATERIALIZED (
             SELECT message_id, instance, subscriber, kind, at, detail
             FROM tracking
             WHERE message_id = ANY($1) AND at >= $2
             LIMIT 5000)
         SELECT message_id AS "root!", message_id AS message, instance, subscriber, kind AS "kind!", detail
         FROM own
         UNION ALL
         SELECT o.message_id, t.message_id, t.instance, t.subscriber, t.kind, t.detail
         FROM (SELECT message_id, instance, min(at) AS at FROM own WHERE instance IS NOT NULL GROUP BY message_id, instance) o
         CROSS JOIN LATERAL (
             SELECT message_id, instance, subscriber, kind, detail
             FROM tracking
             WHERE instance = o.instance AND kind <> 6 AND at >= o.at AND message_id IS DISTINCT FROM o.message_id
             LIMIT 500) t"#,
        ids,
        // Nothing is told of a message before it is there, so that the days before need not be looked at.
        ids.iter().min().map_or(DateTime::UNIX_EPOCH, |oldest| crate::ids::time_of(*oldest) - TimeDelta::minutes(10))
    )
    .fetch_all(pool)
    .await?;
    let mut made: HashMap<i64, i64> = HashMap::new();
    for row in &rows {
        if let (Some(fact), made_here) = (facts.get_mut(&row.root), row.made()) {
            fact.add(row);
            made.extend(made_here.into_iter().map(|id| (id, row.root)));
        }
    }
    read_made(pool, &made, facts).await
}

/// Deliveries of what the turns made, which go under the id of what was made.
async fn read_made(
    pool: &PgPool,
    made: &HashMap<i64, i64>,
    facts: &mut HashMap<i64, Facts>,
) -> sqlx::Result<()> {
    let ids: Vec<i64> = made.keys().copied().collect();
    if ids.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query!(
        r#"SELECT message_id AS "message_id!", subscriber, kind
         FROM tracking
         WHERE message_id = ANY($1) AND kind IN (6, 7)
         LIMIT 5000"#,
        &ids
    )
    .fetch_all(pool)
    .await?;
    for row in rows {
        let Some(fact) = made.get(&row.message_id).and_then(|root| facts.get_mut(root)) else { continue };
        fact.delivery(Some(row.message_id), row.subscriber, row.kind);
    }
    for (id, root) in made {
        if let Some(fact) = facts.get_mut(root) {
            fact.made.insert(*id);
        }
    }
    Ok(())
}

impl Fact {
    fn made(&self) -> Vec<i64> {
        match Detail::decode(self.detail.as_deref()) {
            Some(Detail::Turn { made, .. }) if self.kind == Kind::Turn as i16 => {
                made.into_iter().map(|made| made.message.0).filter(|id| *id != self.root).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Fact {
    fn is_not_awaited(&self) -> bool {
        let detail = Detail::decode(self.detail.as_deref());
        matches!(detail, Some(Detail::Cause { code, .. }) if code == NOT_AWAITED)
    }
}

impl Facts {
    fn add(&mut self, row: &Fact) {
        self.instances.extend(row.instance);
        match Kind::from_number(row.kind) {
            Some(Kind::Resubmitted)
                if matches!(Detail::decode(row.detail.as_deref()), Some(Detail::Action { .. })) =>
            {
                self.replaced = true;
            }
            Some(Kind::Received | Kind::Resubmitted) => {
                if let Some(Detail::Received { to, .. }) = Detail::decode(row.detail.as_deref()) {
                    self.expected.extend(to);
                }
            }
            Some(Kind::Delivered | Kind::DeliveryFailed) => {
                self.delivery(row.message, row.subscriber, row.kind)
            }
            Some(Kind::Turn) => {
                self.turned = true;
                self.taken.extend(row.subscriber);
            }
            // An orchestration that only follows had no instance for it; others took the message.
            Some(Kind::NotRouted) if row.is_not_awaited() => self.taken.extend(row.subscriber),
            Some(Kind::NotRouted) => self.not_routed = true,
            Some(Kind::SuspendedAtDoor) => self.at_the_door = true,
            Some(Kind::Terminated) => self.terminated = true,
            _ => {}
        }
    }

    fn delivery(&mut self, message: Option<i64>, subscriber: Option<i32>, kind: i16) {
        let place = (message, subscriber.unwrap_or_default());
        if kind == Kind::Delivered as i16 {
            self.taken.extend(subscriber);
            self.delivered.insert(place);
        } else {
            self.failed.insert(place);
        }
    }
}

/// Batches that it, or what was made of it, goes out with: delivered with the batch, unless the receiver refused it there.
async fn read_batches(pool: &PgPool, facts: &mut HashMap<i64, Facts>) -> sqlx::Result<()> {
    let roots: HashMap<i64, i64> = facts
        .iter()
        .flat_map(|(id, fact)| fact.made.iter().map(move |made| (*made, *id)).chain([(*id, *id)]))
        .collect();
    let ids: Vec<i64> = roots.keys().copied().collect();
    let rows = sqlx::query!(
        r#"SELECT i.message_id, c.subscriber, i.outcome, c.state = 1 AS "open!",
                EXISTS (SELECT FROM tracking t WHERE t.message_id = c.message_id AND t.kind = 6) AS "delivered!"
         FROM collector_item i
         JOIN collector c ON c.id = i.collector
         WHERE i.message_id = ANY($1)"#,
        &ids
    )
    .fetch_all(pool)
    .await?;
    for row in rows {
        let Some(fact) = roots.get(&row.message_id).and_then(|root| facts.get_mut(root)) else { continue };
        fact.taken.insert(row.subscriber);
        let place = (Some(row.message_id), row.subscriber);
        match (row.open, row.delivered, row.outcome.as_str()) {
            (true, ..) => fact.batch = Some("for its batch to close"),
            (false, false, _) => fact.batch = Some("for its batch to be delivered"),
            (false, true, "" | "AA" | "CA") => drop(fact.delivered.insert(place)),
            (false, true, _) => drop(fact.failed.insert(place)),
        }
    }
    Ok(())
}

async fn read_parked(pool: &PgPool, ids: &[i64], facts: &mut HashMap<i64, Facts>) -> sqlx::Result<()> {
    let subjects: Vec<i64> =
        ids.iter().copied().chain(facts.values().flat_map(|fact| fact.made.iter().copied())).collect();
    let rows = sqlx::query!(
        "SELECT subject, state, code
         FROM parked
         WHERE subject = ANY($1)",
        &subjects
    )
    .fetch_all(pool)
    .await?;
    for row in rows {
        for (id, fact) in facts.iter_mut() {
            if *id == row.subject || fact.made.contains(&row.subject) {
                fact.parked.push((row.state, row.code.clone()));
            }
        }
    }
    Ok(())
}

async fn read_instances(pool: &PgPool, facts: &mut HashMap<i64, Facts>) -> sqlx::Result<()> {
    let instances: Vec<i64> = facts.values().flat_map(|fact| fact.instances.iter().copied()).collect();
    if instances.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query!(
        r#"SELECT i.id AS "id!", i.state AS "state!", i.waiting AS "waiting!", t.title AS "title?", t.due_at
         FROM instance i
         LEFT JOIN task t ON t.instance = i.id AND t.state < 2
         WHERE i.id = ANY($1)"#,
        &instances
    )
    .fetch_all(pool)
    .await?;
    for row in rows {
        for fact in facts.values_mut().filter(|fact| fact.instances.contains(&row.id)) {
            fact.instance_suspended |= row.state == 2;
            fact.waits_for = Some(row.waiting.clone());
            if let Some(title) = &row.title {
                fact.task = Some((title.clone(), row.due_at));
            }
        }
    }
    Ok(())
}

impl Facts {
    fn conclude(self, now: DateTime<Utc>) -> (Outcome, String) {
        let state = |wanted: i16| self.parked.iter().find(|(state, _)| *state == wanted);
        let failed = self.failed.difference(&self.delivered).count();
        if state(4).is_some() {
            return (Outcome::InDoubt, "sent, answer unknown".to_owned());
        }
        if let Some((_, code)) = state(2) {
            return if code == "no_subscriber" {
                (Outcome::NotRouted, "nobody takes it".to_owned())
            } else {
                (Outcome::Suspended, super::suspended::cause_title(code).to_owned())
            };
        }
        if self.instance_suspended {
            return (Outcome::Suspended, "its orchestration stopped".to_owned());
        }
        if let Some((title, due_at)) = self.task {
            let late = due_at.is_some_and(|due_at| due_at < now);
            return (
                Outcome::Waiting,
                format!("for a person: {title}{}", if late { " (overdue)" } else { "" }),
            );
        }
        if let Some(waits_for) = self.waits_for.filter(|text| !text.is_empty()) {
            return (Outcome::Waiting, waits_for);
        }
        if !self.parked.is_empty() {
            return (Outcome::Waiting, "for the receiver".to_owned());
        }
        if let Some(what) = self.batch {
            return (Outcome::Waiting, what.to_owned());
        }
        // Refused at the door, and whoever subscribes to failures made another message of it.
        if self.replaced || (self.at_the_door && !self.made.is_empty()) {
            return (Outcome::Replaced, "a copy was sent instead".to_owned());
        }
        if self.terminated {
            return (Outcome::Rejected, "ended by an operator".to_owned());
        }
        if failed > 0 {
            return (Outcome::Rejected, "by the receiver".to_owned());
        }
        let pending = self.expected.difference(&self.taken).count();
        if pending > 0 && !self.not_routed {
            let plural = if pending == 1 { "subscriber" } else { "subscribers" };
            return (Outcome::Waiting, format!("for {pending} {plural}"));
        }
        if !self.delivered.is_empty() {
            let count = self.delivered.len();
            return (Outcome::Delivered, if count > 1 { format!("to {count}") } else { String::new() });
        }
        if self.not_routed {
            return (Outcome::NotRouted, "nobody takes it".to_owned());
        }
        if self.at_the_door {
            return (Outcome::Rejected, "refused at the door".to_owned());
        }
        if self.turned {
            return (Outcome::Delivered, "to its orchestration".to_owned());
        }
        (Outcome::Received, String::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(facts: Facts, expected: (Outcome, &str)) {
        let (outcome, detail) = facts.conclude(DateTime::UNIX_EPOCH);
        assert_eq!((outcome, detail.as_str()), expected);
    }

    #[test]
    fn what_needs_a_person_outranks_what_is_delivered() {
        let delivered = || HashSet::from([(Some(1), 1)]);
        check(Facts { delivered: delivered(), ..Facts::default() }, (Outcome::Delivered, ""));
        let parked = vec![(4, "send.unknown".to_owned())];
        check(
            Facts { delivered: delivered(), parked, ..Facts::default() },
            (Outcome::InDoubt, "sent, answer unknown"),
        );
    }

    #[test]
    fn a_failure_that_a_later_attempt_mended_is_delivered() {
        let place = HashSet::from([(Some(1), 1)]);
        check(
            Facts { delivered: place.clone(), failed: place, ..Facts::default() },
            (Outcome::Delivered, ""),
        );
    }

    #[test]
    fn a_message_that_one_follower_did_not_await_is_delivered_when_others_took_it() {
        let mut facts = Facts { expected: HashSet::from([1, 2]), ..Facts::default() };
        let fact = |kind: Kind, subscriber, detail: Detail| Fact {
            root: 7,
            message: Some(7),
            instance: None,
            subscriber: Some(subscriber),
            kind: kind as i16,
            detail: detail.encode(),
        };
        facts.add(&fact(Kind::Delivered, 1, Detail::Delivered { attempt: 1, took_us: 1, answer: None }));
        let cause = Detail::Cause { code: NOT_AWAITED.to_owned(), text: String::new(), sha256: None };
        facts.add(&fact(Kind::NotRouted, 2, cause));
        check(facts, (Outcome::Delivered, ""));
    }

    #[test]
    fn an_unrouted_message_is_not_called_suspended() {
        let parked = vec![(2, "no_subscriber".to_owned())];
        check(Facts { parked, ..Facts::default() }, (Outcome::NotRouted, "nobody takes it"));
    }
}
