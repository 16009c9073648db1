//! The page of one message. Every tab is an address of its own; each view is recorded before anything is sent.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use orderly_engine::access;
use orderly_engine::ids::{InstanceId, MessageId};
use orderly_engine::tracking::Found;
use orderly_engine::view::batches;
use orderly_engine::view::outcome::{Outcome, outcomes};
use orderly_engine::view::tracking::{self, Journey, MessageHead};
use orderly_hl7::Message;
use serde::Deserialize;
use sqlx::PgPool;

use super::content::{self, RawLine, ReadableSegment, TreeSegment};
use super::custody;
use super::findings::{self, FindingLine};
use super::journey::{Line, TaskView, Telling};
use super::{masked_patient, outcome_tag, reads};
use crate::failure::Failure;
use crate::page::{self, Answer};
use crate::route::Needs;
use crate::shell::Shell;
use crate::site_time::Moment;
use crate::state::AppState;
use crate::visit::Visit;
use crate::word::{Tag, Tone};
use orderly_engine::capability::Capability;

/// A tab of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tab {
    Journey,
    Findings,
    Readable,
    Tree,
    Raw,
    Acknowledgments,
    Access,
    Custody,
}

const TABS: [(Tab, &str, &str); 8] = [
    (Tab::Journey, "Journey", "journey"),
    (Tab::Findings, "Findings", "findings"),
    (Tab::Readable, "Readable", "readable"),
    (Tab::Tree, "Tree", "tree"),
    (Tab::Raw, "Raw", "raw"),
    (Tab::Acknowledgments, "Acknowledgments", "acknowledgments"),
    (Tab::Access, "Access", "access"),
    (Tab::Custody, "Custody", "custody"),
];

impl Tab {
    fn from_word(word: &str) -> Option<Self> {
        if word.is_empty() {
            return Some(Self::Journey);
        }
        TABS.into_iter().find(|(_, _, known)| *known == word).map(|(tab, ..)| tab)
    }

    fn word(self) -> &'static str {
        TABS.into_iter().find(|(tab, ..)| *tab == self).map_or("journey", |(_, _, word)| word)
    }

    fn shows_content(self) -> bool {
        matches!(self, Self::Readable | Self::Tree | Self::Raw)
    }
}

/// A tab as a link.
pub(crate) struct TabLink {
    pub(crate) title: String,
    pub(crate) href: String,
    pub(crate) current: bool,
}

/// A message in a short list.
pub(crate) struct Related {
    pub(crate) href: String,
    pub(crate) at: Moment,
    pub(crate) what: String,
    pub(crate) message_type: String,
    pub(crate) control_id: String,
}

/// An instance in a short list.
pub(crate) struct InstanceLine {
    pub(crate) href: String,
    pub(crate) orchestration: String,
    pub(crate) tag: Tag,
    pub(crate) waiting: String,
}

/// An acknowledgment: what was sent or received, for what, saying what.
pub(crate) struct AckLine {
    pub(crate) at: Moment,
    pub(crate) direction: &'static str,
    pub(crate) port: String,
    pub(crate) code: String,
    pub(crate) tone: Tone,
    pub(crate) control_id: String,
    pub(crate) text: String,
    pub(crate) href: Option<String>,
}

/// One line of who looked.
pub(crate) struct AccessLine {
    pub(crate) at: Moment,
    pub(crate) person: String,
    pub(crate) did: String,
    pub(crate) reason: String,
    pub(crate) address: String,
    pub(crate) result: String,
}

/// A stored byte stream and its hash.
pub(crate) struct Custody {
    pub(crate) what: String,
    pub(crate) href: String,
    pub(crate) size: i32,
    pub(crate) sha256: String,
}

/// A block of the audit chain.
pub(crate) struct BlockLine {
    pub(crate) place: String,
    pub(crate) at: Moment,
    pub(crate) rows: i32,
    pub(crate) root: String,
    pub(crate) hash: String,
}

/// What "Verify now" found.
pub(crate) struct Verified {
    pub(crate) tone: Tone,
    pub(crate) text: String,
    pub(crate) breaks: Vec<String>,
}

