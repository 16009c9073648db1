//! The first half of a message's path: takes what a listener got, decides what it is and for whom, has it stored,
//! and answers its sender. Reads like a table of contents; the stages are in `pipeline` and `acknowledge`.

mod answer;
mod awaited;
mod careful;
mod commit_of_ack;
mod exchange;
mod fragments;
mod generated;
pub(crate) mod interchange;
mod keep;
mod made;
mod suspected;

pub use awaited::{Awaited, Heard, Wait};
pub(crate) use commit_of_ack::Committed;
pub use exchange::Askers;
pub(crate) use fragments::give_up_old;
pub(crate) use interchange::BATCH_TYPE;

use crate::acknowledge;
use crate::acknowledge::{Answers, Composed, Part, Verdict};
use crate::adapter::mllp::{Answer, Input, Intake, Peer, Reply, Taken};
use crate::configuration::{
    AnswerUnreadable, Configuration, DifferentAgain, Inbound, OrderSource, ReceiveLocation, ReceivePort,
    SameAgain, SequenceRule, UnknownParty,
};
use crate::current::{Current, Running};
use crate::deadly::Suspicion;
use crate::directory::SourceKind;
use crate::ids::MessageId;
use crate::message_box::fault;
use crate::message_box::{
    self, DuplicateKey, Error, Incoming, MessageBox, Published, Refusal, Route, Settles,
};
use crate::parked;
use crate::pipeline::resolve_party::Resolved;
use crate::pipeline::{decode, disassemble, parse, promote, resolve_party, validate};
use crate::pressure::{Hold, Pressure};
use crate::store::Store;
use crate::tracking::{Detail, Found};
use crate::work;
use chrono::{DateTime, FixedOffset, Utc};
use orderly_hl7::acknowledge::{AckCode, read_answer, unreadable_finding};
use orderly_hl7::{Class, Finding, Header, Message, Severity, Unreadable};
use orderly_rules::Properties;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// How long a location takes no new connections after a message whose port is much too far behind.
const FULL_FOR: Duration = Duration::from_secs(10);

/// How long a connection is not read after a message for which the database host has no room.
const NO_ROOM_PAUSE: Duration = Duration::from_secs(1);
/// Why nothing is stored then.
const NO_ROOM: &str = "the disk of the database host is nearly full";

/// What all receive locations of a node share.
#[derive(Debug, Clone)]
pub struct Receiver {
    pub(crate) store: Store,
    pub(crate) running: Running,
    pub(crate) message_box: MessageBox,
    pub(crate) awaited: Awaited,
    pub(crate) askers: Askers,
    pub(crate) pressure: Pressure,
    pub(crate) suspicion: Suspicion,
    pub(crate) tasks: TaskTracker,
}

/// The door of one receive location.
#[derive(Debug)]
pub struct Door {
    receiver: Receiver,
    port: String,
    location: String,
    /// `port/location`, as sources and logs name it.
    name: String,
    /// Until when no new connection is taken, because what came by here waits somewhere.
    full_until: Arc<Mutex<Option<Instant>>>,
}

/// One message on its way through the door.
struct Arrival<'a> {
    current: &'a Arc<Current>,
    port: &'a ReceivePort,
    location: &'a ReceiveLocation,
    peer: &'a Peer,
    id: MessageId,
}

/// All that was found out about a readable message.
struct Known {
    message: Message,
    party: Option<String>,
    inbound: Arc<Inbound>,
    findings: Vec<Finding>,
    properties: Properties,
    verdict: Verdict,
    /// Why it is kept for a person.
    refusal: Option<Refusal>,
}

impl Known {
    fn header(&self) -> &Header {
        self.message.head()
    }
}

