//! One connection of a listener: one task that reads, hands frames on, and closes what stands still.

use super::listener::Shared;
use super::outlet::{Outlet, is_commit};
use super::{Input, Peer, PeerCertificate, Taken};
use crate::crash_point::{Point as _, around};
use orderly_hl7::mllp::{self, Deframer, FrameError};
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

/// From here on a frame has to come at least this fast.
const SLOW_AFTER: Duration = Duration::from_secs(5);
const SLOW_BYTES_PER_SECOND: u64 = 1_024;
/// How often a frame under way is looked at.
const FRAME_TICK: Duration = Duration::from_secs(1);
/// How long a handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How long a stop waits for the rest of a frame that has begun.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// How long the rest of a frame above the limit is read and thrown away, so that its sender reads our answer:
/// closing a socket with unread bytes would take it back.
const REST_TIME: Duration = Duration::from_secs(2);
/// How long the peer may take to read our answers.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// What is kept of a frame above the limit.
const HEAD_BYTES_KEPT: usize = 64 << 10;
/// Longest rest of a connection whose location is at its rate, so that it notices a stop.
const PACE_LOOK: Duration = Duration::from_millis(250);
/// Rest of a connection whose location has too many messages under way.
const CROWD_LOOK: Duration = Duration::from_millis(2);
const READ_BYTES: usize = 64 << 10;

thread_local! {
    /// One read buffer a thread, not a connection: nothing is awaited while it is borrowed.
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// The socket of a connection and its way back.
pub(super) struct Connection {
    socket: Socket,
    outlet: Arc<Outlet>,
}

enum Socket {
    /// The other half is shared with whoever answers.
    Plain {
        incoming: OwnedReadHalf,
        answers: Arc<OwnedWriteHalf>,
    },
    Tls {
        stream: Box<TlsStream<TcpStream>>,
        buffer: Vec<u8>,
    },
}

impl Connection {
    pub(super) fn plain(stream: TcpStream, shared: &Shared) -> Self {
        let (incoming, answers) = stream.into_split();
        let answers = Arc::new(answers);
        let outlet = Outlet::new(
            Some(Arc::clone(&answers)),
            shared.settings.framing,
            Arc::clone(&shared.counters.bytes_out),
            Arc::clone(&shared.in_flight),
        );
        Self { socket: Socket::Plain { incoming, answers }, outlet }
    }

    pub(super) async fn secured(
        stream: TcpStream,
        tls: &Arc<rustls::ServerConfig>,
        shared: &Shared,
        peer: &mut Peer,
    ) -> io::Result<Self> {
        let accept = TlsAcceptor::from(Arc::clone(tls)).accept(stream);
        let stream = tokio::time::timeout(HANDSHAKE_TIME, accept).await??;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        peer.certificate = shown.map(|certificate| {
            let hash = Sha256::digest(certificate);
            Arc::new(PeerCertificate { sha256: hash.iter().map(|byte| format!("{byte:02x}")).collect() })
        });
        let outlet = Outlet::new(
            None,
            shared.settings.framing,
            Arc::clone(&shared.counters.bytes_out),
            Arc::clone(&shared.in_flight),
        );
        Ok(Self { socket: Socket::Tls { stream: Box::new(stream), buffer: vec![0; 8 << 10] }, outlet })
    }
}

impl Socket {
    /// Reads what is there into `deframer`; 0 is the end. May be dropped halfway: nothing is lost.
    async fn read(&mut self, deframer: &mut Deframer) -> io::Result<usize> {
        match self {
            // A read that does not fill the buffer tells that nothing is left: no second one, unlike `try_read`.
            Self::Plain { incoming, .. } => {
                poll_fn(|context| {
                    READ_BUFFER.with_borrow_mut(|buffer| {
                        let mut buffer = ReadBuf::new(buffer);
                        ready!(Pin::new(&mut *incoming).poll_read(context, &mut buffer))?;
                        deframer.push(buffer.filled());
                        Poll::Ready(Ok(buffer.filled().len()))
                    })
                })
                .await
            }
            Self::Tls { stream, buffer } => {
                let count = stream.read(buffer).await?;
                deframer.push(&buffer[..count]);
                Ok(count)
            }
        }
    }

    /// Writes all that is left, within a time limit.
    async fn flush(&mut self, outlet: &Outlet) -> io::Result<()> {
        let bytes = outlet.begin_writing();
        if bytes.is_empty() {
            return Ok(());
        }
        let write = async {
            match self {
                Self::Plain { answers, .. } => write_shared(answers, &bytes).await,
                Self::Tls { stream, .. } => {
                    stream.write_all(&bytes).point("mllp: write an answer").await?;
                    stream.flush().await
                }
            }
        };
        tokio::time::timeout(WRITE_TIME, write).await??;
        outlet.end_writing(bytes.len());
        Ok(())
    }

    async fn close(&mut self) {
        match self {
            // The last reference closes it; answers that come later find a closed outlet.
            Self::Plain { answers, .. } => {
                let stream: &TcpStream = (**answers).as_ref();
                let _ = socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Write);
            }
            Self::Tls { stream, .. } => {
                let _ = tokio::time::timeout(Duration::from_secs(1), stream.shutdown()).await;
            }
        }
    }
}

