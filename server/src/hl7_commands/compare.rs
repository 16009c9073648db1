//! `diff`: what two files say differently.

use std::io::Write;

use orderly_hl7::Message;
use orderly_hl7::diff::{Difference, State, diff};
use serde::Serialize;

use super::args::Diff;
use super::input::{Entry, Input};
use super::{Outcome, shown};

pub(super) fn compare(options: &Diff, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let mut sides = (messages(Input::open(&options.left)?), messages(Input::open(&options.right)?));
    let mut outcome = Outcome::Fine;
    for number in 1_u64.. {
        let found = match (sides.0.next().transpose()?, sides.1.next().transpose()?) {
            (None, None) => break,
            (Some(left), Some(right)) => diff(&left, &right, &options.ignore),
            (Some(only), None) => vec![whole(&only, true)],
            (None, Some(only)) => vec![whole(&only, false)],
        };
        if !found.is_empty() {
            outcome = Outcome::Negative;
        }
        for difference in &found {
            if options.json {
                let line = Line { message: number, difference };
                writeln!(out, "{}", serde_json::to_string(&line)?)?;
            } else {
                let prefix = if number > 1 { format!("message {number}: ") } else { String::new() };
                writeln!(out, "{prefix}{}", readable(difference))?;
            }
        }
    }
    Ok(outcome)
}

#[derive(Serialize)]
struct Line<'d> {
    message: u64,
    #[serde(flatten)]
    difference: &'d Difference,
}

fn messages(input: Input) -> impl Iterator<Item = anyhow::Result<Message>> {
    let name = input.name().to_owned();
    input.filter_map(move |entry| match entry {
        Ok(Entry::Message(message)) => Some(Ok(message)),
        Ok(Entry::Envelope(_)) => None,
        Ok(Entry::Unreadable(error, _)) => Some(Err(anyhow::anyhow!("could not read {name}: {error}"))),
        Err(error) => Some(Err(error)),
    })
}

/// A message that the other file does not have.
fn whole(message: &Message, left: bool) -> Difference {
    let state = State::Value(message.head().control_id.clone());
    let (left, right) = if left { (state, State::Empty) } else { (State::Empty, state) };
    Difference { path: "MSH".to_owned(), other_path: None, left, right }
}

fn readable(difference: &Difference) -> String {
    let state = |state: &State| match state {
        State::Value(text) => format!("`{}`", shown(text)),
        State::Segment(text) => shown(text),
        State::Empty => "empty".to_owned(),
        State::Delete => "delete".to_owned(),
    };
    let path = &difference.path;
    match (&difference.left, &difference.right) {
        (left @ State::Segment(_), _) => format!("- {path}: {}", state(left)),
        (_, right @ State::Segment(_)) => format!("+ {path}: {}", state(right)),
        (left, State::Empty) if path == "MSH" => format!("- the message with MSH-10 {}", state(left)),
        (State::Empty, right) if path == "MSH" => format!("+ the message with MSH-10 {}", state(right)),
        (left, right) => {
            let other =
                difference.other_path.as_ref().map(|path| format!(" (now {path})")).unwrap_or_default();
            format!("{path}{other}: {} -> {}", state(left), state(right))
        }
    }
}
