//! Tracking: one entry for each fact, written in the transaction that made it true.
//!
//! Batches write their entries through [`Rows`] and the audit chain of their committer; transactions of the console and
//! of operators hand entries to [`record`].

use chrono::{DateTime, Utc};
use orderly_hl7::{Class, Finding, Level, ProfileRevision, Severity};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::audit::{self, Chain, Purpose};
use crate::ids::{InstanceId, MessageId, TaskId};
use crate::store::{Error, Store, Tx};

/// What an entry tells. The numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(i16)]
pub enum Kind {
    /// A message was received and stored.
    Received = 1,
    /// A sender repeated a message; it was answered, not stored again.
    RepeatAnswered = 2,
    /// A message was kept at the door: unreadable or refused.
    SuspendedAtDoor = 3,
    /// No subscriber took a message.
    NotRouted = 4,
    /// An instance made a turn.
    Turn = 5,
    /// A message was delivered.
    Delivered = 6,
    /// An attempt to deliver failed.
    DeliveryFailed = 7,
    /// Work was suspended; a person decides.
    Suspended = 8,
    /// An answer came on its own.
    AnswerReceived = 9,
    /// A person resumed work.
    Resumed = 10,
    /// A person gave work up.
    Terminated = 11,
    /// A task was made.
    TaskCreated = 12,
    /// A person voted on a task.
    TaskVoted = 13,
    /// A task was closed.
    TaskClosed = 14,
    /// A mail was queued.
    MailQueued = 15,
    /// A person started or held a port.
    PortStateChanged = 16,
    /// A person sent an edited copy.
    Resubmitted = 17,
    /// An answer nobody waits for (any more).
    LateAnswer = 18,
    /// A send port wrote a message as its receiver's party asks.
    ChangedByPort = 19,
    /// An acknowledgment was made that others than the sender get too.
    Acknowledged = 20,
    /// A message was collected into an outgoing batch, or such a batch was closed.
    Collected = 21,
}

impl Kind {
    /// The kind with that number.
    #[must_use]
    pub fn from_number(number: i16) -> Option<Self> {
        use Kind::{
            Acknowledged, AnswerReceived, ChangedByPort, Collected, Delivered, DeliveryFailed, LateAnswer,
            MailQueued, NotRouted, PortStateChanged, Received, RepeatAnswered, Resubmitted, Resumed,
            Suspended, SuspendedAtDoor, TaskClosed, TaskCreated, TaskVoted, Terminated, Turn,
        };
        [
            Received,
            RepeatAnswered,
            SuspendedAtDoor,
            NotRouted,
            Turn,
            Delivered,
            DeliveryFailed,
            Suspended,
            AnswerReceived,
            Resumed,
            Terminated,
            TaskCreated,
            TaskVoted,
            TaskClosed,
            MailQueued,
            PortStateChanged,
            Resubmitted,
            LateAnswer,
            Collected,
            ChangedByPort,
            Acknowledged,
        ]
        .into_iter()
        .find(|kind| *kind as i16 == number)
    }
}

/// One fact.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// What it tells.
    pub kind: Kind,
    /// Message it is about.
    pub message: Option<MessageId>,
    /// Instance it is about.
    pub instance: Option<InstanceId>,
    /// Subscriber it is about (number of the table `subscriber`).
    pub subscriber: Option<i32>,
    /// Task it is about.
    pub task: Option<TaskId>,
    /// Person who did it.
    pub person: Option<String>,
    /// Configuration that applied.
    pub config_version: i64,
    /// What the kind adds.
    pub detail: Detail,
}

impl Entry {
    /// An entry of that kind with nothing else in it yet.
    #[must_use]
    pub fn new(kind: Kind, config_version: i64, detail: Detail) -> Self {
        Self {
            kind,
            message: None,
            instance: None,
            subscriber: None,
            task: None,
            person: None,
            config_version,
            detail,
        }
    }

    /// About that message.
    #[must_use]
    pub fn about(mut self, message: MessageId) -> Self {
        self.message = Some(message);
        self
    }
}

