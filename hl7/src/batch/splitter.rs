//! A stream of bytes to messages and envelope lines. Holds one message at a time, whatever the size of the file.

use std::collections::VecDeque;

use super::stream::Form;
use super::{HEAD_BYTES, is_envelope, line_id};
use crate::mllp;

/// Blank bytes before a segment id that are still taken as padding.
const BLANK_MAX: usize = 64;
const MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// One thing found in a file. Every byte of the file is in one of them, except blank lines and MLLP's own bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// An FHS, BHS, BTS or FTS line, with its line end.
    Envelope {
        /// Which.
        id: [u8; 3],
        /// The line.
        bytes: Vec<u8>,
    },
    /// A message, from MSH to the next header or trailer.
    Message {
        /// Its bytes.
        bytes: Vec<u8>,
        /// Its batch, from 0; none outside BHS and BTS.
        batch: Option<u32>,
    },
    /// A message or other text above the limit.
    TooLong {
        /// Its beginning.
        head: Vec<u8>,
        /// How long it is.
        length: u64,
        /// Its batch.
        batch: Option<u32>,
    },
    /// Text that belongs to no message.
    Stray {
        /// Its bytes.
        bytes: Vec<u8>,
        /// Its batch.
        batch: Option<u32>,
    },
}

/// Cuts a stream: [`push`](Self::push) bytes, ask for [`next`](Self::next) until there is none, [`end`](Self::end) once.
#[derive(Debug)]
pub struct Splitter {
    bytes_max: usize,
    form: Form,
    buffer: Vec<u8>,
    /// Where the current line begins, as far as `buffer` still has it.
    line_at: usize,
    /// Up to here line ends were looked for.
    scanned: usize,
    /// What the current line begins is known.
    decided: bool,
    /// The byte before the current line begins an MLLP block.
    block_begins: bool,
    region: Option<Region>,
    batch: Option<u32>,
    batches: u32,
    at_start: bool,
    ended: bool,
    parts: VecDeque<Part>,
}

