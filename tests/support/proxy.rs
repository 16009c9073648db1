//! Proxies that do to a connection what networks do.
#![expect(clippy::disallowed_methods, reason = "a test stands outside the server")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use orderly_hl7::Message;
use orderly_hl7::mllp::{self, Deframer, FrameLimits};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;

use crate::party::acknowledgment;

/// What can happen to a frame and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Both directions wait.
    Delay,
    /// The connection breaks within the frame.
    CutMidFrame,
    /// It breaks between the frame and its answer.
    CutBeforeAnswer,
    /// The answer never comes; the connection stays.
    AnswerLost,
    /// The answer comes twice.
    AnswerDoubled,
    /// An answer to another message comes first.
    AnswerToAnother,
    /// The answer comes byte by byte.
    AnswerInBytes,
    /// The frame comes byte by byte.
    FrameInBytes,
    /// The frame comes twice in one write.
    FrameDoubled,
    /// Nothing passes any more, and nobody hangs up.
    HalfOpen,
}

const FAULTS: [Fault; 10] = [
    Fault::Delay,
    Fault::CutMidFrame,
    Fault::CutBeforeAnswer,
    Fault::AnswerLost,
    Fault::AnswerDoubled,
    Fault::AnswerToAnother,
    Fault::AnswerInBytes,
    Fault::FrameInBytes,
    Fault::FrameDoubled,
    Fault::HalfOpen,
];

/// Stands between an MLLP sender and a receiver, and fails now and then until it is calmed.
pub struct ChaosProxy {
    address: String,
    shared: Arc<Chaos>,
    task: JoinHandle<()>,
}

struct Chaos {
    towards: String,
    /// One frame in so many meets a fault.
    one_in: u32,
    calm: AtomicBool,
    faults: AtomicUsize,
    random: Mutex<StdRng>,
}

impl Chaos {
    fn next(&self) -> (Fault, u64) {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let delay = random.random_range(10..200);
        if self.calm.load(Ordering::Relaxed) || random.random_range(0..self.one_in) != 0 {
            return (Fault::None, delay);
        }
        self.faults.fetch_add(1, Ordering::Relaxed);
        (FAULTS[random.random_range(0..FAULTS.len())], delay)
    }
}

impl ChaosProxy {
    /// Listens on a free port for what belongs to `towards`.
    ///
    /// # Panics
    ///
    /// When no port is free.
    pub async fn open(towards: &str, one_in: u32, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("bound").to_string();
        let shared = Arc::new(Chaos {
            towards: towards.to_owned(),
            one_in,
            calm: AtomicBool::new(false),
            faults: AtomicUsize::new(0),
            random: Mutex::new(StdRng::seed_from_u64(seed)),
        });
        let chaos = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let chaos = chaos.clone();
                tokio::spawn(async move {
                    if let Ok(far) = TcpStream::connect(&chaos.towards).await {
                        let _broken = carry(near, far, &chaos).await;
                    }
                });
            }
        });
        Self { address, shared, task }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How many faults it made.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.shared.faults.load(Ordering::Relaxed)
    }

    /// From now on it only carries.
    pub fn calm(&self) {
        self.shared.calm.store(true, Ordering::Relaxed);
    }
}

