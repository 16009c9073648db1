//! Receive ports and locations of a site.

use std::{collections::HashMap, sync::Arc, time::Duration};

use indexmap::IndexMap;
use orderly_rules::yaml::{Kind, Node, Span, Spanned};

use super::{
    party::{self, Parties},
    sheet::{CODES, NameForm, Object, Referent, Sheet},
    source::{Entry, Source},
};
use crate::configuration::{
    Address, ClientCertificate, Exchange, Framing, Inbound, ListenerTls, LocationLimits, MllpReceive,
    OrderSource, PortState, ReceiveAdapter, ReceiveLocation, ReceivePort, SiteClass, TlsMinimum,
    UnknownParty, ValidationLevel,
};

/// Reads `receive_ports:`.
pub(super) fn read(source: &Source, parties: &Parties, site: &str) -> IndexMap<String, ReceivePort> {
    let mut ports = IndexMap::new();
    let mut taken = Vec::new();
    for entry in source.entries("receive_ports") {
        if let Some(port) = receive_port(source, &entry, parties, site, &mut taken) {
            ports.insert(port.name.clone(), port);
        }
    }
    check_taken(&taken);
    ports
}

/// An address that something listens on.
struct Taken<'s> {
    sheet: &'s Sheet,
    span: Span,
    adapter: ReceiveAdapter,
    location: String,
}

fn receive_port<'s>(
    source: &'s Source,
    entry: &Entry<'s>,
    parties: &Parties,
    site: &str,
    taken: &mut Vec<Taken<'s>>,
) -> Option<ReceivePort> {
    let object = entry.sheet.object(entry.body, "a receive port")?;
    object.refuse(&["maps", "failed", "track"]);
    let name = entry.name.value.clone();
    let mut port = ReceivePort {
        name: name.clone(),
        title: name,
        application: site.to_owned(),
        locations: Vec::new(),
        exchange: None,
    };
    object.set_text("title", &mut port.title);
    if let Some(application) = object.reference("application", Referent::Application) {
        port.application = application;
    }
    object.require("locations");
    let mut primary = None;
    for (name, body) in object.entries("locations", NameForm::Object) {
        let reader = LocationReader { class: source.class, parties, port: &port.name };
        if let Some((location, is_primary)) = reader.read(entry.sheet, name, body, taken) {
            if is_primary {
                primary = Some(port.locations.len());
            }
            port.locations.push(location);
        }
    }
    if let Some(place) = primary {
        let first = port.locations.remove(place);
        port.locations.insert(0, first);
    }
    port.exchange = exchange(&object);
    if port.exchange.as_ref().is_some_and(|exchange| exchange.route.is_none()) {
        check_connections(entry.sheet, entry.name.span, &port);
    }
    object.finish();
    Some(port)
}

/// Reads `two_way` and `exchange`.
fn exchange(object: &Object<'_, '_>) -> Option<Exchange> {
    let mut two_way = false;
    object.set_flag("two_way", &mut two_way);
    let mut exchange = Exchange { within: Duration::from_secs(30), responses: Vec::new(), route: None };
    if let Some(own) = object.object("exchange") {
        if !two_way {
            own.sheet.error("S305", own.span(), "`exchange` needs `two_way: true`");
        }
        own.set_duration("within", &mut exchange.within);
        exchange.responses = own.references("responses", Referent::ReceivePort);
        exchange.route = own.get("route").and_then(|node| super::acknowledgment::route(own.sheet, node));
        own.finish();
    }
    two_way.then_some(exchange)
}

/// A file has nobody behind it to whom a response could go back.
fn check_connections(sheet: &Sheet, span: Span, port: &ReceivePort) {
    if port.locations.iter().any(|location| matches!(location.adapter, ReceiveAdapter::Folder(_))) {
        let message = "a folder takes no response back; write `exchange: { route: { port: ... } }`";
        sheet.error("S306", span, message);
    }
}

struct LocationReader<'a> {
    class: SiteClass,
    parties: &'a Parties,
    port: &'a str,
}

