//! XML to messages.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};

use quick_xml::XmlVersion;
use quick_xml::errors::Error as SyntaxError;
use quick_xml::events::{BytesStart, Event};

use super::tree::{Element, Line, Name, place};
use super::{FILE_ELEMENT, XmlError, XmlLimits};
use crate::path::is_segment_id;
use crate::{Charset, CharsetPolicy, Delimiters, Message, charset};

/// What a file of XML holds.
#[derive(Debug)]
pub enum Part {
    /// One message.
    Message(Message),
    /// An FHS, BHS, BTS or FTS segment, with its line end.
    Envelope(Vec<u8>),
}

/// The only message of a document.
///
/// # Errors
///
/// As [`Reader`]; also when there is none, or more than one.
pub fn from_xml(xml: &[u8]) -> Result<Message, XmlError> {
    let only = |reason| XmlError::Shape { place: "the document".to_owned(), reason };
    let mut found = None;
    for part in Reader::new(xml, XmlLimits::default()) {
        match part? {
            Part::Message(_) if found.is_some() => return Err(only("it holds more than one message")),
            Part::Message(message) => found = Some(message),
            Part::Envelope(_) => {}
        }
    }
    found.ok_or(only("it holds no message"))
}

/// Reads the messages of XML one by one, without holding the rest. After an error it ends.
pub struct Reader<R: BufRead> {
    xml: quick_xml::Reader<Limited<R>>,
    limits: XmlLimits,
    buffer: Vec<u8>,
    /// The last text.
    text: String,
    /// Whether the element around several messages is open.
    inside_file: bool,
    ended: bool,
    /// The separators of the last batch header, for its trailer.
    envelope: Delimiters,
}

impl<R: BufRead> std::fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reader(at byte {})", self.xml.buffer_position())
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Part, XmlError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let part = self.part().transpose();
        self.ended = !matches!(part, Some(Ok(_)));
        part
    }
}

/// What an event means to us.
enum Token {
    Open(Name),
    Close,
    /// It stands in the buffer `text`.
    Text,
    Escape(String),
    /// A character by reference: `&#10;` means a line feed, while one between tags is layout.
    Reference(String),
    End,
}

impl<R: BufRead> Reader<R> {
    /// A reader of `input`.
    pub fn new(input: R, limits: XmlLimits) -> Self {
        let mut xml = quick_xml::Reader::from_reader(Limited { input, left: limits.bytes_max });
        xml.config_mut().expand_empty_elements = true;
        xml.config_mut().check_end_names = true;
        let envelope = Delimiters::default();
        Self {
            xml,
            limits,
            buffer: Vec::new(),
            text: String::new(),
            inside_file: false,
            ended: false,
            envelope,
        }
    }

    fn part(&mut self) -> Result<Option<Part>, XmlError> {
        self.xml.get_mut().left = self.limits.bytes_max;
        loop {
            match self.token()? {
                Token::Open(name) if name.as_slice() == FILE_ELEMENT.as_bytes() && !self.inside_file => {
                    self.inside_file = true
                }
                Token::Open(name)
                    if self.inside_file && matches!(name.as_slice(), b"FHS" | b"BHS" | b"BTS" | b"FTS") =>
                {
                    let line = Line::new(self.element(name, 2)?, &self.limits)?;
                    return self.write_envelope(&line).map(Some);
                }
                Token::Open(name) => {
                    let mut lines = Vec::new();
                    self.group(&name, usize::from(self.inside_file) + 1, &mut lines)?;
                    return self.message(&lines).map(|message| Some(Part::Message(message)));
                }
                Token::Close => self.inside_file = false,
                Token::Text if self.text.trim().is_empty() => {}
                Token::Text | Token::Escape(_) | Token::Reference(_) => {
                    return Err(self.malformed("text stands outside of a message"));
                }
                Token::End if self.inside_file => {
                    return Err(self.malformed("the file ends inside an element"));
                }
                Token::End => return Ok(None),
            }
        }
    }

