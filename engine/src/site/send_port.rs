//! Send ports and send port groups of a site.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use orderly_rules::yaml::Node;

use super::{
    filters::Filters,
    receive_port::{STATES, TLS_MINIMUM, one_adapter, read_framing, socket_address},
    sheet::{CODES, Object, Referent, Sheet, choice},
    source::{Entry, Source},
};
use crate::configuration::{
    AckAction, AckPreset, AckRule, AckTable, Address, Answered, Backup, Breaker, Calendar, CallerTls,
    ExpectedAck, Mismatch, MllpSend, OnFailure, Order, Party, PortState, Retry, SendAdapter, SendLimits,
    SendPort, SendPortGroup, SiteHead,
};

/// Reads `send_ports:`.
pub(super) fn read(
    source: &Source,
    filters: &Filters<'_>,
    site: &SiteHead,
    calendars: &IndexMap<String, Calendar>,
) -> IndexMap<String, SendPort> {
    let entries = source.entries("send_ports");
    let ports = entries.iter().filter_map(|entry| send_port(entry, filters, site, calendars));
    ports.map(|port| (port.name.clone(), port)).collect()
}

fn send_port(
    entry: &Entry<'_>,
    filters: &Filters<'_>,
    head: &SiteHead,
    calendars: &IndexMap<String, Calendar>,
) -> Option<SendPort> {
    let (site, zone) = (head.name.as_str(), head.timezone);
    let object = entry.sheet.object(entry.body, "a send port")?;
    object.refuse(&["track", "failed", "maps", "answer_maps", "encode", "encoding"]);
    let mut port = SendPort::mllp(entry.name.value.clone(), Address::new("", 0));
    port.title.clone_from(&port.name);
    site.clone_into(&mut port.application);
    object.set_text("title", &mut port.title);
    if let Some(application) = object.reference("application", Referent::Application) {
        port.application = application;
    }
    port.party = object.reference("party", Referent::Party);
    port.filter = object.get("filter").and_then(|node| filters.read(entry.sheet, node));
    if let Some(order) = object.get("order").and_then(|node| order(entry.sheet, node, filters)) {
        port.order = order;
    }
    port.retry = object.object("retry").map(|retry| read_retry(&retry)).unwrap_or_default();
    port.calendar =
        object.reference("calendar", Referent::Calendar).and_then(|name| calendars.get(&name).cloned());
    port.backup = object.object("backup").and_then(|backup| read_backup(&backup, &port.retry));
    object.set_flag("intent", &mut port.intent);
    port.breaker = object.object("breaker").map(|breaker| read_breaker(&breaker)).unwrap_or_default();
    port.limits = object.object("limits").map(|limits| read_limits(&limits)).unwrap_or_default();
    let ack = object.object("ack").map(|ack| read_ack(&ack));
    if let Some(place) = object.get("priority") {
        let message = "`priority` is not supported yet: each lane of a send port sends by itself and waits for no other port";
        let help = "take it out; `limits.rate` slows a port, and `weight` is for orchestrations".to_owned();
        entry.sheet.error_help(CODES.unsupported, place.span, message, Some(help));
    }
    object.set_choice("state", STATES, &mut port.state);
    // Read once the target is known.
    object.get("batch");
    let target = object.require("target").and_then(|node| target(entry.sheet, node));
    object.finish();
    port.target = target?;
    let batch = entry.body.get("batch");
    port.batch =
        batch.and_then(|node| super::batch::outbound(entry.sheet, node, filters, &port.target, zone));
    if let (SendAdapter::Folder(_), Some(_), Some(place)) =
        (&port.target, port.limits.message, entry.body.get("limits"))
    {
        let message = "`limits.message` cuts messages for an MLLP receiver; a file has no limit to keep";
        entry.sheet.error("S308", place.span, message);
    }
    port.ack = match &port.target {
        SendAdapter::Mllp(_) => ack.unwrap_or_default(),
        SendAdapter::Folder(_) => {
            let answered = ack.as_ref().is_some_and(|ack| ack.expect != ExpectedAck::None);
            if let Some(place) = entry.body.get("ack").filter(|_| answered) {
                entry.sheet.error("S306", place.span, "a folder answers nothing; write `expect: none`");
            }
            AckRule { expect: ExpectedAck::None, ..ack.unwrap_or_default() }
        }
    };
    if port.intent && matches!(port.ack.expect, ExpectedAck::None | ExpectedAck::Transport) {
        let text =
            "`intent` needs an answer of the receiver: without one nobody learns whether a message arrived";
        entry.sheet.error("S305", entry.name.span, text);
    }
    Some(port)
}

