//! The page on which somebody decides: who it is about, why one is asked, the few facts that matter, the message
//! for people, and the form.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse};
use indexmap::IndexMap;
use orderly_engine::capability::Capability;
use orderly_engine::ids::{InstanceId, MessageId, TaskId};
use orderly_engine::task::{self, FieldKind, TaskState, input_fields};
use orderly_engine::view::work::{self, TaskView};
use orderly_hl7::Message;
use serde::Deserialize;

use super::facts::{self, Observation, Patient};
use super::{href, status, words};
use crate::failure::Failure;
use crate::form;
use crate::page::{self, Answer};
use crate::shell::{Shell, Width};
use crate::site_time::{Moment, duration};
use crate::state::AppState;
use crate::tracking::content::{RawLine, ReadableSegment, TreeSegment, readable};
use crate::visit::Visit;
use crate::word::Tag;

/// What a person typed so far; kept when something is missing, and when the check page sends back.
#[derive(Debug, Clone, Default)]
pub(super) struct Typed {
    pub(super) outcome: String,
    pub(super) reason: String,
    pub(super) inputs: IndexMap<String, String>,
    /// Field and how to mend it.
    pub(super) wrong: Vec<(String, String)>,
}

#[derive(Deserialize)]
pub(crate) struct Ask {
    /// Which of the attached messages to open.
    open: Option<usize>,
}

struct Choice {
    outcome: String,
    label: String,
    then: String,
    chosen: bool,
}

struct Input {
    name: String,
    title: String,
    required: bool,
    kind: &'static str,
    mode: &'static str,
    value: String,
    wrong: Option<String>,
}

struct Attached {
    label: String,
    href: String,
    open: bool,
}

/// An attached message, opened; read by `tracking/content.html`.
struct Opened {
    title: String,
    readable: Vec<ReadableSegment>,
    tree: Vec<TreeSegment>,
    raw: Vec<RawLine>,
}

struct Event {
    at: Moment,
    text: String,
    detail: String,
    tone: &'static str,
}

#[derive(Template)]
#[template(path = "work/task.html")]
struct TaskPage {
    shell: Shell,
    heading: String,
    tag: Tag,
    due: Option<Moment>,
    left: String,
    late: bool,
    patient: Option<Patient>,
    facts: Vec<(String, String)>,
    observations: Vec<Observation>,
    asked_by: String,
    offered_to: String,
    links: Vec<(String, String)>,
    attached: Vec<Attached>,
    opened: Option<Opened>,
    history: Vec<Event>,
    /// Why there is no form, in a sentence.
    closed: Option<String>,
    action: String,
    form_key: String,
    id: String,
    version: i32,
    choices: Vec<Choice>,
    reason: String,
    reason_hint: String,
    inputs: Vec<Input>,
    quorum_note: String,
    sign: bool,
    wrong: Vec<(String, String)>,
    outcome_wrong: Option<String>,
    reason_wrong: Option<String>,
}

/// The task, if this person may see it.
pub(super) async fn load(state: &AppState, visit: &Visit, id: &str) -> Result<TaskView, Failure> {
    let unknown = || Failure::NotFound { what: "task" };
    let id: TaskId = id.parse().map_err(|_| unknown())?;
    let task = work::task(state.pool(), id).await?.ok_or_else(unknown)?;
    let person = &visit.person.record;
    let voted = task.votes.iter().any(|vote| vote.person == person.id);
    if voted || visit.may(Capability::TaskLead) || task::is_candidate(person, &task.roles, &task.users) {
        return Ok(task);
    }
    visit.refused(state, "task.refused", ("task", &id.to_string()), "not a candidate").await?;
    Err(not_yours(&task, visit))
}

fn not_yours(task: &TaskView, visit: &Visit) -> Failure {
    let mut who = visit.guest.site.roles.titles(&task.roles);
    if who.is_empty() {
        who.push("people named in the task".to_owned());
    }
    Failure::Forbidden {
        title: "This task is for others".to_owned(),
        text: format!(
            "It was offered to: {}. Nothing of it is shown to you, and nothing was changed.",
            who.join(", ")
        ),
        next: vec![("Go to your tasks".to_owned(), "/tasks".to_owned())],
    }
}