#[derive(Debug)]
struct Region {
    what: What,
    start: usize,
    batch: Option<u32>,
    /// An MLLP block stands around it.
    framed: bool,
    /// Set once it is above the limit: its beginning, and how much of it was dropped.
    over: Option<(Vec<u8>, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Message,
    Envelope([u8; 3]),
    Stray,
}

enum Begins {
    NotYet,
    Header([u8; 3]),
    Blank,
    Other,
}

impl Splitter {
    /// Takes messages of up to `bytes_max` bytes; of longer ones only the beginning is kept.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            form: Form::default(),
            buffer: Vec::new(),
            line_at: 0,
            scanned: 0,
            decided: false,
            block_begins: false,
            region: None,
            batch: None,
            batches: 0,
            at_start: true,
            ended: false,
            parts: VecDeque::new(),
        }
    }

    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        let bytes = self.form.take(bytes, false, self.bytes_max);
        if !bytes.is_empty() {
            self.add(&bytes);
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        let keep = self.region.as_ref().map_or(self.line_at, |region| region.start).min(self.line_at);
        let keep = if self.region.as_ref().is_some_and(|region| region.over.is_some()) {
            if self.decided { self.scanned } else { self.line_at }
        } else {
            keep
        };
        self.forget(keep);
        self.buffer.extend_from_slice(bytes);
        self.advance();
    }

    /// No bytes follow.
    pub fn end(&mut self) {
        let last = self.form.take(b"", true, self.bytes_max);
        self.add(&last);
        self.ended = true;
        self.advance();
        self.close(self.buffer.len());
    }

    /// The next part, if one is whole.
    #[expect(clippy::should_implement_trait, reason = "more parts may come after none")]
    pub fn next(&mut self) -> Option<Part> {
        match self.parts.pop_front() {
            Some(part) => Some(self.form.part(part)),
            None if self.ended => self.form.spoiled(self.bytes_max),
            None => None,
        }
    }

    /// Drops the first `count` bytes of the buffer, which nobody needs any more.
    fn forget(&mut self, count: usize) {
        self.buffer.drain(..count);
        self.line_at = self.line_at.saturating_sub(count);
        self.scanned -= count;
        if let Some(region) = &mut self.region {
            if let Some((_, length)) = &mut region.over {
                // Whatever is dropped behind the start counts to its length.
                *length += (count - region.start.min(count)) as u64;
            }
            region.start = region.start.saturating_sub(count);
        }
    }

    fn advance(&mut self) {
        loop {
            if !self.decided {
                match self.begins() {
                    Begins::NotYet => return,
                    Begins::Header(id) => self.header(id),
                    Begins::Blank => {}
                    Begins::Other => self.other(),
                }
                self.decided = true;
                self.at_start = false;
            }
            let rest = &self.buffer[self.scanned..];
            match memchr::memchr3(b'\r', b'\n', mllp::START, rest) {
                Some(found) => {
                    self.block_begins = rest[found] == mllp::START;
                    self.scanned += found + 1;
                    self.line_at = self.scanned;
                    self.decided = false;
                    self.limit();
                }
                None => {
                    self.scanned = self.buffer.len();
                    self.limit();
                    return;
                }
            }
        }
    }

    /// What the line that begins here is, once enough of it is there.
    fn begins(&self) -> Begins {
        let mut rest = &self.buffer[self.line_at..];
        if self.at_start {
            if !self.ended && rest.len() < MARK.len() && MARK.starts_with(rest) {
                return Begins::NotYet;
            }
            rest = rest.strip_prefix(&MARK).unwrap_or(rest);
        }
        let blank = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | 0)).count();
        let text = &rest[blank..];
        match text.first() {
            None if self.ended => Begins::Blank,
            None if blank < BLANK_MAX => Begins::NotYet,
            Some(b'\r' | b'\n' | &mllp::START | &mllp::END | 0x1A) => Begins::Blank,
            _ if text.len() < 4 && !self.ended && !text.iter().any(|byte| matches!(byte, b'\r' | b'\n')) => {
                Begins::NotYet
            }
            _ => line_id(text).map_or(Begins::Other, Begins::Header),
        }
    }

    fn header(&mut self, id: [u8; 3]) {
        self.close(self.line_at);
        let framed = self.block_begins;
        if id == *b"BHS" {
            self.batch = Some(self.batches);
            self.batches += 1;
        }
        let what = if is_envelope(&id) { What::Envelope(id) } else { What::Message };
        self.region = Some(Region { what, start: self.line_at, batch: self.batch, framed, over: None });
        if id == *b"BTS" {
            self.batch = None;
        }
    }

    /// A line that begins nothing belongs to the open message, or is stray.
    fn other(&mut self) {
        if self.region.as_ref().is_none_or(|region| matches!(region.what, What::Envelope(_))) {
            self.close(self.line_at);
            let (what, start) = (What::Stray, self.line_at);
            self.region = Some(Region { what, start, batch: self.batch, framed: false, over: None });
        }
    }

    /// Lets go of what is above the limit, keeping its beginning.
    fn limit(&mut self) {
        let (max, scanned) = (self.bytes_max, self.scanned);
        let Some(region) = &mut self.region else { return };
        if region.over.is_none() && scanned - region.start > max {
            let head = &self.buffer[region.start..scanned.min(region.start + HEAD_BYTES)];
            region.over = Some((head.to_vec(), 0));
        }
    }

    /// Ends what is open before `end`.
    fn close(&mut self, end: usize) {
        let Some(region) = self.region.take() else { return };
        let batch = region.batch;
        if let Some((head, dropped)) = region.over {
            let length = dropped + (end - region.start) as u64;
            self.parts.push_back(Part::TooLong { head, length, batch });
            return;
        }
        let whole = &self.buffer[region.start..end];
        let (bytes, rest) = if region.framed { unframed(whole) } else { (whole, &whole[..0]) };
        let bytes = bytes.to_vec();
        let part = match region.what {
            What::Message => Part::Message { bytes, batch },
            What::Envelope(id) => Part::Envelope { id, bytes },
            What::Stray => Part::Stray { bytes, batch },
        };
        self.parts.push_back(part);
        if !rest.is_empty() {
            self.parts.push_back(Part::Stray { bytes: rest.to_vec(), batch });
        }
    }
}

