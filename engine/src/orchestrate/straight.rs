//! Straight through: the turn of a message whose orchestration never waits is made before T1 and committed with it. There
//! is no work row, no range and no second transaction; tracking, messages and the work of send ports are the same.
//!
//! It happens only where nothing is before the message in the lane that it would have gone through. What this node knows
//! of its lane is looked at first; the transaction then looks under the lock of the lane (`require_consumed`), so that
//! neither another committer nor another node can come between. Wherever that fails, or a turn comes to anything but its
//! end - an error, a panic, a message that nobody takes - the message goes the ordinary way, as if nobody had tried: a
//! turn is pure, and what it made is dropped.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use orderly_hl7::Message;
use sqlx::PgConnection;

use super::Moved;
use super::load::Loaded;
use super::plan::{Plan, Stored};
use super::turns::Batch;
use crate::current::{Current, Running};
use crate::directory::SubscriberKind;
use crate::lane::{Ahead, Item, Lanes};
use crate::message_box::Incoming;
use crate::store::Store;
use crate::tracking::Entry;
use crate::work::{Detail, Kind, NewWork};

/// How long messages wait for what is before them in their lanes: otherwise a lane that was busy once would stay so under
/// load, each batch behind the one before.
const WAIT: Duration = Duration::from_millis(50);
/// How often it is looked whether they still have to.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// After something went wrong everything goes the ordinary way for so long. Waiting costs at most a fortieth.
const PAUSE: Duration = Duration::from_secs(2);
/// Turns of a batch that take longer hold up acknowledgments too long.
const SLOW: Duration = Duration::from_millis(50);

/// Makes the turns that go straight through. Cheap to clone; clones pause together.
#[derive(Debug, Clone)]
pub(crate) struct Straight {
    store: Store,
    running: Running,
    lanes: Lanes,
    paused_until: Arc<Mutex<Option<Instant>>>,
}

/// What the turns of a batch of received messages write.
#[derive(Default)]
pub(crate) struct Through {
    /// Lanes that nothing may be in, and up to where they are consumed.
    pub(crate) tails: BTreeMap<i32, i64>,
    /// No row behind one of the tails was created before, give or take the skew of clocks.
    pub(crate) since: DateTime<Utc>,
    pub(crate) stored: Vec<Stored>,
    pub(crate) work: Vec<NewWork>,
    pub(crate) entries: Vec<Entry>,
    /// By id: what was received and what was made of it.
    pub(crate) messages: HashMap<i64, Message>,
}

impl Through {
    /// True when everything goes the ordinary way.
    pub(crate) fn is_empty(&self) -> bool {
        self.tails.is_empty()
    }

    /// True where the work of a lane is done by these turns.
    pub(crate) fn passes(&self, lane: i32) -> bool {
        self.tails.contains_key(&lane)
    }
}

impl Straight {
    pub(crate) fn new(store: &Store, running: &Running, lanes: &Lanes) -> Self {
        let paused_until = Arc::default();
        Self { store: store.clone(), running: running.clone(), lanes: lanes.clone(), paused_until }
    }

    /// Makes the turns of this work where all of a lane's can go straight through; nothing where none can.
    pub(crate) async fn turns(
        &self,
        work: &[(&Incoming, NewWork)],
        connection: &mut PgConnection,
    ) -> Through {
        if self.is_paused() {
            return Through::default();
        }
        let current = self.running.load_full();
        let lanes = lanes_of(&current, work);
        if lanes.is_empty() {
            return Through::default();
        }
        let (tails, since) = self.wait(lanes).await;
        if tails.is_empty() {
            return Through::default();
        }
        let begun = Instant::now();
        let plan = self.plan(&current, work, &tails, connection).await;
        if plan.is_none() || begun.elapsed() > SLOW {
            self.pause();
        }
        let Some(plan) = plan else { return Through::default() };
        let Plan { stored, work, entries, messages, .. } = plan;
        Through { tails, since, stored, work, entries, messages }
    }

    /// Lets everything go the ordinary way for a while.
    pub(crate) fn pause(&self) {
        *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + PAUSE);
    }

    fn is_paused(&self) -> bool {
        let until = *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Waits until nothing is before what comes now, and leaves out lanes where that cannot be known.
    async fn wait(&self, mut lanes: Vec<i32>) -> (BTreeMap<i32, i64>, DateTime<Utc>) {
        let since = Instant::now();
        loop {
            let (mut tails, mut oldest) = (BTreeMap::new(), DateTime::<Utc>::MAX_UTC);
            let mut busy = false;
            lanes.retain(|lane| match self.lanes.ahead(*lane) {
                Ahead::Nothing { tail, seen_at } => {
                    tails.insert(*lane, tail);
                    oldest = oldest.min(seen_at);
                    true
                }
                Ahead::Something => {
                    busy = true;
                    true
                }
                Ahead::Unknown => false,
            });
            if !busy {
                return (tails, oldest);
            }
            if since.elapsed() >= WAIT {
                self.pause();
                return (BTreeMap::new(), oldest);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The turns in order; none when one of them comes to anything but its end.
    async fn plan(
        &self,
        current: &Current,
        work: &[(&Incoming, NewWork)],
        tails: &BTreeMap<i32, i64>,
        connection: &mut PgConnection,
    ) -> Option<Plan> {
        let now = self.store.clock().now();
        let work = || work.iter().filter(|(_, row)| tails.contains_key(&row.lane));
        let messages = work().filter_map(|(incoming, _)| Some((incoming.id.0, incoming.parsed.clone()?)));
        let loaded = Loaded { messages: messages.collect(), ..Loaded::default() };
        let mut batch = Batch::new(&self.store, current, now, loaded);
        for (incoming, row) in work() {
            let item = Item {
                lane: row.lane,
                sequence: 0,
                created_at: now,
                kind: row.kind,
                subject: row.subject,
                key: row.key,
                instance: None,
                detail: row.detail.clone(),
                message: incoming.parsed.clone(),
            };
            batch.take(&Moved::Item(Box::new(item)), connection).await.ok()?;
            if !batch.plan.has_only_ended() {
                return None;
            }
            batch.plan.instances.clear();
        }
        Some(batch.plan)
    }
}

/// Lanes all of whose work could go straight through.
fn lanes_of(current: &Current, work: &[(&Incoming, NewWork)]) -> Vec<i32> {
    let mut lanes: BTreeMap<i32, bool> = BTreeMap::new();
    for (incoming, row) in work {
        let can = lanes.entry(row.lane).or_insert_with(|| never_waits(current, row.lane));
        *can = *can && incoming.parsed.is_some() && is_activation(row);
    }
    lanes.into_iter().filter(|(_, can)| *can).map(|(lane, _)| lane).collect()
}

/// Whether the lane is one of an orchestration that the compiler proved never to wait, and that no message is looked up for.
fn never_waits(current: &Current, lane: i32) -> bool {
    let subscriber = current.directory.subscriber_of_lane(lane);
    let enlisted = subscriber
        .filter(|known| known.kind == SubscriberKind::Orchestration)
        .and_then(|known| current.configuration.orchestrations.get(&known.name));
    enlisted
        .is_some_and(|enlisted| enlisted.definition.never_waits() && enlisted.definition.sets().is_empty())
}

/// Whether the row can do nothing but start an instance.
fn is_activation(row: &NewWork) -> bool {
    row.kind == Kind::Message
        && row.instance.is_none()
        && matches!(&row.detail, Some(Detail::Subscribed(subscribed))
            if subscribed.activates.is_some()
                && !subscribed.follows
                && subscribed.correlation.is_none()
                && subscribed.fault.is_none())
}
