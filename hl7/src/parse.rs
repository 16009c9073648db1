//! Bytes to an index of segments and fields, in one pass.
//!
//! Only field separators and line ends are recorded; fields are split further when someone asks. Nothing
//! is changed: repairs (line ends, marks, padding) are findings, and the bytes stay as they came.

mod report;

use report::Seen;

use crate::charset::{self, Wide};
use crate::finding::Class;
use crate::path::{is_header, is_segment_id};
use crate::{BadDelimiters, Charset, CharsetPolicy, Delimiters, Finding, WideForm};

/// What one message may be at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one message.
    pub bytes_max: usize,
    /// Segments of one message.
    pub segments_max: usize,
    /// Fields of one segment.
    pub fields_max: usize,
    /// Repetitions of one field.
    pub repetitions_max: usize,
    /// Findings kept for one message.
    pub findings_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes_max: 256 << 20,
            segments_max: 20_000,
            fields_max: 1_000,
            repetitions_max: 1_000,
            findings_max: 100,
        }
    }
}

/// How to read a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParseOptions {
    /// Which character set to take.
    pub charset: CharsetPolicy,
    /// What the message may be at most.
    pub limits: Limits,
}

/// Why bytes are no message at all. Everything less is a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// There is nothing but white space.
    #[error("the message is empty")]
    Empty,
    /// The first segment is neither MSH nor the header of a file or batch.
    #[error("the message does not begin with MSH")]
    NoHeader,
    /// MSH-1 or MSH-2 cannot be used.
    #[error("the delimiters in MSH-1 and MSH-2 cannot be used: {0}")]
    Delimiters(#[from] BadDelimiters),
    /// UTF-16 and UTF-32.
    #[error("the message begins as UTF-16 or UTF-32, and holds bytes that are no character there")]
    WideText,
    /// More bytes than the limit allows.
    #[error("the message is longer than {0} bytes")]
    TooLong(usize),
}

/// One segment: its bytes, and where its field separators stand in [`Index::marks`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) first_mark: u32,
    pub(crate) marks: u32,
    pub(crate) id: [u8; 3],
}

/// Everything that parsing finds out.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) delimiters: Delimiters,
    pub(crate) charset: Charset,
    pub(crate) spans: Vec<Span>,
    pub(crate) marks: Vec<u32>,
    pub(crate) findings: Vec<Finding>,
    /// Where what counts ends and padding begins.
    pub(crate) end: usize,
}

const PLAIN: u8 = 0;
const END: u8 = 1;
const FIELD: u8 = 2;
const REPETITION: u8 = 3;
const LEAD: u8 = 4;
const ESC: u8 = 5;

/// Looks through bytes whose delimiters are single bytes; `wide` is the form that they were read from.
pub(crate) fn index(
    bytes: &[u8],
    options: &ParseOptions,
    wide: Option<WideForm>,
) -> Result<Index, Unreadable> {
    let limits = &options.limits;
    if bytes.len() > limits.bytes_max.min(u32::MAX as usize) {
        return Err(Unreadable::TooLong(limits.bytes_max));
    }
    let mut findings = Vec::new();
    let (start, mark) = find_header(bytes, &mut findings)?;
    let end = trim_end(bytes, start, &mut findings);
    let delimiters = read_delimiters(&bytes[start..end], &mut findings)?;

    let mut scan = Scan::new(&bytes[..end], delimiters, limits);
    scan.segments(start, Some(1));
    let mut declared = scan.declared();
    let mut resolved = match wide {
        Some(form) => charset::resolve_wide(form, options.charset, &declared),
        None => charset::resolve(options.charset, &declared, mark, &bytes[start..end]),
    };
    if resolved.charset.wide() != Wide::No {
        // A sender's name in MSH may hold two-byte characters too, so the header is read again as well.
        scan.restart(resolved.charset.wide());
        scan.segments(start, Some(1));
        declared = scan.declared();
        resolved = charset::resolve(options.charset, &declared, mark, &bytes[start..end]);
    }
    drop(declared);
    match scan.spans.first() {
        // Of a file only its own header is read: its messages are read when it is taken apart.
        Some(first) if first.id == *b"FHS" && bytes[scan.position..end].starts_with(b"BHS") => {
            scan.segments(scan.position, Some(1));
        }
        Some(first) if matches!(&first.id, b"FHS" | b"BHS") => {}
        _ => scan.segments(scan.position, None),
    }

    if let Some(text) = resolved.oddity {
        findings.push(Finding::new(Class::Charset, "MSH-18", 102, text));
    }
    scan.report(&mut findings);
    findings.truncate(limits.findings_max);
    let Scan { spans, marks, .. } = scan;
    Ok(Index { delimiters, charset: resolved.charset, spans, marks, findings, end })
}

