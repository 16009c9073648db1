//! Messages of a file, one by one, whatever stands around them: bare, batches, MLLP blocks, XML.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path as FilePath;

use anyhow::Context as _;
use orderly_hl7::batch::{Part, Splitter};
use orderly_hl7::xml::{self, XmlLimits};
use orderly_hl7::{Limits, Message, Unreadable};

/// How much is read at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// One thing in a file.
pub(super) enum Entry {
    Message(Message),
    /// What stands where a message should.
    Unreadable(Unreadable, Vec<u8>),
    /// An FHS, BHS, BTS or FTS line.
    Envelope(Vec<u8>),
}

/// The entries of one file. Holds one message at a time.
pub(super) struct Input {
    name: String,
    source: Source,
    ready: VecDeque<Entry>,
    found_any: bool,
    framed: bool,
}

enum Source {
    Er7 { bytes: Box<dyn BufRead>, splitter: Splitter },
    Xml(xml::Reader<Box<dyn BufRead>>),
    Ended,
}

impl Input {
    /// Opens a file; `-` is standard input.
    pub(super) fn open(file: &FilePath) -> anyhow::Result<Self> {
        let (name, mut bytes): (String, Box<dyn BufRead>) = if file == FilePath::new("-") {
            ("standard input".to_owned(), Box::new(BufReader::with_capacity(CHUNK_BYTES, std::io::stdin())))
        } else {
            let opened = File::open(file).with_context(|| format!("could not read {}", file.display()))?;
            (file.display().to_string(), Box::new(BufReader::with_capacity(CHUNK_BYTES, opened)))
        };
        let start = bytes.fill_buf().with_context(|| format!("could not read {name}"))?;
        let start = start.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(start);
        let source = if start.trim_ascii_start().starts_with(b"<") {
            Source::Xml(xml::Reader::new(bytes, XmlLimits::default()))
        } else {
            Source::Er7 { bytes, splitter: Splitter::new(Limits::default().bytes_max) }
        };
        Ok(Self { name, source, ready: VecDeque::new(), found_any: false, framed: false })
    }

    /// What people know it by.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn advance(&mut self) -> anyhow::Result<()> {
        match &mut self.source {
            Source::Xml(reader) => match reader.next() {
                Some(part) => {
                    self.ready.push_back(
                        match part.with_context(|| format!("could not read {}", self.name))? {
                            xml::Part::Message(message) => Entry::Message(message),
                            xml::Part::Envelope(bytes) => Entry::Envelope(bytes),
                        },
                    );
                }
                None => self.source = Source::Ended,
            },
            Source::Er7 { bytes, splitter } => {
                let chunk = bytes.fill_buf().with_context(|| format!("could not read {}", self.name))?;
                let length = chunk.len();
                if length == 0 {
                    splitter.end();
                } else {
                    self.framed |= chunk.contains(&orderly_hl7::mllp::START);
                    splitter.push(chunk);
                    bytes.consume(length);
                }
                let parts: Vec<Part> = std::iter::from_fn(|| splitter.next()).collect();
                parts.into_iter().for_each(|part| self.take(part));
                if length == 0 {
                    self.source = Source::Ended;
                    if !self.found_any {
                        self.ready.push_back(Entry::Unreadable(Unreadable::Empty, Vec::new()));
                    }
                }
            }
            Source::Ended => {}
        }
        Ok(())
    }

    fn take(&mut self, part: Part) {
        let entry = match part {
            Part::Envelope { bytes, .. } => Entry::Envelope(bytes),
            Part::Message { bytes, .. } => message(bytes),
            Part::TooLong { head, .. } => {
                Entry::Unreadable(Unreadable::TooLong(Limits::default().bytes_max), head)
            }
            // Noise around MLLP blocks and text behind a message: no message was meant.
            Part::Stray { bytes, .. } if self.found_any || self.framed => {
                eprintln!("{}: {} bytes that belong to no message were left out", self.name, bytes.len());
                return;
            }
            Part::Stray { bytes, .. } => message(bytes),
        };
        self.found_any = true;
        self.ready.push_back(entry);
    }
}

fn message(bytes: Vec<u8>) -> Entry {
    match Message::parse(bytes.as_slice()) {
        Ok(message) => Entry::Message(message),
        Err(error) => Entry::Unreadable(error, bytes),
    }
}

impl Iterator for Input {
    type Item = anyhow::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                return Some(Ok(entry));
            }
            if matches!(self.source, Source::Ended) {
                return None;
            }
            if let Err(error) = self.advance() {
                self.source = Source::Ended;
                return Some(Err(error));
            }
        }
    }
}
