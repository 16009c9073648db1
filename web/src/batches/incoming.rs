//! Files and frames that held several messages: what was announced, what was found, what became of each message.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Path, Query, State};
use orderly_engine::ids::MessageId;
use orderly_engine::view::batches::{self, InterchangeRow, InterchangeState};
use orderly_engine::view::outcome::outcomes;

use super::{
    Asked, ITEMS, Line, Listed, PAGE, Tab, apart_words, envelope_words, limit, one_more, size, tabs,
};
use crate::failure::Failure;
use crate::page::{self, Answer};
use crate::shell::Shell;
use crate::site_time::{Moment, duration};
use crate::state::AppState;
use crate::tracking::{MASK, outcome_tag, outcome_words, reads};
use crate::visit::Visit;
use crate::word::{Tag, Tone};

/// An interchange in words.
struct Row {
    href: String,
    /// Name of the file, or what it was.
    name: String,
    /// Not everybody may read its name.
    masked: bool,
    source: String,
    source_href: String,
    party: String,
    tag: Tag,
    progress: String,
    apart: i64,
    findings: usize,
    started: Moment,
}

fn row(one: &InterchangeRow, shell: &Shell, visit: &Visit) -> Row {
    let masked = !one.name.is_empty() && !reads(visit);
    Row {
        href: format!("/batches/in/{}", MessageId(one.id)),
        name: match (one.name.is_empty(), masked) {
            (true, _) => "A frame".to_owned(),
            (_, true) => MASK.to_owned(),
            _ => one.name.clone(),
        },
        masked,
        source: one.location.clone(),
        source_href: format!("/ports/receive/{}", one.location),
        party: one.party.as_deref().map(|party| shell.site.names.party(party)).unwrap_or_default(),
        tag: tag(one),
        progress: match one.state() {
            InterchangeState::UnderWay => format!("{} of {}", one.stored, one.messages),
            InterchangeState::Refused => format!("none of {}", one.messages),
            InterchangeState::Done => one.messages.to_string(),
        },
        apart: one.bad,
        findings: one.findings.len(),
        started: shell.exact_time(one.started_at),
    }
}

fn tag(one: &InterchangeRow) -> Tag {
    match one.state() {
        InterchangeState::UnderWay => Tag::new(Tone::Info, "Under way"),
        InterchangeState::Done if one.bad > 0 => Tag::new(Tone::Warn, "Taken, some set apart"),
        InterchangeState::Done => Tag::new(Tone::Good, "Taken"),
        InterchangeState::Refused => Tag::new(Tone::Bad, "Refused"),
    }
}

#[derive(Template)]
#[template(path = "batches/incoming.html")]
struct IncomingPage {
    shell: Shell,
    tabs: [Tab; 2],
    rows: Vec<Row>,
    as_of: String,
    older: Option<String>,
    newer: Option<String>,
}

/// The newest first.
pub(crate) async fn list(State(state): State<AppState>, visit: Visit, Query(asked): Query<Listed>) -> Answer {
    let shell = Shell::new(&visit, "Batches");
    let before = asked.before()?;
    let mut found = batches::interchanges(state.pool(), before, one_more(PAGE)).await?;
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let last = found.last().filter(|_| more).map(|last| MessageId(last.id));
    page::show(&IncomingPage {
        tabs: tabs(&shell),
        rows: found.iter().map(|one| row(one, &shell, &visit)).collect(),
        as_of: crate::operations::overview::as_of(&shell),
        older: last.map(|last| format!("/batches/in?before={last}")),
        newer: before.map(|_| "/batches/in".to_owned()),
        shell,
    })
}

#[derive(Template)]
#[template(path = "batches/interchange.html")]
struct InterchangePage {
    shell: Shell,
    id: String,
    row: Row,
    envelope: &'static str,
    control_id: String,
    size: String,
    batches: i32,
    messages: i64,
    stored: i64,
    answer: Option<String>,
    findings: Vec<String>,
    reason: String,
    finished: String,
    took: String,
    lines: Vec<Line>,
    only_apart: bool,
    more: Option<String>,
}

/// One interchange with its messages.
pub(crate) async fn show(
    State(state): State<AppState>,
    visit: Visit,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Answer {
    let not_found = || Failure::NotFound { what: "batch" };
    let number: MessageId = id.parse().map_err(|_| not_found())?;
    let found = batches::interchange(state.pool(), number.0).await?.ok_or_else(not_found)?;
    visit.record(&state, "interchange.viewed", ("interchange", &id), "").await?;
    let items =
        batches::interchange_items(state.pool(), number.0, asked.after, asked.apart(), limit(ITEMS)).await?;
    let ids: Vec<i64> =
        items.iter().filter(|item| item.code.is_empty()).map(|item| item.message_id).collect();
    let fates: HashMap<_, _> = outcomes(state.pool(), &ids, visit.guest.now).await?;
    let shell = Shell::new(&visit, "A batch that came in")
        .crumb("Operations", "/ops")
        .crumb("Batches", "/batches/in");
    let lines = items.iter().map(|item| {
        let fate = fates.get(&item.message_id).filter(|_| item.code.is_empty());
        let (tag, detail) = match fate {
            Some((outcome, detail)) => (outcome_tag(*outcome), outcome_words(detail, &shell.site.names)),
            None => apart_words(&item.code),
        };
        Line {
            number: item.number,
            href: format!("/messages/{}", MessageId(item.message_id)),
            what: item.message_type.clone().unwrap_or_else(|| "Not kept any more".to_owned()),
            control_id: item.control_id.clone().unwrap_or_default(),
            tag,
            detail,
        }
    });
    page::show(&InterchangePage {
        lines: lines.collect(),
        more: asked.more(&format!("/batches/in/{id}"), items.len(), items.last().map(|item| item.number)),
        answer: found.answer.map(|answer| format!("/messages/{}", MessageId(answer))),
        only_apart: asked.apart(),
        envelope: envelope_words(&found.envelope),
        control_id: found.control_id.clone(),
        size: size(found.bytes),
        batches: found.batches,
        messages: found.messages,
        stored: found.stored,
        findings: found.findings.clone(),
        reason: found.reason.clone(),
        finished: found.finished_at.map(|at| shell.exact_time(at).text()).unwrap_or_default(),
        took: found
            .finished_at
            .map(|at| match at - found.started_at {
                span if span.num_seconds() < 1 => "less than a second".to_owned(),
                span => duration(span),
            })
            .unwrap_or_default(),
        row: row(&found, &shell, &visit),
        id,
        shell,
    })
}
