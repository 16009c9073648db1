//! Trying a policy on a message: a pasted sample, or a tracked message of those who may read it. Nothing is sent,
//! nothing is stored; the page tells what fired, what nearly did, and the values that decided.

use std::collections::HashMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use orderly_engine::configuration::Configuration;
use orderly_engine::ids::MessageId;
use orderly_engine::view::{rules, tracking};
use orderly_hl7::Message;
use orderly_rules::{Facts, MessageValue, PolicyInfo, RuleBook, Run, TraceLevel, Type, Value};

use super::{RuleSet, Sort, check};
use crate::failure::Failure;
use crate::form::{self, Submission};
use crate::page::{self, Answer};
use crate::shell::{Shell, Width};
use crate::state::AppState;
use crate::tracking::trace::{self, TraceView};
use crate::visit::Visit;

/// A fact that is typed by hand.
struct Input {
    name: String,
    of: String,
    value: String,
    /// It is a message: a text area, and a field for the id of a tracked one.
    message: bool,
    tracked: String,
}

#[derive(Template)]
#[template(path = "rules/trial.html")]
struct TrialPage {
    shell: Shell,
    href: String,
    name: String,
    has_draft: bool,
    draft: bool,
    reads: bool,
    inputs: Vec<Input>,
    samples: Vec<String>,
    problem: String,
    trace: Option<TraceView>,
    form_key: String,
}

/// The empty form.
pub(crate) async fn show(
    State(state): State<AppState>,
    visit: Visit,
    Path((sort, name)): Path<(String, String)>,
) -> Answer {
    let set = RuleSet::of(&sort, &name)?;
    let configuration = state.configuration.load_full();
    let info = info(&set, &configuration.rules)?;
    respond(&state, &visit, &set, &info, &HashMap::new(), Outcome::default()).await
}

fn info(set: &RuleSet, book: &RuleBook) -> Result<PolicyInfo, Failure> {
    match set.sort {
        Sort::Policy | Sort::Table => set.info(book).ok_or(Failure::NotFound { what: "policy or table" }),
        _ => Err(Failure::NotFound { what: "policy or table" }),
    }
}

#[derive(Default)]
struct Outcome {
    trace: Option<TraceView>,
    problem: String,
}

async fn respond(
    state: &AppState,
    visit: &Visit,
    set: &RuleSet,
    info: &PolicyInfo,
    given: &HashMap<String, String>,
    outcome: Outcome,
) -> Answer {
    let configuration = state.configuration.load_full();
    let field = |name: String| given.get(&name).cloned().unwrap_or_default();
    let inputs = info.facts.iter().map(|(name, of)| Input {
        message: matches!(of.inner(), Type::Message(_)),
        value: field(format!("fact_{name}")),
        tracked: field(format!("tracked_{name}")),
        of: of.to_string(),
        name: name.clone(),
    });
    let shell = Shell::new(visit, format!("Try {}", set.name))
        .crumb("Rule sets", "/rules")
        .crumb(set.name.clone(), set.href())
        .width(Width::List);
    page::show(&TrialPage {
        href: set.href(),
        name: set.name.clone(),
        has_draft: rules::draft(state.pool(), &set.path()).await?.is_some(),
        draft: given.get("of").is_some_and(|of| of == "draft"),
        reads: crate::tracking::reads(visit),
        inputs: inputs.collect(),
        samples: super::samples(&configuration).into_keys().collect(),
        problem: outcome.problem,
        trace: outcome.trace,
        form_key: form::new_key(),
        shell,
    })
}

/// Runs it. The fields are posted, because a message may hold patient data; they are not kept.
pub(crate) async fn run(
    State(state): State<AppState>,
    visit: Visit,
    Path((sort, name)): Path<(String, String)>,
    sent: Submission<HashMap<String, String>>,
) -> Answer {
    let set = RuleSet::of(&sort, &name)?;
    let configuration = state.configuration.load_full();
    let given = sent.fields;
    let book = match book(&state, &set, &configuration, given.get("of").map(String::as_str)).await? {
        Ok(book) => book,
        Err(problem) => {
            let info = info(&set, &configuration.rules)?;
            return respond(&state, &visit, &set, &info, &given, Outcome { problem, trace: None }).await;
        }
    };
    let info = info(&set, &book)?;
    let outcome = match facts(&state, &visit, &info, &given, &configuration).await? {
        Ok(facts) => evaluate(book, set.name.clone(), facts, &visit).await?,
        Err(problem) => Outcome { problem, trace: None },
    };
    respond(&state, &visit, &set, &info, &given, outcome).await
}

