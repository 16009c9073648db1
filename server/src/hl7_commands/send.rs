//! `send`: messages by MLLP, and what came back.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use orderly_hl7::acknowledge::{AckCode, read_answer};
use orderly_hl7::mllp::{Deframer, FrameLimits, frame};
use orderly_hl7::{Message, Path, Unreadable};
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::args::Send;
use super::input::{Entry, Input};
use super::{Outcome, shown};

/// Sends every message of every file, so often as asked.
pub(super) async fn send(options: &Send, out: &mut impl Write) -> anyhow::Result<Outcome> {
    ensure!(
        options.repeat <= 1 || options.files.iter().all(|file| file != std::path::Path::new("-")),
        "standard input can be read once only: name files to send them several times"
    );
    for file in options.files.iter().filter(|file| *file != std::path::Path::new("-")) {
        // Before anything is sent: half of what was asked for is worse than nothing.
        std::fs::metadata(file).with_context(|| format!("could not read {}", file.display()))?;
    }
    let stream = match TcpStream::connect(&options.to).await {
        Ok(stream) => stream,
        Err(error) => {
            eprintln!("orderly: could not connect to {}: {error}", options.to);
            return Ok(Outcome::NoConnection);
        }
    };
    stream.set_nodelay(true)?;
    let mut session = Session {
        options,
        stream,
        deframer: Deframer::new(FrameLimits::default()),
        summary: Summary::default(),
        started: Instant::now(),
    };
    let sent = session.all(out).await;
    session.summary.tell(session.started.elapsed());
    match sent {
        Ok(()) if session.summary.unexpected == 0 => Ok(Outcome::Fine),
        Ok(()) => Ok(Outcome::Negative),
        Err(error) => Err(error),
    }
}

struct Session<'o> {
    options: &'o Send,
    stream: TcpStream,
    deframer: Deframer,
    summary: Summary,
    started: Instant,
}

/// What came back for one message.
#[derive(Serialize)]
struct Reply<'r> {
    control_id: &'r str,
    code: &'r str,
    text: &'r str,
    expected: bool,
    ms: f64,
}

impl Session<'_> {
    async fn all(&mut self, out: &mut impl Write) -> anyhow::Result<()> {
        for _ in 0..self.options.repeat {
            for file in &self.options.files {
                let input = Input::open(file)?;
                let name = input.name().to_owned();
                for entry in input {
                    match entry? {
                        Entry::Message(message) => self.message(message, out).await?,
                        Entry::Envelope(_) => {}
                        Entry::Unreadable(error @ Unreadable::TooLong(_), _) => {
                            eprintln!("{name}: not sent: {error}");
                            self.summary.unexpected += 1;
                        }
                        // What a receiver says to it may be the question.
                        Entry::Unreadable(_, bytes) => self.exchange(&bytes, "", true, out).await?,
                    }
                }
            }
        }
        Ok(())
    }

    async fn message(&mut self, message: Message, out: &mut impl Write) -> anyhow::Result<()> {
        let message = if self.options.new_ids { self.renamed(&message)? } else { message };
        let mut mended = Vec::new();
        let bytes = if self.options.as_is || message.bytes().contains(&b'\r') {
            message.bytes()
        } else {
            // Text files have line feeds; on the wire only a carriage return ends a segment.
            super::write::write_er7(&message, &mut mended)?;
            &mended
        };
        self.exchange(bytes, &message.head().control_id, wants_answer(&message), out).await
    }

    /// Sends one message and reads the answer to it.
    async fn exchange(
        &mut self,
        bytes: &[u8],
        control_id: &str,
        answered: bool,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        self.keep_rate().await;
        let begun = Instant::now();
        let written = self.stream.write_all(&frame(bytes)).await;
        written.with_context(|| format!("{} closed the connection", self.options.to))?;
        self.summary.sent += 1;
        if self.options.no_wait || !answered {
            self.summary.unanswered += 1;
            return Ok(());
        }
        let wait = Duration::from_secs_f64(self.options.timeout);
        let answer = match tokio::time::timeout(wait, self.answer(control_id)).await {
            Ok(answer) => answer?,
            Err(_) => bail!("{} did not answer within {} s", self.options.to, self.options.timeout),
        };
        let elapsed = begun.elapsed();
        let told = read_answer(&answer);
        let code = told.as_ref().map_or("", |told| told.code.as_str());
        let expected = AckCode::from_text(code).is_some_and(|code| self.options.expect.contains(&code));
        self.summary.count(code, elapsed, expected);
        if self.options.json {
            let text = told.as_ref().map_or("", |told| told.text.as_str());
            let ms = elapsed.as_secs_f64() * 1_000.0;
            let reply = Reply { control_id, code, text, expected, ms };
            writeln!(out, "{}", serde_json::to_string(&reply)?)?;
        } else if !self.options.quiet {
            print_message(&answer, out)?;
        }
        out.flush()?;
        Ok(())
    }

    /// Waits until the next message may go.
    async fn keep_rate(&self) {
        if let Some(rate) = self.options.rate {
            let due = self.started + Duration::from_secs_f64(self.summary.sent as f64 / rate);
            tokio::time::sleep_until(due.into()).await;
        }
    }

    fn renamed(&self, message: &Message) -> anyhow::Result<Message> {
        let path: Path = "MSH-10".parse().context("MSH-10 is a place")?;
        let mut edit = message.edit();
        let id = format!("{}-{}", std::process::id(), self.summary.sent + 1);
        edit.set(&path, &id).context("could not give the message another MSH-10")?;
        Ok(edit.finish())
    }

    /// The answer to the message with this MSH-10; answers to others are told and left.
    async fn answer(&mut self, control_id: &str) -> anyhow::Result<Message> {
        loop {
            let bytes = next_frame(&mut self.stream, &mut self.deframer).await?;
            let Some(bytes) = bytes else {
                bail!("{} closed the connection before it answered", self.options.to);
            };
            let answer = Message::parse(bytes).context("the answer is no message")?;
            let named = answer.text("MSA-2");
            if named == control_id || named.is_empty() || control_id.is_empty() {
                return Ok(answer);
            }
            self.summary.others += 1;
        }
    }
}

