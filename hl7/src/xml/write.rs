//! Messages to XML.

use std::fmt::Write as _;

use smallvec::SmallVec;

use super::leaf::{self, Piece};
use super::names::Type;
use super::{FILE_ELEMENT, NAMESPACE, XmlError};
use crate::dictionary::Version;
use crate::path::is_header;
use crate::segment::{Reading, Split};
use crate::{Message, Segment, validate};

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// One message as a document of its own.
///
/// # Errors
///
/// Refuses what has no element name (a line without segment id) and bytes that do not fit the character set.
pub fn to_xml(message: &Message) -> Result<String, XmlError> {
    let mut writer = Writer::single();
    writer.message(message)?;
    Ok(writer.finish())
}

/// Writes one message, or several with what stands around them. Take what is ready with [`Writer::take`], so that
/// a large file need not be held.
#[derive(Debug)]
pub struct Writer {
    out: String,
    depth: usize,
    several: bool,
    /// The separators of the last batch header.
    lead: Vec<u8>,
}

/// The separators of a batch without header.
const LEAD: &[u8] = b"|^~\\&";

impl Writer {
    /// For exactly one message, which becomes the document.
    pub fn single() -> Self {
        Self { out: DECLARATION.to_owned(), depth: 0, several: false, lead: LEAD.to_vec() }
    }

    /// For any number of messages and batch segments, inside [`FILE_ELEMENT`].
    pub fn several() -> Self {
        let out = format!("{DECLARATION}<{FILE_ELEMENT} xmlns=\"{NAMESPACE}\">\n");
        Self { out, depth: 1, several: true, lead: LEAD.to_vec() }
    }

    /// What was written since the last call.
    pub fn take(&mut self) -> String {
        std::mem::take(&mut self.out)
    }

    /// The rest.
    pub fn finish(mut self) -> String {
        if self.several {
            let _infallible = writeln!(self.out, "</{FILE_ELEMENT}>");
        }
        self.out
    }

    /// Adds a message.
    ///
    /// # Errors
    ///
    /// As [`to_xml`]; nothing is written then.
    pub fn message(&mut self, message: &Message) -> Result<(), XmlError> {
        let before = (self.out.len(), self.depth);
        let written = self.whole(message);
        if written.is_err() {
            self.out.truncate(before.0);
            self.depth = before.1;
        }
        written
    }

    /// Adds an FHS, BHS, BTS or FTS segment. `bytes` begin with its id.
    ///
    /// # Errors
    ///
    /// As [`to_xml`].
    pub fn envelope(&mut self, bytes: &[u8]) -> Result<(), XmlError> {
        let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        if let (Some(b"FHS" | b"BHS"), Some(own)) = (line.get(..3), line.get(3..)) {
            // MSH-1 and MSH-2 alone: the separators.
            let end = own.iter().skip(1).position(|byte| Some(byte) == own.first());
            self.lead = own[..end.map_or(own.len(), |end| end + 1)].to_vec();
        }
        let carrier = envelope_message(line, &self.lead)?;
        match carrier.segment(1) {
            Some(segment) => self.segment(Version::nearest("2.8.2"), &segment),
            None => Ok(()),
        }
    }

    fn whole(&mut self, message: &Message) -> Result<(), XmlError> {
        if message.segment(0).is_none_or(|first| first.id() != "MSH") {
            // A file or batch held as one message; its parts have an XML form, the whole has none.
            return Err(crate::Unreadable::NoHeader.into());
        }
        let version = Version::nearest(&message.head().version);
        let root = root_name(message);
        let space = if self.several { String::new() } else { format!(" xmlns=\"{NAMESPACE}\"") };
        self.line(&format!("<{root}{space}>"));
        self.depth += 1;
        let groups = if has_plain_type(message) { validate::groups(message) } else { Vec::new() };
        let mut open: Vec<(usize, String)> = Vec::new();
        let mut next = 0;
        for segment in message.segments() {
            let index = segment.index();
            while let Some(group) = groups.get(next).filter(|group| group.segments.first() == Some(&index)) {
                let last = group.segments.last().copied().unwrap_or(index);
                let name = format!("{root}.{}", group.name);
                self.line(&format!("<{name}>"));
                self.depth += 1;
                open.push((last, name));
                next += 1;
            }
            self.segment(version, &segment)?;
            while open.last().is_some_and(|(last, _)| *last <= index) {
                if let Some((_, name)) = open.pop() {
                    self.depth -= 1;
                    self.line(&format!("</{name}>"));
                }
            }
        }
        self.depth -= 1;
        self.line(&format!("</{root}>"));
        Ok(())
    }