    /// Reads segments and groups up to the end of the open element.
    fn group(&mut self, name: &[u8], depth: usize, lines: &mut Vec<Line>) -> Result<(), XmlError> {
        self.check_depth(depth)?;
        loop {
            match self.token()? {
                Token::Open(inner) if is_segment_id(&inner) => {
                    if lines.len() == self.limits.segments_max {
                        return Err(XmlError::Limit(format!(
                            "more than {} segments",
                            self.limits.segments_max
                        )));
                    }
                    let element = self.element(inner, depth + 1)?;
                    lines.push(Line::new(element, &self.limits)?);
                }
                Token::Open(inner) => self.group(&inner, depth + 1, lines)?,
                Token::Close => return Ok(()),
                Token::Text if self.text.trim().is_empty() => {}
                Token::Text | Token::Escape(_) | Token::Reference(_) => {
                    let reason = "text stands beside the segments of a group";
                    return Err(XmlError::Shape {
                        place: place(std::str::from_utf8(name).unwrap_or_default()),
                        reason,
                    });
                }
                Token::End => return Err(self.malformed("the file ends inside an element")),
            }
        }
    }

    /// Reads an element whole, up to its end.
    fn element(&mut self, name: Name, depth: usize) -> Result<Element, XmlError> {
        self.check_depth(depth)?;
        let mut element = Element::new(name);
        loop {
            match self.token()? {
                Token::Open(inner) => {
                    let child = self.element(inner, depth + 1)?;
                    element.children.push(child);
                }
                Token::Text => element.push(&self.text),
                Token::Reference(text) => element.push_exact(&text),
                Token::Escape(body) => element.push_escape(body),
                Token::Close => {
                    element.close();
                    return Ok(element);
                }
                Token::End => return Err(self.malformed("the file ends inside an element")),
            }
        }
    }

    fn check_depth(&self, depth: usize) -> Result<(), XmlError> {
        if depth > self.limits.depth_max {
            return Err(XmlError::Limit(format!("elements stand more than {} deep", self.limits.depth_max)));
        }
        Ok(())
    }

    /// The next event that matters.
    fn token(&mut self) -> Result<Token, XmlError> {
        loop {
            self.buffer.clear();
            let at = self.xml.buffer_position();
            let event = match self.xml.read_event_into(&mut self.buffer) {
                Ok(event) => event,
                Err(error) => return Err(failed(at, &error, self.limits.bytes_max)),
            };
            let token = match event {
                Event::Start(start) if start.local_name().as_ref() == "escape" => {
                    let body = escape_of(&start, at)?;
                    self.skip_escape(at)?;
                    return Ok(Token::Escape(body));
                }
                Event::Start(start) | Event::Empty(start) => {
                    Token::Open(Name::from_slice(start.local_name().as_ref().as_bytes()))
                }
                Event::End(_) => Token::Close,
                Event::Text(text) => {
                    self.text.clear();
                    self.text.push_str(&text.xml10_content());
                    Token::Text
                }
                Event::CData(text) => {
                    self.text.clear();
                    self.text.push_str(&text.xml10_content());
                    Token::Text
                }
                Event::GeneralRef(reference) => {
                    let named = reference.xml10_content();
                    let text = match reference.resolve_char_ref() {
                        Ok(Some(c)) => Cow::Owned(c.to_string()),
                        Ok(None) => match quick_xml::escape::resolve_xml_entity(&named) {
                            Some(text) => Cow::Borrowed(text),
                            None => return Err(XmlError::Entity { at }),
                        },
                        Err(_) => return Err(XmlError::Entity { at }),
                    };
                    Token::Reference(text.into_owned())
                }
                Event::DocType(_) => return Err(XmlError::Doctype { at }),
                Event::Decl(declaration) => {
                    let named = declaration.encoding().transpose().ok().flatten();
                    if named.is_some_and(|name| {
                        !name.eq_ignore_ascii_case("utf-8") && !name.eq_ignore_ascii_case("us-ascii")
                    }) {
                        return Err(XmlError::Encoding);
                    }
                    continue;
                }
                Event::Comment(_) | Event::PI(_) => continue,
                Event::Eof => Token::End,
            };
            return Ok(token);
        }
    }

    /// Reads up to the end of an `<escape V="…"/>`.
    fn skip_escape(&mut self, at: u64) -> Result<(), XmlError> {
        self.buffer.clear();
        match self.xml.read_event_into(&mut self.buffer) {
            Ok(Event::End(_)) => Ok(()),
            Ok(_) => Err(XmlError::Shape { place: "<escape>".to_owned(), reason: "it must be empty" }),
            Err(error) => Err(failed(at, &error, self.limits.bytes_max)),
        }
    }

    fn malformed(&self, reason: &str) -> XmlError {
        XmlError::Malformed { at: self.xml.buffer_position(), reason: reason.to_owned() }
    }

