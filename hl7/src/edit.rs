//! Changes to a message as splices: what no change touches stays byte for byte.

use std::borrow::Cow;
use std::ops::Range;

use crate::message::Message;
use crate::path::{SegmentId, is_header};
use crate::segment::{Reading, Segment, Split};
use crate::{Charset, Delimiters, ParseOptions, Path, Unreadable, escape};

/// A message while it is being changed.
///
/// Segment numbers count from 0 and are those of the message as changed so far.
#[derive(Clone)]
pub struct Edit {
    base: Message,
    reading: Reading,
    lines: Vec<Line>,
    /// Bytes before the first segment.
    before: Range<usize>,
    /// Padding and block characters after the last segment.
    after: Range<usize>,
}

/// One segment and what stands between it and the next.
#[derive(Clone)]
struct Line {
    text: Text,
    end: Text,
}

#[derive(Clone)]
enum Text {
    Kept(Range<usize>),
    New(Vec<u8>),
}

impl Text {
    fn bytes<'t>(&'t self, base: &'t [u8]) -> &'t [u8] {
        match self {
            Self::Kept(range) => &base[range.clone()],
            Self::New(bytes) => bytes,
        }
    }
}

/// Why a change is not possible. The message stays as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The occurrence asked for is not there and not the next one.
    #[error("there is no segment {0} to change")]
    NoSegment(String),
    /// MSH-1 and MSH-2 decide how everything else is read.
    #[error("{0} holds the delimiters, which an edit cannot change")]
    Delimiters(Path),
    /// The message has no separator of this level.
    #[error("the message declares no subcomponent separator, so {0} cannot be written")]
    NoSeparator(Path),
    /// The character set or the delimiters of the message have no way to write the value.
    #[error("{path} would hold a character (U+{character:04X}) that the message cannot express")]
    Unmappable {
        /// The place.
        path: String,
        /// The character's code.
        character: u32,
    },
    /// Raw bytes with a line end would become another segment.
    #[error("raw bytes for {0} hold a line end or a separator of a higher level")]
    Raw(Path),
}

impl Edit {
    pub(crate) fn new(base: &Message) -> Self {
        let mut lines: Vec<Line> = Vec::with_capacity(base.segment_count() + 2);
        let mut before = 0..0;
        for segment in base.segments() {
            let (start, end) = (segment.span.start as usize, segment.span.end as usize);
            match lines.last_mut() {
                Some(Line { end: Text::Kept(gap), .. }) => gap.end = start,
                _ => before.end = start,
            }
            lines.push(Line { text: Text::Kept(start..end), end: Text::Kept(end..base.end().max(end)) });
        }
        Self {
            base: base.clone(),
            reading: base.reading(),
            lines,
            before,
            after: base.end()..base.content().len(),
        }
    }

    /// A message that holds nothing but delimiters, to be filled.
    pub fn blank(delimiters: Delimiters, options: &ParseOptions) -> Result<Self, Unreadable> {
        let mut bytes = b"MSH".to_vec();
        bytes.push(delimiters.field);
        bytes.extend(delimiters.encoding_characters());
        bytes.push(b'\r');
        Ok(Message::parse_with(bytes, options)?.edit())
    }

    /// How many segments there are now.
    pub fn segment_count(&self) -> usize {
        self.lines.len()
    }

    /// The id of a segment; empty when it has none.
    pub fn segment_id(&self, index: usize) -> &str {
        self.lines.get(index).map_or("", |line| std::str::from_utf8(self.id(line)).unwrap_or(""))
    }

    /// How many repetitions the field of a path has now; none when it is empty or absent.
    pub fn repetitions(&self, path: &Path) -> usize {
        let Some(index) = self.locate(path) else { return 0 };
        let whole = Path { repetition: None, component: None, subcomponent: None, ..path.clone() };
        let line = self.lines[index].text.bytes(self.base.content());
        match Place::find(line, &whole, self.reading) {
            Ok(place) if place.missing.is_empty() && !place.range.is_empty() => {
                let separator = Some(self.reading.delimiters.repetition);
                Split::new(Some(&line[place.range]), separator, self.reading).count()
            }
            _ => 0,
        }
    }

