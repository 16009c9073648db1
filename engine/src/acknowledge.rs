//! What a sender is answered, and what an answer to us means. Nothing positive leaves before the commit: the
//! caller builds the answer early and hands it out late.

use crate::adapter::mllp::Answer;
use crate::configuration::{AckConflict, AckMode, AckWhen, Acknowledgment, Answered, ExpectedAck};
use crate::pipeline::validate::is_about_header;
use chrono::{DateTime, FixedOffset};
use orderly_hl7::acknowledge::{self, AckCode, AckRequest};
use orderly_hl7::{Class, Finding, Header, Message, Severity};

/// What came of a message, as far as its sender is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Stored, and will be handled.
    Accepted,
    /// Kept, but not handled: the header or the content is not acceptable.
    Refused(Vec<Finding>),
    /// Kept, but not handled: a reason outside the content, such as a sender we do not know.
    Rejected(Vec<Finding>),
    /// Not stored, for a reason that is ours.
    NotStored,
}

/// The two levels of a sender's wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Nothing,
    Original,
    Enhanced { accept: AckWhen, application: AckWhen },
}

/// Answers of one location.
#[derive(Debug, Clone, Copy)]
pub struct Answers<'a> {
    /// The settings that apply to the sender.
    pub settings: &'a Acknowledgment,
    /// MSH-10 of the answer.
    pub control_id: &'a str,
    /// MSH-7 of the answer.
    pub now: DateTime<FixedOffset>,
}

impl Answers<'_> {
    /// The answer to a readable message, with the code that tracking names (empty: none).
    pub fn to(&self, message: &Message, header: &Header, verdict: &Verdict) -> (Answer, &'static str) {
        if header.message_type == "ACK" {
            // An ACK is never itself acknowledged in original mode; two systems would talk for ever.
            return (Answer::Nothing, "");
        }
        match wish(header, self.settings) {
            Wish::Nothing => (Answer::Nothing, ""),
            Wish::Original => {
                let code = application_code(verdict);
                (Answer::Ack(self.build(message, code, verdict)), code.as_str())
            }
            Wish::Enhanced { accept, application } => {
                let level = accept_code(verdict);
                let handled = application_code(verdict);
                let asked = accept;
                let accept = is_wanted(accept, level.is_positive());
                // A message that was not stored or whose header was refused gets no second answer.
                let both = level.is_positive() || asked == AckWhen::Never;
                let application = both && is_wanted(application, handled.is_positive());
                let build = |code| self.build(message, code, verdict);
                match (accept, application) {
                    (true, true) => (Answer::Acks(vec![build(level), build(handled)]), level.as_str()),
                    (true, false) => (Answer::Ack(build(level)), level.as_str()),
                    (false, true) => (Answer::Ack(build(handled)), handled.as_str()),
                    (false, false) => (Answer::Nothing, ""),
                }
            }
        }
    }

    /// The answer to bytes without a readable header.
    pub fn to_unreadable(&self, bytes: &[u8], finding: Option<Finding>, code: AckCode) -> Vec<u8> {
        let request = self.request(code).with_findings(finding.into_iter().collect());
        acknowledge::reject_unreadable(bytes, &request)
    }

    fn build(&self, message: &Message, code: AckCode, verdict: &Verdict) -> Vec<u8> {
        let mut request = self.request(code);
        match verdict {
            Verdict::Accepted => {}
            Verdict::Refused(_) if code.is_positive() => {}
            Verdict::Refused(findings) | Verdict::Rejected(findings) => {
                request.findings.clone_from(findings);
                if let Some(worst) = findings.iter().find(|finding| finding.severity == Severity::Error) {
                    request.text.clone_from(&worst.text);
                }
                if !self.settings.errors_text {
                    request.findings.iter_mut().for_each(|finding| finding.text.clear());
                }
            }
            Verdict::NotStored => {
                request.text = "could not be stored now; send it again later".to_owned();
                request.findings = vec![internal_error()];
            }
        }
        acknowledge::acknowledge(message, &request).bytes().to_vec()
    }

    fn request(&self, code: AckCode) -> AckRequest {
        let mut request = AckRequest::new(code, self.control_id, self.now);
        request.errors_max = self.settings.errors_most as usize;
        request.from = self
            .settings
            .from
            .as_ref()
            .map(|from| (from.app.clone(), from.facility.clone().unwrap_or_default()));
        request
    }
}