    fn segment(&mut self, version: Version, segment: &Segment<'_>) -> Result<(), XmlError> {
        let id = segment.id();
        if id.is_empty() {
            return Err(XmlError::NoSegmentId(segment.index() + 1));
        }
        check_separators(segment)?;
        let start = self.out.len();
        self.open(id, None);
        let empty = self.out.len();
        let row = version.segment(id);
        for number in 1..=segment.field_count() {
            let field = segment.field(number);
            let Some(raw) = field.raw().filter(|raw| !raw.is_empty()) else { continue };
            let kind = Type::of_field(version, row, segment, number);
            let place = Place { version, segment, number, reading: segment.message.reading() };
            if is_header(id.as_bytes()) && number <= 2 {
                let text = field.value().into_text();
                self.leaf(id, number, |out| {
                    escaped(out, &text);
                    Ok(())
                })?;
                continue;
            }
            let mut repetitions =
                Split::new(Some(raw), Some(place.reading.delimiters.repetition), place.reading);
            let first = repetitions.next().unwrap_or_default();
            let mut next = repetitions.next();
            let several = next.is_some();
            self.repetition(&place, &kind, first, several)?;
            while let Some(raw) = next {
                self.repetition(&place, &kind, raw, several)?;
                next = repetitions.next();
            }
        }
        if self.out.len() == empty {
            self.depth -= 1;
            self.out.truncate(start);
            self.empty(id, None);
        } else {
            self.close(id, None);
        }
        Ok(())
    }

    fn repetition(
        &mut self,
        place: &Place<'_, '_>,
        kind: &Type<'_>,
        raw: &[u8],
        several: bool,
    ) -> Result<(), XmlError> {
        let id = place.segment.id();
        let mut components: Parts<'_> =
            Split::new(Some(raw), Some(place.reading.delimiters.component), place.reading).collect();
        while components.last().is_some_and(|component| place.is_blank(component)) {
            components.pop();
        }
        if components.is_empty() {
            if several {
                self.empty(id, Some(place.number));
            }
            return Ok(());
        }
        if !kind.is_composite() && components.len() == 1 && place.leaves(components[0]).len() == 1 {
            let raw = place.leaves(components[0])[0];
            return self.leaf(id, place.number, |out| place.write(out, raw));
        }
        self.open(id, Some(place.number));
        for (index, component) in components.iter().enumerate() {
            self.component(place, kind, index + 1, component)?;
        }
        self.close(id, Some(place.number));
        Ok(())
    }

    fn component(
        &mut self,
        place: &Place<'_, '_>,
        outer: &Type<'_>,
        number: usize,
        raw: &[u8],
    ) -> Result<(), XmlError> {
        let leaves = place.leaves(raw);
        if leaves.is_empty() {
            return Ok(());
        }
        let kind = outer.component(place.version, number);
        if !kind.is_composite() && leaves.len() == 1 {
            return self.leaf(outer.name(), number, |out| place.write(out, leaves[0]));
        }
        self.open(outer.name(), Some(number));
        for (index, leaf) in leaves.iter().enumerate().filter(|(_, leaf)| !place.says_nothing(leaf)) {
            let inner = kind.component(place.version, index + 1);
            if inner.is_composite() {
                // The schemas nest once more; ER7 has no level for it, so it is the first part.
                self.open(kind.name(), Some(index + 1));
                self.leaf(inner.name(), 1, |out| place.write(out, leaf))?;
                self.close(kind.name(), Some(index + 1));
            } else {
                self.leaf(kind.name(), index + 1, |out| place.write(out, leaf))?;
            }
        }
        self.close(outer.name(), Some(number));
        Ok(())
    }

    /// An element with text: `<CX.1>…</CX.1>`.
    fn leaf(
        &mut self,
        name: &str,
        number: usize,
        write: impl FnOnce(&mut String) -> Result<(), XmlError>,
    ) -> Result<(), XmlError> {
        self.indent();
        self.out.push('<');
        self.name(name, Some(number));
        self.out.push('>');
        write(&mut self.out)?;
        self.out.push_str("</");
        self.name(name, Some(number));
        self.out.push_str(">\n");
        Ok(())
    }

    fn open(&mut self, name: &str, number: Option<usize>) {
        self.indent();
        self.out.push('<');
        self.name(name, number);
        self.out.push_str(">\n");
        self.depth += 1;
    }

    fn close(&mut self, name: &str, number: Option<usize>) {
        self.depth -= 1;
        self.indent();
        self.out.push_str("</");
        self.name(name, number);
        self.out.push_str(">\n");
    }

    fn empty(&mut self, name: &str, number: Option<usize>) {
        self.indent();
        self.out.push('<');
        self.name(name, number);
        self.out.push_str("/>\n");
    }

    /// `PID`, or `PID.3`.
    fn name(&mut self, name: &str, number: Option<usize>) {
        self.out.push_str(name);
        match number {
            None => {}
            Some(number @ 0..=9) => self.out.extend(['.', char::from(b'0' + number as u8)]),
            Some(number) => {
                let _infallible = write!(self.out, ".{number}");
            }
        }
    }