/// The decision page.
pub(crate) async fn show(
    State(state): State<AppState>,
    visit: Visit,
    Path(id): Path<String>,
    Query(ask): Query<Ask>,
) -> Answer {
    let task = load(&state, &visit, &id).await?;
    let typed = Typed::default();
    let shown = build(&state, &visit, &task, ask.open, typed).await?;
    page::show(&shown)
}

/// The decision page once more, with what was typed and what is wrong with it.
pub(super) async fn again(state: &AppState, visit: &Visit, task: &TaskView, typed: Typed) -> Answer {
    let status = if typed.wrong.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let shown = build(state, visit, task, None, typed).await?;
    Ok((status, Html(shown.render()?)).into_response())
}

async fn build(
    state: &AppState,
    visit: &Visit,
    task: &TaskView,
    open: Option<usize>,
    typed: Typed,
) -> Result<TaskPage, Failure> {
    // Who looked is written before anything is read.
    let id = task.id.to_string();
    visit.record(state, "task.viewed", ("task", &id), "").await?;
    let about = task.message_id.or_else(|| task.snapshot.messages.first().map(|message| message.id));
    let message = match about {
        Some(about) => read(state, visit, about, "message.summary", &id).await?,
        None => None,
    };
    let opened = open_message(state, visit, task, open).await?;
    let shell = Shell::new(visit, words(&task.kind)).crumb("My tasks", "/tasks").width(Width::Form);
    let (now, zone) = (shell.now, shell.zone);
    let late = task.state.is_open() && task.due_at.is_some_and(|due| due < now);
    let left = task.due_at.filter(|_| task.state.is_open()).map_or_else(String::new, |due| {
        if due < now {
            format!("{} late", duration(now - due))
        } else {
            format!("in {}", duration(due - now))
        }
    });
    let asked_by = visit.guest.site.orchestration(&task.orchestration);
    let named = work::titles(state.pool(), &task.users).await?;
    let closed = no_form(visit, task, &shell);
    let wrong_of =
        |name: &str| typed.wrong.iter().find(|(field, _)| field == name).map(|(_, mend)| mend.clone());
    Ok(TaskPage {
        heading: task.title.clone(),
        tag: status(task.state, task.outcome.as_deref()),
        due: task.due_at.map(|due| shell.time(due)),
        left,
        late,
        patient: message.as_ref().and_then(|message| facts::patient(message, now, zone)),
        facts: facts::rows(&visit.guest.site.roles, task, message.as_ref(), zone),
        observations: message.as_ref().map(facts::observations).unwrap_or_default(),
        asked_by: asked_by.clone(),
        offered_to: offered_to(visit, task, &named),
        links: links(visit, task),
        attached: attached(task, open),
        opened,
        history: history(task, &shell, late, &asked_by),
        closed,
        action: format!("{}/check", href(task)),
        form_key: form::new_key(),
        id,
        version: task.version,
        choices: choices(task, &typed.outcome),
        reason: typed.reason.clone(),
        reason_hint: reason_hint(task),
        inputs: inputs(task, &typed),
        quorum_note: quorum_note(task),
        sign: task.sign,
        outcome_wrong: wrong_of("outcome"),
        reason_wrong: wrong_of("reason"),
        wrong: summary(task, typed.wrong),
        shell,
    })
}

/// What is wrong, for the top of the page: extra inputs by their titles.
fn summary(task: &TaskView, wrong: Vec<(String, String)>) -> Vec<(String, String)> {
    let titles: IndexMap<String, String> =
        input_fields(&task.fields).into_iter().map(|field| (field.name, field.title)).collect();
    wrong
        .into_iter()
        .map(|(name, mend)| match titles.get(&name) {
            Some(title) => (name, format!("{}: {}", words(title), mend.to_lowercase())),
            None => (name, mend),
        })
        .collect()
}

