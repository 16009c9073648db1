//! Subscriptions: who receives what, and "who would receive this message?" with the reason for each yes and no.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Query, State};
use orderly_engine::capability::Capability;
use orderly_engine::configuration::Configuration;
use orderly_engine::ids::{InstanceId, MessageId};
use orderly_engine::routing::{self, Means, Routing, Subscription};
use orderly_engine::view::tracking;
use orderly_hl7::{Message, Severity};
use serde::Deserialize;

use crate::failure::Failure;
use crate::form::{self, Submission};
use crate::page::{self, Answer};
use crate::route::Needs;
use crate::rules::samples;
use crate::shell::Shell;
use crate::state::AppState;
use crate::tracking::findings::{self, FindingLine};
use crate::visit::Visit;

/// One subscription in words.
struct Line {
    title: String,
    name: String,
    href: String,
    means: String,
    conditions: Vec<String>,
}

/// A subscription held against the message.
struct Verdict {
    title: String,
    name: String,
    means: String,
    /// Instances that wait for it.
    waiting: Vec<String>,
    /// It only goes on where an instance waits, and none does.
    idle: bool,
    tried: Vec<Tried>,
}

struct Tried {
    text: String,
    holds: bool,
    found: String,
}

/// What would become of the message.
struct Found {
    what: String,
    party: String,
    /// The door would not let it in.
    refused: bool,
    findings: Vec<FindingLine>,
    takes: Vec<Verdict>,
    near: Vec<Verdict>,
    others: usize,
}

#[derive(Template)]
#[template(path = "operations/subscriptions.html")]
struct SubscriptionsPage {
    shell: Shell,
    lines: Vec<Line>,
    /// Send ports that get what orchestrations send them, whatever their filter: title and senders.
    direct: Vec<(String, String)>,
    locations: Vec<String>,
    samples: Vec<String>,
    asked: Asked,
    problem: String,
    found: Option<Found>,
    form_key: String,
}

/// The form: where the message would come in, and the message.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    location: String,
    #[serde(default)]
    sample: String,
    #[serde(default)]
    text: String,
}

/// A stored message to ask about.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Stored {
    #[serde(default)]
    message: String,
}

/// All subscriptions, and the form; with `?message=` the answer for a stored message.
pub(crate) async fn show(
    State(state): State<AppState>,
    visit: Visit,
    Query(stored): Query<Stored>,
) -> Answer {
    if stored.message.is_empty() {
        return page::show(&build(&state, &visit, Asked::default(), Ok(None)));
    }
    if !visit.may(Capability::MsgRead) {
        return Err(Failure::NotAllowed { needs: Needs::One(Capability::MsgRead) });
    }
    let not_found = || Failure::NotFound { what: "message" };
    let id: MessageId = stored.message.parse().map_err(|_| not_found())?;
    visit.record(&state, "message.viewed", ("message", &stored.message), "subscriptions").await?;
    let head = tracking::head(state.pool(), id.0).await?.ok_or_else(not_found)?;
    let body = tracking::body(state.pool(), id.0).await?.ok_or_else(not_found)?;
    let asked = Asked { location: head.source, ..Asked::default() };
    let found = judge(&state, body, &asked.location).await?;
    page::show(&build(&state, &visit, asked, found.map(Some)))
}

/// Who would receive the message. It is posted, because it may hold patient data; nothing of it is kept.
pub(crate) async fn ask(State(state): State<AppState>, visit: Visit, sent: Submission<Asked>) -> Answer {
    let asked = sent.fields;
    let bytes = if asked.text.trim().is_empty() {
        samples(&state.configuration.load()).get(&asked.sample).map(|bytes| bytes.to_vec())
    } else {
        Some(asked.text.trim_start().replace("\r\n", "\r").replace('\n', "\r").into_bytes())
    };
    let found = match bytes {
        Some(bytes) => judge(&state, bytes, &asked.location).await?,
        None => Err("Choose a sample or paste a message.".to_owned()),
    };
    page::show(&build(&state, &visit, asked, found.map(Some)))
}

/// A message held against all subscriptions, and the instances that wait for it.
struct Answered {
    message: Message,
    routing: Routing,
    waiting: HashMap<String, Vec<InstanceId>>,
}

type Judged = Result<Option<Answered>, String>;

