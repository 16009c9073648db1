//! The loop of all collectors of a node.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::assign::{Open, period_end};
use super::seal;
use crate::configuration::{OutboundBatch, SendPort};
use crate::current::{Current, Running};
use crate::ids::MessageId;
use crate::lane::{Item, Lanes, Range};
use crate::node::{Claimed, Node};
use crate::store::{Error, Store, Tx};
use crate::tracking::{self, Detail, Entry, Kind};
use crate::work::NewWork;

/// Messages of one commit.
const BATCH_MAX: usize = 500;
/// Time between two looks for batches that are due.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The collectors of this node.
#[derive(Debug, Clone)]
pub(crate) struct Collectors {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    lanes: Lanes,
    node: Arc<Node>,
    running: Running,
    owned: Mutex<Vec<i32>>,
    leaving: Mutex<Vec<i32>>,
    left: Mutex<Vec<i32>>,
    notify: Arc<Notify>,
}

impl Collectors {
    /// Starts the loop; it ends on `stop`, after the commit it is at.
    pub(crate) fn start(
        store: &Store,
        lanes: &Lanes,
        node: &Arc<Node>,
        running: &Running,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let shared = Arc::new(Shared {
            store: store.clone(),
            lanes: lanes.clone(),
            node: Arc::clone(node),
            running: Arc::clone(running),
            owned: Mutex::default(),
            leaving: Mutex::default(),
            left: Mutex::default(),
            notify: Arc::default(),
        });
        tasks.spawn(run(Arc::clone(&shared), stop.clone()));
        Self { shared }
    }

    /// Starts lanes that this node just claimed.
    pub(crate) fn open(&self, claimed: &[Claimed]) {
        for lane in claimed {
            self.shared.lanes.open(lane, Arc::clone(&self.shared.notify));
        }
        lock(&self.shared.owned).extend(claimed.iter().map(|lane| lane.lane));
        self.shared.notify.notify_one();
    }

    /// Gives lanes up after the commit that is under way; [`Collectors::take_finished`] says when.
    pub(crate) fn release(&self, lanes: &[i32]) {
        let owned = lock(&self.shared.owned).clone();
        lock(&self.shared.leaving).extend(lanes.iter().filter(|lane| owned.contains(lane)));
        self.shared.notify.notify_one();
    }

    pub(crate) fn is_handing_over(&self) -> bool {
        !lock(&self.shared.leaving).is_empty() || !lock(&self.shared.left).is_empty()
    }

    /// Lanes that are given up, with nothing of them under way.
    pub(crate) fn take_finished(&self) -> Vec<i32> {
        std::mem::take(&mut *lock(&self.shared.left))
    }
}

async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        shared.leave();
        let more = match shared.look().await {
            Ok(more) => more,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "Could not collect; trying again");
                shared.reload().await;
                false
            }
        };
        if !more {
            tokio::select! {
                () = stop.cancelled() => return,
                () = shared.notify.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }
}

/// What one transaction writes.
struct Plan<'a> {
    now: DateTime<Utc>,
    current: &'a Current,
    /// Open batches by collector and group, the current one of each last.
    open: BTreeMap<(i32, String), Vec<Open>>,
    items: Vec<(i64, i32, MessageId, String)>,
    /// Batches to close, with their cause.
    closing: Vec<(i32, Open, &'static str)>,
    entries: Vec<Entry>,
}