    fn message(&self, lines: &[Line]) -> Result<Message, XmlError> {
        let Some(header) = lines.first().filter(|line| line.id() == "MSH") else {
            return Err(XmlError::Unreadable(crate::Unreadable::NoHeader));
        };
        let delimiters = delimiters_of(header)?;
        let mut text = String::new();
        for line in lines {
            line.write(&mut text, &delimiters)?;
            if text.len() > self.limits.bytes_max {
                return Err(XmlError::Limit(format!(
                    "the message is longer than {} bytes",
                    self.limits.bytes_max
                )));
            }
        }
        let message = Message::parse(encode(&text, &header.plain(18))?)?;
        if crate::WideForm::detect(message.bytes()).is_none()
            && message.charset().decode(message.bytes()).as_deref() != Some(&text)
        {
            let reason =
                "the text of the document does not read the same in the character set that is named here";
            return Err(XmlError::Shape { place: "MSH-18".to_owned(), reason });
        }
        Ok(message)
    }

    fn write_envelope(&mut self, line: &Line) -> Result<Part, XmlError> {
        if matches!(line.id(), "FHS" | "BHS") {
            self.envelope = delimiters_of(line)?;
        }
        let mut text = String::new();
        line.write(&mut text, &self.envelope)?;
        Ok(Part::Envelope(text.into_bytes()))
    }
}

/// MSH-1 and MSH-2; the usual ones where nothing is said.
fn delimiters_of(header: &Line) -> Result<Delimiters, XmlError> {
    let said = |field| header.plain(field).into_iter().next().filter(|text| !text.is_empty());
    let field = said(1).unwrap_or_else(|| "|".to_owned());
    let encoding = said(2).unwrap_or_else(|| "^~\\&".to_owned());
    let &[field] = field.as_bytes() else {
        return Err(XmlError::Shape { place: "<MSH.1>".to_owned(), reason: "it holds one character" });
    };
    Ok(Delimiters::new(field, encoding.as_bytes()).map_err(crate::Unreadable::from)?)
}

/// The bytes of a message in the character set that it declares. What reading repairs (nothing or ASCII declared,
/// 8859/1 for Windows-1252) is written so that it reads back the same.
fn encode(text: &str, declared: &[String]) -> Result<Vec<u8>, XmlError> {
    let declared: Vec<&str> = declared.iter().map(|name| name.trim()).collect();
    if let Some(Charset::Wide(form)) = declared.first().and_then(|name| Charset::from_name(name)) {
        return Ok(form.encode(text));
    }
    let named = charset::resolve(CharsetPolicy::Declared, &declared, false, text.as_bytes()).charset;
    let charset = match named {
        Charset::Ascii => Charset::Utf8,
        Charset::Latin1 if Charset::Latin1.encode(text).is_err() => Charset::WINDOWS_1252,
        other => other,
    };
    match charset.encode(text) {
        Ok(bytes) => Ok(bytes.into_owned()),
        Err(c) => Err(XmlError::Unmappable { path: "the message".to_owned(), character: c.into() }),
    }
}

fn escape_of(start: &BytesStart<'_>, at: u64) -> Result<String, XmlError> {
    let value = start.try_get_attribute("V").ok().flatten();
    match value.and_then(|value| value.normalized_value(XmlVersion::Implicit1_0).ok().map(Cow::into_owned)) {
        Some(body) => Ok(body),
        None => Err(XmlError::Malformed { at, reason: "<escape> has no attribute V".to_owned() }),
    }
}

fn failed(at: u64, error: &SyntaxError, limit: usize) -> XmlError {
    match error {
        SyntaxError::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            XmlError::Limit(format!("a message is longer than {limit} bytes"))
        }
        SyntaxError::Io(error) => XmlError::Io(io::Error::new(error.kind(), error.to_string())),
        SyntaxError::Syntax(error) => XmlError::Malformed { at, reason: error.to_string() },
        SyntaxError::IllFormed(_) => {
            XmlError::Malformed { at, reason: "a start tag and an end tag do not fit".to_owned() }
        }
        SyntaxError::Encoding(_) => XmlError::Malformed { at, reason: "the bytes are no UTF-8".to_owned() },
        _ => XmlError::Malformed { at, reason: "an attribute or reference is not well-formed".to_owned() },
    }
}

/// Input that ends with an error when one message takes too much of it.
struct Limited<R> {
    input: R,
    left: usize,
}

impl<R: BufRead> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl<R: BufRead> BufRead for Limited<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let left = self.left;
        let available = self.input.fill_buf()?;
        if left == 0 && !available.is_empty() {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        Ok(&available[..available.len().min(left)])
    }

    fn consume(&mut self, length: usize) {
        self.left = self.left.saturating_sub(length);
        self.input.consume(length);
    }
}
