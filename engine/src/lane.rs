//! Lanes of this node in memory: what was handed over after a commit, in sequence, and the log behind it.
//!
//! Work that this node publishes for its own lanes is handed over in memory with the parsed message. Two committers can
//! hand over in the wrong order, so a lane takes only `tail + 1` and stashes what came early. When too much waits, the
//! lane drops what is handed over and reads the log until it has caught up. Whatever happens in memory, polling the log
//! is what guarantees that every row is seen: sequences are dense, so nothing can hide behind a later row.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use orderly_hl7::Message;
use tokio::sync::Notify;

use crate::node::Claimed;
use crate::node::wake::Wakeups;
use crate::work::{Detail, Kind};

mod log;

pub(crate) use log::{keep_reading, load_messages};

/// Work that one lane keeps in memory before it turns to the log.
const QUEUE_MAX: usize = 4_096;
/// Bytes of messages that one lane keeps in memory before it turns to the log.
const QUEUE_BYTES_MAX: usize = 32 << 20;
/// Bytes of messages of one read of the log; at least one message is read.
const READ_BYTES_MAX: i64 = 8 << 20;
/// Rows of one read of the log.
const READ_MAX: i64 = 200;

/// After its owner was lost nothing goes straight through a lane for so long. What ended the process may come again, and
/// only a message that is stored can be found out and set aside.
const CAREFUL_TIME: Duration = Duration::from_secs(600);

/// One row of work in memory.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) lane: i32,
    pub(crate) sequence: i64,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) kind: Kind,
    pub(crate) subject: i64,
    pub(crate) key: i64,
    pub(crate) instance: Option<i64>,
    pub(crate) detail: Option<Detail>,
    /// The message of kind 1 or 4; none when there is none or it cannot be read.
    pub(crate) message: Option<Message>,
}

impl Item {
    fn bytes(&self) -> usize {
        self.message.as_ref().map_or(0, |message| message.bytes().len())
    }
}

#[derive(Debug)]
struct Lane {
    epoch: i64,
    /// Consumed and committed.
    cursor: i64,
    cursor_at: DateTime<Utc>,
    /// Given to the worker.
    taken: i64,
    queue: VecDeque<Item>,
    stash: BTreeMap<i64, Item>,
    /// Bytes of the messages in `queue` and `stash`.
    bytes: usize,
    /// Highest sequence heard of.
    known: i64,
    /// No unseen row was created before this, less five minutes.
    seen_at: DateTime<Utc>,
    /// Reads the log instead of taking what is handed over.
    reading: bool,
    /// Nothing goes straight through before.
    careful_until: Option<Instant>,
    notify: Arc<Notify>,
}

impl Lane {
    fn tail(&self) -> i64 {
        self.taken + i64::try_from(self.queue.len()).unwrap_or_default()
    }

    fn push(&mut self, item: Item) {
        self.known = self.known.max(item.sequence);
        if self.reading || item.sequence <= self.tail() {
            return;
        }
        if self.queue.len() + self.stash.len() >= QUEUE_MAX || self.bytes >= QUEUE_BYTES_MAX {
            self.bytes -= self.stash.values().map(Item::bytes).sum::<usize>();
            self.stash.clear();
            self.reading = true;
            return;
        }
        self.bytes += item.bytes();
        if item.sequence == self.tail() + 1 {
            self.queue.push_back(item);
            while let Some(next) = self.stash.remove(&(self.tail() + 1)) {
                self.queue.push_back(next);
            }
        } else {
            let again = self.stash.insert(item.sequence, item);
            self.bytes -= again.as_ref().map_or(0, Item::bytes);
        }
    }

    fn pop(&mut self) -> Option<Item> {
        let item = self.queue.pop_front()?;
        self.taken += 1;
        self.bytes -= item.bytes();
        Some(item)
    }

