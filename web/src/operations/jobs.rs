//! Jobs: actions on many pieces of suspended work, with their progress.

use askama::Template;
use axum::extract::{Path, State};
use orderly_engine::capability::Capability;
use orderly_engine::ids::JobId;
use orderly_engine::operate::job::{self, Job, Tell};
use orderly_engine::parked::Acted;
use serde::Deserialize;

use super::act::{changed, failed};
use crate::failure::Failure;
use crate::flash::Flash;
use crate::form::{self, Submission};
use crate::page::{self, Answer};
use crate::shell::{Shell, Width};
use crate::site_time::Moment;
use crate::state::AppState;
use crate::visit::Visit;
use crate::word::Tag;

/// A job in words.
struct Line {
    href: String,
    tag: Tag,
    /// "Resume 14".
    what: String,
    title: String,
    person: String,
    reason: String,
    progress: String,
    started: Moment,
}

fn line(job: &Job, shell: &Shell) -> Line {
    let verb = match job.action.as_str() {
        "resume" => "Resume",
        "terminate" => "Terminate",
        "suspend" => "Suspend",
        _ => "Move",
    };
    let to = if job.target.is_empty() { String::new() } else { format!(" to {}", job.target) };
    let mut progress = format!("{} of {}", job.done, job.total);
    if job.changed > 0 {
        progress.push_str(&format!(", {} had changed", job.changed));
    }
    if job.failed > 0 {
        progress.push_str(&format!(", {} failed", job.failed));
    }
    Line {
        href: format!("/jobs/{}", JobId(job.id)),
        tag: match job.state.as_str() {
            "running" => Tag::new(crate::word::Tone::Info, "Running"),
            "paused" => Tag::paused(),
            "stopped" => Tag::job_stopped(),
            "cancelled" => Tag::cancelled(),
            _ if job.failed > 0 => Tag::done_with_failures(),
            _ => Tag::done(),
        },
        what: format!("{verb} {}{to}", job.total),
        title: job.title.clone(),
        person: job.person.clone(),
        reason: job.reason.clone(),
        progress,
        started: shell.near_time(job.created_at),
    }
}

#[derive(Template)]
#[template(path = "operations/jobs.html")]
struct JobsPage {
    shell: Shell,
    jobs: Vec<Line>,
}

/// The newest jobs.
pub(crate) async fn list(State(state): State<AppState>, visit: Visit) -> Answer {
    let shell = Shell::new(&visit, "Jobs").crumb("Operations", "/ops");
    let jobs = job::newest(state.pool()).await?;
    page::show(&JobsPage { jobs: jobs.iter().map(|job| line(job, &shell)).collect(), shell })
}

#[derive(Template)]
#[template(path = "operations/job.html")]
struct JobPage {
    shell: Shell,
    job: Line,
    pace: String,
    stop_after: String,
    failures: Vec<(String, i64)>,
    running: bool,
    waits: bool,
    version: i32,
    may_tell: bool,
    pause_key: String,
    cancel_key: String,
}

/// One job with its progress.
pub(crate) async fn show(State(state): State<AppState>, visit: Visit, Path(id): Path<String>) -> Answer {
    let not_found = || Failure::NotFound { what: "job" };
    let id: JobId = id.parse().map_err(|_| not_found())?;
    let found = job::job(state.pool(), id).await?.ok_or_else(not_found)?;
    let shell = Shell::new(&visit, format!("Job: {}", found.title))
        .crumb("Operations", "/ops")
        .crumb("Jobs", "/jobs")
        .width(Width::Form);
    page::show(&JobPage {
        job: line(&found, &shell),
        pace: found.pace.map_or_else(|| "all at once".to_owned(), |pace| format!("{pace} a second")),
        stop_after: found.stop_after.map(|most| most.to_string()).unwrap_or_default(),
        failures: job::failures(state.pool(), id).await?,
        running: found.state == "running",
        waits: matches!(found.state.as_str(), "paused" | "stopped"),
        version: found.version,
        may_tell: visit.may(Capability::BulkRun),
        pause_key: form::new_key(),
        cancel_key: form::new_key(),
        shell,
    })
}

/// What the form of a job asks for.
#[derive(Debug, Deserialize)]
pub(crate) struct Told {
    #[serde(default)]
    to: String,
}

/// Pauses, continues or ends a job.
pub(crate) async fn tell(
    State(state): State<AppState>,
    visit: Visit,
    Path(id): Path<String>,
    sent: Submission<Told>,
) -> Answer {
    let job: JobId = id.parse().map_err(|_| Failure::NotFound { what: "job" })?;
    let (what, action, said) = match sent.fields.to.as_str() {
        "pause" => (Tell::Pause, "job.paused", "Paused. What is done stays done."),
        "go-on" => (Tell::GoOn, "job.continued", "It goes on."),
        "cancel" => (Tell::Cancel, "job.cancelled", "Cancelled. What is left stays suspended."),
        _ => return Err(Failure::BadForm("It does not say what the job shall do".to_owned())),
    };
    let href = format!("/jobs/{id}");
    form::once(&state, &visit, &sent.key, async {
        let who = visit.entry(action, ("job", &id), "", "done");
        match job::tell(&state.store, job, sent.version, what, who).await.map_err(failed)? {
            Acted::Done => Ok((href.clone(), Some(Flash::done(said)))),
            Acted::Changed => Err(changed(&href)),
        }
    })
    .await
}
