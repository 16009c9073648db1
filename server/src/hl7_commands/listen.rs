//! `listen`: a receiver for trying things out.
#![expect(clippy::disallowed_methods, reason = "a tool outside the server")]

use std::io::Write as _;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use chrono::Local;
use orderly_hl7::acknowledge::{AckCode, AckMode, AckRequest, acknowledge, is_wanted, reject_unreadable};
use orderly_hl7::mllp::{Deframer, FrameLimits, frame};
use orderly_hl7::{Message, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::args::{Listen, Reply};
use super::send::{next_frame, print_message};
use super::{Outcome, shown};

/// Receives until Ctrl-C, or until the wanted number of messages was answered.
pub(super) async fn listen(options: Listen) -> anyhow::Result<Outcome> {
    if let Some(folder) = &options.save {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("could not make the folder {}", folder.display()))?;
    }
    let place = (options.address, options.port);
    let listener = TcpListener::bind(place)
        .await
        .with_context(|| format!("could not listen on {}:{}", place.0, place.1))?;
    eprintln!("Listening on {}; Ctrl-C ends it.", listener.local_addr()?);
    let receiver = Arc::new(Receiver { options, received: AtomicU64::new(0), done: Notify::new() });
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, peer) = accepted?;
                let receiver = Arc::clone(&receiver);
                connections.spawn(async move {
                    if let Err(error) = receiver.connection(stream).await {
                        eprintln!("{peer}: {error:#}");
                    }
                });
            }
            Some(_) = connections.join_next() => {}
            () = receiver.done.notified() => break,
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    let count = receiver.received.load(Ordering::SeqCst);
    eprintln!("{count} messages received");
    Ok(Outcome::Fine)
}

struct Receiver {
    options: Listen,
    received: AtomicU64,
    done: Notify,
}

impl Receiver {
    async fn connection(&self, mut stream: TcpStream) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        let mut deframer = Deframer::new(FrameLimits::default());
        while let Some(bytes) = next_frame(&mut stream, &mut deframer).await? {
            let number = self.received.fetch_add(1, Ordering::SeqCst) + 1;
            if self.options.count.is_some_and(|most| number > most) {
                return Ok(());
            }
            let answer = self.take(bytes, number)?;
            if let Some(answer) = answer {
                stream.write_all(&frame(&answer)).await?;
            }
            if self.options.count == Some(number) {
                stream.shutdown().await?;
                self.done.notify_one();
            }
        }
        Ok(())
    }

    /// Keeps and prints a message and gives the answer to it.
    fn take(&self, bytes: Vec<u8>, number: u64) -> anyhow::Result<Option<Vec<u8>>> {
        let read = Message::parse(bytes.as_slice());
        if let Some(folder) = &self.options.save {
            let id = read.as_ref().map_or("unreadable", |message| &message.head().control_id);
            keep(folder, number, id, &bytes)?;
        }
        let mut out = std::io::stdout().lock();
        let now = Local::now().fixed_offset();
        let control_id = format!("{}{}", now.format("%Y%m%d%H%M%S"), number % 1_000_000);
        match read {
            Ok(message) => {
                if self.options.json {
                    writeln!(out, "{}", json::message_line(&message))?;
                } else if !self.options.quiet {
                    print_message(&message, &mut out)?;
                }
                out.flush()?;
                Ok(self.answer(&message, control_id, now))
            }
            Err(error) => {
                if self.options.json {
                    writeln!(out, "{}", json::unreadable_line(&error))?;
                } else {
                    eprintln!("message {number}: {error}");
                }
                out.flush()?;
                let request = AckRequest::new(AckCode::AR, control_id, now);
                let silent = matches!(self.options.ack, Some(Reply::Silence));
                Ok((!silent).then(|| reject_unreadable(&bytes, &request)))
            }
        }
    }

    fn answer(
        &self,
        message: &Message,
        control_id: String,
        now: chrono::DateTime<chrono::FixedOffset>,
    ) -> Option<Vec<u8>> {
        let header = message.head();
        if header.message_type == "ACK" {
            return None;
        }
        let code = match self.options.ack {
            Some(Reply::Silence) => return None,
            Some(Reply::Code(code)) => code,
            None if AckMode::asked_by(header) == AckMode::Original => AckCode::AA,
            None if is_wanted(&header.accept_ack, true) => AckCode::CA,
            None if is_wanted(&header.application_ack, true) => AckCode::AA,
            None => return None,
        };
        let mut request = AckRequest::new(code, control_id, now);
        request.mode = AckMode::asked_by(header);
        Some(acknowledge(message, &request).bytes().to_vec())
    }
}

/// Writes a message to a file of its own and waits until it is on disk.
fn keep(folder: &FilePath, number: u64, control_id: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let name: String = shown(control_id)
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' })
        .take(60)
        .collect();
    let mut file = None;
    let mut path = PathBuf::new();
    // A second run into the same folder must not write over the files of the first.
    for run in 0_u32..100_000 {
        let run = if run == 0 { String::new() } else { format!("-{run}") };
        path = folder.join(format!("{number:06}{run}_{name}.hl7"));
        match std::fs::File::create_new(&path) {
            Ok(made) => {
                file = Some(made);
                break;
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("could not write {}", path.display())),
        }
    }
    let mut file = file.with_context(|| format!("{} exists already, and so do others", path.display()))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .with_context(|| format!("could not write {}", path.display()))
}