/// What the tabs show; each fills its own part.
#[derive(Default)]
pub(crate) struct Body {
    pub(crate) lines: Vec<Line>,
    pub(crate) more: bool,
    pub(crate) tasks: Vec<TaskView>,
    pub(crate) instances: Vec<InstanceLine>,
    pub(crate) related: Vec<Related>,
    pub(crate) parked: Vec<(String, String)>,
    pub(crate) readable: Vec<ReadableSegment>,
    pub(crate) tree: Vec<TreeSegment>,
    pub(crate) raw: Vec<RawLine>,
    pub(crate) unreadable: Option<String>,
    pub(crate) findings: Vec<FindingLine>,
    pub(crate) charset: String,
    pub(crate) acks: Vec<AckLine>,
    pub(crate) accesses: Vec<AccessLine>,
    pub(crate) custody: Vec<Custody>,
    pub(crate) blocks: Vec<BlockLine>,
    pub(crate) verified: Option<Verified>,
}

#[derive(Template)]
#[template(path = "tracking/message.html")]
struct MessagePage {
    shell: Shell,
    id: String,
    control_id: String,
    received: Moment,
    source: String,
    party: String,
    patient: String,
    size: i32,
    status: Tag,
    status_detail: String,
    parent: Option<String>,
    /// How many findings there are.
    mark: Option<Tag>,
    /// The batches it came in or went out with: words and address.
    batch: Vec<(String, String)>,
    may_edit: bool,
    may_ask: bool,
    may_hold: bool,
    tabs: Vec<TabLink>,
    tab: &'static str,
    /// The tab shows content that this person may not read.
    hidden: bool,
    ask: String,
    /// The address of the readable message.
    content: String,
    body: Body,
}

/// Which tab, and whether to verify.
#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    tab: String,
    #[serde(default)]
    verify: String,
}

