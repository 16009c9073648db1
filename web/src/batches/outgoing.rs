//! What send ports collect: open batches with when they close, closed ones with what the receiver said of each message.

use askama::Template;
use axum::extract::{Path, Query, State};
use orderly_engine::capability::Capability;
use orderly_engine::ids::MessageId;
use orderly_engine::operate::batch::{self, Control, Controlled};
use orderly_engine::view::batches::{self, BatchState, OpenBatch, SealedBatch};
use orderly_engine::view::{operations, tracking};
use serde::Deserialize;

use super::{Asked, ITEMS, Line, Listed, PAGE, Tab, envelope_of, limit, one_more, size, tabs};
use crate::failure::Failure;
use crate::flash::Flash;
use crate::form::{self, Submission};
use crate::operations::act::{changed, failed, given};
use crate::operations::age;
use crate::page::{self, Answer};
use crate::shell::Shell;
use crate::site_time::Moment;
use crate::state::AppState;
use crate::tracking::{MASK, reads};
use crate::visit::Visit;
use crate::word::{Tag, Tone};

/// A batch in words.
struct Row {
    href: String,
    port: String,
    port_href: String,
    /// Values that it is kept apart by; may name a patient.
    group: String,
    tag: Tag,
    items: i32,
    size: String,
    opened: Moment,
    age: String,
    /// When it closes, or when and why it closed.
    closes: String,
    answers: String,
}

fn open_row(one: &OpenBatch, shell: &Shell, visit: &Visit) -> Row {
    Row {
        tag: if one.on_hold { Tag::on_hold() } else { Tag::open() },
        items: one.items,
        size: size(one.bytes),
        opened: shell.near_time(one.opened_at),
        age: age(Some(one.opened_at), shell.now),
        closes: match one.due_at {
            _ if one.on_hold => "when somebody releases it".to_owned(),
            None => "when it is full".to_owned(),
            Some(at) if at <= shell.now => "now".to_owned(),
            Some(at) => shell.near_time(at).text(),
        },
        answers: String::new(),
        ..named(one.id, &one.port, &one.group_key, one.opened_at, shell, visit)
    }
}

fn sealed_row(one: &SealedBatch, shell: &Shell, visit: &Visit) -> Row {
    Row {
        tag: state_tag(one, shell),
        items: one.items,
        size: size(one.bytes),
        closes: format!("{}, {}", shell.near_time(one.sealed_at).text(), cause_words(&one.cause)),
        answers: answers(one),
        ..named(one.id, &one.port, &one.group_key, one.opened_at, shell, visit)
    }
}

fn named(
    id: i64,
    port: &str,
    group: &str,
    opened_at: chrono::DateTime<chrono::Utc>,
    shell: &Shell,
    visit: &Visit,
) -> Row {
    Row {
        href: format!("/batches/{}", MessageId(id)),
        port: shell.site.names.port(port),
        port_href: format!("/ports/send/{port}"),
        group: match group.is_empty() {
            true => String::new(),
            false if reads(visit) => group.replace('\u{1f}', ", "),
            false => MASK.to_owned(),
        },
        tag: Tag::open(),
        items: 0,
        size: String::new(),
        opened: shell.near_time(opened_at),
        age: String::new(),
        closes: String::new(),
        answers: String::new(),
    }
}

fn cause_words(cause: &str) -> String {
    match cause {
        "count" => "it had all its messages".to_owned(),
        "bytes" => "it had its size".to_owned(),
        "time" => "it was time".to_owned(),
        "operator" => "a person sent it".to_owned(),
        other => other.to_owned(),
    }
}

fn state_tag(one: &SealedBatch, shell: &Shell) -> Tag {
    match one.state() {
        BatchState::Releasing => Tag::new(Tone::Info, "Releasing"),
        BatchState::OnHold => Tag::on_hold(),
        BatchState::Failed => Tag::new(Tone::Bad, "Failed"),
        BatchState::Sent | BatchState::Acknowledged if one.refused > 0 => {
            Tag::new(Tone::Warn, "Sent, some refused")
        }
        BatchState::Sent if one.is_late(shell.now) => Tag::new(Tone::Warn, "Sent, answer late"),
        BatchState::Sent => Tag::new(Tone::Good, "Sent"),
        BatchState::Acknowledged => Tag::new(Tone::Good, "Acknowledged"),
    }
}

