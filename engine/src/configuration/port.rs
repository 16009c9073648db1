//! Receive ports and their locations, send ports and groups: entrances and exits with their adapters and rules.

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Address, Filter, Inbound, PeerRange, PortState, Secret};

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
}

impl Default for Framing {
    fn default() -> Self {
        Self { start: 0x0B, end: 0x1C, last: 0x0D, refuse_missing_start: true, write_start: true }
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

/// A logical exit.
#[derive(Debug, Clone)]
pub struct SendPort {
    /// Name, unique among all ports and groups.
    pub name: String,
    /// For people.
    pub title: String,
    /// Application it belongs to.
    pub application: String,
    /// Receiver; `None`: looked for by `Party::address`.
    pub party: Option<String>,
    /// Where messages go.
    pub target: SendAdapter,
    /// What it subscribes to; `None`: only what orchestrations and groups send.
    pub filter: Option<Filter>,
    /// Which messages must not overtake each other.
    pub order: Order,
    /// When a delivery is tried again.
    pub retry: Retry,
    /// When the port pauses as a whole.
    pub breaker: Breaker,
    /// Speed and sockets.
    pub limits: SendLimits,
    /// What answers mean.
    pub ack: AckRule,
    /// Weight against other ports, 1 to 10.
    pub priority: u8,
    /// State at its first deployment.
    pub state: PortState,
}

impl SendPort {
    /// A port that calls an MLLP receiver, with defaults for all else.
    pub fn mllp(name: impl Into<String>, connect: Address) -> Self {
        Self {
            name: name.into(),
            title: String::new(),
            application: String::new(),
            party: None,
            target: SendAdapter::Mllp(MllpSend::new(connect)),
            filter: None,
            order: Order::default(),
            retry: Retry::default(),
            breaker: Breaker::default(),
            limits: SendLimits::default(),
            ack: AckRule::default(),
            priority: 5,
            state: PortState::Running,
        }
    }
}

/// Where messages go.
#[derive(Debug, Clone, PartialEq)]
pub enum SendAdapter {
    /// MLLP over TCP, plain or TLS.
    Mllp(MllpSend),
}

/// A caller of an MLLP receiver.
#[derive(Debug, Clone, PartialEq)]
pub struct MllpSend {
    /// Whom it calls.
    pub connect: Address,
    /// Encryption; `None`: plain.
    pub tls: Option<CallerTls>,
    /// Bytes around a message.
    pub framing: Framing,
    /// For the connection to stand.
    pub connect_timeout: Duration,
    /// For the bytes to be written.
    pub write_timeout: Duration,
    /// TCP keepalive.
    pub keepalive: Duration,
    /// Silence after which the connection is closed; zero: never.
    pub idle: Duration,
    /// False: a connection for each message.
    pub persistent: bool,
}

impl MllpSend {
    /// A plain caller with default time-outs.
    pub fn new(connect: Address) -> Self {
        Self {
            connect,
            tls: None,
            framing: Framing::default(),
            connect_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            keepalive: Duration::from_secs(30),
            idle: Duration::ZERO,
            persistent: true,
        }
    }
}

/// Which messages must not overtake each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// None.
    None,
    /// Those with equal values of the properties; a message without a value is ordered by its source.
    Key {
        /// Promoted properties.
        by: Vec<String>,
        /// Lanes the keys are spread over, 1 to 64.
        shards: u16,
        /// What a failed delivery does to what waits behind it.
        on_failure: OnFailure,
    },
    /// Those of one sender.
    Source {
        /// What a failed delivery does to what waits behind it.
        on_failure: OnFailure,
    },
    /// All.
    Strict {
        /// What a failed delivery does to what waits behind it.
        on_failure: OnFailure,
    },
}

impl Default for Order {
    fn default() -> Self {
        Self::Key { by: vec!["patient.id".to_owned()], shards: 8, on_failure: OnFailure::HoldKey }
    }
}

impl Order {
    /// Lanes of a port ordered so.
    pub fn shards(&self) -> u16 {
        match self {
            Self::Key { shards, .. } => *shards,
            Self::None | Self::Source { .. } => 8,
            Self::Strict { .. } => 1,
        }
    }

    /// What a failed delivery does to what waits behind it; unordered ports skip.
    pub fn on_failure(&self) -> OnFailure {
        match self {
            Self::None => OnFailure::Skip,
            Self::Key { on_failure, .. } | Self::Source { on_failure } | Self::Strict { on_failure } => {
                *on_failure
            }
        }
    }
}

/// What a failed delivery does to what waits behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// The key waits; under strict order the whole port.
    #[default]
    HoldKey,
    /// The next one goes; there is a gap.
    Skip,
}

