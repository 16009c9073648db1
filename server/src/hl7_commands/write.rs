//! `ack` and `convert`: messages made from messages.
#![expect(clippy::disallowed_methods, reason = "a tool outside the server")]

use std::io::Write;

use chrono::Local;
use orderly_hl7::acknowledge::{AckCode, AckMode, AckRequest, acknowledge, reject_unreadable};
use orderly_hl7::validate::{Validation, validate};
use orderly_hl7::{Message, xml};

use super::Outcome;
use super::args::{Ack, Convert, Encoding};
use super::input::{Entry, Input};

pub(super) fn answer(options: &Ack, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let now = Local::now().fixed_offset();
    let mode = AckMode::from(options.mode);
    let in_mode = |code: AckCode| match (mode, code) {
        (AckMode::Enhanced, AckCode::AA) => AckCode::CA,
        (AckMode::Enhanced, AckCode::AE) => AckCode::CE,
        (AckMode::Enhanced, AckCode::AR) => AckCode::CR,
        (_, code) => code,
    };
    for (number, entry) in Input::open(&options.file)?.enumerate() {
        let control_id = format!("{}{number}", now.format("%Y%m%d%H%M%S"));
        let mut request = AckRequest::new(options.code.unwrap_or(in_mode(AckCode::AA)), control_id, now);
        request.mode = mode;
        request.text.clone_from(&options.text);
        match entry? {
            Entry::Message(message) => {
                if options.validate {
                    let findings = validate(&message, &Validation::default());
                    request.code = in_mode(AckCode::for_findings(&findings));
                    request = request.with_findings(findings);
                }
                out.write_all(acknowledge(&message, &request).bytes())?;
            }
            Entry::Unreadable(error, bytes) => {
                eprintln!("could not read message {}: {error}", number + 1);
                request.code = in_mode(AckCode::AR);
                out.write_all(&reject_unreadable(&bytes, &request))?;
            }
            Entry::Envelope(_) => {}
        }
        out.flush()?;
    }
    Ok(Outcome::Fine)
}

pub(super) fn convert(options: &Convert, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let input = Input::open(&options.file)?;
    match options.to {
        Encoding::Xml => to_xml(input, out),
        Encoding::Er7 => to_er7(input, out),
    }
}

fn to_xml(input: Input, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let mut input = input.peekable();
    let first = input.next().transpose()?;
    let single = input.peek().is_none() && matches!(first, Some(Entry::Message(_)));
    let mut writer = if single { xml::Writer::single() } else { xml::Writer::several() };
    let mut outcome = Outcome::Fine;
    let mut number = 0;
    for entry in first.map(Ok).into_iter().chain(input) {
        let written = match entry? {
            Entry::Envelope(bytes) => writer.envelope(&bytes),
            Entry::Message(message) => {
                number += 1;
                writer.message(&message)
            }
            Entry::Unreadable(error, _) => {
                number += 1;
                eprintln!("could not read message {number}: {error}");
                outcome = Outcome::Negative;
                continue;
            }
        };
        if let Err(error) = written {
            eprintln!("could not write message {number} as XML: {error}");
            outcome = Outcome::Negative;
            if single {
                return Ok(outcome);
            }
        }
        out.write_all(writer.take().as_bytes())?;
        out.flush()?;
    }
    out.write_all(writer.finish().as_bytes())?;
    Ok(outcome)
}

fn to_er7(input: Input, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::Fine;
    for (number, entry) in input.enumerate() {
        match entry? {
            Entry::Message(message) => write_er7(&message, out)?,
            Entry::Envelope(bytes) => {
                out.write_all(bytes.trim_ascii())?;
                out.write_all(b"\r")?;
            }
            Entry::Unreadable(error, _) => {
                eprintln!("could not read message {}: {error}", number + 1);
                outcome = Outcome::Negative;
            }
        }
        out.flush()?;
    }
    Ok(outcome)
}

/// The segments with the line end of the standard, whatever they came with.
pub(super) fn write_er7(message: &Message, out: &mut impl Write) -> anyhow::Result<()> {
    for segment in message.segments() {
        out.write_all(segment.raw())?;
        out.write_all(b"\r")?;
    }
    Ok(())
}
