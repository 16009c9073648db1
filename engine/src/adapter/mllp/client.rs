//! Calls an MLLP receiver: writes one frame at a time and reads what comes back.

use super::outlet::frame_into;
use crate::configuration::{CallerTls, MllpSend};
use crate::crash_point::Point as _;
use arc_swap::ArcSwap;
use orderly_hl7::mllp::{Deframer, FrameLimits, Marks};
use rustls_pki_types::ServerName;
use sha2::{Digest, Sha256};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const READ_BYTES: usize = 8 << 10;

/// How a receiver is called.
#[derive(Debug, Clone)]
pub struct Dial {
    settings: MllpSend,
    tls: Option<(Arc<ArcSwap<rustls::ClientConfig>>, CallerTls)>,
}

/// What went wrong with a call; each has its own row in the table of answers.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody took the call.
    #[error("no connection")]
    NoConnection(#[source] io::Error),
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    /// Nothing came in time.
    #[error("no answer in time")]
    Timeout,
}

impl Dial {
    /// A receiver; `tls` as `super::tls::caller` made it, for a target with TLS.
    pub fn new(settings: MllpSend, tls: Option<Arc<rustls::ClientConfig>>) -> Self {
        let tls = tls.map(|tls| Arc::new(ArcSwap::new(tls))).zip(settings.tls.clone());
        Self { settings, tls }
    }

    /// Calls from now on show and demand these certificates.
    pub fn renew(&self, tls: Arc<rustls::ClientConfig>) {
        if let Some((current, _)) = &self.tls {
            current.store(tls);
        }
    }

    /// Calls.
    ///
    /// # Errors
    ///
    /// `NoConnection`, whatever step of it failed.
    pub async fn call(&self) -> Result<Client, ClientError> {
        let opened = tokio::time::timeout(self.settings.connect_timeout, self.open()).await;
        let socket = opened.map_err(|_| ClientError::NoConnection(io::ErrorKind::TimedOut.into()))?;
        Ok(Client {
            socket: socket.map_err(ClientError::NoConnection)?,
            deframer: Deframer::with_marks(FrameLimits::default(), marks(&self.settings)),
            framed: Vec::new(),
            settings: self.settings.clone(),
            used_at: Instant::now(),
            unanswered: 0,
        })
    }

    async fn open(&self) -> io::Result<Socket> {
        let address = &self.settings.connect;
        let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
        stream.set_nodelay(true)?;
        let keepalive = socket2::TcpKeepalive::new().with_time(self.settings.keepalive);
        socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        let Some((config, tls)) = &self.tls else { return Ok(Socket::Plain(stream)) };
        let name = tls.server_name.as_ref().unwrap_or(&address.host).clone();
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        let stream = TlsConnector::from(config.load_full()).connect(name, stream).await?;
        if !tls.pin_sha256.is_empty() {
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let hash = shown.map(|certificate| hex(&Sha256::digest(certificate)));
            if !hash.is_some_and(|hash| tls.pin_sha256.contains(&hash)) {
                return Err(io::Error::other("the receiver's certificate is not the pinned one"));
            }
        }
        Ok(Socket::Tls(Box::new(stream)))
    }
}

fn marks(settings: &MllpSend) -> Marks {
    let framing = settings.framing;
    Marks {
        start: framing.start,
        end: framing.end,
        last: framing.last,
        start_optional: !framing.refuse_missing_start,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Debug)]
enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// An open connection to a receiver.
#[derive(Debug)]
pub struct Client {
    socket: Socket,
    deframer: Deframer,
    framed: Vec<u8>,
    settings: MllpSend,
    used_at: Instant,
    /// Exchanges without an answer since the last frame came.
    unanswered: u32,
}

impl Client {
    /// Notes that an answer did not come in time. True when it was not the first: whoever is at the other end of a
    /// connection that only takes is gone, and the system does not know it yet.
    pub fn is_dead_after_silence(&mut self) -> bool {
        self.unanswered += 1;
        self.unanswered > 1
    }

    /// Writes one message.
    ///
    /// # Errors
    ///
    /// `Broken`: the message may have arrived or not.
    pub async fn write(&mut self, payload: &[u8]) -> Result<(), ClientError> {
        self.framed.clear();
        frame_into(&mut self.framed, payload, &self.settings.framing);
        let write = async {
            match &mut self.socket {
                Socket::Plain(stream) => stream.write_all(&self.framed).point("mllp: write a message").await,
                Socket::Tls(stream) => {
                    stream.write_all(&self.framed).point("mllp: write a message").await?;
                    stream.flush().await
                }
            }
        };
        let written = tokio::time::timeout(self.settings.write_timeout, write).await;
        self.used_at = Instant::now();
        written.map_err(|_| ClientError::Broken(io::ErrorKind::TimedOut.into()))?.map_err(ClientError::Broken)
    }

    /// The next frame that comes back. May be dropped halfway: what was read stays for the next call.
    ///
    /// # Errors
    ///
    /// `Timeout` at `until`, `Broken` when the receiver hung up. Bytes outside a block are passed over.
    pub async fn read(&mut self, until: Instant) -> Result<Vec<u8>, ClientError> {
        loop {
            match self.deframer.next() {
                Some(Ok(frame)) => {
                    self.used_at = Instant::now();
                    self.unanswered = 0;
                    return Ok(frame.bytes);
                }
                Some(Err(error)) => return Err(ClientError::Broken(io::Error::other(error))),
                None => {
                    let read = tokio::time::timeout_at(until, self.fill()).await;
                    match read.map_err(|_| ClientError::Timeout)? {
                        Ok(0) => return Err(ClientError::Broken(io::ErrorKind::UnexpectedEof.into())),
                        Ok(_) => {}
                        Err(error) => return Err(ClientError::Broken(error)),
                    }
                }
            }
        }
    }

    /// A frame that came without being asked for, if one is there.
    ///
    /// # Errors
    ///
    /// `Broken` when the receiver hung up meanwhile.
    pub async fn unasked(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        // Without a timer on a plain socket: this is asked before every message, and the answer is nearly always no.
        while let (0, Socket::Plain(stream)) = (self.deframer.pending(), &self.socket) {
            let mut buffer = [0u8; READ_BYTES];
            match stream.try_read(&mut buffer) {
                Ok(0) => return Err(ClientError::Broken(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => self.deframer.push(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(ClientError::Broken(error)),
            }
        }
        match self.read(Instant::now()).await {
            Ok(frame) => Ok(Some(frame)),
            Err(ClientError::Timeout) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether it stood idle longer than the port wants.
    pub fn is_stale(&self) -> bool {
        !self.settings.idle.is_zero() && self.used_at.elapsed() >= self.settings.idle
    }

    /// Hangs up, politely under TLS.
    pub async fn close(self) {
        if let Socket::Tls(mut stream) = self.socket {
            let _ = tokio::time::timeout(Duration::from_secs(1), stream.shutdown()).await;
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = [0u8; READ_BYTES];
        let count = match &mut self.socket {
            Socket::Plain(stream) => stream.read(&mut buffer).await?,
            Socket::Tls(stream) => stream.read(&mut buffer).await?,
        };
        self.deframer.push(&buffer[..count]);
        Ok(count)
    }
}