/// Numbers follow each other only where one message is under way at a time.
pub(super) fn check_numbers(
    source: &Source,
    ports: &IndexMap<String, SendPort>,
    parties: &IndexMap<String, Party>,
) {
    for entry in source.entries("send_ports") {
        let Some(port) = ports.get(&entry.name.value) else { continue };
        let party = port.party.as_ref().and_then(|party| parties.get(party));
        let Some(party) = party.filter(|party| party.outbound.numbers) else { continue };
        if !matches!(port.order, Order::Strict { .. }) || port.backup.is_some() || port.batch.is_some() {
            let message = format!(
                "party `{}` gets numbered messages (`outbound.sequence`): that needs `order: strict`, and neither `backup` \
                 nor `batch`",
                party.name
            );
            entry.sheet.error("S305", entry.name.span, message);
        }
    }
}

fn target(sheet: &Sheet, node: &Node) -> Option<SendAdapter> {
    let later = ["http", "sftp", "ftp", "sql", "smtp", "fhir", "internal", "dynamic"];
    let (name, body) = one_adapter(sheet, node, &later)?;
    if name.value == "folder" {
        return super::folder_port::send(sheet, body).map(SendAdapter::Folder);
    }
    let object = sheet.object(body, "`mllp`")?;
    let mut mllp = MllpSend::new(Address::new("", 0));
    let socket = object.require("socket").and_then(|_| object.object("socket"));
    mllp.tls = object.object("tls").and_then(|tls| caller_tls(&tls));
    mllp.framing = object.object("framing").map(|framing| read_framing(&framing)).unwrap_or_default();
    object.set_duration("connect_timeout", &mut mllp.connect_timeout);
    object.set_duration("write_timeout", &mut mllp.write_timeout);
    object.set_duration("keepalive", &mut mllp.keepalive);
    object.set_duration("idle", &mut mllp.idle);
    object.set_flag("persistent", &mut mllp.persistent);
    object.finish();
    (mllp.connect, _) = socket_address(&socket?, "connect", "listen")?;
    Some(SendAdapter::Mllp(mllp))
}

fn caller_tls(object: &Object<'_, '_>) -> Option<CallerTls> {
    let mut tls = CallerTls {
        ca: object.secret("ca"),
        certificate: object.secret("certificate"),
        key: object.secret("key"),
        server_name: object.text("server_name").map(|text| text.value),
        ..CallerTls::default()
    };
    object.set_choice("minimum", TLS_MINIMUM, &mut tls.minimum);
    for pin in object.texts("pin_sha256") {
        let bare = pin.value.replace(':', "").to_lowercase();
        if bare.len() == 64 && bare.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            tls.pin_sha256.push(bare);
        } else {
            object.sheet.error("S001", pin.span, "a pin is a SHA-256 of 64 hexadecimal digits");
        }
    }
    object.finish();
    if tls.certificate.is_some() != tls.key.is_some() {
        object.sheet.error("S204", object.span(), "a certificate needs its key, and a key its certificate");
        return None;
    }
    Some(tls)
}

const ON_FAILURE: &[(&str, OnFailure)] = &[("hold_key", OnFailure::HoldKey), ("skip", OnFailure::Skip)];

