//! The forms of operators. Each carries a key, the version or the instant its person saw, and a reason.

use axum::extract::{Path, State};
use chrono::DateTime;
use orderly_engine::ids::{InstanceId, ParkedId};
use orderly_engine::operate::job::{self, Action, NewJob};
use orderly_engine::operate::resubmit::{self, Resubmitted};
use orderly_engine::operate::{self, Fate, PortName, Wish};
use orderly_engine::parked::Acted;
use orderly_engine::store;
use orderly_engine::view::suspended::{self, ParkedRow};
use orderly_engine::work::Command;
use serde::Deserialize;

use super::ports::stored_kind;
use crate::failure::Failure;
use crate::flash::Flash;
use crate::form::{self, Submission};
use crate::page::Answer;
use crate::state::AppState;
use crate::visit::Visit;

const REASON_MOST: usize = 500;
/// A group of more is a job, so that nobody waits for the page.
const AT_ONCE_MOST: usize = 200;

/// What every action asks.
#[derive(Debug, Deserialize)]
pub(crate) struct Reason {
    #[serde(default)]
    reason: String,
}

impl Reason {
    fn given(&self) -> Result<&str, Failure> {
        given(&self.reason)
    }
}

pub(crate) fn given(reason: &str) -> Result<&str, Failure> {
    let reason = reason.trim();
    match reason.chars().count() {
        0 => Err(Failure::BadForm("A reason is needed: the next person reads it".to_owned())),
        count if count > REASON_MOST => {
            Err(Failure::BadForm(format!("The reason is longer than {REASON_MOST} letters")))
        }
        _ => Ok(reason),
    }
}

/// A failure of the engine as a page.
pub(crate) fn failed(error: store::Error) -> Failure {
    match error {
        store::Error::Database(error) => Failure::Database(error),
        other => Failure::Engine(other.to_string()),
    }
}

pub(crate) fn changed(href: &str) -> Failure {
    Failure::refused(
        "It changed while you were looking",
        "Somebody else acted on it, or it went on by itself. Nothing was changed by you. Look again and decide anew.",
        "Look again",
        href,
    )
}

/// Resumes one piece of suspended work.
pub(crate) async fn resume_work(
    State(state): State<AppState>,
    visit: Visit,
    Path(id): Path<String>,
    sent: Submission<Reason>,
) -> Answer {
    one(&state, &visit, &id, Fate::Resume, &sent).await
}

/// Gives one piece of suspended work up.
pub(crate) async fn terminate_work(
    State(state): State<AppState>,
    visit: Visit,
    Path(id): Path<String>,
    sent: Submission<Reason>,
) -> Answer {
    one(&state, &visit, &id, Fate::Terminate, &sent).await
}

/// Stops the retries of one piece of work.
pub(crate) async fn suspend_work(
    State(state): State<AppState>,
    visit: Visit,
    Path(id): Path<String>,
    sent: Submission<Reason>,
) -> Answer {
    one(&state, &visit, &id, Fate::Suspend, &sent).await
}

async fn one(state: &AppState, visit: &Visit, id: &str, fate: Fate, sent: &Submission<Reason>) -> Answer {
    let parked: ParkedId = id.parse().map_err(|_| Failure::NotFound { what: "suspended work" })?;
    let reason = sent.fields.given()?;
    form::once(state, visit, &sent.key, async {
        let who = visit.entry(action(fate), ("parked", id), reason, "done");
        let current = state.running.load_full();
        let many = operate::work(&state.store, &current, fate, &[(parked, sent.version)], who)
            .await
            .map_err(failed)?;
        if many.refused > 0 {
            return Err(not_done(&many.why, &format!("/suspended/work/{id}")));
        }
        if many.done == 0 {
            return Err(changed(&format!("/suspended/work/{id}")));
        }
        let said = match fate {
            Fate::Resume => "Resumed. It goes on now.",
            Fate::Terminate => "Terminated. It will not be delivered; its message stays in tracking.",
            Fate::Suspend => "Suspended. It is not tried again until somebody resumes it.",
        };
        Ok(("/suspended".to_owned(), Some(Flash::done(said))))
    })
    .await
}