/// The live rules, or those with the draft in place; a sentence when the draft has errors.
async fn book(
    state: &AppState,
    set: &RuleSet,
    configuration: &Arc<Configuration>,
    of: Option<&str>,
) -> Result<Result<Arc<RuleBook>, String>, Failure> {
    let draft = match of {
        Some("draft") => rules::draft(state.pool(), &set.path()).await?,
        _ => None,
    };
    let Some(draft) = draft else { return Ok(Ok(Arc::clone(&configuration.rules))) };
    let text = String::from_utf8_lossy(&draft.content).into_owned();
    let checked = check(Arc::clone(configuration), vec![(set.path(), text)], Some(set.name.clone())).await?;
    Ok(checked.book.ok_or_else(|| "The draft has errors; mend them in the editor first.".to_owned()))
}

async fn facts(
    state: &AppState,
    visit: &Visit,
    info: &PolicyInfo,
    given: &HashMap<String, String>,
    configuration: &Configuration,
) -> Result<Result<Facts, String>, Failure> {
    let mut facts: Vec<(String, Value)> = Vec::new();
    for (name, of) in &info.facts {
        let typed = given.get(&format!("fact_{name}")).map(String::as_str).unwrap_or_default();
        let value = match of.inner() {
            Type::Message(_) => {
                let tracked = given.get(&format!("tracked_{name}")).map(|id| id.trim()).unwrap_or_default();
                let sample = given.get(&format!("sample_{name}")).map(String::as_str).unwrap_or_default();
                match message(state, visit, typed, tracked, sample, configuration).await? {
                    Ok(message) => message,
                    Err(problem) => return Ok(Err(format!("{name}: {problem}"))),
                }
            }
            _ if typed.trim().is_empty() => Value::None,
            inner => match Value::parse(typed.trim(), inner) {
                Ok(value) => value,
                Err(problem) => return Ok(Err(format!("{name}: {problem}"))),
            },
        };
        facts.push((name.clone(), value));
    }
    Ok(Ok(Facts::named(facts)))
}

async fn message(
    state: &AppState,
    visit: &Visit,
    typed: &str,
    tracked: &str,
    sample: &str,
    configuration: &Configuration,
) -> Result<Result<Value, String>, Failure> {
    if !tracked.is_empty() {
        if !crate::tracking::reads(visit) {
            return Ok(
                Err("trying a tracked message needs the right to read messages (msg.read)".to_owned()),
            );
        }
        let Ok(id) = tracked.rsplit('/').next().unwrap_or_default().parse::<MessageId>() else {
            return Ok(
                Err("that is no id of a message: 13 letters and digits, as in its address".to_owned()),
            );
        };
        visit.record(state, "message.tried", ("message", &id.to_string()), "rules").await?;
        let Some(bytes) = tracking::body(state.pool(), id.0).await? else {
            return Ok(Err("there is no message with this id".to_owned()));
        };
        return Ok(read(bytes, Some(id.0)));
    }
    let text = match super::samples(configuration).get(sample) {
        Some(bytes) if typed.trim().is_empty() => bytes.to_vec(),
        _ => typed.replace("\r\n", "\r").replace('\n', "\r").into_bytes(),
    };
    Ok(read(text, None))
}

fn read(bytes: Vec<u8>, id: Option<i64>) -> Result<Value, String> {
    let message = Message::parse(bytes).map_err(|error| format!("the message cannot be read: {error}"))?;
    Ok(Value::Message(match id {
        Some(id) => MessageValue::stored(id, message),
        None => MessageValue::new(message),
    }))
}

async fn evaluate(
    book: Arc<RuleBook>,
    policy: String,
    facts: Facts,
    visit: &Visit,
) -> Result<Outcome, Failure> {
    let now = visit.guest.now.with_timezone(&visit.guest.site.timezone).fixed_offset();
    let work = move || book.evaluate(&policy, facts, &Run { now, trace: TraceLevel::All });
    let decided =
        tokio::task::spawn_blocking(work).await.map_err(|_| Failure::Bug("a run of rules did not end"))?;
    let (trace, problem) = match decided {
        Ok(decision) => (decision.trace, String::new()),
        Err(error) => {
            let place = if error.line > 0 {
                format!(" (line {}, column {})", error.line, error.column)
            } else {
                String::new()
            };
            let problem = format!("{}: {}{place}", error.code, error.text);
            (*error.trace, problem)
        }
    };
    let json = serde_json::to_value(&trace).map_err(|_| Failure::Bug("a trace that is no JSON"))?;
    // What was typed here is the person's own; a tracked message was read only with the right to read it.
    Ok(Outcome { trace: Some(trace::of(&json, true)), problem })
}
