//! From choice to receipt: the check page, the signature, the vote, and what is said when it does not count.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse};
use indexmap::IndexMap;
use orderly_engine::people::{self, Attempt, Confirmed};
use orderly_engine::task::{self, Counted, Error, Refusal, Vote};
use orderly_engine::view::work::TaskView;
use serde_json::{Map, Value};

use super::task::{Typed, again, load};
use super::{href, words};
use crate::failure::Failure;
use crate::form::{self, Submission};
use crate::page::Answer;
use crate::shell::{Shell, Width};
use crate::site_time::Moment;
use crate::state::AppState;
use crate::visit::Visit;

/// The form of the decision page: `outcome`, `reason`, and extra inputs as `in.<name>`.
type Fields = IndexMap<String, String>;

/// Longest reason.
const REASON_MAX: usize = 2_000;

#[derive(Template)]
#[template(path = "work/check.html")]
struct CheckPage {
    shell: Shell,
    heading: String,
    outcome: String,
    outcome_label: String,
    reason: String,
    inputs: Vec<(String, String, String)>,
    meaning: String,
    next: String,
    sign: bool,
    name: String,
    roles: String,
    error: Option<String>,
    decide: String,
    change: String,
    form_key: String,
    version: i32,
}

/// Shows what is about to be done. Changes nothing.
pub(crate) async fn check(
    State(state): State<AppState>,
    visit: Visit,
    Path(id): Path<String>,
    form: Submission<Fields>,
) -> Answer {
    let task = load(&state, &visit, &id).await?;
    let typed = typed(&task, &form.fields);
    if form.fields.contains_key("change") {
        let typed = Typed { wrong: Vec::new(), ..typed };
        return again(&state, &visit, &task, typed).await;
    }
    if !task.state.is_open() || task.version != form.version {
        return Err(changed(&state, &visit, &task).await?);
    }
    if !typed.wrong.is_empty() {
        return again(&state, &visit, &task, typed).await;
    }
    let page = check_page(&visit, &task, &typed, None);
    Ok(Html(page.render()?).into_response())
}

/// Takes the decision.
pub(crate) async fn decide(
    State(state): State<AppState>,
    visit: Visit,
    Path(id): Path<String>,
    form: Submission<Fields>,
) -> Answer {
    let task = load(&state, &visit, &id).await?;
    let typed = typed(&task, &form.fields);
    let mut signed = false;
    if task.sign && task.state.is_open() {
        let password = form.fields.get("password").cloned().unwrap_or_default();
        if let Err(error) = sign(&state, &visit, password).await? {
            let page = check_page(&visit, &task, &typed, Some(error));
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, Html(page.render()?)).into_response());
        }
        signed = true;
    }
    let inputs: Map<String, Value> =
        typed.inputs.iter().map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect();
    // On the heap: the transaction's state is large, and every request would carry it.
    let act = Box::pin(async {
        let vote = Vote {
            task: task.id,
            person: &visit.person.record,
            outcome: &typed.outcome,
            reason: &typed.reason,
            inputs: &inputs,
            signed,
            version: form.version,
            key: &form.key,
            session: visit.session,
            address: &visit.guest.address,
        };
        match task::vote(&state.store, vote).await {
            Ok(Ok(Counted::Decided { .. } | Counted::MoreNeeded { .. })) => {
                Ok((format!("{}/done", href(&task)), None))
            }
            Ok(Err(refusal)) => Err(explain(refusal, &visit, &task)),
            Err(Error::Store(error)) => Err(Failure::from(error)),
        }
    });
    form::once(&state, &visit, &form.key, act).await
}

/// What was typed, with everything that can be seen to be wrong.
fn typed(task: &TaskView, fields: &Fields) -> Typed {
    let text = |name: &str| fields.get(name).map(|text| text.trim().to_owned()).unwrap_or_default();
    let (outcome, reason) = (text("outcome"), text("reason"));
    let mut wrong = Vec::new();
    if !task.outcomes.contains(&outcome) {
        wrong.push(("outcome".to_owned(), "Choose what is to happen".to_owned()));
    }
    if reason.is_empty() && task.reason_for.contains(&outcome) {
        wrong.push(("reason".to_owned(), format!("Say why you choose “{}”", words(&outcome))));
    }
    if reason.chars().count() > REASON_MAX {
        wrong.push(("reason".to_owned(), format!("Use at most {REASON_MAX} characters")));
    }
    let inputs: IndexMap<String, String> = fields
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("in.")?.to_owned(), value.clone())))
        .collect();
    let typed: Map<String, Value> =
        inputs.iter().map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect();
    wrong.extend(task::wrong_inputs(&task.fields, &typed));
    Typed { outcome, reason, inputs, wrong }
}

