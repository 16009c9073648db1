//! Work: what waits for one subscriber, and how it is appended to a lane.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use orderly_rules::Properties;
use serde::{Deserialize, Serialize};

use crate::ids::{InstanceId, MessageId};
use crate::store::{Error, Tx};

/// What a work row asks its subscriber to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(i16)]
pub enum Kind {
    /// Take a message: a send port sends it, an orchestration starts or goes on with it. Subject: the message.
    Message = 1,
    /// A task was decided or cancelled. Subject: the task.
    TaskDecided = 2,
    /// The last byte of a send was written. Subject: the sent message.
    Sent = 3,
    /// An acknowledgment or reply came. Subject: the answer, or the sent message when no body was kept.
    Answered = 4,
    /// A send will not be tried any more. Subject: the sent message.
    SendFailed = 5,
    /// Start a child. Subject: the new instance.
    Start = 6,
    /// An operator resumes or terminates. Subject: the instance.
    Command = 7,
    /// A timer that fired on another lane. Subject: the instance.
    Timer = 8,
}

impl Kind {
    /// The kind with that number.
    #[must_use]
    pub fn from_number(number: i16) -> Option<Self> {
        Some(match number {
            1 => Self::Message,
            2 => Self::TaskDecided,
            3 => Self::Sent,
            4 => Self::Answered,
            5 => Self::SendFailed,
            6 => Self::Start,
            7 => Self::Command,
            8 => Self::Timer,
            _ => return None,
        })
    }
}

/// What the kind adds to its subject. Variants and fields are only ever added at the end: old rows must stay readable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Detail {
    /// A message for an orchestration.
    Subscribed(Subscribed),
    /// A message for a send port that an orchestration sent.
    Send(SendDetail),
    /// A task was decided.
    Decided {
        /// Number of the task within its instance.
        task: u32,
        /// Chosen outcome.
        outcome: String,
        /// Who decided.
        by: Vec<String>,
        /// When the vote that decided was given.
        at: DateTime<Utc>,
        /// Reason of the person whose vote decided.
        reason: String,
        /// Extra inputs, as a JSON object.
        fields: String,
    },
    /// A task was withdrawn by a person.
    TaskCancelled {
        /// Number of the task within its instance.
        task: u32,
        /// Who did it.
        by: String,
        /// Why.
        reason: String,
    },
    /// Bytes were written.
    Sent {
        /// Number of the send within its instance.
        send: u32,
        /// When.
        at: DateTime<Utc>,
    },
    /// An answer came.
    Answered {
        /// Number of the send within its instance.
        send: u32,
        /// `AA`, `AE`, ... or empty for a reply.
        code: String,
        /// Text of the answer.
        text: String,
    },
    /// The send failed for good.
    SendFailed {
        /// Number of the send within its instance.
        send: u32,
        /// `send.exhausted`, `transport.refused`, ...
        code: String,
        /// For people; no patient data.
        text: String,
    },
    /// A child starts.
    Start {
        /// Its inputs, as a JSON object of rule values.
        inputs: String,
        /// Instance that started it.
        parent: InstanceId,
    },
    /// An operator's command.
    Command {
        /// What to do.
        command: Command,
        /// Who said so.
        person: String,
        /// Why.
        reason: String,
    },
    /// A timer.
    Timer {
        /// Which.
        token: u32,
    },
}

/// Operator's commands to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Run the suspended step again.
    Retry,
    /// Go on behind it.
    GoOn,
    /// End the instance.
    Terminate,
}

/// How a message concerns an orchestration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribed {
    /// Logical port it came by.
    pub port: String,
    /// Trigger it may start an instance with.
    pub activates: Option<u16>,
    /// An open instance that holds the values gets it.
    pub follows: bool,
    /// Correlation set whose holder gets it, and the hash of its values.
    pub correlation: Option<(String, [u8; 16])>,
    /// True when a subscriber that surely takes the message got it too.
    pub taken_elsewhere: bool,
    /// Configuration whose subscription matched.
    pub config_version: i64,
    /// Set where it is the report of a failure, which is rare.
    pub fault: Option<Box<Fault>>,
}

/// What failed, where and how, as who subscribes to failures reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Stable code, as in `parked.code`.
    pub code: String,
    /// `receive`, `route`, `send`.
    pub step: String,
    /// Receive port or send port.
    pub port: String,
    /// Party on the other side.
    pub party: String,
    /// `refused`, `not_routed`, `delivery`.
    pub class: String,
}

impl Fault {
    /// What the properties of a report say; none for an ordinary message.
    pub(crate) fn of(properties: &Properties) -> Option<Self> {
        if properties.get("fault.code").is_empty() {
            return None;
        }
        Some(Self {
            code: properties.text("fault.code"),
            step: properties.text("fault.step"),
            port: properties.text("fault.port"),
            party: properties.text("fault.party"),
            class: properties.text("fault.class"),
        })
    }

    /// Says it in the properties of a message.
    pub(crate) fn promote(&self, properties: &mut Properties) {
        properties.set("fault.code", self.code.as_str());
        properties.set("fault.step", self.step.as_str());
        properties.set("fault.port", self.port.as_str());
        properties.set("fault.party", self.party.as_str());
        properties.set("fault.class", self.class.as_str());
    }
}

