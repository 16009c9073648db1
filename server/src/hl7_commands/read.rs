//! `parse`, `get` and `validate`: what messages say, and what is wrong with them.

use std::io::Write;

use orderly_hl7::acknowledge::unreadable_finding;
use orderly_hl7::dictionary::Version;
use orderly_hl7::validate::validate;
use orderly_hl7::{Finding, Message, Severity, Value, json};

use super::args::{Get, Parse, Validate};
use super::input::{Entry, Input};
use super::{Outcome, shown};

pub(super) fn parse(options: &Parse, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::Fine;
    for file in &options.files {
        let input = Input::open(file)?;
        let name = input.name().to_owned();
        for entry in input {
            match entry? {
                Entry::Message(message) if options.json => writeln!(out, "{}", json::message_line(&message))?,
                Entry::Message(message) => readable(&message, out)?,
                Entry::Unreadable(error, _) => {
                    outcome = Outcome::Negative;
                    if options.json {
                        writeln!(out, "{}", json::unreadable_line(&error))?;
                    } else {
                        eprintln!("{name}: {error}");
                    }
                }
                Entry::Envelope(_) => {}
            }
            out.flush()?;
        }
    }
    Ok(outcome)
}

/// A segment a block, a field a line: place, name, and the text with its separators.
fn readable(message: &Message, out: &mut impl Write) -> anyhow::Result<()> {
    let header = message.head();
    let version = Version::nearest(&header.version);
    let event = version.event_name(&header.message_type, &header.trigger_event);
    writeln!(
        out,
        "{}^{} {} version {} control id {}{}",
        shown(&header.message_type),
        shown(&header.trigger_event),
        shown(&message.structure()),
        shown(&header.version),
        shown(&header.control_id),
        event.map(|event| format!(" ({event})")).unwrap_or_default(),
    )?;
    for segment in message.segments() {
        let row = version.segment(segment.id());
        writeln!(out, "{} {}", segment.id(), row.map_or("", |row| row.name()))?;
        for number in 1..=segment.field_count() {
            let field = segment.field(number);
            if field.is_missing() {
                continue;
            }
            let place = format!("{}-{number}", segment.id());
            let name = row.and_then(|row| row.element(number)).map_or("", |element| element.name());
            writeln!(out, "  {place:<8} {name:<36} {}", raw_text(message, field.raw()))?;
        }
    }
    for finding in message.findings() {
        writeln!(out, "! {}", line(finding))?;
    }
    writeln!(out)?;
    Ok(())
}

/// A field as it stands, in the message's character set.
fn raw_text(message: &Message, raw: Option<&[u8]>) -> String {
    let raw = raw.unwrap_or_default();
    match message.charset().decode(raw) {
        Some(text) => shown(&text),
        None => shown(&String::from_utf8_lossy(raw)),
    }
}

pub(super) fn get(options: &Get, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let input = Input::open(&options.file)?;
    let name = input.name().to_owned();
    let mut outcome = Outcome::Fine;
    for entry in input {
        let message = match entry? {
            Entry::Message(message) => message,
            Entry::Envelope(_) => continue,
            Entry::Unreadable(error, _) => {
                eprintln!("{name}: {error}");
                outcome = Outcome::Negative;
                continue;
            }
        };
        for path in &options.paths {
            if let Some(group) = path.unknown_group(&message) {
                eprintln!("{name}: structure {} has no group {group}", shown(&message.structure()));
                outcome = Outcome::Negative;
            }
            let value = path.resolve(&message).map_or(Value::Absent, |path| message.get(&path));
            if options.json {
                writeln!(out, "{}", json::value_line(&value))?;
            } else if value == Value::Delete {
                writeln!(out, "\"\"")?;
            } else {
                writeln!(out, "{}", shown(value.text().unwrap_or_default()))?;
            }
        }
        out.flush()?;
    }
    Ok(outcome)
}

pub(super) fn check(options: &Validate, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let validation = super::profile::validation(options)?;
    let bad = |finding: &Finding| {
        finding.severity == Severity::Error || (options.warnings && finding.severity == Severity::Warning)
    };
    let (mut messages, mut refused, mut errors, mut warnings) = (0_u64, 0_u64, 0_u64, 0_u64);
    for file in &options.files {
        let input = Input::open(file)?;
        let name = input.name().to_owned();
        let mut number = 0;
        for entry in input {
            let findings = match entry? {
                Entry::Message(message) => validate(&message, &validation),
                Entry::Unreadable(error, _) => vec![unreadable_finding(&error)],
                Entry::Envelope(_) => continue,
            };
            number += 1;
            messages += 1;
            refused += u64::from(findings.iter().any(bad));
            errors += findings.iter().filter(|finding| finding.severity == Severity::Error).count() as u64;
            warnings +=
                findings.iter().filter(|finding| finding.severity == Severity::Warning).count() as u64;
            if options.json {
                writeln!(out, "{}", json::findings_line(&findings))?;
            } else {
                for finding in &findings {
                    writeln!(out, "{name}: message {number}: {}", line(finding))?;
                }
            }
            out.flush()?;
        }
    }
    if !options.json {
        let many = |number: u64, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
        let (messages, errors) = (many(messages, "message"), many(errors, "error"));
        eprintln!("{messages}, {refused} not valid: {errors}, {}", many(warnings, "warning"));
    }
    Ok(if refused > 0 { Outcome::Negative } else { Outcome::Fine })
}

fn line(finding: &Finding) -> String {
    let severity = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Information => "note",
    };
    let place = if finding.path.is_empty() { String::new() } else { format!(" {}", finding.path) };
    let asked_by =
        finding.profile.as_ref().map_or_else(String::new, |profile| format!(" (profile {profile})"));
    format!("{severity} {}{place}: {}{asked_by}", finding.code, finding.text)
}
