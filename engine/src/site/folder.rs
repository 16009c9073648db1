//! A site folder on disk: reading its files and writing them back byte for byte.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::layers::LIBRARY;
use crate::configuration::Files;

/// Largest file of a site folder.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What goes wrong with a folder.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file or folder cannot be read or written.
    #[error("could not {action} {}: {source}", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// What.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is larger than any site needs.
    #[error("{} is larger than 16 MiB", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// A path is no text.
    #[error("{} is not UTF-8", path.display())]
    Name {
        /// Which.
        path: PathBuf,
    },
}

/// Reads what belongs to a site: descriptions, `orchestrations/`, `rules/` and `samples/`. Hidden files and
/// whatever else lies beside them (a README) are left alone.
///
/// # Errors
///
/// A file cannot be read.
pub fn read_folder(folder: &Path) -> Result<Files, FolderError> {
    let mut files = Files::new();
    read_into(folder, "", &mut files)?;
    Ok(files)
}

fn read_into(folder: &Path, below: &str, files: &mut Files) -> Result<(), FolderError> {
    let failed = |source| FolderError::Io { action: "read", path: folder.to_owned(), source };
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().into_string().map_err(|_| FolderError::Name { path: entry.path() })?;
        if name.starts_with('.') {
            continue;
        }
        let path = format!("{below}{name}");
        let kind = std::fs::metadata(entry.path()).map_err(|source| FolderError::Io {
            action: "read",
            path: entry.path(),
            source,
        })?;
        if kind.is_dir() {
            read_into(&entry.path(), &format!("{path}/"), files)?;
        } else if belongs(&path) {
            if kind.len() > FILE_BYTES_MAX {
                return Err(FolderError::TooLarge { path: entry.path() });
            }
            let bytes = std::fs::read(entry.path()).map_err(|source| FolderError::Io {
                action: "read",
                path: entry.path(),
                source,
            })?;
            files.insert(path, Arc::from(bytes));
        }
    }
    Ok(())
}

fn belongs(path: &str) -> bool {
    let content = ["orchestrations/", "rules/", "samples/"].iter().any(|folder| path.starts_with(folder));
    // A description in a wrong place is reported by the loader, so it must get there.
    content || path.ends_with(".yaml") || path.ends_with(".yml")
}

/// What writing a site back did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exported {
    /// Files whose bytes changed or that are new.
    pub written: Vec<String>,
    /// Files that were the same already.
    pub unchanged: usize,
    /// Files in the folder that the site does not have any more.
    pub left_over: Vec<String>,
}

/// Writes the files of a site into a folder, byte for byte. With `clean`, removes those that left the site.
///
/// # Errors
///
/// A file cannot be written.
pub fn write_folder(files: &Files, folder: &Path, clean: bool) -> Result<Exported, FolderError> {
    let mut exported = Exported::default();
    let before = if folder.exists() { read_folder(folder)? } else { Files::new() };
    for (path, bytes) in files.iter().filter(|(path, _)| !path.starts_with(LIBRARY)) {
        if before.get(path) == Some(bytes) {
            exported.unchanged += 1;
            continue;
        }
        let target = folder.join(path);
        let failed = |source| FolderError::Io { action: "write", path: target.clone(), source };
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        std::fs::write(&target, bytes).map_err(failed)?;
        exported.written.push(path.clone());
    }
    exported.left_over = before.into_keys().filter(|path| !files.contains_key(path)).collect();
    if clean {
        for path in &exported.left_over {
            let target = folder.join(path);
            std::fs::remove_file(&target).map_err(|source| FolderError::Io {
                action: "write",
                path: target.clone(),
                source,
            })?;
        }
    }
    Ok(exported)
}
