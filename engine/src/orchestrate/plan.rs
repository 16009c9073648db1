//! What one T2 writes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use orderly_hl7::Message;
use orderly_orchestrations::State;
use serde_json::Value as Json;

use super::acknowledgments::Decided;
use crate::configuration::Configuration;
use crate::notice::Notice;
use crate::parked;
use crate::tracking::Entry;
use crate::work::NewWork;

/// An instance in the memory of a batch.
pub(super) struct Live {
    pub(super) id: i64,
    /// Number in the table `subscriber`.
    pub(super) orchestration: i32,
    pub(super) name: String,
    pub(super) configuration: Arc<Configuration>,
    pub(super) lane: i32,
    /// Turn that was read; 0: it is new.
    pub(super) read_turn: i64,
    /// Last turn made.
    pub(super) turn: i64,
    pub(super) state: Option<State>,
    pub(super) stand: Stand,
    /// It was moved in this batch.
    pub(super) moved: bool,
}

/// Where an instance stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stand {
    Waiting(String),
    Suspended { code: String, text: String },
    Ended,
}

/// A message to store.
pub(crate) struct Stored {
    pub(crate) id: i64,
    pub(crate) parent: Option<i64>,
    pub(crate) source: i32,
    pub(crate) retention: i16,
    pub(crate) message: Message,
    pub(crate) sha256: [u8; 32],
    pub(crate) message_type: String,
    pub(crate) control_id: Option<String>,
    pub(crate) patient: Option<String>,
}

/// A correlation to open.
pub(super) struct Opened {
    pub(super) orchestration: i32,
    pub(super) set: String,
    pub(super) key: [u8; 16],
    pub(super) instance: i64,
    pub(super) lane: i32,
    pub(super) shared: bool,
}

/// An answer to wait for.
pub(super) struct Expected {
    pub(super) message: i64,
    pub(super) instance: i64,
    pub(super) send: i32,
    pub(super) lane: i32,
    pub(super) control_id: String,
    pub(super) port: i32,
    pub(super) kind: String,
}

/// A mail whose recipients are not looked up yet.
pub(super) struct PendingMail {
    pub(super) instance: i64,
    pub(super) roles: Vec<String>,
    pub(super) users: Vec<String>,
    pub(super) subject: String,
    pub(super) body: String,
    pub(super) link: Option<String>,
    pub(super) config_version: i64,
}

/// A task to create.
pub(super) struct NewTask {
    pub(super) instance: i64,
    pub(super) ordinal: u32,
    pub(super) row: Json,
}

/// Rows of one T2.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) instances: HashMap<i64, Live>,
    pub(super) stored: Vec<Stored>,
    pub(super) work: Vec<NewWork>,
    /// Messages by id, as far as memory has them.
    pub(super) messages: HashMap<i64, Message>,
    pub(super) fired: Vec<(i64, u32)>,
    pub(super) cancelled: Vec<(i64, u32)>,
    pub(super) timers: BTreeMap<(i64, u32), (i32, DateTime<Utc>)>,
    pub(super) opened: Vec<Opened>,
    pub(super) expected: Vec<Expected>,
    pub(super) withdrawn: Vec<(i64, u32)>,
    pub(super) tasks: Vec<NewTask>,
    pub(super) changes: Vec<Json>,
    pub(super) mails: Vec<PendingMail>,
    pub(super) acknowledgments: Vec<Decided>,
    /// Acknowledgments that go back to their senders, as rows of `exchange`.
    pub(super) returned: Vec<Json>,
    pub(super) parked: parked::Columns,
    pub(super) entries: Vec<Entry>,
    pub(super) notices: Vec<Notice>,
}

impl Plan {
    /// True when all it says is that new instances ended, what they made and who gets it: nothing waits or is kept for a
    /// person, and nothing of it was known to the database before.
    pub(super) fn has_only_ended(&self) -> bool {
        let ended = |live: &Live| live.read_turn == 0 && live.stand == Stand::Ended;
        let waits = [self.opened.len(), self.expected.len(), self.timers.len(), self.fired.len()];
        let people = [self.tasks.len(), self.changes.len(), self.mails.len(), self.notices.len()];
        let answers = [self.acknowledgments.len(), self.returned.len(), self.parked.id.len()];
        self.instances.values().all(ended)
            && [&waits[..], &people, &answers].concat().iter().all(|rows| *rows == 0)
    }

    /// An ended instance holds and awaits nothing any more; what this batch prepared for it is dropped.
    pub(super) fn forget_waits_of(&mut self, instance: i64) {
        self.opened.retain(|opened| opened.instance != instance);
        self.expected.retain(|expected| expected.instance != instance);
        self.timers.retain(|(owner, _), _| *owner != instance);
        for task in self.tasks.iter_mut().filter(|task| task.instance == instance) {
            if task.row["state"] == 0 {
                task.row["state"] = 4.into();
            }
        }
    }
}
