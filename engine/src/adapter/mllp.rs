//! MLLP over TCP and TLS: the listener that receive locations use, and the client of send ports.
//!
//! Frames go in and come out here; what they mean, and what is answered, is decided elsewhere
//! (`receive`, `send`). The block format itself is `orderly_hl7::mllp`.

mod client;
mod connection;
mod listener;
mod outlet;
#[cfg(test)]
mod tests;
pub mod tls;

pub use client::{Client, ClientError, Dial};
pub use listener::{BindError, ConnectionTotal, Counters, Listener};
pub use outlet::{Answer, Line, Reply, Told};
pub(crate) use outlet::{NOT_STORED, STORED, is_commit};

use std::net::SocketAddr;
use std::sync::Arc;

/// What came in on a connection.
#[derive(Debug)]
pub enum Input {
    /// The payload of a whole block.
    Frame(Vec<u8>),
    /// Bytes outside a block, the first few thousand of a connection. They are never answered.
    Noise(Vec<u8>),
    /// The beginning of a block whose end did not come, because the connection ended or time was up.
    Incomplete(Vec<u8>),
    /// The beginning of a block above the limit. The connection closes after the answer.
    TooLarge(Vec<u8>),
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// Address it connects from; none for a file.
    pub address: Option<SocketAddr>,
    /// Running number of the connection within this process: "one sender" for `order: source`. A file is one, too.
    pub connection: u64,
    /// What its certificate says, when it showed one.
    pub certificate: Option<Arc<PeerCertificate>>,
    /// Where in an interchange a message stands, when one is taken apart.
    pub place: Option<Place>,
    /// What FHS or BHS said about the sender of the interchange.
    pub batch_sender: Option<Arc<BatchSender>>,
}

impl Peer {
    /// Where it comes from, in words.
    pub fn remote(&self) -> String {
        self.address.map_or_else(|| "file".to_owned(), |address| address.to_string())
    }

    /// The sender of a file that was claimed under a number.
    pub fn of_file(id: i64) -> Self {
        let connection = id.cast_unsigned();
        Self { address: None, connection, certificate: None, place: None, batch_sender: None }
    }
}

/// A message's place in an interchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Id of the interchange.
    pub interchange: i64,
    /// From 1; 0 stands for the interchange as a whole, -1 for its answer.
    pub number: i32,
    /// Its acknowledgments leave with those of the other messages, not by themselves.
    pub gathered: bool,
}

/// FHS-3 and FHS-4, or those of BHS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchSender {
    /// First component of the third field.
    pub app: String,
    /// First component of the fourth field.
    pub facility: String,
}

/// The certificate a peer showed and we verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// SHA-256 of the certificate, in lower-case hexadecimal digits.
    pub sha256: String,
}

/// Whether the connection may go on reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The next frame may follow at once.
    Queued,
    /// The next frame has to wait for the reply to this one, or it could overtake it.
    Alone,
}

/// Takes what a listener receives.
pub trait Intake: Send + Sync + 'static {
    /// Takes one input of `peer` and answers it, now or later, through `reply`. Runs on the task of the
    /// connection, so it must not block.
    fn take(&self, input: Input, peer: &Peer, reply: Reply) -> Taken;

    /// True while no new connection is wanted.
    fn is_full(&self) -> bool {
        false
    }
}
