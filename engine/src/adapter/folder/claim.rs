//! Finding files, claiming them, and putting them away. Everything here waits for the disk.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use crate::configuration::{AfterFile, FileOrder, FolderReceive};
use crate::crash_point::around;

use super::{move_file, sync_folder};

/// Where claimed files are, below their folder.
const CLAIMED: &str = ".orderly";
/// Where files go that could not be taken, below their folder.
const FAILED: &str = "failed";
/// Where files go that were taken, below their folder, unless the site says otherwise.
const DONE: &str = "done";
/// Ends of names that others use while they write.
const TEMPORARY: &[&str] = &[".part", ".tmp", ".temp", ".filepart", ".crdownload", ".writing", ".swp", "~"];

/// A file that this node claimed, or that it found claimed by a node that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claimed {
    /// Number of its interchange.
    pub(super) id: i64,
    /// How it was called.
    pub(super) name: String,
    /// Where it is now.
    pub(super) path: PathBuf,
}

/// A folder on disk.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    settings: FolderReceive,
    path: PathBuf,
    data: PathBuf,
}

/// How each file looked last time, and since when it looks so.
pub(super) type Seen = HashMap<String, (u64, SystemTime, Instant)>;

impl Folder {
    pub(super) fn new(settings: &FolderReceive, data: &Path) -> Self {
        Self { settings: settings.clone(), path: data.join(&settings.path), data: data.to_owned() }
    }

    /// Names of files that stood still long enough, in the order in which they are to be taken.
    pub(super) fn ready(&self, seen: &mut Seen, now: Instant) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            // A name that is no text could not be shown or written down; it is left where it is.
            let Ok(name) = entry.file_name().into_string() else { continue };
            if !self.takes(&name) {
                continue;
            }
            match entry.metadata() {
                Ok(metadata) if metadata.is_file() => {
                    found.push((name, metadata.len(), metadata.modified()?));
                }
                Ok(_) => {}
                // Somebody else took it between the two calls.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        seen.retain(|known, _| found.iter().any(|(name, ..)| name == known));
        found.retain(|(name, size, modified)| {
            let since = match seen.get(name) {
                Some((known, at, since)) if known == size && at == modified => *since,
                _ => now,
            };
            seen.insert(name.clone(), (*size, *modified, since));
            now.duration_since(since) >= self.settings.stable_for
        });
        match self.settings.order {
            FileOrder::Name => found.sort_by(|one, other| one.0.cmp(&other.0)),
            FileOrder::Time => found.sort_by(|one, other| (one.2, &one.0).cmp(&(other.2, &other.0))),
        }
        Ok(found.into_iter().map(|(name, ..)| name).collect())
    }

    fn takes(&self, name: &str) -> bool {
        let temporary = TEMPORARY.iter().any(|end| name.to_ascii_lowercase().ends_with(end));
        !name.starts_with('.') && !temporary && matches(&self.settings.mask, name)
    }

    /// Claims a file under a number; none when another node was faster.
    pub(super) fn claim(&self, name: &str, id: i64) -> io::Result<Option<Claimed>> {
        let folder = self.path.join(CLAIMED);
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{id:016x}-{name}"));
        match around("folder: claim", || std::fs::rename(self.path.join(name), &path)) {
            Ok(()) => {
                sync_folder(&folder)?;
                Ok(Some(Claimed { id, name: name.to_owned(), path }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Files that are claimed, oldest first; none when their folder is not there: nothing was claimed yet, or it is away.
    pub(super) fn claimed(&self) -> io::Result<Option<Vec<Claimed>>> {
        let entries = match std::fs::read_dir(self.path.join(CLAIMED)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            entries => entries?,
        };
        let mut claimed = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let Some((id, own)) = name.split_once('-') else { continue };
            let Ok(id) = i64::from_str_radix(id, 16) else { continue };
            claimed.push(Claimed { id, name: own.to_owned(), path: entry.path() });
        }
        claimed.sort_by_key(|file| file.id);
        Ok(Some(claimed))
    }

    /// Its messages are stored.
    pub(super) fn put_away(&self, file: &Claimed) -> io::Result<()> {
        let mark = crate::ids::MessageId(file.id).to_string();
        match &self.settings.after {
            AfterFile::Delete => {
                around("folder: remove", || std::fs::remove_file(&file.path))?;
                sync_folder(&self.path.join(CLAIMED))
            }
            AfterFile::Move(None) => move_file(&file.path, &self.path.join(DONE), &file.name, &mark),
            AfterFile::Move(Some(to)) => move_file(&file.path, &self.data.join(to), &file.name, &mark),
        }
    }

    /// Nothing of it was published; a file beside it says why.
    pub(super) fn set_aside(&self, file: &Claimed, reason: &str) -> io::Result<()> {
        let folder = self.path.join(FAILED);
        std::fs::create_dir_all(&folder)?;
        let name = folder.join(format!("{}.reason.txt", file.name));
        around("folder: write a reason", || std::fs::write(name, format!("{reason}\n")))?;
        move_file(&file.path, &folder, &file.name, &crate::ids::MessageId(file.id).to_string())
    }
}

/// Whether a name fits a mask, in which each `*` stands for any text.
fn matches(mask: &str, name: &str) -> bool {
    let mut parts = mask.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod mask_tests {
    #[test]
    fn a_star_stands_for_any_text() {
        let fits = |mask, name| super::matches(mask, name);
        assert!(
            fits("*", "a.hl7") && fits("*.hl7", "a.hl7") && fits("a*7", "a.hl7") && fits("a.hl7", "a.hl7")
        );
        assert!(fits("lab-*-*.hl7", "lab-1-2.hl7"));
        assert!(!fits("*.hl7", "a.hl7x") && !fits("a*", "ba") && !fits("a", "ab") && !fits("aba*aba", "aba"));
    }
}
