//! Effects of a turn as rows.

use orderly_hl7::Message;
use orderly_orchestrations::{CorrelationKey, Effect, Link, Retry, StepEntry, Task};
use orderly_rules::Properties;
use serde_json::json;

use super::acknowledgments::Decided;
use super::inputs;
use super::plan::{Expected, NewTask, Opened, PendingMail, Stored};
use super::turns::Batch;
use crate::audit::sha256;
use crate::configuration::SendTarget;
use crate::directory::{SourceKind, SubscriberKind};
use crate::ids::{InstanceId, MessageId, TaskId};
use crate::message_box::subscription::{hash_of, properties_of, send_route};
use crate::message_box::{Arrival, Route};
use crate::notice::Notice;
use crate::parked::{self, NewParked};
use crate::tracking::{Detail as TrackDetail, Entry, Kind as TrackKind, Made, Step};
use crate::work::{Detail, Kind, NewWork, RetryOverride, SendDetail};

/// Takes the effects of one turn into the plan; answers the messages it made or sent.
pub(super) fn apply(batch: &mut Batch<'_>, instance: i64, effects: Vec<Effect>) -> Vec<Made> {
    let mut made = Vec::new();
    for effect in effects {
        match effect {
            Effect::Store { message_id, message, parent } => {
                let sha256 = store(batch, instance, message_id, &message, parent);
                made.push(Made { message: MessageId(message_id), sha256: Some(sha256), to: Vec::new() });
            }
            Effect::Publish { message_id, message, parent } => {
                let sha256 =
                    message.as_ref().map(|message| store(batch, instance, message_id, message, parent));
                let to = publish(batch, instance, message_id);
                made.push(Made { message: MessageId(message_id), sha256, to });
            }
            Effect::Send { .. } => made.extend(send(batch, instance, effect)),
            Effect::Acknowledge { message_id, code, text, path } => {
                let message = message_id;
                batch.plan.acknowledgments.push(Decided { instance, message, code, text, path });
            }
            Effect::WithdrawExpectation { send } => {
                batch.plan.expected.retain(|expected| {
                    expected.instance != instance || u32::try_from(expected.send) != Ok(send)
                });
                batch.plan.withdrawn.push((instance, send));
            }
            Effect::SetTimer { token, at } => {
                let lane = lane_of(batch, instance);
                batch.plan.timers.insert((instance, token), (lane, at));
            }
            Effect::CancelTimer { token } => {
                batch.plan.timers.remove(&(instance, token));
                if !batch.plan.fired.contains(&(instance, token)) {
                    batch.plan.cancelled.push((instance, token));
                }
            }
            Effect::OpenCorrelation { set, values, shared } => open(batch, instance, set, values, shared),
            Effect::CreateTask(task) => create_task(batch, instance, &task),
            Effect::ReassignTask { task, role } => {
                change(batch, instance, task, |row| row["roles"] = json!([role]));
            }
            Effect::PrioritiseTask { task, priority } => {
                change(batch, instance, task, |row| row["priority"] = i16::from(priority == "high").into());
            }
            Effect::WithdrawTask { task, expired } => {
                change(batch, instance, task, |row| row["state"] = if expired { 3 } else { 4 }.into());
            }
            Effect::Email { to_roles, to_users, subject, body, link } => {
                mail(batch, instance, to_roles, to_users, subject, body, link);
            }
            Effect::Start { orchestration, inputs } => {
                start(batch, instance, &orchestration, &inputs::text(&inputs));
            }
            // It stands among the steps of the turn.
            Effect::Milestone { .. } => {}
        }
    }
    made
}

fn lane_of(batch: &Batch<'_>, instance: i64) -> i32 {
    batch.plan.instances.get(&instance).map_or(0, |live| live.lane)
}

