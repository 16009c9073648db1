//! Who saw and did what, and the proof that nobody changed the record.

use std::time::Duration;

use askama::Template;
use axum::extract::{Query, State};
use orderly_engine::access::{self, Recorded, Wanted};
use orderly_engine::audit;
use orderly_engine::store::Reading;
use orderly_engine::view::anchors;
use serde::Deserialize;
use sqlx::PgPool;

use crate::failure::Failure;
use crate::form::Submission;
use crate::page::{self, Answer};
use crate::shell::Shell;
use crate::site_time::Moment;
use crate::state::AppState;
use crate::tracking::{hash_text, search::instant};
use crate::visit::Visit;
use crate::word::Tone;

const PAGE: i64 = 100;
/// How long a person waits for a proof; longer ones belong on the command line.
const PROOF_MOST: Duration = Duration::from_secs(60);

/// The filter, as it stands in the address.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    person: String,
    #[serde(default)]
    action: String,
    #[serde(default)]
    object: String,
    #[serde(default)]
    from: String,
    #[serde(default)]
    to: String,
    #[serde(default)]
    before: Option<i64>,
}

impl Asked {
    fn address(&self, before: Option<i64>) -> String {
        let fields = [
            ("person", &self.person),
            ("action", &self.action),
            ("object", &self.object),
            ("from", &self.from),
            ("to", &self.to),
        ];
        let mut pairs: Vec<String> = fields
            .into_iter()
            .filter(|(_, value)| !value.trim().is_empty())
            .map(|(name, value)| format!("{name}={}", crate::link::encode(value.trim())))
            .collect();
        pairs.extend(before.map(|before| format!("before={before}")));
        if pairs.is_empty() { "/audit".to_owned() } else { format!("/audit?{}", pairs.join("&")) }
    }
}

struct Line {
    number: i64,
    at: Moment,
    person: String,
    /// The dotted verb.
    action: String,
    object: String,
    href: Option<String>,
    reason: String,
    address: String,
    result: String,
    refused: bool,
}

fn line(entry: Recorded, shell: &Shell) -> Line {
    let href = match entry.object_kind.as_str() {
        "message" => Some(format!("/messages/{}", entry.object)),
        "instance" => Some(format!("/instances/{}", entry.object)),
        "job" => Some(format!("/jobs/{}", entry.object)),
        _ => None,
    };
    let object = match entry.object.as_str() {
        "" => String::new(),
        object => format!("{} {object}", entry.object_kind),
    };
    Line {
        number: entry.number,
        at: shell.exact_time(entry.at),
        person: if entry.title.is_empty() { "Nobody signed in".to_owned() } else { entry.title },
        href: href.filter(|_| !entry.object.is_empty()),
        object,
        action: entry.action,
        reason: entry.reason,
        address: entry.address,
        refused: entry.result != "done",
        result: entry.result,
    }
}

#[derive(Template)]
#[template(path = "audit/log.html")]
struct LogPage {
    shell: Shell,
    asked: Asked,
    people: Vec<(String, String)>,
    lines: Vec<Line>,
    summary: String,
    newer: Option<String>,
    older: Option<String>,
}

