//! What a sender is answered, and what an answer to us means. Nothing positive leaves before the commit: the
//! caller builds the answer early and hands it out late.

use crate::adapter::mllp::Answer;
use crate::configuration::{AckConflict, AckMode, AckWhen, Acknowledgment, Answered, Contact, ExpectedAck};
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
    /// Kept, but not handled: messages before it are missing.
    OutOfSequence(Vec<Finding>),
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
#[derive(Debug, Clone)]
pub struct Answers<'a> {
    /// The settings that apply to the sender.
    pub settings: &'a Acknowledgment,
    /// MSH-10 of the answer; an application acknowledgment beside an accept one has an `A` behind it.
    pub control_id: &'a str,
    /// MSH-7 of the answer.
    pub now: DateTime<FixedOffset>,
    /// Whom the sender can ask, when a refusal says so.
    pub help_desk: Option<String>,
    /// MSA-4.
    pub expected_sequence: Option<i64>,
    /// What belongs to a message that comes in several.
    pub part: Part,
}

/// Which part of its whole a message is, as far as its answers go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Part {
    /// It is the whole.
    #[default]
    Whole,
    /// More follow: stored is all that can be said.
    Earlier,
    /// The last one; the application's answer names the first one, by its raw control id.
    Last(Vec<u8>),
}

/// One acknowledgment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// MSA-1.
    pub code: AckCode,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// All that a message is answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Composed {
    /// In the order in which they leave: accept level, then application level.
    pub acks: Vec<Ack>,
    /// A fixed text in place of acknowledgments.
    pub fixed: Option<Vec<u8>>,
    /// What tracking names; empty: none.
    pub code: &'static str,
}

impl Composed {
    /// What leaves on the connection; `routed`: the application acknowledgment takes a send port.
    pub fn answer(self, routed: bool) -> Answer {
        if let Some(fixed) = self.fixed {
            return Answer::Ack(fixed);
        }
        let here = self.acks.into_iter().filter(|ack| !routed || ack.code.is_accept());
        let mut here: Vec<Vec<u8>> = here.map(|ack| ack.bytes).collect();
        match here.len() {
            0 => Answer::Nothing,
            1 => Answer::Ack(here.remove(0)),
            _ => Answer::Acks(here),
        }
    }
}

