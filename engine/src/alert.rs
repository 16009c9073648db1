//! Alerts: looks every few seconds whether something needs operators, opens one alert for each rule and object,
//! mails the team, and closes it when the condition ended. No patient data: names of ports, codes, counts.

use crate::configuration::{AlertRule, AlertWhen, Alerts, Configuration, Severity};
use crate::current::Running;
use crate::mail::{self, Letter};
use crate::port::Ports;
use crate::store::{Error, Store};
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often conditions are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Told even when no rule names it: work that waits for a person must not stay unseen.
const SUSPENDED_WORK: &str = "suspended-work";

/// What holds now: objects of one rule, each with a sentence.
type Holding = BTreeMap<String, String>;

/// Looks after the alerts of a node.
#[derive(Debug)]
pub struct Watch {
    store: Store,
    running: Running,
    ports: Option<Arc<Ports>>,
    /// Since when a condition holds, or does not hold any more, by rule and object.
    since: HashMap<(String, String), DateTime<Utc>>,
    gone: HashMap<(String, String), DateTime<Utc>>,
    refused: Vec<String>,
}

impl Watch {
    /// Looks at these ports besides the database.
    pub fn new(store: Store, running: Running, ports: Option<Arc<Ports>>) -> Self {
        Self { store, running, ports, since: HashMap::new(), gone: HashMap::new(), refused: Vec::new() }
    }

