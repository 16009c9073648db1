//! An interchange to its messages: what it holds is surveyed first, then it is cut, one message in memory at a time.

use std::io::{self, Read};

use orderly_hl7::batch::{Part, Splitter, Survey, has_envelope};
use sha2::{Digest, Sha256};

use crate::configuration::InboundBatch;
use crate::configuration::Verdict;

/// Messages of one interchange.
pub const MESSAGES_MAX: u64 = 100_000;
/// Bytes of one interchange.
pub const BYTES_MAX: u64 = 256 << 20;
/// Bytes read at a time.
const CHUNK: usize = 64 << 10;

/// Whether a frame holds more than one message or an envelope, so that it must be taken apart.
pub fn is_batch(bytes: &[u8]) -> bool {
    has_envelope(bytes) || has_second_header(bytes)
}

/// Whether a second header begins a line. Nearly all frames hold one message, so this must cost next to nothing.
fn has_second_header(bytes: &[u8]) -> bool {
    let ends = memchr::memmem::find_iter(bytes, b"MSH");
    ends.skip(1).any(|at| {
        matches!(bytes[at - 1], b'\r' | b'\n') && bytes.get(at + 3).is_some_and(u8::is_ascii_punctuation)
    })
}

/// What an interchange holds, its size and its hash.
#[derive(Debug)]
pub struct Surveyed {
    /// Messages, envelope, oddities.
    pub survey: Survey,
    /// Size.
    pub bytes: u64,
    /// SHA-256 of all bytes.
    pub sha256: [u8; 32],
}

/// Reads an interchange to its end.
///
/// # Errors
///
/// Those of reading.
pub fn survey(mut from: impl Read, message_bytes_max: usize) -> io::Result<Surveyed> {
    let (mut splitter, mut survey) = (Splitter::new(message_bytes_max), Survey::default());
    let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; CHUNK]);
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        bytes += count as u64;
        hash.update(&buffer[..count]);
        splitter.push(&buffer[..count]);
        while let Some(part) = splitter.next() {
            survey.note(&part);
        }
    }
    splitter.end();
    while let Some(part) = splitter.next() {
        survey.note(&part);
    }
    Ok(Surveyed { survey: survey.finish(), bytes, sha256: hash.finalize().into() })
}

/// The messages of an interchange, one after the other, with their numbers from 1. Envelope lines are left out.
#[derive(Debug)]
pub struct Parts<R> {
    from: R,
    splitter: Splitter,
    buffer: Vec<u8>,
    number: i32,
    ended: bool,
}

impl<R: Read> Parts<R> {
    /// Begins at the start of `from`.
    pub fn new(from: R, message_bytes_max: usize) -> Self {
        let splitter = Splitter::new(message_bytes_max);
        Self { from, splitter, buffer: vec![0; CHUNK], number: 0, ended: false }
    }

    /// The next message or text that is none; none at the end.
    ///
    /// # Errors
    ///
    /// Those of reading.
    pub fn next_part(&mut self) -> io::Result<Option<(i32, Part)>> {
        loop {
            match self.splitter.next() {
                Some(Part::Envelope { .. }) => {}
                Some(part) => {
                    self.number += 1;
                    return Ok(Some((self.number, part)));
                }
                None if self.ended => return Ok(None),
                None => match self.from.read(&mut self.buffer) {
                    Ok(0) => {
                        self.ended = true;
                        self.splitter.end();
                    }
                    Ok(count) => self.splitter.push(&self.buffer[..count]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                },
            }
        }
    }
}

/// Why an interchange is refused as a whole, whatever its messages are: a stable code and a sentence.
pub fn refusal(found: &Surveyed, bytes_max: u64, settings: &InboundBatch) -> Option<(&'static str, String)> {
    let survey = &found.survey;
    if found.bytes > bytes_max.min(BYTES_MAX) {
        let most = bytes_max.min(BYTES_MAX) >> 20;
        return Some(("batch.too_large", format!("the batch is larger than {most} MiB")));
    }
    if survey.messages > MESSAGES_MAX {
        let text = format!("the batch has {} messages, more than {MESSAGES_MAX}", survey.messages);
        return Some(("batch.too_many", text));
    }
    let judged = settings.validate_headers && settings.counts == Verdict::Refuse;
    let worst = survey.findings.first().filter(|_| judged);
    worst.map(|finding| ("batch.counts", finding.text.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_with_an_envelope_or_a_second_header_is_a_batch() {
        assert!(is_batch(b"FHS|^~\\&\rMSH|^~\\&\r"));
        assert!(is_batch(b"\r\nBHS|^~\\&\r"));
        assert!(is_batch(b"MSH|^~\\&\rPID|1\rMSH#^~\\&\r"));
        assert!(!is_batch(b"MSH|^~\\&\rPID|1||MSH|\rNTE|1||xMSH|\r"));
        assert!(!is_batch(b""));
    }

    #[test]
    fn limits_hold_at_the_limit_and_one_above() {
        let found = |messages, bytes| {
            let mut survey = Survey::default();
            survey.messages = messages;
            Surveyed { survey, bytes, sha256: [0; 32] }
        };
        let settings = InboundBatch::default();
        assert_eq!(refusal(&found(MESSAGES_MAX, BYTES_MAX), BYTES_MAX, &settings), None);
        let code = |found| refusal(&found, BYTES_MAX, &settings).map(|(code, _)| code);
        assert_eq!(code(found(MESSAGES_MAX + 1, 1)), Some("batch.too_many"));
        assert_eq!(code(found(100 * MESSAGES_MAX, 1)), Some("batch.too_many"));
        assert_eq!(code(found(1, BYTES_MAX + 1)), Some("batch.too_large"));
        assert_eq!(code(found(1, 100 * BYTES_MAX)), Some("batch.too_large"));
    }
}
