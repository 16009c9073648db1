//! Receive ports and their locations: entrances with their adapters and limits.

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Address, FolderReceive, Inbound, PeerRange, PortState, Secret};

/// A logical entrance.
#[derive(Debug, Clone)]
pub struct ReceivePort {
    /// Name, unique among all ports and groups.
    pub name: String,
    /// For people.
    pub title: String,
    /// Application it belongs to.
    pub application: String,
    /// Addresses behind it, in the order of the file.
    pub locations: Vec<ReceiveLocation>,
    /// A two-way port: what comes in asks, and its response goes back.
    pub exchange: Option<Exchange>,
}

/// What becomes of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// How long its response may take; then the asker is answered AE.
    pub within: Duration,
    /// Receive ports by which responses come, besides the connection on which the question was sent. What comes there
    /// and answers no open question is refused.
    pub responses: Vec<String>,
    /// Send port that the response takes to the asker; none: the connection of the question.
    pub route: Option<String>,
}

/// One address of a receive port, with its adapter.
#[derive(Debug, Clone)]
pub struct ReceiveLocation {
    /// Name, unique within its port; written `port/location` where it stands alone.
    pub name: String,
    /// For people.
    pub title: String,
    /// How messages come in.
    pub adapter: ReceiveAdapter,
    /// State at its first deployment.
    pub state: PortState,
    /// The party of everything that comes in here; `None`: looked for by `Party::identify`.
    pub party: Option<String>,
    /// What happens with a sender that matches no party.
    pub unknown_party: UnknownParty,
    /// What `Order::Source` calls one sender.
    pub order_source: OrderSource,
    /// Size and speed.
    pub limits: LocationLimits,
    /// What party and location together say, by party name; ask `ReceiveLocation::inbound`.
    pub inbound_by_party: HashMap<String, Arc<Inbound>>,
    /// The same for senders that match no party.
    pub inbound_unknown: Arc<Inbound>,
}

impl ReceiveLocation {
    /// A location that listens for MLLP, with defaults for all else.
    pub fn mllp(name: impl Into<String>, listen: Address) -> Self {
        Self {
            name: name.into(),
            title: String::new(),
            adapter: ReceiveAdapter::Mllp(MllpReceive::new(listen)),
            state: PortState::Running,
            party: None,
            unknown_party: UnknownParty::Settings,
            order_source: OrderSource::Connection,
            limits: LocationLimits::default(),
            inbound_by_party: HashMap::new(),
            inbound_unknown: Arc::default(),
        }
    }

    /// A location that looks into a folder, with defaults for all else.
    pub fn folder(name: impl Into<String>, folder: FolderReceive) -> Self {
        let adapter = ReceiveAdapter::Folder(folder);
        Self { adapter, ..Self::mllp(name, Address::new("", 0)) }
    }

    /// How messages of this party are taken here: the party's record, overridden by the location's keys.
    pub fn inbound(&self, party: Option<&str>) -> &Arc<Inbound> {
        party.and_then(|party| self.inbound_by_party.get(party)).unwrap_or(&self.inbound_unknown)
    }
}

/// How messages come in.
#[derive(Debug, Clone, PartialEq)]
pub enum ReceiveAdapter {
    /// MLLP over TCP, plain or TLS.
    Mllp(MllpReceive),
    /// Files in a folder.
    Folder(FolderReceive),
}

/// A listener for MLLP.
#[derive(Debug, Clone, PartialEq)]
pub struct MllpReceive {
    /// Where it listens.
    pub listen: Address,
    /// Encryption; `None`: plain.
    pub tls: Option<ListenerTls>,
    /// Callers that are let in; empty: all.
    pub peers: Vec<PeerRange>,
    /// Bytes around a message.
    pub framing: Framing,
    /// Limits of connections and frames.
    pub limits: MllpLimits,
    /// TCP keepalive.
    pub keepalive: Duration,
    /// False: the connection is closed after each answer.
    pub persistent: bool,
}