fn order(sheet: &Sheet, node: &Node, filters: &Filters<'_>) -> Option<Order> {
    let on_failure = OnFailure::HoldKey;
    if node.as_text().is_some() {
        let words = [("none", 0), ("source", 1), ("strict", 2)];
        return choice(sheet, node, &words, &[]).map(|word| match word {
            0 => Order::None,
            1 => Order::Source { on_failure },
            _ => Order::Strict { on_failure },
        });
    }
    let entries = sheet.with_problems(|problems| node.keyed("`order`", CODES, problems));
    let [(name, body)] = entries else {
        sheet.error("S007", node.span, "`order` is one of none, key, source, strict");
        return None;
    };
    let object = sheet.object(body, "`order`")?;
    let mut on_failure = on_failure;
    object.set_choice("on_failure", ON_FAILURE, &mut on_failure);
    let order = match name.value.as_str() {
        "key" => {
            let mut shards = 8;
            object.set_number("shards", 1, 64, &mut shards);
            object.require("by");
            let properties = object.texts("by");
            properties.iter().for_each(|property| filters.check_property(sheet, property));
            let by = properties.into_iter().map(|property| property.value).collect();
            Order::Key { by, shards, on_failure }
        }
        "source" => Order::Source { on_failure },
        "strict" => Order::Strict { on_failure },
        other => {
            let message = format!("unknown order `{other}`");
            sheet.error_help(
                "S003",
                name.span,
                message,
                Some("one of: none, key, source, strict".to_owned()),
            );
            return None;
        }
    };
    object.finish();
    Some(order)
}

fn read_retry(object: &Object<'_, '_>) -> Retry {
    let mut retry = Retry::default();
    if let Some(times) = object.number("times", 0, 100_000) {
        retry.times = u32::try_from(times).ok();
    }
    object.set_duration("for", &mut retry.lasting);
    object.set_duration("wait", &mut retry.wait);
    object.set_duration("most", &mut retry.most);
    object.set_flag("jitter", &mut retry.jitter);
    if let Some(text) = object.text("factor") {
        match text.value.parse::<f64>() {
            Ok(factor) if (1.0..=100.0).contains(&factor) => retry.factor = factor,
            _ => object.sheet.error(
                "S001",
                text.span,
                format!("`{}` is not a number between 1 and 100", text.value),
            ),
        }
    }
    object.finish();
    retry
}

/// `after` is the port's own `retry` where it is not given.
fn read_backup(object: &Object<'_, '_>, retry: &Retry) -> Option<Backup> {
    let target = object.require("target").and_then(|node| target(object.sheet, node));
    let after = object.object("after").map_or_else(|| retry.clone(), |after| read_retry(&after));
    let own = object.object("retry").map(|retry| read_retry(&retry)).unwrap_or_default();
    let mut by_hand = false;
    object.set_choice("back", &[("when_empty", false), ("by_hand", true)], &mut by_hand);
    object.finish();
    Some(Backup { target: target?, after, retry: own, by_hand })
}

fn read_breaker(object: &Object<'_, '_>) -> Breaker {
    let mut breaker = Breaker::default();
    object.set_number("failures", 1, 100_000, &mut breaker.failures);
    object.set_duration("within", &mut breaker.within);
    object.set_duration("pause", &mut breaker.pause);
    object.set_duration("most", &mut breaker.most);
    object.finish();
    breaker
}

/// Least and largest size of a fragment.
const FRAGMENT_BYTES_MIN: usize = 1 << 10;
const FRAGMENT_BYTES_MAX: usize = 64 << 20;

fn read_limits(object: &Object<'_, '_>) -> SendLimits {
    let mut limits = SendLimits::default();
    if let Some(rate) = object.number("rate", 1, 1_000_000) {
        limits.rate = u32::try_from(rate).ok();
    }
    object.set_number("connections", 1, 1_000, &mut limits.connections);
    object.set_number("in_flight", 1, 1_000, &mut limits.in_flight);
    if let Some(node) = object.get("in_flight").filter(|_| limits.in_flight > 1) {
        let help = "more `connections` have more messages under way, one on each".to_owned();
        object.sheet.error_help("S009", node.span, "`in_flight` above 1 is not supported yet", Some(help));
        limits.in_flight = 1;
    }
    if let Some(waiting) = object.number("waiting", 1, i64::MAX) {
        limits.waiting = u64::try_from(waiting).ok();
    }
    if object.get("message").is_some() {
        let mut most = FRAGMENT_BYTES_MAX;
        object.set_size("message", FRAGMENT_BYTES_MAX, &mut most);
        if most < FRAGMENT_BYTES_MIN {
            object.sheet.error(
                "S001",
                object.span(),
                "`message` is at least 1KiB: header and pointer need room",
            );
        }
        limits.message = Some(most);
    }
    object.finish();
    limits
}