fn not_done(why: &str, href: &str) -> Failure {
    let text = format!("Nothing was changed: {why}.");
    Failure::refused("This cannot be done", &text, "Look again", href)
}

fn action(fate: Fate) -> &'static str {
    match fate {
        Fate::Resume => "work.resumed",
        Fate::Terminate => "work.terminated",
        Fate::Suspend => "work.suspended",
    }
}

/// Where to move work to.
#[derive(Debug, Deserialize)]
pub(crate) struct Elsewhere {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    to: String,
}

/// Gives one piece of suspended work to another send port.
pub(crate) async fn move_work(
    State(state): State<AppState>,
    visit: Visit,
    Path(id): Path<String>,
    sent: Submission<Elsewhere>,
) -> Answer {
    let parked: ParkedId = id.parse().map_err(|_| Failure::NotFound { what: "suspended work" })?;
    let reason = given(&sent.fields.reason)?;
    let to = &sent.fields.to;
    form::once(&state, &visit, &sent.key, async {
        let who = visit.entry("work.moved", ("parked", &id), reason, "done");
        let current = state.running.load_full();
        let moved = resubmit::move_to(&state.store, &current, (parked, sent.version), to, who)
            .await
            .map_err(failed)?;
        match moved {
            Resubmitted::Done(_) => {
                Ok(("/suspended".to_owned(), Some(Flash::done(format!("Moved to {to}. It goes on there.")))))
            }
            Resubmitted::Changed => Err(changed(&format!("/suspended/work/{id}"))),
            other => Err(not_done(&other.why(), &format!("/suspended/work/{id}"))),
        }
    })
    .await
}

/// The form of a whole group.
#[derive(Debug, Deserialize)]
pub(crate) struct Whole {
    #[serde(default)]
    reason: String,
    /// Work that was suspended later is not included; microseconds.
    #[serde(default)]
    up_to: i64,
    /// For terminating: the number of items, typed.
    #[serde(default)]
    typed: String,
    /// Items a second; empty: all at once.
    #[serde(default)]
    pace: String,
    /// So many that fail again stop it; empty: none do.
    #[serde(default)]
    stop_after: String,
    /// For moving: the send port.
    #[serde(default)]
    to: String,
}

impl Whole {
    fn number(text: &str, what: &str) -> Result<Option<i32>, Failure> {
        match text.trim() {
            "" => Ok(None),
            text => match text.parse() {
                Ok(number) if (1..=100_000).contains(&number) => Ok(Some(number)),
                _ => Err(Failure::BadForm(format!("{what} is not a whole number from 1 to 100000"))),
            },
        }
    }
}

/// Resumes all work of a group that its person saw.
pub(crate) async fn resume_group(
    State(state): State<AppState>,
    visit: Visit,
    Path(key): Path<String>,
    sent: Submission<Whole>,
) -> Answer {
    group(&state, &visit, &key, Fate::Resume, &sent).await
}

/// Gives all work of a group up that its person saw.
pub(crate) async fn terminate_group(
    State(state): State<AppState>,
    visit: Visit,
    Path(key): Path<String>,
    sent: Submission<Whole>,
) -> Answer {
    group(&state, &visit, &key, Fate::Terminate, &sent).await
}

/// Gives all work of a group that its person saw to another send port.
pub(crate) async fn move_group(
    State(state): State<AppState>,
    visit: Visit,
    Path(key): Path<String>,
    sent: Submission<Whole>,
) -> Answer {
    let to = sent.fields.to.clone();
    if !state.configuration.load().send_ports.contains_key(&to) {
        return Err(Failure::BadForm("It does not name a send port".to_owned()));
    }
    start_job(&state, &visit, &key, Action::Move(to), &sent).await
}

