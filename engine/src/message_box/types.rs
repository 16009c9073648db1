//! What goes into the message box and what it answers.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use orderly_hl7::Message;
use serde::Serialize;

use super::Declared;
use crate::adapter::mllp::Place;
use crate::ids::{InstanceId, MessageId};
use crate::{tracking, work};

/// A message on its way into the box, with everything decided that the transaction needs.
#[derive(Debug)]
pub struct Incoming {
    /// Its id, from the store's [`IdSource`](crate::ids::IdSource).
    pub id: MessageId,
    /// Parsed form, handed to the owners of the lanes in memory; none when it could not be read.
    pub parsed: Option<Message>,
    /// Exact bytes.
    pub body: Bytes,
    /// Number in the table `source`.
    pub source: i32,
    /// Message it was made from.
    pub parent: Option<MessageId>,
    /// Name of the party.
    pub party: Option<String>,
    /// MSH-9 as `ORU^R01`; `?` when the header could not be read.
    pub message_type: String,
    /// MSH-10.
    pub control_id: Option<String>,
    /// PID-3.1 as promoted.
    pub patient: Option<String>,
    /// Number of the character set.
    pub charset: i16,
    /// What it can be searched by besides patient and control id.
    pub context: Option<Declared>,
    /// Number of the retention class; 0 is the default.
    pub retention: i16,
    /// Key by which a repeat is known; none where repeats are not looked for.
    pub duplicate: Option<DuplicateKey>,
    /// Its place in the interchange it came in.
    pub place: Option<Place>,
    /// Who gets it, from the subscription index.
    pub routes: Vec<Route>,
    /// Why it is kept for a person instead of being routed; with routes: what these are told of instead.
    pub parked: Option<Refusal>,
    /// Configuration that applied.
    pub config_version: i64,
    /// What the tracking entry tells: kind `Received`, or `SuspendedAtDoor` and `NotRouted` for a refusal; a cause with
    /// a hash for an acknowledgment that we made.
    pub detail: tracking::Detail,
    /// What happens in the same transaction; most messages settle nothing.
    pub settles: Settles,
}

/// What a message settles besides being stored.
#[derive(Debug, Default)]
pub struct Settles {
    /// Messages that are stored with it or not at all, such as its acknowledgments. They settle nothing themselves.
    pub attached: Vec<Incoming>,
    /// More facts than that it was received.
    pub entries: Vec<tracking::Entry>,
    /// Rows of side tables that it changes.
    pub rows: SettledRows,
}

/// Rows of side tables that a message changes. When one of them is not as it was read, nothing of the message is stored
/// and it is told [`Error::Overtaken`].
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct SettledRows {
    /// Awaited answers that came with it.
    pub expectations: Vec<ClosedExpectation>,
    /// Links whose sequence number moves.
    pub links: Vec<MovedLink>,
    /// Fragments that it goes on from.
    pub continued: Vec<Continued>,
    /// Fragments that wait for the next one from now on.
    pub fragments: Vec<KeptFragment>,
    /// Messages of batches that it answers.
    pub outcomes: Vec<NotedOutcome>,
    /// Exchanges that it opens.
    pub asked: Vec<Asked>,
    /// Exchanges that it closes.
    pub responses: Vec<Response>,
}

impl SettledRows {
    /// Whether nothing is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A row of `expectation`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClosedExpectation {
    /// The message that was sent.
    pub message: i64,
    /// The instance that waits.
    pub instance: i64,
    /// Its send.
    pub send: i32,
}

/// A change of a row of `sequence_link`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MovedLink {
    /// Its name.
    pub link: String,
    /// The number that was read.
    pub before: Option<i64>,
    /// The number from now on.
    pub after: Option<i64>,
}

/// A row of `fragment` that is used up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Continued {
    /// Its link.
    pub link: String,
    /// Its pointer.
    pub pointer: String,
}

