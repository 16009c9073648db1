//! What is wrong or odd in a message, with the verdicts of the party and location.

use crate::configuration::{FindingClass, Inbound, RuleBook, SegmentMatching, ValidationLevel, Verdict};
use orderly_hl7::validate::{self, Level, Matching, Validation};
use orderly_hl7::{Class, Finding, Message, Severity};

/// All findings; those with severity `Error` refuse the message. Profiles are those of `rules`.
pub fn validate(message: &Message, inbound: &Inbound, rules: &RuleBook) -> Vec<Finding> {
    validate::validate(message, &settings(inbound, rules))
}

/// Whether a finding refuses the message for its header (AR, CR) and not for its content (AE).
pub fn is_about_header(finding: &Finding) -> bool {
    (200..=203).contains(&finding.code)
}

/// Whether anything refuses the message.
pub fn refuses(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}

fn settings(inbound: &Inbound, rules: &RuleBook) -> Validation {
    let asked = &inbound.validation;
    let verdicts = asked.findings.iter().map(|(class, verdict)| (class_of(*class), verdict_of(*verdict)));
    let list = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    Validation {
        level: match asked.level {
            ValidationLevel::None => Level::None,
            ValidationLevel::Header => Level::Header,
            ValidationLevel::Structure => Level::Structure,
            ValidationLevel::Fields => Level::Fields,
            ValidationLevel::Standard => Level::Standard,
            ValidationLevel::Profile => Level::Profile,
        },
        matching: match asked.matching {
            SegmentMatching::Lenient => Matching::Lenient,
            SegmentMatching::Strict => Matching::Strict,
        },
        profile: inbound.profile.as_deref().and_then(|name| rules.profile(name)).cloned(),
        verdicts: verdicts.collect(),
        most: asked.most as usize,
        versions: list(&inbound.versions),
        processing_ids: list(&inbound.processing_ids),
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
        FindingClass::Profile => Class::Profile,
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
