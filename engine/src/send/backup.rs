//! The second way out of a send port: taken by what could not be delivered by the first, until nothing of its key waits.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use super::port::Port;
use super::verdict::Tries;
use crate::configuration::{Backup, SendPort};
use crate::delivery::SendWork;

/// Keys that are remembered at most; a port with more begins anew with its first way.
const KEYS_MOST: usize = 100_000;

/// A backup with what goes by it now.
#[derive(Debug)]
pub(super) struct SecondWay {
    /// Its sockets, breaker and pace.
    pub(super) port: Arc<Port>,
    rule: Backup,
    moved: Mutex<Moved>,
}

#[derive(Debug, Default)]
struct Moved {
    /// All keys go by it, until an operator says otherwise.
    all: bool,
    /// Lanes and keys that go by it as long as something of them waits.
    keys: HashSet<(i32, i64)>,
    /// Messages that go by it: attempts made before, and since when.
    messages: HashMap<i64, (u32, DateTime<Utc>)>,
}

impl SecondWay {
    pub(super) fn new(port: Arc<Port>, rule: Backup) -> Self {
        Self { port, rule, moved: Mutex::default() }
    }

    /// The settings of the port with the other target.
    pub(super) fn settings_of(settings: &SendPort, rule: &Backup) -> SendPort {
        SendPort { target: rule.target.clone(), backup: None, ..settings.clone() }
    }

    fn moved(&self) -> MutexGuard<'_, Moved> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True when the message goes by this way: it was moved, or its key was while it waited.
    pub(super) fn takes(&self, work: &SendWork, now: DateTime<Utc>) -> bool {
        let place = (work.lane, work.key);
        {
            let mut moved = self.moved();
            if moved.messages.contains_key(&work.message_id.0) {
                return true;
            }
            if work.parked.is_none() && !moved.all {
                // Nothing of its key waits: the first way is tried again.
                moved.keys.remove(&place);
                return false;
            }
            if !moved.all && !moved.keys.contains(&place) {
                // What was moved before a restart shows in its number of attempts, where these are counted.
                let made = self.rule.after.times.map(|times| times + 1);
                return match made.filter(|made| work.attempt > *made) {
                    Some(made) => {
                        moved.messages.insert(work.message_id.0, (made, now));
                        moved.keys.insert(place);
                        true
                    }
                    None => false,
                };
            }
        }
        self.take(work, now, work.attempt - 1);
        true
    }

    /// Moves a message here after `made` attempts by the first way.
    pub(super) fn take(&self, work: &SendWork, now: DateTime<Utc>, made: u32) {
        let mut moved = self.moved();
        if moved.keys.len() >= KEYS_MOST {
            moved.keys.clear();
        }
        moved.keys.insert((work.lane, work.key));
        moved.messages.entry(work.message_id.0).or_insert((made, now));
    }

    /// Whether its use ends by an operator's word alone, and has begun just now.
    pub(super) fn begins_by_hand(&self) -> bool {
        self.rule.by_hand && !self.moved().all
    }

    /// Whether the whole port goes by it.
    pub(super) fn set_all(&self, all: bool) {
        self.moved().all = all && self.rule.by_hand;
    }

    /// The message needs no way any more.
    pub(super) fn is_done(&self, work: &SendWork) {
        self.moved().messages.remove(&work.message_id.0);
    }

    /// How far its attempts by this way are.
    pub(super) fn tries(&self, work: &SendWork, now: DateTime<Utc>) -> Tries {
        let (made, since) = self.moved().messages.get(&work.message_id.0).copied().unwrap_or((0, now));
        Tries {
            retry: self.rule.retry.clone(),
            attempt: work.attempt.saturating_sub(made).max(1),
            spent: (now - since).to_std().unwrap_or_default(),
            backup_follows: false,
        }
    }
}
