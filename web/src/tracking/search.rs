//! Message search. A patient id is posted and becomes an opaque search id, so that no address holds one.

use askama::Template;
use axum::extract::{Query, State};
use chrono::{DateTime, LocalResult, NaiveDateTime, TimeZone, Utc};
use orderly_engine::ids::MessageId;
use orderly_engine::view::outcome::{OUTCOMES, Outcome};
use orderly_engine::view::patient_search::Kept;
use orderly_engine::view::search::{Filter, Found, Origin, SCAN_MOST, With};
use orderly_engine::view::{patient_search, search};
use serde::Deserialize;
use sqlx::PgPool;

use super::{masked_patient, outcome_tag, reads};
use crate::failure::Failure;
use crate::form::Submission;
use crate::page::{self, Answer};
use crate::shell::Shell;
use crate::state::AppState;
use crate::visit::Visit;
use crate::word::Tag;

const PAGE: usize = 50;

/// The fields of the search form, as they stand in the address.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    control_id: String,
    #[serde(default, rename = "type")]
    message_type: String,
    #[serde(default)]
    port: String,
    #[serde(default)]
    party: String,
    #[serde(default)]
    from: String,
    #[serde(default)]
    to: String,
    #[serde(default)]
    status: String,
    /// `any`, `errors` or `none`.
    #[serde(default)]
    findings: String,
    #[serde(default)]
    origin: String,
    /// Opaque id of a posted patient search.
    #[serde(default)]
    s: String,
    /// Opaque id of a posted search by a property.
    #[serde(default)]
    p: String,
    #[serde(default)]
    before: String,
}

/// The posted form: the same fields, the patient id, and a property with its value.
#[derive(Debug, Deserialize)]
pub(crate) struct Posted {
    #[serde(default)]
    patient: String,
    #[serde(default)]
    property: String,
    #[serde(default)]
    value: String,
    #[serde(flatten)]
    asked: Asked,
}

struct Row {
    href: String,
    received: crate::site_time::Moment,
    message_type: String,
    source: String,
    party: String,
    control_id: String,
    patient: String,
    status: Tag,
    detail: String,
    /// What was found in it, and where that is told.
    findings: Option<(Tag, String)>,
}

struct Choice {
    value: String,
    title: String,
    chosen: bool,
}

#[derive(Template)]
#[template(path = "tracking/search.html")]
struct SearchPage {
    shell: Shell,
    asked: Asked,
    statuses: Vec<Choice>,
    withs: Vec<Choice>,
    origins: Vec<Choice>,
    ports: Vec<String>,
    rows: Vec<Row>,
    patient_search: bool,
    /// Properties that messages can be searched by, and the one that they are.
    properties: Vec<Choice>,
    property_search: bool,
    /// Since when the property is known of messages, where older ones may have it too.
    known_since: Option<crate::site_time::Moment>,
    reads: bool,
    summary: String,
    /// Filters in force with the address without each.
    filters: Vec<(String, String)>,
    scanned: Option<(usize, String)>,
    newer: Option<String>,
    older: Option<String>,
    form_key: String,
}

