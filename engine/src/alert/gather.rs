//! New alerts to mails: those that open close together reach a team as one.

use super::{Watch, console, is_muted, title};
use crate::configuration::{AlertRule, Alerts, Configuration};
use crate::mail::{self, Letter};
use crate::store::Error;
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::BTreeMap;

/// An open alert that nobody was told of.
struct Untold<'a> {
    id: i64,
    object: String,
    text: String,
    opened_at: DateTime<Utc>,
    rule: &'a AlertRule,
}

impl Watch {
    /// Mails each team what opened, once the oldest of it waited for `group_for`.
    pub(super) async fn tell_new(
        &self,
        configuration: &Configuration,
        alerts: &Alerts,
        rules: &[AlertRule],
    ) -> Result<(), Error> {
        let now = self.store.clock().now();
        let rows = sqlx::query!(
            "SELECT id, rule, object, text, opened_at
               FROM alert
              WHERE closed_at IS NULL AND mailed_at IS NULL
              ORDER BY opened_at, id"
        )
        .fetch_all(self.store.pool())
        .await?;
        let mut teams: BTreeMap<&str, Vec<Untold<'_>>> = BTreeMap::new();
        for row in rows {
            // The rule may have gone with a deployment; its alerts close by hand.
            let Some(rule) = rules.iter().find(|rule| rule.name == row.rule) else { continue };
            if is_muted(alerts, rule, &row.object, now) {
                continue;
            }
            let team = rule.team.as_deref().unwrap_or(&alerts.team);
            let untold =
                Untold { id: row.id, object: row.object, text: row.text, opened_at: row.opened_at, rule };
            teams.entry(team).or_default().push(untold);
        }
        let gathered = TimeDelta::from_std(alerts.group_for).unwrap_or_default();
        for (team, untold) in teams {
            if untold.first().is_some_and(|oldest| now - oldest.opened_at >= gathered) {
                self.tell_team(configuration, team, &untold, now).await?;
            }
        }
        Ok(())
    }

    async fn tell_team(
        &self,
        configuration: &Configuration,
        team: &str,
        untold: &[Untold<'_>],
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let recipients = mail::team_addresses(&self.store, configuration, team).await?;
        let ids: Vec<i64> = untold.iter().map(|alert| alert.id).collect();
        let mut tx = self.store.begin("alert: tell the team").await?;
        let ours = sqlx::query_scalar!(
            "UPDATE alert SET mailed_at = $2 WHERE id = ANY ($1) AND mailed_at IS NULL RETURNING id",
            &ids,
            now
        )
        .fetch_all(tx.connection())
        .await?;
        // Another node told of the rest.
        let ours: Vec<&Untold<'_>> = untold.iter().filter(|alert| ours.contains(&alert.id)).collect();
        if let Some(letter) = letter(configuration, recipients, &ours) {
            mail::queue(&mut tx, &letter).await?;
        }
        tx.commit().await
    }
}

fn letter(configuration: &Configuration, recipients: Vec<String>, alerts: &[&Untold<'_>]) -> Option<Letter> {
    use crate::configuration::Severity;
    let first = alerts.first()?;
    let worst = alerts.iter().map(|alert| alert.rule.severity).max()?;
    let word = if worst == Severity::Critical { "CRITICAL" } else { "ALERT" };
    let subject = match alerts.len() {
        1 => format!("{word} {}: {}", title(first.rule), first.object),
        count => format!("{word} {count} alerts: {}: {} and others", title(first.rule), first.object),
    };
    let mut body = match alerts {
        [only] => format!("What: {}", only.text),
        several => several
            .iter()
            .map(|alert| format!("{}: {}: {}", title(alert.rule), alert.object, alert.text))
            .collect::<Vec<_>>()
            .join("\n\n"),
    };
    let mut runbooks: Vec<&String> = alerts.iter().filter_map(|alert| alert.rule.runbook.as_ref()).collect();
    runbooks.dedup();
    for runbook in runbooks {
        body.push_str(&format!("\n\nFirst steps: {}{runbook}", console(configuration)));
    }
    let thread = Some(format!("alert:{}", first.id));
    Some(Letter { recipients, subject, body, link: Some("/alerts".to_owned()), thread })
}