fn internal_error() -> Finding {
    Finding {
        path: String::new(),
        code: 207,
        severity: Severity::Error,
        text: "could not be stored now; send it again later".to_owned(),
        class: Class::Limit,
    }
}

fn wish(header: &Header, settings: &Acknowledgment) -> Wish {
    let said = |text: &str| AckWhen::from_code(text);
    // A word that table 0155 does not have asks for nothing: silence would leave its sender waiting for ever.
    let asks = said(&header.accept_ack).is_some() || said(&header.application_ack).is_some();
    let enhanced = settings.mode == AckMode::Enhanced;
    let ours = Wish::Enhanced { accept: settings.accept_when, application: settings.application_when };
    match (settings.mode, settings.conflict) {
        (AckMode::None, _) => Wish::Nothing,
        (AckMode::Original, AckConflict::PartyWins) => Wish::Original,
        (AckMode::Original, _) if !asks => Wish::Original,
        (AckMode::Enhanced, _) if !asks => ours,
        (AckMode::Enhanced, AckConflict::PartyWins) => ours,
        (_, AckConflict::MessageWins) => Wish::Enhanced {
            accept: said(&header.accept_ack).unwrap_or(if enhanced {
                settings.accept_when
            } else {
                AckWhen::Never
            }),
            application: said(&header.application_ack).unwrap_or(if enhanced {
                settings.application_when
            } else {
                AckWhen::Never
            }),
        },
        (_, AckConflict::EitherAsks) => Wish::Enhanced {
            accept: either(said(&header.accept_ack), settings.accept_when),
            application: either(said(&header.application_ack), settings.application_when),
        },
    }
}

fn either(message: Option<AckWhen>, party: AckWhen) -> AckWhen {
    match (message.unwrap_or(party), party) {
        (AckWhen::Never, other) | (other, AckWhen::Never) => other,
        (one, other) if one == other => one,
        _ => AckWhen::Always,
    }
}

fn is_wanted(when: AckWhen, positive: bool) -> bool {
    acknowledge::is_wanted(when.code(), positive)
}

fn application_code(verdict: &Verdict) -> AckCode {
    match verdict {
        Verdict::Accepted => AckCode::AA,
        Verdict::Refused(findings) if header_refuses(findings) => AckCode::AR,
        Verdict::Refused(_) => AckCode::AE,
        Verdict::Rejected(_) | Verdict::NotStored => AckCode::AR,
    }
}

fn accept_code(verdict: &Verdict) -> AckCode {
    match verdict {
        Verdict::Accepted => AckCode::CA,
        Verdict::Refused(findings) if header_refuses(findings) => AckCode::CR,
        // HL7 v2.5.1, ch. 2: CA promises safe storage, not that the content is acceptable.
        Verdict::Refused(_) => AckCode::CA,
        Verdict::Rejected(_) => AckCode::CR,
        Verdict::NotStored => AckCode::CE,
    }
}

fn header_refuses(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error && is_about_header(finding))
}

/// Whether an answer with this code is the one a send port waits for.
pub fn is_expected(expect: ExpectedAck, code: &str) -> bool {
    let accept = matches!(code, "CA" | "CE" | "CR");
    match expect {
        ExpectedAck::None | ExpectedAck::Transport => false,
        ExpectedAck::Accept => accept,
        // An accept error ends it too: no application answer will follow.
        ExpectedAck::Application => !accept || code != "CA",
        ExpectedAck::Any => true,
    }
}

/// The stable code of a delivery that ended so.
pub fn cause(answered: Answered) -> &'static str {
    match answered {
        Answered::Aa | Answered::Ca => "delivered",
        Answered::Ae | Answered::Ce => "ack.error",
        Answered::Ar | Answered::Cr => "ack.reject",
        Answered::Other | Answered::Unreadable => "ack.unreadable",
        Answered::NoConnection => "transport.refused",
        Answered::Broken => "transport.broken",
        Answered::Timeout => "ack.timeout",
    }
}

#[cfg(test)]
mod tests;