fn store(batch: &mut Batch<'_>, instance: i64, id: i64, message: &Message, parent: Option<i64>) -> [u8; 32] {
    let hash = sha256(message.bytes());
    let header = message.head();
    let name = batch.plan.instances.get(&instance).map(|live| live.name.clone()).unwrap_or_default();
    let of_parent = parent.and_then(|parent| batch.plan.messages.get(&parent));
    // Null when equal to the parent's: searches find the received message and walk to what came of it.
    let patient = message.text("PID-3.1");
    let same_patient = of_parent.is_some_and(|parent| parent.text("PID-3.1") == patient);
    let same_control_id = of_parent.is_some_and(|parent| parent.head().control_id == header.control_id);
    let configuration = &batch.current.configuration;
    let retention = match configuration.retention.classes.len() {
        0 | 1 => 0,
        _ => batch.current.retention(None, &properties_of(configuration, message)),
    };
    batch.plan.stored.push(Stored {
        id,
        parent,
        retention,
        source: batch.current.directory.source(SourceKind::Orchestration, &name).unwrap_or_default(),
        message_type: type_of(message),
        control_id: Some(header.control_id.clone()).filter(|id| !id.is_empty() && !same_control_id),
        patient: Some(patient).filter(|patient| !patient.is_empty() && !same_patient),
        message: message.clone(),
        sha256: hash,
    });
    batch.plan.messages.insert(id, message.clone());
    hash
}

/// MSH-9 as `ORU^R01`.
pub(crate) fn type_of(message: &Message) -> String {
    let header = message.head();
    match (header.message_type.as_str(), header.trigger_event.as_str()) {
        ("", _) => "?".to_owned(),
        (kind, "") => kind.to_owned(),
        (kind, event) => format!("{kind}^{event}"),
    }
}

/// Routes a message by the subscriptions; what nobody takes is kept for a person.
fn publish(batch: &mut Batch<'_>, instance: i64, id: i64) -> Vec<i32> {
    let Some(message) = batch.plan.messages.get(&id).cloned() else { return Vec::new() };
    let properties = properties_of(&batch.current.configuration, &message);
    let arrival = Arrival { message: MessageId(id), order_source: "" };
    let routes = batch.current.routes(&properties, arrival);
    if routes.is_empty() {
        not_routed(batch, instance, id, "It was published, and nobody subscribes to it.");
    }
    append(batch, id, routes)
}

fn append(batch: &mut Batch<'_>, id: i64, routes: Vec<Route>) -> Vec<i32> {
    let mut to = Vec::with_capacity(routes.len());
    for route in routes {
        to.push(route.subscriber);
        let mut work = NewWork::message(route.lane, MessageId(id), route.key);
        work.detail = route.detail;
        batch.plan.work.push(work);
    }
    to
}

/// Messages that came for an instance and that it did not take: other instances of the orchestration may start with
/// them, else they are kept for a person.
pub(super) fn reroute(batch: &mut Batch<'_>, instance: i64, leftovers: &[i64]) {
    let orchestration = batch.plan.instances.get(&instance).map(|live| live.orchestration);
    for id in leftovers {
        let Some(message) = batch.plan.messages.get(id).cloned() else {
            not_routed(batch, instance, *id, "The instance it came for ended without taking it.");
            continue;
        };
        let properties = properties_of(&batch.current.configuration, &message);
        let arrival = Arrival { message: MessageId(*id), order_source: "" };
        let mut routes = batch.current.routes(&properties, arrival);
        routes.retain(|route| {
            Some(route.subscriber) == orchestration
                && matches!(&route.detail, Some(Detail::Subscribed(known)) if known.activates.is_some())
        });
        if routes.is_empty() {
            not_routed(batch, instance, *id, "The instance it came for ended without taking it.");
        }
        append(batch, *id, routes);
    }
}

fn not_routed(batch: &mut Batch<'_>, instance: i64, id: i64, text: &str) {
    let code = parked::NO_SUBSCRIBER;
    batch.plan.parked.push(NewParked {
        id: batch.store.ids().next_id(),
        lane: None,
        subscriber: None,
        sequence: 0,
        kind: Kind::Message,
        subject: id,
        key: 0,
        instance: None,
        detail: None,
        state: parked::State::Suspended,
        attempt: 0,
        due_at: None,
        code: code.to_owned(),
        reason: text.to_owned(),
    });
    let detail = TrackDetail::Cause { code: code.to_owned(), text: text.to_owned(), sha256: None };
    let mut entry =
        Entry::new(TrackKind::NotRouted, batch.current.configuration.version, detail).about(MessageId(id));
    entry.instance = Some(InstanceId(instance));
    batch.plan.entries.push(entry);
    batch.plan.notices.push(Notice::NotRouted { message: MessageId(id), code: code.to_owned() });
}

