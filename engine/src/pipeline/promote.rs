//! The routable facts about a message: what it says itself, and where it came in.

use crate::configuration::{ReceiveLocation, ReceivePort};
use orderly_hl7::{Class, Finding, Message, Severity};
use orderly_rules::{Properties, RuleBook};

/// Promoted properties with those that only the engine knows.
pub fn promote(
    rules: &RuleBook,
    message: &Message,
    port: &ReceivePort,
    location: &ReceiveLocation,
    party: Option<&str>,
    findings: &[Finding],
) -> Properties {
    let mut properties = rules.promote(message);
    properties.set("port.name", port.name.as_str());
    properties.set("location.name", location.name.as_str());
    if let Some(party) = party {
        properties.set("party.name", party);
    }
    properties.set("hl7.encoding", "er7");
    let told = findings.iter().filter(|finding| finding.class != Class::Repair);
    properties.set("hl7.valid", !findings.iter().any(|finding| finding.severity >= Severity::Warning));
    properties.set("hl7.findings", i64::try_from(told.count()).unwrap_or(i64::MAX));
    properties.set("hl7.has_undeclared", findings.iter().any(|finding| finding.class == Class::Undeclared));
    properties
}