impl Answers<'_> {
    /// The answers to a readable message.
    pub fn to(&self, message: &Message, header: &Header, verdict: &Verdict) -> Composed {
        if header.message_type == "ACK" {
            return self.to_ack(message, header, verdict);
        }
        if self.settings.mode == AckMode::Static {
            return self.fixed(verdict);
        }
        match wish(header, self.settings) {
            Wish::Nothing => Composed::default(),
            Wish::Original => self.composed(message, verdict, None, Some(application_code(verdict))),
            Wish::Enhanced { accept, application } => {
                let level = accept_code(verdict);
                let handled = application_code(verdict);
                let asked = accept;
                let accept = is_wanted(accept, level.is_positive());
                // A message that was not stored or whose header was refused gets no second answer.
                let both = level.is_positive() || asked == AckWhen::Never;
                let application = both
                    && self.settings.mode != AckMode::Application
                    && self.part != Part::Earlier
                    && is_wanted(application, handled.is_positive());
                self.composed(message, verdict, accept.then_some(level), application.then_some(handled))
            }
        }
    }

    /// An ACK is never acknowledged in original mode: two systems would talk for ever. One that asks for a commit gets
    /// it where its sender's record says so.
    fn to_ack(&self, message: &Message, header: &Header, verdict: &Verdict) -> Composed {
        let level = accept_code(verdict);
        let asked = AckWhen::from_code(&header.accept_ack);
        if self.settings.of_acks && asked.is_some_and(|asked| is_wanted(asked, level.is_positive())) {
            return self.composed(message, verdict, Some(level), None);
        }
        Composed::default()
    }

    fn composed(
        &self,
        message: &Message,
        verdict: &Verdict,
        accept: Option<AckCode>,
        application: Option<AckCode>,
    ) -> Composed {
        let code = accept.or(application).map_or("", AckCode::as_str);
        let second = accept.is_some();
        let accept = accept.map(|code| self.build(message, code, verdict, false));
        let application = application.map(|code| self.build(message, code, verdict, second));
        Composed { acks: accept.into_iter().chain(application).collect(), fixed: None, code }
    }

    fn fixed(&self, verdict: &Verdict) -> Composed {
        let text = self.settings.static_text.as_ref();
        let (text, code) = match verdict {
            Verdict::Accepted => (text.map(|text| &text.success), "static success"),
            _ => (text.map(|text| &text.failure), "static failure"),
        };
        Composed { acks: Vec::new(), fixed: text.map(|text| text.clone().into_bytes()), code }
    }

    /// The answer to bytes without a readable header.
    pub fn to_unreadable(&self, bytes: &[u8], finding: Option<Finding>, code: AckCode) -> Vec<u8> {
        let request = self.request(code).with_findings(finding.into_iter().collect());
        acknowledge::reject_unreadable(bytes, &request)
    }

    /// The application acknowledgment that somebody decided after the message was stored; none where its sender asks for
    /// none.
    pub fn decided(
        &self,
        message: &Message,
        header: &Header,
        code: AckCode,
        text: &str,
        findings: Vec<Finding>,
    ) -> Option<Ack> {
        // A record of `mode: application` says by that alone that it wants one; a message may ask for less.
        let said = AckWhen::from_code(&header.application_ack);
        let said = said.filter(|_| self.settings.conflict == AckConflict::MessageWins);
        let wanted = said.is_none_or(|when| is_wanted(when, code.is_positive()));
        let verdict = match code.is_positive() {
            true => Verdict::Accepted,
            false => Verdict::Rejected(findings),
        };
        wanted.then(|| {
            let mut request = self.request(code);
            request.control_id.push('A');
            self.fill(&mut request, &verdict);
            text.clone_into(&mut request.text);
            request.echo_software = self.settings.echo_software;
            Ack { code, bytes: acknowledge::acknowledge(message, &request).bytes().to_vec() }
        })
    }

    /// To a question whose response did not come in time; `text` says from whom, without anything of a patient.
    pub fn unanswered(&self, message: &Message, text: &str) -> Ack {
        let told = Finding { text: text.to_owned(), ..internal_error() };
        self.build(message, AckCode::AE, &Verdict::OutOfSequence(vec![told]), true)
    }

    fn build(&self, message: &Message, code: AckCode, verdict: &Verdict, second: bool) -> Ack {
        let mut request = self.request(code);
        if second {
            request.control_id.push('A');
        }
        if let (Part::Last(first), true) = (&self.part, second) {
            request.answers = Some(first.clone());
        }
        request.echo_software = self.settings.echo_software && !code.is_accept();
        self.fill(&mut request, verdict);
        Ack { code, bytes: acknowledge::acknowledge(message, &request).bytes().to_vec() }
    }

    /// What the verdict adds.
    fn fill(&self, request: &mut AckRequest, verdict: &Verdict) {
        match verdict {
            Verdict::Accepted => {}
            Verdict::Refused(_) if request.code.is_positive() => {}
            Verdict::Refused(findings) | Verdict::Rejected(findings) | Verdict::OutOfSequence(findings) => {
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
    }

    fn request(&self, code: AckCode) -> AckRequest {
        let mut request = AckRequest::new(code, self.control_id, self.now);
        request.errors_max = self.settings.errors_most as usize;
        request.from = self
            .settings
            .from
            .as_ref()
            .map(|from| (from.app.clone(), from.facility.clone().unwrap_or_default()));
        request.header.clone_from(&self.settings.header);
        request.help_desk.clone_from(&self.help_desk);
        request.expected_sequence = self.expected_sequence;
        request
    }
}

/// Whom a sender can ask, in one line.
pub fn help_desk(contact: &Contact) -> Option<String> {
    let parts = [&contact.name, &contact.phone, &contact.email, &contact.text];
    let text = parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(", ");
    (!text.is_empty()).then_some(text)
}

fn internal_error() -> Finding {
    Finding::new(Class::Limit, "", 207, "could not be stored now; send it again later")
}

fn wish(header: &Header, settings: &Acknowledgment) -> Wish {
    let said = |text: &str| AckWhen::from_code(text);
    // A word that table 0155 does not have asks for nothing: silence would leave its sender waiting for ever.
    let asks = said(&header.accept_ack).is_some() || said(&header.application_ack).is_some();
    let enhanced = matches!(settings.mode, AckMode::Enhanced | AckMode::Application);
    let ours = Wish::Enhanced { accept: settings.accept_when, application: settings.application_when };
    match (settings.mode, settings.conflict) {
        (AckMode::None | AckMode::Transport | AckMode::Static, _) => Wish::Nothing,
        (AckMode::Original, AckConflict::PartyWins) => Wish::Original,
        (AckMode::Original, _) if !asks => Wish::Original,
        (AckMode::Enhanced | AckMode::Application, _) if !asks => ours,
        (AckMode::Enhanced | AckMode::Application, AckConflict::PartyWins) => ours,
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
        Verdict::Refused(_) | Verdict::OutOfSequence(_) => AckCode::AE,
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
        Verdict::OutOfSequence(_) | Verdict::NotStored => AckCode::CE,
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
