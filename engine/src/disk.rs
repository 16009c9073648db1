//! The free disk of the database host. Below a twentieth nothing more is received, so that there is room to finish what was
//! taken; it goes on by itself once there is room again.
//!
//! It is seen where Postgres is on this machine and lets us know its folder, or where an operator names a folder on its
//! disk. Each node looks for itself.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Below so many percent people are told.
pub const LOW_PERCENT: f64 = 10.0;
/// Below so many percent nothing is received.
pub const SHORT_PERCENT: f64 = 5.0;
/// Above so many percent it is well again.
pub const WELL_PERCENT: f64 = 12.0;

/// How much room there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Room {
    /// Enough, or the disk is not seen.
    #[default]
    Enough,
    /// Below [`LOW_PERCENT`], and not above [`WELL_PERCENT`] since.
    Low,
    /// Below [`SHORT_PERCENT`], and not above [`WELL_PERCENT`] since: nothing is received.
    Short,
}

impl Room {
    fn after(self, free_percent: f64) -> Self {
        match self {
            _ if free_percent > WELL_PERCENT => Self::Enough,
            _ if free_percent < SHORT_PERCENT => Self::Short,
            Self::Enough if free_percent < LOW_PERCENT => Self::Low,
            before => before,
        }
    }
}

/// Tells how many percent are free.
type Reading = Box<dyn Fn() -> io::Result<f64> + Send + Sync>;

/// The disk as this node sees it. Cheap to clone.
#[derive(Clone, Default)]
pub struct Disk {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    reading: Mutex<Option<Arc<Reading>>>,
    seen: Mutex<Option<(f64, Room)>>,
    /// Every door asks this for every message.
    short: AtomicBool,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("seen", &*self.seen()).finish_non_exhaustive()
    }
}

impl Disk {
    /// Looks at the file systems of these folders from now on; the fullest counts. Those that cannot be read now are not
    /// looked at. Answers whether there is any.
    pub fn watch_folders(&self, folders: &[PathBuf]) -> bool {
        let folders: Vec<PathBuf> =
            folders.iter().filter(|folder| free_percent(folder).is_ok()).cloned().collect();
        if folders.is_empty() {
            return false;
        }
        self.watch(move || {
            folders.iter().try_fold(100.0, |least: f64, folder| Ok(least.min(free_percent(folder)?)))
        });
        true
    }

    /// Asks `reading` how many percent are free, from now on.
    pub fn watch(&self, reading: impl Fn() -> io::Result<f64> + Send + Sync + 'static) {
        *lock(&self.inner.reading) = Some(Arc::new(Box::new(reading)));
        self.look();
    }

    /// Looks now. What cannot be read leaves everything as it was.
    pub fn look(&self) {
        let Some(reading) = lock(&self.inner.reading).clone() else { return };
        let free = match reading() {
            Ok(free) => free,
            Err(error) => {
                tracing::warn!(%error, "Could not see how full the disk of the database is");
                return;
            }
        };
        let mut seen = self.seen();
        let before = seen.map_or(Room::Enough, |(_, room)| room);
        let room = before.after(free);
        *seen = Some((free, room));
        self.inner.short.store(room == Room::Short, Ordering::Relaxed);
        metrics::gauge!("orderly_database_disk_free_percent").set(free);
        match room {
            _ if room == before => {}
            Room::Enough => tracing::info!(free, "The database host has room again"),
            Room::Low => tracing::warn!(free, "The disk of the database host is nearly full"),
            Room::Short => tracing::error!(
                free,
                "The disk of the database host is nearly full: nothing is received until more than {WELL_PERCENT} % is free"
            ),
        }
    }

    /// How many percent are free and what that means; none when the disk is not seen from here.
    #[must_use]
    pub fn room(&self) -> Option<(f64, Room)> {
        *self.seen()
    }

    /// True while nothing is received.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.inner.short.load(Ordering::Relaxed)
    }

    /// Looks every few seconds until told to stop.
    pub(crate) async fn keep_looking(self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            let disk = self.clone();
            // A file system of another machine may take its time.
            let _ = tokio::task::spawn_blocking(move || disk.look()).await;
        }
    }

    fn seen(&self) -> MutexGuard<'_, Option<(f64, Room)>> {
        lock(&self.inner.seen)
    }
}

/// Of what ordinary accounts may use, as `df` counts.
#[expect(clippy::cast_precision_loss, reason = "a percentage of blocks needs no more than 52 bits")]
fn free_percent(folder: &Path) -> io::Result<f64> {
    let found = rustix::fs::statvfs(folder)?;
    let usable = found.f_blocks.saturating_sub(found.f_bfree) + found.f_bavail;
    Ok(if usable == 0 { 100.0 } else { found.f_bavail as f64 * 100.0 / usable as f64 })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_low_below_ten_short_below_five_and_well_above_twelve_percent_again() {
        let mut room = Room::Enough;
        for (free, expected) in [
            (10.0, Room::Enough),
            (9.9, Room::Low),
            (12.0, Room::Low),
            (12.1, Room::Enough),
            (9.9, Room::Low),
            (5.0, Room::Low),
            (4.9, Room::Short),
            (10.0, Room::Short),
            (12.0, Room::Short),
            (12.1, Room::Enough),
            (0.0, Room::Short),
        ] {
            room = room.after(free);
            assert_eq!(room, expected, "{free}");
        }
    }

    #[test]
    fn the_fullest_folder_counts_and_what_is_not_there_is_not_looked_at() {
        let disk = Disk::default();
        assert!(!disk.watch_folders(&["/no/such/folder".into()]));
        assert_eq!(disk.room(), None);
        assert!(disk.watch_folders(&["/no/such/folder".into(), std::env::temp_dir(), "/".into()]));
        let (free, _) = disk.room().unwrap();
        assert!(free <= free_percent(&std::env::temp_dir()).unwrap() + 1.0, "{free}");
    }

    #[test]
    fn what_cannot_be_read_leaves_it_as_it_was() {
        let (disk, fails) = (Disk::default(), Arc::new(AtomicBool::new(false)));
        let failing = Arc::clone(&fails);
        disk.watch(move || {
            if failing.load(Ordering::Relaxed) { Err(io::ErrorKind::NotFound.into()) } else { Ok(4.0) }
        });
        fails.store(true, Ordering::Relaxed);
        disk.look();
        assert!(disk.is_short());
    }
}