/// The work of a group that its person saw, with the words for it.
async fn chosen(
    state: &AppState,
    key: &str,
    sent: &Submission<Whole>,
) -> Result<(Vec<(ParkedId, i32)>, String), Failure> {
    let up_to = DateTime::from_timestamp_micros(sent.fields.up_to).unwrap_or_default();
    let mut rows = suspended::suspended(state.pool()).await?;
    rows.retain(|row| row.first_at <= up_to && row.group_key() == key);
    let place = |row: &ParkedRow| row.subscriber.clone().unwrap_or_else(|| "no subscriber".to_owned());
    let title = rows.first().map(|row| format!("{}: {}", place(row), suspended::cause_title(&row.code)));
    let wanted = rows.iter().map(|row| (ParkedId(row.id), row.version)).collect();
    Ok((wanted, title.unwrap_or_default()))
}

async fn group(state: &AppState, visit: &Visit, key: &str, fate: Fate, sent: &Submission<Whole>) -> Answer {
    let reason = given(&sent.fields.reason)?;
    let (wanted, _) = chosen(state, key, sent).await?;
    if fate == Fate::Terminate && sent.fields.typed.trim() != wanted.len().to_string() {
        return Err(Failure::BadForm(format!(
            "To terminate all of this group, type their number: {}",
            wanted.len()
        )));
    }
    let paced = !sent.fields.pace.trim().is_empty() || !sent.fields.stop_after.trim().is_empty();
    if paced || wanted.len() > AT_ONCE_MOST {
        let action = if fate == Fate::Terminate { Action::Terminate } else { Action::Resume };
        return start_job(state, visit, key, action, sent).await;
    }
    form::once(state, visit, &sent.key, async {
        let who = visit.entry(action(fate), ("group", key), reason, "done");
        let current = state.running.load_full();
        let many = operate::work(&state.store, &current, fate, &wanted, who).await.map_err(failed)?;
        let verb = if fate == Fate::Resume { "Resumed" } else { "Terminated" };
        let said = match (many.changed, many.refused) {
            (0, 0) => Flash::done(format!("{verb} {}.", many.done)),
            (left, 0) => Flash::warn(format!(
                "{verb} {}; {left} had changed meanwhile and were left alone.",
                many.done
            )),
            (_, refused) => {
                Flash::warn(format!("{verb} {}; {refused} were left alone: {}.", many.done, many.why))
            }
        };
        Ok(("/suspended".to_owned(), Some(said)))
    })
    .await
}

/// Freezes what was chosen and lets a job act on it.
async fn start_job(
    state: &AppState,
    visit: &Visit,
    key: &str,
    action: Action,
    sent: &Submission<Whole>,
) -> Answer {
    let reason = given(&sent.fields.reason)?;
    let pace = Whole::number(&sent.fields.pace, "The pace")?;
    let stop_after = Whole::number(&sent.fields.stop_after, "The number of failures")?;
    let (work, title) = chosen(state, key, sent).await?;
    form::once(state, visit, &sent.key, async {
        let who = visit.entry("job.started", ("group", key), reason, "done");
        let new = NewJob { action, title, work, pace, stop_after };
        let id = job::start(&state.store, new, who).await.map_err(failed)?;
        Ok((format!("/jobs/{id}"), Some(Flash::done("Started. What is suspended later is not included."))))
    })
    .await
}

/// How to resume an instance.
#[derive(Debug, Deserialize)]
pub(crate) struct How {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    how: String,
}

/// Lets a stopped instance retry its step or go on behind it.
pub(crate) async fn resume_instance(
    State(state): State<AppState>,
    visit: Visit,
    Path(id): Path<String>,
    sent: Submission<How>,
) -> Answer {
    let command = if sent.fields.how == "go-on" { Command::GoOn } else { Command::Retry };
    instance(&state, &visit, &id, command, (&sent.key, sent.version), given(&sent.fields.reason)?).await
}

/// Ends an instance.
pub(crate) async fn terminate_instance(
    State(state): State<AppState>,
    visit: Visit,
    Path(id): Path<String>,
    sent: Submission<Reason>,
) -> Answer {
    instance(&state, &visit, &id, Command::Terminate, (&sent.key, sent.version), sent.fields.given()?).await
}