impl LocationReader<'_> {
    fn read<'s>(
        &self,
        sheet: &'s Sheet,
        name: &Spanned<String>,
        body: &Node,
        taken: &mut Vec<Taken<'s>>,
    ) -> Option<(ReceiveLocation, bool)> {
        let object = sheet.object(body, "a receive location")?;
        object.refuse(&["calendar", "outside_calendar", "decode", "encoding", "set"]);
        let mut primary = false;
        object.set_flag("primary", &mut primary);
        let mut title = String::new();
        object.set_text("title", &mut title);
        let mut state = PortState::Running;
        object.set_choice("state", STATES, &mut state);
        let party = object.reference("party", Referent::Party);
        let mut unknown_party = UnknownParty::Settings;
        object.set_choice("unknown_party", UNKNOWN, &mut unknown_party);
        let mut order_source = OrderSource::Connection;
        object.set_choice("order_source", SOURCES, &mut order_source);
        let limits = object.object("limits").map(|limits| location_limits(&limits)).unwrap_or_default();
        let adapter = object.require("adapter").and_then(|node| adapter(sheet, node));
        let (inbound_by_party, inbound_unknown) = self.inbound(&object);
        object.finish();
        let (adapter, span) = adapter?;
        let location = format!("{}/{}", self.port, name.value);
        self.check_production(sheet, &adapter, span, unknown_party, &inbound_unknown);
        taken.push(Taken { sheet, span, adapter: adapter.clone(), location });
        let name = name.value.clone();
        let location = ReceiveLocation {
            name,
            title,
            adapter,
            state,
            party,
            unknown_party,
            order_source,
            limits,
            inbound_by_party,
            inbound_unknown,
        };
        Some((location, primary))
    }

    /// What each party's record says once this location's own keys are laid over it.
    fn inbound(&self, object: &Object<'_, '_>) -> (HashMap<String, Arc<Inbound>>, Arc<Inbound>) {
        let own: Vec<_> = ["profile", "charset", "validation", "acknowledgment", "batch"]
            .into_iter()
            .filter_map(|key| Some((Spanned::new(key.to_owned(), object.span()), object.get(key)?.clone())))
            .collect();
        let own = Node { span: object.span(), kind: Kind::Map(own) };
        // Mistakes in the location's keys are noted once; those of parties where the parties stand.
        party::inbound(object.sheet, &own, self.class);
        let quiet = Sheet::new("", "");
        let laid_over = |base: Option<&Node>| {
            let node = match base {
                Some(base) => party::override_with(base.clone(), &own),
                None => own.clone(),
            };
            let inbound = party::inbound(&quiet, &node, self.class);
            if inbound.validation.level == ValidationLevel::Profile && inbound.profile.is_none() {
                let place = object.get("validation").map_or(object.span(), |node| node.span);
                object.sheet.error_help(
                    "S208",
                    place,
                    "level `profile` is asked for, and no profile is named",
                    Some("name one with `profile`, here or for the party".to_owned()),
                );
            }
            Arc::new(inbound)
        };
        let by_party =
            self.parties.all.keys().map(|name| (name.clone(), laid_over(self.parties.inbound.get(name))));
        (by_party.collect(), laid_over(self.parties.inbound.get("unknown")))
    }

    fn check_production(
        &self,
        sheet: &Sheet,
        adapter: &ReceiveAdapter,
        span: Span,
        unknown: UnknownParty,
        inbound: &Inbound,
    ) {
        if self.class != SiteClass::Production {
            return;
        }
        if let ReceiveAdapter::Mllp(mllp) = adapter
            && mllp.tls.is_none()
            && mllp.peers.is_empty()
            && !mllp.listen.is_loopback()
        {
            let help = "give it `tls`, or name the callers in `peers`".to_owned();
            let message =
                "a production site listens beyond its own machine with TLS or for known callers only";
            sheet.error_help("S205", span, message, Some(help));
        }
        if unknown == UnknownParty::Settings && inbound.validation.level == ValidationLevel::None {
            sheet.error(
                "S205",
                span,
                "a production site does not take unchecked messages from unknown senders",
            );
        }
    }
}

