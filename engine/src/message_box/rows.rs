//! Rows of T1: a batch of received messages, and what went straight through with it.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use orderly_hl7::Message;

use super::publish::Request;
use super::{Incoming, SettledRows, indexed};
use crate::lane::{Lanes, skew};
use crate::orchestrate::{Stored, Through};
use crate::parked;
use crate::tracking::{Detail, Kind, Rows};
use crate::work::{self, NewWork};

/// Tracking entries of the batch, and those of the turns behind them.
pub(super) fn rows(batch: &[Request], through: &Through, now: DateTime<Utc>, node: i16) -> Rows {
    let mut rows = Rows::default();
    for (incoming, sha256) in batch.iter().flat_map(Request::messages) {
        let kind = match &incoming.detail {
            Detail::Cause { .. } => Kind::Acknowledged,
            _ => Kind::Received,
        };
        let mut push = |kind, detail: &Detail| {
            rows.push_about((now, node), kind, incoming.id, incoming.config_version, detail);
        };
        push(kind, &incoming.detail);
        if let Some(refusal) = &incoming.parked {
            let kind =
                if refusal.code == parked::NO_SUBSCRIBER { Kind::NotRouted } else { Kind::SuspendedAtDoor };
            let (code, text) = (refusal.code.clone(), refusal.reason.clone());
            push(kind, &Detail::Cause { code, text, sha256: Some(*sha256) });
        }
        for entry in &incoming.settles.entries {
            rows.push_entry((now, node), entry);
        }
    }
    for entry in &through.entries {
        rows.push_entry((now, node), entry);
    }
    rows
}

/// What the batch changes in side tables, for `settle`; nothing for nearly all batches.
pub(super) fn settled(batch: &[Request]) -> Option<serde_json::Value> {
    let mut all = SettledRows::default();
    for rows in batch.iter().map(|request| &request.incoming.settles.rows).filter(|rows| !rows.is_empty()) {
        all.expectations.extend(rows.expectations.iter().cloned());
        all.links.extend(rows.links.iter().cloned());
        all.continued.extend(rows.continued.iter().cloned());
        all.fragments.extend(rows.fragments.iter().cloned());
        all.outcomes.extend(rows.outcomes.iter().cloned());
        all.asked.extend(rows.asked.iter().cloned());
        all.responses.extend(rows.responses.iter().cloned());
    }
    (!all.is_empty()).then(|| serde_json::to_value(all).expect("names and numbers are JSON"))
}

/// A message and what one of its routes asks for.
pub(super) type Routed<'a> = (&'a Incoming, NewWork);

/// What the routes of the batch ask for.
pub(super) fn new_work(batch: &[Request]) -> Vec<Routed<'_>> {
    let mut work = Vec::new();
    for (incoming, _) in batch.iter().flat_map(Request::messages) {
        work.extend(incoming.routes.iter().map(|route| {
            let mut work = NewWork::message(route.lane, incoming.id, route.key);
            work.detail.clone_from(&route.detail);
            if let Some(answered @ work::Detail::Answered { .. }) = &work.detail {
                debug_assert!(route.instance.is_some(), "{answered:?} has its instance");
                work.kind = work::Kind::Answered;
                work.instance = route.instance;
            }
            (incoming, work)
        }));
    }
    work
}