async fn judge(
    state: &AppState,
    bytes: Vec<u8>,
    location: &str,
) -> Result<Result<Answered, String>, Failure> {
    let message = match Message::parse(bytes) {
        Ok(message) => message,
        Err(error) => return Ok(Err(format!("The message cannot be read: {error}."))),
    };
    let current = state.running.load_full();
    let configuration = state.configuration.load_full();
    let found = configuration
        .receive_locations()
        .find(|(port, known)| format!("{}/{}", port.name, known.name) == location)
        .or_else(|| configuration.receive_locations().next());
    let Some((port, location)) = found else {
        return Ok(Err("The site has no receive location.".to_owned()));
    };
    let routing = routing::route(&configuration, port, location, &message);
    let waiting = routing::waiting(state.pool(), &current, &routing).await?;
    Ok(Ok(Answered { message, routing, waiting }))
}

fn build(state: &AppState, visit: &Visit, asked: Asked, judged: Judged) -> SubscriptionsPage {
    let shell = Shell::new(visit, "Subscriptions").crumb("Operations", "/ops");
    let configuration = state.configuration.load_full();
    let subscriptions = routing::subscriptions(&configuration);
    let (found, problem) = match judged {
        Ok(judged) => (judged.map(|answered| found(&answered, &subscriptions, &shell)), String::new()),
        Err(problem) => (None, problem),
    };
    let direct = routing::sent_to_directly(&configuration).into_iter().map(|(port, senders)| {
        let senders: Vec<String> = senders.iter().map(|name| shell.site.orchestration(name)).collect();
        (shell.site.names.port(&port), senders.join("; "))
    });
    SubscriptionsPage {
        lines: subscriptions.iter().map(|one| line(one, &configuration, &shell)).collect(),
        direct: direct.collect(),
        locations: configuration
            .receive_locations()
            .map(|(port, location)| format!("{}/{}", port.name, location.name))
            .collect(),
        samples: samples(&configuration).into_keys().collect(),
        form_key: form::new_key(),
        asked,
        problem,
        found,
        shell,
    }
}

fn means(means: &Means) -> String {
    match means {
        Means::Sends => "sends it".to_owned(),
        Means::SendsAsMember(group) => format!("sends it, as a member of {group}"),
        Means::Collects => "collects it into a batch".to_owned(),
        Means::Starts => "begins an instance".to_owned(),
        Means::Follows => "goes on where an instance waits for it".to_owned(),
    }
}

fn line(one: &Subscription, configuration: &Configuration, shell: &Shell) -> Line {
    let group = |name: &str| {
        let known = configuration.send_port_groups.get(name).map(|group| group.title.clone());
        known.filter(|title| !title.is_empty()).unwrap_or_else(|| name.to_owned())
    };
    Line {
        title: shell.site.names.subscriber(Some(one.kind), &one.name),
        href: match one.kind {
            "orchestration" => format!("/instances?orchestration={}", crate::link::encode(&one.name)),
            _ => format!("/ports/send/{}", one.name),
        },
        name: one.name.clone(),
        means: match (&one.means, configuration.send_ports.get(&one.name)) {
            (Means::SendsAsMember(name), _) => format!("sends it, as a member of “{}”", group(name)),
            (other, Some(port)) => format!("{}, to {}", means(other), port.target.place()),
            (other, None) => means(other),
        },
        conditions: one.conditions(),
    }
}

fn found(answered: &Answered, subscriptions: &[Subscription], shell: &Shell) -> Found {
    let Answered { message, routing, waiting } = answered;
    let header = message.header();
    let verdict = |judged: &routing::Judged| {
        let one = &subscriptions[judged.number];
        let held = waiting.get(&one.name).filter(|_| one.means == Means::Follows && judged.takes);
        Verdict {
            title: shell.site.names.subscriber(Some(one.kind), &one.name),
            name: one.name.clone(),
            means: means(&one.means),
            waiting: held.into_iter().flatten().map(|id| format!("/instances/{id}")).collect(),
            idle: one.means == Means::Follows && judged.takes && held.is_none(),
            tried: judged
                .tried
                .iter()
                .map(|tried| Tried {
                    text: tried.text.clone(),
                    holds: tried.holds,
                    found: tried.found.clone(),
                })
                .collect(),
        }
    };
    let near = |judged: &&routing::Judged| !judged.takes && judged.failed() == 1;
    let takes: Vec<Verdict> = routing.judged.iter().filter(|judged| judged.takes).map(verdict).collect();
    let near: Vec<Verdict> = routing.judged.iter().filter(near).map(verdict).collect();
    Found {
        what: format!("{}^{}", header.message_type, header.trigger_event),
        party: routing.party.as_deref().map(|party| shell.site.names.party(party)).unwrap_or_default(),
        refused: routing.findings.iter().any(|finding| finding.severity == Severity::Error),
        findings: findings::lines(&routing.findings, Some(message)),
        others: routing.judged.len() - takes.len() - near.len(),
        takes,
        near,
    }
}