pub(super) const STATES: &[(&str, PortState)] = &[
    ("running", PortState::Running),
    ("on_hold", PortState::OnHold),
    ("not_deployed", PortState::NotDeployed),
];
const UNKNOWN: &[(&str, UnknownParty)] = &[
    ("settings", UnknownParty::Settings),
    ("refuse", UnknownParty::Refuse),
    ("suspend", UnknownParty::Suspend),
    ("close", UnknownParty::Close),
];
const SOURCES: &[(&str, OrderSource)] = &[
    ("connection", OrderSource::Connection),
    ("peer", OrderSource::Peer),
    ("location", OrderSource::Location),
    ("party", OrderSource::Party),
];

fn location_limits(object: &Object<'_, '_>) -> LocationLimits {
    let mut limits = LocationLimits::default();
    object.set_size("message", 64 << 20, &mut limits.message_bytes);
    if let Some(rate) = object.number("rate", 1, 1_000_000) {
        limits.rate = u32::try_from(rate).ok();
    }
    object.set_number("in_flight", 1, 100_000, &mut limits.in_flight);
    object.finish();
    limits
}

/// Adapters that are there.
const ADAPTERS: &[&str] = &["mllp", "folder"];

/// The one adapter of a location or target; its name and body.
pub(super) fn one_adapter<'n>(
    sheet: &Sheet,
    node: &'n Node,
    later: &[&str],
) -> Option<(&'n Spanned<String>, &'n Node)> {
    let entries = sheet.with_problems(|problems| node.keyed("an adapter", CODES, problems));
    let [(name, body)] = entries else {
        if let Some((second, _)) = entries.get(1) {
            sheet.error("S007", second.span, "exactly one adapter is wanted here");
        } else if node.as_map().is_some() {
            sheet.error("S004", node.span, "exactly one adapter is wanted here");
        }
        return None;
    };
    if ADAPTERS.contains(&name.value.as_str()) {
        return Some((name, body));
    }
    if later.contains(&name.value.as_str()) {
        sheet.error(CODES.unsupported, name.span, format!("`{}` is not supported yet", name.value));
    } else {
        let known = later.iter().chain(ADAPTERS).copied();
        let help = orderly_rules::diagnostic::did_you_mean(&name.value, known);
        sheet.error_help("S002", name.span, format!("unknown adapter `{}`", name.value), help);
    }
    None
}

fn adapter(sheet: &Sheet, node: &Node) -> Option<(ReceiveAdapter, Span)> {
    let later = ["http", "sftp", "ftp", "sql", "imap", "fhir", "internal"];
    let (name, body) = one_adapter(sheet, node, &later)?;
    if name.value == "folder" {
        let folder = super::folder_port::receive(sheet, body)?;
        return Some((ReceiveAdapter::Folder(folder), name.span));
    }
    let object = sheet.object(body, "`mllp`")?;
    object.refuse(&["reconnect"]);
    let socket = object.require("socket").and_then(|_| object.object("socket"));
    let tls = object.object("tls").and_then(|tls| listener_tls(&tls));
    let peers = object.peers("peers");
    let framing = object.object("framing").map(|framing| read_framing(&framing)).unwrap_or_default();
    let limits = object.object("limits");
    let mut mllp = MllpReceive { tls, peers, framing, ..MllpReceive::new(Address::new("", 0)) };
    if let Some(limits) = limits {
        let known = &mut mllp.limits;
        limits.set_size("frame", 64 << 20, &mut known.frame_bytes);
        limits.set_duration("frame_time", &mut known.frame_time);
        limits.set_duration("idle", &mut known.idle);
        limits.set_number("connections", 1, 100_000, &mut known.connections);
        limits.set_number("per_peer", 1, 100_000, &mut known.per_peer);
        limits.set_number("pipelined", 1, 10_000, &mut known.pipelined);
        limits.finish();
    }
    object.set_duration("keepalive", &mut mllp.keepalive);
    object.set_flag("persistent", &mut mllp.persistent);
    object.finish();
    let (listen, span) = socket_address(&socket?, "listen", "connect")?;
    mllp.listen = listen;
    Some((ReceiveAdapter::Mllp(mllp), span))
}

