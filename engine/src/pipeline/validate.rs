//! What is wrong or odd in a message, with the verdicts of the party and location.

use crate::configuration::{
    self, FindingClass, Inbound, Outbound, RuleBook, SegmentMatching, ValidationLevel, Verdict,
};
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

/// The same for a message that leaves; nothing where its receiver's record asks for no check.
pub fn validate_outbound(message: &Message, outbound: &Outbound, rules: &RuleBook) -> Vec<Finding> {
    let Some(asked) = &outbound.validation else { return Vec::new() };
    let nothing = Vec::new();
    let asked = settings_of(asked, outbound.profile.as_deref(), (&nothing, &nothing), rules);
    validate::validate(message, &asked)
}

fn settings(inbound: &Inbound, rules: &RuleBook) -> Validation {
    let taken = (&inbound.versions, &inbound.processing_ids);
    settings_of(&inbound.validation, inbound.profile.as_deref(), taken, rules)
}

fn settings_of(
    asked: &configuration::Validation,
    profile: Option<&str>,
    (versions, processing_ids): (&Vec<String>, &Vec<String>),
    rules: &RuleBook,
) -> Validation {
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
        profile: profile.and_then(|name| rules.profile(name)).cloned(),
        verdicts: verdicts.collect(),
        most: asked.most as usize,
        versions: list(versions),
        processing_ids: list(processing_ids),
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
