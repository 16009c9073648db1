//! `orderly hl7 …`: messages in files, offline. Also the smallest useful MLLP client and listener.

use std::io::{Read as _, Write as _};
use std::path::Path as FilePath;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use chrono::Local;
use orderly_hl7::acknowledge::{
    AckCode, AckMode, AckRequest, acknowledge, reject_unreadable, unreadable_finding,
};
use orderly_hl7::mllp::{Deframer, FrameLimits, frame};
use orderly_hl7::validate::{Level, Validation, validate};
use orderly_hl7::{Message, Path, Severity, Unreadable, Value, batch, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::cli::{Hl7, Mode};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Does what the command says.
///
/// # Errors
///
/// A file that cannot be read, a path that is none, a system that does not answer.
pub(crate) async fn run(command: Hl7) -> anyhow::Result<ExitCode> {
    match command {
        Hl7::Parse { json, file } => parse(&file, json),
        Hl7::Get { json, file, paths } => get(&file, &paths, json),
        Hl7::Validate { json, level, file } => check(&file, &level, json),
        Hl7::Ack { mode, code, file } => answer(&file, mode, code.as_deref()),
        Hl7::Send { to, files } => send(&to, &files).await,
        Hl7::Listen { port } => listen(port).await,
    }
}

fn parse(file: &FilePath, json: bool) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    let mut worst = ExitCode::SUCCESS;
    for message in messages(file)? {
        match message {
            Ok(message) if json => writeln!(out, "{}", json::message_line(&message))?,
            Ok(message) => print_readable(&mut out, &message)?,
            Err(error) => {
                worst = ExitCode::from(1);
                if json {
                    writeln!(out, "{}", json::unreadable_line(&error))?;
                } else {
                    eprintln!("{}: {error}", file.display());
                }
            }
        }
    }
    Ok(worst)
}

/// One line a field: path and value.
fn print_readable(out: &mut impl std::io::Write, message: &Message) -> anyhow::Result<()> {
    for segment in message.segments() {
        writeln!(out, "{}", segment.id())?;
        for number in 1..=segment.field_count() {
            if let Some(raw) = segment.field(number).raw().filter(|raw| !raw.is_empty()) {
                writeln!(out, "  {}-{number:<4} {}", segment.id(), String::from_utf8_lossy(raw))?;
            }
        }
    }
    Ok(())
}