impl Shared {
    /// Collects what waits and closes what is due. True: there may be more.
    async fn look(&self) -> Result<bool, Error> {
        let owned = lock(&self.owned).clone();
        if owned.is_empty() || !self.node.may_act() {
            return Ok(false);
        }
        let current = self.running.load_full();
        let owned = self.not_held(owned, &current).await?;
        let alike: Vec<(i32, u8)> = owned.iter().map(|lane| (*lane, 1)).collect();
        let items = self.lanes.take(&alike, BATCH_MAX);
        let collectors: Vec<i32> = owned
            .iter()
            .filter_map(|lane| current.directory.subscriber_of_lane(*lane))
            .map(|subscriber| subscriber.id)
            .collect();
        let now = self.store.clock().now();
        if items.is_empty() && !self.anything_due(&collectors, &current, now).await? {
            return Ok(false);
        }
        let mut tx = self.store.begin("collect").await?;
        let ranges = self.claim(&mut tx, &items).await?;
        let mut plan = Plan {
            now,
            current: &current,
            open: load(&mut tx, &collectors).await?,
            items: Vec::new(),
            closing: Vec::new(),
            entries: Vec::new(),
        };
        for item in &items {
            self.assign(&mut plan, item);
        }
        self.close_due(&mut plan, &collectors, items.len() < BATCH_MAX);
        let work = self.write(&mut tx, plan).await?;
        crate::work::append(&mut tx, &work).await?;
        tx.commit().await?;
        self.lanes.committed(&ranges);
        Ok(items.len() == BATCH_MAX)
    }

    /// The lanes whose collectors are not on hold. What comes for the others waits in their lanes, in its order. A port that
    /// sends no batches any more gives out what it has, whatever was said of its collector.
    async fn not_held(&self, owned: Vec<i32>, current: &Current) -> Result<Vec<i32>, Error> {
        let held =
            sqlx::query_scalar!("SELECT name FROM port_state WHERE kind = 'collector' AND state = 'on_hold'")
                .fetch_all(self.store.pool())
                .await?;
        let is_held = |lane: &i32| {
            let port = current.directory.subscriber_of_lane(*lane).and_then(|known| rule(current, known.id));
            port.is_some_and(|(port, _)| held.contains(&port.name))
        };
        Ok(owned.into_iter().filter(|lane| !is_held(lane)).collect())
    }

    /// Whether a batch is due, or one must be opened that leaves even when nothing comes.
    async fn anything_due(
        &self,
        collectors: &[i32],
        current: &Current,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let open = sqlx::query!(
            "SELECT subscriber, due_at FROM collector WHERE state = 1 AND subscriber = ANY ($1)",
            collectors
        )
        .fetch_all(self.store.pool())
        .await?;
        let due = open.iter().any(|row| row.due_at.is_some_and(|due| due <= now));
        let missing = |collector: &&i32| {
            let rule = rule(current, **collector);
            rule.is_some_and(|(_, rule)| rule.send_empty)
                && !open.iter().any(|row| row.subscriber == **collector)
        };
        Ok(due || collectors.iter().any(|collector| missing(&collector)))
    }

    /// The fence: the ranges are consumed in this transaction or not at all.
    async fn claim(&self, tx: &mut Tx, items: &[Item]) -> Result<Vec<Range>, Error> {
        let mut ends: HashMap<i32, (i64, DateTime<Utc>)> = HashMap::new();
        for item in items {
            ends.insert(item.lane, (item.sequence, item.created_at));
        }
        let ranges: Vec<Range> =
            ends.into_iter().filter_map(|(lane, (to, at))| self.lanes.range(lane, to, at)).collect();
        let columns = crate::delivery::RangeColumns::of(&ranges);
        sqlx::query_scalar!(
            r#"SELECT claim_ranges($1, $2, $3, $4, $5) AS "n!""#,
            &columns.lane,
            &columns.from,
            &columns.to,
            &columns.to_created_at,
            &columns.epoch
        )
        .fetch_one(tx.connection())
        .await?;
        Ok(ranges)
    }

    /// Puts a message into its batch.
    fn assign(&self, plan: &mut Plan<'_>, item: &Item) {
        let Some(collector) = plan.current.directory.subscriber_of_lane(item.lane).map(|known| known.id)
        else {
            return;
        };
        let Some((_, rule)) = rule(plan.current, collector) else {
            // The port sends no batches any more: what it had collected closes with this one.
            return self.put(plan, collector, item, &seal::leftovers());
        };
        let rule = rule.clone();
        self.put(plan, collector, item, &rule);
    }

