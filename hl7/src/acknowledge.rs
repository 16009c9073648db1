//! Acknowledgments: building the answer to a message, and reading the answers to ours.
//!
//! Which answer is due, and when, is decided by the caller: nothing positive before the commit. Deferred
//! answers, sequence numbers and batch answers find their room here; MSA-4 can already be written.

mod answer;

use std::borrow::Cow;

use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Serialize};

pub use answer::{Answer, AnswerError, read_answer};

use crate::charset::CharsetPolicy;
use crate::finding::code_text;
use crate::{
    Charset, Class, Delimiters, Finding, Header, Message, ParseOptions, Path, SegmentId, Severity,
    Unreadable, escape,
};

/// MSA-1, HL7 table 0008.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AckCode {
    /// Accepted by the application.
    AA,
    /// Error in the content.
    AE,
    /// Rejected: header not acceptable, or a reason outside the content.
    AR,
    /// Stored safely.
    CA,
    /// Could not be stored.
    CE,
    /// Rejected before storing.
    CR,
}

impl AckCode {
    /// The code of this text.
    pub fn from_text(text: &str) -> Option<Self> {
        [Self::AA, Self::AE, Self::AR, Self::CA, Self::CE, Self::CR]
            .into_iter()
            .find(|code| code.as_str() == text)
    }

    /// The answer of original mode that these findings call for: AR when the header is not acceptable, AE for
    /// errors in the content, AA otherwise.
    pub fn for_findings(findings: &[Finding]) -> Self {
        let errors = || findings.iter().filter(|finding| finding.severity == Severity::Error);
        match errors().next() {
            None => Self::AA,
            Some(_) if errors().any(|finding| finding.class == Class::Header) => Self::AR,
            Some(_) => Self::AE,
        }
    }

    /// The two letters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AA => "AA",
            Self::AE => "AE",
            Self::AR => "AR",
            Self::CA => "CA",
            Self::CE => "CE",
            Self::CR => "CR",
        }
    }

    /// AA or CA.
    pub fn is_positive(self) -> bool {
        matches!(self, Self::AA | Self::CA)
    }

    /// CA, CE or CR: about storing, not about the content.
    pub fn is_accept(self) -> bool {
        matches!(self, Self::CA | Self::CE | Self::CR)
    }
}

/// How sender and receiver acknowledge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AckMode {
    /// One answer at application level.
    #[default]
    Original,
    /// Accept level first, application level as an exchange of its own.
    Enhanced,
}

impl AckMode {
    /// The mode that a message asks for: enhanced when MSH-15 or MSH-16 says anything.
    pub fn asked_by(header: &Header) -> Self {
        if header.accept_ack.is_empty() && header.application_ack.is_empty() {
            Self::Original
        } else {
            Self::Enhanced
        }
    }
}

/// Whether an answer is wanted under a condition of table 0155 (`AL`, `NE`, `ER`, `SU`).
pub fn is_wanted(condition: &str, positive: bool) -> bool {
    match condition {
        "AL" => true,
        "ER" => !positive,
        "SU" => positive,
        _ => false,
    }
}

/// What the answer shall say.
#[derive(Clone, Debug)]
pub struct AckRequest {
    /// MSA-1.
    pub code: AckCode,
    /// Whether the sender acknowledges in two levels; an application answer then says in MSH-15 and MSH-16
    /// that it wants none itself.
    pub mode: AckMode,
    /// MSA-3; empty for none. Must hold no value of the message.
    pub text: String,
    /// What ERR tells; notes are left out, errors come first.
    pub findings: Vec<Finding>,
    /// At most so many ERR entries.
    pub errors_max: usize,
    /// MSH-10 of the answer.
    pub control_id: String,
    /// MSH-7 of the answer.
    pub now: DateTime<FixedOffset>,
    /// MSH-3 and MSH-4 of the answer in place of the message's MSH-5 and MSH-6; texts, not raw.
    pub from: Option<(String, String)>,
    /// MSA-4 of the sequence number protocol.
    pub expected_sequence: Option<i64>,
}

impl AckRequest {
    /// An answer without text and findings.
    pub fn new(code: AckCode, control_id: impl Into<String>, now: DateTime<FixedOffset>) -> Self {
        Self {
            code,
            mode: if code.is_accept() { AckMode::Enhanced } else { AckMode::Original },
            text: String::new(),
            findings: Vec::new(),
            errors_max: 10,
            control_id: control_id.into(),
            now,
            from: None,
            expected_sequence: None,
        }
    }

    /// The same answer with an MSA-3 text.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self
    }

    /// The same answer with findings.
    #[must_use]
    pub fn with_findings(mut self, findings: Vec<Finding>) -> Self {
        self.findings = findings;
        self
    }
}

/// The version that answers are written in when the sender's is not one we know.
const VERSION: &str = "2.5.1";

