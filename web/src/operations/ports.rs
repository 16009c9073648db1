//! Ports: what comes in, what goes out, how much, and whether an operator holds it.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Path, Query, State};
use chrono::TimeDelta;
use orderly_engine::capability::Capability;
use orderly_engine::configuration::{Configuration, PortState, ReceiveAdapter, SendAdapter};
use orderly_engine::site::Origins;
use orderly_engine::view::operations::{self, Count, PortKey, PortSetting, Queue, Rates};
use orderly_engine::view::port_trouble::{PortTrouble, TroubleState, troubles};
use orderly_engine::view::pressure::{self, Slowed};
use serde::Deserialize;

use super::{age, settings, spark, spark_words};
use crate::failure::Failure;
use crate::page::{self, Answer};
use crate::shell::Shell;
use crate::site_time::{Moment, duration};
use crate::state::AppState;
use crate::visit::Visit;
use crate::word::Tag;

/// One receive location or send port.
pub(crate) struct Port {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) href: String,
    pub(crate) party: String,
    pub(crate) address: String,
    pub(crate) tag: Tag,
    pub(crate) held: bool,
    /// It sends what waits and is on hold then.
    pub(crate) draining: bool,
    pub(crate) state_detail: String,
    pub(crate) per_minute: i64,
    pub(crate) hour: i64,
    pub(crate) errors: i64,
    pub(crate) waiting: Count,
    pub(crate) oldest: String,
    pub(crate) last: String,
    pub(crate) spark: String,
    pub(crate) spark_words: String,
    pub(crate) version: i32,
}

/// What the database knows of the ports, read once for a page.
pub(crate) struct Readings {
    pub(crate) settings: HashMap<PortKey, PortSetting>,
    pub(crate) rates: HashMap<PortKey, Rates>,
    pub(crate) queues: Vec<Queue>,
    pub(crate) troubles: HashMap<PortKey, PortTrouble>,
}

impl Readings {
    pub(crate) async fn take(state: &AppState, visit: &Visit) -> Result<Self, Failure> {
        let now = visit.guest.now;
        Ok(Self {
            settings: operations::port_settings(state.pool()).await?,
            rates: operations::rates(state.pool(), now).await?,
            queues: operations::queues(state.pool(), now).await?,
            troubles: troubles(state.pool(), now).await?,
        })
    }

    /// All receive locations and send ports of the site, in its order.
    pub(crate) fn ports(&self, configuration: &Configuration, shell: &Shell) -> Vec<Port> {
        let receive = configuration.receive_locations().map(|(port, location)| {
            let address = match &location.adapter {
                ReceiveAdapter::Mllp(mllp) => format!("MLLP on {}", mllp.listen),
                ReceiveAdapter::Folder(folder) => format!("Folder {}, {}", folder.path, folder.mask),
            };
            let title = if location.title.is_empty() { &port.title } else { &location.title };
            self.port("receive", &format!("{}/{}", port.name, location.name), title, location.state, shell)
                .with(party(location.party.as_deref(), shell), address)
        });
        let send = configuration.send_ports.values().map(|port| {
            let address = match &port.target {
                SendAdapter::Mllp(mllp) => format!("MLLP to {}", mllp.connect),
                SendAdapter::Folder(folder) => format!("Folder {}", folder.path),
            };
            self.port("send", &port.name, &port.title, port.state, shell)
                .with(party(port.party.as_deref(), shell), address)
        });
        receive.chain(send).collect()
    }

    /// An orchestration, which is started and held as a port is.
    fn orchestration(&self, configuration: &Configuration, name: &str, shell: &Shell) -> Option<Port> {
        let enlisted = configuration.orchestrations.get(name)?;
        let title = shell.site.orchestration(name);
        Some(self.port("orchestration", name, &title, enlisted.state, shell))
    }

    fn port(&self, kind: &'static str, name: &str, title: &str, deployed: PortState, shell: &Shell) -> Port {
        let key = (stored_kind(kind).to_owned(), name.to_owned());
        let setting = self.settings.get(&key);
        let none = Rates::default();
        let rates = self.rates.get(&key).unwrap_or(&none);
        let queue = self.queues.iter().find(|queue| queue.kind == key.0 && queue.name == name);
        let held = match setting {
            Some(setting) => setting.state == "on_hold",
            None => deployed == PortState::OnHold,
        };
        let trouble = self.troubles.get(&key);
        let (tag, state_detail) = status(held, deployed, setting, queue, rates, trouble, shell);
        Port {
            kind,
            href: format!("/ports/{kind}/{name}"),
            name: name.to_owned(),
            title: title.to_owned(),
            party: String::new(),
            address: String::new(),
            tag,
            held,
            draining: setting.is_some_and(|setting| setting.state == "draining"),
            state_detail,
            per_minute: rates.last_minute,
            hour: rates.hour,
            errors: rates.errors,
            waiting: queue.map(Queue::total).unwrap_or_default(),
            oldest: age(queue.and_then(|queue| queue.oldest_at), shell.now),
            last: age(rates.last_at, shell.now),
            spark: spark(&rates.bars),
            spark_words: spark_words(&rates.bars),
            version: setting.map_or(0, |setting| setting.version),
        }
    }
}

