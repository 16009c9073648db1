//! Where an instance stands: positions, names, the wait, and messages that came too early.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use orderly_hl7::Message;
use orderly_rules::{MessageValue, Value};
use serde::{Deserialize, Serialize};

use crate::program::{BlockId, Slot, StepId};

/// Version of the encoding, its first byte. It rises when old states can no longer be read.
const FORMAT: u8 = 1;
/// Largest encoded state.
const STATE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Where an instance stands. Messages are kept by id: [`attach`](Self::attach) them after
/// decoding and before the next turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    #[serde(with = "chrono::serde::ts_milliseconds")]
    pub(crate) started_at: DateTime<Utc>,
    /// Message that started the instance.
    pub(crate) origin: Option<i64>,
    pub(crate) frames: Vec<Frame>,
    #[serde(with = "crate::stored")]
    pub(crate) names: Vec<Option<Value>>,
    pub(crate) wait: Option<Wait>,
    pub(crate) halt: Option<Halt>,
    pub(crate) queue: Vec<Queued>,
    pub(crate) opened: Vec<String>,
    pub(crate) tasks: u32,
    pub(crate) sends: u32,
    pub(crate) tokens: u32,
}

/// A block that is being run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Frame {
    pub(crate) block: BlockId,
    /// The step to run next.
    pub(crate) next: u32,
    pub(crate) kind: FrameKind,
}

/// Why a block is being run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum FrameKind {
    /// The steps of the file, or a clause of `on_error`.
    Root {
        timer: Option<Timer>,
        handling: bool,
    },
    /// A case of `decide`, a branch of `listen`, a clause of `catch`.
    Body,
    Scope {
        step: StepId,
        timer: Option<Timer>,
    },
    Loop {
        step: StepId,
        passes: u32,
    },
}

/// A timer that was set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Timer {
    pub(crate) token: u32,
    #[serde(with = "chrono::serde::ts_milliseconds")]
    pub(crate) at: DateTime<Utc>,
}

/// The step at which an instance rests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wait {
    pub(crate) step: StepId,
    pub(crate) kind: WaitKind,
}

/// What an instance waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum WaitKind {
    Receive { timer: Option<Timer> },
    Listen { timers: Vec<(u16, Timer)> },
    Delay { timer: Timer },
    Answer { send: u32, attempt: u32, timer: Option<Timer>, pausing: bool },
    Task { task: u32, escalations: Vec<(u16, Timer)>, expires: Option<Timer> },
}

/// Why an instance is suspended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Halt {
    pub(crate) code: String,
    pub(crate) text: String,
    /// True for the step `suspend`: both ways of resuming go on behind it.
    pub(crate) wanted: bool,
}

/// A message that the flow could not take yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Queued {
    pub(crate) message: MessageValue,
    /// Subscriptions of the definition that it matches.
    pub(crate) subscriptions: Vec<u16>,
}

impl Queued {
    pub(crate) fn id(&self) -> i64 {
        self.message.id.unwrap_or_default()
    }
}

/// Why a stored state cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Written by another version of the program.
    #[error("the state has format {0}, this program reads {FORMAT}")]
    Format(u8),
    /// Not the bytes that were written.
    #[error("the state is damaged")]
    Damaged(#[source] postcard::Error),
    /// Nothing was stored.
    #[error("the state is empty")]
    Empty,
}

impl State {
    /// The state of an instance that has not run yet.
    pub(crate) fn new(started_at: DateTime<Utc>, names: usize) -> Self {
        Self {
            // Milliseconds are what is stored: a state must not change by being stored.
            started_at: whole_millis(started_at),
            origin: None,
            frames: Vec::with_capacity(4),
            names: vec![None; names],
            wait: None,
            halt: None,
            queue: Vec::new(),
            opened: Vec::new(),
            tasks: 0,
            sends: 0,
            tokens: 0,
        }
    }

