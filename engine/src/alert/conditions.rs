//! What the alert rules look at.

use super::{Holding, Watch};
use crate::configuration::{AlertRule, AlertWhen};
use crate::disk::Room;
use crate::store::Error;
use chrono::{DateTime, TimeDelta, Utc};
use std::time::Duration;

/// How long something that happened counts as "lately".
const LATELY: Duration = Duration::from_secs(900);

impl Watch {
    /// What holds for a rule now.
    pub(super) async fn holding(&self, rule: &AlertRule) -> Result<Holding, Error> {
        let holding = match &rule.when {
            AlertWhen::PortDown { over } => self.ports_down(*over).await?,
            AlertWhen::SendersSlowed => self.senders_slowed().await?,
            AlertWhen::OldestWaiting { over } => self.oldest_waiting(*over).await?,
            AlertWhen::NewSuspendedCause => self.suspended_causes("%").await?,
            AlertWhen::UnknownParty => self.suspended_causes("unknown_party").await?,
            AlertWhen::DuplicateWithOtherContent => self.other_content().await?,
            AlertWhen::SuspendedAge { over } => self.suspended_age(*over).await?,
            AlertWhen::Suspended { over } => self.suspended(*over).await?,
            AlertWhen::Waiting { over } => self.waiting(*over).await?,
            AlertWhen::NegativeAckRate { over_percent, within, least } => {
                self.negative_acks(*over_percent, *within, *least).await?
            }
            AlertWhen::AuditChainBroken => self.patrol.breaks(),
            AlertWhen::RuleError => self.failed_rules().await?,
            AlertWhen::NotRouted { over } => self.not_routed(*over).await?,
            AlertWhen::TaskOverdue { over } => self.overdue(*over).await?,
            AlertWhen::BatchLate { over } => self.late_batches(*over).await?,
            AlertWhen::DiskFree { under_percent } => self.disk(|free, _| free < f64::from(*under_percent)),
            AlertWhen::DiskLow { stopped: false } => self.disk(|_, room| room != Room::Enough),
            AlertWhen::DiskLow { stopped: true } => self.disk(|_, room| room == Room::Short),
        };
        let named = |object: &String| {
            rule.ports.is_empty() || rule.ports.iter().any(|port| super::is_of(object, port))
        };
        Ok(holding.into_iter().filter(|(object, _)| named(object)).collect())
    }

    /// The disk of the database host, where it is seen.
    fn disk(&self, is_low: impl Fn(f64, Room) -> bool) -> Holding {
        let Some((free, room)) = self.store.disk().room() else { return Holding::new() };
        let stopped = if room == Room::Short { "; nothing is received until there is room" } else { "" };
        let told = ("database host".to_owned(), format!("{free:.1} % of its disk is free{stopped}"));
        is_low(free, room).then_some(told).into_iter().collect()
    }

    async fn ports_down(&self, over: Duration) -> Result<Holding, Error> {
        let before = self.before(over);
        let rows = sqlx::query!(
            r#"SELECT s.name, count(*) AS "waiting!", min(p.first_at) AS "since!"
                 FROM parked p
                 JOIN subscriber s ON s.id = p.subscriber
                WHERE p.state = 1 AND (p.code LIKE 'transport.%' OR p.code IN ('folder.missing', 'file.not_written'))
                GROUP BY s.name
               HAVING min(p.first_at) <= $1"#,
            before
        )
        .fetch_all(self.store.pool())
        .await?;
        let mut holding: Holding = rows
            .into_iter()
            .map(|row| {
                let since = row.since.format("%H:%M UTC");
                (
                    row.name,
                    format!("the receiver cannot be reached since {since}; {} wait for a retry", row.waiting),
                )
            })
            .collect();
        if let Some(ports) = &self.ports {
            holding.extend(
                ports
                    .failures()
                    .into_iter()
                    .map(|(name, why)| (name, format!("the location cannot work: {why}"))),
            );
        }
        Ok(holding)
    }

    async fn senders_slowed(&self) -> Result<Holding, Error> {
        let configuration = self.running.load().configuration.clone();
        let queues = crate::view::operations::queues(self.store.pool(), self.store.clock().now()).await?;
        let slowed = crate::view::pressure::slowed(&configuration, &queues);
        let told = |waiting, limit| format!("{waiting} messages wait, {limit} may: its senders are slowed");
        Ok(slowed.into_iter().map(|port| (port.send_port, told(port.waiting, port.limit))).collect())
    }