    fn id<'t>(&'t self, line: &'t Line) -> &'t [u8] {
        let bytes = line.text.bytes(self.base.content());
        let end = memchr::memchr(self.reading.delimiters.field, bytes).unwrap_or(bytes.len());
        &bytes[..end]
    }

    /// Writes `text` at `path`, escaping what has a meaning. A missing segment is added at the end; an empty
    /// text clears the place.
    ///
    /// # Errors
    ///
    /// Refuses places that cannot be and characters that the message cannot express.
    pub fn set(&mut self, path: &Path, text: &str) -> Result<(), EditError> {
        let escaped = escape::encode(text, &self.reading.delimiters)
            .map_err(|c| EditError::Unmappable { path: path.to_string(), character: c.into() })?;
        let bytes = self.encode(&escaped, path)?.into_owned();
        self.splice(path, &bytes)
    }

    /// Writes bytes as they are, in the delimiters and character set of this message. They may hold separators
    /// of lower levels than the place.
    ///
    /// # Errors
    ///
    /// Refuses line ends and separators of the same or a higher level, and what is no UTF-8 in a message that came as
    /// UTF-16 or UTF-32.
    pub fn set_raw(&mut self, path: &Path, raw: &[u8]) -> Result<(), EditError> {
        let delimiters = &self.reading.delimiters;
        let mut forbidden = vec![b'\r', b'\n', delimiters.field];
        if path.repetition.is_some() || path.component.is_some() {
            forbidden.push(delimiters.repetition);
        }
        if path.component.is_some() {
            forbidden.push(delimiters.component);
        }
        if path.subcomponent.is_some() {
            forbidden.extend(delimiters.subcomponent);
        }
        let holds = |byte: u8| Split::new(Some(raw), Some(byte), self.reading).nth(1).is_some();
        let is_no_text = self.base.content() != self.base.bytes() && std::str::from_utf8(raw).is_err();
        if forbidden.into_iter().any(holds) || is_no_text {
            return Err(EditError::Raw(path.clone()));
        }
        self.splice(path, raw)
    }

    /// Makes a place empty, which tells a receiver nothing.
    ///
    /// # Errors
    ///
    /// As [`Edit::set`]; a place that is absent stays absent.
    pub fn clear(&mut self, path: &Path) -> Result<(), EditError> {
        match self.locate(path) {
            Some(index) if self.line_message_has(index, path) => self.splice(path, b""),
            _ => Ok(()),
        }
    }

    /// Writes the delete indicator `""`.
    ///
    /// # Errors
    ///
    /// As [`Edit::set`].
    pub fn delete(&mut self, path: &Path) -> Result<(), EditError> {
        self.splice(path, b"\"\"")
    }

    /// Adds an empty segment at the end and gives its index.
    pub fn add_segment(&mut self, id: SegmentId) -> usize {
        self.insert(self.lines.len(), id.as_str().as_bytes().to_vec())
    }

    /// Adds an empty segment after the one at `index` and gives its index; an index beyond the end means the end.
    pub fn insert_segment_after(&mut self, index: usize, id: SegmentId) -> usize {
        self.insert((index + 1).min(self.lines.len()), id.as_str().as_bytes().to_vec())
    }

    /// Takes the segment at `index` out. MSH at 0 stays.
    pub fn remove_segment(&mut self, index: usize) {
        if index > 0 && index < self.lines.len() {
            self.lines.remove(index);
        }
    }

    /// Adds a copy of a segment of any message at the end and gives its index.
    ///
    /// # Errors
    ///
    /// Refuses a character that this message cannot express.
    pub fn copy_segment(&mut self, segment: &Segment<'_>) -> Result<usize, EditError> {
        let bytes = self.transcoded(segment)?;
        Ok(self.insert(self.lines.len(), bytes))
    }

    /// Puts a copy of a segment of any message in the place of the one at `index`.
    ///
    /// # Errors
    ///
    /// As [`Edit::copy_segment`]; also when there is no such segment, or when something else would replace MSH.
    pub fn replace_segment(&mut self, index: usize, segment: &Segment<'_>) -> Result<(), EditError> {
        if index == 0 && segment.id() != "MSH" {
            return Err(EditError::NoSegment("MSH".to_owned()));
        }
        let bytes = self.transcoded(segment)?;
        let line = self.lines.get_mut(index).ok_or_else(|| EditError::NoSegment(segment.id().to_owned()))?;
        line.text = Text::New(bytes);
        Ok(())
    }