fn send(batch: &mut Batch<'_>, instance: i64, effect: Effect) -> Option<Made> {
    let Effect::Send { send, message_id, message, parent, port, order_key, expect, retry } = effect else {
        return None;
    };
    let sha256 = message.as_ref().map(|message| store(batch, instance, message_id, message, parent));
    let message = batch.plan.messages.get(&message_id).cloned();
    let live = batch.plan.instances.get(&instance)?;
    let (home, configuration) = (live.lane, live.configuration.clone());
    let target = configuration.orchestrations.get(&live.name)?.ports.get(&port)?.send.clone();
    let mut properties: Option<Properties> = None;
    let mut to = Vec::new();
    for name in target.iter().flat_map(|target| names_of(&configuration, target)) {
        // The running configuration says where a port leads, also for instances on an older one.
        let running =
            batch.current.configuration.send_ports.get(&name).or(configuration.send_ports.get(&name))?;
        // A step that waits for an answer is sent by itself; all else joins the batch of its port.
        let kind = match (&running.batch, &expect) {
            (Some(_), None) => SubscriberKind::Collector,
            _ => SubscriberKind::SendPort,
        };
        let subscriber = batch.current.directory.subscriber(kind, &name)?;
        let (lane, key) = match &order_key {
            Some(key) => (subscriber.lane_of(hash_of(key)), hash_of(key)),
            None => {
                let properties = properties.get_or_insert_with(|| match &message {
                    Some(message) => properties_of(&batch.current.configuration, message),
                    None => Properties::new(),
                });
                let source = format!("instance {instance}");
                let arrival = Arrival { message: MessageId(message_id), order_source: &source };
                let route =
                    send_route(subscriber.id, &running.order, properties, arrival, &batch.current.directory)?;
                (route.lane, route.key)
            }
        };
        to.push(subscriber.id);
        let awaited = expect.as_ref().map(|expect| expect.kind.to_string());
        let port = subscriber.id;
        if let Some(kind) = awaited.clone() {
            batch.plan.expected.push(Expected {
                message: message_id,
                instance,
                send: i32::try_from(send).unwrap_or(i32::MAX),
                lane: home,
                control_id: message.as_ref().map(|message| message.header().control_id).unwrap_or_default(),
                port,
                kind,
            });
        }
        batch.plan.work.push(NewWork {
            lane,
            kind: Kind::Message,
            subject: message_id,
            key,
            instance: Some(InstanceId(instance)),
            detail: Some(Detail::Send(SendDetail {
                instance: InstanceId(instance),
                home,
                send,
                expect: awaited,
                retry: retry.as_ref().map(retry_of),
            })),
        });
    }
    if to.is_empty() {
        not_routed(
            batch,
            instance,
            message_id,
            &format!("The logical port {port} is bound to no send port."),
        );
    }
    Some(Made { message: MessageId(message_id), sha256, to })
}

fn names_of(configuration: &crate::configuration::Configuration, target: &SendTarget) -> Vec<String> {
    configuration.send_ports_of(target).into_iter().map(|port| port.name.clone()).collect()
}

fn retry_of(retry: &Retry) -> RetryOverride {
    let milliseconds =
        |length: chrono::TimeDelta| u64::try_from(length.num_milliseconds()).unwrap_or_default();
    RetryOverride {
        times: retry.times,
        wait_ms: milliseconds(retry.wait),
        factor_hundredths: retry.factor.saturating_mul(100),
        most_ms: milliseconds(retry.most),
        errors: retry.errors.clone(),
    }
}

fn open(batch: &mut Batch<'_>, instance: i64, set: String, values: Vec<String>, shared: bool) {
    let Some(live) = batch.plan.instances.get(&instance) else { return };
    let (orchestration, lane) = (live.orchestration, live.lane);
    let key = CorrelationKey { set: set.clone(), values }.hash();
    batch.hold(orchestration, &set, key, instance, lane);
    batch.plan.opened.push(Opened { orchestration, set, key, instance, lane, shared });
}