fn get(file: &FilePath, paths: &[String], json: bool) -> anyhow::Result<ExitCode> {
    let paths: Vec<Path> = paths
        .iter()
        .map(|path| path.parse().with_context(|| format!("`{path}` is not a place in a message")))
        .collect::<Result<_, _>>()?;
    let mut out = std::io::stdout().lock();
    for message in messages(file)? {
        let message = message.with_context(|| format!("could not read {}", file.display()))?;
        for path in &paths {
            let value = message.get(path);
            if json {
                writeln!(out, "{}", json::value_line(&value))?;
            } else {
                let text = match &value {
                    Value::Delete => "\"\"",
                    other => other.text().unwrap_or_default(),
                };
                writeln!(out, "{text}")?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn check(file: &FilePath, level: &str, json: bool) -> anyhow::Result<ExitCode> {
    let level = match level {
        "none" => Level::None,
        "structure" => Level::Structure,
        "standard" => Level::Standard,
        other => anyhow::bail!("`{other}` is not a level: choose none, structure or standard"),
    };
    let mut out = std::io::stdout().lock();
    let mut worst = ExitCode::SUCCESS;
    for message in messages(file)? {
        let findings = match message {
            Ok(message) => validate(&message, &Validation::at(level)),
            Err(error) => vec![unreadable_finding(&error)],
        };
        if findings.iter().any(|finding| finding.severity == Severity::Error) {
            worst = ExitCode::from(1);
        }
        if json {
            writeln!(out, "{}", json::findings_line(&findings))?;
        } else {
            for finding in &findings {
                writeln!(
                    out,
                    "{}: {} {} {}",
                    finding.severity.letter(),
                    finding.path,
                    finding.code,
                    finding.text
                )?;
            }
        }
    }
    Ok(worst)
}

#[expect(clippy::disallowed_methods, reason = "a command line that answers at the time of the machine")]
fn answer(file: &FilePath, mode: Mode, code: Option<&str>) -> anyhow::Result<ExitCode> {
    let bytes = read(file)?;
    let now = Local::now().fixed_offset();
    let usual = match mode {
        Mode::Original => AckCode::AA,
        Mode::Enhanced => AckCode::CA,
    };
    let code = match code {
        None => usual,
        Some(text) => {
            AckCode::from_text(text).with_context(|| format!("`{text}` is not one of AA AE AR CA CE CR"))?
        }
    };
    let mut out = std::io::stdout().lock();
    for (number, message) in split(&bytes).into_iter().enumerate() {
        let control_id = format!("{}{number}", now.format("%Y%m%d%H%M%S"));
        let mut request = AckRequest::new(code, control_id, now);
        if matches!(mode, Mode::Enhanced) {
            request.mode = AckMode::Enhanced;
        }
        match Message::parse(message) {
            Ok(message) => out.write_all(acknowledge(&message, &request).bytes())?,
            Err(_) => {
                request.code = AckCode::AR;
                out.write_all(&reject_unreadable(message, &request))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn send(to: &str, files: &[std::path::PathBuf]) -> anyhow::Result<ExitCode> {
    ensure!(!files.is_empty(), "name at least one file; `-` is standard input");
    let mut stream = TcpStream::connect(to).await.with_context(|| format!("could not connect to {to}"))?;
    let mut deframer = Deframer::new(FrameLimits::default());
    let mut worst = ExitCode::SUCCESS;
    for file in files {
        let bytes = read(file)?;
        for message in split(&bytes) {
            stream.write_all(&frame(message)).await?;
            let answer = tokio::time::timeout(ANSWER_TIMEOUT, next_frame(&mut stream, &mut deframer))
                .await
                .with_context(|| format!("{to} did not answer within {} s", ANSWER_TIMEOUT.as_secs()))??;
            let positive = Message::parse(answer.clone())
                .is_ok_and(|answer| matches!(answer.text("MSA-1").as_str(), "AA" | "CA"));
            if !positive {
                worst = ExitCode::from(1);
            }
            println!("{}", String::from_utf8_lossy(&answer).replace('\r', "\n").trim_end());
        }
    }
    Ok(worst)
}

async fn next_frame(stream: &mut TcpStream, deframer: &mut Deframer) -> anyhow::Result<Vec<u8>> {
    let mut buffer = [0; 4096];
    loop {
        if let Some(frame) = deframer.next() {
            return Ok(frame?.bytes);
        }
        let length = stream.read(&mut buffer).await?;
        ensure!(length > 0, "the other side closed the connection before it answered");
        deframer.push(&buffer[..length]);
    }
}

#[expect(clippy::disallowed_methods, reason = "a command line that answers at the time of the machine")]
async fn listen(port: u16) -> anyhow::Result<ExitCode> {
    let listener = TcpListener::bind(("127.0.0.1", port))
        .await
        .with_context(|| format!("could not listen on port {port}"))?;
    eprintln!("Listening on {}; Ctrl-C ends it.", listener.local_addr()?);
    loop {
        let (mut stream, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
        };
        let mut deframer = Deframer::new(FrameLimits::default());
        while let Ok(bytes) = next_frame(&mut stream, &mut deframer).await {
            println!("{}\n", String::from_utf8_lossy(&bytes).replace('\r', "\n").trim_end());
            let now = Local::now().fixed_offset();
            let control_id = now.format("%Y%m%d%H%M%S%6f").to_string();
            let answer = match Message::parse(bytes.clone()) {
                Ok(message) => {
                    acknowledge(&message, &AckRequest::new(AckCode::AA, control_id, now)).bytes().to_vec()
                }
                Err(_) => reject_unreadable(&bytes, &AckRequest::new(AckCode::AR, control_id, now)),
            };
            if stream.write_all(&frame(&answer)).await.is_err() {
                break;
            }
        }
    }
}

fn messages(file: &FilePath) -> anyhow::Result<Vec<Result<Message, Unreadable>>> {
    let bytes = read(file)?;
    Ok(split(&bytes).into_iter().map(Message::parse).collect())
}

/// The messages of a file: bare ones, in batches, or as MLLP blocks. A file without any is one unreadable message.
fn split(bytes: &[u8]) -> Vec<&[u8]> {
    let items = batch::split(bytes).messages;
    if items.is_empty() { vec![bytes] } else { items.into_iter().map(|item| &bytes[item.range]).collect() }
}

fn read(file: &FilePath) -> anyhow::Result<Vec<u8>> {
    if file == FilePath::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    std::fs::read(file).with_context(|| format!("could not read {}", file.display()))
}
