//! What a file holds, found out before anything of it is taken: how many messages, which envelope, which counts are wrong.

use super::{Part, said_count};
use crate::finding::Class;
use crate::{Finding, Message, Severity};

/// What stands around the messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Envelope {
    /// Nothing.
    #[default]
    Bare,
    /// BHS and BTS.
    Batch,
    /// FHS and FTS.
    File,
}

impl Envelope {
    /// The word of the property `batch.kind`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Batch => "batch",
            Self::File => "file",
        }
    }
}

/// What the parts of a file came to.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Messages, those above the limit and stray texts among them.
    pub messages: u64,
    /// Texts that are no message.
    pub stray: u64,
    /// Batches (BHS).
    pub batches: u64,
    /// The outermost envelope.
    pub envelope: Envelope,
    /// Wrong counts, missing headers and trailers.
    pub findings: Vec<Finding>,
    /// What FHS or the first BHS says, read as a message of that one segment.
    pub header: Option<Message>,
    /// The first message.
    pub first: Option<Vec<u8>>,
    in_batch: u64,
    open: bool,
    file_ended: bool,
}

impl Survey {
    /// Takes note of the next part.
    pub fn note(&mut self, part: &Part) {
        match part {
            Part::Envelope { id, bytes } => self.envelope(*id, bytes),
            Part::Message { bytes, .. } => {
                self.messages += 1;
                self.in_batch += 1;
                self.first.get_or_insert_with(|| bytes.clone());
            }
            Part::TooLong { .. } => {
                self.messages += 1;
                self.in_batch += 1;
            }
            Part::Stray { .. } => {
                self.messages += 1;
                self.stray += 1;
            }
        }
    }

    fn envelope(&mut self, id: [u8; 3], bytes: &[u8]) {
        match &id {
            b"FHS" | b"BHS" => {
                let kind = if &id == b"FHS" { Envelope::File } else { Envelope::Batch };
                self.envelope = self.envelope.max(kind);
                if self.header.is_none() {
                    self.header = Message::parse(bytes).ok();
                }
                if &id == b"BHS" {
                    self.missing_trailer();
                    self.batches += 1;
                    (self.in_batch, self.open) = (0, true);
                }
            }
            b"BTS" => {
                if !self.open {
                    self.find("BHS", 100, "a batch trailer stands without a header".to_owned());
                }
                self.count("BTS-1", bytes, self.in_batch, "messages in the batch");
                self.open = false;
            }
            _ => {
                self.count("FTS-1", bytes, self.batches, "batches in the file");
                self.file_ended = true;
            }
        }
    }

    fn missing_trailer(&mut self) {
        if std::mem::take(&mut self.open) {
            self.find("BTS", 100, "a batch has no trailer".to_owned());
        }
    }

    fn count(&mut self, place: &str, line: &[u8], found: u64, what: &str) {
        if let Some(said) = said_count(line).filter(|said| *said != found) {
            self.find(place, 199, format!("{place} counts {said} {what}; there are {found}"));
        }
    }

    fn find(&mut self, place: &str, code: u16, text: String) {
        let finding = Finding::new(Class::Structure, place, code, text);
        self.findings.push(Finding { severity: Severity::Warning, ..finding });
    }

    /// No part follows.
    #[must_use]
    pub fn finish(mut self) -> Self {
        self.missing_trailer();
        if self.envelope == Envelope::File && !self.file_ended {
            self.find("FTS", 100, "the file has no trailer".to_owned());
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Splitter;

    #[track_caller]
    fn check(text: &str, messages: u64, batches: u64, envelope: Envelope, findings: &[&str]) -> Survey {
        let mut splitter = Splitter::new(1_000);
        splitter.push(text.as_bytes());
        splitter.end();
        let mut survey = Survey::default();
        while let Some(part) = splitter.next() {
            survey.note(&part);
        }
        let survey = survey.finish();
        assert_eq!((survey.messages, survey.batches, survey.envelope), (messages, batches, envelope));
        let found: Vec<&str> = survey.findings.iter().map(|finding| finding.path.as_str()).collect();
        assert_eq!(found, findings);
        survey
    }

    #[test]
    fn counts_and_trailers_are_compared_with_what_is_there() {
        let whole = "FHS|^~\\&|LAB|N|||||||F7\rBHS|^~\\&\rMSH|a\rMSH|b\rBTS|2\rFTS|1\r";
        let survey = check(whole, 2, 1, Envelope::File, &[]);
        let header = survey.header.unwrap();
        assert_eq!((header.head().sending_app.as_str(), header.head().control_id.as_str()), ("LAB", "F7"));
        check("BHS|^~\\&\rMSH|a\rBTS|3\r", 1, 1, Envelope::Batch, &["BTS-1"]);
        check("FHS|^~\\&\rBHS|^~\\&\rMSH|a\r", 1, 1, Envelope::File, &["BTS", "FTS"]);
        check("BHS|^~\\&\rMSH|a\rBHS|^~\\&\rBTS|0\r", 1, 2, Envelope::Batch, &["BTS"]);
        check("MSH|a\rBTS|1\r", 1, 0, Envelope::Bare, &["BHS"]);
        check("FHS|^~\\&\rFTS|0\r", 0, 0, Envelope::File, &[]);
        check("MSH|a\rMSH|b\r", 2, 0, Envelope::Bare, &[]);
    }
}