    async fn oldest_waiting(&self, over: Duration) -> Result<Holding, Error> {
        let before = self.before(over);
        let rows = sqlx::query!(
            r#"SELECT s.name, count(*) AS "waiting!", min(p.first_at) AS "since!"
                 FROM parked p
                 JOIN subscriber s ON s.id = p.subscriber
                WHERE p.state IN (1, 3)
                GROUP BY s.name
               HAVING min(p.first_at) <= $1"#,
            before
        )
        .fetch_all(self.store.pool())
        .await?;
        let told = |waiting, since: DateTime<Utc>| {
            format!("{waiting} wait, the oldest since {}", since.format("%H:%M UTC"))
        };
        let mut holding: Holding =
            rows.into_iter().map(|row| (row.name, told(row.waiting, row.since))).collect();
        // What a held port or a stuck lane has not even taken up.
        let queues = crate::view::operations::queues(self.store.pool(), self.store.clock().now()).await?;
        let late = queues.into_iter().filter_map(|queue| {
            let since = queue.oldest_at.filter(|at| *at <= before)?;
            Some((queue.name, told(queue.waiting, since)))
        });
        for (name, text) in late {
            holding.entry(name).or_insert(text);
        }
        Ok(holding)
    }

    async fn suspended_causes(&self, code: &str) -> Result<Holding, Error> {
        let rows = sqlx::query!(
            r#"SELECT coalesce(s.name, 'at the door') AS "name!", p.code, count(*) AS "waiting!"
                 FROM parked p
                 LEFT JOIN subscriber s ON s.id = p.subscriber
                WHERE p.state IN (2, 4) AND p.code LIKE $1 AND p.code <> 'no_subscriber'
                GROUP BY 1, 2"#,
            code
        )
        .fetch_all(self.store.pool())
        .await?;
        let told = |waiting: i64| format!("{waiting} suspended, a person decides");
        Ok(rows.into_iter().map(|row| (format!("{}: {}", row.name, row.code), told(row.waiting))).collect())
    }