/// A framed message and the noise behind its end block.
fn unframed(whole: &[u8]) -> (&[u8], &[u8]) {
    let whole = whole.strip_suffix(&[mllp::START]).unwrap_or(whole);
    let mut ends = memchr::memchr_iter(mllp::END, whole);
    let end = ends.find(|at| matches!(whole.get(at + 1), None | Some(b'\r' | &mllp::START)));
    match end {
        None => (whole, &whole[..0]),
        Some(at) => (&whole[..at], whole[at + 1..].trim_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &[u8], chunk: usize, bytes_max: usize) -> Vec<Part> {
        let mut splitter = Splitter::new(bytes_max);
        let mut parts = Vec::new();
        for piece in text.chunks(chunk.max(1)) {
            splitter.push(piece);
            parts.extend(std::iter::from_fn(|| splitter.next()));
        }
        splitter.end();
        parts.extend(std::iter::from_fn(|| splitter.next()));
        parts
    }

    fn told(part: &Part) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace('\r', "/");
        match part {
            Part::Envelope { bytes, .. } => format!("E {}", text(bytes)),
            Part::Message { bytes, batch } => format!("M{} {}", batch.map_or(-1, i64::from), text(bytes)),
            Part::TooLong { head, length, .. } => format!("L{length} {}", text(&head[..4])),
            Part::Stray { bytes, .. } => format!("S {}", text(bytes)),
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        for chunk in 1..=text.len() {
            let found: Vec<String> = parts(text.as_bytes(), chunk, 1_000).iter().map(told).collect();
            assert_eq!(found, expected, "in chunks of {chunk}");
        }
    }

    #[test]
    fn a_file_is_cut_into_envelope_and_messages_however_its_bytes_come() {
        check(
            "FHS|^~\\&\rBHS|^~\\&\rMSH|a\rPID|1\rMSH#b\rBTS|2\rBHS|\rMSH|c\rBTS|1\rFTS|2\r",
            &[
                "E FHS|^~\\&/",
                "E BHS|^~\\&/",
                "M0 MSH|a/PID|1/",
                "M0 MSH#b/",
                "E BTS|2/",
                "E BHS|/",
                "M1 MSH|c/",
                "E BTS|1/",
                "E FTS|2/",
            ],
        );
    }

    #[test]
    fn bare_messages_and_blank_lines_and_a_missing_line_end_are_fine() {
        check("\u{feff}MSH|a\rPID|1\r\r\rMSH|b", &["M-1 \u{feff}MSH|a/PID|1///", "M-1 MSH|b"]);
        check("BHS|\r\r\rMSH|a\r  BTS|1", &["E BHS|///", "M0 MSH|a/", "E   BTS|1"]);
    }

    #[test]
    fn text_that_is_no_message_is_kept_apart() {
        check("hello\rMSH|a\r", &["S hello/", "M-1 MSH|a/"]);
        check(
            "BHS|\rhello\rthere\rMSH|a\rBTS|1\rbye\r",
            &["E BHS|/", "S hello/there/", "M0 MSH|a/", "E BTS|1/", "S bye/"],
        );
        check("hello", &["S hello"]);
    }

    #[test]
    fn saved_blocks_lose_their_frames_and_noise_between_is_kept() {
        check("\x0BMSH|a\r\x1C\r\x0BMSH|b\r\x1C\r", &["M-1 MSH|a/", "M-1 MSH|b/"]);
        check("\x0BMSH|a\r\x1C\rnoise\x0BMSH|b\r\x1C\r", &["M-1 MSH|a/", "S noise", "M-1 MSH|b/"]);
    }

    #[test]
    fn a_message_above_the_limit_is_told_by_its_head_and_the_next_one_is_whole() {
        let long = format!("MSH|a\rNTE|{}\rNTE|{}\rMSH|b\r", "x".repeat(500), "y".repeat(900));
        for chunk in [1, 7, 100, 2_000] {
            let found: Vec<String> = parts(long.as_bytes(), chunk, 1_000).iter().map(told).collect();
            assert_eq!(found, ["L1416 MSH|", "M-1 MSH|b/"], "in chunks of {chunk}");
        }
    }

    #[test]
    fn memory_holds_one_message_and_not_the_file() {
        let mut splitter = Splitter::new(1_000);
        let message = format!("MSH|a\rNTE|{}\r", "x".repeat(80));
        for _ in 0..10_000 {
            splitter.push(message.as_bytes());
            while splitter.next().is_some() {}
        }
        let endless = [b'z'; 4_096];
        for _ in 0..1_000 {
            splitter.push(&endless);
        }
        assert!(splitter.buffer.capacity() < 64 << 10, "{}", splitter.buffer.capacity());
    }
}
