//! Suspended work by cause, each group with its own page that checks what an action will take before it is taken.

use askama::Template;
use axum::extract::{Path, Query, State};
use orderly_engine::capability::Capability;
use orderly_engine::configuration::{OnFailure, Order};
use orderly_engine::ids::{InstanceId, MessageId, ParkedId};
use orderly_engine::view::suspended::{self, Group, ParkedRow, cause_title};
use serde::Deserialize;

use crate::failure::Failure;
use crate::form;
use crate::page::{self, Answer};
use crate::shell::{Shell, Width};
use crate::site_time::Moment;
use crate::state::AppState;
use crate::visit::Visit;
use crate::word::Tag;

/// Rows of a group that one page shows.
const PAGE: usize = 100;

/// A group in a list.
pub(crate) struct GroupLine {
    pub(crate) key: String,
    pub(crate) title: String,
    pub(crate) reason: String,
    pub(crate) place: String,
    pub(crate) count: String,
    pub(crate) in_doubt: i64,
    pub(crate) first: Moment,
    pub(crate) last: Moment,
    pub(crate) tag: Tag,
}

/// A group in words.
pub(crate) fn group_line(group: &Group, shell: &Shell) -> GroupLine {
    let title = cause_title(&group.code).to_owned();
    let place = |name: &str| shell.site.names.subscriber(group.subscriber_kind.as_deref(), name);
    GroupLine {
        key: group.key.clone(),
        reason: if group.reason == title { String::new() } else { group.reason.clone() },
        title,
        place: group.subscriber.as_deref().map_or_else(|| "No subscriber".to_owned(), place),
        count: group.count.to_string(),
        in_doubt: group.in_doubt,
        first: shell.near_time(group.first_at),
        last: shell.near_time(group.last_at),
        tag: tag_of(&group.code, group.in_doubt > 0),
    }
}

fn tag_of(code: &str, in_doubt: bool) -> Tag {
    match code {
        "no_subscriber" => Tag::not_routed(),
        _ if in_doubt => Tag::in_doubt(),
        _ => Tag::suspended(),
    }
}

/// One piece of work in a list.
struct Row {
    href: String,
    message: Option<String>,
    instance: Option<String>,
    attempt: i32,
    since: Moment,
    reason: String,
    tag: Tag,
}

fn row(row: &ParkedRow, shell: &Shell) -> Row {
    Row {
        href: format!("/suspended/work/{}", ParkedId(row.id)),
        message: row.message().map(|id| format!("/messages/{}", MessageId(id))),
        instance: row.instance.map(|id| format!("/instances/{}", InstanceId(id))),
        attempt: row.attempt,
        since: shell.exact_time(row.first_at),
        reason: row.reason.clone(),
        tag: tag_of(&row.code, row.state == 4),
    }
}

#[derive(Template)]
#[template(path = "operations/suspended.html")]
struct SuspendedPage {
    shell: Shell,
    groups: Vec<GroupLine>,
    instances: Vec<super::instances::OrchestrationLine>,
    summary: String,
    as_of: String,
}

/// All groups, the one with the newest work first.
pub(crate) async fn list(State(state): State<AppState>, visit: Visit) -> Answer {
    let shell = Shell::new(&visit, "Suspended");
    let rows = suspended::suspended(state.pool()).await?;
    let groups = suspended::groups(&rows);
    let instances = super::instances::orchestrations(&state, &shell).await?;
    let instances: Vec<_> = instances.into_iter().filter(|line| !line.suspended.is_empty()).collect();
    let (items, causes) = (rows.len(), groups.len());
    page::show(&SuspendedPage {
        summary: match (items, causes) {
            (0, _) => String::new(),
            (1, _) => "1 message or event waits for a person".to_owned(),
            (items, 1) => format!("{items} wait for a person, all for one cause"),
            (items, causes) => format!("{items} wait for a person, for {causes} causes"),
        },
        groups: groups.iter().map(|group| group_line(group, &shell)).collect(),
        as_of: super::overview::as_of(&shell),
        instances,
        shell,
    })
}

/// Which action the group page checks.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    check: String,
}

#[derive(Template)]
#[template(path = "operations/group.html")]
struct GroupPage {
    shell: Shell,
    group: GroupLine,
    rows: Vec<Row>,
    /// The rows differ in what happened, so each tells its own.
    told: bool,
    more: usize,
    total: usize,
    /// `resume`, `terminate`, `move`, or none.
    check: &'static str,
    routed: bool,
    /// Later messages went before these.
    out_of_order: bool,
    as_of: String,
    /// The instant up to which the action reaches, in microseconds.
    up_to: i64,
    may_resume: bool,
    may_terminate: bool,
    may_bulk: bool,
    /// Other send ports.
    ports: Vec<String>,
    form_key: String,
}

/// Whether a port goes on behind what it could not deliver, so that what is resumed arrives behind later messages.
fn leaves_gaps(state: &AppState, port: Option<&str>) -> bool {
    let configuration = state.configuration.load();
    let order = port.and_then(|port| configuration.send_ports.get(port)).map(|port| &port.order);
    matches!(
        order,
        Some(
            Order::Strict { on_failure: OnFailure::Skip }
                | Order::Source { on_failure: OnFailure::Skip }
                | Order::Key { on_failure: OnFailure::Skip, .. }
        )
    )
}

