//! How many messages of one interchange are under way at once, and what they are answered.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::answers::Collected;
use crate::adapter::mllp::{Reply, Told};

/// Messages of one interchange that wait for their commit.
const UNDER_WAY_MAX: usize = 500;
/// A message counts once for each of these, so that large ones do not fill the memory.
const UNIT_BYTES: usize = 16 << 10;

/// The messages of an interchange that wait for their commit.
pub(super) struct Flow {
    room: Arc<Semaphore>,
    most: u32,
    pause: Option<Duration>,
    next_at: Mutex<Instant>,
    failed: Arc<AtomicBool>,
    collected: Arc<Mutex<Collected>>,
    wants_answers: bool,
}

impl Flow {
    pub(super) fn new(in_flight: usize, rate: Option<u32>, collected: Collected) -> Self {
        let most = in_flight.clamp(1, UNDER_WAY_MAX);
        Self {
            room: Arc::new(Semaphore::new(most)),
            most: u32::try_from(most).unwrap_or(1),
            pause: rate.map(|rate| Duration::from_secs(1) / rate.max(1)),
            next_at: Mutex::new(Instant::now()),
            failed: Arc::default(),
            wants_answers: collected.is_wanted(),
            collected: Arc::new(Mutex::new(collected)),
        }
    }

    pub(super) fn wants_answers(&self) -> bool {
        self.wants_answers
    }

    /// Waits for room for a message and gives the duty to tell what became of it.
    pub(super) async fn admit(&self, number: i32, bytes: usize) -> Reply {
        self.pace().await;
        let units = u32::try_from(1 + bytes / UNIT_BYTES).unwrap_or(u32::MAX).min(self.most);
        // The semaphore is never closed.
        let permit = Arc::clone(&self.room).acquire_many_owned(units).await.ok();
        let (failed, collected) = (Arc::clone(&self.failed), Arc::clone(&self.collected));
        let wanted = self.wants_answers;
        Reply::call(move |told| {
            match told {
                Told::Stored(answer) if wanted => {
                    collected.lock().unwrap_or_else(PoisonError::into_inner).put(number, answer);
                }
                Told::Stored(_) => {}
                Told::NotStored => failed.store(true, Ordering::Relaxed),
            }
            drop(permit);
        })
    }

    async fn pace(&self) {
        let Some(pause) = self.pause else { return };
        let at = {
            let mut next = self.next_at.lock().unwrap_or_else(PoisonError::into_inner);
            let at = (*next).max(Instant::now());
            *next = at + pause;
            at
        };
        tokio::time::sleep_until(at).await;
    }

    /// Waits until nothing is under way.
    pub(super) async fn idle(&self) {
        drop(self.room.acquire_many(self.most).await);
    }

    /// A message could not be stored: the interchange stops and is tried again.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    pub(super) fn collected(self) -> Collected {
        std::mem::take(&mut *self.collected.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
