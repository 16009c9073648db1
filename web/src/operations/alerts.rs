//! Alerts: what operators were told, and who took note.

use askama::Template;
use axum::extract::{Path, State};
use orderly_engine::capability::Capability;
use orderly_engine::ids::AlertId;
use orderly_engine::operate;
use orderly_engine::parked::Acted;
use orderly_engine::view::operations::{self, AlertRow};
use serde::Deserialize;

use crate::failure::Failure;
use crate::flash::Flash;
use crate::form::{self, Submission};
use crate::page::{self, Answer};
use crate::shell::Shell;
use crate::site_time::Moment;
use crate::state::AppState;
use crate::visit::Visit;
use crate::word::{Tag, Tone};

/// An alert in a list.
pub(crate) struct AlertLine {
    pub(crate) id: String,
    pub(crate) tag: Tag,
    pub(crate) severity: String,
    pub(crate) object: String,
    pub(crate) text: String,
    pub(crate) opened: Moment,
    pub(crate) closed: Option<Moment>,
    pub(crate) acknowledged_by: String,
    pub(crate) mailed: bool,
    pub(crate) open: bool,
    pub(crate) form_key: String,
}

/// An alert in words.
pub(crate) fn line(alert: &AlertRow, shell: &Shell) -> AlertLine {
    let tag = match (alert.closed_at, &alert.acknowledged_by) {
        (Some(_), _) => Tag::new(Tone::Good, "Resolved"),
        (None, Some(_)) => Tag::new(Tone::Info, "Acknowledged"),
        (None, None) => Tag::new(Tone::Bad, "New"),
    };
    AlertLine {
        id: AlertId(alert.id).to_string(),
        tag,
        severity: match alert.severity.as_str() {
            "critical" => "Critical",
            "warning" => "Warning",
            _ => "Information",
        }
        .to_owned(),
        object: alert.object.clone(),
        text: alert.text.clone(),
        opened: shell.near_time(alert.opened_at),
        closed: alert.closed_at.map(|at| shell.near_time(at)),
        acknowledged_by: alert.acknowledged_by.as_deref().map(|id| shell.person(id)).unwrap_or_default(),
        mailed: alert.mailed_at.is_some(),
        open: alert.closed_at.is_none() && alert.acknowledged_by.is_none(),
        form_key: form::new_key(),
    }
}

#[derive(Template)]
#[template(path = "operations/alerts.html")]
struct AlertsPage {
    shell: Shell,
    lines: Vec<AlertLine>,
    may_acknowledge: bool,
    as_of: String,
}

/// Open alerts first, then what was resolved lately.
pub(crate) async fn list(State(state): State<AppState>, visit: Visit) -> Answer {
    let shell = Shell::new(&visit, "Alerts");
    let alerts = operations::alerts(state.pool(), 100).await?;
    page::show(&AlertsPage {
        lines: alerts.iter().map(|alert| line(alert, &shell)).collect(),
        may_acknowledge: visit.may(Capability::AlertAck),
        as_of: super::overview::as_of(&shell),
        shell,
    })
}

/// The form has no fields of its own.
#[derive(Deserialize)]
pub(crate) struct Nothing {}

/// Takes note of an alert.
pub(crate) async fn acknowledge(
    State(state): State<AppState>,
    visit: Visit,
    Path(id): Path<String>,
    sent: Submission<Nothing>,
) -> Answer {
    let alert: AlertId = id.parse().map_err(|_| Failure::NotFound { what: "alert" })?;
    form::once(&state, &visit, &sent.key, async {
        let who = visit.entry("alert.acknowledged", ("alert", &id), "", "done");
        let acted =
            operate::acknowledge_alert(&state.store, alert.0, who).await.map_err(super::act::failed)?;
        let said = match acted {
            Acted::Done => Flash::done("You took note of the alert. It stays open until its cause is gone."),
            Acted::Changed => Flash::warn("Somebody else took note of it first, or its cause is gone."),
        };
        Ok(("/alerts".to_owned(), Some(said)))
    })
    .await
}