/// The search page and what it found.
pub(crate) async fn show(State(state): State<AppState>, visit: Visit, Query(asked): Query<Asked>) -> Answer {
    let (patient, property) = (kept(&state, &visit, &asked.s).await?, kept(&state, &visit, &asked.p).await?);
    let patient = patient.map(|kept| kept.value);
    let property = property.and_then(|kept| Some((kept.property?, kept.value)));
    let mut shell = Shell::new(&visit, "Messages");
    let filter = Filter { property, ..filter(&asked, patient.clone(), &shell)? };
    record(&state, &visit, &asked, &filter).await?;
    let reading = state.reading(&visit).await;
    let search = |pool: PgPool| {
        let (filter, now) = (&filter, visit.guest.now);
        async move { search::search(&pool, filter, now, PAGE).await }
    };
    let mut found = reading.read(search).await?;
    // What just came in must not seem lost to who knows its number.
    if found.rows.is_empty() && filter.has_key() && reading.turn_to_primary() {
        found = reading.read(search).await?;
    }
    shell = shell.read_by(&reading);
    let older = match (found.more, found.rows.last()) {
        (true, Some(last)) => Some(asked.with("before", &MessageId(last.id).to_string())),
        _ => None,
    };
    let scanned = found.scanned_to.map(|to| (SCAN_MOST, asked.with("before", &MessageId(to).to_string())));
    let rows: Vec<Row> = found.rows.iter().map(|found| row(found, &shell, &visit)).collect();
    shell.title = "Messages".to_owned();
    page::show(&SearchPage {
        summary: summary(
            rows.len(),
            found.more || found.scanned_to.is_some(),
            !asked.before.is_empty(),
            &shell,
        ),
        statuses: statuses(&asked),
        withs: withs(&asked),
        origins: origins(&asked),
        ports: ports(&state),
        patient_search: patient.is_some(),
        reads: reads(&visit),
        filters: filters(&asked, &filter),
        properties: properties(&state, &filter),
        property_search: filter.property.is_some(),
        known_since: found.known_since.map(|since| shell.time(since)),
        newer: (!asked.before.is_empty()).then(|| asked.with("before", "")),
        form_key: crate::form::new_key(),
        rows,
        scanned,
        older,
        asked,
        shell,
    })
}

/// Takes the form. With a patient id it keeps that under an opaque id; without, it is only an address.
pub(crate) async fn submit(State(state): State<AppState>, visit: Visit, form: Submission<Posted>) -> Answer {
    let mut asked = form.fields.asked;
    let (pool, person, now) = (state.pool(), visit.person.id.as_str(), visit.guest.now);
    let patient = form.fields.patient.trim();
    if !patient.is_empty() {
        asked.s = patient_search::keep(pool, (None, patient), person, now).await?;
    }
    let (property, value) = (form.fields.property.trim(), form.fields.value.trim());
    if !value.is_empty() {
        let configuration = state.configuration.load();
        if !configuration.tracking.index.iter().any(|declared| declared == property) {
            return Err(Failure::BadForm("Choose the property that has this value".to_owned()));
        }
        asked.p = patient_search::keep(pool, (Some(property), value), person, now).await?;
    }
    asked.before = String::new();
    page::go_quietly(&asked.address())
}

/// What an opaque id in the address stands for.
async fn kept(state: &AppState, visit: &Visit, id: &str) -> Result<Option<Kept>, Failure> {
    if id.is_empty() {
        return Ok(None);
    }
    let kept = patient_search::find(state.pool(), id, &visit.person.id, visit.guest.now).await?;
    kept.map(Some).ok_or_else(forgotten)
}

fn forgotten() -> Failure {
    Failure::refused(
        "This search is no longer kept",
        "Searches by patient or property are kept for twelve hours and only for the person who made them. Type it again.",
        "New search",
        "/messages",
    )
}

async fn record(state: &AppState, visit: &Visit, asked: &Asked, filter: &Filter) -> Result<(), Failure> {
    let described: Vec<String> = asked.pairs().map(|(name, value)| format!("{name}={value}")).collect();
    let described = described.join(" ");
    // The log must answer "who searched for this patient" without holding patient ids itself. So it is with values.
    if let Some((name, value)) = &filter.property {
        let object = patient_search::fingerprint(value);
        let described = format!("{name} {described}");
        visit.record(state, "property.searched", ("property", &object), &described).await?;
    }
    match &filter.patient {
        Some(patient) => {
            let object = patient_search::fingerprint(patient);
            visit.record(state, "patient.searched", ("patient", &object), &described).await
        }
        None if filter.property.is_some() => Ok(()),
        // The bare list is the start page of the section; looking at it asks for nothing in particular.
        None => visit.record(state, "message.searched", ("search", &described), "").await,
    }
}

