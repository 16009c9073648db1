//! Alerts: looks every few seconds whether something needs operators, opens one alert for each rule and object,
//! mails the team, and closes it when the condition ended. No patient data: names of ports, codes, counts.

mod conditions;
mod gather;

use crate::audit::Patrol;
use crate::configuration::{AlertRule, AlertWhen, Alerts, Configuration, Severity};
use crate::crash_point::Point as _;
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
    patrol: Patrol,
}

impl Watch {
    /// Looks at these ports besides the database.
    pub fn new(store: Store, running: Running, ports: Option<Arc<Ports>>) -> Self {
        Self { store, running, ports, since: HashMap::new(), gone: HashMap::new(), patrol: Patrol::default() }
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
        if !rules.iter().any(|rule| rule.when == AlertWhen::AuditChainBroken) {
            rules.push(broken_record());
        }
        if crate::view::pressure::any_limit(&configuration) {
            rules.push(senders_slowed());
        }
        if !rules.iter().any(|rule| matches!(rule.when, AlertWhen::DiskFree { .. })) {
            rules.push(disk_low());
        }
        rules.push(receiving_stopped());
        self.patrol.step(self.store.pool()).await?;
        let sees_disk = self.store.disk().room().is_some();
        for rule in &rules {
            let of_disk = matches!(rule.when, AlertWhen::DiskFree { .. } | AlertWhen::DiskLow { .. });
            if of_disk && !sees_disk {
                // Another node may see it, and have opened an alert.
                continue;
            }
            let holding = self.holding(rule).await?;
            self.apply(&configuration, alerts, rule, holding).await?;
        }
        self.tell_new(&configuration, alerts, &rules).await
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
                None if now - since >= lasting => self.open(rule, object, text).await?,
                Some(row) if row.acknowledged_by.is_none() && !is_muted(alerts, rule, object, now) => {
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
                if row.mailed_at.is_none() || is_muted(alerts, rule, &row.object, now) {
                    // Nobody heard of it, so nobody needs to hear that it is over.
                    self.close(row.id, now).await?;
                    continue;
                }
                let minutes = (now - row.opened_at).num_minutes();
                let subject = format!("RESOLVED {}: {} after {minutes} min", title(rule), row.object);
                let text = "The condition has ended by itself or was mended.";
                self.mail(configuration, alerts, rule, row.id, &subject, text, Some(now)).await?;
            }
        }
        self.since.retain(|(name, object), _| *name != rule.name || holding.contains_key(object));
        Ok(())
    }

    /// Opens an alert; the team is mailed once alerts were gathered for a while.
    async fn open(&self, rule: &AlertRule, object: &str, text: &str) -> Result<(), Error> {
        // The unique index on open alerts decides between nodes: one of them opens it.
        let opened = sqlx::query!(
            "INSERT INTO alert (id, rule, object, severity, text, opened_at)
             VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT DO NOTHING",
            self.store.ids().next_id(),
            rule.name,
            object,
            rule.severity.word(),
            text,
            self.store.clock().now()
        )
        .execute(self.store.pool())
        .point("alert: open")
        .await?;
        if opened.rows_affected() > 0 {
            tracing::warn!(alert.rule = rule.name, object, "Alert {}: {text}", rule.name);
        }
        Ok(())
    }

    async fn close(&self, id: i64, now: DateTime<Utc>) -> Result<(), Error> {
        sqlx::query!("UPDATE alert SET closed_at = $2 WHERE id = $1 AND closed_at IS NULL", id, now)
            .execute(self.store.pool())
            .point("alert: close")
            .await?;
        Ok(())
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
}

fn title(rule: &AlertRule) -> &str {
    if rule.title.is_empty() { &rule.name } else { &rule.title }
}

fn console(configuration: &Configuration) -> &str {
    configuration.mail.as_ref().map_or("", |mail| mail.console_url.trim_end_matches('/'))
}

/// Whether a planned silence covers this alert now.
fn is_muted(alerts: &Alerts, rule: &AlertRule, object: &str, now: DateTime<Utc>) -> bool {
    alerts.mutes.iter().any(|mute| {
        let named = |names: &[String], is: &dyn Fn(&String) -> bool| names.is_empty() || names.iter().any(is);
        (mute.from..mute.until).contains(&now)
            && named(&mute.rules, &|name| *name == rule.name)
            && named(&mute.ports, &|port| is_of(object, port))
            && named(&mute.parties, &|party| rule.parties.contains(party))
    })
}

/// Whether an alert's object is that port, one of its locations, or a cause at it.
fn is_of(object: &str, port: &str) -> bool {
    object.strip_prefix(port).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':']))
}

/// Told even when no rule names it: a record that does not fit together is no evidence.
fn broken_record() -> AlertRule {
    AlertRule {
        name: "audit-chain-broken".to_owned(),
        title: "The audit chain is broken".to_owned(),
        when: AlertWhen::AuditChainBroken,
        severity: Severity::Critical,
        ..built_in()
    }
}

/// A limit that a port names needs no rule beside it.
fn senders_slowed() -> AlertRule {
    AlertRule {
        name: "senders-slowed".to_owned(),
        title: "Senders are slowed".to_owned(),
        when: AlertWhen::SendersSlowed,
        clear: Duration::from_secs(60),
        ..built_in()
    }
}

/// The same as [`crate::disk::LOW_PERCENT`] says.
fn disk_low() -> AlertRule {
    AlertRule {
        name: "disk-low".to_owned(),
        title: "The disk of the database host is nearly full".to_owned(),
        when: AlertWhen::DiskLow { stopped: false },
        clear: Duration::ZERO,
        ..built_in()
    }
}

/// Told even when no rule names it: senders are turned away.
fn receiving_stopped() -> AlertRule {
    AlertRule {
        name: "receiving-stopped".to_owned(),
        title: "Nothing is received".to_owned(),
        when: AlertWhen::DiskLow { stopped: true },
        severity: Severity::Critical,
        clear: Duration::ZERO,
        ..built_in()
    }
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