/// A message of the task, recorded before it is read. None when its content is gone or cannot be read.
async fn read(
    state: &AppState,
    visit: &Visit,
    message: i64,
    action: &str,
    task: &str,
) -> Result<Option<Message>, Failure> {
    visit
        .record(state, action, ("message", &MessageId(message).to_string()), &format!("task {task}"))
        .await?;
    let body = work::body(state.pool(), message).await?;
    Ok(body.and_then(|bytes| Message::parse(bytes).ok()))
}

async fn open_message(
    state: &AppState,
    visit: &Visit,
    task: &TaskView,
    open: Option<usize>,
) -> Result<Option<Opened>, Failure> {
    let Some(shown) = open.and_then(|number| task.snapshot.messages.get(number)) else { return Ok(None) };
    let message = read(state, visit, shown.id, "message.viewed", &task.id.to_string()).await?;
    let title = words(&shown.label);
    Ok(Some(Opened {
        title,
        readable: message.as_ref().map(readable).unwrap_or_default(),
        tree: Vec::new(),
        raw: Vec::new(),
    }))
}

fn attached(task: &TaskView, open: Option<usize>) -> Vec<Attached> {
    task.snapshot
        .messages
        .iter()
        .enumerate()
        .map(|(number, message)| Attached {
            label: words(&message.label),
            href: if open == Some(number) {
                href(task)
            } else {
                format!("{}?open={number}#message", href(task))
            },
            open: open == Some(number),
        })
        .collect()
}

fn offered_to(visit: &Visit, task: &TaskView, named: &[(String, String)]) -> String {
    let mut who = visit.guest.site.roles.titles(&task.roles);
    for user in &task.users {
        let title = named.iter().find(|(name, _)| name == user).map(|(_, title)| title.clone());
        who.push(title.unwrap_or_else(|| format!("{user} (means nobody here)")));
    }
    who.join(", ")
}

fn links(visit: &Visit, task: &TaskView) -> Vec<(String, String)> {
    let mut links = Vec::new();
    if visit.may(Capability::MsgFind) {
        if let Some(message) = task.message_id {
            links.push(("Journey of the message".to_owned(), format!("/messages/{}", MessageId(message))));
        }
        links.push(("Course so far".to_owned(), format!("/instances/{}", InstanceId(task.instance))));
    }
    links
}

/// Why this person has no form here; none when there is one.
pub(super) fn no_form(visit: &Visit, task: &TaskView, shell: &Shell) -> Option<String> {
    let when =
        |at: Option<chrono::DateTime<chrono::Utc>>| at.map_or_else(String::new, |at| shell.time(at).text());
    match task.state {
        TaskState::Done => {
            let who: Vec<&str> = task
                .votes
                .iter()
                .filter(|vote| Some(&vote.outcome) == task.outcome.as_ref())
                .map(|vote| vote.title.as_str())
                .collect();
            let outcome = words(task.outcome.as_deref().unwrap_or_default());
            return Some(format!("{} decided “{outcome}” on {}.", who.join(" and "), when(task.closed_at)));
        }
        TaskState::Expired => {
            return Some(format!(
                "Nobody decided in time. The task expired on {}, and the orchestration went on as it is written for that case.",
                when(task.closed_at.or(task.expires_at))
            ));
        }
        TaskState::Withdrawn => {
            return Some(
                "This decision is no longer needed: the orchestration ended or went another way.".to_owned(),
            );
        }
        TaskState::Open | TaskState::SecondPerson => {}
    }
    let person = &visit.person.record;
    if let Some(vote) = task.votes.iter().find(|vote| vote.person == person.id) {
        return Some(format!(
            "You chose “{}” on {}. {} people must agree, and nobody counts twice: somebody else decides now.",
            words(&vote.outcome),
            shell.time(vote.at).text(),
            task.quorum
        ));
    }
    if let Some(named) = task::excluded(person, &task.excluded) {
        let why =
            if named == person.id { String::new() } else { format!(" ({named} in the message means you)") };
        return Some(format!(
            "You may not decide this one: the task excludes you{why}, for example because you ordered it. Somebody else decides."
        ));
    }
    if !task::is_candidate(person, &task.roles, &task.users) {
        return Some("You see this task because you lead. It is for others to decide.".to_owned());
    }
    if task.sign && !visit.may(Capability::TaskSign) {
        return Some("This decision must be signed, and none of your roles may sign.".to_owned());
    }
    None
}