fn check_page(visit: &Visit, task: &TaskView, typed: &Typed, error: Option<String>) -> CheckPage {
    let label = words(&typed.outcome);
    let first = task.outcomes.first() == Some(&typed.outcome);
    let left = i64::from(task.quorum) - task.votes.len() as i64;
    let orchestration = visit.guest.site.orchestration(&task.orchestration);
    let next = if first && left > 1 {
        format!("Your vote is kept. “{orchestration}” goes on when {} agreed.", people_left(left - 1))
    } else {
        format!("The task is closed, and “{orchestration}” goes on at once with “{label}”.")
    };
    let inputs = task::input_fields(&task.fields)
        .into_iter()
        .map(|field| {
            let value = typed.inputs.get(&field.name).cloned().unwrap_or_default();
            (field.name, words(&field.title), value)
        })
        .collect();
    CheckPage {
        shell: Shell::new(visit, "Check your decision")
            .crumb("My tasks", "/tasks")
            .crumb(words(&task.kind), href(task))
            .width(Width::Form),
        heading: task.title.clone(),
        meaning: format!("I choose “{label}” for this task, on the facts that I was shown."),
        outcome: typed.outcome.clone(),
        outcome_label: label,
        reason: typed.reason.clone(),
        inputs,
        next,
        sign: task.sign,
        name: visit.person.title.clone(),
        roles: visit.person.role_titles.join(", "),
        error,
        decide: format!("{}/decide", href(task)),
        change: format!("{}/check", href(task)),
        form_key: form::new_key(),
        version: task.version,
    }
}

fn people_left(count: i64) -> String {
    if count == 1 { "one more person has".to_owned() } else { format!("{count} more people have") }
}

async fn sign(state: &AppState, visit: &Visit, password: String) -> Result<Result<(), String>, Failure> {
    if password.is_empty() {
        return Ok(Err("Type your password to sign.".to_owned()));
    }
    let attempt = Attempt {
        name: &visit.person.id,
        password,
        address: &visit.guest.address,
        device: &visit.guest.device,
        now: visit.guest.now,
    };
    Ok(match people::confirm(state.pool(), &state.passwords, attempt).await? {
        Confirmed::Right => Ok(()),
        Confirmed::Wrong => {
            visit.refused(state, "signature.refused", ("person", &visit.person.id), "wrong password").await?;
            Err("That is not your password. Nothing was decided.".to_owned())
        }
        Confirmed::Later { minutes } => {
            Err(format!("Too many failed tries. Nothing was decided; try again in {minutes} min."))
        }
    })
}

/// The task is no longer as the person saw it: what changed, and a way to look again.
async fn changed(state: &AppState, visit: &Visit, task: &TaskView) -> Result<Failure, Failure> {
    visit.refused(state, "task.refused", ("task", &task.id.to_string()), "changed meanwhile").await?;
    Ok(changed_page(visit, task))
}

fn changed_page(visit: &Visit, task: &TaskView) -> Failure {
    let zone = visit.guest.site.timezone;
    let last = task.votes.last().map_or_else(
        || "It was given to others, or its urgency changed.".to_owned(),
        |vote| {
            let at = Moment::near(vote.at, zone, visit.guest.now).text();
            format!("{} chose “{}” at {at}.", vote.title, words(&vote.outcome))
        },
    );
    Failure::refused(
        "The task changed while you looked at it",
        format!(
            "{last} Your decision was not taken; nothing was changed. Look at it again before you decide."
        ),
        "Look again",
        href(task),
    )
}

/// Why a vote did not count, politely.
fn explain(refusal: Refusal, visit: &Visit, task: &TaskView) -> Failure {
    let zone = visit.guest.site.timezone;
    let near = |at| Moment::near(at, zone, visit.guest.now).text();
    let unchanged = "Your decision was not taken; nothing was changed.";
    let (title, text) = match refusal {
        Refusal::NotFound => return Failure::NotFound { what: "task" },
        Refusal::DecidedBy { person, outcome, at } => (
            "Already decided",
            format!("{person} decided “{}” at {}. {unchanged}", words(&outcome), near(at)),
        ),
        Refusal::Expired => {
            ("The time for this task is over", format!("Nobody decided in time. {unchanged}"))
        }
        Refusal::Withdrawn => {
            ("No longer needed", format!("The orchestration ended or went another way. {unchanged}"))
        }
        Refusal::Changed { .. } => return changed_page(visit, task),
        Refusal::Excluded { .. } => (
            "You may not decide this one",
            format!("The task excludes you, for example because you ordered it. {unchanged}"),
        ),
        Refusal::NotForYou { roles } => (
            "This task is for others",
            format!(
                "It is now offered to: {}. {unchanged}",
                visit.guest.site.roles.titles(&roles).join(", ")
            ),
        ),
        Refusal::VotedBefore { outcome, at } => (
            "You have decided this before",
            format!(
                "You chose “{}” at {}. Nobody counts twice: somebody else must agree. {unchanged}",
                words(&outcome),
                near(at)
            ),
        ),
        Refusal::UnknownOutcome => ("There is no such outcome", unchanged.to_owned()),
        Refusal::ReasonMissing => ("A reason is missing", format!("This outcome needs one. {unchanged}")),
        Refusal::SignatureMissing => ("The signature is missing", unchanged.to_owned()),
        Refusal::Inputs(_) => {
            ("Something is missing", format!("An extra field needs to be filled in. {unchanged}"))
        }
    };
    Failure::Refused {
        title: title.to_owned(),
        text,
        next: vec![
            ("Go to your tasks".to_owned(), "/tasks".to_owned()),
            ("Look at this task".to_owned(), href(task)),
        ],
    }
}
