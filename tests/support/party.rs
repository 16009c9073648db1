//! The systems around the server: senders and receivers on real sockets, each keeping its own ledger.
#![expect(clippy::disallowed_methods, reason = "a test stands outside the server")]

use std::sync::{Arc, Mutex};

use orderly_hl7::Message;
use orderly_hl7::mllp::{self, Deframer, FrameLimits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use crate::{eventually, patience};

/// What a receiver answers to a message; none: it stays silent.
pub type Answering = Arc<dyn Fn(&Message) -> Option<String> + Send + Sync>;

/// All that a receiver answers to a message on its connection, one after the other.
pub type Talking = Arc<dyn Fn(&Message) -> Vec<String> + Send + Sync>;

/// A receiving system.
pub struct Receiver {
    address: String,
    received: Arc<Mutex<Vec<Message>>>,
    task: JoinHandle<()>,
}

impl Receiver {
    /// Listens on a free port and answers AA to everything.
    pub async fn open() -> Self {
        Self::answering(Arc::new(|message| Some(acknowledgment(message, "AA")))).await
    }

    /// Listens on a free port and answers as told.
    ///
    /// # Panics
    ///
    /// When no port is free.
    pub async fn answering(answer: Answering) -> Self {
        Self::talking(Arc::new(move |message: &Message| answer(message).into_iter().collect())).await
    }

    /// As [`Receiver::answering`] for a system that may say more than one thing.
    ///
    /// # Panics
    ///
    /// When no port is free.
    pub async fn talking(answer: Talking) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let received = Arc::new(Mutex::new(Vec::new()));
        let ledger = received.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(take(stream, answer.clone(), ledger.clone()));
            }
        });
        Self { address, received, task }
    }

    /// A system that is down: its port is its own, and nobody listens there.
    ///
    /// # Panics
    ///
    /// When no port is free.
    pub fn down() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket can be made");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a port is free");
        let address = socket.local_addr().expect("it is bound").to_string();
        let task = tokio::spawn(async move {
            // Kept, so that nobody else gets the port.
            let _socket = socket;
            std::future::pending::<()>().await;
        });
        Self { address, received: Arc::default(), task }
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// All it has received, in order.
    ///
    /// # Panics
    ///
    /// Never while no other holder panicked.
    pub fn received(&self) -> Vec<Message> {
        self.received.lock().expect("nothing panics while it holds the ledger").clone()
    }

    /// Forgets what it received, so that it can go on for days.
    ///
    /// # Panics
    ///
    /// As [`Receiver::received`].
    pub fn forget(&self) {
        self.received.lock().expect("nothing panics while it holds the ledger").clear();
    }

    /// Waits for a message that `wanted` accepts.
    pub async fn expect(&self, what: &str, wanted: impl Fn(&Message) -> bool) -> Message {
        eventually(what, async || self.received().into_iter().find(|message| wanted(message))).await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(mut stream: TcpStream, answer: Talking, ledger: Arc<Mutex<Vec<Message>>>) {
    let mut deframer = Deframer::new(FrameLimits::default());
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        deframer.push(&buffer[..length]);
        while let Some(Ok(frame)) = deframer.next() {
            let Ok(message) = Message::parse(frame.bytes) else { continue };
            let answers = answer(&message);
            ledger.lock().expect("nothing panics while it holds the ledger").push(message);
            for answer in answers {
                if stream.write_all(&mllp::frame(answer.as_bytes())).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// An original-mode acknowledgment.
pub(crate) fn acknowledgment(message: &Message, code: &str) -> String {
    format!(
        "MSH|^~\\&|{}|{}|{}|{}|20260301||ACK|A{}|P|{}\rMSA|{code}|{}\r",
        message.text("MSH-5"),
        message.text("MSH-6"),
        message.text("MSH-3"),
        message.text("MSH-4"),
        message.text("MSH-10"),
        message.text("MSH-12"),
        message.text("MSH-10"),
    )
}

/// A sending system with one connection.
pub struct Sender {
    stream: TcpStream,
    deframer: Deframer,
}

impl Sender {
    /// Connects.
    ///
    /// # Errors
    ///
    /// When nobody listens.
    pub async fn connect(address: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        Ok(Self { stream, deframer: Deframer::new(FrameLimits::default()) })
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Sends one message and waits for the answer; none when the connection ended without one.
    ///
    /// # Panics
    ///
    /// When nothing happens at all.
    pub async fn send(&mut self, message: &str) -> Option<Message> {
        self.write(&mllp::frame(message.as_bytes())).await.ok()?;
        self.answer().await
    }

    /// Whether something has come that nobody read.
    pub fn has_more(&mut self) -> bool {
        let mut buffer = [0; 4096];
        if let Ok(length) = self.stream.try_read(&mut buffer) {
            self.deframer.push(&buffer[..length]);
        }
        self.deframer.next().is_some()
    }

    /// The next answer; none when the connection ended without one.
    ///
    /// # Panics
    ///
    /// When nothing happens at all.
    pub async fn answer(&mut self) -> Option<Message> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(frame) = self.deframer.next() {
                return Message::parse(frame.ok()?.bytes).ok();
            }
            let length = tokio::time::timeout(patience(), self.stream.read(&mut buffer))
                .await
                .expect("the server answers or closes")
                .ok()?;
            if length == 0 {
                return None;
            }
            self.deframer.push(&buffer[..length]);
        }
    }
}

/// CA where MSH-15 asks for an accept acknowledgment, else AA.
pub fn answer_as_asked(message: &Message) -> String {
    let code = if matches!(message.text("MSH-15").as_str(), "AL" | "SU") { "CA" } else { "AA" };
    acknowledgment(message, code)
}