/// What an entry adds to its columns. No field value of a message stands here unless a rule trace shows what decided.
/// Variants and fields are only ever added at the end: old rows must stay readable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Detail {
    /// Nothing.
    None,
    /// A message came in.
    Received {
        /// SHA-256 of the exact bytes; ties the body to the audit chain.
        sha256: [u8; 32],
        /// Address it came from.
        remote: String,
        /// Acknowledgment code it was answered with once this was committed.
        answer: String,
        /// What is wrong or odd in it.
        findings: Vec<Found>,
        /// Subscribers that got it.
        to: Vec<i32>,
    },
    /// A repeat.
    Repeat {
        /// Same bytes as the first time.
        same_content: bool,
        /// Address it came from.
        remote: String,
    },
    /// A cause in words: suspended, not routed, failed, late.
    Cause {
        /// Stable code.
        code: String,
        /// For people; no patient data.
        text: String,
        /// SHA-256 of the message's bytes when this entry is the first that names it.
        sha256: Option<[u8; 32]>,
    },
    /// A turn of an instance.
    Turn {
        /// Its number, from 1.
        turn: u64,
        /// What moved it: `message`, `timer`, `task`, `answer`, `command`, `called`.
        event: String,
        /// Steps that ran.
        steps: Vec<Step>,
        /// Messages it made.
        made: Vec<Made>,
        /// Where it stands now, in words.
        next: String,
    },
    /// A delivery.
    Delivered {
        /// Attempt that succeeded, from 1.
        attempt: u32,
        /// From the first byte written to the answer, in microseconds.
        took_us: u64,
        /// The receiver's answer.
        answer: Option<AnswerTrace>,
    },
    /// A delivery attempt that failed.
    Failed {
        /// Which attempt, from 1.
        attempt: u32,
        /// Stable code.
        code: String,
        /// For people; no patient data.
        text: String,
        /// When it is tried again; none: a person decides.
        again_at: Option<DateTime<Utc>>,
        /// The receiver's answer, when there was one.
        answer: Option<AnswerTrace>,
    },
    /// What a person did: action, reason, what changed.
    Action {
        /// Dotted verb.
        action: String,
        /// Reason the person gave.
        reason: String,
        /// What it was done to, when it is not in the columns.
        object: String,
    },
    /// A task's life.
    Task {
        /// Step of the definition.
        step: String,
        /// Outcome of a vote or of the task.
        outcome: String,
        /// Reason given.
        reason: String,
        /// Signed with a password.
        signed: bool,
        /// Hash of what the person was shown.
        snapshot_sha256: Option<[u8; 32]>,
    },
    /// Another message that belongs to this one: an accept acknowledgment before the application's, the response to a
    /// question, the form in which it left.
    Beside {
        /// The other message.
        message: MessageId,
        /// SHA-256 of its bytes.
        sha256: [u8; 32],
        /// Stable code.
        code: String,
        /// For people; no patient data.
        text: String,
    },
}

/// A finding as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The place, as `PID-3.1`; a segment id or empty when no field is meant.
    pub path: String,
    /// Code of table 0357; 0 for repairs.
    pub code: u16,
    /// Without any value of the message.
    pub text: String,
    /// As the site's verdict on its class left it.
    pub severity: Severity,
    /// What kind of finding it is: the key of `validation.findings`.
    pub class: Class,
    /// The level of validation that found it.
    pub level: Level,
    /// The profile that asks for it; none where the standard does.
    pub profile: Option<ProfileRevision>,
}

impl From<&Finding> for Found {
    fn from(finding: &Finding) -> Self {
        Self {
            path: finding.path.clone(),
            code: finding.code,
            text: finding.text.clone(),
            severity: finding.severity,
            class: finding.class,
            level: finding.level,
            profile: finding.profile.clone(),
        }
    }
}

/// A step that ran in a turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Place in the definition.
    pub path: String,
    /// Its id, or empty.
    pub id: String,
    /// Verb.
    pub verb: String,
    /// What came of it.
    pub outcome: String,
    /// Why, in words.
    pub reason: String,
    /// Trace of the rules as JSON, for those who may read messages; empty without.
    pub trace: String,
    /// Title as written, or empty.
    pub title: String,
    /// What was looked at and what it was, for those who may read messages.
    pub sensitive: Vec<(String, String)>,
    /// Policy that ran, or empty.
    pub policy: String,
    /// Rules of it that fired.
    pub fired: Vec<String>,
}

/// A message that a turn made or sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// The message.
    pub message: MessageId,
    /// SHA-256 of its bytes; none when it was stored before.
    pub sha256: Option<[u8; 32]>,
    /// Subscribers that got it.
    pub to: Vec<i32>,
}

/// A receiver's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerTrace {
    /// Message it was stored as; none for a plain positive one.
    pub message: Option<MessageId>,
    /// `AA`, `AE`, `CR`, ...
    pub code: String,
    /// MSA-2.
    pub control_id: String,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
    /// The bytes themselves, where it is a plain positive one and stored nowhere else.
    pub bytes: Vec<u8>,
}

/// Bytes of a usual detail.
const DETAIL_USUAL: usize = 256;

