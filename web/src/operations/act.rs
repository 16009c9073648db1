//! The forms of operators. Each carries a key, the version or the instant its person saw, and a reason.

use axum::extract::{Path, State};
use chrono::DateTime;
use orderly_engine::ids::{InstanceId, ParkedId};
use orderly_engine::operate::{self, Fate, PortName};
use orderly_engine::parked::Acted;
use orderly_engine::store;
use orderly_engine::view::suspended;
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

fn changed(href: &str) -> Failure {
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

async fn one(state: &AppState, visit: &Visit, id: &str, fate: Fate, sent: &Submission<Reason>) -> Answer {
    let parked: ParkedId = id.parse().map_err(|_| Failure::NotFound { what: "suspended work" })?;
    let reason = sent.fields.given()?;
    form::once(state, visit, &sent.key, async {
        let who = visit.entry(action(fate), ("parked", id), reason, "done");
        let many = operate::work(&state.store, fate, &[(parked, sent.version)], who).await.map_err(failed)?;
        if many.done == 0 {
            return Err(changed(&format!("/suspended/work/{id}")));
        }
        let said = match fate {
            Fate::Resume => "Resumed. It goes on now.",
            Fate::Terminate => "Terminated. It will not be delivered; its message stays in tracking.",
        };
        Ok(("/suspended".to_owned(), Some(Flash::done(said))))
    })
    .await
}

fn action(fate: Fate) -> &'static str {
    match fate {
        Fate::Resume => "work.resumed",
        Fate::Terminate => "work.terminated",
    }
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

async fn group(state: &AppState, visit: &Visit, key: &str, fate: Fate, sent: &Submission<Whole>) -> Answer {
    let reason = given(&sent.fields.reason)?;
    let up_to = DateTime::from_timestamp_micros(sent.fields.up_to).unwrap_or_default();
    let rows = suspended::suspended(state.pool()).await?;
    let wanted: Vec<(ParkedId, i32)> = rows
        .iter()
        .filter(|row| row.first_at <= up_to && row.group_key() == key)
        .map(|row| (ParkedId(row.id), row.version))
        .collect();
    if fate == Fate::Terminate && sent.fields.typed.trim() != wanted.len().to_string() {
        return Err(Failure::BadForm(format!(
            "To terminate all of this group, type their number: {}",
            wanted.len()
        )));
    }
    form::once(state, visit, &sent.key, async {
        let who = visit.entry(action(fate), ("group", key), reason, "done");
        let many = operate::work(&state.store, fate, &wanted, who).await.map_err(failed)?;
        let verb = if fate == Fate::Resume { "Resumed" } else { "Terminated" };
        let said = match many.changed {
            0 => Flash::done(format!("{verb} {}.", many.done)),
            left => Flash::warn(format!(
                "{verb} {}; {left} had changed meanwhile and were left alone.",
                many.done
            )),
        };
        Ok(("/suspended".to_owned(), Some(said)))
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

/// Starts or holds a port.
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
        _ => false,
    };
    if !known {
        return Err(Failure::NotFound { what: "port" });
    }
    let running = match sent.fields.to.as_str() {
        "running" => true,
        "on_hold" => false,
        _ => return Err(Failure::BadForm("It does not say whether to start or to hold".to_owned())),
    };
    let reason = given(&sent.fields.reason)?;
    let href = format!("/ports/{kind}/{name}");
    form::once(&state, &visit, &sent.key, async {
        let action = if running { "port.started" } else { "port.held" };
        let who = visit.entry(action, ("port", &name), reason, "done");
        let port = PortName { kind: stored_kind(&kind), name: &name };
        let acted = operate::port(&state.store, port, running, sent.version, configuration.version, who)
            .await
            .map_err(failed)?;
        if acted == Acted::Changed {
            return Err(changed(&href));
        }
        let said = match (running, kind.as_str()) {
            (true, _) => format!("{name} is started."),
            (false, "receive") => format!("{name} is on hold: it takes nothing until it is started."),
            (false, _) => format!("{name} is on hold: what is for it waits, in order."),
        };
        Ok((href.clone(), Some(Flash::done(said))))
    })
    .await
}