impl MllpReceive {
    /// A plain listener with default limits.
    pub fn new(listen: Address) -> Self {
        Self {
            listen,
            tls: None,
            peers: Vec::new(),
            framing: Framing::default(),
            limits: MllpLimits::default(),
            keepalive: Duration::from_secs(30),
            persistent: true,
        }
    }
}

/// Bytes around a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Framing {
    /// Before the message.
    pub start: u8,
    /// After it.
    pub end: u8,
    /// After `end`.
    pub last: u8,
    /// Whether a frame without its start byte is refused (true) or taken (false).
    pub refuse_missing_start: bool,
    /// Whether we write the start byte.
    pub write_start: bool,
    /// MLLP release 2: whoever takes a block answers 06 once it is stored, 15 when it is not.
    pub commit_bytes: bool,
}

impl Default for Framing {
    fn default() -> Self {
        Self {
            start: 0x0B,
            end: 0x1C,
            last: 0x0D,
            refuse_missing_start: true,
            write_start: true,
            commit_bytes: false,
        }
    }
}

/// Limits of an MLLP listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MllpLimits {
    /// Bytes of one frame.
    pub frame_bytes: usize,
    /// From the first to the last byte of a frame.
    pub frame_time: Duration,
    /// Silence after which a connection is closed; zero: never.
    pub idle: Duration,
    /// Connections of the listener.
    pub connections: usize,
    /// Connections from one address.
    pub per_peer: usize,
    /// Frames read ahead on one connection.
    pub pipelined: usize,
}

impl Default for MllpLimits {
    fn default() -> Self {
        Self {
            frame_bytes: 8 << 20,
            frame_time: Duration::from_secs(30),
            idle: Duration::from_secs(300),
            connections: 2_000,
            per_peer: 50,
            pipelined: 16,
        }
    }
}

/// Encryption of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// Certificate chain, PEM.
    pub certificate: Secret,
    /// Private key, PEM.
    pub key: Secret,
    /// Whether callers show a certificate.
    pub client: ClientCertificate,
    /// Who signs callers' certificates, PEM; required unless `client` is `None`.
    pub client_ca: Option<Secret>,
    /// Oldest version.
    pub minimum: TlsMinimum,
}

/// Whether callers show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientCertificate {
    /// Not asked for.
    #[default]
    None,
    /// Asked for, not demanded.
    Offered,
    /// Demanded.
    Required,
}

/// Oldest TLS version taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsMinimum {
    /// TLS 1.2
    #[default]
    V1_2,
    /// TLS 1.3
    V1_3,
}

/// Encryption of a caller.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CallerTls {
    /// Who signs the receiver's certificate, PEM; `None`: the shipped roots.
    pub ca: Option<Secret>,
    /// Our own certificate, PEM.
    pub certificate: Option<Secret>,
    /// Its private key, PEM.
    pub key: Option<Secret>,
    /// Name in the receiver's certificate; `None`: the host of the address.
    pub server_name: Option<String>,
    /// SHA-256 of certificates that are taken, lower-case hexadecimal; empty: no pinning.
    pub pin_sha256: Vec<String>,
    /// Oldest version.
    pub minimum: TlsMinimum,
}

/// What happens with a sender that matches no party.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownParty {
    /// The record `unknown`, else the defaults.
    #[default]
    Settings,
    /// The sender reads AR.
    Refuse,
    /// Answered as stored, and held for a person.
    Suspend,
    /// The connection is closed.
    Close,
}

/// What counts as one sender for order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OrderSource {
    /// One connection.
    #[default]
    Connection,
    /// One address.
    Peer,
    /// The location.
    Location,
    /// The party.
    Party,
}

/// Size and speed of a location.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocationLimits {
    /// Bytes of one message.
    pub message_bytes: usize,
    /// Messages a second; more is read slower, never dropped.
    pub rate: Option<u32>,
    /// Messages received and not yet committed.
    pub in_flight: usize,
}

impl Default for LocationLimits {
    fn default() -> Self {
        Self { message_bytes: 8 << 20, rate: None, in_flight: 1_000 }
    }
}
