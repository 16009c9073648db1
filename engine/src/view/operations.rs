//! What operators see: ports with their rates, queues with their oldest age, instances, nodes, alerts.
//!
//! Only reads. Every query is bounded, so that a page stays cheap however long a queue is: counts stop at
//! [`COUNT_MOST`] and say so. Suspended work has its own file, because it is grouped by cause.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;

/// Counting stops here; the page then reads "10,000+".
pub const COUNT_MOST: i64 = 10_000;

/// A number that says whether it is exact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count {
    /// How many were counted.
    pub number: i64,
    /// There are more than `number`.
    pub more: bool,
}

impl Count {
    /// A count of rows fetched with `LIMIT COUNT_MOST + 1`.
    pub fn bounded(counted: i64) -> Self {
        Self { number: counted.min(COUNT_MOST), more: counted > COUNT_MOST }
    }

    /// Nothing was counted.
    pub fn is_zero(&self) -> bool {
        self.number == 0
    }
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.number += other.number;
        self.more |= other.more;
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = self.number.to_string();
        let head = digits.len() % 3;
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && place % 3 == head {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        f.write_str(if self.more { "+" } else { "" })
    }
}

/// What an operator last decided about a port or orchestration.
#[derive(Debug, Clone)]
pub struct PortSetting {
    /// `running` or `on_hold`.
    pub state: String,
    /// Who decided it.
    pub changed_by: String,
    /// When.
    pub changed_at: DateTime<Utc>,
    /// Why.
    pub reason: String,
    /// For the form: the version its user saw.
    pub version: i32,
}

/// Kind (`receive_location`, `send_port`, `orchestration`) and name of a port.
pub type PortKey = (String, String);

/// The operators' settings of all ports that have one.
pub async fn port_settings(pool: &PgPool) -> sqlx::Result<HashMap<PortKey, PortSetting>> {
    let rows = sqlx::query!(
        "SELECT kind, name, state, changed_by, changed_at, reason, version
         FROM port_state"
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let setting = PortSetting {
                state: row.state,
                changed_by: row.changed_by,
                changed_at: row.changed_at,
                reason: row.reason,
                version: row.version,
            };
            ((row.kind, row.name), setting)
        })
        .collect())
}

/// Minutes of one bar of the hour's chart.
const BAR_MINUTES: i64 = 5;
/// Bars of the hour's chart.
pub const BARS: usize = 12;

/// Traffic of one port in the last hour.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    /// Messages in the last whole minute.
    pub last_minute: i64,
    /// Messages in the last hour.
    pub hour: i64,
    /// Errors in the last hour.
    pub errors: i64,
    /// The last minute in which a message passed, looked for over a day.
    pub last_at: Option<DateTime<Utc>>,
    /// Messages for each five minutes of the last hour, oldest first.
    pub bars: [i64; BARS],
}

/// Traffic of every port, from the rates that are written once a minute.
pub async fn rates(pool: &PgPool, now: DateTime<Utc>) -> sqlx::Result<HashMap<PortKey, Rates>> {
    let from = now - TimeDelta::hours(1);
    let rows = sqlx::query!(
        r#"SELECT minute, kind, name, sum(messages)::bigint AS "messages!", sum(errors)::bigint AS "errors!"
         FROM port_minute
         WHERE minute > $1
         GROUP BY minute, kind, name"#,
        from
    )
    .fetch_all(pool)
    .await?;
    let mut rates: HashMap<PortKey, Rates> = HashMap::new();
    for row in rows {
        let age = (now - row.minute).num_minutes().max(0);
        let rate = rates.entry((row.kind, row.name)).or_default();
        rate.hour += row.messages;
        rate.errors += row.errors;
        if (1..2).contains(&age) {
            rate.last_minute += row.messages;
        }
        let bar = BARS.saturating_sub(1 + usize::try_from(age / BAR_MINUTES).unwrap_or(0));
        rate.bars[bar] += row.messages;
    }
    let last = sqlx::query!(
        r#"SELECT kind, name, max(minute) AS "minute!"
         FROM port_minute
         WHERE minute > $1 AND messages > 0
         GROUP BY kind, name"#,
        now - TimeDelta::days(1)
    )
    .fetch_all(pool)
    .await?;
    for row in last {
        rates.entry((row.kind, row.name)).or_default().last_at = Some(row.minute);
    }
    Ok(rates)
}