impl Drop for ChaosProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Frames and answers of one connection, one after the other; ends when either side or a fault ends it.
async fn carry(mut near: TcpStream, mut far: TcpStream, chaos: &Chaos) -> std::io::Result<()> {
    let _ = near.set_nodelay(true);
    let _ = far.set_nodelay(true);
    let (mut frames, mut answers) =
        (Deframer::new(FrameLimits::default()), Deframer::new(FrameLimits::default()));
    loop {
        let Some(frame) = next_frame(&mut near, &mut frames).await? else { return Ok(()) };
        let (fault, delay) = chaos.next();
        let bytes = mllp::frame(&frame);
        match fault {
            Fault::Delay => tokio::time::sleep(Duration::from_millis(delay)).await,
            Fault::CutMidFrame => {
                far.write_all(&bytes[..bytes.len() / 2]).await?;
                return Ok(());
            }
            Fault::HalfOpen => return std::future::pending().await,
            _ => {}
        }
        match fault {
            Fault::FrameInBytes => by_bytes(&mut far, &bytes).await?,
            Fault::FrameDoubled => far.write_all(&[bytes.as_slice(), bytes.as_slice()].concat()).await?,
            _ => far.write_all(&bytes).await?,
        }
        if fault == Fault::CutBeforeAnswer {
            return Ok(());
        }
        let Some(answer) = next_frame(&mut far, &mut answers).await? else { return Ok(()) };
        if fault == Fault::FrameDoubled {
            // The answer to the second copy; the sender sent one.
            next_frame(&mut far, &mut answers).await?;
        }
        let bytes = mllp::frame(&answer);
        match fault {
            Fault::AnswerLost => {}
            Fault::AnswerInBytes => by_bytes(&mut near, &bytes).await?,
            Fault::AnswerDoubled => near.write_all(&[bytes.as_slice(), bytes.as_slice()].concat()).await?,
            Fault::AnswerToAnother => {
                let other =
                    Message::parse(frame).map(|message| acknowledgment(&message, "AA")).unwrap_or_default();
                let other = other.replace("MSA|AA|", "MSA|AA|OTHER");
                near.write_all(&[mllp::frame(other.as_bytes()).as_slice(), bytes.as_slice()].concat())
                    .await?;
            }
            _ => near.write_all(&bytes).await?,
        }
    }
}

async fn by_bytes(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    for byte in bytes {
        stream.write_all(&[*byte]).await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn next_frame(stream: &mut TcpStream, deframer: &mut Deframer) -> std::io::Result<Option<Vec<u8>>> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        if let Some(Ok(frame)) = deframer.next() {
            return Ok(Some(frame.bytes.to_vec()));
        }
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(None);
        }
        deframer.push(&buffer[..length]);
    }
}

/// Stands between nodes and Postgres: lets a request through, waits until the server did it, and drops the reply with
/// the connection.
pub struct ReplyLoss {
    folder: tempfile::TempDir,
    lost: Arc<AtomicUsize>,
    calm: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl ReplyLoss {
    /// Listens on a socket in a folder of its own; one request in `one_in` loses its reply.
    ///
    /// # Panics
    ///
    /// When no folder can be made.
    #[must_use]
    pub fn open(server: PathBuf, one_in: u32, seed: u64) -> Self {
        let folder =
            tempfile::Builder::new().prefix("reply").tempdir_in("/tmp").expect("a folder can be made");
        let listener =
            UnixListener::bind(folder.path().join(".s.PGSQL.5432")).expect("the socket can be made");
        let (lost, calm) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let random = Arc::new(Mutex::new(StdRng::seed_from_u64(seed)));
        let (counted, calmed) = (lost.clone(), calm.clone());
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (server, counted, calmed, random) =
                    (server.clone(), counted.clone(), calmed.clone(), random.clone());
                tokio::spawn(async move {
                    let Ok(far) = UnixStream::connect(&server).await else { return };
                    let drops = || {
                        let mut random = random.lock().unwrap_or_else(PoisonError::into_inner);
                        let drops = !calmed.load(Ordering::Relaxed) && random.random_range(0..one_in) == 0;
                        counted.fetch_add(usize::from(drops), Ordering::Relaxed);
                        drops
                    };
                    let _broken = pass(near, far, drops).await;
                });
            }
        });
        Self { folder, lost, calm, task }
    }

    /// Folder of the socket, for the `host` of an address.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// How many replies it dropped.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.lost.load(Ordering::Relaxed)
    }

    /// From now on it drops replies, as it does at the start.
    pub fn rage(&self) {
        self.calm.store(false, Ordering::Relaxed);
    }

    /// From now on it only passes on.
    pub fn calm(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }
}

impl Drop for ReplyLoss {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(mut near: UnixStream, mut far: UnixStream, drops: impl Fn() -> bool) -> std::io::Result<()> {
    let (mut request, mut reply) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut requests = 0_u32;
    loop {
        tokio::select! {
            read = near.read(&mut request) => {
                let length = read?;
                if length == 0 {
                    return Ok(());
                }
                far.write_all(&request[..length]).await?;
                requests += 1;
                // The first few set the connection up.
                if requests > 6 && drops() {
                    let _lost = far.read(&mut reply).await?;
                    return Ok(());
                }
            }
            read = far.read(&mut reply) => {
                let length = read?;
                if length == 0 {
                    return Ok(());
                }
                near.write_all(&reply[..length]).await?;
            }
        }
    }
}