impl Port {
    fn with(mut self, party: String, address: String) -> Self {
        (self.party, self.address) = (party, address);
        self
    }
}

fn party(name: Option<&str>, shell: &Shell) -> String {
    name.map(|name| shell.site.names.party(name)).unwrap_or_default()
}

/// What the senders of a port notice that is too far behind.
fn slowed_words(slowed: &Slowed) -> String {
    let seconds = slowed.hold.as_secs_f64();
    let refused = if slowed.refuses { "; its receive locations take no new connections" } else { "" };
    format!("acknowledged {seconds:.1} s later, because more than {} wait{refused}", slowed.limit)
}

/// What the circuit breaker of a send port does, for its page.
fn breaker_words(port: &Port, configuration: &Configuration, trouble: Option<&PortTrouble>) -> String {
    let Some(settings) = configuration.send_ports.get(&port.name).filter(|_| port.kind == "send") else {
        return String::new();
    };
    let rule = &settings.breaker;
    match trouble.map(|trouble| trouble.state) {
        Some(TroubleState::Backup) => "Open: what is for the port goes by its backup".to_owned(),
        Some(TroubleState::Open) => {
            "Open: nothing is sent before the next try; what is for the port waits in order".to_owned()
        }
        Some(TroubleState::Probing) => "Half open: one message tries whether the receiver is back".to_owned(),
        _ => {
            let within = duration(TimeDelta::from_std(rule.within).unwrap_or_default());
            format!("Closed; opens after {} failures within {within}", rule.failures)
        }
    }
}

/// The kind of a port as the table `port_state` calls it.
pub(crate) fn stored_kind(kind: &str) -> &'static str {
    match kind {
        "receive" => "receive_location",
        "orchestration" => "orchestration",
        _ => "send_port",
    }
}

fn status(
    held: bool,
    deployed: PortState,
    setting: Option<&PortSetting>,
    queue: Option<&Queue>,
    rates: &Rates,
    trouble: Option<&PortTrouble>,
    shell: &Shell,
) -> (Tag, String) {
    if held {
        let by = setting.map(|setting| {
            let at = shell.near_time(setting.changed_at).text();
            format!("by {} at {at}: {}", shell.person(&setting.changed_by), setting.reason)
        });
        return (Tag::on_hold(), by.unwrap_or_else(|| "as deployed".to_owned()));
    }
    if let Some(setting) = setting.filter(|setting| setting.state == "draining") {
        let by = shell.person(&setting.changed_by);
        return (
            Tag::draining(),
            format!("what waited is sent, then it is on hold; by {by}: {}", setting.reason),
        );
    }
    if setting.is_none() && deployed == PortState::NotDeployed {
        return (Tag::stopped(), "not deployed".to_owned());
    }
    if let Some(trouble) = trouble {
        let tag = if trouble.state == TroubleState::Backup { Tag::by_backup() } else { Tag::down() };
        return (tag, trouble_words(trouble, shell));
    }
    match queue.filter(|queue| !queue.retrying.is_zero()) {
        Some(queue) => {
            let next = queue.next_retry.map(|at| format!("next attempt {}", shell.near_time(at).text()));
            let tag = if rates.last_minute == 0 && rates.errors > 0 { Tag::down() } else { Tag::retrying() };
            (tag, next.unwrap_or_default())
        }
        None => (Tag::running(), String::new()),
    }
}

/// What keeps a port from working, in one sentence.
fn trouble_words(trouble: &PortTrouble, shell: &Shell) -> String {
    let since = duration(shell.now - trouble.since);
    match (trouble.state, trouble.until) {
        (TroubleState::Backup, _) => format!("no answer for {since}; the backup takes what is sent"),
        (TroubleState::Closed, _) => format!("it cannot listen for {since}: {}", trouble.text),
        (TroubleState::Open, Some(until)) if until > shell.now => {
            format!("no answer for {since}; the next try goes out in {}", duration(until - shell.now))
        }
        _ => format!("no answer for {since}; one message tries whether it is back"),
    }
}

