//! Listens for one receive location: who may connect, and how many at once.

use super::connection::{self, Connection};
use super::{Intake, Peer};
use crate::configuration::{LocationLimits, MllpReceive};
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

/// Connections a node takes in all, over all its listeners.
const CONNECTIONS_TOTAL_MAX: usize = 12_000;
/// Connections that wait for `accept`.
const BACKLOG: u32 = 1_024;
/// Rest after the system refused us a socket, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections of all listeners of a node, for the limit over all of them.
#[derive(Debug, Clone)]
pub struct ConnectionTotal {
    open: Arc<AtomicUsize>,
    most: usize,
}

impl Default for ConnectionTotal {
    fn default() -> Self {
        Self::new(CONNECTIONS_TOTAL_MAX)
    }
}

impl ConnectionTotal {
    /// A count with its limit.
    pub fn new(most: usize) -> Self {
        Self { open: Arc::default(), most }
    }
}

/// What a listener counts. All but `connections` only grow.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections open now.
    pub connections: AtomicUsize,
    /// Connections taken.
    pub accepted: AtomicU64,
    /// Connections refused: not in `peers`, above a limit, or without TLS.
    pub refused: AtomicU64,
    /// Whole frames.
    pub frames: AtomicU64,
    /// Bytes read.
    pub bytes_in: AtomicU64,
    /// Bytes written.
    pub bytes_out: Arc<AtomicU64>,
    /// Noise, halves of frames, frames above the limit, frames that took too long.
    pub broken_frames: AtomicU64,
}

/// The address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("receive location {location} cannot listen on {address}")]
pub struct BindError {
    location: String,
    address: String,
    #[source]
    source: std::io::Error,
}

/// A listening receive location.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    counters: Arc<Counters>,
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What all connections of a listener share.
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) settings: MllpReceive,
    pub(super) limits: LocationLimits,
    /// Messages received and not yet answered, over all connections.
    pub(super) in_flight: Arc<AtomicUsize>,
    pub(super) intake: Arc<dyn Intake>,
    pub(super) counters: Arc<Counters>,
    pub(super) pace: Mutex<Option<tokio::time::Instant>>,
    tls: Option<ArcSwap<rustls::ServerConfig>>,
    total: ConnectionTotal,
    peers: Mutex<HashMap<IpAddr, usize>>,
    next_connection: AtomicU64,
}

impl Listener {
    /// Begins to listen.
    ///
    /// # Errors
    ///
    /// Fails when the address is in use or not ours.
    pub async fn start(
        name: &str,
        settings: &MllpReceive,
        limits: LocationLimits,
        tls: Option<Arc<rustls::ServerConfig>>,
        total: ConnectionTotal,
        intake: Arc<dyn Intake>,
    ) -> Result<Self, BindError> {
        let failed =
            |source| BindError { location: name.to_owned(), address: settings.listen.to_string(), source };
        let socket = bind(&settings.listen.host, settings.listen.port).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let counters = Arc::new(Counters::default());
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            settings: settings.clone(),
            limits,
            in_flight: Arc::default(),
            intake,
            counters: Arc::clone(&counters),
            pace: Mutex::new(None),
            tls: tls.map(ArcSwap::new),
            total,
            peers: Mutex::default(),
            next_connection: AtomicU64::new(1),
        });
        tasks.spawn(accept(socket, Arc::clone(&shared), stop.clone(), tasks.clone()));
        info!(receive_location = name, %address, "Receive location {name} listens on {address}");
        Ok(Self { address, counters, shared, stop, tasks })
    }

    /// Connections that come from now on get these certificates; those that are open keep theirs.
    pub fn renew(&self, tls: Arc<rustls::ServerConfig>) {
        if let Some(current) = &self.shared.tls {
            current.store(tls);
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it counted so far.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Takes no more connections and no more frames, and waits until every frame taken is answered.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn bind(host: &str, port: u16) -> std::io::Result<TcpListener> {
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for address in tokio::net::lookup_host((host, port)).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        match socket.bind(address).and_then(|()| socket.listen(BACKLOG)) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, address)) => match Shared::admit(&shared, address) {
                Ok(admission) => {
                    shared.counters.accepted.fetch_add(1, Ordering::Relaxed);
                    tasks.spawn(serve(stream, address, admission, stop.clone()));
                }
                Err(reason) => {
                    shared.counters.refused.fetch_add(1, Ordering::Relaxed);
                    debug!(receive_location = shared.name, %address, reason, "Refused a connection");
                }
            },
            Err(error) => {
                warn!(receive_location = shared.name, %error, "Could not take a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, address: SocketAddr, admission: Admission, stop: CancellationToken) {
    let shared = &admission.shared;
    let _ = stream.set_nodelay(true);
    let keepalive = socket2::TcpKeepalive::new().with_time(shared.settings.keepalive);
    let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive);
    let number = shared.next_connection.fetch_add(1, Ordering::Relaxed);
    let mut peer = Peer {
        address: Some(address),
        connection: number,
        certificate: None,
        place: None,
        batch_sender: None,
    };
    let opened = match &shared.tls {
        None => Ok(Connection::plain(stream, shared)),
        Some(tls) => Connection::secured(stream, &tls.load_full(), shared, &mut peer).await,
    };
    match opened {
        Ok(connection) => connection::run(connection, peer, shared, stop).await,
        Err(error) => {
            shared.counters.refused.fetch_add(1, Ordering::Relaxed);
            debug!(receive_location = shared.name, %address, %error, "Refused a connection");
        }
    }
}

/// The right of one connection to be open; counted as long as it lives.
struct Admission {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Shared {
    fn admit(shared: &Arc<Self>, address: SocketAddr) -> Result<Admission, &'static str> {
        let settings = &shared.settings;
        if !settings.peers.is_empty() && !settings.peers.iter().any(|range| range.contains(address)) {
            return Err("not among the peers");
        }
        if shared.counters.connections.load(Ordering::Relaxed) >= settings.limits.connections {
            return Err("too many connections to this location");
        }
        if shared.intake.is_full() {
            return Err("what came by here waits for a port that is far behind");
        }
        if shared.total.open.load(Ordering::Relaxed) >= shared.total.most {
            return Err("too many connections to this node");
        }
        let ip = address.ip().to_canonical();
        let mut peers = shared.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let open = peers.entry(ip).or_default();
        if *open >= settings.limits.per_peer {
            return Err("too many connections from this address");
        }
        *open += 1;
        shared.counters.connections.fetch_add(1, Ordering::Relaxed);
        shared.total.open.fetch_add(1, Ordering::Relaxed);
        Ok(Admission { shared: Arc::clone(shared), address: ip })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut peers = self.shared.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = peers.get_mut(&self.address) {
            *open -= 1;
            if *open == 0 {
                peers.remove(&self.address);
            }
        }
        self.shared.counters.connections.fetch_sub(1, Ordering::Relaxed);
        self.shared.total.open.fetch_sub(1, Ordering::Relaxed);
    }
}