fn create_task(batch: &mut Batch<'_>, instance: i64, task: &Task) {
    let Some(live) = batch.plan.instances.get(&instance) else { return };
    let id = TaskId(batch.store.ids().next_id());
    let snapshot = serde_json::to_value(&task.snapshot).unwrap_or_default();
    let hash = sha256(snapshot.to_string().as_bytes());
    let message = task.snapshot.messages.first().map(|shown| shown.id);
    let message = message.or_else(|| live.state.as_ref().and_then(orderly_orchestrations::State::origin));
    let row = json!({
        "id": id.0, "instance": instance, "ordinal": task.task, "lane": live.lane,
        "orchestration": live.orchestration, "step": task.id, "kind": task.kind, "title": task.title,
        "roles": task.roles, "users": task.users, "excluded": task.exclude, "outcomes": task.outcomes,
        "reason_for": task.reason_for, "quorum": task.quorum, "sign": task.sign, "fields": task.fields,
        "snapshot": snapshot, "snapshot_sha256": hex(&hash), "message_id": message,
        "priority": i16::from(task.priority == "high"), "due_at": task.due, "expires_at": task.expires, "state": 0,
    });
    let detail = TrackDetail::Task {
        step: task.id.clone(),
        outcome: String::new(),
        reason: String::new(),
        signed: false,
        snapshot_sha256: Some(hash),
    };
    let mut entry = Entry::new(TrackKind::TaskCreated, live.configuration.version, detail);
    entry.message = message.map(MessageId);
    entry.instance = Some(InstanceId(instance));
    entry.subscriber = Some(live.orchestration);
    entry.task = Some(id);
    batch.plan.entries.push(entry);
    batch.plan.tasks.push(NewTask { instance, ordinal: task.task, row });
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Changes a task: in the plan when this batch made it, else in the database.
fn change(batch: &mut Batch<'_>, instance: i64, ordinal: u32, change: impl FnOnce(&mut serde_json::Value)) {
    let made = batch.plan.tasks.iter_mut().find(|task| task.instance == instance && task.ordinal == ordinal);
    if let Some(task) = made {
        change(&mut task.row);
        return;
    }
    let known =
        batch.plan.changes.iter_mut().find(|row| row["instance"] == instance && row["ordinal"] == ordinal);
    if let Some(row) = known {
        change(row);
        return;
    }
    let mut row = json!({ "instance": instance, "ordinal": ordinal });
    change(&mut row);
    batch.plan.changes.push(row);
}

fn mail(
    batch: &mut Batch<'_>,
    instance: i64,
    roles: Vec<String>,
    users: Vec<String>,
    subject: String,
    body: String,
    link: Option<Link>,
) {
    let Some(live) = batch.plan.instances.get(&instance) else { return };
    let link = link.and_then(|link| match link {
        Link::Instance => Some(format!("/instances/{}", InstanceId(instance))),
        // A task of an earlier turn is found by its ordinal when the mail is written.
        Link::Task(ordinal) => {
            let made =
                batch.plan.tasks.iter().find(|task| task.instance == instance && task.ordinal == ordinal);
            Some(match made.and_then(|task| task.row["id"].as_i64()) {
                Some(id) => format!("/tasks/{}", TaskId(id)),
                None => format!("task:{instance}:{ordinal}"),
            })
        }
        Link::Tracking => {
            let origin = live.state.as_ref().and_then(orderly_orchestrations::State::origin)?;
            Some(format!("/messages/{}", MessageId(origin)))
        }
    });
    batch.plan.mails.push(PendingMail {
        instance,
        roles,
        users,
        subject,
        body,
        link,
        config_version: live.configuration.version,
    });
}

fn start(batch: &mut Batch<'_>, parent: i64, orchestration: &str, inputs: &str) {
    let Some(child) = batch.current.directory.subscriber(SubscriberKind::Orchestration, orchestration) else {
        tracing::error!(orchestration, "Could not start {orchestration}: it is not enlisted");
        return;
    };
    let id = batch.store.ids().next_id();
    batch.plan.work.push(NewWork {
        lane: child.lane_of(id),
        kind: Kind::Start,
        subject: id,
        key: id,
        instance: None,
        detail: Some(Detail::Start { inputs: inputs.to_owned(), parent: InstanceId(parent) }),
    });
}

/// A step as tracking keeps it.
pub(super) fn step(entry: StepEntry) -> Step {
    let text = |part: Option<std::sync::Arc<str>>| part.map(|part| part.to_string()).unwrap_or_default();
    let (policy, fired, trace) = match entry.policy {
        Some(run) => {
            (run.policy.to_string(), run.fired, serde_json::to_string(&run.trace).unwrap_or_default())
        }
        None => Default::default(),
    };
    Step {
        path: entry.path.to_string(),
        id: text(entry.id),
        verb: entry.verb.to_owned(),
        outcome: entry.outcome.into_owned(),
        reason: String::new(),
        trace,
        title: text(entry.title),
        sensitive: entry
            .sensitive
            .into_iter()
            .map(|detail| (detail.label.to_string(), detail.value))
            .collect(),
        policy,
        fired,
    }
}
