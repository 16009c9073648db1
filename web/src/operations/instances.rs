//! Orchestrations and their open instances.

use askama::Template;
use axum::extract::{Query, State};
use orderly_engine::ids::InstanceId;
use orderly_engine::view::operations::{self, InstanceFilter};
use serde::Deserialize;

use super::age;
use crate::failure::Failure;
use crate::page::{self, Answer};
use crate::shell::Shell;
use crate::site_time::Moment;
use crate::state::AppState;
use crate::visit::Visit;
use crate::word::Tag;

const PAGE: i64 = 50;

/// An orchestration with the numbers of its instances.
pub(crate) struct OrchestrationLine {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) href: String,
    pub(crate) waiting: String,
    pub(crate) suspended: String,
    pub(crate) suspended_href: String,
    pub(crate) oldest: String,
    pub(crate) versions: String,
}

/// All orchestrations that ever had work, with their open instances.
pub(crate) async fn orchestrations(
    state: &AppState,
    shell: &Shell,
) -> Result<Vec<OrchestrationLine>, Failure> {
    let counts = operations::instance_counts(state.pool()).await?;
    Ok(counts
        .into_iter()
        .map(|counts| {
            let href = format!("/instances?orchestration={}", crate::link::encode(&counts.orchestration));
            let versions: Vec<String> = counts.versions.iter().map(i64::to_string).collect();
            OrchestrationLine {
                suspended_href: format!("{href}&state=suspended"),
                href,
                waiting: counts.waiting.to_string(),
                suspended: if counts.suspended.is_zero() {
                    String::new()
                } else {
                    counts.suspended.to_string()
                },
                oldest: age(counts.oldest_at, shell.now),
                versions: versions.join(", "),
                title: shell.site.orchestration(&counts.orchestration),
                name: counts.orchestration,
            }
        })
        .collect())
}

#[derive(Template)]
#[template(path = "operations/orchestrations.html")]
struct OrchestrationsPage {
    shell: Shell,
    lines: Vec<OrchestrationLine>,
    as_of: String,
    current: i64,
}

/// The list of orchestrations.
pub(crate) async fn list_orchestrations(State(state): State<AppState>, visit: Visit) -> Answer {
    let shell = Shell::new(&visit, "Orchestrations");
    page::show(&OrchestrationsPage {
        lines: orchestrations(&state, &shell).await?,
        as_of: super::overview::as_of(&shell),
        current: state.configuration.load().version,
        shell,
    })
}

/// Filter of the list of instances.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    orchestration: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    before: String,
}

struct Row {
    href: String,
    id: String,
    orchestration: String,
    tag: Tag,
    waiting: String,
    started: Moment,
    rested: String,
    config_version: i64,
}

#[derive(Template)]
#[template(path = "operations/instances.html")]
struct InstancesPage {
    shell: Shell,
    asked: Asked,
    /// Names and titles for the filter.
    names: Vec<(String, String)>,
    rows: Vec<Row>,
    older: Option<String>,
    newer: Option<String>,
    as_of: String,
}

/// Open instances, newest first.
pub(crate) async fn list(State(state): State<AppState>, visit: Visit, Query(asked): Query<Asked>) -> Answer {
    let shell = Shell::new(&visit, "Instances").crumb("Operations", "/ops");
    let before = match asked.before.as_str() {
        "" => None,
        id => Some(id.parse::<InstanceId>().map_err(|_| Failure::NotFound { what: "page of this list" })?.0),
    };
    let filter = InstanceFilter {
        orchestration: Some(asked.orchestration.clone()).filter(|name| !name.is_empty()),
        suspended: asked.state == "suspended",
        before,
    };
    let mut found = operations::instances(state.pool(), &filter, PAGE + 1).await?;
    let more = i64::try_from(found.len()).is_ok_and(|found| found > PAGE);
    found.truncate(usize::try_from(PAGE).unwrap_or_default());
    let address = |before: &str| {
        let name = crate::link::encode(&asked.orchestration);
        format!("/instances?orchestration={name}&state={}&before={before}", crate::link::encode(&asked.state))
    };
    let older = found.last().filter(|_| more).map(|last| address(&InstanceId(last.id).to_string()));
    let newer = before.map(|_| address(""));
    let names = operations::instance_counts(state.pool()).await?;
    let rows = found
        .into_iter()
        .map(|row| Row {
            href: format!("/instances/{}", InstanceId(row.id)),
            id: InstanceId(row.id).to_string(),
            waiting: crate::tracking::telling::stands(&row.waiting, &row.orchestration, &shell),
            orchestration: shell.site.orchestration(&row.orchestration),
            tag: if row.suspended { Tag::suspended() } else { Tag::waiting() },
            started: shell.near_time(row.started_at),
            rested: age(Some(row.updated_at), shell.now),
            config_version: row.config_version,
        })
        .collect();
    page::show(&InstancesPage {
        names: names
            .into_iter()
            .map(|counts| (shell.site.orchestration(&counts.orchestration), counts.orchestration))
            .map(|(title, name)| (name, title))
            .collect(),
        as_of: super::overview::as_of(&shell),
        rows,
        older,
        newer,
        asked,
        shell,
    })
}