#[derive(Template)]
#[template(path = "operations/ports.html")]
struct PortsPage {
    shell: Shell,
    ports: Vec<Port>,
    as_of: String,
}

/// All ports.
pub(crate) async fn list(State(state): State<AppState>, visit: Visit) -> Answer {
    let shell = Shell::new(&visit, "Ports");
    let readings = Readings::take(&state, &visit).await?;
    let ports = readings.ports(&state.configuration.load(), &shell);
    page::show(&PortsPage { as_of: super::overview::as_of(&shell), ports, shell })
}

#[derive(Template)]
#[template(path = "operations/port.html")]
struct PortPage {
    shell: Shell,
    port: Port,
    queue: Option<super::queues::Line>,
    breaker: String,
    /// How its senders are slowed; empty where they are not.
    slowed: String,
    /// Since when it goes by a backup that returns by hand.
    on_backup: Option<Moment>,
    taking: Vec<super::taking::Taking>,
    changed: Option<(String, Moment, String)>,
    settings: Vec<super::settings::Group>,
    /// How messages of the sender that was chosen are taken.
    sender: Option<super::taking::Sender>,
    messages: String,
    may_control: bool,
    ask: String,
    form_key: String,
}

/// Whose settings are asked for.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    sender: String,
}

/// One port.
pub(crate) async fn show(
    State(state): State<AppState>,
    visit: Visit,
    Path((kind, name)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> Answer {
    let shell = Shell::new(&visit, visit.guest.site.names.port(&name))
        .crumb("Operations", "/ops")
        .crumb("Ports", "/ports");
    let readings = Readings::take(&state, &visit).await?;
    let configuration = state.configuration.load_full();
    let ports = readings.ports(&configuration, &shell);
    let port = match kind.as_str() {
        "orchestration" => readings.orchestration(&configuration, &name, &shell),
        _ => ports.into_iter().find(|port| port.kind == kind && port.name == name),
    };
    let port = port.ok_or(Failure::NotFound { what: "port" })?;
    let shell = match port.kind {
        "orchestration" => Shell::new(&visit, port.title.clone())
            .crumb("Operations", "/ops")
            .crumb("Orchestrations", "/orchestrations"),
        _ => shell,
    };
    let key = (stored_kind(port.kind).to_owned(), port.name.clone());
    let changed = readings.settings.get(&key).map(|setting| {
        (shell.person(&setting.changed_by), shell.near_time(setting.changed_at), setting.reason.clone())
    });
    let queue = readings.queues.iter().find(|queue| queue.kind == key.0 && queue.name == key.1);
    let origin = if port.kind == "receive" { "received" } else { "answers" };
    let origins = Origins::read(&configuration.files);
    let location = configuration.receive_locations().find(|(of, location)| {
        port.kind == "receive" && format!("{}/{}", of.name, location.name) == port.name
    });
    let mut taking = Vec::new();
    let mut sender = None;
    let settings = match location {
        Some((of, location)) => {
            taking = super::taking::lines(&configuration, location, &port.href, &asked.sender, &shell);
            sender = super::taking::sender(&configuration, &origins, (of, location), &asked.sender, &shell);
            settings::location(&configuration, &origins, of, location)
        }
        None if port.kind == "orchestration" => {
            let enlisted = configuration.orchestrations.get(&port.name);
            enlisted.map(|enlisted| settings::orchestration(&origins, enlisted)).unwrap_or_default()
        }
        None => {
            let send = configuration.send_ports.get(&port.name);
            send.map(|send| settings::send(&configuration, &origins, send)).unwrap_or_default()
        }
    };
    let on_backup = orderly_engine::view::backup::ports_on_backup(state.pool()).await?;
    let slowed = pressure::slowed(&configuration, &readings.queues);
    let slowed = slowed.into_iter().find(|slowed| port.kind == "send" && slowed.send_port == port.name);
    page::show(&PortPage {
        slowed: slowed.as_ref().map(slowed_words).unwrap_or_default(),
        on_backup: on_backup.get(&port.name).filter(|_| port.kind == "send").map(|at| shell.near_time(*at)),
        breaker: breaker_words(&port, &configuration, readings.troubles.get(&key)),
        settings,
        queue: queue.map(|queue| super::queues::line(queue, &shell)),
        taking,
        sender,
        messages: match port.kind {
            "orchestration" => format!("/messages?port={}&origin=made", crate::link::encode(&port.name)),
            _ => format!("/messages?port={}&origin={origin}", crate::link::encode(&port.name)),
        },
        may_control: visit.may(Capability::PortControl),
        ask: visit.guest.site.roles.holders(Capability::PortControl).join(", "),
        form_key: crate::form::new_key(),
        changed,
        port,
        shell,
    })
}