    /// The changed message.
    pub fn finish(self) -> Message {
        let base = self.base.content();
        let mut bytes = Vec::with_capacity(base.len() + 256);
        bytes.extend_from_slice(&base[self.before]);
        for line in &self.lines {
            bytes.extend_from_slice(line.text.bytes(base));
            bytes.extend_from_slice(line.end.bytes(base));
        }
        bytes.extend_from_slice(&base[self.after]);
        let mut options = *self.base.options();
        options.limits.bytes_max = usize::MAX;
        self.base.rebuilt(bytes, &options).expect("no edit touches the MSH-1 and MSH-2 of a readable message")
    }

    /// The line end that this message uses, so that a new line does not change how the others are read.
    fn line_end(&self) -> &'static [u8] {
        let bytes = self.base.content();
        let first = self.base.segment(0).map_or(0, |segment| segment.span.end as usize);
        match memchr::memchr(b'\r', bytes) {
            Some(_) if bytes[first..].starts_with(b"\r\n") => b"\r\n",
            Some(_) => b"\r",
            None if memchr::memchr(b'\n', bytes).is_some() => b"\n",
            None => b"\r",
        }
    }

    fn insert(&mut self, index: usize, bytes: Vec<u8>) -> usize {
        let ending = self.line_end();
        // The segment before may be the last of a message without final line end.
        if let Some(line) = index.checked_sub(1).and_then(|index| self.lines.get_mut(index)) {
            let end = line.end.bytes(self.base.content());
            if !end.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
                let mut mended = ending.to_vec();
                mended.extend_from_slice(end);
                line.end = Text::New(mended);
            }
        }
        self.lines.insert(index, Line { text: Text::New(bytes), end: Text::New(ending.to_vec()) });
        index
    }

    fn encode<'t>(&self, text: &'t str, path: &dyn std::fmt::Display) -> Result<Cow<'t, [u8]>, EditError> {
        let charset = match self.reading.charset {
            // Without declaration a message may go beyond ASCII; it then reads as UTF-8.
            Charset::Ascii if self.base.text("MSH-18").is_empty() => Charset::Utf8,
            other => other,
        };
        charset
            .encode(text)
            .map_err(|c| EditError::Unmappable { path: path.to_string(), character: c.into() })
    }

    fn locate(&self, path: &Path) -> Option<usize> {
        let id = path.segment.as_str().as_bytes();
        let skipped = path.occurrence.unwrap_or(1) as usize - 1;
        self.lines
            .iter()
            .enumerate()
            .filter(|(_, line)| self.id(line) == id)
            .nth(skipped)
            .map(|(index, _)| index)
    }

    fn line_message_has(&self, index: usize, path: &Path) -> bool {
        let line = self.lines[index].text.bytes(self.base.content());
        Place::find(line, path, self.reading).is_ok_and(|place| place.missing.is_empty())
    }

    fn splice(&mut self, path: &Path, bytes: &[u8]) -> Result<(), EditError> {
        if path.segment.is_header() && path.field <= 2 {
            return Err(EditError::Delimiters(path.clone()));
        }
        let index = match self.locate(path) {
            Some(index) => index,
            None if bytes.is_empty() => return Ok(()),
            None => {
                let id = path.segment.as_str();
                let present = self.lines.iter().filter(|line| self.id(line) == id.as_bytes()).count();
                if path.occurrence.is_some_and(|occurrence| occurrence as usize != present + 1) {
                    return Err(EditError::NoSegment(format!("{id}[{}]", path.occurrence.unwrap_or(1))));
                }
                self.add_segment(path.segment)
            }
        };
        let line = self.lines[index].text.bytes(self.base.content());
        let place = Place::find(line, path, self.reading)?;
        if bytes.is_empty() && !place.missing.is_empty() {
            return Ok(());
        }
        let mut changed = Vec::with_capacity(line.len() + bytes.len() + place.missing.len());
        changed.extend_from_slice(&line[..place.range.start]);
        changed.extend_from_slice(&place.missing);
        changed.extend_from_slice(bytes);
        changed.extend_from_slice(&line[place.range.end..]);
        self.lines[index].text = Text::New(changed);
        Ok(())
    }

    /// The bytes of a segment in the delimiters and character set of this message.
    fn transcoded(&self, segment: &Segment<'_>) -> Result<Vec<u8>, EditError> {
        let (from, to) = (segment.message.reading(), self.reading);
        let header = is_header(&segment.span.id);
        let same = from.delimiters == to.delimiters
            && (from.charset == to.charset
                || (segment.raw().is_ascii() && from.charset != Charset::Iso2022Jp));
        if same && !header {
            return Ok(segment.raw().to_vec());
        }
        let mut bytes = segment.id().as_bytes().to_vec();
        let first = if header {
            bytes.push(to.delimiters.field);
            bytes.extend(to.delimiters.encoding_characters());
            3
        } else {
            1
        };
        for number in first..=segment.field_count() {
            bytes.push(to.delimiters.field);
            let field = segment.field(number);
            for (index, repetition) in field.repetitions().enumerate() {
                if index > 0 {
                    bytes.push(to.delimiters.repetition);
                }
                for (index, component) in repetition.components().enumerate() {
                    if index > 0 {
                        bytes.push(to.delimiters.component);
                    }
                    for (index, leaf) in component.subcomponents().enumerate() {
                        if index > 0 {
                            bytes.extend(to.delimiters.subcomponent);
                        }
                        let place = format!("{}-{number}", segment.id());
                        bytes.extend_from_slice(&self.leaf(leaf, &place)?);
                    }
                }
            }
        }
        Ok(bytes)
    }

    fn leaf(&self, value: crate::Value<'_>, place: &str) -> Result<Vec<u8>, EditError> {
        match value {
            crate::Value::Delete => Ok(b"\"\"".to_vec()),
            other => {
                let text = other.into_text();
                let escaped = escape::encode(&text, &self.reading.delimiters)
                    .map_err(|c| EditError::Unmappable { path: place.to_owned(), character: c.into() })?;
                Ok(self.encode(&escaped, &place)?.into_owned())
            }
        }
    }
}