/// The address of a socket, which is used one way round so far.
pub(super) fn socket_address(
    socket: &Object<'_, '_>,
    key: &'static str,
    other: &'static str,
) -> Option<(Address, Span)> {
    socket.refuse(&[other]);
    if socket.get(other).is_none() {
        socket.require(key);
    }
    let address = socket.address(key);
    // The key is meant as well: `listen` says what the address is for.
    let span = socket.keys.key_span(key).unwrap_or_else(|| socket.span());
    socket.finish();
    Some((address?, span))
}

pub(super) fn read_framing(object: &Object<'_, '_>) -> Framing {
    let mut framing = Framing::default();
    for (key, target) in
        [("start", &mut framing.start), ("end", &mut framing.end), ("last", &mut framing.last)]
    {
        let Some(text) = object.text(key) else { continue };
        match u8::from_str_radix(&text.value, 16) {
            Ok(byte) if text.value.len() == 2 => *target = byte,
            _ => object.sheet.error(
                "S001",
                text.span,
                format!("`{}` is not a byte; write two hexadecimal digits", text.value),
            ),
        }
    }
    object.set_choice(
        "missing_start",
        &[("refuse", true), ("accept", false)],
        &mut framing.refuse_missing_start,
    );
    object.set_flag("write_start", &mut framing.write_start);
    object.set_flag("commit_bytes", &mut framing.commit_bytes);
    object.finish();
    framing
}

pub(super) const TLS_MINIMUM: &[(&str, TlsMinimum)] = &[("1.2", TlsMinimum::V1_2), ("1.3", TlsMinimum::V1_3)];

fn listener_tls(object: &Object<'_, '_>) -> Option<ListenerTls> {
    let (certificate, key) = (object.secret("certificate"), object.secret("key"));
    let mut client = ClientCertificate::None;
    let words = [
        ("none", ClientCertificate::None),
        ("offered", ClientCertificate::Offered),
        ("required", ClientCertificate::Required),
    ];
    object.set_choice("client", &words, &mut client);
    let client_ca = object.secret("client_ca");
    let mut minimum = TlsMinimum::V1_2;
    object.set_choice("minimum", TLS_MINIMUM, &mut minimum);
    for missing in ["certificate", "key"].into_iter().filter(|key| object.get(key).is_none()) {
        object.sheet.error(
            "S204",
            object.span(),
            format!("`{missing}` is missing: TLS needs a certificate and its key"),
        );
    }
    if client != ClientCertificate::None && client_ca.is_none() {
        object.sheet.error(
            "S004",
            object.span(),
            "`client_ca` is missing: it says whose certificates are taken",
        );
    }
    object.finish();
    Some(ListenerTls { certificate: certificate?, key: key?, client, client_ca, minimum })
}

/// Two listeners on one port clash when they share an address or one of them listens on all; two folders when both
/// would take the same files.
fn check_taken(taken: &[Taken<'_>]) {
    for (place, later) in taken.iter().enumerate() {
        let clash =
            taken[..place].iter().find_map(|first| Some((first, clash(&first.adapter, &later.adapter)?)));
        let Some((first, (code, what))) = clash else { continue };
        let message = format!("{what} is already taken by receive location `{}`", first.location);
        let there = if first.sheet.file() == later.sheet.file() {
            format!("there: line {}", first.span.line)
        } else {
            format!("there: {} line {}", first.sheet.file(), first.span.line)
        };
        later.sheet.error_help(code, later.span, message, Some(there));
    }
}

fn clash(first: &ReceiveAdapter, later: &ReceiveAdapter) -> Option<(&'static str, String)> {
    match (first, later) {
        (ReceiveAdapter::Mllp(first), ReceiveAdapter::Mllp(later)) => {
            let (first, later) = (&first.listen, &later.listen);
            let shared = first.host == later.host || first.is_any() || later.is_any();
            let clash = first.port == later.port && later.port != 0 && shared;
            clash.then(|| ("S201", format!("port {}", later.port)))
        }
        (ReceiveAdapter::Folder(first), ReceiveAdapter::Folder(later)) => {
            let bare = |path: &str| path.trim_end_matches('/').to_owned();
            let clash = bare(&first.path) == bare(&later.path) && first.mask == later.mask;
            clash.then(|| ("S203", format!("folder {} with mask {}", later.path, later.mask)))
        }
        _ => None,
    }
}
