//! The receipt: what was decided, by whom, when, and what happens next.

use askama::Template;
use axum::extract::{Path, State};
use orderly_engine::task::TaskState;
use orderly_engine::view::work::{self, Filter, Part};

use super::task::load;
use super::{href, status, words};
use crate::failure::Failure;
use crate::page::{self, Answer};
use crate::shell::{Shell, Width};
use crate::site_time::Moment;
use crate::state::AppState;
use crate::visit::Visit;
use crate::word::Tag;

#[derive(Template)]
#[template(path = "work/done.html")]
struct DonePage {
    shell: Shell,
    banner: String,
    complete: bool,
    heading: String,
    reference: String,
    outcome: String,
    name: String,
    roles: String,
    at: Moment,
    reason: String,
    signed: bool,
    evidence: String,
    tag: Tag,
    next: String,
    task: String,
    next_task: Option<(String, String)>,
}

/// The receipt of my own decision.
pub(crate) async fn show(State(state): State<AppState>, visit: Visit, Path(id): Path<String>) -> Answer {
    let task = load(&state, &visit, &id).await?;
    let Some(vote) = task.votes.iter().find(|vote| vote.person == visit.person.id) else {
        return Err(Failure::refused(
            "You have not decided this task",
            "There is a receipt for those who have.",
            "Look at the task",
            href(&task),
        ));
    };
    let object = task.id.to_string();
    visit.record(&state, "task.receipt", ("task", &object), "").await?;
    let filter = Filter { part: Part::Mine, kind: None, overdue: false, after: None, limit: 1 };
    let waiting = work::worklist(state.pool(), &visit.person.record, &filter, visit.guest.now).await?;
    let shell = Shell::new(&visit, "Receipt")
        .crumb("My tasks", "/tasks")
        .crumb(words(&task.kind), href(&task))
        .width(Width::Form);
    let orchestration = visit.guest.site.orchestration(&task.orchestration);
    let complete = !task.state.is_open();
    let next = match task.state {
        TaskState::Open | TaskState::SecondPerson => {
            let left = i64::from(task.quorum) - task.votes.len() as i64;
            let who = if left == 1 { "One more person".to_owned() } else { format!("{left} more people") };
            format!("{who} must agree before “{orchestration}” goes on. You have done your part.")
        }
        TaskState::Done => match &task.instance_waits {
            Some(waits) if !waits.is_empty() => {
                format!("“{orchestration}” went on with this decision. Now: {waits}.")
            }
            _ => format!("“{orchestration}” goes on with this decision."),
        },
        TaskState::Expired => "The task expired before enough people agreed.".to_owned(),
        TaskState::Withdrawn => "The decision was no longer needed.".to_owned(),
    };
    page::show(&DonePage {
        banner: if complete { "Decision taken".to_owned() } else { "Your vote is kept".to_owned() },
        complete,
        heading: task.title.clone(),
        reference: object,
        outcome: words(&vote.outcome),
        name: vote.title.clone(),
        roles: visit.person.role_titles.join(", "),
        at: shell.exact_time(vote.at),
        reason: vote.reason.clone(),
        signed: vote.signed,
        evidence: task.snapshot_sha256.iter().take(8).map(|byte| format!("{byte:02x}")).collect(),
        tag: status(task.state, task.outcome.as_deref()),
        next,
        task: href(&task),
        next_task: waiting.first().map(|line| (line.title.clone(), format!("/tasks/{}", line.id))),
        shell,
    })
}