/// When a delivery is tried again: after `wait` x `factor`^n, at most `most`, until `times` or `lasting` is reached.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// Attempts after the first; `None`: no count.
    pub times: Option<u32>,
    /// Time since the first attempt (key `for`).
    pub lasting: Duration,
    /// Before the first repetition.
    pub wait: Duration,
    /// Growth of the wait.
    pub factor: f64,
    /// Longest wait.
    pub most: Duration,
    /// Whether the wait is drawn between zero and its length.
    pub jitter: bool,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            times: None,
            lasting: Duration::from_secs(86_400),
            wait: Duration::from_secs(1),
            factor: 2.0,
            most: Duration::from_secs(300),
            jitter: true,
        }
    }
}

impl Retry {
    /// The wait after failed attempt `attempt` (1 is the first), before jitter.
    pub fn pause(&self, attempt: u32) -> Duration {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = self.wait.as_secs_f64() * self.factor.powi(exponent);
        Duration::try_from_secs_f64(grown).map_or(self.most, |grown| grown.min(self.most))
    }

    /// Whether no further attempt follows failed attempt `attempt` (1 is the first) after `spent` time.
    pub fn is_used_up(&self, attempt: u32, spent: Duration) -> bool {
        self.times.is_some_and(|times| attempt > times) || spent >= self.lasting
    }
}

/// When the whole port pauses: after `failures` within `within`, then one probe per pause, doubled up to `most`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    /// Failures of the transport.
    pub failures: u32,
    /// Time in which they are counted.
    pub within: Duration,
    /// First pause.
    pub pause: Duration,
    /// Longest pause.
    pub most: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            failures: 5,
            within: Duration::from_secs(60),
            pause: Duration::from_secs(10),
            most: Duration::from_secs(300),
        }
    }
}

/// Speed and sockets of a send port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendLimits {
    /// Messages a second.
    pub rate: Option<u32>,
    /// Sockets.
    pub connections: u32,
    /// Unanswered frames a socket.
    pub in_flight: u32,
    /// Waiting messages above which an alert is raised.
    pub waiting: Option<u64>,
}

impl Default for SendLimits {
    fn default() -> Self {
        Self { rate: None, connections: 1, in_flight: 1, waiting: None }
    }
}

/// Which answer a send port waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ExpectedAck {
    /// Written is delivered.
    None,
    /// The receiver's transport took it.
    Transport,
    /// CA, CE, CR.
    Accept,
    /// AA, AE, AR.
    Application,
    /// The first of either family.
    #[default]
    Any,
}

/// What answers mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AckRule {
    /// Which answer ends a delivery.
    pub expect: ExpectedAck,
    /// From the last byte written.
    pub within: Duration,
    /// For the application acknowledgment after an accept acknowledgment.
    pub application_within: Duration,
    /// An answer whose MSA-2 is not ours.
    pub mismatch: Mismatch,
    /// Whether an answer may come in by any receive port too.
    pub from_any_receive_port: bool,
    /// What each answer leads to.
    pub codes: AckTable,
    /// Whether the answer is published too.
    pub publish: bool,
}

impl Default for AckRule {
    fn default() -> Self {
        Self {
            expect: ExpectedAck::Any,
            within: Duration::from_secs(30),
            application_within: Duration::from_secs(600),
            mismatch: Mismatch::Wait,
            from_any_receive_port: false,
            codes: AckTable::preset(AckPreset::Hl7),
            publish: false,
        }
    }
}

/// An answer whose MSA-2 is not ours; it is tracked and alerted in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mismatch {
    /// Wait for the right one.
    #[default]
    Wait,
    /// Suspend the delivery.
    Suspend,
    /// Take it as ours: one frame, one answer.
    Ignore,
}

pub use super::ack_table::{AckAction, AckPreset, AckTable, Answered};

/// Several send ports that each get a copy.
#[derive(Debug, Clone)]
pub struct SendPortGroup {
    /// Name, unique among all ports and groups.
    pub name: String,
    /// For people.
    pub title: String,
    /// Application it belongs to.
    pub application: String,
    /// Names of send ports.
    pub members: Vec<String>,
    /// What it subscribes to; a member's own filter counts too.
    pub filter: Option<Filter>,
    /// State at its first deployment.
    pub state: PortState,
}