impl Detail {
    /// The stored form: a format byte and postcard; nothing for [`Detail::None`].
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        match self {
            Self::None => None,
            other => {
                // Room for a usual one at once: growing byte by byte costs more than the encoding.
                let mut bytes = Vec::with_capacity(DETAIL_USUAL);
                bytes.push(1);
                Some(postcard::to_extend(other, bytes).expect("a tracking detail holds only plain values"))
            }
        }
    }

    /// Reads the stored form.
    #[must_use]
    pub fn decode(bytes: Option<&[u8]>) -> Option<Self> {
        match bytes.map(<[u8]>::split_first) {
            None => Some(Self::None),
            Some(Some((1, rest))) => postcard::from_bytes(rest).ok(),
            Some(_) => None,
        }
    }
}

/// Entries as the arrays that `record_tracking` takes, with the hashes of their rows.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) kind: Vec<i16>,
    pub(crate) message: Vec<Option<i64>>,
    pub(crate) instance: Vec<Option<i64>>,
    pub(crate) subscriber: Vec<Option<i32>>,
    pub(crate) task: Vec<Option<i64>>,
    pub(crate) person: Vec<Option<String>>,
    pub(crate) config_version: Vec<i64>,
    pub(crate) detail: Vec<Option<Vec<u8>>>,
    pub(crate) leaves: Vec<[u8; 32]>,
}

impl Rows {
    pub(crate) fn of<'a>(at: DateTime<Utc>, node: i16, entries: impl Iterator<Item = &'a Entry>) -> Self {
        let mut rows = Self::default();
        for entry in entries {
            rows.push_entry((at, node), entry);
        }
        rows
    }

    pub(crate) fn push_entry(&mut self, (at, node): (DateTime<Utc>, i16), entry: &Entry) {
        self.push(audit::Row {
            at,
            node,
            kind: entry.kind as i16,
            message: entry.message.map(|id| id.0),
            instance: entry.instance.map(|id| id.0),
            subscriber: entry.subscriber,
            task: entry.task.map(|id| id.0),
            person: entry.person.clone(),
            config_version: entry.config_version,
            detail: entry.detail.encode(),
        });
    }

    /// An entry that is only about a message, without taking its detail.
    pub(crate) fn push_about(
        &mut self,
        (at, node): (DateTime<Utc>, i16),
        kind: Kind,
        message: MessageId,
        config_version: i64,
        detail: &Detail,
    ) {
        self.push(audit::Row {
            at,
            node,
            kind: kind as i16,
            message: Some(message.0),
            instance: None,
            subscriber: None,
            task: None,
            person: None,
            config_version,
            detail: detail.encode(),
        });
    }

    fn push(&mut self, row: audit::Row) {
        self.leaves.push(row.leaf());
        self.kind.push(row.kind);
        self.message.push(row.message);
        self.instance.push(row.instance);
        self.subscriber.push(row.subscriber);
        self.task.push(row.task);
        self.person.push(row.person);
        self.config_version.push(row.config_version);
        self.detail.push(row.detail);
    }
}

/// Notes entries in a low-rate transaction; [`Tx::commit`] writes them, on this node's own chain.
///
/// # Errors
///
/// None yet; writing happens at the commit.
pub async fn record(tx: &mut Tx, entries: &[Entry]) -> Result<(), Error> {
    tx.entries.extend_from_slice(entries);
    Ok(())
}

/// Writes what [`record`] noted. Transactions wait for each other here, behind every other lock.
pub(crate) async fn write_record(
    store: &Store,
    connection: &mut PgConnection,
    entries: &[Entry],
) -> Result<(), Error> {
    if entries.is_empty() {
        return Ok(());
    }
    let number = match store.record_chain() {
        0 => {
            let chain = Chain::open(connection, store, Purpose::Record).await?;
            chain.id()
        }
        number => number,
    };
    sqlx::query!("SELECT pg_advisory_xact_lock(3, $1)", number).execute(&mut *connection).await?;
    let mut chain = Chain::at_head(connection, number).await?;
    let at = store.clock().now();
    let rows = Rows::of(at, store.slot(), entries.iter());
    let block = chain.seal(at, &rows.leaves);
    sqlx::query!(
        "SELECT record_tracking($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        at,
        store.slot(),
        &rows.kind,
        &rows.message as _,
        &rows.instance as _,
        &rows.subscriber as _,
        &rows.task as _,
        &rows.person as _,
        &rows.config_version,
        &rows.detail as _,
        block.chain,
        block.number,
        &block.root[..],
        &block.previous[..],
        &block.hash[..],
    )
    .fetch_one(&mut *connection)
    .await?;
    chain.advance(&block);
    Ok(())
}