impl Intake for Door {
    fn take(&self, input: Input, peer: &Peer, reply: Reply) -> Taken {
        let current = self.receiver.running.load_full();
        let found = current.configuration.receive_ports.get(&self.port).and_then(|port| {
            let location = port.locations.iter().find(|location| location.name == self.location)?;
            Some((port, location))
        });
        let Some((port, location)) = found else {
            // Taken out of the configuration while this connection was open: not stored, so not answered.
            reply.answer(Answer::Close);
            return Taken::Queued;
        };
        let arrival =
            Arrival { current: &current, port, location, peer, id: self.receiver.store.ids().message() };
        match input {
            input if self.receiver.store.disk().is_short() => self.turn_away(input, &arrival, reply),
            Input::Frame(bytes) if self.receiver.suspicion.is_raised() => {
                let again = self.again(&arrival);
                self.receiver.tasks.spawn(async move { again.take_suspected(bytes, reply).await });
                Taken::Alone
            }
            Input::Frame(bytes) => self.receive(bytes, &arrival, reply),
            broken => self.keep_broken(broken, &arrival, reply),
        }
    }

    fn is_full(&self) -> bool {
        let until = *self.full_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| until > Instant::now())
    }
}

impl Door {
    /// The door of `port/location`.
    pub fn new(receiver: Receiver, port: &str, location: &str) -> Self {
        let name = format!("{port}/{location}");
        let full_until = Arc::default();
        Self { receiver, port: port.to_owned(), location: location.to_owned(), name, full_until }
    }

    /// Takes one message in and answers its sender once it is committed.
    fn receive(&self, bytes: Vec<u8>, arrival: &Arrival<'_>, reply: Reply) -> Taken {
        let bytes = decode::decode(bytes);
        if disassemble::is_batch(&bytes) {
            return self.take_frame(bytes, arrival, reply);
        }
        self.receive_one(bytes, arrival, reply)
    }

    /// Takes one message in that stands alone or was cut out of an interchange.
    fn receive_one(&self, bytes: Vec<u8>, arrival: &Arrival<'_>, reply: Reply) -> Taken {
        let copy = bytes.clone();
        // A defect that panics on one message must not end the connection of all that come after it.
        let known = match catch_unwind(AssertUnwindSafe(|| read(bytes, arrival))) {
            Ok(Ok(known)) => known,
            Ok(Err(error)) => {
                return self.keep_unreadable(copy, unreadable_finding(&error), "unreadable", arrival, reply);
            }
            Err(_) => {
                let finding = defect("a defect of this program was met while it was read");
                return self.keep_unreadable(copy, finding, "panic", arrival, reply);
            }
        };
        drop(copy);
        if let Some(answer) = read_answer(&known.message).filter(|answer| !answer.control_id.is_empty()) {
            // Its own exchange with the database comes first, so nothing of this connection may overtake it.
            let again = self.again(arrival);
            // The acknowledgments of a batch are about other messages each: they need not wait for each other.
            let in_row = arrival.peer.place.is_none() || known.header().message_type != "ACK";
            self.receiver.tasks.spawn(async move { again.correlate(known, answer, reply).await });
            return if in_row { Taken::Alone } else { Taken::Queued };
        }
        if careful::needs_care(&known) {
            let known = careful::without_content(known, arrival.location.unknown_party);
            let again = self.again(arrival);
            self.receiver.tasks.spawn(async move { again.take_carefully(known, reply).await });
            return Taken::Alone;
        }
        self.publish(known, arrival, reply)
    }

    /// Routes, stores, answers.
    fn publish(&self, known: Known, arrival: &Arrival<'_>, reply: Reply) -> Taken {
        if known.refusal.is_some()
            && arrival.location.unknown_party == UnknownParty::Close
            && known.party.is_none()
        {
            let incoming = self.incoming(&known, arrival, Vec::new(), "");
            return self.submit(incoming, arrival, move |_| reply.answer(Answer::Close));
        }
        let composed = compose(&known, arrival, arrival.id);
        let routes = match &known.refusal {
            None => routes(arrival, &known),
            Some(_) => Vec::new(),
        };
        let mut incoming = self.incoming(&known, arrival, routes, composed.code);
        incoming.settles.attached = self.generated(&known, &composed, arrival, arrival.id);
        let asked = exchange::opened(&known, arrival);
        incoming.settles.rows.asked.extend(asked.clone());
        let (id, later) = (arrival.id, exchange::is_answered_later(&known, arrival.port));
        let door = self.again(arrival);
        let routed = is_routed(&known, arrival.peer);
        let hold = self.hold(&incoming.routes);
        self.submit(incoming, arrival, move |published| match published {
            // The sender may forget the message once it reads this. Nothing answers before the commit.
            Ok(Published::Stored | Published::Taken) => match asked {
                Some(asked) => door.receiver().asked(&asked, composed, routed, reply),
                None if later => door.receiver().askers.keep(id, composed, reply),
                None => door.answer(composed.answer(routed), hold, reply),
            },
            Ok(Published::Repeat { first, same_content }) => door.repeated(known, first, same_content, reply),
            Err(error) => reply.not_stored(door.not_stored(&error, &known)),
        })
    }

