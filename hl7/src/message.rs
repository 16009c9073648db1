//! One HL7 v2 message: the bytes as received, and views into them.

use std::borrow::Cow;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};

use serde::Serialize;

use crate::charset::{CharsetPolicy, WideForm};
use crate::dictionary::Version;
use crate::parse::{self, Index, ParseOptions, Span, Unreadable};
use crate::segment::{Reading, Segment};
use crate::{Charset, Delimiters, Edit, Finding, GroupPath, Path, Value, validate};

/// One message, immutable. A clone shares the bytes.
#[derive(Clone)]
pub struct Message(Arc<Inner>);

struct Inner {
    /// What is indexed: the bytes as received, or their UTF-8.
    bytes: Vec<u8>,
    /// The bytes as received, where they are UTF-16 or UTF-32.
    wide: Option<(WideForm, Vec<u8>)>,
    index: Index,
    options: ParseOptions,
    /// Read once, when somebody asks.
    header: OnceLock<Header>,
}

/// The facts of MSH that decide where a message goes; `""` where nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Header {
    /// MSH-9.1, for instance `ORU`.
    pub message_type: String,
    /// MSH-9.2, for instance `R01`.
    pub trigger_event: String,
    /// MSH-9.3 as sent; see [`Message::structure`] for the derived one.
    pub structure: String,
    /// MSH-12.1.
    pub version: String,
    /// MSH-10, unchanged.
    pub control_id: String,
    /// MSH-11.1.
    pub processing_id: String,
    /// MSH-3.1.
    pub sending_app: String,
    /// MSH-4.1.
    pub sending_facility: String,
    /// MSH-5.1.
    pub receiving_app: String,
    /// MSH-6.1.
    pub receiving_facility: String,
    /// MSH-15.
    pub accept_ack: String,
    /// MSH-16.
    pub application_ack: String,
}

impl Message {
    /// Reads a message with the default limits, detecting its character set.
    ///
    /// # Errors
    ///
    /// Only bytes without a usable MSH are an error; everything else is a finding.
    pub fn parse(bytes: impl Into<Vec<u8>>) -> Result<Self, Unreadable> {
        Self::parse_with(bytes, &ParseOptions::default())
    }

    /// Reads a message as an interface's settings ask.
    ///
    /// # Errors
    ///
    /// As [`Message::parse`].
    pub fn parse_with(bytes: impl Into<Vec<u8>>, options: &ParseOptions) -> Result<Self, Unreadable> {
        let bytes = bytes.into();
        let Some(form) = wide_form(&bytes, options.charset) else {
            let index = parse::index(&bytes, options, None)?;
            let inner = Inner { bytes, wide: None, index, options: *options, header: OnceLock::new() };
            return Ok(Self(Arc::new(inner)));
        };
        let limit = options.limits.bytes_max;
        if bytes.len() > limit {
            return Err(Unreadable::TooLong(limit));
        }
        let content = form.read(&bytes).ok_or(Unreadable::WideText)?.into_bytes();
        // Two bytes of UTF-16 may become three of UTF-8.
        let mut wider = *options;
        wider.limits.bytes_max = limit.saturating_mul(2);
        let index = parse::index(&content, &wider, Some(form))?;
        let wide = Some((form, bytes));
        Ok(Self(Arc::new(Inner { bytes: content, wide, index, options: *options, header: OnceLock::new() })))
    }

    /// The bytes, exactly as received.
    pub fn bytes(&self) -> &[u8] {
        match &self.0.wide {
            None => &self.0.bytes,
            Some((_, received)) => received,
        }
    }

    /// What the places of the index count in: the bytes, or the UTF-8 of UTF-16 and UTF-32.
    pub(crate) fn content(&self) -> &[u8] {
        &self.0.bytes
    }

