//! How long what is kept, what must be kept longer, and what was archived and dropped.

use askama::Template;
use axum::extract::{Path, Query, State};
use chrono::TimeDelta;
use orderly_engine::capability::Capability;
use orderly_engine::configuration::{Retention, RetentionClass};
use orderly_engine::hold::{self, Done, Held, Hold};
use orderly_engine::view::retention::{self, DroppedDay, StoredDay};
use serde::Deserialize;

use crate::failure::Failure;
use crate::flash::Flash;
use crate::form::{self, Submission};
use crate::operations::act::{failed, given};
use crate::page::{self, Answer};
use crate::shell::Shell;
use crate::site_time::Moment;
use crate::state::AppState;
use crate::tracking::{hash_text, masked_patient};
use crate::visit::Visit;
use crate::word::{Tag, Tone};

const PAGE: &str = "/retention";

/// One retention class in words.
struct Class {
    title: String,
    name: String,
    bodies: String,
    tracking: String,
    tasks: String,
    /// Which messages it takes, in words.
    takes: String,
}

/// A hold in words.
struct Line {
    id: i32,
    kind: &'static str,
    object: String,
    href: Option<String>,
    reason: String,
    placed: String,
    at: Moment,
    tag: Tag,
    /// What was said about its release.
    release: String,
    asked: bool,
    /// This person asked for the release, so another one must agree.
    own: bool,
    ended: bool,
    form_key: String,
}

/// A dropped day in words.
struct Day {
    what: String,
    day: String,
    rows: i64,
    kept: i64,
    file: String,
    sha256: String,
    dropped: Moment,
}

/// The next day that goes.
struct Next {
    what: String,
    day: String,
    goes: String,
    rows: String,
    size: String,
}

#[derive(Template)]
#[template(path = "audit/retention.html")]
struct RetentionPage {
    shell: Shell,
    classes: Vec<Class>,
    audit: String,
    holds: Vec<Line>,
    next: Vec<Next>,
    days: Vec<Day>,
    may_hold: bool,
    ask: String,
    kind: String,
    object: String,
    form_key: String,
}

/// What the form for a new hold begins with.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    object: String,
}

/// The page.
pub(crate) async fn show(State(state): State<AppState>, visit: Visit, Query(asked): Query<Asked>) -> Answer {
    let shell = Shell::new(&visit, "Retention and holds");
    visit.record(&state, "retention.viewed", ("retention", ""), "").await?;
    let pool = state.pool();
    let configuration = state.configuration.load_full();
    let rules = &configuration.retention;
    let oldest = retention::oldest(pool).await?;
    let days = retention::dropped(pool, 200).await?;
    page::show(&RetentionPage {
        classes: classes(rules),
        audit: span(configuration.tracking.audit),
        holds: hold::all(pool).await?.iter().map(|one| line(one, &shell, &visit)).collect(),
        next: oldest.iter().filter_map(|day| next(day, rules)).collect(),
        days: days.iter().map(|one| day(one, rules, &shell)).collect(),
        may_hold: visit.may(Capability::RetentionConfig),
        ask: visit.guest.site.roles.holders(Capability::RetentionConfig).join(", "),
        // No patient id stands in an address.
        object: if asked.kind == "patient" { String::new() } else { asked.object },
        kind: asked.kind,
        form_key: form::new_key(),
        shell,
    })
}

fn classes(rules: &Retention) -> Vec<Class> {
    let one = |class: &RetentionClass| Class {
        title: class.title.clone(),
        name: class.name.clone(),
        bodies: span(class.bodies),
        tracking: span(rules.tracking().unwrap_or(class.tracking)),
        takes: takes(class, rules),
        tasks: span(class.tasks),
    };
    rules.classes.values().map(one).collect()
}

fn takes(class: &RetentionClass, rules: &Retention) -> String {
    if class.name == rules.default {
        return if rules.classes.len() > 1 { "all that no other class takes" } else { "everything" }
            .to_owned();
    }
    match &class.filter {
        Some(filter) => {
            let by: Vec<&str> = filter.properties().collect();
            format!("what senders of this class send, and what its filter takes by {}", by.join(", "))
        }
        None => "what senders of this class send".to_owned(),
    }
}

/// "10 years", "30 days".
fn span(duration: std::time::Duration) -> String {
    let days = duration.as_secs() / 86_400;
    match days {
        1 => "1 day".to_owned(),
        365 => "1 year".to_owned(),
        days if days > 365 && days % 365 == 0 => format!("{} years", days / 365),
        0 => format!("{} s", duration.as_secs()),
        days => format!("{days} days"),
    }
}

/// "Messages of Routine", "Tracking entries".
fn what(of_messages: bool, class: Option<&str>, rules: &Retention) -> String {
    let title = |name: &str| rules.classes.get(name).map_or(name, |class| &class.title).to_owned();
    match (of_messages, class) {
        (true, Some(class)) => format!("Messages of {}", title(class)),
        (true, None) if rules.classes.len() > 1 => format!("Messages of {}", title(&rules.default)),
        (true, None) => "Messages".to_owned(),
        (false, _) => "Tracking entries".to_owned(),
    }
}

