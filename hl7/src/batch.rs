//! What arrived in one go, cut into messages: bare ones, FHS and BHS batches, MLLP blocks saved to a file.
//!
//! [`split`] holds all bytes in memory, which suits a frame; a [`Splitter`] takes a file of any size and holds one
//! message at a time, and a [`Survey`] tells what the file holds. [`Wrapper`] writes the lines around outgoing messages.

mod splitter;
mod stream;
mod survey;
mod wrapper;

pub use splitter::{Part, Splitter};
pub use survey::{Envelope, Survey};
pub use wrapper::{Wrapper, stand_in};

use std::ops::Range;

use crate::finding::Class;
use crate::{Finding, Severity};

/// Bytes that are kept of what is too long.
pub const HEAD_BYTES: usize = 64 << 10;

/// Whether the bytes begin with a file or batch header.
pub fn has_envelope(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(&[0xEF, 0xBB, 0xBF]).unwrap_or(bytes);
    matches!(line_id(bytes.trim_ascii_start()), Some(id) if is_envelope(&id))
}

/// The id of a line that begins a message or belongs to an envelope.
fn line_id(text: &[u8]) -> Option<[u8; 3]> {
    let id: [u8; 3] = text.get(..3)?.try_into().ok()?;
    let header = matches!(&id, b"MSH" | b"FHS" | b"BHS");
    let separated = match text.get(3) {
        None => !header,
        Some(byte) => byte.is_ascii_punctuation() || (!header && matches!(byte, b'\r' | b'\n')),
    };
    (separated && (header || matches!(&id, b"BTS" | b"FTS"))).then_some(id)
}

fn is_envelope(id: &[u8; 3]) -> bool {
    matches!(id, b"FHS" | b"BHS" | b"BTS" | b"FTS")
}

/// The number in the first field of a trailer; none when it has none that can be read.
fn said_count(line: &[u8]) -> Option<u64> {
    let text = line.trim_ascii_start().get(4..).unwrap_or_default();
    let digits = text.split(|byte| !byte.is_ascii_digit()).next().unwrap_or_default();
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Where the messages of an interchange stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interchange {
    /// Each message, in order of arrival.
    pub messages: Vec<Item>,
    /// How many batches (BHS) there are.
    pub batches: usize,
    /// Whether any FHS, BHS, BTS or FTS was there.
    pub enveloped: bool,
    /// Wrong counts and missing trailers.
    pub findings: Vec<Finding>,
}

/// One message of an interchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its bytes.
    pub range: Range<usize>,
    /// Its batch, from 0; none for bare messages.
    pub batch: Option<usize>,
}

/// Cuts `bytes` into messages. What has no header at all stays one piece, so that nothing is lost.
pub fn split(bytes: &[u8]) -> Interchange {
    let mut cutter = Cutter { bytes, found: Interchange::default(), open: None, batch: None, in_batch: 0 };
    for line in (Lines { bytes, at: 0 }) {
        cutter.line(line);
    }
    cutter.finish()
}

/// A line that begins an envelope segment or a message.
struct Line {
    at: usize,
    id: [u8; 3],
}

/// Finds lines that begin with MSH, FHS, BHS, BTS or FTS.
struct Lines<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Iterator for Lines<'_> {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        let bytes = self.bytes;
        loop {
            if self.at >= bytes.len() {
                return None;
            }
            let mark = if self.at == 0 && bytes.starts_with(&[0xEF, 0xBB, 0xBF]) { 3 } else { 0 };
            let start = self.at + mark;
            let next = memchr::memchr3(b'\r', b'\n', 0x0B, &bytes[start..]);
            self.at = next.map_or(bytes.len(), |next| start + next + 1);
            let text = &bytes[start..];
            let blank = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | 0)).count();
            if let Some(id) = text.get(blank..).and_then(line_id) {
                // A byte-order mark belongs to what follows it.
                return Some(Line { at: start - mark, id });
            }
        }
    }
}

struct Cutter<'b> {
    bytes: &'b [u8],
    found: Interchange,
    open: Option<usize>,
    batch: Option<usize>,
    in_batch: usize,
}

