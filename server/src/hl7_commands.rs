//! `orderly hl7 …`: messages in files and on sockets, without a server.

mod args;
mod compare;
mod hide;
mod input;
mod listen;
mod profile;
mod read;
mod send;
mod write;

use std::io::{BufWriter, ErrorKind};
use std::process::ExitCode;

pub(crate) use args::Hl7;

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Fine,
    /// Not valid, different, refused.
    Negative,
    NoConnection,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Fine => 0,
            Outcome::Negative => 1,
            Outcome::NoConnection => 4,
        })
    }
}

/// Does what the command says.
///
/// # Errors
///
/// A file that cannot be read, a system that does not answer.
pub(crate) async fn run(command: Hl7) -> anyhow::Result<ExitCode> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let outcome = match command {
        Hl7::Parse(options) => read::parse(&options, &mut out),
        Hl7::Get(options) => read::get(&options, &mut out),
        Hl7::Validate(options) => read::check(&options, &mut out),
        Hl7::Ack(options) => write::answer(&options, &mut out),
        Hl7::Convert(options) => write::convert(&options, &mut out),
        Hl7::Diff(options) => compare::compare(&options, &mut out),
        Hl7::Deid(options) => hide::deid(&options, &mut out),
        Hl7::Send(options) => send::send(&options, &mut out).await,
        Hl7::Listen(options) => {
            drop(out);
            listen::listen(options).await
        }
    };
    match outcome {
        Ok(outcome) => Ok(outcome.into()),
        // Whoever reads our output has seen enough (`| head`).
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |error: &std::io::Error| error.kind() == ErrorKind::BrokenPipe;
    error.downcast_ref::<std::io::Error>().is_some_and(broken)
}

/// Text for one line of a terminal: line ends as `\n`, other control characters as `\u{…}`, so that no message
/// can steer the terminal.
fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\r' if rest.peek() == Some(&'\n') => {}
            '\n' | '\r' => shown.push_str("\\n"),
            '\t' => shown.push(c),
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}