fn next(day: &StoredDay, rules: &Retention) -> Option<Next> {
    let class = day.name.as_ref().unwrap_or(&rules.default);
    let kept = match day.class {
        Some(_) => rules.classes.get(class).map(|class| class.bodies).or(rules.longest())?,
        None => rules.tracking()?,
    };
    let goes = day.from_at + TimeDelta::days(1) + TimeDelta::from_std(kept).ok()?;
    Some(Next {
        what: what(day.class.is_some(), day.name.as_deref(), rules),
        day: day.from_at.format("%-d %b %Y").to_string(),
        goes: goes.format("%-d %b %Y").to_string(),
        rows: if day.rows < 0 { "not counted yet".to_owned() } else { format!("about {}", day.rows) },
        size: format!("{} KiB", day.bytes >> 10),
    })
}

fn day(one: &DroppedDay, rules: &Retention, shell: &Shell) -> Day {
    Day {
        what: what(one.parent == "message", one.class.as_deref(), rules),
        day: one.from_at.format("%-d %b %Y").to_string(),
        rows: one.rows,
        kept: one.kept,
        file: one.file.clone(),
        sha256: hash_text(&one.sha256),
        dropped: shell.near_time(one.dropped_at),
    }
}

fn line(one: &Hold, shell: &Shell, visit: &Visit) -> Line {
    let (kind, object, href) = match &one.held {
        Held::Patient(id) => ("Patient", masked_patient(Some(id), visit), None),
        Held::Message(id) => ("Message", id.to_string(), Some(format!("/messages/{id}"))),
        Held::Instance(id) => ("Instance", id.to_string(), Some(format!("/instances/{id}"))),
    };
    let told = |who: &str, at| format!("{} by {}", shell.near_time(at).text(), shell.person(who));
    let (tag, release) = match (&one.ended, &one.release_asked) {
        (Some((by, at)), _) => {
            (Tag::new(Tone::Quiet, "Ended"), format!("{}: {}", told(by, *at), one.release_reason))
        }
        (None, Some((by, at))) => {
            (Tag::second_person(), format!("Release asked for {}: {}", told(by, *at), one.release_reason))
        }
        (None, None) => (Tag::new(Tone::Held, "Held"), String::new()),
    };
    Line {
        id: one.id,
        kind,
        object,
        href,
        reason: one.reason.clone(),
        placed: shell.person(&one.placed_by),
        at: shell.near_time(one.placed_at),
        tag,
        release,
        asked: one.release_asked.is_some(),
        own: one.release_asked.as_ref().is_some_and(|(by, _)| *by == visit.person.id),
        ended: one.ended.is_some(),
        form_key: form::new_key(),
    }
}

/// A new hold.
#[derive(Debug, Deserialize)]
pub(crate) struct Place {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    object: String,
    #[serde(default)]
    reason: String,
}

/// Places a hold.
pub(crate) async fn place(State(state): State<AppState>, visit: Visit, sent: Submission<Place>) -> Answer {
    let held = Held::read(&sent.fields.kind, &sent.fields.object).ok_or_else(|| {
        Failure::BadForm("It does not name a patient, a message or an instance: copy its id".to_owned())
    })?;
    let reason = given(&sent.fields.reason)?;
    form::once(&state, &visit, &sent.key, async {
        let who = visit.entry("hold.placed", ("hold", ""), reason, "done");
        let said = match hold::place(&state.store, &held, who).await.map_err(failed)? {
            Done::Already => Flash::warn("That is held already."),
            _ => Flash::done("It is held: nothing of it is dropped until two people end the hold."),
        };
        Ok((PAGE.to_owned(), Some(said)))
    })
    .await
}

/// What is said about the release of a hold.
#[derive(Debug, Deserialize)]
pub(crate) struct Release {
    /// `ask`, `agree` or `keep`.
    #[serde(default)]
    to: String,
    #[serde(default)]
    reason: String,
}

/// Asks that a hold ends, agrees to it, or keeps it.
pub(crate) async fn release(
    State(state): State<AppState>,
    visit: Visit,
    Path(id): Path<i32>,
    sent: Submission<Release>,
) -> Answer {
    let reason = given(&sent.fields.reason)?;
    form::once(&state, &visit, &sent.key, async {
        let who = visit.entry("hold.released", ("hold", ""), reason, "done");
        let (done, said) = match sent.fields.to.as_str() {
            "ask" => (
                hold::ask_release(&state.store, id, who).await,
                "Asked. The hold ends when another person agrees.",
            ),
            "agree" => (
                hold::decide_release(&state.store, id, true, who).await,
                "Ended. What it held goes when its time is over.",
            ),
            "keep" => (hold::decide_release(&state.store, id, false, who).await, "The hold stays."),
            _ => return Err(Failure::BadForm("It does not say what becomes of the hold".to_owned())),
        };
        match done.map_err(failed)? {
            Done::Done | Done::Already => Ok((PAGE.to_owned(), Some(Flash::done(said)))),
            Done::Changed => Err(crate::operations::act::changed(PAGE)),
            Done::SecondPerson => Err(Failure::refused(
                "Another person must agree",
                "You asked that this hold ends, so somebody else decides about it.",
                "Look again",
                PAGE,
            )),
        }
    })
    .await
}
