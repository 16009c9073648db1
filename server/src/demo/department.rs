//! A simulated department: an MLLP listener that answers what it is sent, and a sender that waits for each
//! acknowledgment and repeats a message until it has one, as real systems do.
#![expect(clippy::disallowed_methods, reason = "stands for systems outside the server")]

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use orderly_hl7::Message;
use orderly_hl7::mllp::{self, Deframer, FrameLimits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How long a department waits for an acknowledgment before it sends the message again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// Called for each message that a department receives.
pub(crate) type OnMessage = Arc<dyn Fn(&Message) + Send + Sync>;

/// Listens at `address` until `stop` and answers each message: CA where MSH-15 asks for an accept
/// acknowledgment, else AA. Where MSH-16 asks too, the AA follows through `outbox`.
pub(crate) async fn listen(
    name: &'static str,
    address: String,
    outbox: Option<Outbox>,
    on_message: OnMessage,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(&address)
        .await
        .map_err(|error| anyhow::anyhow!("department {name} could not listen on {address}: {error}"))?;
    tokio::spawn(async move {
        loop {
            let connection = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = connection else { continue };
            let (outbox, on_message, stop) = (outbox.clone(), on_message.clone(), stop.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = converse(name, stream, outbox, on_message) => {}
                }
            });
        }
    });
    Ok(())
}

async fn converse(name: &str, mut stream: TcpStream, outbox: Option<Outbox>, on_message: OnMessage) {
    let mut deframer = Deframer::new(FrameLimits::default());
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        deframer.push(&buffer[..length]);
        while let Some(Ok(frame)) = deframer.next() {
            let Ok(message) = Message::parse(frame.bytes) else { continue };
            let (answer, later) = answers(name, &message);
            if stream.write_all(&mllp::frame(answer.as_bytes())).await.is_err() {
                return;
            }
            if let (Some(later), Some(outbox)) = (later, &outbox) {
                outbox.send(later);
            }
            on_message(&message);
        }
    }
}

/// The answer on this connection, and the application acknowledgment that follows on another one.
fn answers(name: &str, message: &Message) -> (String, Option<String>) {
    let wants = |path: &str| matches!(message.text(path).as_str(), "AL" | "SU");
    if !wants("MSH-15") {
        return (acknowledgment(name, message, "AA"), None);
    }
    let later = wants("MSH-16").then(|| acknowledgment(name, message, "AA"));
    (acknowledgment(name, message, "CA"), later)
}

fn acknowledgment(name: &str, message: &Message, code: &str) -> String {
    let now = Utc::now();
    format!(
        "MSH|^~\\&|{}|{}|{}|{}|{}||ACK^{}|{}{}{}|P|{}\rMSA|{code}|{}\r",
        message.text("MSH-5"),
        message.text("MSH-6"),
        message.text("MSH-3"),
        message.text("MSH-4"),
        now.format(super::story::INSTANT),
        message.text("MSH-9.2"),
        name.get(..2).unwrap_or(name).to_uppercase(),
        code,
        now.timestamp_micros() % 100_000_000_000,
        message.text("MSH-12"),
        message.text("MSH-10"),
    )
}

/// Where a department puts what it wants to send; one connection delivers it in order.
#[derive(Clone)]
pub(crate) struct Outbox(mpsc::UnboundedSender<String>);

impl Outbox {
    /// Opens the connection of one department to the hub at `hub`.
    pub(crate) fn open(hub: String, stop: CancellationToken) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = deliver(hub, receiver) => {}
            }
        });
        Self(sender)
    }

    /// Queues one message; it is repeated until the hub has answered it.
    pub(crate) fn send(&self, message: String) {
        // The receiver is only gone when the demo stops.
        let _stopped = self.0.send(message);
    }
}

async fn deliver(hub: String, mut waiting: mpsc::UnboundedReceiver<String>) {
    let mut connection: Option<TcpStream> = None;
    while let Some(message) = waiting.recv().await {
        loop {
            let stream = match connection.take() {
                Some(stream) => Ok(stream),
                None => TcpStream::connect(&hub).await,
            };
            if let Ok(mut stream) = stream
                && exchange(&mut stream, message.as_bytes()).await.is_some()
            {
                connection = Some(stream);
                break;
            }
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    }
}

/// Sends one message and waits for its answer; none when the connection broke or nothing came in time.
async fn exchange(stream: &mut TcpStream, message: &[u8]) -> Option<Vec<u8>> {
    stream.write_all(&mllp::frame(message)).await.ok()?;
    let mut deframer = Deframer::new(FrameLimits::default());
    let mut buffer = [0; 4096];
    tokio::time::timeout(ANSWER_TIMEOUT, async {
        loop {
            let length = stream.read(&mut buffer).await.ok()?;
            if length == 0 {
                return None;
            }
            deframer.push(&buffer[..length]);
            if let Some(answer) = deframer.next() {
                return answer.ok().map(|frame| frame.bytes);
            }
        }
    })
    .await
    .ok()
    .flatten()
}
