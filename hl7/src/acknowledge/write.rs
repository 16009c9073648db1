//! The bytes of an answer, in the form that the sender's version of the standard has.

use std::borrow::Cow;

use super::{AckMode, AckRequest};
use crate::finding::code_text;
use crate::{Charset, Delimiters, Finding, Header, Message, Path, SegmentId, Severity, escape};

/// How a version of the standard tells errors.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// 2.1, 2.2: ERR-1 with a bare code.
    Bare,
    /// 2.3 to 2.4: ERR-1 with the code and its meaning.
    Coded,
    /// 2.5 to 2.6: ERR of twelve fields.
    Wide,
    /// From 2.7: the same, and MSA-3 is withdrawn.
    Late,
}

impl Form {
    fn of(version: &str) -> Self {
        match version {
            "2.1" | "2.2" => Self::Bare,
            "2.3" | "2.3.1" | "2.4" => Self::Coded,
            "2.5" | "2.5.1" | "2.6" => Self::Wide,
            _ => Self::Late,
        }
    }

    fn is_old(self) -> bool {
        matches!(self, Self::Bare | Self::Coded)
    }

    /// MSA-3.
    fn has_text(self) -> bool {
        self != Self::Late
    }
}

/// Builds the bytes of an answer.
pub(super) struct Writer {
    pub(super) delimiters: Delimiters,
    pub(super) charset: Charset,
    pub(super) bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn header(&mut self, message: &Message, header: &Header, version: &str, request: &AckRequest) {
        let raw = |field| message.segment(0).and_then(|msh| msh.field(field).raw()).unwrap_or_default();
        self.bytes.extend_from_slice(b"MSH");
        self.bytes.push(self.delimiters.field);
        self.bytes.extend(self.delimiters.encoding_characters());
        match &request.from {
            Some((app, facility)) => {
                self.field(app);
                self.field(facility);
            }
            None => {
                self.raw_field(raw(5));
                self.raw_field(raw(6));
            }
        }
        let own =
            |field| request.header.iter().find(|(place, _)| *place == field).map(|(_, text)| text.as_str());
        for (field, theirs) in [(5, raw(3)), (6, raw(4))] {
            match own(field) {
                Some(text) => self.composite(text),
                None => self.raw_field(theirs),
            }
        }
        self.field(&request.now.format("%Y%m%d%H%M%S%z").to_string());
        self.composite(own(8).unwrap_or_default());
        match own(9) {
            Some(text) => self.composite(text),
            None => self.message_type(&header.trigger_event, version),
        }
        self.field(&request.control_id);
        self.raw_field(raw(11));
        self.field(version);
        let asks = request.mode == AckMode::Enhanced && !request.code.is_accept();
        let charset = raw(18);
        let asked = own(15).filter(|_| !request.code.is_accept());
        if asks || asked.is_some() || !charset.is_empty() {
            let condition = if asks || asked.is_some() { "NE" } else { "" };
            for text in ["", "", asked.unwrap_or(condition), condition] {
                self.field(text);
            }
        }
        if !charset.is_empty() {
            self.field("");
            self.raw_field(charset);
        }
        self.end();
    }

    /// Ends a segment. What the sender wrote may end with a byte that a reader would take for a part of the line end or
    /// for padding; a separator keeps it where it is.
    fn end(&mut self) {
        if matches!(self.bytes.last(), Some(b'\n' | 0x1C | 0x1A | 0)) {
            self.bytes.push(self.delimiters.field);
        }
        self.bytes.push(b'\r');
    }

    /// The software segments of the message, as they came.
    pub(super) fn software(&mut self, message: &Message) {
        for segment in message.segments().filter(|segment| segment.id() == "SFT") {
            self.bytes.extend_from_slice(segment.raw());
            self.bytes.push(b'\r');
        }
    }

    /// A field whose components are separated by `^` in the text.
    fn composite(&mut self, text: &str) {
        self.bytes.push(self.delimiters.field);
        for (index, part) in text.split('^').enumerate() {
            if index > 0 {
                self.bytes.push(self.delimiters.component);
            }
            self.text(part);
        }
    }

    /// `ACK^A01^ACK` since 2.3.1, `ACK^A01` before, `ACK` where the type had no components.
    fn message_type(&mut self, event: &str, version: &str) {
        self.field("ACK");
        let parts: &[&str] = match version {
            "2.1" => &[],
            "2.2" | "2.3" if event.is_empty() => &[],
            "2.2" | "2.3" => &[event],
            _ => &[event, "ACK"],
        };
        for part in parts {
            self.bytes.push(self.delimiters.component);
            self.text(part);
        }
    }

    pub(super) fn acknowledgment(&mut self, message: &Message, version: &str, request: &AckRequest) {
        self.bytes.extend_from_slice(b"MSA");
        self.field(request.code.as_str());
        let control_id = message.segment(0).and_then(|msh| msh.field(10).raw()).unwrap_or_default();
        self.raw_field(request.answers.as_deref().unwrap_or(control_id));
        let form = Form::of(version);
        let text = match (&request.help_desk, form.has_text()) {
            // The text field is withdrawn from 2.7 on; ERR says it.
            (_, false) => String::new(),
            (Some(desk), true) if form.is_old() && listed(request).next().is_some() => {
                [request.text.as_str(), desk]
                    .into_iter()
                    .filter(|text| !text.is_empty())
                    .collect::<Vec<_>>()
                    .join("; ")
            }
            _ => request.text.clone(),
        };
        // 2.1 has no MSA-6; from 2.5 on ERR says it.
        let error = listed(request).next().filter(|_| form.is_old() && version != "2.1");
        let sequence = request.expected_sequence.map(|number| number.to_string()).unwrap_or_default();
        let fields = match (error.is_some(), request.expected_sequence.is_some(), text.is_empty()) {
            (true, _, _) => 3,
            (false, true, _) => 2,
            (false, false, false) => 1,
            (false, false, true) => 0,
        };
        for text in [text.as_str(), &sequence, ""].into_iter().take(fields) {
            self.field(text);
        }
        if let Some(finding) = error {
            self.bytes.push(self.delimiters.field);
            self.coded(finding.code, self.delimiters.component);
        }
        self.end();
    }