/// How an instance sends a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendDetail {
    /// Instance that sends.
    pub instance: InstanceId,
    /// Its lane.
    pub home: i32,
    /// Number of the send within the instance.
    pub send: u32,
    /// `transport`, `accept`, `application`, `any` or `reply:STRUCTURE`; none: nobody waits.
    pub expect: Option<String>,
    /// Attempts that replace the port's.
    pub retry: Option<RetryOverride>,
}

/// A step's retry rule; replaces the port's for one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryOverride {
    /// Attempts after the first.
    pub times: u32,
    /// First pause, in milliseconds.
    pub wait_ms: u64,
    /// Each pause is so many hundredths of the one before.
    pub factor_hundredths: u32,
    /// Longest pause, in milliseconds.
    pub most_ms: u64,
    /// Error codes that are retried besides the port's.
    pub errors: Vec<String>,
}

/// Bytes of a usual detail.
const DETAIL_USUAL: usize = 64;

impl Detail {
    /// The stored form: a format byte and postcard.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(DETAIL_USUAL);
        bytes.push(1);
        postcard::to_extend(self, bytes).expect("a work detail holds only plain values")
    }

    /// Reads the stored form.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first() {
            Some((1, rest)) => postcard::from_bytes(rest).ok(),
            _ => None,
        }
    }
}

/// Work to append.
#[derive(Debug, Clone)]
pub struct NewWork {
    /// Lane that gets it.
    pub lane: i32,
    /// What is to do.
    pub kind: Kind,
    /// What it is about; see [`Kind`].
    pub subject: i64,
    /// Hash of the order key: what waits behind a failed item of the same key.
    pub key: i64,
    /// Instance that must get it.
    pub instance: Option<InstanceId>,
    /// What the kind adds.
    pub detail: Option<Detail>,
}

impl NewWork {
    /// A plain message for a send port.
    #[must_use]
    pub fn message(lane: i32, message: MessageId, key: i64) -> Self {
        Self { lane, kind: Kind::Message, subject: message.0, key, instance: None, detail: None }
    }
}

/// Work rows as the arrays that `append_work` takes.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    pub(crate) lane: Vec<i32>,
    pub(crate) hint: Vec<DateTime<Utc>>,
    pub(crate) place: Vec<i32>,
    pub(crate) number: Vec<i32>,
    pub(crate) kind: Vec<i16>,
    pub(crate) subject: Vec<i64>,
    pub(crate) key: Vec<i64>,
    pub(crate) instance: Vec<Option<i64>>,
    pub(crate) detail: Vec<Option<Vec<u8>>>,
}

impl Columns {
    /// Sorts the lanes and numbers the rows within each; `newest` tells the time of the newest known row of a lane.
    pub(crate) fn of<'a>(
        work: impl Iterator<Item = &'a NewWork> + Clone,
        newest: impl Fn(i32) -> Option<DateTime<Utc>>,
    ) -> Self {
        let mut counts: BTreeMap<i32, (i32, i32)> = work.clone().map(|row| (row.lane, (0, 0))).collect();
        let mut columns = Self::default();
        for (place, (lane, entry)) in counts.iter_mut().enumerate() {
            entry.0 = i32::try_from(place + 1).unwrap_or(i32::MAX);
            columns.lane.push(*lane);
            // Any older instant is correct; a lane nobody heard of is looked for in all partitions.
            let hint = newest(*lane).map_or(DateTime::UNIX_EPOCH, |at| at - TimeDelta::minutes(5));
            columns.hint = vec![columns.hint.first().map_or(hint, |oldest| hint.min(*oldest))];
        }
        for row in work {
            let entry = counts.entry(row.lane).or_default();
            entry.1 += 1;
            columns.place.push(entry.0);
            columns.number.push(entry.1);
            columns.kind.push(row.kind as i16);
            columns.subject.push(row.subject);
            columns.key.push(row.key);
            columns.instance.push(row.instance.map(|instance| instance.0));
            columns.detail.push(row.detail.as_ref().map(Detail::encode));
        }
        columns
    }

    /// Sequence of row `index`, once the tails are known.
    pub(crate) fn sequence(&self, tails: &[i64], index: usize) -> i64 {
        let place = usize::try_from(self.place[index] - 1).unwrap_or_default();
        tails[place] + i64::from(self.number[index])
    }
}

/// Appends work in a transaction of the console or an operator; the last thing before its commit, since it takes the
/// locks of the lanes. Their owners are woken by [`Tx::commit`].
///
/// # Errors
///
/// Fails when the database does.
pub async fn append(tx: &mut Tx, work: &[NewWork]) -> Result<(), Error> {
    if work.is_empty() {
        return Ok(());
    }
    let columns = Columns::of(work.iter(), |_| None);
    let now = tx.store().clock().now();
    sqlx::query_scalar!(
        r#"SELECT append_work($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) AS "tails!""#,
        now,
        &columns.lane,
        &columns.hint,
        &columns.place,
        &columns.number,
        &columns.kind,
        &columns.subject,
        &columns.key,
        &columns.instance as _,
        &columns.detail as _,
    )
    .fetch_one(tx.connection())
    .await?;
    tx.lanes.extend_from_slice(&columns.lane);
    Ok(())
}
