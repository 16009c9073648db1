//! What senders tell the committer of deliveries.

use chrono::{DateTime, Utc};

use super::{Outcome, SendWork};
use crate::ids::MessageId;
use crate::lane::Item;
use crate::work::SendDetail;

/// What the committer gets.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all of them are attempts: a box would cost each one an allocation"
)]
pub(super) enum Done {
    /// An attempt was made.
    Attempt(SendWork, Outcome),
    /// Work whose key is blocked.
    Behind(Item),
    /// Work that cannot be sent at all.
    Unreadable(Item),
    /// Bytes were written.
    Written { lane: i32, message: MessageId, send: SendDetail, at: DateTime<Utc> },
}

impl Done {
    /// Lane and sequence when it is fresh work of the lane, not a retry.
    pub(super) fn place(&self) -> Option<(i32, i64, DateTime<Utc>)> {
        match self {
            Self::Attempt(work, _) if work.parked.is_none() => {
                Some((work.lane, work.sequence, work.created_at))
            }
            Self::Behind(item) | Self::Unreadable(item) => Some((item.lane, item.sequence, item.created_at)),
            Self::Attempt(..) | Self::Written { .. } => None,
        }
    }

    pub(super) fn lane(&self) -> i32 {
        match self {
            Self::Attempt(work, _) => work.lane,
            Self::Behind(item) | Self::Unreadable(item) => item.lane,
            Self::Written { lane, .. } => *lane,
        }
    }

    /// Lane of the instance that is told.
    pub(super) fn home(&self) -> Option<i32> {
        match self {
            Self::Attempt(work, _) => work.send.as_ref().map(|send| send.home),
            Self::Written { send, .. } => Some(send.home),
            Self::Behind(_) | Self::Unreadable(_) => None,
        }
    }

    /// Whether nothing goes on only once it is committed: no instance, no retry, no key.
    pub(super) fn can_wait(&self) -> bool {
        match self {
            Self::Attempt(work, Outcome::Delivered { answer, .. }) => {
                // An answer that came by itself is acknowledged already: nobody says it again after a crash.
                let is_new = answer.as_ref().is_none_or(|answer| answer.stored.is_none());
                is_new && work.interim.is_empty() && !work.is_awaited() && work.parked.is_none()
            }
            Self::Attempt(..) => false,
            Self::Behind(_) | Self::Unreadable(_) | Self::Written { .. } => false,
        }
    }

    /// The key that it holds once it is parked.
    pub(super) fn holds(&self) -> Option<i64> {
        match self {
            Self::Attempt(work, outcome) if outcome.holds(work) => Some(work.key),
            Self::Behind(item) => Some(item.key),
            Self::Attempt(..) | Self::Unreadable(_) | Self::Written { .. } => None,
        }
    }

    pub(super) fn parked(&self) -> Option<i64> {
        match self {
            Self::Attempt(work, _) => work.parked.map(|parked| parked.0),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use orderly_hl7::Message;

    use super::*;
    use crate::ids::{InstanceId, ParkedId};

    fn attempt(outcome: Outcome, awaited: bool, parked: bool) -> Done {
        let expect = awaited.then(|| "any".to_owned());
        let work = SendWork {
            lane: 1,
            subscriber: 1,
            sequence: 1,
            key: 1,
            message_id: MessageId(1),
            control_id: "1".to_owned(),
            message: Message::parse("MSH|^~\\&|A|B|||20260301||ADT^A08|1|P|2.5.1\r").unwrap(),
            assembled: None,
            interim: Vec::new(),
            attempt: 1,
            first_at: DateTime::UNIX_EPOCH,
            parked: parked.then_some(ParkedId(1)),
            send: Some(SendDetail { instance: InstanceId(1), home: 1, send: 1, expect, retry: None }),
            created_at: DateTime::UNIX_EPOCH,
        };
        Done::Attempt(work, outcome)
    }

    #[test]
    fn only_a_delivery_that_nobody_waits_for_can_wait_for_others() {
        let delivered = || Outcome::Delivered { answer: None, took: Duration::ZERO };
        let (code, reason) = (String::new, String::new);
        let retry =
            Outcome::Retry { due_at: DateTime::UNIX_EPOCH, code: code(), reason: reason(), answer: None };
        let doubt = Outcome::InDoubt { code: code(), reason: reason() };
        assert!(attempt(delivered(), false, false).can_wait());
        assert!(!attempt(delivered(), true, false).can_wait(), "an instance waits");
        assert!(!attempt(delivered(), false, true).can_wait(), "what is parked behind it waits");
        assert!(!attempt(retry, false, false).can_wait() && !attempt(doubt, false, false).can_wait());
    }
}