    pub(super) fn errors(&mut self, version: &str, request: &AckRequest) {
        let form = Form::of(version);
        let old = form.is_old();
        for (index, finding) in listed(request).take(request.errors_max).enumerate() {
            if old {
                let first = index == 0;
                self.bytes.extend_from_slice(if first { b"ERR" } else { b"" });
                self.bytes.push(if first { self.delimiters.field } else { self.delimiters.repetition });
                self.old_error(finding, form);
            } else {
                self.bytes.extend_from_slice(b"ERR");
                self.error(finding, request.help_desk.as_deref());
                self.bytes.push(b'\r');
            }
        }
        if old && listed(request).next().is_some() && request.errors_max > 0 {
            self.bytes.push(b'\r');
        }
    }

    /// ERR-1 up to 2.4: segment, occurrence, field, and the code as subcomponents.
    fn old_error(&mut self, finding: &Finding, form: Form) {
        let place = Location::of(&finding.path);
        let component = self.delimiters.component;
        let parts = place.parts();
        for part in parts.iter().take(3) {
            self.text(part);
            self.bytes.push(component);
        }
        for _ in parts.len().min(3)..3 {
            self.bytes.push(component);
        }
        match self.delimiters.subcomponent.filter(|_| form != Form::Bare) {
            Some(subcomponent) => self.coded(finding.code, subcomponent),
            None => self.text(&finding.code.to_string()),
        }
    }

    /// ERR from 2.5: location, code, severity, and a text for people in ERR-8.
    fn error(&mut self, finding: &Finding, help_desk: Option<&str>) {
        self.field("");
        self.bytes.push(self.delimiters.field);
        for (index, part) in Location::of(&finding.path).parts().iter().enumerate() {
            if index > 0 {
                self.bytes.push(self.delimiters.component);
            }
            self.text(part);
        }
        self.bytes.push(self.delimiters.field);
        self.coded(finding.code, self.delimiters.component);
        self.field(finding.severity.letter());
        for text in ["", "", "", &finding.text] {
            self.field(text);
        }
        if let Some(desk) = help_desk {
            // XTN: a text stands in its first component up to 2.6 and in its last one, unformatted, in all.
            for text in ["", "", ""] {
                self.field(text);
            }
            self.field(desk);
        }
    }

    fn coded(&mut self, code: u16, separator: u8) {
        self.text(&code.to_string());
        self.bytes.push(separator);
        self.text(code_text(code));
        self.bytes.push(separator);
        self.text("HL70357");
    }

    fn field(&mut self, text: &str) {
        self.bytes.push(self.delimiters.field);
        self.text(text);
    }

    fn raw_field(&mut self, raw: &[u8]) {
        self.bytes.push(self.delimiters.field);
        self.bytes.extend_from_slice(raw);
    }

    /// Our own words; what the sender's delimiters or character set cannot express becomes a blank or `?`.
    fn text(&mut self, text: &str) {
        let escaped = escape::encode(text, &self.delimiters).unwrap_or_else(|_| {
            let plain = |c: char| if c.is_alphanumeric() || c == '.' { c } else { ' ' };
            Cow::Owned(text.chars().map(plain).collect())
        });
        match self.charset.encode(&escaped) {
            Ok(bytes) => self.bytes.extend_from_slice(&bytes),
            Err(_) => self.bytes.extend(escaped.chars().map(|c| if c.is_ascii() { c as u8 } else { b'?' })),
        }
    }
}

/// Errors first, then warnings; notes are for us alone.
fn listed(request: &AckRequest) -> impl Iterator<Item = &Finding> {
    let with = |severity| request.findings.iter().filter(move |finding| finding.severity == severity);
    with(Severity::Error).chain(with(Severity::Warning))
}

/// A finding's path as ERR-2 writes it.
struct Location(Vec<u32>, String);

impl Location {
    fn of(path: &str) -> Self {
        if let Ok(path) = path.parse::<Path>() {
            let mut numbers = vec![path.occurrence.unwrap_or(1), path.field];
            if path.repetition.is_some() || path.component.is_some() {
                numbers.push(path.repetition.unwrap_or(1));
            }
            numbers.extend(path.component);
            numbers.extend(path.subcomponent);
            return Self(numbers, path.segment.to_string());
        }
        let (id, rest) = path.split_at_checked(3).unwrap_or(("", ""));
        match SegmentId::new(id) {
            Some(id) => {
                let occurrence = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')?.parse().ok());
                Self(vec![occurrence.unwrap_or(1)], id.to_string())
            }
            None => Self(Vec::new(), String::new()),
        }
    }

    fn parts(&self) -> Vec<String> {
        let id = (!self.1.is_empty()).then(|| self.1.clone());
        id.into_iter().chain(self.0.iter().map(u32::to_string)).collect()
    }
}
