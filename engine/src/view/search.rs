//! Searching messages: filters, keyset paging, and what became of each message found.
//!
//! The search itself is the one place where SQL is put together at run time, because its filters are free to
//! combine; values only ever travel as bound parameters.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use orderly_hl7::Severity;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Postgres, QueryBuilder, Row};

use super::outcome::{Outcome, outcomes};
use super::search_property::{self, Key};
use crate::ids::time_of;
use crate::message_box::{self, indexed};

/// Which messages by their origin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Origin {
    /// Those that came in from outside.
    #[default]
    Received,
    /// Those that orchestrations made.
    Made,
    /// Answers of receivers.
    Answers,
    /// All of them.
    All,
}

impl Origin {
    /// The word of the form and the address.
    pub fn word(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Made => "made",
            Self::Answers => "answers",
            Self::All => "all",
        }
    }

    /// Reads the word of the form; anything else means received messages.
    pub fn from_word(word: &str) -> Self {
        [Self::Made, Self::Answers, Self::All]
            .into_iter()
            .find(|origin| origin.word() == word)
            .unwrap_or_default()
    }
}

/// Which messages by what was found in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum With {
    /// With any finding.
    Findings,
    /// With an error.
    Errors,
    /// With nothing to mend: no error and no warning.
    Nothing,
}

impl With {
    /// The word of the form and the address.
    pub fn word(self) -> &'static str {
        match self {
            Self::Findings => "any",
            Self::Errors => "errors",
            Self::Nothing => "none",
        }
    }

    /// Reads the word of the form.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Findings, Self::Errors, Self::Nothing].into_iter().find(|with| with.word() == word)
    }

    fn takes(self, row: &Found) -> bool {
        match self {
            Self::Findings => row.findings > 0,
            Self::Errors => row.worst == Some(Severity::Error),
            Self::Nothing => row.worst.is_none_or(|worst| worst == Severity::Information),
        }
    }
}

/// What to look for. Empty fields do not filter.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// MSH-10, whole.
    pub control_id: Option<String>,
    /// PID-3.1, whole. Never part of an address.
    pub patient: Option<String>,
    /// `ORU^R01`, or `ORU` for all its trigger events.
    pub message_type: Option<String>,
    /// Receive port, receive location (`port/location`), orchestration or send port that it came from.
    pub source: Option<String>,
    /// The party that sent it.
    pub party: Option<String>,
    /// Received at or after.
    pub from: Option<DateTime<Utc>>,
    /// Received before.
    pub to: Option<DateTime<Utc>>,
    /// Name of a declared property and its whole value. Never part of an address.
    pub property: Option<(String, String)>,
    /// What became of it.
    pub outcome: Option<Outcome>,
    /// What was found in it when it came in.
    pub findings: Option<With>,
    /// By origin.
    pub origin: Origin,
    /// Only ids below this one: the next page.
    pub before: Option<i64>,
}

impl Filter {
    /// Whether it names something that few messages share and that is looked up in an index.
    pub fn has_key(&self) -> bool {
        self.control_id.is_some() || self.patient.is_some() || self.property.is_some()
    }
}

/// One message in a list.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its id.
    pub id: i64,
    /// When it came in or was made.
    pub received_at: DateTime<Utc>,
    /// `receive_location`, `orchestration`, `send_port` or `person`.
    pub source_kind: String,
    /// Name of the source.
    pub source: String,
    /// The party that sent it.
    pub party: Option<String>,
    /// `ORU^R01`.
    pub message_type: String,
    /// MSH-10.
    pub control_id: Option<String>,
    /// PID-3.1.
    pub patient: Option<String>,
    /// Bytes of the body.
    pub size: i32,
    /// What became of it so far.
    pub outcome: Outcome,
    /// More about the outcome: "3 of 3", "person, due 13:15".
    pub outcome_detail: String,
    /// How many findings there were when it came in.
    pub findings: usize,
    /// The worst of them.
    pub worst: Option<Severity>,
}

/// One page of a search.
#[derive(Debug, Clone, Default)]
pub struct FoundPage {
    /// The messages, newest first.
    pub rows: Vec<Found>,
    /// There are older ones.
    pub more: bool,
    /// The search stopped here before it had filled a page: go on below this id.
    pub scanned_to: Option<i64>,
    /// Older messages cannot be searched by the property: it was not declared then, or is not now.
    pub known_since: Option<DateTime<Utc>>,
}

/// Days that a search without a key looks at first; four times as many each time it finds too few.
const FIRST_DAYS: i64 = 2;
/// A search without a key stops after this time, with what it found, and says how far it came.
const SCAN_TIME: Duration = Duration::from_secs(2);
/// A step that took longer is not followed by a larger one.
const STEP_TIME: Duration = Duration::from_millis(300);

/// A filter by outcome or findings looks at no more than this many messages for one page.
pub const SCAN_MOST: usize = 2_000;