    /// What was stashed and came from the log since.
    fn drop_overtaken(&mut self) {
        let ahead = self.stash.split_off(&(self.tail() + 1));
        self.bytes -= self.stash.values().map(Item::bytes).sum::<usize>();
        self.stash = ahead;
    }

    fn has_room(&self) -> bool {
        self.queue.len() < QUEUE_MAX / 16 && self.bytes < QUEUE_BYTES_MAX / 2
    }
}

/// What a lane needs read from the log.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) lane: i32,
    pub(crate) behind: i64,
    pub(crate) seen_at: DateTime<Utc>,
}

/// What is before a message that would go through a lane now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// All of it that is known is consumed and committed. No unseen row was created before `seen_at`, less five minutes.
    Nothing { tail: i64, seen_at: DateTime<Utc> },
    /// Work that is under way or waits.
    Something,
    /// The lane is not here, is on hold, or is looked at with care.
    Unknown,
}

/// A consumed range, to be recorded in the transaction that consumed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) lane: i32,
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) to_created_at: DateTime<Utc>,
    pub(crate) epoch: i64,
}

/// All lanes this node owns. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lanes {
    inner: Arc<Mutex<Book>>,
    /// What other nodes are told.
    wakeups: Wakeups,
}

#[derive(Debug, Default)]
struct Book {
    lanes: HashMap<i32, Lane>,
    /// Creation time of the newest row heard of, for lanes of all nodes: the hint of the next append.
    newest: HashMap<i32, DateTime<Utc>>,
    /// Where the next round of taking begins, so that a busy lane starves nobody.
    turn: usize,
    /// Lanes whose log has a gap.
    stopped: Vec<i32>,
    /// Lanes of orchestrations that an operator holds.
    held: HashSet<i32>,
}

impl Lanes {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a lane at its cursor, with the log to read.
    pub(crate) fn open(&self, claimed: &Claimed, notify: Arc<Notify>) {
        self.book().lanes.insert(
            claimed.lane,
            Lane {
                epoch: claimed.epoch,
                cursor: claimed.cursor,
                cursor_at: claimed.cursor_at,
                taken: claimed.cursor,
                queue: VecDeque::new(),
                stash: BTreeMap::new(),
                bytes: 0,
                known: claimed.cursor,
                seen_at: claimed.cursor_at,
                reading: true,
                careful_until: claimed.lost.then(|| Instant::now() + CAREFUL_TIME),
                notify,
            },
        );
    }

    /// Forgets a lane. Only where nothing of it is under way: what is not in the book is not fenced.
    pub(crate) fn close(&self, lane: i32) {
        self.book().lanes.remove(&lane);
    }

    pub(crate) fn owns(&self, lane: i32) -> bool {
        self.book().lanes.contains_key(&lane)
    }

    /// Notes which lanes wait for an operator, and no others.
    pub(crate) fn hold(&self, lanes: &HashSet<i32>) {
        self.book().held.clone_from(lanes);
    }

    /// What is before a message that would go through this lane now, as far as this node knows.
    pub(crate) fn ahead(&self, lane: i32) -> Ahead {
        let book = self.book();
        let Some(known) = book.lanes.get(&lane).filter(|_| !book.held.contains(&lane)) else {
            return Ahead::Unknown;
        };
        if known.careful_until.is_some_and(|until| Instant::now() < until) {
            return Ahead::Unknown;
        }
        let is_empty = known.queue.is_empty() && known.stash.is_empty() && !known.reading;
        if is_empty && known.cursor == known.taken && known.cursor == known.known {
            return Ahead::Nothing { tail: known.cursor, seen_at: known.seen_at };
        }
        Ahead::Something
    }

    /// Hint for the next append to the lane.
    pub(crate) fn newest(&self, lane: i32) -> Option<DateTime<Utc>> {
        self.book().newest.get(&lane).copied()
    }

