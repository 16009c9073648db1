//! Reading an interchange: from a file on threads that may wait, or from the memory of a frame.

use std::io::{self, Read};
use std::path::PathBuf;

use bytes::Bytes;
use orderly_hl7::batch::{HEAD_BYTES, Part, Survey};
use tokio::sync::mpsc;

use crate::pipeline::disassemble::{self, Parts, Surveyed};

/// Parts that are handed over together, so that a thread is woken once for many.
const TOGETHER: usize = 64;
/// Bytes of them.
const TOGETHER_BYTES: usize = 256 << 10;

/// The bytes of an interchange.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// A file.
    File(PathBuf),
    /// A frame.
    Frame(Bytes),
}

impl Content {
    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::File(path) => Box::new(std::fs::File::open(path)?),
            Self::Frame(bytes) => Box::new(io::Cursor::new(bytes.clone())),
        })
    }

    /// All of it when it is not larger than `bytes_max`, else its beginning.
    pub(super) async fn head(&self, bytes_max: usize) -> io::Result<Vec<u8>> {
        let content = self.clone();
        blocking(move || {
            let size = match &content {
                Self::File(path) => std::fs::metadata(path)?.len(),
                Self::Frame(bytes) => bytes.len() as u64,
            };
            let most = if size > bytes_max as u64 { HEAD_BYTES as u64 } else { size };
            let mut head = Vec::new();
            content.open()?.take(most).read_to_end(&mut head)?;
            Ok(head)
        })
        .await
    }
}

/// What it holds. A file above the limit is not read at all.
pub(super) async fn survey(content: &Content, bytes_max: u64, message_max: usize) -> io::Result<Surveyed> {
    let content = content.clone();
    blocking(move || {
        if let Content::File(path) = &content {
            let bytes = std::fs::metadata(path)?.len();
            if bytes > bytes_max.min(disassemble::BYTES_MAX) {
                return Ok(Surveyed { survey: Survey::default(), bytes, sha256: [0; 32] });
            }
        }
        disassemble::survey(content.open()?, message_max)
    })
    .await
}

/// Its messages, read ahead a little.
pub(super) fn parts(content: &Content, message_max: usize) -> mpsc::Receiver<io::Result<Vec<(i32, Part)>>> {
    let (sender, receiver) = mpsc::channel(2);
    let content = content.clone();
    drop(tokio::task::spawn_blocking(move || {
        let mut parts = match content.open() {
            Ok(from) => Parts::new(from, message_max),
            Err(error) => return drop(sender.blocking_send(Err(error))),
        };
        loop {
            let (mut together, mut bytes, mut ended) = (Vec::new(), 0, false);
            while together.len() < TOGETHER && bytes < TOGETHER_BYTES && !ended {
                match parts.next_part() {
                    Ok(Some((number, part))) => {
                        bytes += super::part_bytes(&part);
                        together.push((number, part));
                    }
                    Ok(None) => ended = true,
                    Err(error) => return drop(sender.blocking_send(Err(error))),
                }
            }
            // Nobody listens any more when the other side stopped early.
            if sender.blocking_send(Ok(together)).is_err() || ended {
                return;
            }
        }
    }));
    receiver
}

async fn blocking<T: Send + 'static>(read: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