/// Where a path stands in one segment, and the separators that must be written first.
struct Place {
    range: Range<usize>,
    missing: Vec<u8>,
}

impl Place {
    fn find(line: &[u8], path: &Path, reading: Reading) -> Result<Self, EditError> {
        let delimiters = reading.delimiters;
        // The segment id is part 0; in MSH the separator itself is field 1.
        let field = path.field as usize - usize::from(path.segment.is_header());
        let mut place = Self { range: 0..line.len(), missing: Vec::new() };
        place.narrow(line, delimiters.field, field, reading);
        if path.repetition.is_some() || path.component.is_some() {
            place.narrow(line, delimiters.repetition, path.repetition.unwrap_or(1) as usize - 1, reading);
        }
        if let Some(component) = path.component {
            place.narrow(line, delimiters.component, component as usize - 1, reading);
        }
        if let Some(subcomponent) = path.subcomponent {
            match delimiters.subcomponent {
                Some(separator) => place.narrow(line, separator, subcomponent as usize - 1, reading),
                None if subcomponent == 1 => {}
                None => return Err(EditError::NoSeparator(path.clone())),
            }
        }
        Ok(place)
    }

    /// Narrows to part `number` (from 0) between separators, or to the end plus the separators that lack.
    fn narrow(&mut self, line: &[u8], separator: u8, number: usize, reading: Reading) {
        if !self.missing.is_empty() {
            self.missing.extend(std::iter::repeat_n(separator, number));
            return;
        }
        let mut start = self.range.start;
        let mut found = 0;
        for (index, part) in
            Split::new(Some(&line[self.range.clone()]), Some(separator), reading).take(number + 1).enumerate()
        {
            if index == number {
                self.range = start..start + part.len();
                return;
            }
            start += part.len() + 1;
            found += 1;
        }
        self.range = self.range.end..self.range.end;
        self.missing.extend(std::iter::repeat_n(separator, number + 1 - found));
    }
}

#[cfg(test)]
mod tests;
