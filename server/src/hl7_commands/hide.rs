//! `deid`: the same messages without their people.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path as FilePath;

use anyhow::{Context as _, ensure};
use orderly_hl7::deid::{Action, Deidentifier, Key, LocalRule, Rules};

use super::args::{Deid, FreeText, Local};
use super::input::{Entry, Input};
use super::write::write_er7;
use super::{Outcome, args};

pub(super) fn deid(options: &Deid, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let mut work = Deidentifier::new(key(options.key_file.as_deref())?, rules(options));
    let mut outcome = Outcome::Fine;
    if let Some(folder) = &options.out {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("could not make the folder {}", folder.display()))?;
    }
    for file in &options.files {
        let input = Input::open(file)?;
        let one = match &options.out {
            None => write_all(&mut work, input, out)?,
            Some(folder) => {
                let name = file.file_name().filter(|_| file != FilePath::new("-"));
                let path = folder.join(name.unwrap_or("standard-input.hl7".as_ref()));
                // Never over the original, nor over what somebody keeps.
                let made = File::create_new(&path)
                    .with_context(|| format!("could not write {}: it must not exist yet", path.display()))?;
                let mut made = BufWriter::new(made);
                let one = write_all(&mut work, input, &mut made)?;
                made.flush().with_context(|| format!("could not write {}", path.display()))?;
                one
            }
        };
        if one == Outcome::Negative {
            outcome = one;
        }
    }
    if options.report {
        report(&work, options.json)?;
    }
    Ok(outcome)
}

fn write_all(work: &mut Deidentifier, input: Input, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let name = input.name().to_owned();
    let mut outcome = Outcome::Fine;
    for entry in input {
        match entry? {
            Entry::Message(message) => {
                let made =
                    work.message(&message).with_context(|| format!("could not write a message of {name}"))?;
                write_er7(&made, out)?;
            }
            Entry::Envelope(line) => {
                out.write_all(&work.envelope(&line))?;
                out.write_all(b"\r")?;
            }
            // What cannot be read cannot be cleaned.
            Entry::Unreadable(error, _) => {
                eprintln!("{name}: left out: {error}");
                outcome = Outcome::Negative;
            }
        }
    }
    Ok(outcome)
}

fn key(file: Option<&FilePath>) -> anyhow::Result<Key> {
    let Some(file) = file else {
        eprintln!("No --key-file: replacements are the same within this run alone.");
        return Ok(Key::new(&rand::random::<[u8; 32]>())?);
    };
    let secret = std::fs::read(file).with_context(|| format!("could not read {}", file.display()))?;
    ensure!(!secret.trim_ascii().is_empty(), "{} is empty", file.display());
    // An editor's line end is no part of the secret.
    Key::new(secret.trim_ascii()).with_context(|| format!("{} is no key", file.display()))
}

fn rules(options: &args::Deid) -> Rules {
    Rules {
        text: match options.text {
            FreeText::Mask => Action::Text,
            FreeText::Drop => Action::Drop,
            FreeText::Keep => Action::Keep,
        },
        local: match options.local {
            Local::Drop => LocalRule::Drop,
            Local::Mask => LocalRule::Mask,
            Local::Keep => LocalRule::Keep,
        },
        overrides: options.rules.clone(),
    }
}

/// To standard error, so that it does not mix with messages.
fn report(work: &Deidentifier, json: bool) -> anyhow::Result<()> {
    let mut err = std::io::stderr().lock();
    for line in work.report() {
        if json {
            writeln!(err, "{}", serde_json::to_string(&line)?)?;
        } else {
            writeln!(err, "{:<12} {:<5} {:>8}", line.path, line.action.name(), line.count)?;
        }
    }
    Ok(())
}