/// The page of a message.
pub(crate) async fn show(
    State(state): State<AppState>,
    visit: Visit,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Answer {
    let not_found = || Failure::NotFound { what: "message" };
    let message_id: MessageId = id.parse().map_err(|_| not_found())?;
    let tab = Tab::from_word(&asked.tab).ok_or_else(not_found)?;
    let reading = state.reading(&visit).await;
    let head = |pool: PgPool| async move { tracking::head(&pool, message_id.0).await };
    let head = reading.find(head).await?.ok_or_else(not_found)?;
    let hidden = tab.shows_content() && !reads(&visit);
    if tab == Tab::Access && !visit.may(Capability::AuditRead) && !reads(&visit) {
        return Err(Failure::NotAllowed { needs: Needs::One(Capability::AuditRead) });
    }
    // Recorded before anything is sent: if this fails, nothing is shown.
    let action = if hidden { "message.refused" } else { "message.viewed" };
    visit.record(&state, action, ("message", &id), tab.word()).await?;
    let shell = Shell::new(&visit, title(&head)).crumb("Messages", "/messages");
    let told = |pool: PgPool| {
        let (visit, shell, head, asked) = (&visit, &shell, &head, &asked);
        async move { told(&pool, visit, shell, head, (!hidden).then_some(tab), asked).await }
    };
    let Told { status: (status, status_detail), found, body, batch } = reading.read(told).await?;
    let shell = shell.read_by(&reading);
    let holders = visit.guest.site.roles.holders(Capability::MsgRead).join(", ");
    page::show(&MessagePage {
        control_id: head.control_id.clone().unwrap_or_default(),
        received: shell.exact_time(head.received_at),
        source: source_words(&head, &shell),
        party: head.party.as_deref().map(|party| shell.site.names.party(party)).unwrap_or_default(),
        patient: masked_patient(head.patient.as_deref(), &visit),
        size: head.size,
        status: outcome_tag(status),
        status_detail,
        parent: head.parent.map(|parent| format!("/messages/{}", MessageId(parent))),
        mark: found.iter().map(|one| one.severity).max().map(|worst| findings::counted(found.len(), worst)),
        batch,
        may_edit: visit.may(Capability::MsgEdit) && head.message_type != "ACK",
        may_ask: visit.may(Capability::PortRead) && reads(&visit),
        may_hold: visit.may(Capability::RetentionConfig),
        tabs: tabs(&id, tab, found.len()),
        tab: tab.word(),
        hidden,
        ask: holders,
        content: format!("/messages/{id}?tab=readable"),
        id,
        body,
        shell,
    })
}

/// What is read of a message for its page.
struct Told {
    status: (Outcome, String),
    found: Vec<Found>,
    body: Body,
    batch: Vec<(String, String)>,
}

/// Reads it; without a tab nothing of what it says.
async fn told(
    pool: &PgPool,
    visit: &Visit,
    shell: &Shell,
    head: &MessageHead,
    tab: Option<Tab>,
    asked: &Asked,
) -> Result<Told, Failure> {
    let mut found = tracking::findings(pool, &[head.id]).await?;
    let found = found.remove(&head.id).unwrap_or_default();
    Ok(Told {
        status: status(pool, visit, head.id).await?,
        body: match tab {
            Some(tab) => body(pool, visit, shell, head, tab, asked, &found).await?,
            None => Body::default(),
        },
        batch: batch_of(pool, head.id).await?,
        found,
    })
}

/// The exact bytes, as a file.
pub(crate) async fn download(State(state): State<AppState>, visit: Visit, Path(id): Path<String>) -> Answer {
    let not_found = || Failure::NotFound { what: "message" };
    let message_id: MessageId = id.parse().map_err(|_| not_found())?;
    visit.record(&state, "message.downloaded", ("message", &id), "").await?;
    let body = |pool: PgPool| async move { tracking::body(&pool, message_id.0).await };
    let body = state.reading(&visit).await.find(body).await?.ok_or_else(not_found)?;
    Ok(page::download(&format!("{id}.hl7"), "application/octet-stream", body).into_response())
}

fn title(head: &MessageHead) -> String {
    match &head.control_id {
        Some(control_id) => format!("{} · {control_id}", head.message_type),
        None => head.message_type.clone(),
    }
}

pub(super) fn source_words(head: &MessageHead, shell: &Shell) -> String {
    match head.source_kind.as_str() {
        "receive_location" => format!("Received on {}", head.source),
        "orchestration" => format!("Made by “{}”", shell.site.orchestration(&head.source)),
        "send_port" => format!("Answer of {}", shell.site.names.port(&head.source)),
        _ => format!("Sent in by {}", head.source),
    }
}

async fn status(pool: &PgPool, visit: &Visit, id: i64) -> Result<(Outcome, String), Failure> {
    let mut found = outcomes(pool, &[id], visit.guest.now).await?;
    let (outcome, detail) = found.remove(&id).unwrap_or((Outcome::Received, String::new()));
    Ok((outcome, super::outcome_words(&detail, &visit.guest.site.names)))
}

/// The batch that a message came in with, and those that it went out with.
async fn batch_of(pool: &PgPool, id: i64) -> Result<Vec<(String, String)>, Failure> {
    let came = batches::came_in(pool, id).await?;
    let came = came.map(|(batch, number)| {
        (format!("Came as number {number} of a batch"), format!("/batches/in/{}", MessageId(batch)))
    });
    let went = batches::went_in(pool, id).await?;
    let went = went.into_iter().map(|(batch, number)| {
        (format!("Number {number} of an outgoing batch"), format!("/batches/{}", MessageId(batch)))
    });
    Ok(came.into_iter().chain(went).collect())
}

fn tabs(id: &str, current: Tab, findings: usize) -> Vec<TabLink> {
    TABS.into_iter()
        .map(|(tab, title, word)| TabLink {
            title: match tab {
                Tab::Findings if findings > 0 => format!("{title} {findings}"),
                _ => title.to_owned(),
            },
            href: if tab == Tab::Journey {
                format!("/messages/{id}")
            } else {
                format!("/messages/{id}?tab={word}")
            },
            current: tab == current,
        })
        .collect()
}

async fn body(
    pool: &PgPool,
    visit: &Visit,
    shell: &Shell,
    head: &MessageHead,
    tab: Tab,
    asked: &Asked,
    found: &[Found],
) -> Result<Body, Failure> {
    Ok(match tab {
        Tab::Findings => {
            // Only who may read it is led to the place in the message.
            let bytes = if reads(visit) { tracking::body(pool, head.id).await? } else { None };
            let message = bytes.and_then(|bytes| Message::parse(bytes).ok());
            Body { findings: findings::kept(found, message.as_ref()), ..Body::default() }
        }
        Tab::Journey => {
            let journey = tracking::journey_of_message(pool, head).await?;
            journey_body(&journey, shell, Some(head.id), reads(visit))
        }
        Tab::Readable | Tab::Tree | Tab::Raw => {
            let bytes = tracking::body(pool, head.id).await?.ok_or(Failure::NotFound { what: "message" })?;
            content_body(bytes, tab, found)
        }
        Tab::Acknowledgments => {
            let journey = tracking::journey_of_message(pool, head).await?;
            Body { acks: super::acknowledgments::lines(&journey, shell, head), ..Body::default() }
        }
        Tab::Access => {
            let object = MessageId(head.id).to_string();
            let recorded = access::of_object(pool, "message", &object, 200).await?;
            Body {
                accesses: recorded.into_iter().map(|entry| access_line(entry, shell)).collect(),
                ..Body::default()
            }
        }
        Tab::Custody => {
            let journey = tracking::journey_of_message(pool, head).await?;
            let blocks = tracking::blocks(pool, &journey.entries).await?;
            let verified = match asked.verify.as_str() {
                "" => None,
                _ => Some(custody::verify(pool, head, &blocks).await?),
            };
            custody::body(&journey, &blocks, head, verified, shell)
        }
    })
}

/// Lines, tasks, instances and other messages of a journey.
pub(crate) fn journey_body(journey: &Journey, shell: &Shell, message: Option<i64>, reads: bool) -> Body {
    let telling = Telling { journey, shell, message, reads };
    Body {
        lines: telling.lines(),
        more: journey.more,
        tasks: telling.tasks(),
        instances: journey.instances.iter().map(|one| super::instance::line(one, shell)).collect(),
        related: related(journey, shell, message),
        parked: journey
            .parked
            .iter()
            .map(|row| {
                (
                    format!("/suspended/work/{}", orderly_engine::ids::ParkedId(row.id)),
                    super::parked_words(row, shell),
                )
            })
            .collect(),
        ..Body::default()
    }
}

/// The other messages of a journey, in order.
pub(crate) fn related(journey: &Journey, shell: &Shell, message: Option<i64>) -> Vec<Related> {
    let mut heads: Vec<&MessageHead> =
        journey.messages.values().filter(|head| Some(head.id) != message).collect();
    heads.sort_by_key(|head| head.id);
    heads
        .into_iter()
        .map(|head| Related {
            href: format!("/messages/{}", MessageId(head.id)),
            at: shell.near_time(head.received_at),
            what: source_words(head, shell),
            message_type: head.message_type.clone(),
            control_id: head.control_id.clone().unwrap_or_default(),
        })
        .collect()
}

fn content_body(bytes: Vec<u8>, tab: Tab, found: &[Found]) -> Body {
    let parsed = Message::parse(bytes.clone());
    let mut body = Body::default();
    match &parsed {
        Ok(message) => {
            body.charset = message.written_in().name().to_owned();
            match tab {
                Tab::Readable => {
                    body.readable = content::readable(message);
                    findings::mark(&mut body.readable, &findings::kept(found, Some(message)));
                }
                Tab::Tree => body.tree = content::tree(message),
                _ => {}
            }
        }
        Err(error) => body.unreadable = Some(error.to_string()),
    }
    // What cannot be read as HL7 is shown raw on every tab, because then the bytes are all there is.
    if tab == Tab::Raw || parsed.is_err() {
        body.raw = content::raw(&bytes, parsed.as_ref().ok());
    }
    body
}

fn access_line(entry: access::Recorded, shell: &Shell) -> AccessLine {
    let did = match entry.action.as_str() {
        "message.viewed" => format!("Viewed: {}", entry.reason),
        "message.refused" => format!("Refused: {}", entry.reason),
        "message.downloaded" => "Downloaded the bytes".to_owned(),
        "message.tried" => "Tried a rule on it".to_owned(),
        other => other.to_owned(),
    };
    let reason = if entry.action.starts_with("message.") { String::new() } else { entry.reason };
    AccessLine {
        at: shell.exact_time(entry.at),
        person: entry.title,
        did,
        reason,
        address: entry.address,
        result: entry.result,
    }
}

/// The link to an instance.
pub(crate) fn instance_href(id: i64) -> String {
    format!("/instances/{}", InstanceId(id))
}