/// Where MSH begins, and whether a byte-order mark stands before it.
fn find_header(bytes: &[u8], findings: &mut Vec<Finding>) -> Result<(usize, bool), Unreadable> {
    let repair =
        |findings: &mut Vec<Finding>, text: &str| findings.push(Finding::new(Class::Repair, "", 0, text));
    let (mut at, mut mark, mut block, mut space) = (0, false, false, false);
    loop {
        match &bytes[at..] {
            [0xEF, 0xBB, 0xBF, ..] => (mark, at) = (true, at + 3),
            [0x0B, ..] => (block, at) = (true, at + 1),
            [b' ' | b'\t' | b'\r' | b'\n' | 0, ..] => (space, at) = (true, at + 1),
            _ => break,
        }
    }
    if at == bytes.len() {
        return Err(Unreadable::Empty);
    }
    if !bytes[at..].starts_with(b"MSH") && !crate::batch::has_envelope(&bytes[at..]) {
        return Err(Unreadable::NoHeader);
    }
    if mark {
        repair(findings, "a byte-order mark before the message was skipped");
    }
    if block {
        repair(findings, "an MLLP start block inside the message was skipped");
    }
    if space {
        repair(findings, "blank bytes before the message were skipped");
    }
    Ok((at, mark))
}

/// The end of what counts: MLLP end block, padding and Control-Z after the last segment are left out.
fn trim_end(bytes: &[u8], start: usize, findings: &mut Vec<Finding>) -> usize {
    let mut end = bytes.len();
    let (mut block, mut padding) = (false, false);
    while end > start {
        match bytes[end - 1] {
            b'\r' | b'\n' => {}
            0x1C => block = true,
            0 | 0x1A => padding = true,
            _ => break,
        }
        end -= 1;
    }
    // The line end of the last segment belongs to it.
    while end < bytes.len() && matches!(bytes[end], b'\r' | b'\n') {
        end += 1;
    }
    if block {
        findings.push(Finding::new(Class::Repair, "", 0, "an MLLP end block after the message was skipped"));
    }
    if padding {
        findings.push(Finding::new(Class::Repair, "", 0, "padding after the message was skipped"));
    }
    end
}

fn read_delimiters(bytes: &[u8], findings: &mut Vec<Finding>) -> Result<Delimiters, Unreadable> {
    let Some(&field) = bytes.get(3) else { return Err(BadDelimiters::TooFew.into()) };
    let rest = &bytes[4..];
    let length =
        rest.iter().position(|byte| *byte == field || matches!(byte, b'\r' | b'\n')).unwrap_or(rest.len());
    if length > 5 {
        findings.push(Finding::new(
            Class::Header,
            "MSH-2",
            102,
            "MSH-2 has more than five encoding characters",
        ));
    }
    Ok(Delimiters::new(field, &rest[..length])?)
}

/// The pass over the bytes.
struct Scan<'b> {
    bytes: &'b [u8],
    delimiters: Delimiters,
    limits: &'b Limits,
    classes: [u8; 256],
    wide: Wide,
    position: usize,
    spans: Vec<Span>,
    marks: Vec<u32>,
    /// Whether the message has carriage returns at all; then a lone line feed may be data.
    returns: Option<bool>,
    seen: Seen,
}

impl<'b> Scan<'b> {
    fn new(bytes: &'b [u8], delimiters: Delimiters, limits: &'b Limits) -> Self {
        let mut classes = [PLAIN; 256];
        classes[usize::from(b'\r')] = END;
        classes[usize::from(b'\n')] = END;
        classes[usize::from(delimiters.field)] = FIELD;
        classes[usize::from(delimiters.repetition)] = REPETITION;
        let expected = bytes.len() / 4;
        Self {
            bytes,
            delimiters,
            limits,
            classes,
            wide: Wide::No,
            position: 0,
            spans: Vec::with_capacity((bytes.len() / 60).min(4_096) + 1),
            marks: Vec::with_capacity(expected.min(65_536)),
            returns: None,
            seen: Seen::default(),
        }
    }

    /// Begins again, now stepping over characters of several bytes.
    fn restart(&mut self, wide: Wide) {
        self.wide = wide;
        match wide {
            Wide::No => {}
            Wide::DoubleByte => self.classes[0x81..=0xFE].fill(LEAD),
            Wide::ShiftJis => {
                self.classes[0x81..=0x9F].fill(LEAD);
                self.classes[0xE0..=0xFC].fill(LEAD);
            }
            Wide::Iso2022 => self.classes[0x1B] = ESC,
        }
        self.spans.clear();
        self.marks.clear();
        self.seen = Seen::default();
    }