impl Asked {
    fn pairs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("control_id", &self.control_id),
            ("type", &self.message_type),
            ("port", &self.port),
            ("party", &self.party),
            ("from", &self.from),
            ("to", &self.to),
            ("status", &self.status),
            ("findings", &self.findings),
            ("origin", &self.origin),
            ("s", &self.s),
            ("p", &self.p),
            ("before", &self.before),
        ]
        .into_iter()
        .map(|(name, value)| (name, value.trim()))
        .filter(|(_, value)| !value.is_empty())
    }

    fn address(&self) -> String {
        address(self.pairs())
    }

    /// The address of this search with one field changed.
    fn with(&self, field: &'static str, value: &str) -> String {
        let rest =
            self.pairs().filter(|(name, _)| *name != field && (*name != "before" || field == "before"));
        let pairs: Vec<(&'static str, &str)> =
            rest.chain((!value.is_empty()).then_some((field, value))).collect();
        address(pairs.into_iter())
    }
}

fn address<'a>(pairs: impl Iterator<Item = (&'static str, &'a str)>) -> String {
    let query: Vec<String> =
        pairs.map(|(name, value)| format!("{name}={}", crate::link::encode(value))).collect();
    if query.is_empty() { "/messages".to_owned() } else { format!("/messages?{}", query.join("&")) }
}

fn filter(asked: &Asked, patient: Option<String>, shell: &Shell) -> Result<Filter, Failure> {
    let text = |value: &str| Some(value.trim().to_owned()).filter(|value| !value.is_empty());
    let before = match asked.before.trim() {
        "" => None,
        id => Some(id.parse::<MessageId>().map_err(|_| Failure::NotFound { what: "page of this search" })?.0),
    };
    Ok(Filter {
        control_id: text(&asked.control_id),
        patient,
        message_type: text(&asked.message_type).map(|kind| kind.to_uppercase()),
        source: text(&asked.port),
        party: text(&asked.party),
        property: None,
        from: instant(&asked.from, shell)?,
        to: instant(&asked.to, shell)?,
        outcome: Outcome::from_word(asked.status.trim()),
        findings: With::from_word(asked.findings.trim()),
        origin: Origin::from_word(&asked.origin),
        before,
    })
}

/// Reads the value of a `datetime-local` field in the zone of the site.
pub(crate) fn instant(text: &str, shell: &Shell) -> Result<Option<DateTime<Utc>>, Failure> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let local = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"]
        .iter()
        .find_map(|shape| NaiveDateTime::parse_from_str(text, shape).ok());
    let Some(local) = local else {
        return Err(Failure::BadForm("A time must look like 2026-11-21T10:40".to_owned()));
    };
    Ok(match shell.zone.from_local_datetime(&local) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => Some(at.to_utc()),
        LocalResult::None => Some(local.and_utc()),
    })
}

fn row(found: &Found, shell: &Shell, visit: &Visit) -> Row {
    Row {
        href: format!("/messages/{}", MessageId(found.id)),
        received: shell.exact_time(found.received_at),
        message_type: found.message_type.clone(),
        source: found.source.clone(),
        party: found.party.as_deref().map(|party| shell.site.names.party(party)).unwrap_or_default(),
        control_id: found.control_id.clone().unwrap_or_default(),
        patient: masked_patient(found.patient.as_deref(), visit),
        status: outcome_tag(found.outcome),
        detail: super::outcome_words(&found.outcome_detail, &shell.site.names),
        findings: found.worst.map(|worst| {
            let tag = super::findings::counted(found.findings, worst);
            (tag, format!("/messages/{}?tab=findings", MessageId(found.id)))
        }),
    }
}

fn summary(count: usize, more: bool, later_page: bool, shell: &Shell) -> String {
    let time = shell.known_until();
    match (count, more || later_page) {
        (0, _) => format!("Nothing matched, as of {time}"),
        (1, false) => format!("1 message, as of {time}"),
        (count, false) => format!("{count} messages, newest first, as of {time} (complete)"),
        (count, true) => format!("{count} messages on this page, newest first, as of {time}"),
    }
}