/// The smallest id that a message received at `at` can have: ids begin with milliseconds since 2025.
pub fn id_floor(at: DateTime<Utc>) -> i64 {
    const EPOCH_MS: i64 = 1_735_689_600_000;
    (at.timestamp_millis() - EPOCH_MS).max(0) << 22
}

/// One page of messages that match.
pub async fn search(
    pool: &PgPool,
    filter: &Filter,
    now: DateTime<Utc>,
    limit: usize,
) -> sqlx::Result<FoundPage> {
    if filter.outcome.is_none() && filter.findings.is_none() {
        let Batch { mut rows, stopped_at, known_since } = batch(pool, filter, now, limit + 1).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        judge(pool, &mut rows, now).await?;
        return Ok(FoundPage { rows, more, scanned_to: stopped_at, known_since });
    }
    let (outcome, with) = (filter.outcome, filter.findings);
    let wanted = |row: &Found| {
        outcome.is_none_or(|wanted| row.outcome == wanted) && with.is_none_or(|with| with.takes(row))
    };
    let mut page = FoundPage::default();
    let mut filter = filter.clone();
    let mut scanned = 0;
    while scanned < SCAN_MOST {
        let Batch { mut rows, stopped_at, known_since } = batch(pool, &filter, now, 200).await?;
        page.known_since = page.known_since.or(known_since);
        let Some(last) = rows.last().map(|row| row.id) else {
            page.scanned_to = stopped_at;
            return Ok(page);
        };
        let whole = rows.len() == 200;
        scanned += rows.len();
        judge(pool, &mut rows, now).await?;
        for row in rows.into_iter().filter(wanted) {
            if page.rows.len() == limit {
                page.more = true;
                return Ok(page);
            }
            page.rows.push(row);
        }
        if !whole {
            page.scanned_to = stopped_at;
            return Ok(page);
        }
        filter.before = Some(last);
    }
    page.scanned_to = filter.before;
    Ok(page)
}

async fn judge(pool: &PgPool, rows: &mut [Found], now: DateTime<Utc>) -> sqlx::Result<()> {
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    let mut outcomes = outcomes(pool, &ids, now).await?;
    let findings = super::tracking::findings(pool, &ids).await?;
    for row in rows {
        if let Some(found) = findings.get(&row.id) {
            row.findings = found.len();
            row.worst = found.iter().map(|one| one.severity).max();
        }
        if let Some((outcome, detail)) = outcomes.remove(&row.id) {
            row.outcome = outcome;
            row.outcome_detail = detail;
        }
    }
    Ok(())
}

/// Some messages that match, newest first.
#[derive(Debug)]
struct Batch {
    rows: Vec<Found>,
    /// Nothing below this id was looked at, because time was up.
    stopped_at: Option<i64>,
    /// Nor before this moment, because the property was not declared then.
    known_since: Option<DateTime<Utc>>,
}

impl Batch {
    fn complete(rows: Vec<Found>) -> Self {
        Self { rows, stopped_at: None, known_since: None }
    }
}

/// What has a key (control id or patient) is looked up in every day. Everything else is looked for step by step back in
/// time: there is a partition for each day, and the newest days nearly always fill the page. Where a declared property says
/// which messages it can be, each step looks them up.
async fn batch(pool: &PgPool, filter: &Filter, now: DateTime<Utc>, limit: usize) -> sqlx::Result<Batch> {
    let floor = filter.from.map_or(0, id_floor);
    let newest = id_floor(now + TimeDelta::days(1));
    let mut high = filter.to.map(id_floor).into_iter().chain(filter.before).fold(newest, i64::min);
    let mut rows = Vec::new();
    if filter.property.is_none() && (filter.control_id.is_some() || filter.patient.is_some()) {
        let found = window(pool, filter, None, (floor, high), limit).await?;
        return Ok(Batch::complete(found.rows));
    }
    let key = search_property::key(pool, filter, now).await?;
    let begun = Instant::now();
    let mut days = FIRST_DAYS;
    loop {
        let step = Instant::now();
        let mut low = id_floor(time_of(high) - TimeDelta::days(days)).max(floor);
        let used = key.filter(|key| key.since_id < high);
        match used {
            Some(key) => low = low.max(key.since_id),
            // Without its key nothing can be found by a property.
            None if filter.property.is_some() => {
                return Ok(Batch { rows, stopped_at: None, known_since: key.map(|key| key.since) });
            }
            None => {}
        }
        let found = window(pool, filter, used, (low, high), limit - rows.len()).await?;
        rows.extend(found.rows);
        if rows.len() >= limit || (low <= floor && found.goes_on_below.is_none()) {
            return Ok(Batch::complete(rows));
        }
        high = found.goes_on_below.unwrap_or(low);
        if begun.elapsed() > SCAN_TIME {
            return Ok(Batch { rows, stopped_at: Some(high), known_since: None });
        }
        if step.elapsed() < STEP_TIME {
            days *= 4;
        }
    }
}

