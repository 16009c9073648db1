//! MLLP framing: bytes of a connection to frames and back. Knows nothing of sockets or clocks.
//!
//! Release 1 is `0B` payload `1C 0D`. Blocks arrive split or joined at any byte. Release 2 commit blocks
//! are frames of one byte (06 or 15) here; what they mean is for the adapter.

use memchr::{memchr, memchr2};

/// Starts a block.
pub const START: u8 = 0x0B;
/// Ends a block, before a carriage return.
pub const END: u8 = 0x1C;

/// Noise that is kept of one connection, so that somebody can see what it was.
const NOISE_BYTES_KEPT: usize = 4 << 10;

/// The bytes around a payload, for peers that use others than the standard's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Starts a block.
    pub start: u8,
    /// Ends it, before `last`.
    pub end: u8,
    /// Comes after `end`.
    pub last: u8,
    /// Whether a block may come without its start.
    pub start_optional: bool,
}

impl Default for Marks {
    fn default() -> Self {
        Self { start: START, end: END, last: b'\r', start_optional: false }
    }
}

/// What one connection may send at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// Bytes of one payload.
    pub frame_bytes_max: usize,
    /// How much of a payload that is too long is kept, so that its header can be answered.
    pub kept_bytes_max: usize,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self { frame_bytes_max: 8 << 20, kept_bytes_max: 4 << 10 }
    }
}

/// One payload.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// The bytes between start and end block.
    pub bytes: Vec<u8>,
    /// Bytes outside any block that were dropped before this frame.
    pub noise: usize,
    /// Whether the carriage return after the end block was missing.
    pub bare_end: bool,
    /// Whether a start block came inside the open block, so that what was read of it was given up.
    pub restarted: bool,
}

/// Lengths only: a frame must not end up in a log.
impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({} bytes, {} noise)", self.bytes.len(), self.noise)
    }
}

/// A frame that cannot be taken. The connection must be closed after the answer: where the next message
/// starts is no longer known.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The payload is longer than the limit.
    #[error("the frame is longer than {limit} bytes")]
    TooLong {
        /// The limit that was passed.
        limit: usize,
        /// The beginning of the payload, for an answer by [`crate::acknowledge::reject_unreadable`].
        head: Vec<u8>,
    },
}

impl std::fmt::Debug for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLong { limit, head } => write!(f, "TooLong(limit {limit}, {} bytes kept)", head.len()),
        }
    }
}

/// How much memory an idle connection keeps for the next frame.
const BUFFER_KEPT: usize = 16 << 10;

/// Cuts the bytes of one connection into frames.
#[derive(Debug)]
pub struct Deframer {
    limits: FrameLimits,
    marks: Marks,
    buffer: Vec<u8>,
    /// Bytes of `buffer` before this are used up.
    start: usize,
    /// Bytes of `buffer` before this were searched for an end block.
    searched: usize,
    open: bool,
    broken: bool,
    /// The frame before ended without its carriage return; one that still comes is no noise.
    return_due: bool,
    restarted: bool,
    noise: usize,
    noise_total: u64,
    noise_kept: Vec<u8>,
}

impl Deframer {
    /// A deframer for a new connection.
    pub fn new(limits: FrameLimits) -> Self {
        Self::with_marks(limits, Marks::default())
    }

    /// The same for other marks.
    pub fn with_marks(limits: FrameLimits, marks: Marks) -> Self {
        Self {
            limits,
            marks,
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            open: false,
            broken: false,
            return_due: false,
            restarted: false,
            noise: 0,
            noise_total: 0,
            noise_kept: Vec::new(),
        }
    }

