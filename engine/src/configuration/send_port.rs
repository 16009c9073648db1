//! Send ports and groups: exits with their adapters, their order, their retries and what answers mean.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Address, Calendar, CallerTls, Filter, FolderSend, Framing, OutboundBatch, PortState};

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
    /// How messages are collected into batches; `None`: each is sent by itself.
    pub batch: Option<OutboundBatch>,
    /// When a delivery is tried again.
    pub retry: Retry,
    /// Service window: outside it work waits; `None`: always open.
    pub calendar: Option<Calendar>,
    /// A second receiver for what the first does not take.
    pub backup: Option<Backup>,
    /// Whether each send is noted first, so that after a crash nothing is sent twice.
    pub intent: bool,
    /// When the port pauses as a whole.
    pub breaker: Breaker,
    /// Speed and sockets.
    pub limits: SendLimits,
    /// What answers mean.
    pub ack: AckRule,
    /// State at its first deployment.
    pub state: PortState,
}

impl SendPort {
    /// A port that writes files, with defaults for all else.
    pub fn folder(name: impl Into<String>, folder: FolderSend) -> Self {
        let target = SendAdapter::Folder(folder);
        let ack = AckRule { expect: ExpectedAck::None, ..AckRule::default() };
        Self { target, ack, ..Self::mllp(name, Address::new("", 0)) }
    }

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
            batch: None,
            retry: Retry::default(),
            calendar: None,
            backup: None,
            intent: false,
            breaker: Breaker::default(),
            limits: SendLimits::default(),
            ack: AckRule::default(),
            state: PortState::Running,
        }
    }
}

/// Where messages go.
#[derive(Debug, Clone, PartialEq)]
pub enum SendAdapter {
    /// MLLP over TCP, plain or TLS.
    Mllp(MllpSend),
    /// Files in a folder.
    Folder(FolderSend),
}

impl SendAdapter {
    /// Where messages go, in words.
    pub fn place(&self) -> String {
        match self {
            Self::Mllp(mllp) => mllp.connect.to_string(),
            Self::Folder(folder) => format!("folder {}", folder.path),
        }
    }
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

/// A second receiver: it gets what the first did not take before `after` was used up, and what has the same order key as
/// long as some of it waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Backup {
    /// The other receiver.
    pub target: SendAdapter,
    /// Attempts at the first receiver.
    pub after: Retry,
    /// Attempts at this one.
    pub retry: Retry,
    /// Once in use, the whole port goes by it until an operator returns it; else each key returns by itself.
    pub by_hand: bool,
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
    /// Waiting messages above which an alert is raised and senders are slowed.
    pub waiting: Option<u64>,
    /// Bytes of one message; a larger one leaves in fragments (DSC, ADD).
    pub message: Option<usize>,
}

impl Default for SendLimits {
    fn default() -> Self {
        Self { rate: None, connections: 1, in_flight: 1, waiting: None, message: None }
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

impl ExpectedAck {
    /// What is awaited to a fragment that others follow: its commit, since the application answers the whole.
    pub fn of_a_part(self) -> Self {
        match self {
            Self::Application => Self::Any,
            other => other,
        }
    }
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