    /// Takes over what was just committed. Lanes of other nodes only leave their time.
    pub(crate) fn hand_over(&self, items: impl IntoIterator<Item = Item>) {
        let mut woken: Vec<Arc<Notify>> = Vec::new();
        {
            let mut book = self.book();
            for item in items {
                let lane = item.lane;
                book.newest.insert(lane, item.created_at);
                if let Some(lane) = book.lanes.get_mut(&lane) {
                    lane.push(item);
                    if !woken.iter().any(|known| Arc::ptr_eq(known, &lane.notify)) {
                        woken.push(lane.notify.clone());
                    }
                } else {
                    self.wakeups.add(lane);
                }
            }
        }
        for notify in woken {
            notify.notify_one();
        }
    }

    /// Lanes of other nodes that got work.
    pub(crate) fn wakeups(&self) -> &Wakeups {
        &self.wakeups
    }

    /// Takes work of these lanes in turn, `most` in all. Each lane that has work gets its part by weight, and one piece at
    /// least, so that none starves. What is taken must be committed or rewound.
    pub(crate) fn take(&self, lanes: &[(i32, u8)], most: usize) -> Vec<Item> {
        let mut taken = Vec::new();
        let mut book = self.book();
        let has_work =
            |lane: &&(i32, u8)| book.lanes.get(&lane.0).is_some_and(|owned| !owned.queue.is_empty());
        let busy: Vec<(i32, u8)> = lanes.iter().filter(has_work).copied().collect();
        let weights: usize = busy.iter().map(|(_, weight)| usize::from(*weight)).sum();
        let start = book.turn;
        book.turn = book.turn.wrapping_add(1);
        for round in 0..busy.len() {
            let (number, weight) = busy[(start + round) % busy.len()];
            let Some(lane) = book.lanes.get_mut(&number) else { continue };
            let share = (most * usize::from(weight) / weights.max(1)).max(1);
            let here = lane.queue.len().min(share).min(most - taken.len());
            taken.extend((0..here).map_while(|_| lane.pop()));
            if taken.len() >= most {
                break;
            }
        }
        taken
    }

    /// Takes the next work of one lane.
    pub(crate) fn take_one(&self, lane: i32) -> Option<Item> {
        let mut book = self.book();
        book.lanes.get_mut(&lane)?.pop()
    }

    /// Place of the work that [`Lanes::take_one`] would give.
    pub(crate) fn next_sequence(&self, lane: i32) -> Option<i64> {
        self.book().lanes.get(&lane)?.queue.front().map(|item| item.sequence)
    }

    /// True when a lane has nothing in memory and nothing to read, or is gone.
    pub(crate) fn is_drained(&self, lane: i32) -> bool {
        self.book().lanes.get(&lane).is_none_or(|lane| lane.queue.is_empty() && !lane.reading)
    }

    /// The range from the cursor to `to`, for the transaction that consumes it; none when the lane is gone.
    pub(crate) fn range(&self, lane: i32, to: i64, to_created_at: DateTime<Utc>) -> Option<Range> {
        let book = self.book();
        let owned = book.lanes.get(&lane)?;
        Some(Range { lane, from: owned.cursor + 1, to, to_created_at, epoch: owned.epoch })
    }

    /// Where the lane's consumer stands.
    pub(crate) fn cursor(&self, lane: i32) -> Option<i64> {
        self.book().lanes.get(&lane).map(|lane| lane.cursor)
    }

    /// The ranges are committed.
    pub(crate) fn committed(&self, ranges: &[Range]) {
        let mut book = self.book();
        for range in ranges {
            if let Some(lane) = book.lanes.get_mut(&range.lane) {
                lane.cursor = range.to;
                lane.cursor_at = range.to_created_at;
            }
        }
    }

    /// Another writer appended: the log must be read, here or by the owner.
    pub(crate) fn look(&self, lanes: &[i32]) {
        let mut book = self.book();
        for number in lanes {
            match book.lanes.get_mut(number) {
                Some(lane) => lane.reading = true,
                None => self.wakeups.add(*number),
            }
        }
    }