    fn put(&self, plan: &mut Plan<'_>, collector: i32, item: &Item, rule: &OutboundBatch) {
        let bytes = item.message.as_ref().map_or(0, |message| message.bytes().len());
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let group = seal::group_of(plan.current, rule, item);
        let end = period_end(rule, item.created_at);
        let (now, ids) = (plan.now, self.store.ids());
        let open = plan.open.entry((collector, group.clone())).or_default();
        // What comes too late for its own cut-off goes into the batch that is open.
        let place = open.iter().position(|batch| batch.period_end >= end);
        let place = place.unwrap_or_else(|| {
            // Its own time is over and its batch is gone: it belongs to the next.
            let at = if end.is_some_and(|end| end <= now) { now } else { item.created_at };
            open.push(Open::new(ids.next_id(), &group, rule, at, now));
            open.len() - 1
        });
        if open[place].is_full_for(bytes, rule) {
            let next = Open::new(ids.next_id(), &group, rule, item.created_at, now);
            plan.closing.push((collector, std::mem::replace(&mut open[place], next), "bytes"));
        }
        let batch = &mut open[place];
        batch.add(bytes, now);
        let message = MessageId(item.subject);
        let control_id = item.message.as_ref().map(|message| message.head().control_id.clone());
        plan.items.push((batch.id, batch.items, message, control_id.unwrap_or_default()));
        let code = "batch.collected".to_owned();
        let text = format!("Message {} of batch {}", batch.items, MessageId(batch.id));
        let detail = Detail::Cause { code, text, sha256: None };
        let mut entry =
            Entry::new(Kind::Collected, plan.current.configuration.version, detail).about(message);
        entry.subscriber = Some(collector);
        plan.entries.push(entry);
        if batch.has_all(rule) {
            let full = open.remove(place);
            plan.closing.push((collector, full, "count"));
        }
    }

    /// Closes what is due, and opens what must leave even when nothing comes.
    fn close_due(&self, plan: &mut Plan<'_>, collectors: &[i32], caught_up: bool) {
        let (now, ids) = (plan.now, self.store.ids());
        for ((collector, _), batches) in &mut plan.open {
            let rule = rule(plan.current, *collector).map(|(_, rule)| rule.clone());
            let is_due = |batch: &Open| match &rule {
                // Behind a cut-off, what was received before it must be collected first.
                Some(_) if batch.period_end.is_some() && !caught_up => false,
                Some(rule) => batch.due_at(rule).is_some_and(|due| due <= now),
                None => true,
            };
            let (due, open) = std::mem::take(batches).into_iter().partition::<Vec<_>, _>(is_due);
            *batches = open;
            plan.closing.extend(due.into_iter().map(|batch| (*collector, batch, "time")));
        }
        for collector in collectors {
            let Some((_, rule)) = rule(plan.current, *collector).filter(|(_, rule)| rule.send_empty) else {
                continue;
            };
            let open = plan.open.entry((*collector, String::new())).or_default();
            if open.is_empty() {
                open.push(Open::new(ids.next_id(), "", rule, now, now));
            }
        }
    }

    /// Writes the rows; the work that the send ports get for what closed is appended by the caller.
    async fn write(&self, tx: &mut Tx, plan: Plan<'_>) -> Result<Vec<NewWork>, Error> {
        let Plan { now, current, open, items, closing, entries } = plan;
        let mut work = Vec::new();
        // What closes goes first: of each kind only one is open at a time.
        for (collector, batch, cause) in &closing {
            save(tx, current, *collector, batch, now).await?;
            work.extend(seal::seal(tx, &self.store, current, *collector, batch, cause, now).await?);
        }
        for ((collector, _), batches) in &open {
            for batch in batches {
                save(tx, current, *collector, batch, now).await?;
            }
        }
        write_items(tx, &items).await?;
        tracking::record(tx, &entries).await?;
        Ok(work)
    }