    /// Reads segments from `start` on, at most `most` of them.
    fn segments(&mut self, start: usize, most: Option<usize>) {
        let mut at = start;
        let mut read = 0;
        while at < self.bytes.len() && most.is_none_or(|most| read < most) {
            let blank = self.bytes[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            if blank > 0 && self.bytes.get(at + blank..at + blank + 3).is_some_and(is_segment_id) {
                self.seen.spaces = true;
                at += blank;
            }
            if self.spans.len() == self.limits.segments_max {
                self.seen.segments_over = Some(self.place_of(at));
                break;
            }
            let end = self.segment(at);
            read += 1;
            at = self.line_end(end);
        }
        self.position = at;
    }

    /// Reads one segment and gives its end.
    fn segment(&mut self, start: usize) -> usize {
        let first_mark = self.marks.len();
        let mut repetitions = 1;
        let mut at = start;
        while at < self.bytes.len() {
            let class = self.classes[usize::from(self.bytes[at])];
            if class == PLAIN {
                at += 1;
                continue;
            }
            match class {
                END if self.ends(at) => break,
                FIELD => {
                    let fields = self.marks.len() - first_mark;
                    if fields < self.limits.fields_max {
                        self.marks.push(at as u32);
                    } else {
                        // One more tells where the last field that counts ends.
                        if fields == self.limits.fields_max {
                            self.marks.push(at as u32);
                        }
                        self.seen.fields_over.get_or_insert(self.spans.len());
                    }
                    repetitions = 1;
                }
                REPETITION => {
                    repetitions += 1;
                    if repetitions > self.limits.repetitions_max && self.seen.repetitions_over.is_none() {
                        self.seen.repetitions_over = Some((self.spans.len(), self.marks.len() - first_mark));
                    }
                }
                LEAD | ESC => at += step(&self.bytes[at..], self.wide) - 1,
                _ => {}
            }
            at += 1;
        }
        let at = at.min(self.bytes.len());
        let id_end = self.marks.get(first_mark).map_or(at, |mark| *mark as usize);
        let id = self.id(start, id_end);
        self.spans.push(Span {
            start: start as u32,
            end: at as u32,
            first_mark: first_mark as u32,
            marks: (self.marks.len() - first_mark) as u32,
            id,
        });
        at
    }

    /// The place of the segment that begins at `start` and is not read any more; empty where it has no id.
    fn place_of(&self, start: usize) -> String {
        match self.bytes.get(start..start + 3) {
            Some(id) if is_segment_id(id) => self.numbered([id[0], id[1], id[2]], self.spans.len()),
            _ => String::new(),
        }
    }

    fn id(&mut self, start: usize, end: usize) -> [u8; 3] {
        let bytes = &self.bytes[start..end];
        if is_segment_id(bytes) {
            if bytes == b"MSH" && !self.spans.is_empty() {
                self.seen.second_header = true;
            }
            return [bytes[0], bytes[1], bytes[2]];
        }
        if self.seen.odd_ids.len() < self.limits.findings_max {
            self.seen.odd_ids.push(self.spans.len());
        }
        [0; 3]
    }

    /// Whether the line end at `at` ends a segment. A line feed alone inside a message with carriage
    /// returns is data unless a segment follows: some senders do not escape it.
    fn ends(&mut self, at: usize) -> bool {
        if self.bytes[at] == b'\r' {
            return true;
        }
        let bytes = self.bytes;
        let returns = *self.returns.get_or_insert_with(|| memchr::memchr(b'\r', bytes).is_some());
        let next = &bytes[at + 1..];
        let plausible = || {
            next.get(..3).is_some_and(is_segment_id)
                && next.get(3).is_none_or(|byte| *byte == self.delimiters.field)
        };
        if !returns || matches!(next.first(), None | Some(b'\r' | b'\n')) || plausible() {
            return true;
        }
        self.seen.joined = true;
        false
    }

    /// Steps over the line end at `at` and over blank lines.
    fn line_end(&mut self, mut at: usize) -> usize {
        let mut ends = 0;
        loop {
            match &self.bytes[at..] {
                [b'\r', b'\n', ..] => (self.seen.pairs, at) = (true, at + 2),
                [b'\r', ..] => at += 1,
                [b'\n', ..] => (self.seen.line_feeds, at) = (true, at + 1),
                _ => break,
            }
            ends += 1;
        }
        self.seen.blank_lines |= ends > 1;
        at
    }

    /// The repetitions of MSH-18, as far as they are ASCII.
    fn declared(&self) -> Vec<&'b str> {
        let Some(header) = self.spans.first().filter(|header| header.marks >= 17) else { return Vec::new() };
        let mark = |number: u32| self.marks[(header.first_mark + number) as usize] as usize;
        let end = if header.marks > 17 { mark(17) } else { header.end as usize };
        self.bytes[mark(16) + 1..end]
            .split(|byte| *byte == self.delimiters.repetition)
            .map(|name| std::str::from_utf8(name).unwrap_or("?").trim())
            .collect()
    }
}

/// How many bytes the character at the start of `bytes` has, or the whole run between two ISO 2022 escapes.
pub(crate) fn step(bytes: &[u8], wide: Wide) -> usize {
    match (wide, bytes) {
        (Wide::DoubleByte, [0x81..=0xFE, 0x30..=0xFF, ..]) => 2,
        (Wide::ShiftJis, [0x81..=0x9F | 0xE0..=0xFC, 0x40..=0xFF, ..]) => 2,
        (Wide::Iso2022, [0x1B, b'$', ..]) => {
            // Two-byte characters never use control bytes, so a line end closes the run whatever happens.
            let run = bytes[2..].iter().position(|byte| matches!(byte, 0x1B | b'\r' | b'\n'));
            run.map_or(bytes.len(), |run| run + 2)
        }
        _ => 1,
    }
}

pub(crate) fn counts_separator(id: &[u8]) -> bool {
    is_header(id)
}