/// The queue of one subscriber: all its lanes and what left them for a while.
#[derive(Debug, Clone)]
pub struct Queue {
    /// `send_port` or `orchestration`.
    pub kind: String,
    /// Name of the subscriber.
    pub name: String,
    /// Work in its lanes that no turn or delivery has consumed.
    pub waiting: i64,
    /// When the oldest waiting work was published.
    pub oldest_at: Option<DateTime<Utc>>,
    /// Work that waits for its next attempt.
    pub retrying: Count,
    /// When the next attempt is due.
    pub next_retry: Option<DateTime<Utc>>,
    /// Work that waits behind earlier work of the same key.
    pub behind: Count,
    /// Work that waits for a person: suspended and in doubt.
    pub suspended: Count,
    /// Lanes of the subscriber, and those without an owner.
    pub lanes: i64,
    /// Lanes that no node owns.
    pub free_lanes: i64,
}

impl Queue {
    /// All that waits, for whatever reason.
    pub fn total(&self) -> Count {
        let mut total = Count { number: self.waiting, more: false };
        total += self.retrying;
        total += self.behind;
        total += self.suspended;
        total
    }
}

/// The queues of all subscribers, oldest first; those with nothing waiting come last, by name.
pub async fn queues(pool: &PgPool, now: DateTime<Utc>) -> sqlx::Result<Vec<Queue>> {
    // Both bounds on created_at: without the upper one, each probe visits the partitions made ahead.
    let lanes = sqlx::query!(
        r#"SELECT s.id, s.kind, s.name, l.id AS lane, l.node,
                greatest(coalesce(t.sequence, 0) - coalesce(p.to_sequence, l.base), 0) AS "waiting!",
                o.created_at AS "oldest_at?"
         FROM lane l
         JOIN subscriber s ON s.id = l.subscriber
         LEFT JOIN LATERAL (
             SELECT to_sequence, to_created_at
             FROM progress
             WHERE lane = l.id
             ORDER BY from_sequence DESC
             LIMIT 1) p ON true
         LEFT JOIN LATERAL (
             SELECT sequence
             FROM work
             WHERE lane = l.id
               AND created_at >= coalesce(p.to_created_at - interval '5 minutes', '-infinity')
               AND created_at < $1::timestamptz + interval '5 minutes'
             ORDER BY sequence DESC
             LIMIT 1) t ON true
         LEFT JOIN LATERAL (
             SELECT created_at
             FROM work
             WHERE lane = l.id
               AND sequence > coalesce(p.to_sequence, l.base)
               AND created_at >= coalesce(p.to_created_at - interval '5 minutes', '-infinity')
               AND created_at < $1::timestamptz + interval '5 minutes'
             ORDER BY sequence
             LIMIT 1) o ON true
         ORDER BY s.kind, s.name, l.shard"#,
        now
    )
    .fetch_all(pool)
    .await?;
    let parked = parked_by_lane(pool).await?;
    let mut queues: Vec<Queue> = Vec::new();
    for row in lanes {
        let new = queues.last().is_none_or(|queue| queue.kind != row.kind || queue.name != row.name);
        if new {
            queues.push(Queue::empty(row.kind, row.name));
        }
        let Some(queue) = queues.last_mut() else { continue };
        queue.waiting += row.waiting;
        queue.oldest_at = earliest(queue.oldest_at, row.oldest_at);
        queue.lanes += 1;
        queue.free_lanes += i64::from(row.node.is_none());
        for part in parked.get(&row.lane).into_iter().flatten() {
            queue.add_parked(part);
        }
    }
    queues.sort_by_key(|queue| (queue.oldest_at.is_none(), queue.oldest_at));
    Ok(queues)
}