    /// The bytes to store.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![FORMAT]).expect("writing a state to memory cannot fail")
    }

    /// Reads stored bytes.
    ///
    /// # Errors
    ///
    /// Refuses another format and damaged bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let (format, rest) = bytes.split_first().ok_or(StateError::Empty)?;
        if *format != FORMAT {
            return Err(StateError::Format(*format));
        }
        postcard::from_bytes(rest).map_err(StateError::Damaged)
    }

    /// Ids of the messages that the names and the queue refer to.
    pub fn message_ids(&self) -> Vec<i64> {
        let mut ids: Vec<i64> = self.queue.iter().map(Queued::id).collect();
        for value in self.names.iter().flatten() {
            message_ids(value, &mut ids);
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Gives names and queue their messages back, after [`decode`](Self::decode). Returns the ids
    /// that were not given: with such a gap the instance must be suspended, not moved.
    pub fn attach(&mut self, messages: &HashMap<i64, Message>) -> Vec<i64> {
        let mut missing = Vec::new();
        for value in self.names.iter_mut().flatten() {
            attach(value, messages, &mut missing);
        }
        for queued in &mut self.queue {
            attach_one(&mut queued.message, messages, &mut missing);
        }
        missing
    }

    /// Ids of the messages that came before the flow could take them.
    pub fn queued(&self) -> Vec<i64> {
        self.queue.iter().map(Queued::id).collect()
    }

    /// When the instance started.
    pub fn started_at(&self) -> DateTime<Utc> {
        self.started_at
    }

    /// The message that started the instance.
    pub fn origin(&self) -> Option<i64> {
        self.origin
    }

    /// True when the encoded state would pass its limit, by an estimate that costs no encoding.
    pub(crate) fn is_too_large(&self) -> bool {
        let names: usize = self.names.iter().flatten().map(size).sum();
        names + self.queue.len() * 16 > STATE_BYTES_MAX
    }

    pub(crate) fn name(&self, slot: Slot) -> Option<&Value> {
        self.names[slot as usize].as_ref()
    }

    pub(crate) fn message(&self, slot: Slot) -> Option<&MessageValue> {
        match self.name(slot) {
            Some(Value::Message(message)) => Some(message),
            _ => None,
        }
    }

    pub(crate) fn put(&mut self, slot: Slot, value: Value) {
        self.names[slot as usize] = Some(value);
    }
}

/// Cuts an instant to what the state stores.
pub(crate) fn whole_millis(at: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(at.timestamp_millis()).unwrap_or(at)
}

/// Bytes that a value takes when it is stored, roughly.
fn size(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len() + 4,
        Value::List(items) => items.iter().map(size).sum::<usize>() + 4,
        Value::Map(entries) => {
            entries.iter().map(|(key, value)| key.len() + 2 + size(value)).sum::<usize>() + 4
        }
        _ => 16,
    }
}

/// Collects the ids of all messages in a value.
fn message_ids(value: &Value, ids: &mut Vec<i64>) {
    match value {
        Value::Message(message) => ids.extend(message.id),
        Value::List(items) => items.iter().for_each(|item| message_ids(item, ids)),
        Value::Map(entries) => entries.values().for_each(|entry| message_ids(entry, ids)),
        _ => {}
    }
}

/// Gives all messages in a value their content.
fn attach(value: &mut Value, messages: &HashMap<i64, Message>, missing: &mut Vec<i64>) {
    match value {
        Value::Message(message) => attach_one(message, messages, missing),
        Value::List(items) => items.iter_mut().for_each(|item| attach(item, messages, missing)),
        Value::Map(entries) => entries.values_mut().for_each(|entry| attach(entry, messages, missing)),
        _ => {}
    }
}

/// Gives one message its content.
fn attach_one(message: &mut MessageValue, messages: &HashMap<i64, Message>, missing: &mut Vec<i64>) {
    let Some(id) = message.id else { return };
    match messages.get(&id) {
        Some(found) => message.message = Some(found.clone()),
        None => missing.push(id),
    }
}