/// A new row of `fragment`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptFragment {
    /// Its link.
    pub link: String,
    /// Pointer that the next part will name.
    pub pointer: String,
    /// Parts so far.
    pub messages: Vec<i64>,
}

/// A row of `collector_item` whose outcome becomes known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotedOutcome {
    /// Its batch.
    pub collector: i64,
    /// Its place there, from 1.
    pub number: i32,
    /// MSA-1 of the answer.
    pub code: String,
}

/// A new row of `exchange`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// The message that asks.
    pub message: i64,
    /// Its control id.
    pub control_id: String,
    /// Receive port that it came by.
    pub port: String,
    /// Send port that the response takes; none: the connection of the question.
    pub route: Option<String>,
    /// When the asker is told that no response came.
    pub due_at: DateTime<Utc>,
}

/// A row of `exchange` that is closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Response {
    /// The message that asks.
    pub message: i64,
    /// What answers it.
    pub response: i64,
}

/// 8-byte hash of receive port, MSH-3, MSH-4 and MSH-10. Two control ids may share one, so a known key is only a
/// repeat when the control ids are equal too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DuplicateKey(pub i64);

impl DuplicateKey {
    /// Hashes the parts, each with its length before it.
    #[must_use]
    pub fn of(parts: &[&str]) -> Self {
        let mut bytes = Vec::with_capacity(64);
        for part in parts {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        let mut key = [0; 8];
        key.copy_from_slice(&crate::audit::sha256(&bytes)[..8]);
        Self(i64::from_be_bytes(key))
    }
}

/// Why a message is kept for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Stable code: `no_subscriber`, `unreadable`, `refused`, ...
    pub code: String,
    /// For the operator; no patient data.
    pub reason: String,
}

/// One subscriber of a message and its place there.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Number in the table `subscriber`.
    pub subscriber: i32,
    /// Lane of the subscriber that keeps the order of `key`.
    pub lane: i32,
    /// Hash of the order key or correlation value.
    pub key: i64,
    /// What the work row adds. `Answered` makes it an answer to `instance`.
    pub detail: Option<work::Detail>,
    /// The instance that waits for it, when it is an answer.
    pub instance: Option<InstanceId>,
}

/// What became of a message that was handed in; it is committed when this is returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// It is stored and will reach its subscribers.
    Stored,
    /// Its key was there already: nothing was stored, nobody gets it again.
    Repeat {
        /// The message that was stored then.
        first: MessageId,
        /// Whether the bytes are the same.
        same_content: bool,
    },
    /// An earlier delivery of the same interchange stored it at its place: nobody gets it again.
    Taken,
}

/// Why a message could not be taken.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// It surely is not stored: the sender may be told so (AR or CE with code 207).
    #[error("message {message} was not stored: {reason}")]
    NotStored {
        /// The id it would have had.
        message: MessageId,
        /// What the database said.
        reason: String,
    },
    /// Nobody knows: the connection to the database broke during the commit and the message could not be looked up.
    /// The sender's connection must be closed without an answer; its repeat is recognised.
    #[error("it is not known whether message {message} was stored")]
    Unknown {
        /// Its id.
        message: MessageId,
    },
    /// What it settles had been settled by another message: surely not stored. Whoever handed it in looks again.
    #[error("message {message} came after another one that settled the same")]
    Overtaken {
        /// The id it would have had.
        message: MessageId,
    },
    /// The node is shutting down.
    #[error("this node is shutting down")]
    ShuttingDown,
}

/// Bytes of a control id or patient id that are stored in a column of their own: an index takes no more.
const INDEXED_BYTES_MAX: usize = 2_000;

/// As much of a value as an index takes; the whole of it is in the message.
pub(crate) fn indexed(value: &str) -> &str {
    let most = value.char_indices().map(|(at, letter)| at + letter.len_utf8());
    let end = if value.len() <= INDEXED_BYTES_MAX {
        value.len()
    } else {
        most.take_while(|end| *end <= INDEXED_BYTES_MAX).last().unwrap_or(0)
    };
    &value[..end]
}