/// The answer to `message`, in its delimiters, character set and version.
pub fn acknowledge(message: &Message, request: &AckRequest) -> Message {
    let header = message.head();
    let version = crate::dictionary::Version::find(&header.version).map_or(VERSION, |version| version.name());
    let mut answer =
        Writer { delimiters: message.delimiters(), charset: message.charset(), bytes: Vec::new() };
    answer.header(message, header, version, request);
    answer.acknowledgment(message, version, request);
    answer.errors(version, request);
    let options =
        ParseOptions { charset: CharsetPolicy::Force(message.charset()), ..ParseOptions::default() };
    Message::parse_with(answer.bytes, &options).expect("the answer has the delimiters of a readable message")
}

/// The answer to bytes that are no message, or to the head of one that is too long: with what its header
/// tells if that can be read, with default delimiters otherwise.
pub fn reject_unreadable(head: &[u8], request: &AckRequest) -> Vec<u8> {
    let sent = match Message::parse(head) {
        Ok(file) if file.is_envelope() => {
            return acknowledge(&crate::batch::stand_in(&file), request).bytes().to_vec();
        }
        Ok(message) => return acknowledge(&message, request).bytes().to_vec(),
        Err(error) => error,
    };
    let mut request = request.clone();
    if request.findings.is_empty() {
        request.findings.push(unreadable_finding(&sent));
    }
    let blank = Message::parse(&b"MSH|^~\\&|||||||||P|2.5.1\r"[..]).expect("the default header is readable");
    acknowledge(&blank, &request).bytes().to_vec()
}

/// The finding that stands for an unreadable message.
pub fn unreadable_finding(error: &Unreadable) -> Finding {
    let (path, code) = match error {
        Unreadable::Delimiters(_) => ("MSH-2", 102),
        Unreadable::TooLong(_) | Unreadable::WideText => ("", 199),
        Unreadable::Empty | Unreadable::NoHeader => ("MSH", 100),
    };
    Finding { severity: Severity::Error, ..Finding::new(Class::Header, path, code, error.to_string()) }
}

struct Writer {
    delimiters: Delimiters,
    charset: Charset,
    bytes: Vec<u8>,
}

impl Writer {
    fn header(&mut self, message: &Message, header: &Header, version: &str, request: &AckRequest) {
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
        self.raw_field(raw(3));
        self.raw_field(raw(4));
        self.field(&request.now.format("%Y%m%d%H%M%S%z").to_string());
        self.field("");
        self.message_type(&header.trigger_event, version);
        self.field(&request.control_id);
        self.raw_field(raw(11));
        self.field(version);
        let asks = request.mode == AckMode::Enhanced && !request.code.is_accept();
        let charset = raw(18);
        if asks || !charset.is_empty() {
            let condition = if asks { "NE" } else { "" };
            for text in ["", "", condition, condition] {
                self.field(text);
            }
        }
        if !charset.is_empty() {
            self.field("");
            self.raw_field(charset);
        }
        self.bytes.push(b'\r');
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

    fn acknowledgment(&mut self, message: &Message, version: &str, request: &AckRequest) {
        self.bytes.extend_from_slice(b"MSA");
        self.field(request.code.as_str());
        let control_id = message.segment(0).and_then(|msh| msh.field(10).raw()).unwrap_or_default();
        self.raw_field(control_id);
        let error = listed(request).next().filter(|_| matches!(version, "2.2" | "2.3" | "2.3.1" | "2.4"));
        let sequence = request.expected_sequence.map(|number| number.to_string()).unwrap_or_default();
        let fields = match (error.is_some(), request.expected_sequence.is_some(), request.text.is_empty()) {
            (true, _, _) => 3,
            (false, true, _) => 2,
            (false, false, false) => 1,
            (false, false, true) => 0,
        };
        for text in [request.text.as_str(), &sequence, ""].into_iter().take(fields) {
            self.field(text);
        }
        if let Some(finding) = error {
            self.bytes.push(self.delimiters.field);
            self.coded(finding.code, self.delimiters.component);
        }
        self.bytes.push(b'\r');
    }

    fn errors(&mut self, version: &str, request: &AckRequest) {
        let old = matches!(version, "2.1" | "2.2" | "2.3" | "2.3.1" | "2.4");
        for (index, finding) in listed(request).take(request.errors_max).enumerate() {
            if old {
                let first = index == 0;
                self.bytes.extend_from_slice(if first { b"ERR" } else { b"" });
                self.bytes.push(if first { self.delimiters.field } else { self.delimiters.repetition });
                self.old_error(finding);
            } else {
                self.bytes.extend_from_slice(b"ERR");
                self.error(finding);
                self.bytes.push(b'\r');
            }
        }
        if old && listed(request).next().is_some() && request.errors_max > 0 {
            self.bytes.push(b'\r');
        }
    }

    /// ERR-1 up to 2.4: segment, occurrence, field, and the code as subcomponents.
    fn old_error(&mut self, finding: &Finding) {
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
        match self.delimiters.subcomponent {
            Some(subcomponent) => self.coded(finding.code, subcomponent),
            None => self.text(&finding.code.to_string()),
        }
    }

    /// ERR from 2.5: location, code, severity, and a text for people in ERR-8.
    fn error(&mut self, finding: &Finding) {
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

#[cfg(test)]
mod tests;