fn read_ack(object: &Object<'_, '_>) -> AckRule {
    let mut rule = AckRule::default();
    let kinds = [
        ("none", ExpectedAck::None),
        ("transport", ExpectedAck::Transport),
        ("accept", ExpectedAck::Accept),
        ("application", ExpectedAck::Application),
        ("any", ExpectedAck::Any),
    ];
    object.set_choice("expect", &kinds, &mut rule.expect);
    object.set_duration("within", &mut rule.within);
    object.set_duration("application_within", &mut rule.application_within);
    let mismatches = [("wait", Mismatch::Wait), ("suspend", Mismatch::Suspend), ("ignore", Mismatch::Ignore)];
    object.set_choice("mismatch", &mismatches, &mut rule.mismatch);
    if let Some(node) = object.get("accept_from") {
        let items = node.as_list().unwrap_or(std::slice::from_ref(node));
        let words = [("same_connection", false), ("any_receive_port", true)];
        // All items are read, so that every wrong one is reported.
        let places: Vec<bool> =
            items.iter().filter_map(|item| choice(object.sheet, item, &words, &[])).collect();
        rule.from_any_receive_port = places.contains(&true);
    }
    let presets = [("hl7", AckPreset::Hl7), ("biztalk", AckPreset::Biztalk), ("mirth", AckPreset::Mirth)];
    let mut preset = AckPreset::Hl7;
    object.set_choice("preset", &presets, &mut preset);
    rule.codes = AckTable::preset(preset);
    if let Some(codes) = object.object("codes") {
        let actions = [
            ("accept", AckAction::Accept),
            ("retry", AckAction::Retry),
            ("suspend", AckAction::Suspend),
            ("hold_port", AckAction::HoldPort),
        ];
        for answered in Answered::ALL {
            if let Some(action) = codes.choice(answered.word(), &actions) {
                rule.codes.set(answered, action);
            }
        }
        codes.finish();
    }
    object.set_flag("publish", &mut rule.publish);
    object.finish();
    rule
}

/// Reads `send_port_groups:`.
pub(super) fn read_groups(
    source: &Source,
    filters: &Filters<'_>,
    site: &str,
) -> IndexMap<String, SendPortGroup> {
    let entries = source.entries("send_port_groups");
    let groups = entries.iter().filter_map(|entry| group(entry, filters, site));
    groups.map(|group| (group.name.clone(), group)).collect()
}

fn group(entry: &Entry<'_>, filters: &Filters<'_>, site: &str) -> Option<SendPortGroup> {
    let object = entry.sheet.object(entry.body, "a send port group")?;
    let mut group = SendPortGroup {
        name: entry.name.value.clone(),
        title: entry.name.value.clone(),
        application: site.to_owned(),
        members: Vec::new(),
        filter: None,
        state: PortState::Running,
    };
    object.set_text("title", &mut group.title);
    if let Some(application) = object.reference("application", Referent::Application) {
        group.application = application;
    }
    object.require("members");
    group.members = object.references("members", Referent::SendPort);
    check_twice(&object);
    group.filter = object.get("filter").and_then(|node| filters.read(entry.sheet, node));
    object.set_choice("state", STATES, &mut group.state);
    object.finish();
    Some(group)
}

fn check_twice(object: &Object<'_, '_>) {
    let mut seen = BTreeMap::new();
    for member in object.texts("members") {
        if seen.insert(member.value.clone(), ()).is_some() {
            object.sheet.error("S005", member.span, format!("`{}` is here twice", member.value));
        }
    }
}
