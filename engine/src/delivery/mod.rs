//! Send lanes: gives each lane's work to its sender in order, and commits what came of it (T3).
//!
//! A lane never waits for a retry: what failed is parked in the transaction that advances the cursor, and later work of
//! its key is parked behind it. At most [`UNCONFIRMED_MAX`] deliveries of a lane wait for their commit: that bounds what
//! a crash sends twice.

mod batch;
mod columns;
mod committer;
mod done;
mod report;
mod retry;
mod types;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::current::Running;
use crate::ids::MessageId;
use crate::lane::{Item, Lanes};
use crate::node::{Claimed, Node};
use crate::notice::Notices;
use crate::store::{Error, Store};
use crate::work::{Detail, Kind};

pub(crate) use columns::RangeColumns;
use done::Done;
pub use types::{Answer, Outcome, SendWork};

/// Deliveries of one lane that may wait for their commit.
pub const UNCONFIRMED_MAX: usize = 500;

/// How often a sender looks whether its node may act again.
const DOUBT_LOOK: Duration = Duration::from_millis(50);

/// The node's send lanes and the committer of what came of them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Deliveries {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    lanes: Lanes,
    node: Arc<Node>,
    running: Running,
    notices: Notices,
    states: Mutex<HashMap<i32, State>>,
    done: mpsc::UnboundedSender<Done>,
    opened: mpsc::UnboundedSender<SendLane>,
    waiting: tokio::sync::Mutex<mpsc::UnboundedReceiver<SendLane>>,
    retries: Notify,
    /// Something waits for the next commit.
    hurry: Notify,
}

/// A send lane in memory.
#[derive(Debug)]
struct State {
    subscriber: i32,
    holds_keys: bool,
    notify: Arc<Notify>,
    /// Keys with parked work: what follows is parked behind it. May name a key too many, never one too few.
    blocked: HashSet<i64>,
    /// Keys with work that will be parked, on its way to the committer, and how much: the database does not know of it,
    /// so such a key stays blocked whatever the database says.
    parking: HashMap<i64, usize>,
    /// Retries that are due, loaded.
    due: VecDeque<SendWork>,
    /// Parked rows that are loaded or being sent.
    retrying: HashSet<i64>,
    /// Given out or on the way to the committer.
    unconfirmed: usize,
    /// Gives out nothing more.
    closed: bool,
    /// A sender works on it.
    served: bool,
}

impl State {
    /// Work of this key goes to the committer to be parked.
    fn block(&mut self, key: i64) {
        self.blocked.insert(key);
        *self.parking.entry(key).or_default() += 1;
    }