/// Whether a frame takes too long: by its end of time, or because its bytes come too slowly.
pub(super) fn is_too_slow(age: Duration, bytes: u64, frame_time: Duration) -> bool {
    let slow = age > SLOW_AFTER && bytes < SLOW_BYTES_PER_SECOND * age.as_secs();
    slow || age >= frame_time
}

async fn write_shared(stream: &OwnedWriteHalf, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match around("mllp: write an answer", || stream.try_write(bytes)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Runs a connection to its end.
pub(super) async fn run(connection: Connection, peer: Peer, shared: &Shared, stop: CancellationToken) {
    let Connection { socket, outlet } = connection;
    let limits = mllp::FrameLimits {
        frame_bytes_max: shared.settings.limits.frame_bytes,
        kept_bytes_max: HEAD_BYTES_KEPT,
    };
    let framing = shared.settings.framing;
    let marks = mllp::Marks {
        start: framing.start,
        end: framing.end,
        last: framing.last,
        start_optional: !framing.refuse_missing_start,
    };
    let now = Instant::now();
    let mut reader = Reader {
        socket,
        outlet,
        deframer: Deframer::with_marks(limits, marks),
        peer,
        shared,
        frame_since: None,
        heard_at: now,
        alone: false,
        too_large: false,
        ending: false,
    };
    reader.converse(&stop).await;
    reader.finish().await;
}

struct Reader<'a> {
    socket: Socket,
    outlet: Arc<Outlet>,
    deframer: Deframer,
    peer: Peer,
    shared: &'a Shared,
    /// When the frame under way began.
    frame_since: Option<Instant>,
    heard_at: Instant,
    /// The last frame must be answered before the next one is handed on.
    alone: bool,
    /// A frame was above the limit; more of it may still come.
    too_large: bool,
    ending: bool,
}

impl Reader<'_> {
    async fn converse(&mut self, stop: &CancellationToken) {
        let outlet = Arc::clone(&self.outlet);
        let mut woken = pin!(outlet.wake.notified());
        let mut stopped = pin!(stop.cancelled());
        let mut stopping_since = None;
        let mut alarm = pin!(tokio::time::sleep_until(self.next_look(Instant::now())));
        while !self.ending {
            if let Some(resume_at) = self.hand_on(stopping_since.is_some()) {
                tokio::time::sleep_until(resume_at).await;
                continue;
            }
            let full = self.is_full();
            let standing = self.outlet.standing(full || stopping_since.is_some());
            if standing.closing || (stopping_since.is_some() && self.may_stop(standing.owed, stopping_since))
            {
                self.ending = true;
                break;
            }
            if full && !self.is_full() {
                // A slot became free between the two looks.
                continue;
            }
            let look = self.next_look(Instant::now());
            if look < alarm.deadline() {
                alarm.as_mut().reset(look);
            }
            tokio::select! {
                biased;
                () = &mut woken => {
                    woken.set(outlet.wake.notified());
                    if self.socket.flush(&outlet).await.is_err() {
                        self.ending = true;
                    }
                }
                read = self.socket.read(&mut self.deframer), if !full => self.heard(read),
                () = &mut alarm => {
                    let now = Instant::now();
                    self.look(now);
                    alarm.as_mut().reset(self.next_look(now));
                }
                () = &mut stopped, if stopping_since.is_none() => stopping_since = Some(Instant::now()),
            }
        }
    }

    fn is_full(&self) -> bool {
        let owed = self.outlet.owed();
        owed >= self.shared.settings.limits.pipelined || (self.alone && owed > 0)
    }

    fn may_stop(&self, owed: usize, since: Option<Instant>) -> bool {
        let grace_over = since.is_some_and(|since| since.elapsed() > STOP_GRACE);
        owed == 0 && (!self.deframer.is_open() || grace_over)
    }

    fn heard(&mut self, read: io::Result<usize>) {
        match read {
            Ok(0) | Err(_) => self.ending = true,
            Ok(count) => {
                self.shared.counters.bytes_in.fetch_add(count as u64, Ordering::Relaxed);
                self.heard_at = Instant::now();
            }
        }
    }

    /// Hands on what is complete, as far as there is room. Gives the time to wait until when the location's
    /// rate is used up.
    fn hand_on(&mut self, stopping: bool) -> Option<Instant> {
        while !self.is_full() {
            if stopping && !self.deframer.is_open() {
                return None;
            }
            if let Some(resume_at) = self.paced_until() {
                return Some(resume_at);
            }
            if self.deframer.pending() > 0 && self.is_crowded() {
                return Some(Instant::now() + CROWD_LOOK);
            }
            let Some(found) = self.deframer.next() else { break };
            self.charge_pace();
            let input = match found {
                // The peer has stored our acknowledgment: nothing more to do about it.
                Ok(frame) if self.shared.settings.framing.commit_bytes && is_commit(&frame.bytes) => continue,
                Ok(frame) => {
                    self.shared.counters.frames.fetch_add(1, Ordering::Relaxed);
                    Input::Frame(frame.bytes)
                }
                Err(FrameError::TooLong { head, .. }) => Input::TooLarge(head),
            };
            self.too_large = matches!(input, Input::TooLarge(_));
            let last = self.too_large || !self.shared.settings.persistent;
            self.put(input);
            if last {
                self.outlet.close_when_answered();
                self.alone = true;
                break;
            }
        }
        self.frame_since = match (self.deframer.is_open(), self.frame_since) {
            (true, None) => Some(Instant::now()),
            (true, since) => since,
            (false, _) => None,
        };
        None
    }

    fn put(&mut self, input: Input) {
        if !matches!(input, Input::Frame(_)) {
            self.shared.counters.broken_frames.fetch_add(1, Ordering::Relaxed);
        }
        let reply = self.outlet.reply();
        self.alone = self.shared.intake.take(input, &self.peer, reply) == Taken::Alone;
    }

    /// Hands on what is left when no more will be read: half a frame, and noise. Both are kept, not answered.
    fn put_leftovers(&mut self) {
        let half = self.deframer.partial();
        if !half.is_empty() {
            let half = half.to_vec();
            self.put(Input::Incomplete(half));
        }
        // One entry a connection: a port scanner must not fill the database.
        let noise = self.deframer.noise_kept();
        if !noise.is_empty() {
            let noise = noise.to_vec();
            self.put(Input::Noise(noise));
        }
    }

    /// Whether the location has as many messages under way as it may have; the others wait in their sockets.
    fn is_crowded(&self) -> bool {
        self.shared.in_flight.load(Ordering::Relaxed) >= self.shared.limits.in_flight
    }

    /// Slower reading in place of dropping, for a location with a rate.
    fn paced_until(&self) -> Option<Instant> {
        self.shared.limits.rate?;
        let next = *self.shared.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        next.filter(|next| *next > now).map(|next| next.min(now + PACE_LOOK))
    }

    fn charge_pace(&self) {
        let Some(rate) = self.shared.limits.rate else { return };
        let mut next = self.shared.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        *next = Some(next.map_or(now, |next| next.max(now)) + Duration::from_secs(1) / rate.max(1));
    }

    /// When to look whether the connection stands still.
    fn next_look(&self, now: Instant) -> Instant {
        if self.frame_since.is_some() {
            return now + FRAME_TICK;
        }
        let idle = self.shared.settings.limits.idle;
        if idle.is_zero() { now + Duration::from_secs(3600) } else { self.heard_at.max(now - idle) + idle }
    }

    fn look(&mut self, now: Instant) {
        if let Some(since) = self.frame_since {
            let bytes = self.deframer.pending() as u64;
            if is_too_slow(now - since, bytes, self.shared.settings.limits.frame_time) {
                self.ending = true;
            }
            return;
        }
        let idle = self.shared.settings.limits.idle;
        let owed = self.outlet.owed();
        if !idle.is_zero() && owed == 0 && now - self.heard_at >= idle {
            self.ending = true;
        }
    }

    /// Waits for what is still owed, as long as somebody is there to read it, and closes.
    async fn finish(&mut self) {
        self.put_leftovers();
        let outlet = Arc::clone(&self.outlet);
        let wait = async {
            loop {
                if self.socket.flush(&outlet).await.is_err() {
                    return;
                }
                let standing = outlet.standing(true);
                if (standing.owed == 0 || standing.closing) && standing.unwritten == 0 {
                    return;
                }
                outlet.wake.notified().await;
            }
        };
        let _ = tokio::time::timeout(WRITE_TIME, wait).await;
        outlet.shut();
        self.socket.close().await;
        if self.too_large {
            let rest = async { while matches!(self.socket.read(&mut self.deframer).await, Ok(1..)) {} };
            let _ = tokio::time::timeout(REST_TIME, rest).await;
        }
    }
}
