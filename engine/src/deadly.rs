//! What ends the process while it is read, or made ready to be sent. After a crash each message is noted in `attempt`
//! before that is begun, at the door and on send lanes, as turns are (`orchestrate::suspects`); what was begun so often and
//! never finished is kept for a person instead.
//!
//! A note stands for our own work on a message, not for waiting: while a receiver thinks for a minute, a process that is
//! killed from outside says nothing about the message. And what was begun before is begun with nothing else beside it in
//! the process, so only what ends the process alone, time after time, comes to the last count.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::crash_point::Point as _;
use crate::store::{Error, Store};

/// Ends of the process after which it is parked: the first left no note, at the second it may have been one of several.
const ENDED_MAX: i16 = 5;
/// So many messages are looked at after a crash: more cannot have been under way.
const SUSPECTED: usize = 2_000;
/// What stands for the lane of a message that is not received yet; its place is a hash of its bytes.
const DOOR: i32 = -1;

/// Where a message stands: its lane and sequence, or the door and a hash.
pub(crate) type Place = (i32, i64);

/// The place of bytes at the door.
pub(crate) fn at_the_door(sha256: [u8; 32]) -> Place {
    let mut first = [0; 8];
    first.copy_from_slice(&sha256[..8]);
    (DOOR, i64::from_be_bytes(first))
}

/// Shared by everything of a node that receives, orchestrates and sends. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Suspicion {
    store: Store,
    /// Messages that are still to be looked at.
    left: Arc<AtomicUsize>,
    company: Company,
}

/// Who else of the suspected is begun at the same time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Company(Arc<RwLock<()>>);

/// Held as long as something is at work that may end the process.
#[derive(Debug)]
pub(crate) enum Held {
    /// It was begun before: nothing else that is suspected is at work, so it alone is blamed.
    Alone { _guard: OwnedRwLockWriteGuard<()> },
    /// Never begun before: others like it are at work too.
    Among { _guard: OwnedRwLockReadGuard<()> },
}

impl Company {
    /// Waits until it may begin.
    pub(crate) async fn hold(&self, was_begun: bool) -> Held {
        let lock = Arc::clone(&self.0);
        match was_begun {
            true => Held::Alone { _guard: lock.write_owned().await },
            false => Held::Among { _guard: lock.read_owned().await },
        }
    }
}

/// A message that was noted.
#[derive(Debug)]
pub(crate) struct Begun {
    place: Place,
    /// It ended the process too often.
    pub(crate) is_deadly: bool,
    _held: Held,
}

impl Suspicion {
    /// Nothing is suspected.
    pub(crate) fn new(store: Store) -> Self {
        Self { store, left: Arc::default(), company: Company::default() }
    }

    /// For what notes its work itself.
    pub(crate) fn company(&self) -> &Company {
        &self.company
    }

    /// A node ended without giving its lanes back.
    pub(crate) fn raise(&self) {
        self.left.store(SUSPECTED, Ordering::Relaxed);
    }

    /// False in the usual state: nothing need be noted.
    pub(crate) fn is_raised(&self) -> bool {
        self.left.load(Ordering::Relaxed) > 0
    }

    /// Notes that a message is begun, once nothing else is in its way.
    pub(crate) async fn begin(&self, place: Place) -> Result<Begun, Error> {
        let known = sqlx::query_scalar!(
            "SELECT ended FROM attempt WHERE lane = $1 AND sequence = $2 AND instance = 0 AND token = 0",
            place.0,
            place.1
        )
        .fetch_optional(self.store.pool())
        .await?;
        let held = self.company.hold(known.is_some()).await;
        let ended = sqlx::query_scalar!(
            "INSERT INTO attempt (lane, sequence, instance, token, ended)
             VALUES ($1, $2, 0, 0, 1)
                 ON CONFLICT (lane, sequence, instance, token) DO UPDATE SET ended = attempt.ended + 1
             RETURNING ended",
            place.0,
            place.1
        )
        .fetch_one(self.store.pool())
        .point("suspicion: begin")
        .await?;
        Ok(Begun { place, is_deadly: ended >= ENDED_MAX, _held: held })
    }

    /// It is over, one way or the other: the process lives.
    pub(crate) async fn finish(&self, begun: Begun) {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        // With the last one go the notes of what was never sent again.
        let all = left.is_ok_and(|before| before == 1);
        let deleted = sqlx::query!(
            "DELETE FROM attempt
              WHERE lane = $1 AND instance = 0 AND token = 0 AND (sequence = $2 OR $3)",
            begun.place.0,
            begun.place.1,
            all && begun.place.0 == DOOR
        )
        .execute(self.store.pool())
        .point("suspicion: finish")
        .await;
        if let Err(error) = deleted {
            tracing::warn!(error = &error as &dyn std::error::Error, "Could not take a note back");
        }
    }
}