impl Queue {
    pub(super) fn empty(kind: String, name: String) -> Self {
        Self {
            kind,
            name,
            waiting: 0,
            oldest_at: None,
            retrying: Count::default(),
            next_retry: None,
            behind: Count::default(),
            suspended: Count::default(),
            lanes: 0,
            free_lanes: 0,
        }
    }

    fn add_parked(&mut self, part: &ParkedPart) {
        self.oldest_at = earliest(self.oldest_at, Some(part.first_at));
        match part.state {
            1 => {
                self.retrying += part.count;
                self.next_retry = earliest(self.next_retry, part.due_at);
            }
            3 => self.behind += part.count,
            _ => self.suspended += part.count,
        }
    }
}

struct ParkedPart {
    state: i16,
    count: Count,
    first_at: DateTime<Utc>,
    due_at: Option<DateTime<Utc>>,
}

async fn parked_by_lane(pool: &PgPool) -> sqlx::Result<HashMap<i32, Vec<ParkedPart>>> {
    let rows = sqlx::query!(
        r#"SELECT l.id AS lane, p.state AS "state!", p.counted AS "counted!", p.first_at AS "first_at!", p.due_at AS "due_at?"
         FROM lane l
         CROSS JOIN LATERAL (
             SELECT state, count(*) AS counted, min(first_at) AS first_at, min(due_at) AS due_at
             FROM (SELECT state, first_at, due_at FROM parked WHERE lane = l.id LIMIT $1) few
             GROUP BY state) p"#,
        COUNT_MOST + 1
    )
    .fetch_all(pool)
    .await?;
    let mut parts: HashMap<i32, Vec<ParkedPart>> = HashMap::new();
    for row in rows {
        let part = ParkedPart {
            state: row.state,
            count: Count::bounded(row.counted),
            first_at: row.first_at,
            due_at: row.due_at,
        };
        parts.entry(row.lane).or_default().push(part);
    }
    Ok(parts)
}

fn earliest(one: Option<DateTime<Utc>>, other: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Instances of one orchestration, by state.
#[derive(Debug, Clone)]
pub struct InstanceCounts {
    /// Name of the orchestration.
    pub orchestration: String,
    /// Dehydrated: waiting for a message, a person or a time.
    pub waiting: Count,
    /// Stopped until a person decides.
    pub suspended: Count,
    /// When the instance that has rested longest was last moved.
    pub oldest_at: Option<DateTime<Utc>>,
    /// Configuration versions that its instances run on.
    pub versions: Vec<i64>,
}

/// Open instances of every orchestration.
pub async fn instance_counts(pool: &PgPool) -> sqlx::Result<Vec<InstanceCounts>> {
    let rows = sqlx::query!(
        r#"SELECT s.name,
                coalesce(c.waiting, 0) AS "waiting!",
                coalesce(c.suspended, 0) AS "suspended!",
                c.oldest_at,
                coalesce(c.versions, '{}') AS "versions!"
         FROM subscriber s
         LEFT JOIN LATERAL (
             SELECT count(*) FILTER (WHERE state = 1) AS waiting,
                    count(*) FILTER (WHERE state = 2) AS suspended,
                    min(updated_at) AS oldest_at,
                    array_agg(DISTINCT config_version ORDER BY config_version) AS versions
             FROM (SELECT state, updated_at, config_version FROM instance WHERE orchestration = s.id LIMIT $1) few) c ON true
         WHERE s.kind = 'orchestration'
         ORDER BY s.name"#,
        COUNT_MOST + 1
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| InstanceCounts {
            orchestration: row.name,
            waiting: Count::bounded(row.waiting),
            suspended: Count::bounded(row.suspended),
            oldest_at: row.oldest_at,
            versions: row.versions,
        })
        .collect())
}

/// One open instance in a list.
#[derive(Debug, Clone)]
pub struct InstanceRow {
    /// Its id.
    pub id: i64,
    /// Name of the orchestration.
    pub orchestration: String,
    /// It waits for a person to resume it.
    pub suspended: bool,
    /// Cause of the suspension.
    pub suspend_code: Option<String>,
    /// What it waits for.
    pub waiting: String,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// When its last turn was committed.
    pub updated_at: DateTime<Utc>,
    /// The configuration it runs on.
    pub config_version: i64,
    /// For the form: the version its user saw.
    pub version: i32,
}

