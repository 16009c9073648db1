//! What is wrong or odd in a message, with the verdicts of the party and location.

use crate::configuration::{FindingClass, Inbound, ValidationLevel, Verdict};
use orderly_hl7::validate::{self, Level, Validation};
use orderly_hl7::{Class, Finding, Message, Severity};

/// All findings; those with severity `Error` refuse the message.
pub fn validate(message: &Message, inbound: &Inbound) -> Vec<Finding> {
    validate::validate(message, &settings(inbound))
}

/// Whether a finding refuses the message for its header (AR, CR) and not for its content (AE).
pub fn is_about_header(finding: &Finding) -> bool {
    (200..=203).contains(&finding.code)
}

/// Whether anything refuses the message.
pub fn refuses(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}

fn settings(inbound: &Inbound) -> Validation {
    let asked = &inbound.validation;
    let verdicts = asked.findings.iter().map(|(class, verdict)| (class_of(*class), verdict_of(*verdict)));
    let list = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    Validation {
        level: match asked.level {
            ValidationLevel::None => Level::None,
            ValidationLevel::Structure => Level::Structure,
            ValidationLevel::Standard => Level::Standard,
        },
        verdicts: verdicts.collect(),
        most: asked.most as usize,
        versions: list(&inbound.versions),
        processing_ids: list(&inbound.processing_ids),
        ..Validation::default()
    }
}

fn class_of(class: FindingClass) -> Class {
    match class {
        FindingClass::Header => Class::Header,
        FindingClass::Structure => Class::Structure,
        FindingClass::Required => Class::Required,
        FindingClass::Datatype => Class::Datatype,
        FindingClass::Table => Class::Table,
        FindingClass::Length => Class::Length,
        FindingClass::Cardinality => Class::Cardinality,
        FindingClass::Undeclared => Class::Undeclared,
        FindingClass::Charset => Class::Charset,
    }
}

fn verdict_of(verdict: Verdict) -> validate::Verdict {
    match verdict {
        Verdict::Accept => validate::Verdict::Accept,
        Verdict::Note => validate::Verdict::Note,
        Verdict::Warn => validate::Verdict::Warn,
        Verdict::Refuse => validate::Verdict::Refuse,
    }
}
