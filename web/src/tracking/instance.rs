//! The page of one instance of an orchestration: its state, where it rests, every turn so far.

use askama::Template;
use axum::extract::{Path, State};
use orderly_engine::capability::Capability;
use orderly_engine::ids::InstanceId;
use orderly_engine::view::tracking::{self, OpenInstance};

use super::message::{Body, InstanceLine, journey_body};
use super::reads;
use crate::failure::Failure;
use crate::page::{self, Answer};
use crate::shell::Shell;
use crate::site_time::{Moment, duration};
use crate::state::AppState;
use crate::visit::Visit;
use crate::word::Tag;

#[derive(Template)]
#[template(path = "tracking/instance.html")]
struct InstancePage {
    shell: Shell,
    id: String,
    tag: Tag,
    waiting: String,
    started: Option<Moment>,
    rested: Option<String>,
    turns: usize,
    config_version: i64,
    current_version: i64,
    version: i32,
    suspended: bool,
    may_resume: bool,
    may_terminate: bool,
    open: bool,
    form_key: String,
    terminate_key: String,
    body: Body,
}

/// An open instance as a line.
pub(crate) fn line(instance: &OpenInstance, shell: &Shell) -> InstanceLine {
    InstanceLine {
        href: super::message::instance_href(instance.id),
        orchestration: shell.site.orchestration(&instance.orchestration),
        tag: tag(instance),
        waiting: super::telling::stands(&instance.waiting, &instance.orchestration, shell),
    }
}

fn tag(instance: &OpenInstance) -> Tag {
    if instance.suspended { Tag::suspended() } else { Tag::waiting() }
}

/// The page of an instance; an ended one is told from its tracking.
pub(crate) async fn show(State(state): State<AppState>, visit: Visit, Path(id): Path<String>) -> Answer {
    let not_found = || Failure::NotFound { what: "instance" };
    let instance: InstanceId = id.parse().map_err(|_| not_found())?;
    visit.record(&state, "instance.viewed", ("instance", &id), "").await?;
    let journey = tracking::journey_of_instance(state.pool(), instance.0).await?;
    let open = journey.instances.first().cloned();
    let told = journey.entries.iter().find(|entry| entry.subscriber_kind.as_deref() == Some("orchestration"));
    let orchestration = match (&open, told) {
        (Some(open), _) => open.orchestration.clone(),
        (None, Some(entry)) => entry.subscriber.clone().unwrap_or_default(),
        (None, None) => return Err(not_found()),
    };
    let ended = journey.entries.iter().rev().find_map(super::ended_words);
    let turns = journey
        .entries
        .iter()
        .filter(|entry| entry.kind == Some(orderly_engine::tracking::Kind::Turn))
        .count();
    let shell = Shell::new(&visit, visit.guest.site.orchestration(&orchestration))
        .crumb("Operations", "/ops")
        .crumb("Instances", "/instances");
    page::show(&InstancePage {
        tag: open.as_ref().map_or_else(|| super::ended_tag(&journey), tag),
        waiting: super::telling::stands(
            &open.as_ref().map_or_else(|| ended.unwrap_or_default(), |open| open.waiting.clone()),
            &orchestration,
            &shell,
        ),
        started: journey.entries.first().map(|entry| shell.exact_time(entry.at)),
        rested: open.as_ref().map(|open| duration(visit.guest.now - open.updated_at)),
        turns,
        config_version: open
            .as_ref()
            .map(|open| open.config_version)
            .or(told.map(|entry| entry.config_version))
            .unwrap_or(0),
        current_version: state.configuration.load().version,
        version: open.as_ref().map_or(0, |open| open.version),
        suspended: open.as_ref().is_some_and(|open| open.suspended),
        may_resume: visit.may(Capability::InstControl),
        may_terminate: visit.may(Capability::InstTerminate),
        open: open.is_some(),
        form_key: crate::form::new_key(),
        terminate_key: crate::form::new_key(),
        body: journey_body(&journey, &shell, None, reads(&visit)),
        id,
        shell,
    })
}