    /// Such work is parked.
    fn is_parked(&mut self, key: i64) {
        if let Entry::Occupied(mut count) = self.parking.entry(key) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// One lane of a send port, owned by this node. One sender takes its work in order.
#[derive(Debug)]
pub struct SendLane {
    lane: i32,
    send_port: String,
    notify: Arc<Notify>,
    shared: Arc<Shared>,
}

impl Deliveries {
    /// Starts the committer and the loader of due retries.
    pub(crate) async fn start(
        store: &Store,
        lanes: &Lanes,
        node: &Arc<Node>,
        running: &Running,
        notices: &Notices,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Self, Error> {
        let (done, outcomes) = mpsc::unbounded_channel();
        let (opened, waiting) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            store: store.clone(),
            lanes: lanes.clone(),
            node: node.clone(),
            running: running.clone(),
            notices: notices.clone(),
            states: Mutex::new(HashMap::new()),
            done,
            opened,
            waiting: tokio::sync::Mutex::new(waiting),
            retries: Notify::new(),
            hurry: Notify::new(),
        });
        let committer = committer::Committer::open(&shared).await?;
        tasks.spawn(committer::run(committer, outcomes, stop.clone()));
        tasks.spawn(retry::run(shared.clone(), stop.clone()));
        Ok(Self { shared })
    }

    /// Starts lanes that this node just claimed: their cursors, and the keys that parked work holds.
    pub(crate) async fn open(&self, claimed: &[Claimed]) -> Result<(), Error> {
        let numbers: Vec<i32> = claimed.iter().map(|lane| lane.lane).collect();
        let held = sqlx::query!(
            r#"SELECT DISTINCT lane AS "lane!", key FROM parked WHERE lane = ANY ($1)"#,
            &numbers
        )
        .fetch_all(self.shared.store.pool())
        .await?;
        let running = self.shared.running.load();
        for lane in claimed {
            let Some(subscriber) = running.directory.subscriber_by_id(lane.subscriber) else { continue };
            let notify = Arc::new(Notify::new());
            let blocked = held.iter().filter(|row| row.lane == lane.lane).map(|row| row.key).collect();
            self.shared.states().insert(
                lane.lane,
                State {
                    subscriber: lane.subscriber,
                    holds_keys: subscriber.holds_keys,
                    notify: notify.clone(),
                    blocked,
                    parking: HashMap::new(),
                    due: VecDeque::new(),
                    retrying: HashSet::new(),
                    unconfirmed: 0,
                    closed: false,
                    served: true,
                },
            );
            self.shared.lanes.open(lane, notify.clone());
            let shared = self.shared.clone();
            let opened = SendLane { lane: lane.lane, send_port: subscriber.name.clone(), notify, shared };
            let _ = self.shared.opened.send(opened);
        }
        self.shared.retries.notify_one();
        Ok(())
    }

    /// The next lane that this node owns and that has no sender yet; none when the node shuts down. May be dropped
    /// halfway.
    pub async fn next_lane(&self) -> Option<SendLane> {
        self.shared.waiting.lock().await.recv().await
    }

    /// Says what came of an attempt. The commit follows by itself, together with those of other lanes.
    pub fn complete(&self, work: SendWork, outcome: Outcome) {
        let mut states = self.shared.states();
        let mut hurry = false;
        if let Some(state) = states.get_mut(&work.lane) {
            // Before the commit: the sender must not get the next of this key meanwhile.
            if outcome.holds(&work) && state.holds_keys {
                state.block(work.key);
            }
            hurry = state.closed || state.unconfirmed >= UNCONFIRMED_MAX / 2;
        }
        self.shared.commit_soon(Done::Attempt(work, outcome), hurry);
    }

    /// Says that the last byte was written, for an instance that counts `within` from there. Only needed where
    /// [`SendWork::is_awaited`].
    pub fn written(&self, work: &SendWork, at: DateTime<Utc>) {
        if let Some(send) = work.send.clone().filter(|_| work.is_awaited()) {
            let written = Done::Written { lane: work.lane, message: work.message_id, send, at };
            self.shared.commit_soon(written, false);
        }
    }

    /// Lanes were changed from outside: an operator resumed or gave up parked work.
    pub(crate) fn look(&self) {
        self.shared.retries.notify_one();
    }

    /// Whether the lane gives out work; a sender that waits for a port asks.
    pub(crate) fn is_open(&self, lane: i32) -> bool {
        self.shared.states().get(&lane).is_some_and(|state| !state.closed)
    }

    /// Waits until this node may send; false when the lane is handed over first.
    pub(crate) async fn may_send(&self, lane: i32) -> bool {
        while !self.shared.node.may_act() {
            if !self.is_open(lane) {
                return false;
            }
            tokio::time::sleep(DOUBT_LOOK).await;
        }
        true
    }

    /// These lanes give out no more; [`Deliveries::take_finished`] says when all of it is committed.
    pub(crate) fn release(&self, lanes: &[i32]) {
        let mut states = self.shared.states();
        for lane in lanes {
            if let Some(state) = states.get_mut(lane).filter(|state| !state.closed) {
                state.closed = true;
                state.notify.notify_one();
            }
        }
        self.shared.hurry.notify_one();
    }

    /// Lanes that are in memory here, those that are being given up too.
    pub(crate) fn holds(&self, lane: i32) -> bool {
        self.shared.states().contains_key(&lane)
    }

    pub(crate) fn is_handing_over(&self) -> bool {
        self.shared.states().values().any(|state| state.closed)
    }

    /// Forgets closed lanes that have no sender and nothing under way, and answers which. Only then may anybody open
    /// them: two senders of one lane would break its order.
    pub(crate) fn take_finished(&self) -> Vec<i32> {
        let mut states = self.shared.states();
        let finished: Vec<i32> = states
            .iter()
            .filter(|(_, state)| state.closed && !state.served && state.unconfirmed == 0)
            .map(|(lane, _)| *lane)
            .collect();
        for lane in &finished {
            self.shared.lanes.close(*lane);
            states.remove(lane);
        }
        finished
    }

    /// No lane gives out more; senders get none and finish what they have.
    pub(crate) fn close(&self) {
        for state in self.shared.states().values_mut() {
            state.closed = true;
            state.notify.notify_one();
        }
    }

    /// True when everything that was given out is committed.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.shared.states().values().all(|state| state.unconfirmed == 0)
    }

