//! Writes a file under a temporary name, brings it to disk, and renames it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::sync_folder;
use crate::configuration::{FileWrite, FolderSend};
use crate::crash_point::around;

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The folder is not there.
    #[error("the folder is not there")]
    NoFolder,
    /// A file of that name is there, with other content.
    #[error("a file of the same name is there already, with other content")]
    Exists,
    /// What was to be written did not come to its end.
    #[error("the content broke off")]
    BrokeOff,
    /// The disk is full, a right is missing, ...
    #[error("the file could not be written: {}", .0.kind())]
    Io(#[from] io::Error),
}

/// A file to be written. The content comes in pieces; an error among them means that nothing must be seen of it.
#[derive(Debug)]
struct Writing {
    settings: FolderSend,
    folder: PathBuf,
    name: String,
}

/// Writes `content` to the folder as `name`. The pieces end with `None`; when their sender vanishes before, nothing is
/// seen of the file.
///
/// The same content under the same name is what an earlier attempt wrote, and counts as written.
///
/// # Errors
///
/// See [`WriteError`]; nothing is seen of the file then.
pub async fn write(
    settings: &FolderSend,
    data: &Path,
    name: &str,
    content: mpsc::Receiver<Option<Bytes>>,
) -> Result<(), WriteError> {
    let folder = data.join(&settings.path);
    let writing = Writing { settings: settings.clone(), folder, name: name.to_owned() };
    let written = tokio::task::spawn_blocking(move || writing.run(content));
    written.await.unwrap_or_else(|error| Err(io::Error::other(error).into()))
}

impl Writing {
    fn run(&self, content: mpsc::Receiver<Option<Bytes>>) -> Result<(), WriteError> {
        if !self.folder.is_dir() {
            return Err(WriteError::NoFolder);
        }
        let temporary = self.folder.join(format!("{}{}", self.name, self.settings.temporary));
        let result = self.write(&temporary, content);
        if result.is_err() {
            // What is left of it would be written over by the next attempt; a failure to remove it does no harm.
            let _ = std::fs::remove_file(&temporary);
        }
        result
    }

    fn write(&self, temporary: &Path, content: mpsc::Receiver<Option<Bytes>>) -> Result<(), WriteError> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(temporary)?;
        receive(&mut file, content)?;
        around("folder: sync a file", || file.sync_all())?;
        drop(file);
        let path = self.folder.join(&self.name);
        match self.settings.write {
            FileWrite::Replace => around("folder: name a file", || std::fs::rename(temporary, &path))?,
            FileWrite::Append => append(temporary, &path)?,
            FileWrite::Create => create(temporary, &path)?,
        }
        Ok(sync_folder(&self.folder)?)
    }
}

fn receive(file: &mut File, mut content: mpsc::Receiver<Option<Bytes>>) -> Result<(), WriteError> {
    let mut writer = io::BufWriter::with_capacity(64 << 10, file);
    loop {
        match content.blocking_recv() {
            Some(Some(bytes)) => writer.write_all(&bytes)?,
            Some(None) => return Ok(writer.flush()?),
            None => return Err(WriteError::BrokeOff),
        }
    }
}

/// Gives the file its name unless that is taken. A link cannot replace, whoever is faster.
fn create(temporary: &Path, path: &Path) -> Result<(), WriteError> {
    match around("folder: name a file", || std::fs::hard_link(temporary, path)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if !same_content(temporary, path)? {
                return Err(WriteError::Exists);
            }
        }
        Err(_) => {
            // The file system has no links: look, then rename.
            if path.try_exists()? {
                if !same_content(temporary, path)? {
                    return Err(WriteError::Exists);
                }
            } else {
                return Ok(around("folder: name a file", || std::fs::rename(temporary, path))?);
            }
        }
    }
    Ok(around("folder: remove the temporary name", || std::fs::remove_file(temporary))?)
}

fn same_content(one: &Path, other: &Path) -> io::Result<bool> {
    let (one, other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut one, mut other) = (io::BufReader::new(one).bytes(), io::BufReader::new(other).bytes());
    loop {
        match (one.next().transpose()?, other.next().transpose()?) {
            (None, None) => return Ok(true),
            (left, right) if left != right => return Ok(false),
            _ => {}
        }
    }
}

/// Adds the file to the end of another; what was begun is cut off again when it fails.
fn append(temporary: &Path, path: &Path) -> Result<(), WriteError> {
    let mut to = OpenOptions::new().create(true).append(true).open(path)?;
    let before = to.metadata()?.len();
    let copied = io::copy(&mut File::open(temporary)?, &mut to)
        .and_then(|_| around("folder: sync a file", || to.sync_all()));
    if let Err(error) = copied {
        to.set_len(before)?;
        return Err(error.into());
    }
    Ok(around("folder: remove the temporary name", || std::fs::remove_file(temporary))?)
}
