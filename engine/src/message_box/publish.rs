//! T1: publishing from outside, in natural batches.
//!
//! A few committers hold a connection each. A committer takes what queued up while its last commit was in flight: one
//! message at low load, hundreds at high load, no timer. Nothing is answered before the commit.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::commit::Committer;
use super::seat::{Seat, Seats};
use super::{Error, Incoming, Published};
use crate::audit::sha256;
use crate::current::Running;
use crate::lane::Lanes;
use crate::notice::Notices;
use crate::orchestrate::Straight;
use crate::store::{self, Store};
use crate::tracking::Detail;

/// Messages of one commit.
const BATCH_MAX: usize = 500;
/// Bytes of one commit.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// A body above this goes to a committer of its own, so that small ones need not wait for it.
const BIG_BODY_BYTES: usize = 256 << 10;
/// Messages that wait for a committer before callers wait for room.
const QUEUE_MAX: usize = 4_096;

/// A message on its way through a committer.
pub(super) struct Request {
    pub(super) incoming: Incoming,
    pub(super) sha256: [u8; 32],
    pub(super) attached: Vec<(Incoming, [u8; 32])>,
    pub(super) reply: Reply,
    /// Given back when the request is answered.
    _seat: Seat,
}

impl Request {
    /// The message and what is stored with it.
    pub(super) fn messages(&self) -> impl Iterator<Item = (&Incoming, &[u8; 32])> {
        let attached = self.attached.iter().map(|(incoming, sha256)| (incoming, sha256));
        std::iter::once((&self.incoming, &self.sha256)).chain(attached)
    }
}

/// Notes the hash of the bytes in what tracking tells of them.
fn hashed(incoming: &mut Incoming) -> [u8; 32] {
    let hash = sha256(&incoming.body);
    if let Detail::Received { sha256, .. } | Detail::Cause { sha256: Some(sha256), .. } = &mut incoming.detail
    {
        *sha256 = hash;
    }
    hash
}

/// Called on the task of the committer right after the commit: it must be quick and must not wait.
pub type Done = Box<dyn FnOnce(Result<Published, Error>) + Send + Sync>;

/// Who is told what became of a message.
pub(super) enum Reply {
    Task(oneshot::Sender<Result<Published, Error>>),
    Call(Done),
}

impl Reply {
    pub(super) fn send(self, result: Result<Published, Error>) {
        match self {
            Self::Task(task) => drop(task.send(result)),
            Self::Call(done) => done(result),
        }
    }
}

/// The entrance of the message box. Cheap to clone.
#[derive(Debug, Clone)]
pub struct MessageBox {
    committers: Arc<[mpsc::Sender<Request>]>,
    seats: Arc<Seats>,
    big: mpsc::Sender<Request>,
}

impl MessageBox {
    /// Starts the committers; they end when all clones of the box are gone or `stop` is cancelled and the queue is empty.
    ///
    /// # Errors
    ///
    /// Fails when the database cannot be reached.
    pub(crate) async fn start(
        store: &Store,
        lanes: &Lanes,
        running: &Running,
        notices: &Notices,
        committers: usize,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Self, store::Error> {
        let mut senders = Vec::new();
        let straight = Straight::new(store, running, lanes);
        for _ in 0..=committers.max(1) {
            let (sender, receiver) = mpsc::channel(QUEUE_MAX);
            let committer = Committer::open(store, lanes, notices, &straight).await?;
            tasks.spawn(run(committer, receiver, stop.clone()));
            senders.push(sender);
        }
        let big = senders.remove(0);
        let seats = Seats::new(senders.len());
        Ok(Self { committers: senders.into(), seats, big })
    }

    /// Stores a message and routes it. When this returns `Ok`, that is committed.
    ///
    /// Messages of the same `line` (the number of a connection) are committed in the order of the calls. A repeat of a
    /// known key is not stored and not routed again.
    ///
    /// # Errors
    ///
    /// [`Error::NotStored`] is certain; after [`Error::Unknown`] the sender must get no answer at all.
    pub async fn publish(&self, line: u64, incoming: Incoming) -> Result<Published, Error> {
        let (reply, answer) = oneshot::channel();
        let message = incoming.id;
        let (committer, request) = self.request(line, incoming, Reply::Task(reply));
        committer.send(request).await.map_err(|_| Error::ShuttingDown)?;
        // A committer answers everything it took; if it vanished, nobody knows what it had sent.
        answer.await.unwrap_or(Err(Error::Unknown { message }))
    }

    /// As [`MessageBox::publish`] without a task that waits: `done` is called after the commit. True when it was
    /// taken at once; false when the queue is full and it is taken as soon as there is room, so that the caller must
    /// not hand in more before `done`.
    pub fn submit(&self, line: u64, incoming: Incoming, tasks: &TaskTracker, done: Done) -> bool {
        let (committer, request) = self.request(line, incoming, Reply::Call(done));
        match committer.try_send(request) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(request)) => {
                request.reply.send(Err(Error::ShuttingDown));
                true
            }
            Err(mpsc::error::TrySendError::Full(request)) => {
                let committer = committer.clone();
                tasks.spawn(async move {
                    if let Err(closed) = committer.send(request).await {
                        closed.0.reply.send(Err(Error::ShuttingDown));
                    }
                });
                false
            }
        }
    }

    fn request(&self, line: u64, mut incoming: Incoming, reply: Reply) -> (&mpsc::Sender<Request>, Request) {
        let hash = hashed(&mut incoming);
        let attached = std::mem::take(&mut incoming.settles.attached);
        let with_hash = |mut incoming| {
            let hash = hashed(&mut incoming);
            (incoming, hash)
        };
        let attached = attached.into_iter().map(with_hash).collect();
        let seat = self.seats.take(line);
        let committer = match incoming.body.len() > BIG_BODY_BYTES {
            true => &self.big,
            false => &self.committers[seat.committer],
        };
        (committer, Request { incoming, sha256: hash, attached, reply, _seat: seat })
    }
}

async fn run(mut committer: Committer, mut requests: mpsc::Receiver<Request>, stop: CancellationToken) {
    let idle = Notify::new();
    loop {
        let first = tokio::select! {
            biased;
            first = requests.recv() => first,
            () = stop.cancelled() => {
                requests.close();
                requests.recv().await
            }
        };
        let Some(first) = first else { break };
        let mut bytes = first.incoming.body.len();
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX && bytes < BATCH_BYTES_MAX {
            let Ok(next) = requests.try_recv() else { break };
            bytes += next.incoming.body.len();
            batch.push(next);
        }
        committer.commit(batch).await;
    }
    idle.notify_waiters();
    committer.close().await;
}