/// The next block of a connection; none when it was closed between blocks.
pub(super) async fn next_frame(
    stream: &mut TcpStream,
    deframer: &mut Deframer,
) -> anyhow::Result<Option<Vec<u8>>> {
    let mut buffer = [0; 16 << 10];
    loop {
        if let Some(frame) = deframer.next() {
            return Ok(Some(frame?.bytes));
        }
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(deframer.take_bare_end().map(|frame| frame.bytes));
        }
        deframer.push(&buffer[..length]);
    }
}

/// Whether anything comes back: not for an acknowledgment, not when both levels say NE.
fn wants_answer(message: &Message) -> bool {
    let header = message.head();
    let silent = header.accept_ack == "NE" && matches!(header.application_ack.as_str(), "NE" | "");
    header.message_type != "ACK" && !silent
}

/// A message for people: a segment a line.
pub(super) fn print_message(message: &Message, out: &mut impl Write) -> anyhow::Result<()> {
    for segment in message.segments() {
        let text = message.charset().decode(segment.raw());
        let text = text.unwrap_or_else(|| String::from_utf8_lossy(segment.raw()));
        writeln!(out, "{}", shown(&text))?;
    }
    writeln!(out)?;
    Ok(())
}

/// What all the answers came to.
#[derive(Default)]
struct Summary {
    sent: u64,
    unanswered: u64,
    unexpected: u64,
    others: u64,
    codes: BTreeMap<String, u64>,
    times: Vec<f64>,
}

impl Summary {
    fn count(&mut self, code: &str, elapsed: Duration, expected: bool) {
        let code = if AckCode::from_text(code).is_some() { code } else { "no MSA-1" };
        *self.codes.entry(code.to_owned()).or_default() += 1;
        self.unexpected += u64::from(!expected);
        self.times.push(elapsed.as_secs_f64() * 1_000.0);
    }

    fn tell(&mut self, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        let rate = if seconds > 0.0 { self.sent as f64 / seconds } else { 0.0 };
        eprintln!("{} messages sent in {seconds:.1} s ({rate:.0}/s)", self.sent);
        for (code, count) in &self.codes {
            eprintln!("  {code:<8} {count:>9}");
        }
        if self.unanswered > 0 {
            eprintln!("  {:<8} {:>9}", "not waited for", self.unanswered);
        }
        if self.others > 0 {
            eprintln!("  {} answers named no message that was waiting", self.others);
        }
        self.times.sort_by(f64::total_cmp);
        let at = |part: f64| self.times.get(((self.times.len() as f64 - 1.0) * part) as usize);
        if let (Some(half), Some(most), Some(last)) = (at(0.5), at(0.99), at(1.0)) {
            eprintln!("  answered after {half:.1} ms (half), {most:.1} ms (99 of 100), {last:.1} ms (all)");
        }
        if self.unexpected > 0 {
            eprintln!("  {} not as expected", self.unexpected);
        }
    }
}
