//! Queues: what waits for each subscriber, and since when.

use askama::Template;
use axum::extract::State;
use orderly_engine::view::operations::{self, Queue};

use super::age;
use crate::page::{self, Answer};
use crate::shell::Shell;
use crate::state::AppState;
use crate::visit::Visit;

/// The queue of one subscriber.
pub(crate) struct Line {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) href: String,
    pub(crate) waiting: i64,
    pub(crate) retrying: String,
    pub(crate) next_retry: String,
    pub(crate) behind: String,
    pub(crate) suspended: String,
    pub(crate) total: String,
    pub(crate) oldest: String,
    pub(crate) late: bool,
    pub(crate) lanes: String,
}

/// A queue whose oldest work waits longer than this is marked.
const LATE_MINUTES: i64 = 5;

/// A queue in words.
pub(crate) fn line(queue: &Queue, shell: &Shell) -> Line {
    let send = queue.kind == "send_port";
    let blank = |count: operations::Count| if count.is_zero() { String::new() } else { count.to_string() };
    Line {
        kind: match queue.kind.as_str() {
            "send_port" => "Send port",
            "collector" => "Batch collector",
            _ => "Orchestration",
        },
        name: queue.name.clone(),
        title: shell.site.names.subscriber(Some(&queue.kind), &queue.name),
        href: if send || queue.kind == "collector" {
            format!("/ports/send/{}", queue.name)
        } else {
            format!("/instances?orchestration={}", crate::link::encode(&queue.name))
        },
        waiting: queue.waiting,
        retrying: blank(queue.retrying),
        next_retry: queue.next_retry.map(|at| shell.near_time(at).text()).unwrap_or_default(),
        behind: blank(queue.behind),
        suspended: blank(queue.suspended),
        total: queue.total().to_string(),
        oldest: age(queue.oldest_at, shell.now),
        late: queue.oldest_at.is_some_and(|at| (shell.now - at).num_minutes() >= LATE_MINUTES),
        lanes: match queue.free_lanes {
            0 => String::new(),
            free => format!("{free} of {} lanes have no node", queue.lanes),
        },
    }
}

#[derive(Template)]
#[template(path = "operations/queues.html")]
struct QueuesPage {
    shell: Shell,
    lines: Vec<Line>,
    as_of: String,
}

/// All queues, the one that waits longest first.
pub(crate) async fn list(State(state): State<AppState>, visit: Visit) -> Answer {
    let shell = Shell::new(&visit, "Queues");
    let queues = operations::queues(state.pool(), visit.guest.now).await?;
    let lines = queues.iter().map(|queue| line(queue, &shell)).collect();
    page::show(&QueuesPage { as_of: super::overview::as_of(&shell), lines, shell })
}