/// Messages and keys as the arrays that the functions take.
#[derive(Default)]
pub(super) struct Columns<'a> {
    /// Receive keys, ascending, and their messages.
    pub(super) keys: (Vec<i64>, Vec<i64>),
    pub(super) id: Vec<i64>,
    pub(super) retention: Vec<i16>,
    pub(super) parent: Vec<Option<i64>>,
    pub(super) source: Vec<i32>,
    pub(super) party: Vec<Option<&'a str>>,
    pub(super) message_type: Vec<&'a str>,
    pub(super) control_id: Vec<Option<&'a str>>,
    pub(super) patient: Vec<Option<&'a str>>,
    pub(super) charset: Vec<i16>,
    pub(super) sha256: Vec<&'a [u8]>,
    pub(super) context: Vec<Option<&'a [u8]>>,
    pub(super) body: Vec<&'a [u8]>,
    /// Keys of `message_search` with their messages; empty where the site declares nothing.
    pub(super) search_key: Vec<i64>,
    pub(super) search_id: Vec<i64>,
    pub(super) search_retention: Vec<i16>,
    pub(super) interchange: Vec<i64>,
    pub(super) number: Vec<i32>,
    pub(super) item: Vec<i64>,
    pub(super) item_code: Vec<&'a str>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(batch: &'a [Request], through: &'a Through) -> Self {
        let mut keys: Vec<(i64, i64)> = batch
            .iter()
            .flat_map(Request::messages)
            .filter_map(|(incoming, _)| Some((incoming.duplicate?.0, incoming.id.0)))
            .collect();
        keys.sort_unstable();
        let mut columns = Self { keys: keys.into_iter().unzip(), ..Self::default() };
        for (incoming, sha256) in batch.iter().flat_map(Request::messages) {
            columns.id.push(incoming.id.0);
            columns.retention.push(incoming.retention);
            columns.parent.push(incoming.parent.map(|parent| parent.0));
            columns.source.push(incoming.source);
            columns.party.push(incoming.party.as_deref());
            columns.message_type.push(&incoming.message_type);
            columns.control_id.push(incoming.control_id.as_deref().map(indexed));
            columns.patient.push(incoming.patient.as_deref().map(indexed));
            columns.charset.push(incoming.charset);
            columns.sha256.push(sha256);
            columns.context.push(incoming.context.as_ref().map(|declared| &declared.context[..]));
            for key in incoming.context.iter().flat_map(|declared| &declared.keys) {
                columns.search_key.push(*key);
                columns.search_id.push(incoming.id.0);
                columns.search_retention.push(incoming.retention);
            }
            columns.body.push(&incoming.body);
            if let Some(place) = incoming.place {
                columns.interchange.push(place.interchange);
                columns.number.push(place.number);
                columns.item.push(incoming.id.0);
                columns.item_code.push(incoming.parked.as_ref().map_or("", |refusal| &refusal.code));
            }
        }
        through.stored.iter().for_each(|stored| columns.push(stored));
        columns
    }

    /// A message that a turn made.
    fn push(&mut self, stored: &'a Stored) {
        self.id.push(stored.id);
        self.retention.push(stored.retention);
        self.parent.push(stored.parent);
        self.source.push(stored.source);
        self.party.push(None);
        self.message_type.push(&stored.message_type);
        self.control_id.push(stored.control_id.as_deref().map(indexed));
        self.patient.push(stored.patient.as_deref().map(indexed));
        self.charset.push(0);
        self.sha256.push(&stored.sha256);
        self.context.push(None);
        self.body.push(stored.message.bytes());
    }
}

/// Work to append with the messages that its owners get in memory, and the lane check of what goes straight through.
pub(super) struct Appended {
    pub(super) rows: Vec<NewWork>,
    pub(super) messages: Vec<Option<Message>>,
    pub(super) columns: work::Columns,
}

impl Appended {
    pub(super) fn of(routed: Vec<Routed<'_>>, through: &mut Through, lanes: &Lanes) -> Self {
        let stays = |(_, row): &Routed<'_>| !through.passes(row.lane);
        let (mut rows, mut messages) = (Vec::with_capacity(routed.len()), Vec::with_capacity(routed.len()));
        for (incoming, row) in routed.into_iter().filter(stays) {
            rows.push(row);
            messages.push(incoming.parsed.clone());
        }
        for row in std::mem::take(&mut through.work) {
            messages.push(through.messages.get(&row.subject).cloned());
            rows.push(row);
        }
        let columns = work::Columns::of(rows.iter(), |lane| lanes.newest(lane));
        Self { rows, messages, columns }
    }
}

/// The parameters of `require_consumed`; empty where nothing goes straight through.
#[derive(Default)]
pub(super) struct LaneCheck {
    pub(super) locked: Vec<i32>,
    pub(super) lane: Vec<i32>,
    pub(super) tail: Vec<i64>,
    pub(super) since: DateTime<Utc>,
}

impl LaneCheck {
    pub(super) fn of(through: &Through, appended: &[i32]) -> Self {
        if through.is_empty() {
            return Self::default();
        }
        let locked: BTreeSet<i32> = through.tails.keys().chain(appended).copied().collect();
        let (lane, tail) = through.tails.iter().unzip();
        Self { locked: locked.into_iter().collect(), lane, tail, since: through.since - skew() }
    }
}