fn answers(one: &SealedBatch) -> String {
    let accepted = i64::from(one.items) - one.unanswered - one.refused;
    let mut parts = Vec::new();
    for (count, word) in [(accepted, "accepted"), (one.refused, "refused")] {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    if one.answer_by.is_some() && one.unanswered > 0 {
        parts.push(format!("{} awaited", one.unanswered));
    }
    if parts.is_empty() { "Not awaited".to_owned() } else { parts.join(", ") }
}

#[derive(Template)]
#[template(path = "batches/outgoing.html")]
struct OutgoingPage {
    shell: Shell,
    tabs: [Tab; 2],
    open: Vec<Row>,
    closed: Vec<Row>,
    as_of: String,
    older: Option<String>,
    newer: Option<String>,
}

/// Open batches, then the newest closed ones.
pub(crate) async fn list(State(state): State<AppState>, visit: Visit, Query(asked): Query<Listed>) -> Answer {
    let shell = Shell::new(&visit, "Batches");
    let before = asked.before()?;
    let pool = state.pool();
    let open = if before.is_none() { batches::open(pool).await? } else { Vec::new() };
    let mut closed = batches::sealed(pool, None, before, one_more(PAGE)).await?;
    let more = closed.len() > PAGE;
    closed.truncate(PAGE);
    let last = closed.last().filter(|_| more).map(|last| MessageId(last.id));
    page::show(&OutgoingPage {
        tabs: tabs(&shell),
        open: open.iter().map(|one| open_row(one, &shell, &visit)).collect(),
        closed: closed.iter().map(|one| sealed_row(one, &shell, &visit)).collect(),
        as_of: crate::operations::overview::as_of(&shell),
        older: last.map(|last| format!("/batches?before={last}")),
        newer: before.map(|_| "/batches".to_owned()),
        shell,
    })
}

/// The batch of a page.
enum Batch {
    Open(OpenBatch),
    Sealed(SealedBatch),
}

impl Batch {
    async fn find(state: &AppState, id: i64) -> Result<Option<Self>, Failure> {
        if let Some(sealed) = batches::sealed_one(state.pool(), id).await? {
            return Ok(Some(Self::Sealed(sealed)));
        }
        let open = batches::open(state.pool()).await?;
        Ok(open.into_iter().find(|one| one.id == id).map(Self::Open))
    }

    fn port(&self) -> &str {
        match self {
            Self::Open(one) => &one.port,
            Self::Sealed(one) => &one.port,
        }
    }
}

#[derive(Template)]
#[template(path = "batches/batch.html")]
struct BatchPage {
    shell: Shell,
    id: String,
    row: Row,
    open: bool,
    on_hold: bool,
    envelope: &'static str,
    control_id: String,
    message: Option<String>,
    answer_by: String,
    late: bool,
    lines: Vec<Line>,
    only_apart: bool,
    refused: i64,
    more: Option<String>,
    may_control: bool,
    ask: String,
    form_key: String,
    version: i32,
}

/// One batch with its messages.
pub(crate) async fn show(
    State(state): State<AppState>,
    visit: Visit,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Answer {
    let not_found = || Failure::NotFound { what: "batch" };
    let number: MessageId = id.parse().map_err(|_| not_found())?;
    let pool = state.pool();
    let found = Batch::find(&state, number.0).await?.ok_or_else(not_found)?;
    visit.record(&state, "batch.viewed", ("batch", &id), "").await?;
    let items = batches::items(pool, number.0, asked.after, asked.apart(), limit(ITEMS)).await?;
    let ids: Vec<i64> = items.iter().map(|item| item.message_id).collect();
    let heads = tracking::heads(pool, &ids).await?;
    let what = |id: i64| heads.iter().find(|head| head.id == id).map(|head| head.message_type.clone());
    let title = format!("Batch for {}", visit.guest.site.names.port(found.port()));
    let shell = Shell::new(&visit, title).crumb("Operations", "/ops").crumb("Batches", "/batches");
    let sealed = match &found {
        Batch::Sealed(sealed) => Some(sealed),
        Batch::Open(_) => None,
    };
    let awaits = sealed.is_some_and(|sealed| sealed.answer_by.is_some());
    let lines = items.iter().map(|item| {
        let (tag, detail) = match item.outcome.as_str() {
            "" if sealed.is_none() => (Tag::new(Tone::Info, "Collected"), ""),
            "" if awaits => (Tag::waiting(), "for the receiver's answer"),
            "" => (Tag::new(Tone::Info, "In the batch"), ""),
            code @ ("AA" | "CA") => (Tag::new(Tone::Good, code), "accepted"),
            code => (Tag::new(Tone::Bad, code), "refused"),
        };
        Line {
            number: item.number,
            href: format!("/messages/{}", MessageId(item.message_id)),
            what: what(item.message_id).unwrap_or_else(|| "Not kept any more".to_owned()),
            control_id: item.control_id.clone(),
            tag,
            detail: detail.to_owned(),
        }
    });
    page::show(&BatchPage {
        lines: lines.collect(),
        more: asked.more(&format!("/batches/{id}"), items.len(), items.last().map(|item| item.number)),
        only_apart: asked.apart(),
        open: sealed.is_none(),
        on_hold: matches!(&found, Batch::Open(one) if one.on_hold),
        envelope: envelope_of(&state, found.port()),
        control_id: sealed.map(|one| one.control_id.clone()).unwrap_or_default(),
        message: sealed.map(|one| format!("/messages/{}", MessageId(one.message_id))),
        answer_by: sealed
            .and_then(|one| one.answer_by)
            .map(|at| shell.near_time(at).text())
            .unwrap_or_default(),
        late: sealed.is_some_and(|one| one.is_late(shell.now)),
        refused: sealed.map_or(0, |one| one.refused),
        row: match &found {
            Batch::Open(one) => open_row(one, &shell, &visit),
            Batch::Sealed(one) => sealed_row(one, &shell, &visit),
        },
        may_control: visit.may(Capability::PortControl),
        ask: visit.guest.site.roles.holders(Capability::PortControl).join(", "),
        form_key: crate::form::new_key(),
        version: version_of(&state, found.port()).await?,
        id,
        shell,
    })
}

/// The version of a port's collector that the person sees; 0 when nobody ever stopped it.
pub(crate) async fn version_of(state: &AppState, port: &str) -> Result<i32, Failure> {
    let settings = operations::port_settings(state.pool()).await?;
    Ok(settings.get(&("collector".to_owned(), port.to_owned())).map_or(0, |setting| setting.version))
}

/// What a person does with the batches of a port.
#[derive(Debug, Deserialize)]
pub(crate) struct Told {
    #[serde(default)]
    to: String,
    #[serde(default)]
    reason: String,
}

/// Sends the batch now, or stops and starts the collecting of its port.
pub(crate) async fn control(
    State(state): State<AppState>,
    visit: Visit,
    Path(id): Path<String>,
    sent: Submission<Told>,
) -> Answer {
    let not_found = || Failure::NotFound { what: "batch" };
    let number: MessageId = id.parse().map_err(|_| not_found())?;
    let found = Batch::find(&state, number.0).await?.ok_or_else(not_found)?;
    let reason = given(&sent.fields.reason)?;
    let port = found.port().to_owned();
    let back = format!("/batches/{id}");
    let (control, action) = match sent.fields.to.as_str() {
        "send" => (Control::SendNow(Some(number.0)), "batch.sent_now"),
        "hold" => (Control::StopAndHold(sent.version), "batch.held"),
        "release" => (Control::StopAndRelease(sent.version), "batch.released"),
        "start" => (Control::Start(sent.version), "batch.started"),
        _ => return Err(Failure::BadForm("It does not say what becomes of the batch".to_owned())),
    };
    form::once(&state, &visit, &sent.key, async {
        let who = visit.entry(action, ("send_port", &port), reason, "done");
        let current = state.running.load_full();
        let done = batch::control(&state.store, &current, &port, control, who).await.map_err(failed)?;
        let said = match (done, control) {
            (Controlled::Done(_), Control::SendNow(_)) => {
                "Closed. It is sent now; what comes from here on goes into the next batch."
            }
            (Controlled::Done(_), Control::StopAndHold(_)) => {
                "Stopped. The batch stays open and grows no more; what comes waits in its order."
            }
            (Controlled::Done(_), Control::StopAndRelease(_)) => {
                "Stopped. What was open is sent now; what comes waits in its order."
            }
            (Controlled::Done(_), Control::Start(_)) => "Started. It collects again.",
            (Controlled::NothingOpen | Controlled::Changed, _) => return Err(changed(&back)),
            (Controlled::NoBatches, _) => {
                return Err(Failure::refused(
                    "This port sends no batches any more",
                    "A deployment changed it. What was collected is sent by itself.",
                    "Look again",
                    &back,
                ));
            }
        };
        Ok((back.clone(), Some(Flash::done(said))))
    })
    .await
}
