//! Looks into a folder, again and again, and takes what is ready.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures::StreamExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::claim::{Claimed, Folder, Seen};
use super::make_own;
use crate::adapter::mllp::Counters;
use crate::configuration::FolderReceive;
use crate::receive::Door;
use crate::receive::interchange::{Away, FileTaken};

/// A folder that is looked into.
#[derive(Debug)]
pub struct Inlet {
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Shared {
    name: String,
    settings: FolderReceive,
    folder: Folder,
    door: Door,
    counters: Arc<Counters>,
    /// Claimed files that are being taken by this node.
    under_way: Mutex<HashSet<i64>>,
    failure: Mutex<Option<String>>,
}

impl Inlet {
    /// Begins to look into the folder; `data` is what relative paths are relative to.
    pub fn start(name: &str, settings: &FolderReceive, data: &Path, door: Door) -> Self {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            settings: settings.clone(),
            folder: Folder::new(settings, data),
            door,
            counters: Arc::default(),
            under_way: Mutex::default(),
            failure: Mutex::default(),
        });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        make_own(data, &settings.path);
        tasks.spawn(run(Arc::clone(&shared), stop.clone()));
        tracing::info!(
            receive_location = name,
            "Receive location {name} looks into folder {}",
            settings.path
        );
        Self { shared, stop, tasks }
    }

    /// What it counted so far: files as connections taken, messages as frames.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.shared.counters
    }

    /// Why files cannot be taken now; none when all is well.
    pub fn failure(&self) -> Option<String> {
        lock(&self.shared.failure).clone()
    }

    /// Takes no more files, and waits for those that are under way.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let mut seen = Seen::new();
    while !stop.is_cancelled() {
        let failure = shared.look(&mut seen, &stop).await.err();
        shared.note(failure);
        if stop.run_until_cancelled(tokio::time::sleep(shared.settings.every)).await.is_none() {
            return;
        }
    }
}

impl Shared {
    /// Takes what was claimed before, then what is ready now.
    async fn look(&self, seen: &mut Seen, stop: &CancellationToken) -> Result<(), Away> {
        if !self.door.has_room() {
            return Err(Away::NoRoom);
        }
        // First the rows, then the folder: a file that another node finishes meanwhile is not taken for vanished.
        let begun = self.door.unfinished_files().await?;
        let folder = self.folder.clone();
        if let Some(left) = blocking(move || folder.claimed()).await? {
            for (id, name) in begun {
                if left.iter().all(|file| file.id != id) && !lock(&self.under_way).contains(&id) {
                    self.give_up(id, &name).await?;
                }
            }
            self.take_all(left, stop).await?;
        }
        let (folder, mut known) = (self.folder.clone(), std::mem::take(seen));
        let (ready, known) = blocking(move || {
            let ready = folder.ready(&mut known, Instant::now())?;
            Ok((ready, known))
        })
        .await?;
        *seen = known;
        for names in ready.chunks(self.settings.at_once) {
            if stop.is_cancelled() {
                return Ok(());
            }
            let mut claimed = Vec::new();
            for name in names {
                let (folder, name, id) = (self.folder.clone(), name.clone(), self.door.next_id());
                claimed.extend(blocking(move || folder.claim(&name, id)).await?);
            }
            self.take_all(claimed, stop).await?;
        }
        Ok(())
    }

    /// Takes files, as many at once as the settings allow. The first failure is told after all were tried.
    async fn take_all(&self, files: Vec<Claimed>, stop: &CancellationToken) -> Result<(), Away> {
        let taken = futures::stream::iter(files)
            .map(|file| async move {
                if stop.is_cancelled() {
                    return Ok(());
                }
                self.take(file).await
            })
            .buffered(self.settings.at_once);
        let results: Vec<Result<(), Away>> = taken.collect().await;
        results.into_iter().collect()
    }

    async fn take(&self, file: Claimed) -> Result<(), Away> {
        if !lock(&self.under_way).insert(file.id) {
            return Ok(());
        }
        let taken = self.take_one(&file).await;
        lock(&self.under_way).remove(&file.id);
        match taken {
            Err(Away::Elsewhere) => Ok(()),
            other => other,
        }
    }

    /// The file is gone, though it was claimed: a person has to get it again.
    async fn give_up(&self, id: i64, name: &str) -> Result<(), Away> {
        self.door.give_up_file(id, name).await?;
        self.counters.broken_frames.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            receive_location = self.name,
            interchange = id,
            "A file vanished before all of it was read"
        );
        Ok(())
    }

    async fn take_one(&self, file: &Claimed) -> Result<(), Away> {
        let begun = Instant::now();
        let taken = self.door.take_file(file.id, &file.name, &file.path, self.settings.bytes_max).await?;
        let (folder, claimed, outcome) = (self.folder.clone(), file.clone(), taken.clone());
        blocking(move || match outcome {
            FileTaken::Done { .. } => folder.put_away(&claimed),
            FileTaken::Refused(reason) => folder.set_aside(&claimed, &reason),
        })
        .await?;
        self.counters.accepted.fetch_add(1, Ordering::Relaxed);
        match taken {
            FileTaken::Done { messages, bytes } => {
                self.counters.frames.fetch_add(messages, Ordering::Relaxed);
                self.counters.bytes_in.fetch_add(bytes, Ordering::Relaxed);
                let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::info!(
                    receive_location = self.name,
                    interchange = file.id,
                    messages,
                    took_ms,
                    "Took a file"
                );
            }
            FileTaken::Refused(reason) => {
                self.counters.broken_frames.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    receive_location = self.name,
                    interchange = file.id,
                    reason,
                    "Set a file aside"
                );
            }
        }
        Ok(())
    }

    /// Tells a failure once, and its end.
    fn note(&self, failure: Option<Away>) {
        let mut known = lock(&self.failure);
        match failure {
            None => *known = None,
            Some(error) => {
                // The name of a file may name a patient, so only the kind of the failure is told.
                let text = match &error {
                    Away::Read(error) => format!("folder {}: {}", self.settings.path, error.kind()),
                    other => other.to_string(),
                };
                if known.as_ref() != Some(&text) {
                    tracing::error!(
                        receive_location = self.name,
                        reason = text,
                        "Receive location {} cannot take its files; trying again",
                        self.name
                    );
                }
                *known = Some(text);
            }
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
