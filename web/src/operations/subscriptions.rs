//! Subscriptions: who receives what, and "who would receive this message?" with the reason for each yes and no.

use askama::Template;
use axum::extract::State;
use orderly_engine::configuration::Configuration;
use orderly_engine::routing::{self, Means, Routing, Subscription};
use orderly_hl7::Message;
use serde::Deserialize;

use crate::form::{self, Submission};
use crate::page::{self, Answer};
use crate::rules::samples;
use crate::shell::Shell;
use crate::state::AppState;
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
    findings: Vec<(String, String)>,
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

/// All subscriptions, and the form.
pub(crate) async fn show(State(state): State<AppState>, visit: Visit) -> Answer {
    let page = build(&state, &visit, Asked::default(), Ok(None));
    page::show(&page)
}

/// Who would receive the message. It is posted, because it may hold patient data; nothing of it is kept.
pub(crate) async fn ask(State(state): State<AppState>, visit: Visit, sent: Submission<Asked>) -> Answer {
    let configuration = state.configuration.load_full();
    let found = judge(&configuration, &sent.fields);
    let page = build(&state, &visit, sent.fields, found.map(Some));
    page::show(&page)
}

type Judged = Result<Option<(Message, Routing)>, String>;

fn judge(configuration: &Configuration, asked: &Asked) -> Result<(Message, Routing), String> {
    let bytes = if asked.text.trim().is_empty() {
        let sample = samples(configuration).get(&asked.sample).map(|bytes| bytes.to_vec());
        sample.ok_or_else(|| "Choose a sample or paste a message.".to_owned())?
    } else {
        asked.text.trim_start().replace("\r\n", "\r").replace('\n', "\r").into_bytes()
    };
    let message = Message::parse(bytes).map_err(|error| format!("The message cannot be read: {error}."))?;
    let location = configuration
        .receive_locations()
        .find(|(port, location)| format!("{}/{}", port.name, location.name) == asked.location)
        .or_else(|| configuration.receive_locations().next());
    let (port, location) = location.ok_or_else(|| "The site has no receive location.".to_owned())?;
    let routing = routing::route(configuration, port, location, &message);
    Ok((message, routing))
}

fn build(state: &AppState, visit: &Visit, asked: Asked, judged: Judged) -> SubscriptionsPage {
    let shell = Shell::new(visit, "Subscriptions").crumb("Operations", "/ops");
    let configuration = state.configuration.load_full();
    let subscriptions = routing::subscriptions(&configuration);
    let (found, problem) = match judged {
        Ok(judged) => (
            judged.map(|(message, routing)| found(&message, &routing, &subscriptions, &shell)),
            String::new(),
        ),
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
        means: match &one.means {
            Means::SendsAsMember(name) => format!("sends it, as a member of “{}”", group(name)),
            other => means(other),
        },
        conditions: one.conditions(),
    }
}

fn found(message: &Message, routing: &Routing, subscriptions: &[Subscription], shell: &Shell) -> Found {
    let header = message.header();
    let verdict = |judged: &routing::Judged| {
        let one = &subscriptions[judged.number];
        Verdict {
            title: shell.site.names.subscriber(Some(one.kind), &one.name),
            name: one.name.clone(),
            means: means(&one.means),
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
        findings: routing.findings.clone(),
        others: routing.judged.len() - takes.len() - near.len(),
        takes,
        near,
    }
}