    /// The database host is nearly out of disk: nothing is stored. Its sender is told to send it again later, after a
    /// pause in which its connection is not read.
    fn turn_away(&self, input: Input, arrival: &Arrival<'_>, reply: Reply) -> Taken {
        let Input::Frame(bytes) = input else {
            reply.answer(Answer::Close);
            return Taken::Queued;
        };
        let read = catch_unwind(AssertUnwindSafe(|| read(decode::decode(bytes), arrival)));
        let again = self.again(arrival);
        let answer = match read {
            Ok(Ok(known)) => {
                let reason = NO_ROOM.to_owned();
                again.not_stored(&Error::NotStored { message: arrival.id, reason }, &known)
            }
            // A batch, or what has no header to answer to.
            _ => Answer::Close,
        };
        let (pressure, hold) = (self.receiver.pressure.clone(), Hold { time: NO_ROOM_PAUSE, refuses: false });
        self.receiver.tasks.spawn(async move {
            pressure.wait(hold).await;
            reply.not_stored(answer);
        });
        Taken::Alone
    }

    /// False while the database host is nearly out of disk.
    pub(crate) fn has_room(&self) -> bool {
        !self.receiver.store.disk().is_short()
    }

    /// How the answer to a message with these routes is held back; notes when new connections are not wanted.
    fn hold(&self, routes: &[Route]) -> Hold {
        let hold = self.receiver.pressure.on(routes);
        if hold.refuses {
            *self.full_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + FULL_FOR);
        }
        hold
    }

    fn submit(
        &self,
        incoming: Incoming,
        arrival: &Arrival<'_>,
        done: impl FnOnce(Result<Published, Error>) + Send + Sync + 'static,
    ) -> Taken {
        let receiver = &self.receiver;
        let hash = arrival.peer.connection;
        match receiver.message_box.submit(hash, incoming, &receiver.tasks, Box::new(done)) {
            true => Taken::Queued,
            false => Taken::Alone,
        }
    }

    /// The row that the transaction stores.
    fn incoming(&self, known: &Known, arrival: &Arrival<'_>, routes: Vec<Route>, answered: &str) -> Incoming {
        let header = known.header();
        let parked = known.refusal.clone().or_else(|| not_routed(&routes, header));
        // Who wants to know of failures takes it instead of an operator.
        let routes = match &parked {
            Some(cause) if routes.is_empty() => reports(arrival, known, &cause.code),
            _ => routes,
        };
        let detail = Detail::Received {
            sha256: [0; 32],
            remote: arrival.peer.remote(),
            answer: answered.to_owned(),
            findings: known.findings.iter().map(Found::from).collect(),
            to: routes.iter().map(|route| route.subscriber).collect(),
        };
        let text = |text: &str| (!text.is_empty()).then(|| message_box::indexed(text).to_owned());
        Incoming {
            id: arrival.id,
            parsed: Some(known.message.clone()),
            body: bytes::Bytes::from_owner(Whole(known.message.clone())),
            source: self.source(arrival),
            parent: None,
            party: known.party.clone(),
            message_type: message_type(header),
            control_id: text(&header.control_id),
            patient: text(&known.properties.text("patient.id")),
            charset: 0,
            context: arrival.current.declared(&known.properties),
            retention: arrival.current.retention(known.party.as_deref(), &known.properties),
            duplicate: self.key(known, arrival),
            place: arrival.peer.place,
            routes,
            parked,
            config_version: arrival.current.configuration.version,
            detail,
            settles: Settles::default(),
        }
    }

    /// The key by which a repeat is known. That of a refused message holds for its bytes and this configuration only: what
    /// is mended, and what mended rules allow, must get in.
    fn key(&self, known: &Known, arrival: &Arrival<'_>) -> Option<DuplicateKey> {
        let header = known.header();
        if known.inbound.duplicates.window.is_zero() || header.control_id.is_empty() {
            return None;
        }
        if known.refusal.is_some() {
            return Some(self.key_of_kept(known.message.bytes(), arrival, "refused"));
        }
        let sender = [&header.sending_app, &header.sending_facility, &header.control_id];
        Some(DuplicateKey::of(&[&self.port, sender[0], sender[1], sender[2]]))
    }

    /// The key of what is kept for a person: the same bytes are its repeat while the configuration is the same and it would
    /// be kept for the same reason, `why`.
    fn key_of_kept(&self, bytes: &[u8], arrival: &Arrival<'_>, why: &str) -> DuplicateKey {
        let version = arrival.current.configuration.version;
        self.key_of_bytes(bytes, &format!("{why} {version}"))
    }

    fn key_of_bytes(&self, bytes: &[u8], circumstances: &str) -> DuplicateKey {
        let hash = crate::audit::sha256(bytes);
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        DuplicateKey::of(&[&self.port, circumstances, &hash])
    }

    fn source(&self, arrival: &Arrival<'_>) -> i32 {
        arrival.current.directory.source(SourceKind::ReceiveLocation, &self.name).unwrap_or_default()
    }
}