    fn line(&mut self, text: &str) {
        self.indent();
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn indent(&mut self) {
        const BLANKS: &str = "                                ";
        let mut left = 2 * self.depth;
        while left > 0 {
            let now = left.min(BLANKS.len());
            self.out.push_str(&BLANKS[..now]);
            left -= now;
        }
    }
}

/// A header inside a message is read by the separators of the message; XML could not say which others it names.
fn check_separators(segment: &Segment<'_>) -> Result<(), XmlError> {
    let id = segment.id();
    if !is_header(id.as_bytes()) {
        return Ok(());
    }
    let delimiters = segment.delimiters();
    let same = segment.field(1).raw() == Some(&[delimiters.field])
        && segment.field(2).raw() == Some(delimiters.encoding_characters().as_slice());
    let reason = "its separators are not those that the message is read by";
    if same { Ok(()) } else { Err(XmlError::Shape { place: format!("{id}-2"), reason }) }
}

/// Whether MSH-9 stands there in printable ASCII without escapes. What others mean can depend on the character set,
/// which XML does not keep where the message declares none.
fn has_plain_type(message: &Message) -> bool {
    let kind = message.segment(0).and_then(|header| header.field(9).raw()).unwrap_or_default();
    kind.iter().all(|byte| matches!(byte, 0x20..=0x7E) && Some(*byte) != message.delimiters().escape)
}

/// The name of the structure, or one made from MSH-9 when the version has none.
fn root_name(message: &Message) -> String {
    if !has_plain_type(message) {
        return "UNKNOWN".to_owned();
    }
    let header = message.head();
    let version = Version::nearest(&header.version);
    if let Some(structure) = validate::structure_in(version, message) {
        return structure.name().to_owned();
    }
    let made = match (header.structure.as_str(), header.trigger_event.as_str()) {
        ("", "") => header.message_type.clone(),
        ("", event) => format!("{}_{event}", header.message_type),
        (structure, _) => structure.to_owned(),
    };
    let usable = made.starts_with(|c: char| c.is_ascii_alphabetic())
        && made.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && made.len() <= 40
        && made != FILE_ELEMENT;
    if usable { made } else { "UNKNOWN".to_owned() }
}

/// Text with what XML would read as markup written as references. Line feeds and tabs are references too, so that
/// no editor's line ends change a value.
fn escaped(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            c => out.push(c),
        }
    }
}

/// What begins an escape of ISO 2022.
const ESC: u8 = 0x1B;

/// Components or subcomponents of one value.
type Parts<'m> = SmallVec<[&'m [u8]; 16]>;

struct Place<'s, 'm> {
    version: Version,
    segment: &'s Segment<'m>,
    number: usize,
    reading: Reading,
}

impl Place<'_, '_> {
    /// Whether nothing but separators of subcomponents stands here.
    fn is_blank(&self, component: &[u8]) -> bool {
        component.iter().all(|byte| Some(*byte) == self.reading.delimiters.subcomponent)
            || (component.contains(&ESC) && self.leaves(component).is_empty())
    }

    /// Whether a leaf has no text: no bytes, or escapes of ISO 2022 alone.
    fn says_nothing(&self, leaf: &[u8]) -> bool {
        let is_empty = |text: std::borrow::Cow<'_, str>| text.is_empty();
        leaf.is_empty() || (leaf.contains(&ESC) && self.reading.charset.decode(leaf).is_some_and(is_empty))
    }

    /// The subcomponents; what is empty at the end is left out.
    fn leaves<'r>(&self, component: &'r [u8]) -> Parts<'r> {
        let mut leaves: Parts<'r> =
            Split::new(Some(component), self.reading.delimiters.subcomponent, self.reading).collect();
        while leaves.last().is_some_and(|leaf| self.says_nothing(leaf)) {
            leaves.pop();
        }
        leaves
    }

    /// Writes the text of a leaf and its escapes.
    fn write(&self, out: &mut String, raw: &[u8]) -> Result<(), XmlError> {
        let escape = self.reading.delimiters.escape;
        let is_plain = |byte: &u8| {
            matches!(byte, 0x20..=0x7E) && !matches!(byte, b'<' | b'>' | b'&') && Some(*byte) != escape
        };
        if raw.iter().all(is_plain) {
            // ASCII is the same in every character set.
            out.push_str(std::str::from_utf8(raw).unwrap_or_default());
            return Ok(());
        }
        let path = || format!("{}-{}", self.segment.id(), self.number);
        let reading = self.reading;
        let text = reading.charset.decode(raw).ok_or_else(|| XmlError::NoText(path()))?;
        let pieces = leaf::pieces(&text, &reading.delimiters, reading.charset)
            .map_err(|c| XmlError::Unmappable { path: path(), character: c.into() })?;
        for piece in pieces {
            match piece {
                Piece::Text(text) => escaped(out, &text),
                Piece::Escape(body) => {
                    out.push_str("<escape V=\"");
                    escaped(out, &body);
                    out.push_str("\"/>");
                }
            }
        }
        Ok(())
    }
}

/// A batch segment as a message, so that it is read like every other segment. `lead` are the separators: a header
/// brings its own, a trailer follows those of the header before it.
fn envelope_message(bytes: &[u8], lead: &[u8]) -> Result<Message, XmlError> {
    let made = [b"MSH", lead, b"\r", bytes].concat();
    Ok(Message::parse(made)?)
}