/// Send ports that work of `here` could be moved to.
fn other_ports(state: &AppState, here: Option<&str>) -> Vec<String> {
    let configuration = state.configuration.load();
    configuration.send_ports.keys().filter(|name| here != Some(name.as_str())).cloned().collect()
}

/// One group; with `?check=resume` or `?check=terminate` the page on which that action is confirmed.
pub(crate) async fn show_group(
    State(state): State<AppState>,
    visit: Visit,
    Path(key): Path<String>,
    Query(asked): Query<Asked>,
) -> Answer {
    let all = suspended::suspended(state.pool()).await?;
    let rows: Vec<ParkedRow> = all.into_iter().filter(|row| row.group_key() == key).collect();
    let groups = suspended::groups(&rows);
    let Some(group) = groups.first() else {
        return Err(Failure::refused(
            "Nothing of this group is left",
            "What was suspended for this cause has been resumed or terminated, or it went on by itself.",
            "All suspended work",
            "/suspended",
        ));
    };
    let shell = Shell::new(&visit, cause_title(&group.code).to_owned())
        .crumb("Operations", "/ops")
        .crumb("Suspended", "/suspended");
    page::show(&GroupPage {
        check: match asked.check.as_str() {
            "resume" => "resume",
            "terminate" => "terminate",
            "move" => "move",
            _ => "",
        },
        routed: group.subscriber.is_some(),
        out_of_order: leaves_gaps(&state, group.subscriber.as_deref()),
        total: rows.len(),
        more: rows.len().saturating_sub(PAGE),
        told: rows.iter().any(|row| row.reason != group.reason),
        rows: rows.iter().take(PAGE).map(|one| row(one, &shell)).collect(),
        as_of: super::overview::as_of(&shell),
        up_to: visit.guest.now.timestamp_micros(),
        may_resume: visit.may(Capability::InstControl),
        may_terminate: visit.may(Capability::InstTerminate),
        may_bulk: visit.may(Capability::BulkRun),
        ports: other_ports(&state, group.subscriber.as_deref()),
        form_key: form::new_key(),
        group: group_line(group, &shell),
        shell,
    })
}

#[derive(Template)]
#[template(path = "operations/work.html")]
struct WorkPage {
    shell: Shell,
    id: String,
    row: Row,
    code: String,
    place: String,
    sentence: String,
    group: Option<String>,
    routed: bool,
    /// Later messages went before it.
    out_of_order: bool,
    /// How often its sender sent it again.
    repeats: i64,
    waits: bool,
    behind: bool,
    version: i32,
    suspended: bool,
    may_resume: bool,
    may_terminate: bool,
    may_edit: bool,
    may_move: bool,
    /// Other send ports.
    ports: Vec<String>,
    resume_key: String,
    terminate_key: String,
    suspend_key: String,
    move_key: String,
}

/// One piece of parked work.
pub(crate) async fn show_work(State(state): State<AppState>, visit: Visit, Path(id): Path<String>) -> Answer {
    let parked: ParkedId = id.parse().map_err(|_| Failure::NotFound { what: "suspended work" })?;
    let Some(found) = suspended::parked(state.pool(), parked.0).await? else {
        return Err(Failure::refused(
            "This work no longer waits",
            "It was delivered, resumed or terminated meanwhile. The journey of its message tells what happened.",
            "All suspended work",
            "/suspended",
        ));
    };
    let repeats = match found.message().filter(|_| found.subscriber.is_none()) {
        Some(message) => suspended::repeats(state.pool(), message).await?,
        None => 0,
    };
    let title = cause_title(&found.code).to_owned();
    let shell = Shell::new(&visit, title)
        .crumb("Operations", "/ops")
        .crumb("Suspended", "/suspended")
        .width(Width::Form);
    page::show(&WorkPage {
        out_of_order: leaves_gaps(&state, found.subscriber.as_deref()),
        repeats,
        id,
        row: row(&found, &shell),
        code: found.code.clone(),
        place: found.subscriber.clone().unwrap_or_default(),
        sentence: crate::tracking::parked_words(&found, &shell),
        group: matches!(found.state, 2 | 4).then(|| format!("/suspended/{}", found.group_key())),
        routed: found.subscriber.is_some(),
        waits: found.state == 1,
        behind: found.state == 3,
        version: found.version,
        suspended: matches!(found.state, 2 | 4) && found.kind == 1,
        may_resume: visit.may(Capability::InstControl),
        may_terminate: visit.may(Capability::InstTerminate),
        may_edit: visit.may(Capability::MsgEdit),
        may_move: visit.may(Capability::BulkRun),
        ports: other_ports(&state, found.subscriber.as_deref()),
        resume_key: form::new_key(),
        terminate_key: form::new_key(),
        suspend_key: form::new_key(),
        move_key: form::new_key(),
        shell,
    })
}
