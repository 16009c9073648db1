//! Acknowledgments: building the answer to a message, and reading the answers to ours.
//!
//! Which answer is due, and when, is decided by the caller: nothing positive before the commit. The bytes are written in
//! the form of the sender's version (`write`).

mod answer;
mod write;

use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Serialize};

pub use answer::{Answer, AnswerError, read_answer};

use crate::charset::CharsetPolicy;
use crate::{Class, Finding, Header, Message, ParseOptions, Severity, Unreadable};

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
    /// MSA-2 in place of the message's MSH-10; raw. The application answer to a message that came in fragments names
    /// the first one.
    pub answers: Option<Vec<u8>>,
    /// Whom the sender can ask: ERR-12 from 2.5 on, before that MSA-3 behind the text.
    pub help_desk: Option<String>,
    /// Whether SFT of the message is repeated.
    pub echo_software: bool,
    /// Places of MSH with what they hold: raw text in the delimiters of the message. Only MSH-5, 6, 8, 9 and 15.
    pub header: Vec<(u32, String)>,
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
            answers: None,
            help_desk: None,
            echo_software: false,
            header: Vec::new(),
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
        write::Writer { delimiters: message.delimiters(), charset: message.charset(), bytes: Vec::new() };
    answer.header(message, header, version, request);
    if request.echo_software {
        answer.software(message);
    }
    answer.acknowledgment(message, version, request);
    answer.errors(version, request);
    let options =
        ParseOptions { charset: CharsetPolicy::Force(message.written_in()), ..ParseOptions::default() };
    message.rebuilt(answer.bytes, &options).expect("the answer has the delimiters of a readable message")
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

#[cfg(test)]
mod tests;