impl Cutter<'_> {
    fn line(&mut self, line: Line) {
        self.close(line.at);
        match &line.id {
            b"MSH" => self.open = Some(line.at),
            id => {
                self.found.enveloped = true;
                match id {
                    b"BHS" => {
                        self.batch = Some(self.found.batches);
                        self.found.batches += 1;
                        self.in_batch = 0;
                    }
                    b"BTS" => {
                        self.count(line.at, "BTS-1", self.in_batch, "messages in the batch");
                        self.batch = None;
                    }
                    b"FTS" => self.count(line.at, "FTS-1", self.found.batches, "batches in the file"),
                    _ => {}
                }
            }
        }
    }

    /// Ends the open message before `end`, or at the end block of its MLLP frame.
    fn close(&mut self, end: usize) {
        let Some(start) = self.open.take() else { return };
        let framed = start > 0 && self.bytes[start - 1] == crate::mllp::START;
        let mut end = end;
        if framed {
            end = if self.bytes.get(end - 1) == Some(&crate::mllp::START) { end - 1 } else { end };
            let blocks = memchr::memchr_iter(crate::mllp::END, &self.bytes[start..end]);
            let last = blocks
                .map(|at| start + at)
                .find(|at| matches!(self.bytes.get(at + 1), None | Some(b'\r' | 0x0B)));
            end = last.unwrap_or(end);
        }
        self.found.messages.push(Item { range: start..end, batch: self.batch });
        self.in_batch += 1;
    }

    fn count(&mut self, at: usize, place: &str, found: usize, what: &str) {
        let said = said_count(&self.bytes[at..]).and_then(|said| usize::try_from(said).ok());
        if let Some(said) = said.filter(|said| *said != found) {
            let text = format!("{place} counts {said} {what}; there are {found}");
            self.found.findings.push(Finding::new(Class::Structure, place, 199, text));
        }
    }

    fn finish(mut self) -> Interchange {
        self.close(self.bytes.len());
        if self.batch.is_some() {
            let finding = Finding::new(Class::Structure, "BTS", 100, "the batch has no trailer");
            self.found.findings.push(Finding { severity: Severity::Warning, ..finding });
        }
        let start = self.found.messages.first().map_or(0, |item| item.range.start);
        let before = &self.bytes[..start];
        let blank = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, 0 | 0x0B | 0xEF | 0xBB | 0xBF);
        let stray =
            !self.found.enveloped && !before.iter().all(blank) && !before.contains(&crate::mllp::START);
        if self.found.messages.is_empty() && !self.found.enveloped {
            self.found.messages.push(Item { range: 0..self.bytes.len(), batch: None });
        } else if stray {
            // Text before the first header: kept with it, so that it is refused and shown rather than lost.
            self.found.messages[0].range.start = 0;
        }
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, messages: &[&str], batches: usize, findings: &[&str]) {
        let found = split(text.as_bytes());
        let cut: Vec<&str> = found.messages.iter().map(|item| &text[item.range.clone()]).collect();
        assert_eq!(cut, messages);
        assert_eq!(found.batches, batches);
        let paths: Vec<&str> = found.findings.iter().map(|finding| finding.path.as_str()).collect();
        assert_eq!(paths, findings);
    }

    #[test]
    fn messages_are_cut_at_each_header() {
        check("MSH|a\rPID|1\rMSH|b\r", &["MSH|a\rPID|1\r", "MSH|b\r"], 0, &[]);
        check("FHS|\rBHS|\rMSH|a\rBTS|1\rBHS|\rMSH|b\rBTS|1\rFTS|2\r", &["MSH|a\r", "MSH|b\r"], 2, &[]);
        check("BHS|\rBTS|0\r", &[], 1, &[]);
        check("\u{feff}MSH|a\r", &["\u{feff}MSH|a\r"], 0, &[]);
    }

    #[test]
    fn wrong_counts_and_missing_trailers_are_found() {
        check("BHS|\rMSH|a\rBTS|3\r", &["MSH|a\r"], 1, &["BTS-1"]);
        check("FHS|\rBHS|\rMSH|a\r", &["MSH|a\r"], 1, &["BTS"]);
        check("FHS|\rBHS|\rBTS|0\rFTS|7\r", &[], 1, &["FTS-1"]);
    }

    #[test]
    fn saved_mllp_blocks_are_cut_and_noise_between_is_left_out() {
        check("\x0BMSH|a\r\x1C\rnoise\x0BMSH|b\r\x1C\r", &["MSH|a\r", "MSH|b\r"], 0, &[]);
    }

    #[test]
    fn what_has_no_header_stays_one_piece() {
        check("hello", &["hello"], 0, &[]);
        check("", &[""], 0, &[]);
        check("hello\rMSH|a\r", &["hello\rMSH|a\r"], 0, &[]);
    }
}
