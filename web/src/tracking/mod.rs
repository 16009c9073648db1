//! Tracking: finding a message, its journey, its content, who looked at it, and the proof that nothing was changed.

pub(crate) mod acknowledgments;
pub(crate) mod content;
mod custody;
pub(crate) mod findings;
pub(crate) mod instance;
pub(crate) mod journey;
pub(crate) mod message;
pub(crate) mod search;
pub(crate) mod telling;
pub(crate) mod trace;

use orderly_engine::capability::Capability;
use orderly_engine::tracking::{Detail, Kind};
use orderly_engine::view::outcome::Outcome;
use orderly_engine::view::suspended::{ParkedRow, cause_title};
use orderly_engine::view::tracking::{Entry, Journey};

use crate::names::Names;
use crate::shell::Shell;
use crate::visit::Visit;
use crate::word::Tag;

/// Shown in place of what the person may not read.
pub(crate) const MASK: &str = "••••";

/// The tag of what became of a message.
pub(crate) fn outcome_tag(outcome: Outcome) -> Tag {
    match outcome {
        Outcome::Received => Tag::received(),
        Outcome::Delivered => Tag::delivered(),
        Outcome::NotRouted => Tag::not_routed(),
        Outcome::Waiting => Tag::waiting(),
        Outcome::Rejected => Tag::rejected(),
        Outcome::Suspended => Tag::suspended(),
        Outcome::InDoubt => Tag::in_doubt(),
        Outcome::Replaced => Tag::replaced(),
    }
}

/// Whether this person may see what messages say.
pub(crate) fn reads(visit: &Visit) -> bool {
    visit.may(Capability::MsgRead)
}

/// A patient id as lists show it: the last three characters, or nothing without the right.
pub(crate) fn masked_patient(patient: Option<&str>, visit: &Visit) -> String {
    match patient {
        None => String::new(),
        Some(_) if !reads(visit) => MASK.to_owned(),
        Some(id) => {
            let letters: Vec<char> = id.chars().collect();
            let tail: String = letters[letters.len().saturating_sub(3)..].iter().collect();
            if letters.len() > 3 { format!("··{tail}") } else { tail }
        }
    }
}

/// A hash for people: its first digits in groups.
pub(crate) fn hash_text(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// More about what became of a message: "for a message from “results in”".
pub(crate) fn outcome_words(detail: &str, names: &Names) -> String {
    match detail.strip_prefix("waits for ") {
        Some(what) => format!("for {}", names.waiting_somewhere(what)),
        None => detail.to_owned(),
    }
}

/// What parked work waits for, in one sentence.
pub(crate) fn parked_words(row: &ParkedRow, shell: &Shell) -> String {
    let title = |name: &str| shell.site.names.subscriber(row.subscriber_kind.as_deref(), name);
    let place = row.subscriber.as_deref().map(|name| format!(" at {}", title(name))).unwrap_or_default();
    let why = if row.reason.is_empty() { cause_title(&row.code) } else { &row.reason };
    match row.state {
        1 => format!("Waits for its next attempt{place}: {why}"),
        3 => format!("Waits{place} behind an earlier message of the same key"),
        4 => format!("In doubt{place}: {why}"),
        _ => format!("Suspended{place}: {why}"),
    }
}

/// How an instance ended, where this entry tells it.
fn ended_words(entry: &Entry) -> Option<String> {
    match &entry.detail {
        Some(Detail::Turn { next, .. }) => Some(next.clone()),
        Some(Detail::Action { reason, .. }) if entry.kind == Some(Kind::Terminated) => Some(reason.clone()),
        _ => None,
    }
}

/// The tag of an instance that has ended.
fn ended_tag(journey: &Journey) -> Tag {
    let terminated = journey.entries.iter().any(|entry| entry.kind == Some(Kind::Terminated));
    if terminated { Tag::terminated() } else { Tag::completed() }
}
