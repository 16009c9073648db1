//! Folders: where files are picked up and put down.

use std::time::Duration;

/// A folder that is looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderReceive {
    /// Where; relative to the data folder.
    pub path: String,
    /// Names that are taken: text with any number of `*`.
    pub mask: String,
    /// Time between two looks.
    pub every: Duration,
    /// A file is taken once size and time stood still for so long.
    pub stable_for: Duration,
    /// Which file comes first.
    pub order: FileOrder,
    /// What becomes of a file that was taken.
    pub after: AfterFile,
    /// Files that are read at the same time.
    pub at_once: usize,
    /// Bytes of one file; a larger one is set aside.
    pub bytes_max: u64,
}

impl FolderReceive {
    /// A folder with defaults for all else.
    pub fn new(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            mask: "*".to_owned(),
            every: Duration::from_secs(2),
            stable_for: Duration::from_secs(2),
            order: FileOrder::Name,
            after: AfterFile::Move(None),
            at_once: 1,
            bytes_max: 256 << 20,
        }
    }
}

/// Which file comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FileOrder {
    /// By name, byte for byte.
    #[default]
    Name,
    /// The one that was changed longest ago.
    Time,
}

/// What becomes of a file that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterFile {
    /// Moved to this folder, relative to the data folder; none: `done` below the folder itself.
    Move(Option<String>),
    /// Deleted.
    Delete,
}

/// A folder that files are put into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderSend {
    /// Where; relative to the data folder.
    pub path: String,
    /// How files are called, with holes: see [`NAME_HOLES`].
    pub name: String,
    /// What happens with a file of the same name.
    pub write: FileWrite,
    /// What a name ends with while the file is written.
    pub temporary: String,
}

/// What may stand in braces in the name of a file. No property of a patient: names are seen by everybody.
pub const NAME_HOLES: &[&str] =
    &["message.id", "hl7.control_id", "hl7.type", "hl7.event", "batch.control_id", "date", "time"];

impl FolderSend {
    /// A folder with defaults for all else.
    pub fn new(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            name: "{message.id}.hl7".to_owned(),
            write: FileWrite::Create,
            temporary: ".part".to_owned(),
        }
    }
}

/// What happens with a file of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FileWrite {
    /// It stays, and the delivery is suspended.
    #[default]
    Create,
    /// It is replaced.
    Replace,
    /// It grows.
    Append,
}