    /// The whole message as text; none when its bytes do not fit its character set.
    pub fn whole_text(&self) -> Option<Cow<'_, str>> {
        let text = self.charset().decode(self.content());
        let Some((..)) = self.0.wide else { return text };
        // A byte-order mark belongs to the form, not to the text.
        text.map(|text| match text.strip_prefix('\u{FEFF}') {
            Some(rest) => Cow::Owned(rest.to_owned()),
            None => text,
        })
    }

    /// The character set that the bytes as received are written in: that of its fields, but for UTF-16 and UTF-32.
    pub fn written_in(&self) -> Charset {
        self.0.wide.as_ref().map_or(self.charset(), |(form, _)| Charset::Wide(*form))
    }

    /// A message of changed content, in the form that this one came in.
    pub(crate) fn rebuilt(&self, content: Vec<u8>, options: &ParseOptions) -> Result<Self, Unreadable> {
        let text =
            self.0.wide.as_ref().and_then(|(form, _)| Some((form, std::str::from_utf8(&content).ok()?)));
        match text.map(|(form, text)| form.write(text)) {
            Some(bytes) => Self::parse_with(bytes, options),
            None => Self::parse_with(content, options),
        }
    }

    /// Repairs and oddities found while parsing.
    pub fn findings(&self) -> &[Finding] {
        &self.0.index.findings
    }

    /// The separators of this message.
    pub fn delimiters(&self) -> Delimiters {
        self.0.index.delimiters
    }

    /// The character set that its fields are read in; UTF-8 for UTF-16 and UTF-32, see [`Message::written_in`].
    pub fn charset(&self) -> Charset {
        self.0.index.charset
    }

    /// The options it was read with.
    pub fn options(&self) -> &ParseOptions {
        &self.0.options
    }

    /// A copy of the routing facts of MSH.
    pub fn header(&self) -> Header {
        self.head().clone()
    }

    /// The routing facts of MSH, read once a message.
    pub fn head(&self) -> &Header {
        self.0.header.get_or_init(|| self.read_header())
    }

    /// Whether this is a whole file or batch: it begins with FHS or BHS, and only these lines are read.
    pub fn is_envelope(&self) -> bool {
        self.0.index.spans.first().is_some_and(|first| matches!(&first.id, b"FHS" | b"BHS"))
    }

    fn read_header(&self) -> Header {
        let Some(header) = self.segment(0) else { return Header::default() };
        let text = |field, component| header.get(field, 1, component, 1).into_text().into_owned();
        if self.is_envelope() {
            // FHS and BHS have names and places of their own behind the sixth field.
            return Header {
                control_id: header.get(11, 1, 0, 0).into_text().into_owned(),
                sending_app: text(3, 1),
                sending_facility: text(4, 1),
                receiving_app: text(5, 1),
                receiving_facility: text(6, 1),
                ..Header::default()
            };
        }
        Header {
            message_type: text(9, 1),
            trigger_event: text(9, 2),
            structure: text(9, 3),
            version: text(12, 1),
            control_id: header.get(10, 1, 0, 0).into_text().into_owned(),
            processing_id: text(11, 1),
            sending_app: text(3, 1),
            sending_facility: text(4, 1),
            receiving_app: text(5, 1),
            receiving_facility: text(6, 1),
            // Padding is no condition: a blank here must not silence the acknowledgment.
            accept_ack: text(15, 1).trim().to_owned(),
            application_ack: text(16, 1).trim().to_owned(),
        }
    }

    /// The name of its structure: that of MSH-9.3, or the one its type and event have in its version; `""` when
    /// neither tells.
    pub fn structure(&self) -> String {
        let header = self.head();
        if !header.structure.is_empty() {
            return header.structure.clone();
        }
        let version = Version::nearest(&header.version);
        validate::structure_in(version, self).map(|structure| structure.name().to_owned()).unwrap_or_default()
    }

    /// The value at a place. A path without component is the whole field or repetition, its separators as they
    /// stand; a path with a component but no subcomponent is the whole component.
    pub fn get(&self, path: &Path) -> Value<'_> {
        let Some(segment) = self.find(path.segment.as_str(), path.occurrence.unwrap_or(1)) else {
            return Value::Absent;
        };
        let field = segment.field(path.field as usize);
        match (path.repetition, path.component) {
            (None, None) => field.value(),
            (repetition, component) => {
                let repetition = field.repetition(repetition.unwrap_or(1) as usize);
                match (component, path.subcomponent) {
                    (None, _) => repetition.value(),
                    (Some(component), None) => repetition.component(component as usize).value(),
                    (Some(component), Some(sub)) => {
                        repetition.component(component as usize).subcomponent(sub as usize)
                    }
                }
            }
        }
    }

    /// The text at a place written as text; `""` when there is none or the path is wrong. For tests and glue.
    pub fn text(&self, path: &str) -> String {
        let path = path.parse::<GroupPath>().ok().and_then(|path| path.resolve(self));
        path.map(|path| self.get(&path).into_text().into_owned()).unwrap_or_default()
    }

    /// All segments in order.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        self.0.index.spans.iter().enumerate().map(|(index, span)| Segment {
            message: self,
            span: *span,
            index,
        })
    }

    /// The segment at `index`, from 0.
    pub fn segment(&self, index: usize) -> Option<Segment<'_>> {
        let span = *self.0.index.spans.get(index)?;
        Some(Segment { message: self, span, index })
    }

    /// Occurrence `number` (from 1) of the segments with this id.
    pub fn find(&self, id: &str, number: u32) -> Option<Segment<'_>> {
        let skipped = (number as usize).checked_sub(1)?;
        self.segments().filter(|segment| segment.span.id == id.as_bytes()).nth(skipped)
    }

    /// How many segments there are.
    pub fn segment_count(&self) -> usize {
        self.0.index.spans.len()
    }

    /// Begins a change; bytes that no change touches stay identical.
    pub fn edit(&self) -> Edit {
        Edit::new(self)
    }

    /// Where padding and block characters after the last segment begin.
    pub(crate) fn end(&self) -> usize {
        self.0.index.end
    }

    pub(crate) fn marks(&self, span: &Span) -> &[u32] {
        &self.0.index.marks[span.first_mark as usize..(span.first_mark + span.marks) as usize]
    }

    pub(crate) fn reading(&self) -> Reading {
        Reading { delimiters: self.delimiters(), charset: self.charset() }
    }
}

/// The form of UTF-16 or UTF-32 that a message is written in: one its bytes show, or the one that is forced, in either
/// order, when a header can be read so.
fn wide_form(bytes: &[u8], policy: CharsetPolicy) -> Option<WideForm> {
    let found = WideForm::detect(bytes);
    let CharsetPolicy::Force(Charset::Wide(form)) = policy else { return found };
    let has_header = |form: &WideForm| {
        let text = form.read(&bytes[..bytes.len().min(1 << 10)]);
        text.is_some_and(|text| ["MSH", "FHS", "BHS"].iter().any(|id| text.trim_start().starts_with(id)))
    };
    found.or_else(|| [form, form.turned()].into_iter().find(has_header))
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Message {}

/// Length and a hash: a message must not end up in a log.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hasher = DefaultHasher::new();
        self.bytes().hash(&mut hasher);
        write!(f, "Message({} bytes, {:016x})", self.bytes().len(), hasher.finish())
    }
}

#[cfg(test)]
mod tests;