async fn instance(
    state: &AppState,
    visit: &Visit,
    id: &str,
    command: Command,
    (key, version): (&str, i32),
    reason: &str,
) -> Answer {
    let instance: InstanceId = id.parse().map_err(|_| Failure::NotFound { what: "instance" })?;
    let href = format!("/instances/{id}");
    form::once(state, visit, key, async {
        let action = if command == Command::Terminate { "instance.terminated" } else { "instance.resumed" };
        let who = visit.entry(action, ("instance", id), reason, "done");
        let acted = operate::instance(&state.store, instance, version, command, who).await.map_err(failed)?;
        if acted == Acted::Changed {
            return Err(changed(&href));
        }
        let said = match command {
            Command::Retry => "The stopped step is tried again.",
            Command::GoOn => "The instance goes on behind the stopped step.",
            Command::Terminate => "The instance is told to end.",
        };
        Ok((href.clone(), Some(Flash::done(said))))
    })
    .await
}

/// The form of a port.
#[derive(Debug, Deserialize)]
pub(crate) struct Switch {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    to: String,
}

/// Starts, holds or drains a port; starts or holds an orchestration.
pub(crate) async fn switch_port(
    State(state): State<AppState>,
    visit: Visit,
    Path((kind, name)): Path<(String, String)>,
    sent: Submission<Switch>,
) -> Answer {
    let configuration = state.configuration.load_full();
    let known = match kind.as_str() {
        "receive" => name
            .split_once('/')
            .is_some_and(|(port, place)| configuration.receive_location(port, place).is_some()),
        "send" => configuration.send_ports.contains_key(&name),
        "orchestration" => configuration.orchestrations.contains_key(&name),
        _ => false,
    };
    if !known {
        return Err(Failure::NotFound { what: "port" });
    }
    if kind == "send" && sent.fields.to == "first_way" {
        return return_port(&state, &visit, &name, &sent).await;
    }
    let wish = match sent.fields.to.as_str() {
        "running" => Wish::Run,
        "on_hold" => Wish::Hold,
        "draining" if kind == "send" => Wish::Drain,
        _ => return Err(Failure::BadForm("It does not say whether to start or to hold".to_owned())),
    };
    let reason = given(&sent.fields.reason)?;
    let href = format!("/ports/{kind}/{name}");
    form::once(&state, &visit, &sent.key, async {
        let who = visit.entry(wish.action(), ("port", &name), reason, "done");
        let port = PortName { kind: stored_kind(&kind), name: &name };
        let acted = operate::port(&state.store, port, wish, sent.version, configuration.version, who)
            .await
            .map_err(failed)?;
        if acted == Acted::Changed {
            return Err(changed(&href));
        }
        let said = match (wish, kind.as_str()) {
            (Wish::Run, _) => format!("{name} is started."),
            (Wish::Hold, "receive") => format!("{name} is on hold: it takes nothing until it is started."),
            (Wish::Hold, _) => format!("{name} is on hold: what is for it waits, in order."),
            (Wish::Drain, _) => format!("{name} sends what waits now, and is on hold then."),
        };
        Ok((href.clone(), Some(Flash::done(said))))
    })
    .await
}

/// Ends the use of a backup that returns by hand.
async fn return_port(state: &AppState, visit: &Visit, name: &str, sent: &Submission<Switch>) -> Answer {
    let reason = given(&sent.fields.reason)?;
    let href = format!("/ports/send/{name}");
    form::once(state, visit, &sent.key, async {
        let who = visit.entry("port.returned", ("port", name), reason, "done");
        let version = state.configuration.load().version;
        let acted =
            operate::backup::return_to_first_way(&state.store, name, version, who).await.map_err(failed)?;
        if acted == Acted::Changed {
            return Err(changed(&href));
        }
        Ok((href.clone(), Some(Flash::done(format!("{name} sends to its first receiver again.")))))
    })
    .await
}