/// Which instances to list.
#[derive(Debug, Clone, Default)]
pub struct InstanceFilter {
    /// Only those of this orchestration.
    pub orchestration: Option<String>,
    /// Only the suspended.
    pub suspended: bool,
    /// Only those older than this id: the next page.
    pub before: Option<i64>,
}

/// Open instances, newest first, one page of `limit`.
pub async fn instances(pool: &PgPool, filter: &InstanceFilter, limit: i64) -> sqlx::Result<Vec<InstanceRow>> {
    sqlx::query_as!(
        InstanceRow,
        r#"SELECT i.id, s.name AS orchestration, i.state = 2 AS "suspended!", i.suspend_code, i.waiting,
                i.started_at, i.updated_at, i.config_version, i.version
         FROM instance i
         JOIN subscriber s ON s.id = i.orchestration
         WHERE ($1::text IS NULL OR s.name = $1)
           AND (NOT $2 OR i.state = 2)
           AND ($3::bigint IS NULL OR i.id < $3)
         ORDER BY i.id DESC
         LIMIT $4"#,
        filter.orchestration,
        filter.suspended,
        filter.before,
        limit
    )
    .fetch_all(pool)
    .await
}

/// A node as the page lists it.
#[derive(Debug, Clone)]
pub struct NodeRow {
    /// Its slot, part of the ids it makes.
    pub slot: i16,
    /// Which life of the slot.
    pub epoch: i64,
    /// Name of the machine.
    pub host: String,
    /// Process number there.
    pub process: i32,
    /// When this life began.
    pub started_at: Option<DateTime<Utc>>,
    /// Its last sign of life.
    pub beat_at: Option<DateTime<Utc>>,
    /// Its lease lasts until then.
    pub expires_at: Option<DateTime<Utc>>,
    /// How many lanes it owns.
    pub lanes: i64,
}

/// Nodes that hold a slot or held one within the last day.
pub async fn nodes(pool: &PgPool, now: DateTime<Utc>) -> sqlx::Result<Vec<NodeRow>> {
    sqlx::query_as!(
        NodeRow,
        r#"SELECT n.slot, n.epoch, n.host, n.process, n.started_at, n.beat_at, n.expires_at,
                (SELECT count(*) FROM lane l WHERE l.node = n.slot AND l.epoch = n.epoch) AS "lanes!"
         FROM node n
         WHERE n.expires_at IS NOT NULL OR n.beat_at > $1::timestamptz - interval '1 day'
         ORDER BY n.slot"#,
        now
    )
    .fetch_all(pool)
    .await
}

/// An alert as the page lists it.
#[derive(Debug, Clone)]
pub struct AlertRow {
    /// Its id.
    pub id: i64,
    /// The rule that raised it.
    pub rule: String,
    /// What it is about.
    pub object: String,
    /// `notice`, `warning` or `critical`.
    pub severity: String,
    /// What happened.
    pub text: String,
    /// When it was raised.
    pub opened_at: DateTime<Utc>,
    /// When mail about it was queued.
    pub mailed_at: Option<DateTime<Utc>>,
    /// Who took note of it.
    pub acknowledged_by: Option<String>,
    /// When the cause was gone.
    pub closed_at: Option<DateTime<Utc>>,
}

/// Alerts: open ones first, then the latest closed, at most `limit`.
pub async fn alerts(pool: &PgPool, limit: i64) -> sqlx::Result<Vec<AlertRow>> {
    sqlx::query_as!(
        AlertRow,
        "SELECT id, rule, object, severity, text, opened_at, mailed_at, acknowledged_by, closed_at
         FROM alert
         ORDER BY closed_at IS NOT NULL, id DESC
         LIMIT $1",
        limit
    )
    .fetch_all(pool)
    .await
}