fn statuses(asked: &Asked) -> Vec<Choice> {
    let words = OUTCOMES.into_iter().map(|outcome| outcome.word().to_owned());
    words.map(|word| Choice { chosen: word == asked.status, title: word.clone(), value: word }).collect()
}

fn withs(asked: &Asked) -> Vec<Choice> {
    [
        (With::Findings, "With any finding"),
        (With::Errors, "With an error"),
        (With::Nothing, "Nothing to mend"),
    ]
    .into_iter()
    .map(|(with, title)| Choice {
        value: with.word().to_owned(),
        title: title.to_owned(),
        chosen: With::from_word(&asked.findings) == Some(with),
    })
    .collect()
}

fn origins(asked: &Asked) -> Vec<Choice> {
    [
        (Origin::Received, "Received from outside"),
        (Origin::Made, "Made by orchestrations"),
        (Origin::Answers, "Answers of receivers"),
        (Origin::All, "All messages"),
    ]
    .into_iter()
    .map(|(origin, title)| Choice {
        value: origin.word().to_owned(),
        title: title.to_owned(),
        chosen: Origin::from_word(&asked.origin) == origin,
    })
    .collect()
}

fn ports(state: &AppState) -> Vec<String> {
    let configuration = state.configuration.load();
    configuration.receive_ports.keys().chain(configuration.send_ports.keys()).cloned().collect()
}

/// The properties that the site declares.
fn properties(state: &AppState, filter: &Filter) -> Vec<Choice> {
    let configuration = state.configuration.load();
    let chosen = filter.property.as_ref().map(|(name, _)| name.as_str());
    let index = &configuration.tracking.index;
    let terms = if index.is_empty() { Vec::new() } else { configuration.rules.terms() };
    let title = |name: &str| {
        let term = terms.iter().find(|term| term.name == name && !term.title.is_empty());
        term.map_or_else(|| name.to_owned(), |term| format!("{} ({name})", term.title))
    };
    let choice =
        |name: &String| Choice { chosen: chosen == Some(name), title: title(name), value: name.clone() };
    index.iter().map(choice).collect()
}

fn filters(asked: &Asked, filter: &Filter) -> Vec<(String, String)> {
    asked
        .pairs()
        .filter(|(name, value)| *name != "before" && !(*name == "origin" && *value == "received"))
        .map(|(name, value)| {
            let title = match name {
                "control_id" => format!("Control id {value}"),
                "type" => format!("Type {value}"),
                "port" => format!("Port {value}"),
                "party" => format!("Party {value}"),
                "from" => format!("From {}", value.replace('T', " ")),
                "to" => format!("To {}", value.replace('T', " ")),
                "status" => format!("Status {value}"),
                "findings" if value == "none" => "Nothing to mend".to_owned(),
                "findings" if value == "errors" => "With an error".to_owned(),
                "findings" => "With findings".to_owned(),
                "s" if filter.patient.is_some() => "One patient".to_owned(),
                "p" => {
                    let name = filter.property.as_ref().map_or("property", |(name, _)| name.as_str());
                    format!("One value of {name}")
                }
                _ => value.to_owned(),
            };
            (title, asked.with(name, ""))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_every_filter_and_encodes_it() {
        let asked = Asked { message_type: "ORU^R01".into(), control_id: "a&b=c".into(), ..Asked::default() };
        assert_eq!(asked.address(), "/messages?control_id=a%26b%3Dc&type=ORU%5ER01");
        assert_eq!(asked.with("type", ""), "/messages?control_id=a%26b%3Dc");
    }

    #[test]
    fn changing_a_filter_goes_back_to_the_first_page() {
        let asked = Asked { port: "lab".into(), before: "0123456789abc".into(), ..Asked::default() };
        assert_eq!(asked.with("status", "Waiting"), "/messages?port=lab&status=Waiting");
    }
}
