//! Folders: files are picked up by receive locations and put down by send ports.
//!
//! A file is claimed by renaming it into `.orderly` below its folder: one node wins, whoever else looks. Its name there
//! begins with the number of its interchange, so that another node can go on with it. A file is written under a
//! temporary name, brought to disk, and renamed, so that nobody sees half of it.

mod claim;
mod inlet;
mod name;
mod outlet;

pub use inlet::Inlet;
pub use name::{NameFacts, file_name};
pub use outlet::{WriteError, write};

use crate::crash_point::around;
use std::io;
use std::path::Path;

/// Makes a folder that is named relative to the data folder. Any other must be there: a mount that is away must not be
/// written beside.
pub(crate) fn make_own(data: &Path, path: &str) {
    if Path::new(path).is_relative()
        && let Err(error) = std::fs::create_dir_all(data.join(path))
    {
        tracing::warn!(folder = path, %error, "Could not make folder {path}");
    }
}

/// Brings a folder's entries to disk, after a file in it was made, renamed or removed.
fn sync_folder(path: &Path) -> io::Result<()> {
    around("folder: sync", || std::fs::File::open(path)?.sync_all())
}

/// Moves a file, also to another file system. What is there under the name stays, and the moved one gets `mark` in its
/// name.
fn move_file(from: &Path, folder: &Path, name: &str, mark: &str) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut to = folder.join(name);
    if to.try_exists()? {
        to = folder.join(format!("{mark}-{name}"));
    }
    match around("folder: move away", || std::fs::rename(from, &to)) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            let part = folder.join(format!(".{mark}.part"));
            std::fs::copy(from, &part)?;
            std::fs::File::open(&part)?.sync_all()?;
            around("folder: move away", || std::fs::rename(&part, &to))?;
            around("folder: remove what was moved", || std::fs::remove_file(from))?;
        }
        moved => moved?,
    }
    sync_folder(folder)
}
