//! Whether a task still waits: what the decision page asks for again and again, so that nobody goes on with a form that
//! somebody else has answered. Nothing of the patient is in it.

use askama::Template;
use axum::extract::{Path, State};

use super::task::{load, no_form};
use super::{href, status};
use crate::page::{self, Answer};
use crate::shell::Shell;
use crate::state::AppState;
use crate::visit::Visit;
use crate::word::Tag;

#[derive(Template)]
#[template(path = "work/state.html")]
struct StatePart {
    id: String,
    href: String,
    tag: Tag,
    /// What became of the task; none while this person may decide it.
    closed: Option<String>,
    /// The page was opened on this version of the task.
    votes: String,
}

/// The part of the decision page that refreshes itself.
pub(crate) async fn show(State(state): State<AppState>, visit: Visit, Path(id): Path<String>) -> Answer {
    let task = load(&state, &visit, &id).await?;
    let shell = Shell::new(&visit, "Task");
    page::show(&StatePart {
        closed: no_form(&visit, &task, &shell),
        tag: status(task.state, task.outcome.as_deref()),
        votes: match (task.votes.first(), task.quorum) {
            (Some(first), 2..) if task.state.is_open() => format!("{} has agreed.", first.title),
            _ => String::new(),
        },
        href: href(&task),
        id,
    })
}