/// The bytes of a message without copying them.
struct Whole(Message);

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

fn read(bytes: Vec<u8>, arrival: &Arrival<'_>) -> Result<Known, Unreadable> {
    let inbound = arrival.location.inbound(arrival.location.party.as_deref());
    let message = parse::parse(bytes, &inbound.charset, arrival.location.limits.message_bytes)?;
    crate::fault::at(crate::fault::Place::Door, || message.header().control_id);
    Ok(examine(message, arrival))
}

/// What a sender is told whose message we cannot deal with, through no fault of its own.
fn defect(text: &str) -> Finding {
    Finding { severity: Severity::Error, ..Finding::new(Class::Header, "", 207, text) }
}

/// Findings, party, properties and verdict of a message.
fn examine(message: Message, arrival: &Arrival<'_>) -> Known {
    let configuration = &arrival.current.configuration;
    let resolved = resolve_party::resolve(configuration, arrival.location, message.head(), arrival.peer);
    let party = resolved.name().map(str::to_owned);
    let inbound = Arc::clone(arrival.location.inbound(party.as_deref()));
    let message = parse::parse_again(message, &inbound.charset);
    let mut findings = validate::validate(&message, &inbound, &configuration.rules);
    if resolved == Resolved::Tie {
        findings.push(finding("MSH-3", Severity::Warning, "two parties match this sender equally well"));
    }
    let (verdict, refusal) = judge(&findings, party.is_none(), arrival.location.unknown_party);
    let rules = &configuration.rules;
    let properties =
        promote::promote(rules, &message, arrival.port, arrival.location, party.as_deref(), &findings);
    Known { message, party, inbound, findings, properties, verdict, refusal }
}

fn judge(findings: &[Finding], is_unknown: bool, rule: UnknownParty) -> (Verdict, Option<Refusal>) {
    let refusal =
        |code: &str, reason: &str| Some(Refusal { code: code.to_owned(), reason: reason.to_owned() });
    if is_unknown && rule != UnknownParty::Settings {
        let reason = "the sender matches no party of this site";
        let verdict = match rule {
            UnknownParty::Refuse => Verdict::Rejected(vec![finding("MSH-3", Severity::Error, reason)]),
            _ => Verdict::Accepted,
        };
        return (verdict, refusal("unknown_party", reason));
    }
    let worst = findings.iter().find(|finding| finding.severity == Severity::Error);
    match worst {
        None => (Verdict::Accepted, None),
        Some(worst) => {
            let reason = format!("{}: {} ({})", worst.path, worst.text, worst.code);
            (Verdict::Refused(findings.to_vec()), refusal("refused", &reason))
        }
    }
}

fn finding(path: &str, severity: Severity, text: &str) -> Finding {
    Finding { severity, ..Finding::new(Class::Header, path, 204, text) }
}