    /// Takes bytes as they arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.broken {
            return;
        }
        if self.start > 0 && self.start >= self.buffer.len() / 2 {
            self.buffer.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete frame, if there is one.
    #[expect(clippy::should_implement_trait, reason = "more frames may come after none")]
    pub fn next(&mut self) -> Option<Result<Frame, FrameError>> {
        if self.broken || (!self.open && !self.find_start()) {
            return None;
        }
        loop {
            let Some(found) = memchr2(self.marks.start, self.marks.end, &self.buffer[self.searched..]) else {
                self.searched = self.buffer.len();
                return self.check_length(self.buffer.len());
            };
            let at = self.searched + found;
            if let Some(error) = self.check_length(at) {
                return Some(error);
            }
            if self.buffer[at] == self.marks.start {
                // The sender began again: what came before can never be completed.
                self.drop_noise(at);
                self.restarted = true;
                self.start = at + 1;
                self.searched = at + 1;
                continue;
            }
            let after_segment = at > self.start && self.buffer[at - 1] == b'\r';
            match self.buffer.get(at + 1) {
                Some(last) if *last == self.marks.last => return Some(Ok(self.take(at, at + 2, false))),
                // The next block begins, so only the carriage return is missing.
                Some(start) if *start == self.marks.start => return Some(Ok(self.take(at, at + 1, true))),
                // After a finished segment it is no data. A sender that leaves the carriage return out waits for
                // its answer, so we do not wait for more; one that comes late is dropped.
                _ if after_segment => return Some(Ok(self.take(at, at + 1, true))),
                None => {
                    self.searched = at;
                    return None;
                }
                Some(_) => self.searched = at + 1,
            }
        }
    }

    /// Takes the open block when only its last carriage return is missing. For the moment when the sender has
    /// been silent for a while or has closed the connection.
    pub fn take_bare_end(&mut self) -> Option<Frame> {
        let end = self.buffer.len().checked_sub(1)?;
        let ended = self.open && !self.broken && end >= self.start && self.buffer[end] == END;
        ended.then(|| self.take(end, end + 1, true))
    }

    /// Whether a block is open: bytes of a message have come, its end has not.
    pub fn is_open(&self) -> bool {
        self.open && !self.broken
    }

    /// Bytes held for the open block.
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// What has come of the open block, for keeping what a broken connection leaves.
    pub fn partial(&self) -> &[u8] {
        if self.open { &self.buffer[self.start..] } else { &[] }
    }

    /// Bytes outside blocks since the connection began.
    pub fn noise_total(&self) -> u64 {
        self.noise_total
    }

    /// The noise of the connection so far, its first few thousand bytes.
    pub fn noise_kept(&self) -> &[u8] {
        &self.noise_kept
    }

    fn find_start(&mut self) -> bool {
        if self.return_due && self.start < self.buffer.len() {
            self.return_due = false;
            if self.buffer[self.start] == self.marks.last {
                self.start += 1;
            }
        }
        let rest = &self.buffer[self.start..];
        let found = if self.marks.start_optional {
            rest.iter().position(|byte| !is_blank(*byte))
        } else {
            memchr(self.marks.start, rest)
        };
        match found {
            Some(found) => {
                let marked = rest[found] == self.marks.start;
                self.drop_noise(self.start + found);
                self.start += found + usize::from(marked);
                self.searched = self.start;
                self.open = true;
                true
            }
            None => {
                self.drop_noise(self.buffer.len());
                self.buffer.clear();
                self.start = 0;
                self.searched = 0;
                false
            }
        }
    }

    /// Counts what lies before `end` as noise. Line ends and blanks between blocks mean nothing.
    fn drop_noise(&mut self, end: usize) {
        let bytes = &self.buffer[self.start..end];
        if bytes.iter().all(|byte| is_blank(*byte)) {
            return;
        }
        let room = NOISE_BYTES_KEPT.saturating_sub(self.noise_kept.len()).min(bytes.len());
        self.noise_kept.extend_from_slice(&bytes[..room]);
        self.noise += bytes.len();
        self.noise_total += bytes.len() as u64;
    }

    fn check_length(&mut self, end: usize) -> Option<Result<Frame, FrameError>> {
        if end - self.start <= self.limits.frame_bytes_max {
            return None;
        }
        let kept = (end - self.start).min(self.limits.kept_bytes_max);
        let head = self.buffer[self.start..self.start + kept].to_vec();
        self.broken = true;
        self.buffer = Vec::new();
        self.start = 0;
        self.searched = 0;
        Some(Err(FrameError::TooLong { limit: self.limits.frame_bytes_max, head }))
    }

    fn take(&mut self, end: usize, next: usize, bare_end: bool) -> Frame {
        let bytes = self.buffer[self.start..end].to_vec();
        self.start = next;
        self.searched = next;
        self.open = false;
        self.return_due = bare_end;
        if self.start == self.buffer.len() {
            // Nothing is waiting. Most connections are idle most of the time, so a large frame's memory goes back.
            self.buffer.clear();
            self.buffer.shrink_to(BUFFER_KEPT);
            self.start = 0;
            self.searched = 0;
        }
        let noise = std::mem::take(&mut self.noise);
        Frame { bytes, noise, bare_end, restarted: std::mem::take(&mut self.restarted) }
    }
}

/// What senders put between blocks without meaning anything by it.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n' | b' ' | 0)
}

/// The block that carries `payload`.
pub fn frame(payload: &[u8]) -> Vec<u8> {
    let mut block = Vec::with_capacity(payload.len() + 3);
    frame_into(&mut block, payload);
    block
}

/// Appends the block that carries `payload`.
pub fn frame_into(block: &mut Vec<u8>, payload: &[u8]) {
    block.reserve(payload.len() + 3);
    block.push(START);
    block.extend_from_slice(payload);
    block.extend_from_slice(&[END, b'\r']);
}

#[cfg(test)]
mod tests;