    /// Looks until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            if let Err(error) = self.look().await {
                tracing::warn!(error = &error as &dyn std::error::Error, "Could not look after alerts");
            }
        }
    }

    /// Looks once.
    ///
    /// # Errors
    ///
    /// Fails when the database does.
    pub async fn look(&mut self) -> Result<(), Error> {
        let configuration = self.running.load().configuration.clone();
        let Some(alerts) = &configuration.alerts else { return Ok(()) };
        let mut rules: Vec<AlertRule> = alerts.rules.values().cloned().collect();
        if !rules.iter().any(|rule| rule.when == AlertWhen::NewSuspendedCause) {
            rules.push(built_in());
        }
        for rule in &rules {
            let Some(holding) = self.holding(rule).await? else {
                if !self.refused.contains(&rule.name) {
                    tracing::warn!(
                        alert.rule = rule.name,
                        "The condition of alert rule {} is not supported yet",
                        rule.name
                    );
                    self.refused.push(rule.name.clone());
                }
                continue;
            };
            self.apply(&configuration, alerts, rule, holding).await?;
        }
        Ok(())
    }

    async fn apply(
        &mut self,
        configuration: &Configuration,
        alerts: &Alerts,
        rule: &AlertRule,
        holding: Holding,
    ) -> Result<(), Error> {
        let now = self.store.clock().now();
        let lasting = TimeDelta::from_std(rule.lasting).unwrap_or_default();
        let clear = TimeDelta::from_std(rule.clear).unwrap_or_default();
        let rows = sqlx::query!(
            "SELECT id, object, opened_at, mailed_at, acknowledged_by FROM alert WHERE rule = $1 AND closed_at IS NULL",
            rule.name
        )
        .fetch_all(self.store.pool())
        .await?;
        for (object, text) in &holding {
            let key = (rule.name.clone(), object.clone());
            self.gone.remove(&key);
            let since = *self.since.entry(key).or_insert(now);
            match rows.iter().find(|row| row.object == *object) {
                None if now - since >= lasting => {
                    self.open(configuration, alerts, rule, object, text).await?
                }
                Some(row) if row.acknowledged_by.is_none() => {
                    let repeat = TimeDelta::from_std(alerts.repeat).unwrap_or(TimeDelta::MAX);
                    if !alerts.repeat.is_zero() && row.mailed_at.is_some_and(|at| now - at >= repeat) {
                        let subject = format!("STILL {}: {object}", title(rule));
                        self.mail(configuration, alerts, rule, row.id, &subject, text, None).await?;
                    }
                }
                _ => {}
            }
        }
        for row in rows.iter().filter(|row| !holding.contains_key(&row.object)) {
            let key = (rule.name.clone(), row.object.clone());
            self.since.remove(&key);
            let gone = *self.gone.entry(key.clone()).or_insert(now);
            if now - gone >= clear {
                self.gone.remove(&key);
                let minutes = (now - row.opened_at).num_minutes();
                let subject = format!("RESOLVED {}: {} after {minutes} min", title(rule), row.object);
                let text = "The condition has ended by itself or was mended.";
                self.mail(configuration, alerts, rule, row.id, &subject, text, Some(now)).await?;
            }
        }
        self.since.retain(|(name, object), _| *name != rule.name || holding.contains_key(object));
        Ok(())
    }

    async fn open(
        &self,
        configuration: &Configuration,
        alerts: &Alerts,
        rule: &AlertRule,
        object: &str,
        text: &str,
    ) -> Result<(), Error> {
        let id = self.store.ids().next_id();
        let now = self.store.clock().now();
        // The unique index on open alerts decides between nodes: one of them mails.
        let opened = sqlx::query!(
            "INSERT INTO alert (id, rule, object, severity, text, opened_at)
             VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT DO NOTHING",
            id,
            rule.name,
            object,
            rule.severity.word(),
            text,
            now
        )
        .execute(self.store.pool())
        .await?;
        if opened.rows_affected() == 0 {
            return Ok(());
        }
        tracing::warn!(alert.rule = rule.name, object, "Alert {}: {text}", rule.name);
        let word = if rule.severity == Severity::Critical { "CRITICAL" } else { "ALERT" };
        let subject = format!("{word} {}: {object}", title(rule));
        self.mail(configuration, alerts, rule, id, &subject, text, None).await
    }

    /// Mails the team, and closes the alert in the same transaction when it has ended.
    #[expect(clippy::too_many_arguments, reason = "rule and alert are what the mail tells of")]
    async fn mail(
        &self,
        configuration: &Configuration,
        alerts: &Alerts,
        rule: &AlertRule,
        id: i64,
        subject: &str,
        text: &str,
        closed_at: Option<DateTime<Utc>>,
    ) -> Result<(), Error> {
        let team = rule.team.as_ref().unwrap_or(&alerts.team);
        let recipients = mail::team_addresses(&self.store, configuration, team).await?;
        let mut body = format!("What: {text}");
        if let Some(runbook) = &rule.runbook {
            body.push_str(&format!("\n\nFirst steps: {}{runbook}", console(configuration)));
        }
        let letter = Letter {
            recipients,
            subject: subject.to_owned(),
            body,
            link: Some("/alerts".to_owned()),
            thread: Some(format!("alert:{id}")),
        };
        let mut tx = self.store.begin("alert: tell the team").await?;
        mail::queue(&mut tx, &letter).await?;
        let now = self.store.clock().now();
        sqlx::query!("UPDATE alert SET mailed_at = $2, closed_at = $3 WHERE id = $1", id, now, closed_at)
            .execute(tx.connection())
            .await?;
        tx.commit().await
    }

    /// What holds for a rule now; nothing when its condition is not supported yet.
    async fn holding(&self, rule: &AlertRule) -> Result<Option<Holding>, Error> {
        let holding = match &rule.when {
            AlertWhen::PortDown { over } => self.ports_down(*over).await?,
            AlertWhen::OldestWaiting { over } => self.oldest_waiting(*over).await?,
            AlertWhen::NewSuspendedCause => self.suspended_causes("%").await?,
            AlertWhen::UnknownParty => self.suspended_causes("unknown_party").await?,
            AlertWhen::DuplicateWithOtherContent => self.suspended_causes("duplicate.different").await?,
            AlertWhen::RuleError => self.failed_rules().await?,
            AlertWhen::NotRouted { over } => self.not_routed(*over).await?,
            AlertWhen::TaskOverdue { over } => self.overdue(*over).await?,
            _ => return Ok(None),
        };
        let named = |object: &String| {
            rule.ports.is_empty() || rule.ports.iter().any(|port| object.starts_with(port.as_str()))
        };
        Ok(Some(holding.into_iter().filter(|(object, _)| named(object)).collect()))
    }

    async fn ports_down(&self, over: Duration) -> Result<Holding, Error> {
        let before = self.before(over);
        let rows = sqlx::query!(
            r#"SELECT s.name, count(*) AS "waiting!", min(p.first_at) AS "since!"
                 FROM parked p
                 JOIN subscriber s ON s.id = p.subscriber
                WHERE p.state = 1 AND p.code LIKE 'transport.%'
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
                ports.failures().into_keys().map(|name| (name, "the location cannot be opened".to_owned())),
            );
        }
        Ok(holding)
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
        Ok(rows.into_iter().map(|row| (row.kind, format!("{} tasks are overdue", row.count))).collect())
    }

    fn before(&self, over: Duration) -> DateTime<Utc> {
        self.store.clock().now() - TimeDelta::from_std(over).unwrap_or_default()
    }
}

fn title(rule: &AlertRule) -> &str {
    if rule.title.is_empty() { &rule.name } else { &rule.title }
}

fn console(configuration: &Configuration) -> &str {
    configuration.mail.as_ref().map_or("", |mail| mail.console_url.trim_end_matches('/'))
}

fn built_in() -> AlertRule {
    AlertRule {
        name: SUSPENDED_WORK.to_owned(),
        title: "Suspended work".to_owned(),
        when: AlertWhen::NewSuspendedCause,
        lasting: Duration::ZERO,
        clear: Duration::from_secs(300),
        severity: Severity::Warning,
        team: None,
        runbook: None,
        ports: Vec::new(),
        parties: Vec::new(),
    }
}