    fn leave(&self) {
        let leaving = std::mem::take(&mut *lock(&self.leaving));
        for lane in &leaving {
            self.lanes.close(*lane);
        }
        lock(&self.owned).retain(|lane| !leaving.contains(lane));
        lock(&self.left).extend(leaving);
    }

    /// What is in memory may be wrong: goes on from where the database says its lanes stand.
    async fn reload(&self) {
        let owned = lock(&self.owned).clone();
        let Ok(mine) = self.node.still_mine(&owned).await else {
            tokio::time::sleep(LOOK_EVERY).await;
            return;
        };
        for lane in &owned {
            match mine.iter().find(|claimed| claimed.lane == *lane) {
                Some(claimed) => self.lanes.open(claimed, Arc::clone(&self.notify)),
                None => self.lanes.close(*lane),
            }
        }
        lock(&self.owned).retain(|lane| mine.iter().any(|claimed| claimed.lane == *lane));
    }
}

/// The send port of a collector and how it collects; none when it does not any more.
pub(super) fn rule(current: &Current, collector: i32) -> Option<(&SendPort, &OutboundBatch)> {
    let name = &current.directory.subscriber_by_id(collector)?.name;
    let port = current.configuration.send_ports.get(name)?;
    Some((port, port.batch.as_ref()?))
}

/// Open batches, locked: only who holds their rows may add to them or close them.
pub(super) async fn load(
    tx: &mut Tx,
    collectors: &[i32],
) -> Result<BTreeMap<(i32, String), Vec<Open>>, Error> {
    let rows = sqlx::query!(
        "SELECT id, subscriber, group_key, period_end, opened_at, last_at, items, bytes
           FROM collector
          WHERE state = 1 AND subscriber = ANY ($1)
          ORDER BY id
            FOR UPDATE",
        collectors
    )
    .fetch_all(tx.connection())
    .await?;
    let mut open: BTreeMap<(i32, String), Vec<Open>> = BTreeMap::new();
    for row in rows {
        open.entry((row.subscriber, row.group_key.clone())).or_default().push(Open {
            id: row.id,
            group: row.group_key,
            period_end: row.period_end,
            opened_at: row.opened_at,
            last_at: row.last_at,
            items: row.items,
            bytes: row.bytes,
            is_new: false,
        });
    }
    Ok(open)
}

async fn save(
    tx: &mut Tx,
    current: &Current,
    collector: i32,
    batch: &Open,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let rule = rule(current, collector).map_or_else(seal::leftovers, |(_, rule)| rule.clone());
    let by_control_id = rule.order == crate::configuration::BatchOrder::ControlId;
    if batch.is_new {
        sqlx::query!(
                "INSERT INTO collector (id, subscriber, group_key, period_end, opened_at, envelope, by_control_id,
                                        last_at, due_at, items, bytes)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
                batch.id,
                collector,
                batch.group,
                batch.period_end,
                now,
                rule.envelope.word(),
                by_control_id,
                batch.last_at,
                batch.due_at(&rule),
                batch.items,
                batch.bytes
            )
            .execute(tx.connection())
            .await?;
    } else {
        sqlx::query!(
            "UPDATE collector SET last_at = $2, due_at = $3, items = $4, bytes = $5 WHERE id = $1",
            batch.id,
            batch.last_at,
            batch.due_at(&rule),
            batch.items,
            batch.bytes
        )
        .execute(tx.connection())
        .await?;
    }
    Ok(())
}

async fn write_items(tx: &mut Tx, items: &[(i64, i32, MessageId, String)]) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO collector_item (collector, number, message_id, control_id)
         SELECT * FROM unnest($1::bigint[], $2::integer[], $3::bigint[], $4::text[])",
        &items.iter().map(|(collector, ..)| *collector).collect::<Vec<_>>(),
        &items.iter().map(|(_, number, ..)| *number).collect::<Vec<_>>(),
        &items.iter().map(|(_, _, message, _)| message.0).collect::<Vec<_>>(),
        &items.iter().map(|(_, _, _, control_id)| control_id.clone()).collect::<Vec<_>>()
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