fn message_type(header: &Header) -> String {
    match (header.message_type.as_str(), header.trigger_event.as_str()) {
        ("", _) => "?".to_owned(),
        (kind, "") => kind.to_owned(),
        (kind, event) => format!("{kind}^{event}"),
    }
}

/// Everybody who must see it.
fn routes(arrival: &Arrival<'_>, known: &Known) -> Vec<Route> {
    let source = source_key(arrival, known.party.as_deref());
    let place = message_box::Arrival { message: arrival.id, order_source: &source };
    arrival.current.routes(&known.properties, place)
}

/// Who takes the report of a message that is refused or that nobody takes.
fn reports(arrival: &Arrival<'_>, known: &Known, code: &str) -> Vec<Route> {
    let refused = known.refusal.is_some();
    let fault = work::Fault {
        code: code.to_owned(),
        step: if refused { "receive" } else { "route" }.to_owned(),
        port: arrival.port.name.clone(),
        party: known.party.clone().unwrap_or_default(),
        class: if refused { "refused" } else { "not_routed" }.to_owned(),
    };
    let source = source_key(arrival, known.party.as_deref());
    let place = message_box::Arrival { message: arrival.id, order_source: &source };
    fault::routes(arrival.current, &known.properties, &fault, place)
}

/// Why a message without subscribers is kept for a person. An ACK that nobody asked for is only tracked.
fn not_routed(routes: &[Route], header: &Header) -> Option<Refusal> {
    (routes.is_empty() && header.message_type != "ACK").then(|| Refusal {
        code: parked::NO_SUBSCRIBER.to_owned(),
        reason: "no subscriber takes messages of this kind from this sender".to_owned(),
    })
}

/// What `order: source` calls one sender.
fn source_key(arrival: &Arrival<'_>, party: Option<&str>) -> String {
    match arrival.location.order_source {
        OrderSource::Connection => arrival.peer.connection.to_string(),
        OrderSource::Peer => {
            arrival.peer.address.map_or_else(|| "file".to_owned(), |address| address.ip().to_string())
        }
        OrderSource::Location => format!("{}/{}", arrival.port.name, arrival.location.name),
        OrderSource::Party => party.unwrap_or_default().to_owned(),
    }
}

/// Whether the application acknowledgment of a message takes a send port by itself.
fn is_routed(known: &Known, peer: &Peer) -> bool {
    known.inbound.acknowledgment.route.is_some() && !is_gathered(peer)
}

/// Whether the acknowledgments of a message leave with those of its whole interchange.
fn is_gathered(peer: &Peer) -> bool {
    peer.place.is_some_and(|place| place.gathered)
}

/// All that a message is answered; `id` is the message that was stored, so a repeat reads what was said then.
fn compose(known: &Known, arrival: &Arrival<'_>, id: MessageId) -> Composed {
    let control_id = id.to_string();
    let mut answers = answers(&known.inbound, known.party.as_deref(), &control_id, arrival, id);
    if known.inbound.sequence == SequenceRule::Echo {
        answers.expected_sequence = careful::number_of(&known.message);
    }
    if exchange::asks(known, arrival.port).is_some() {
        // What was asked for is the response; that the question is stored is all that can be said before.
        answers.part = Part::Earlier;
    }
    answers.to(&known.message, known.header(), &known.verdict)
}

fn answers<'a>(
    inbound: &'a Inbound,
    party: Option<&str>,
    control_id: &'a str,
    arrival: &Arrival<'_>,
    id: MessageId,
) -> Answers<'a> {
    let configuration = &arrival.current.configuration;
    let settings = &inbound.acknowledgment;
    let contact = || {
        let own = party.and_then(|party| configuration.parties.get(party)?.contact.as_ref());
        own.or(configuration.site.contact.as_ref()).and_then(acknowledge::help_desk)
    };
    Answers {
        settings,
        control_id,
        now: local(configuration, id.made_at()),
        help_desk: settings.help_desk.then(contact).flatten(),
        expected_sequence: None,
        part: Part::Whole,
    }
}

fn local(configuration: &Configuration, at: DateTime<Utc>) -> DateTime<FixedOffset> {
    at.with_timezone(&configuration.site.timezone).fixed_offset()
}

#[cfg(test)]
mod tests;