/// The log, newest first. That it was looked at stands in it too.
pub(crate) async fn show(State(state): State<AppState>, visit: Visit, Query(asked): Query<Asked>) -> Answer {
    let shell = Shell::new(&visit, "Access log");
    let described = asked.address(None);
    visit.record(&state, "audit.viewed", ("audit", described.trim_start_matches("/audit?")), "").await?;
    let wanted = Wanted {
        person: asked.person.trim().to_owned(),
        action: asked.action.trim().to_owned(),
        object: asked.object.trim().to_owned(),
        from: instant(&asked.from, &shell)?,
        to: instant(&asked.to, &shell)?,
        before: asked.before,
    };
    let reading = state.reading(&visit).await;
    let search = |pool: PgPool| {
        let wanted = &wanted;
        async move { access::search(&pool, wanted, PAGE + 1).await }
    };
    let mut found = reading.read(search).await?;
    let shell = shell.read_by(&reading);
    let more = found.len() > usize::try_from(PAGE).unwrap_or(usize::MAX);
    found.truncate(usize::try_from(PAGE).unwrap_or(usize::MAX));
    let last = found.last().filter(|_| more).map(|last| last.number);
    let configuration = state.configuration.load();
    let people = configuration.people.iter().map(|(id, person)| (id.clone(), person.title.clone()));
    page::show(&LogPage {
        summary: match found.len() {
            0 => "No entries".to_owned(),
            1 => "1 entry".to_owned(),
            count => format!("{count} entries on this page, newest first"),
        },
        people: people.collect(),
        newer: asked.before.map(|_| asked.address(None)),
        older: last.map(|last| asked.address(Some(last))),
        lines: found.into_iter().map(|entry| line(entry, &shell)).collect(),
        asked,
        shell,
    })
}

/// What a proof came to.
struct Proof {
    tone: Tone,
    text: String,
    breaks: Vec<String>,
}

struct AnchorLine {
    number: i64,
    at: Moment,
    hash: String,
    signed: bool,
}

#[derive(Template)]
#[template(path = "audit/verify.html")]
struct VerifyPage {
    shell: Shell,
    anchors: Vec<AnchorLine>,
    proof: Option<Proof>,
    form_key: String,
}

/// The last anchors of the record.
pub(crate) async fn show_chain(State(state): State<AppState>, visit: Visit) -> Answer {
    let reading = state.reading(&visit).await;
    page::show(&chain_page(&reading, &visit, None).await?)
}

/// Nothing is asked besides the proof itself.
#[derive(Debug, Deserialize)]
pub(crate) struct Nothing {}

/// Recomputes the whole record.
pub(crate) async fn verify(
    State(state): State<AppState>,
    visit: Visit,
    _sent: Submission<Nothing>,
) -> Answer {
    visit.record(&state, "audit.verified", ("audit", ""), "").await?;
    let reading = state.reading(&visit).await;
    let proof = match tokio::time::timeout(PROOF_MOST, reading.read_within(PROOF_MOST, prove)).await {
        Ok(proof) => proof?,
        Err(_) => Proof {
            tone: Tone::Warn,
            text: format!(
                "The record is too long to be recomputed within {} s here. Run `orderly audit verify`.",
                PROOF_MOST.as_secs()
            ),
            breaks: Vec::new(),
        },
    };
    page::show(&chain_page(&reading, &visit, Some(proof)).await?)
}

async fn prove(pool: PgPool) -> Result<Proof, Failure> {
    let report = audit::verify(&pool).await.map_err(|error| Failure::Engine(error.to_string()))?;
    let breaks: Vec<String> = report.breaks.iter().map(ToString::to_string).collect();
    Ok(if breaks.is_empty() {
        Proof {
            tone: Tone::Good,
            text: format!(
                "Unchanged: {} blocks with {} entries, {} messages, {} anchors and the whole access log were \
                 recomputed and fit.",
                report.blocks, report.rows, report.bodies, report.anchors
            ),
            breaks,
        }
    } else {
        Proof { tone: Tone::Bad, text: "The record does not fit. Tell the auditors now.".to_owned(), breaks }
    })
}

async fn chain_page(reading: &Reading, visit: &Visit, proof: Option<Proof>) -> Result<VerifyPage, Failure> {
    let newest = reading.read(|pool: PgPool| async move { anchors::newest(&pool, 20).await }).await?;
    let shell = Shell::new(visit, "Audit chain").read_by(reading);
    Ok(VerifyPage {
        anchors: newest
            .into_iter()
            .map(|anchor| AnchorLine {
                number: anchor.number,
                at: shell.exact_time(anchor.at),
                hash: hash_text(&anchor.hash),
                signed: anchor.signed,
            })
            .collect(),
        proof,
        form_key: crate::form::new_key(),
        shell,
    })
}
