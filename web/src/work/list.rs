//! The worklist: what waits for me, what waits for others, what I decided.

use askama::Template;
use axum::extract::{Query, State};
use chrono::{DateTime, Utc};
use orderly_engine::capability::Capability;
use orderly_engine::ids::TaskId;
use orderly_engine::view::work::{self, Counts, Cursor, Filter, Line, Part};
use serde::Deserialize;

use super::{status, words};
use crate::link::encode;
use crate::page::{self, Answer};
use crate::shell::Shell;
use crate::site_time::{Moment, duration};
use crate::state::AppState;
use crate::visit::Visit;
use crate::word::Tag;

const PAGE_ROWS: usize = 25;

#[derive(Deserialize)]
pub(crate) struct Ask {
    #[serde(default)]
    tab: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    overdue: String,
    #[serde(default)]
    after: String,
}

struct Tab {
    name: &'static str,
    href: &'static str,
    count: i64,
    current: bool,
}

struct Row {
    href: String,
    title: String,
    kind: String,
    asked_by: String,
    patient: String,
    due: Option<Moment>,
    left: String,
    late: bool,
    high: bool,
    age: String,
    created: Moment,
    tag: Tag,
    with: String,
}

#[derive(Template)]
#[template(path = "work/list.html")]
struct WorklistPage {
    shell: Shell,
    tabs: Vec<Tab>,
    rows: Vec<Row>,
    tab: String,
    kind: String,
    kinds: Vec<(String, String)>,
    overdue: bool,
    filtered: bool,
    counts: Counts,
    first: Option<String>,
    more: Option<String>,
    empty: (&'static str, String),
}

/// The open tasks, most urgent first.
pub(crate) async fn show(State(state): State<AppState>, visit: Visit, Query(ask): Query<Ask>) -> Answer {
    let (person, now) = (&visit.person.record, visit.guest.now);
    let leads = visit.may(Capability::TaskLead);
    let (tab, part) = match ask.tab.as_str() {
        "others" => ("others", Part::Others),
        "all" if leads => ("all", Part::All),
        _ => ("mine", Part::Mine),
    };
    let filter = Filter {
        part,
        kind: Some(ask.kind.clone()).filter(|kind| !kind.is_empty()),
        overdue: ask.overdue == "yes",
        after: read_cursor(&ask.after),
        limit: PAGE_ROWS as i64 + 1,
    };
    let mut lines = work::worklist(state.pool(), person, &filter, now).await?;
    let more = lines.len() > PAGE_ROWS;
    lines.truncate(PAGE_ROWS);
    let counts = work::counts(state.pool(), person, now).await?;
    let kinds = work::kinds(state.pool()).await?;

    let shell = Shell::new(&visit, "My tasks");
    let base = format!("/tasks?tab={tab}&kind={}&overdue={}", encode(&ask.kind), encode(&ask.overdue));
    let last = lines.last().map(|line| write_cursor(line, now)).unwrap_or_default();
    let filtered = filter.kind.is_some() || filter.overdue;
    page::show(&WorklistPage {
        tabs: tabs(tab, counts, leads),
        rows: lines.into_iter().map(|line| row(line, &shell, &visit)).collect(),
        tab: tab.to_owned(),
        kinds: kinds
            .into_iter()
            .map(|kind| (words(&kind), kind))
            .map(|(title, kind)| (kind, title))
            .collect(),
        kind: ask.kind,
        overdue: filter.overdue,
        filtered,
        counts,
        first: filter.after.as_ref().map(|_| base.clone()),
        more: more.then(|| format!("{base}&after={last}")),
        empty: empty(tab, filtered),
        shell,
    })
}

fn tabs(current: &str, counts: Counts, leads: bool) -> Vec<Tab> {
    let tab = |name, word: &str, href, count| Tab { name, href, count, current: current == word };
    let mut tabs = vec![
        tab("For me", "mine", "/tasks", counts.mine),
        tab("Waiting for others", "others", "/tasks?tab=others", counts.others),
    ];
    if leads {
        tabs.push(tab("All open", "all", "/tasks?tab=all", counts.all));
    }
    tabs
}

fn empty(tab: &str, filtered: bool) -> (&'static str, String) {
    match (tab, filtered) {
        (_, true) => ("Nothing matches", "No open task fits the filter. Clear it to see all.".to_owned()),
        ("others", _) => (
            "Nothing waits for others",
            "Tasks you voted on, or may not decide, show here until they are decided.".to_owned(),
        ),
        ("all", _) => ("No task is open", "Everything that needed a person is decided.".to_owned()),
        _ => (
            "Nothing waits for you",
            "New tasks show here as soon as Orderly needs your decision.".to_owned(),
        ),
    }
}

fn row(line: Line, shell: &Shell, visit: &Visit) -> Row {
    let now = shell.now;
    let late = line.due_at.is_some_and(|due| due < now);
    let left = line.due_at.map_or_else(String::new, |due| {
        if due < now {
            format!("{} late", duration(now - due))
        } else {
            format!("in {}", duration(due - now))
        }
    });
    let with = if line.voted {
        format!("You agreed; {} of {} so far", line.votes, line.quorum)
    } else if line.excluded {
        "You may not decide this one".to_owned()
    } else if line.quorum > 1 {
        format!("{} of {} people so far", line.votes, line.quorum)
    } else if line.roles.is_empty() {
        "People named in the task".to_owned()
    } else {
        visit.guest.site.roles.titles(&line.roles).join(", ")
    };
    Row {
        href: format!("/tasks/{}", line.id),
        kind: words(&line.kind),
        asked_by: visit.guest.site.orchestration(&line.orchestration),
        patient: masked(line.patient.as_deref()),
        due: line.due_at.map(|due| shell.near_time(due)),
        left,
        late,
        high: line.priority > 0 || line.escalated > 0,
        age: duration(now - line.created_at),
        created: shell.near_time(line.created_at),
        tag: status(line.state, None),
        with,
        title: line.title,
    }
}

/// The last three characters, so that people find their patient without the list telling who it is.
fn masked(patient: Option<&str>) -> String {
    let Some(patient) = patient else { return String::new() };
    let letters: Vec<char> = patient.chars().collect();
    let from = letters.len().saturating_sub(3).max(letters.len().min(1));
    format!("··{}", letters[from..].iter().collect::<String>())
}

fn write_cursor(line: &Line, now: DateTime<Utc>) -> String {
    let on_time = line.due_at.is_none_or(|due| due >= now);
    let due = line.due_at.map_or_else(|| "-".to_owned(), |due| due.timestamp_micros().to_string());
    format!("{}.{}.{due}.{}", u8::from(on_time), line.priority, line.id)
}

fn read_cursor(text: &str) -> Option<Cursor> {
    let mut parts = text.split('.');
    let on_time = parts.next()? == "1";
    let priority = parts.next()?.parse().ok()?;
    let due_at = match parts.next()? {
        "-" => None,
        micros => Some(DateTime::from_timestamp_micros(micros.parse().ok()?)?),
    };
    let task: TaskId = parts.next()?.parse().ok()?;
    Some(Cursor { on_time, priority, due_at, task })
}

#[derive(Deserialize)]
pub(crate) struct HistoryAsk {
    #[serde(default)]
    before: String,
}

struct HistoryRow {
    href: String,
    title: String,
    kind: String,
    voted: String,
    signed: bool,
    at: Moment,
    tag: Tag,
}

#[derive(Template)]
#[template(path = "work/history.html")]
struct HistoryPage {
    shell: Shell,
    rows: Vec<HistoryRow>,
    first: Option<String>,
    more: Option<String>,
}

/// What I decided, newest first.
pub(crate) async fn history(
    State(state): State<AppState>,
    visit: Visit,
    Query(ask): Query<HistoryAsk>,
) -> Answer {
    let before = ask.before.parse().ok().and_then(DateTime::from_timestamp_micros);
    let mut decided = work::history(state.pool(), &visit.person.id, before, PAGE_ROWS as i64 + 1).await?;
    let more = decided.len() > PAGE_ROWS;
    decided.truncate(PAGE_ROWS);
    let last = decided.last().map(|row| row.at.timestamp_micros());
    let shell = Shell::new(&visit, "What you decided");
    let rows = decided
        .into_iter()
        .map(|row| HistoryRow {
            href: format!("/tasks/{}/done", row.task),
            kind: words(&row.kind),
            voted: words(&row.outcome),
            signed: row.signed,
            at: shell.time(row.at),
            tag: status(row.state, Some(&row.outcome)),
            title: row.title,
        })
        .collect();
    page::show(&HistoryPage {
        rows,
        first: before.map(|_| "/tasks/history".to_owned()),
        more: last.filter(|_| more).map(|last| format!("/tasks/history?before={last}")),
        shell,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patient_number_shows_its_last_three_characters_only() {
        assert_eq!(masked(Some("00482117")), "··117");
        assert_eq!(masked(Some("42")), "··2");
        assert_eq!(masked(Some("4")), "··");
        assert_eq!(masked(None), "");
    }

    #[test]
    fn a_place_in_the_list_survives_its_address() {
        let cursor = read_cursor("1.0.1795340460000000.0000000000042").unwrap();
        assert!(cursor.on_time && cursor.due_at.is_some());
        assert_eq!(cursor.task.to_string(), "0000000000042");
        assert!(read_cursor("1.0.x").is_none());
    }
}