/// What a window gave.
#[derive(Debug)]
struct Seen {
    rows: Vec<Found>,
    /// It has more below this id: not all that have the key were looked at.
    goes_on_below: Option<i64>,
}

/// Messages with ids of `low..high`; of those with the `key`, if there is one. These are looked up first and by themselves:
/// joined, it would be up to the planner's guesses whether whole days are read.
async fn window(
    pool: &PgPool,
    filter: &Filter,
    key: Option<Key>,
    (mut low, mut high): (i64, i64),
    limit: usize,
) -> sqlx::Result<Seen> {
    let mut goes_on_below = None;
    let mut query = QueryBuilder::<Postgres>::new(
        "SELECT m.id, m.received_at, s.kind AS source_kind, s.name AS source, m.party, m.message_type, \
         m.control_id, m.patient, octet_length(m.body) AS size, m.context \
         FROM message m JOIN source s ON s.id = m.source WHERE true",
    );
    if let Some(key) = key {
        let ids = search_property::ids(pool, key, (low, high), limit).await?;
        let (Some(first), Some(last)) = (ids.first().copied(), ids.last().copied()) else {
            return Ok(Seen { rows: Vec::new(), goes_on_below });
        };
        goes_on_below = (ids.len() == limit).then_some(last);
        (low, high) = (last, first + 1);
        query.push(" AND m.id = ANY (").push_bind(ids).push(")");
    }
    restrict(&mut query, filter);
    // Ids begin with the time, and partitions are ranges of ids.
    query.push(" AND m.id >= ").push_bind(low).push(" AND m.id < ").push_bind(high);
    query.push(" ORDER BY m.id DESC LIMIT ").push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
    let read = query.build().fetch_all(pool).await?;
    let mut rows = Vec::with_capacity(read.len());
    for row in &read {
        let context: Option<Vec<u8>> = row.try_get("context")?;
        let is_it = |(name, value): &(String, String)| message_box::has(context.as_deref(), name, value);
        if filter.property.as_ref().is_none_or(is_it) {
            rows.push(found(row)?);
        }
    }
    Ok(Seen { rows, goes_on_below })
}

fn found(row: &PgRow) -> sqlx::Result<Found> {
    Ok(Found {
        id: row.try_get("id")?,
        received_at: row.try_get("received_at")?,
        source_kind: row.try_get("source_kind")?,
        source: row.try_get("source")?,
        party: row.try_get("party")?,
        message_type: row.try_get("message_type")?,
        control_id: row.try_get("control_id")?,
        patient: row.try_get("patient")?,
        size: row.try_get("size")?,
        outcome: Outcome::Received,
        outcome_detail: String::new(),
        findings: 0,
        worst: None,
    })
}

fn restrict(query: &mut QueryBuilder<Postgres>, filter: &Filter) {
    if let Some(control_id) = &filter.control_id {
        // As the index says: a receiver's ACK is found from the message it answers.
        query
            .push(" AND m.message_type <> 'ACK' AND m.control_id = ")
            .push_bind(indexed(control_id).to_owned());
    }
    if let Some(patient) = &filter.patient {
        query.push(" AND m.patient = ").push_bind(indexed(patient).to_owned());
    }
    if let Some(kind) = &filter.message_type {
        if kind.contains('^') {
            query.push(" AND m.message_type = ").push_bind(kind.clone());
        } else {
            query.push(" AND split_part(m.message_type, '^', 1) = ").push_bind(kind.clone());
        }
    }
    if let Some(source) = &filter.source {
        query
            .push(" AND (s.name = ")
            .push_bind(source.clone())
            .push(" OR split_part(s.name, '/', 1) = ")
            .push_bind(source.clone())
            .push(")");
    }
    if let Some(party) = &filter.party {
        query.push(" AND m.party = ").push_bind(party.clone());
    }
    match filter.origin {
        Origin::All => {}
        Origin::Received => {
            query.push(" AND s.kind IN ('receive_location', 'person')");
        }
        Origin::Made => {
            query.push(" AND s.kind = 'orchestration'");
        }
        Origin::Answers => {
            query.push(" AND s.kind = 'send_port'");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_search_never_become_sql() {
        let evil = "x' OR '1'='1".to_owned();
        let filter = Filter {
            control_id: Some(evil.clone()),
            patient: Some(evil.clone()),
            message_type: Some(evil.clone()),
            source: Some(evil.clone()),
            party: Some(evil.clone()),
            ..Filter::default()
        };
        let mut query = QueryBuilder::<Postgres>::new("");
        restrict(&mut query, &filter);
        assert!(!query.sql().as_str().contains("OR '1'"), "bound as parameters");
    }

    #[test]
    fn the_word_of_an_origin_reads_back() {
        for origin in [Origin::Received, Origin::Made, Origin::Answers, Origin::All] {
            assert_eq!(Origin::from_word(origin.word()), origin);
        }
        assert_eq!(Origin::from_word("else"), Origin::Received);
    }
}