    /// True when nothing is given out or waits for its commit.
    pub(crate) fn is_idle(&self) -> bool {
        self.shared.states().values().all(|state| state.unconfirmed == 0 && state.due.is_empty())
    }
}

impl Shared {
    fn states(&self) -> MutexGuard<'_, HashMap<i32, State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the committer what came of work; `hurry`: at once, although it could wait for others.
    fn commit_soon(&self, done: Done, hurry: bool) {
        let hurry = hurry || !done.can_wait();
        let _ = self.done.send(done);
        if hurry {
            self.hurry.notify_one();
        }
    }

    /// The next work of a lane, as far as memory holds it.
    fn next_in_memory(&self, number: i32) -> Next {
        let mut states = self.states();
        let Some(state) = states.get_mut(&number) else { return Next::Closed };
        if state.closed {
            return Next::Closed;
        }
        loop {
            if state.unconfirmed >= UNCONFIRMED_MAX {
                return Next::Wait;
            }
            if let Some(work) = state.due.pop_front() {
                state.unconfirmed += 1;
                return Next::Work(Box::new(work));
            }
            let Some(item) = self.lanes.take_one(number) else { return Next::Wait };
            state.unconfirmed += 1;
            if state.holds_keys && state.blocked.contains(&item.key) {
                state.block(item.key);
                self.commit_soon(Done::Behind(item), false);
            } else if item.kind == Kind::Message && item.message.is_some() {
                return Next::Work(Box::new(work_of(item, state.subscriber)));
            } else {
                self.commit_soon(Done::Unreadable(item), false);
            }
        }
    }
}

enum Next {
    Work(Box<SendWork>),
    Wait,
    Closed,
}

fn work_of(item: Item, subscriber: i32) -> SendWork {
    let message = item.message.expect("only work with its message is sent");
    SendWork {
        lane: item.lane,
        subscriber,
        sequence: item.sequence,
        key: item.key,
        message_id: MessageId(item.subject),
        control_id: message.head().control_id.clone(),
        message,
        assembled: None,
        interim: Vec::new(),
        attempt: 1,
        first_at: item.created_at,
        parked: None,
        send: match item.detail {
            Some(Detail::Send(send)) => Some(send),
            _ => None,
        },
        created_at: item.created_at,
    }
}

impl Drop for SendLane {
    fn drop(&mut self) {
        if let Some(state) = self.shared.states().get_mut(&self.lane) {
            state.served = false;
        }
    }
}

impl SendLane {
    /// Number of the lane.
    #[must_use]
    pub fn lane(&self) -> i32 {
        self.lane
    }

    /// Name of the send port.
    #[must_use]
    pub fn send_port(&self) -> &str {
        &self.send_port
    }

    /// The next work that is not blocked: retries that are due, then the lane in order. None when the lane is handed
    /// over. May be dropped halfway.
    pub async fn next(&mut self) -> Option<SendWork> {
        loop {
            if !self.shared.node.may_act() {
                if self.shared.states().get(&self.lane).is_none_or(|state| state.closed) {
                    return None;
                }
                // The lease may have passed to another node; it comes back with the next beat or never.
                tokio::time::sleep(DOUBT_LOOK).await;
                continue;
            }
            match self.shared.next_in_memory(self.lane) {
                Next::Work(work) => return Some(*work),
                Next::Closed => return None,
                Next::Wait => self.notify.notified().await,
            }
        }
    }
}
