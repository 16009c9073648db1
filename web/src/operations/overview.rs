//! The overview: what needs attention, ports, instances, nodes.

use askama::Template;
use axum::extract::State;
use orderly_engine::disk::Room;
use orderly_engine::view::operations::{self, Count};
use orderly_engine::view::suspended;

use super::alerts::{self, AlertLine};
use super::instances::{self, OrchestrationLine};
use super::ports::{Port, Readings};
use super::suspended::{GroupLine, group_line};
use crate::page::{self, Answer};
use crate::shell::Shell;
use crate::site_time::{Moment, duration};
use crate::state::AppState;
use crate::visit::Visit;
use crate::word::{Tag, Tone};

/// Groups of suspended work that the overview shows; the rest is a link away.
const GROUPS: usize = 5;

struct Node {
    slot: i16,
    host: String,
    process: i32,
    tag: Tag,
    since: Option<Moment>,
    beat: String,
    lanes: i64,
}

/// The disk of the database host, when there is something to say of it.
struct Disk {
    tone: Tone,
    free: String,
    stopped: bool,
}

#[derive(Template)]
#[template(path = "operations/overview.html")]
struct OverviewPage {
    shell: Shell,
    as_of: String,
    per_minute: i64,
    out_per_minute: i64,
    ports_down: usize,
    ports: Vec<Port>,
    waiting: Count,
    oldest: String,
    suspended: Count,
    groups: Vec<GroupLine>,
    more_groups: usize,
    alerts: Vec<AlertLine>,
    disk: Option<Disk>,
    orchestrations: Vec<OrchestrationLine>,
    nodes: Vec<Node>,
}

/// "as of 10:41:07".
pub(crate) fn as_of(shell: &Shell) -> String {
    shell.now.with_timezone(&shell.zone).format("As of %H:%M:%S").to_string()
}

/// The overview.
pub(crate) async fn show(State(state): State<AppState>, visit: Visit) -> Answer {
    let now = visit.guest.now;
    let pool = state.pool();
    let shell = Shell::new(&visit, "Operations");
    let readings = Readings::take(&state, &visit).await?;
    let configuration = state.configuration.load();
    let ports = readings.ports(&configuration, &shell);
    let mut waiting = Count::default();
    for queue in &readings.queues {
        waiting += queue.total();
    }
    let oldest = readings.queues.iter().filter_map(|queue| queue.oldest_at).min();
    let groups = suspended::groups(&suspended::suspended(pool).await?);
    let mut held = Count::default();
    for group in &groups {
        held += group.count;
    }
    let open = operations::alerts(pool, 20).await?;
    let open = open.iter().filter(|alert| alert.closed_at.is_none());
    let nodes = operations::nodes(pool, now).await?;
    let sum = |kind: &str| ports.iter().filter(|port| port.kind == kind).map(|port| port.per_minute).sum();
    page::show(&OverviewPage {
        as_of: as_of(&shell),
        per_minute: sum("receive"),
        out_per_minute: sum("send"),
        ports_down: ports
            .iter()
            .filter(|port| port.tag.tone == Tone::Bad || port.tag.tone == Tone::Warn)
            .count(),
        waiting,
        oldest: oldest.map(|at| duration(now - at)).unwrap_or_default(),
        suspended: held,
        more_groups: groups.len().saturating_sub(GROUPS),
        groups: groups.iter().take(GROUPS).map(|group| group_line(group, &shell)).collect(),
        alerts: open.map(|alert| alerts::line(alert, &shell)).collect(),
        disk: disk(&state),
        orchestrations: instances::orchestrations(&state, &shell).await?,
        nodes: nodes.into_iter().map(|node| node_line(node, &shell)).collect(),
        ports,
        shell,
    })
}

fn disk(state: &AppState) -> Option<Disk> {
    let (free, room) = state.store.disk().room()?;
    let tone = match room {
        Room::Enough => return None,
        Room::Low => Tone::Warn,
        Room::Short => Tone::Bad,
    };
    Some(Disk { tone, free: format!("{free:.1}"), stopped: room == Room::Short })
}

fn node_line(node: operations::NodeRow, shell: &Shell) -> Node {
    let alive = node.expires_at.is_some_and(|until| until > shell.now);
    Node {
        slot: node.slot,
        host: node.host,
        process: node.process,
        tag: if alive { Tag::running() } else { Tag::new(Tone::Bad, "Gone") },
        since: node.started_at.map(|at| shell.near_time(at)),
        beat: node.beat_at.map(|at| format!("{} ago", duration(shell.now - at))).unwrap_or_default(),
        lanes: node.lanes,
    }
}