fn choices(task: &TaskView, chosen: &str) -> Vec<Choice> {
    task.outcomes
        .iter()
        .enumerate()
        .map(|(number, outcome)| {
            let mut then = Vec::new();
            if task.quorum > 1 && number == 0 {
                let left = i64::from(task.quorum) - task.votes.len() as i64;
                then.push(if left > 1 {
                    format!("needs {left} people; counts when the last of them has agreed")
                } else {
                    "you are the last who must agree".to_owned()
                });
            } else if task.quorum > 1 {
                then.push("ends the vote at once".to_owned());
            }
            if task.reason_for.contains(outcome) {
                then.push("needs a reason".to_owned());
            }
            let text = then.join("; ");
            Choice {
                outcome: outcome.clone(),
                label: words(outcome),
                then: words(&text),
                chosen: outcome == chosen,
            }
        })
        .collect()
}

fn reason_hint(task: &TaskView) -> String {
    if task.reason_for.is_empty() {
        return "Not required. It is kept with your decision and shown to those who look at the task."
            .to_owned();
    }
    let outcomes: Vec<String> =
        task.reason_for.iter().map(|outcome| format!("“{}”", words(outcome))).collect();
    format!("Required for {}. It is kept with your decision.", outcomes.join(", "))
}

fn quorum_note(task: &TaskView) -> String {
    let Some(first) = task.votes.first() else {
        return match task.quorum {
            ..=1 => String::new(),
            quorum => format!("{quorum} different people must agree. Nobody counts twice."),
        };
    };
    format!("{} has agreed already. {} different people must agree.", first.title, task.quorum)
}

fn inputs(task: &TaskView, typed: &Typed) -> Vec<Input> {
    input_fields(&task.fields)
        .into_iter()
        .map(|field| {
            let (kind, mode) = match field.kind {
                FieldKind::Text => ("text", "text"),
                FieldKind::Int => ("text", "numeric"),
                FieldKind::Decimal => ("text", "decimal"),
                FieldKind::Bool => ("checkbox", "none"),
                FieldKind::Date => ("date", "none"),
            };
            Input {
                value: typed.inputs.get(&field.name).cloned().unwrap_or_default(),
                wrong: typed.wrong.iter().find(|(name, _)| *name == field.name).map(|(_, mend)| mend.clone()),
                title: words(&field.title),
                name: field.name,
                required: field.required,
                kind,
                mode,
            }
        })
        .collect()
}

fn history(task: &TaskView, shell: &Shell, late: bool, asked_by: &str) -> Vec<Event> {
    let event = |at, text: String, detail: String, tone| Event { at: shell.time(at), text, detail, tone };
    let mut events = vec![event(task.created_at, "Task made".into(), format!("by “{asked_by}”"), "info")];
    for vote in &task.votes {
        let signed = if vote.signed { ", signed" } else { "" };
        let text = format!("{} chose “{}”{signed}", vote.title, words(&vote.outcome));
        events.push(event(vote.at, text, vote.reason.clone(), "good"));
    }
    if late && let Some(due) = task.due_at {
        events.push(event(due, "Due".into(), "Not decided in time".into(), "bad"));
    }
    match (task.state, task.closed_at) {
        (TaskState::Done, Some(at)) => {
            let outcome = words(task.outcome.as_deref().unwrap_or_default());
            events.push(event(
                at,
                format!("Decided: {outcome}"),
                "The orchestration goes on.".into(),
                "good",
            ));
        }
        (TaskState::Expired, Some(at)) => events.push(event(at, "Expired".into(), String::new(), "warn")),
        (TaskState::Withdrawn, Some(at)) => {
            events.push(event(at, "No longer needed".into(), String::new(), "quiet"))
        }
        _ => {}
    }
    events
}