    /// The log of this lane has a gap: it reads no more, and is given up by whoever looks after the lanes.
    pub(crate) fn stop(&self, lane: i32) {
        let mut book = self.book();
        if let Some(stopped) = book.lanes.get_mut(&lane) {
            stopped.reading = false;
            book.stopped.push(lane);
        }
    }

    /// Lanes that stopped since the last call.
    pub(crate) fn take_stopped(&self) -> Vec<i32> {
        std::mem::take(&mut self.book().stopped)
    }

    /// Lanes that this node owns.
    pub(crate) fn owned(&self) -> Vec<i32> {
        self.book().lanes.keys().copied().collect()
    }

    /// Lanes that have room and must read the log.
    pub(crate) fn wanted(&self) -> Vec<Wanted> {
        let book = self.book();
        book.lanes
            .iter()
            .filter(|(_, lane)| lane.reading && lane.has_room())
            .map(|(number, lane)| Wanted { lane: *number, behind: lane.tail(), seen_at: lane.seen_at })
            .collect()
    }

    /// True while a lane is fed from the log.
    pub(crate) fn any_reading(&self) -> bool {
        self.book().lanes.values().any(|lane| lane.reading)
    }

    /// Every lane, for the poll.
    pub(crate) fn all(&self) -> Vec<Wanted> {
        let book = self.book();
        book.lanes
            .iter()
            .filter(|(_, lane)| !lane.reading)
            .map(|(number, lane)| Wanted { lane: *number, behind: lane.tail(), seen_at: lane.seen_at })
            .collect()
    }

    /// The poll looked at `looked_at` and saw nothing behind the tail of these lanes, except where it says so.
    pub(crate) fn polled(&self, polled: &[Wanted], with_more: &[i32], looked_at: DateTime<Utc>) {
        let mut book = self.book();
        for wanted in polled {
            let Some(lane) = book.lanes.get_mut(&wanted.lane) else { continue };
            if with_more.contains(&wanted.lane) {
                // A hand-over may have brought it meanwhile; then the read finds nothing new.
                lane.reading |= lane.tail() == wanted.behind;
            } else if lane.tail() == wanted.behind {
                lane.seen_at = lane.seen_at.max(looked_at);
            }
        }
    }

    /// Takes rows that were read from the log, in sequence. False: a row is missing, the lane must stop.
    /// `more`: the log was not read to its end.
    pub(crate) fn read(&self, lane: i32, items: Vec<Item>, more: bool) -> bool {
        let notify;
        {
            let mut book = self.book();
            let newest = items.last().map(|item| item.created_at);
            if let Some(newest) = newest {
                let known = book.newest.entry(lane).or_insert(newest);
                *known = (*known).max(newest);
            }
            let Some(lane) = book.lanes.get_mut(&lane) else { return true };
            for item in items {
                if item.sequence <= lane.tail() {
                    continue;
                }
                if item.sequence != lane.tail() + 1 {
                    return false;
                }
                lane.seen_at = item.created_at;
                lane.known = lane.known.max(item.sequence);
                lane.bytes += item.bytes();
                lane.queue.push_back(item);
            }
            lane.drop_overtaken();
            lane.reading = more || lane.tail() < lane.known;
            notify = lane.notify.clone();
        }
        notify.notify_one();
        true
    }

    /// True when everything heard of is consumed.
    pub(crate) fn is_idle(&self) -> bool {
        self.book()
            .lanes
            .values()
            .all(|lane| !lane.reading && lane.cursor >= lane.known && lane.queue.is_empty())
    }

    /// Work behind the cursor, per lane.
    pub(crate) fn waiting(&self) -> Vec<(i32, i64)> {
        self.book().lanes.iter().map(|(number, lane)| (*number, (lane.known - lane.cursor).max(0))).collect()
    }
}

/// A row created so long before another may still be committed after it.
pub(crate) fn skew() -> TimeDelta {
    TimeDelta::minutes(5)
}

#[cfg(test)]
mod tests;