    async fn failed_rules(&self) -> Result<Holding, Error> {
        let rows = sqlx::query!(
            r#"SELECT s.name, count(*) AS "waiting!"
                 FROM instance i
                 JOIN subscriber s ON s.id = i.orchestration
                WHERE i.state = 2 AND i.suspend_code = 'rule.error'
                GROUP BY s.name"#
        )
        .fetch_all(self.store.pool())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| (row.name, format!("{} suspended because a rule failed", row.waiting)))
            .collect())
    }

    async fn not_routed(&self, over: u64) -> Result<Holding, Error> {
        let count = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM parked WHERE state = 2 AND code = 'no_subscriber'"#
        )
        .fetch_one(self.store.pool())
        .await?;
        let holds = u64::try_from(count).unwrap_or_default() > over;
        let told = ("messages".to_owned(), format!("{count} were taken by no subscriber"));
        Ok(holds.then_some(told).into_iter().collect())
    }

    async fn overdue(&self, over: Duration) -> Result<Holding, Error> {
        let before = self.before(over);
        let rows = sqlx::query!(
            r#"SELECT kind, count(*) AS "count!" FROM task WHERE state < 2 AND due_at <= $1 GROUP BY kind"#,
            before
        )
        .fetch_all(self.store.pool())
        .await?;
        Ok(rows.into_iter().map(|row| (row.kind, overdue(row.count))).collect())
    }

    /// Ports with batches that should have left, or whose answer should have come; a month later nobody waits for it.
    async fn late_batches(&self, over: Duration) -> Result<Holding, Error> {
        let before = self.before(over);
        let rows = sqlx::query!(
            r#"SELECT s.name, c.state, count(*) AS "count!", min(coalesce(c.answer_by, c.due_at)) AS "since!"
                 FROM collector c
                 JOIN subscriber s ON s.id = c.subscriber
                WHERE (c.state = 1 AND c.due_at <= $1)
                   OR (c.answer_by BETWEEN $1 - interval '30 days' AND $1
                       AND EXISTS (SELECT FROM collector_item i WHERE i.collector = c.id AND i.outcome = ''))
                GROUP BY s.name, c.state
                ORDER BY s.name, c.state"#,
            before
        )
        .fetch_all(self.store.pool())
        .await?;
        let told = |state, count, since: DateTime<Utc>| {
            let what = if state == 1 { "not closed at their time" } else { "not answered in time" };
            format!("{count} batches were {what}, the first since {}", since.format("%d %b %H:%M UTC"))
        };
        Ok(rows.into_iter().map(|row| (row.name, told(row.state, row.count, row.since))).collect())
    }

    /// Control ids that came again with other bytes within the last quarter of an hour.
    async fn other_content(&self) -> Result<Holding, Error> {
        let rows = sqlx::query!(
            r#"SELECT name, sum(other_content)::bigint AS "count!"
                 FROM port_minute
                WHERE minute > $1 AND other_content > 0
                GROUP BY name"#,
            self.before(LATELY)
        )
        .fetch_all(self.store.pool())
        .await?;
        let told = |count| format!("{count} messages repeated a control id with other content lately");
        Ok(rows.into_iter().map(|row| (row.name, told(row.count))).collect())
    }

    async fn suspended_age(&self, over: Duration) -> Result<Holding, Error> {
        let rows = sqlx::query!(
            r#"SELECT coalesce(s.name, 'at the door') AS "name!", count(*) AS "count!", min(p.first_at) AS "since!"
                 FROM parked p
                 LEFT JOIN subscriber s ON s.id = p.subscriber
                WHERE p.state IN (2, 4) AND p.code <> 'no_subscriber'
                GROUP BY 1
               HAVING min(p.first_at) <= $1"#,
            self.before(over)
        )
        .fetch_all(self.store.pool())
        .await?;
        let told = |count, since: DateTime<Utc>| {
            format!("{count} suspended, the oldest since {}", since.format("%H:%M UTC"))
        };
        Ok(rows.into_iter().map(|row| (row.name, told(row.count, row.since))).collect())
    }

    async fn suspended(&self, over: u64) -> Result<Holding, Error> {
        let rows = sqlx::query!(
            r#"SELECT coalesce(s.name, 'at the door') AS "name!", count(*) AS "count!"
                 FROM parked p
                 LEFT JOIN subscriber s ON s.id = p.subscriber
                WHERE p.state IN (2, 4) AND p.code <> 'no_subscriber'
                GROUP BY 1
               HAVING count(*) > $1"#,
            i64::try_from(over).unwrap_or(i64::MAX)
        )
        .fetch_all(self.store.pool())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| (row.name, format!("{} suspended, a person decides", row.count)))
            .collect())
    }

    async fn waiting(&self, over: u64) -> Result<Holding, Error> {
        let over = i64::try_from(over).unwrap_or(i64::MAX);
        let queues = crate::view::operations::queues(self.store.pool(), self.store.clock().now()).await?;
        let long = queues.into_iter().filter(|queue| queue.waiting > over);
        Ok(long.map(|queue| (queue.name, format!("{} messages wait", queue.waiting))).collect())
    }

    /// Ports of whose answers too many refused.
    async fn negative_acks(&self, over_percent: u32, within: Duration, least: u32) -> Result<Holding, Error> {
        let rows = sqlx::query!(
            r#"SELECT name, sum(refused)::bigint AS "refused!", sum(messages + refused)::bigint AS "answers!"
                 FROM port_minute
                WHERE minute > $1 AND kind = 'send_port'
                GROUP BY name
               HAVING sum(messages + refused) >= $2::bigint
                  AND sum(refused) * 100 > sum(messages + refused) * $3::bigint"#,
            self.before(within),
            i64::from(least),
            i64::from(over_percent)
        )
        .fetch_all(self.store.pool())
        .await?;
        let told = |refused: i64, answers: i64| {
            format!("{refused} of the last {answers} answers refused the message")
        };
        Ok(rows.into_iter().map(|row| (row.name, told(row.refused, row.answers))).collect())
    }

    fn before(&self, over: Duration) -> DateTime<Utc> {
        self.store.clock().now() - TimeDelta::from_std(over).unwrap_or_default()
    }
}

fn overdue(count: i64) -> String {
    if count == 1 { "1 task is overdue".to_owned() } else { format!("{count} tasks are overdue") }
}
