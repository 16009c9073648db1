//! All that a port is set to, in words, with the file and line that say so. Structs of the configuration are taken apart
//! without `..`, so that a new setting cannot be forgotten here.

mod book;
mod inbound;
mod outbound;
#[cfg(test)]
mod tests;
mod transport;
mod words;

use orderly_engine::configuration::{
    Binding, Configuration, Contact, Enlisted, Exchange, Identify, LocationLimits, OrderSource, Party,
    PartyAddress, PortState, ReceiveLocation, ReceivePort, SendPort, UnknownParty,
};
use orderly_engine::routing::{self, Means};
use orderly_engine::site::Origins;

pub(crate) use book::Group;
use book::{Book, Places};
use words::{bytes, list};

/// The settings of a receive location itself.
pub(crate) fn location(
    configuration: &Configuration,
    origins: &Origins,
    port: &ReceivePort,
    location: &ReceiveLocation,
) -> Vec<Group> {
    let ReceivePort { name: port_name, title: port_title, application, locations, exchange } = port;
    let ReceiveLocation {
        name,
        title,
        adapter,
        state,
        party,
        unknown_party,
        order_source,
        limits,
        inbound_by_party: _, // By `of_party`.
        inbound_unknown: _,
    } = location;
    let own = Places::one(&["receive_ports", port_name, "locations", name]);
    let mut book = Book::new(origins, Places::one(&["receive_ports", port_name]));
    book.group("Who may send");
    book.say("Receive port", "title", port_title);
    book.say("Application", "application", application);
    asked(&mut book, exchange.as_ref());
    book.turn_to(own);
    book.say("Location", "title", if title.is_empty() { name } else { title });
    let first = locations.first().is_some_and(|first| first.name == *name);
    book.say("First of its port", "primary", words::yes(first));
    book.say("When it was first deployed", "state", state_words(*state));
    let known = party.as_ref().map(|party| format!("Always {party}"));
    book.say(
        "Sender",
        "party",
        known.unwrap_or_else(|| "The party that its header or address tells".to_owned()),
    );
    let unknown = match unknown_party {
        UnknownParty::Settings => "Taken by the record of unknown senders",
        UnknownParty::Refuse => "Refused with AR",
        UnknownParty::Suspend => "Answered as stored, and held for a person",
        UnknownParty::Close => "The connection is closed",
    };
    book.say("A sender nobody knows", "unknown_party", unknown);
    let source = match order_source {
        OrderSource::Connection => "Each connection",
        OrderSource::Peer => "Each address",
        OrderSource::Location => "The whole location",
        OrderSource::Party => "Each party",
    };
    book.say("One sender, where order counts, is", "order_source", source);
    let LocationLimits { message_bytes, rate, in_flight } = limits;
    book.say("Longest message", "limits.message", bytes(*message_bytes as u64));
    let fast =
        rate.map_or_else(|| "As fast as they come".to_owned(), |rate| format!("{rate} messages a second"));
    book.say("Speed", "limits.rate", fast);
    book.say("Under way at once", "limits.in_flight", in_flight.to_string());
    followers(&mut book, configuration, port_name);
    book.group("Connection");
    transport::receive(&mut book, adapter);
    book.finish()
}

/// What becomes of a question at a two-way port.
fn asked(book: &mut Book<'_>, exchange: Option<&Exchange>) {
    let Some(Exchange { within, responses, route }) = exchange else {
        return book.say("What comes in asks for a response", "two_way", "No");
    };
    book.say("What comes in asks for a response", "two_way", "Yes");
    book.say("AE without a response", "exchange.within", format!("After {}", words::span(*within)));
    book.say(
        "Responses come by",
        "exchange.responses",
        list(responses, "The connection of the question only"),
    );
    let back = route.as_ref().map(|port| format!("Send port {port}"));
    let back = back.unwrap_or_else(|| "The connection of the question".to_owned());
    book.say("A response goes back by", "exchange.route", back);
}

/// How messages of one party are taken at a location; `None`: of senders nobody knows.
pub(crate) fn of_party(
    configuration: &Configuration,
    origins: &Origins,
    port: &ReceivePort,
    location: &ReceiveLocation,
    party: Option<&str>,
) -> Vec<Group> {
    let name = party.unwrap_or("unknown");
    let own = Places::one(&["receive_ports", &port.name, "locations", &location.name]);
    let mut book = Book::new(origins, own.or(&["parties", name, "inbound"], format!("party {name}")));
    if let Some(base) = origins.text(&["parties", name, "like"]) {
        let own = Places::one(&["receive_ports", &port.name, "locations", &location.name]);
        let record = own.or(&["parties", name, "inbound"], format!("party {name}"));
        book.turn_to(record.or(&["parties", base, "inbound"], format!("like party {base}")));
    }
    inbound::inbound(&mut book, location.inbound(party));
    if let Some(party) = configuration.parties.get(name) {
        party_record(&mut book, origins, party);
    }
    book.finish()
}

/// The settings of a send port.
pub(crate) fn send(configuration: &Configuration, origins: &Origins, port: &SendPort) -> Vec<Group> {
    let mut book = Book::new(origins, Places::one(&["send_ports", &port.name]));
    outbound::port(&mut book, configuration, port);
    if let Some(party) = port.party.as_ref().and_then(|name| configuration.parties.get(name)) {
        book.turn_to(places_of_party(origins, &party.name));
        book.group(format!("Written for {}", party.title));
        outbound::written(&mut book, &party.outbound);
    }
    book.finish()
}

/// The settings of an orchestration: what its logical ports are, and the values of its own settings.
pub(crate) fn orchestration(origins: &Origins, enlisted: &Enlisted) -> Vec<Group> {
    let Enlisted { name, application, definition: _, ports, settings, shards, weight, state } = enlisted;
    let mut book = Book::new(origins, Places::one(&["orchestrations", name]));
    book.group("Orchestration");
    book.say("Application", "application", application);
    book.say("When it was first deployed", "state", state_words(*state));
    book.say("Lanes its instances are spread over", "shards", shards.to_string());
    book.say("Weight against others", "weight", format!("{weight} of 10"));
    book.group("Its ports");
    for (logical, Binding { receive_port, send }) in ports {
        let from = receive_port.as_ref().map(|port| format!("from receive port {port}"));
        let to = send.as_ref().map(|send| format!("to {}", send.name()));
        let words: Vec<String> = from.into_iter().chain(to).collect();
        book.say(logical.clone(), &format!("ports.{logical}"), words.join(", "));
    }
    book.group("Its settings");
    for (setting, value) in settings {
        book.say(setting.clone(), &format!("settings.{setting}"), value.to_string());
    }
    book.finish()
}

fn places_of_party(origins: &Origins, name: &str) -> Places {
    let own = Places::one(&["parties", name]);
    match origins.text(&["parties", name, "like"]) {
        Some(base) => own.or(&["parties", base], format!("like party {base}")),
        None => own,
    }
}

/// Who a party is. How its messages are taken and written stands in groups of its own.
fn party_record(book: &mut Book<'_>, origins: &Origins, party: &Party) {
    let Party { name, title, identify, address, inbound: _, outbound: _, contact, retention } = party;
    book.turn_to(places_of_party(origins, name));
    book.group("The party");
    book.say("Party", "title", title);
    if let Some(base) = origins.text(&["parties", name, "like"]) {
        book.say("Takes over the settings of", "like", base);
    }
    let known: Vec<String> = identify.iter().map(identified).collect();
    book.say(
        "Recognised by",
        "identify",
        if known.is_empty() { "Nothing".to_owned() } else { known.join("; or ") },
    );
    let whom = address.as_ref().map(|PartyAddress { app, facility }| match facility {
        Some(facility) => format!("{app} at {facility}"),
        None => app.clone(),
    });
    book.say("Addressed as (MSH-5, MSH-6)", "address", whom.unwrap_or_else(|| "Not addressed".to_owned()));
    let ask = contact.as_ref().map(|Contact { name, phone, email, text }| {
        [name, phone, email, text].into_iter().flatten().cloned().collect::<Vec<_>>().join(", ")
    });
    book.say("Whom its people ask", "contact", ask.unwrap_or_else(|| "The contact of the site".to_owned()));
    let kept = retention.clone().unwrap_or_else(|| "As the filters of the classes say".to_owned());
    book.say("Its messages are kept as", "retention", kept);
}

fn identified(entry: &Identify) -> String {
    let Identify {
        sending_app,
        sending_facility,
        receiving_app,
        receiving_facility,
        certificate_subject,
        certificate_sha256,
        peer,
        batch_sending_app,
        batch_sending_facility,
    } = entry;
    let pattern = |name: &str, found: &Option<orderly_engine::configuration::Pattern>| {
        found.as_ref().map(|found| format!("{name} {found}"))
    };
    let parts = [
        pattern("MSH-3", sending_app),
        pattern("MSH-4", sending_facility),
        pattern("MSH-5", receiving_app),
        pattern("MSH-6", receiving_facility),
        pattern("certificate", certificate_subject),
        certificate_sha256.as_ref().map(|hash| format!("certificate with SHA-256 {hash}")),
        peer.as_ref().map(|peer| format!("address {}", words::peers(std::slice::from_ref(peer)))),
        pattern("FHS-3 or BHS-3", batch_sending_app),
        pattern("FHS-4 or BHS-4", batch_sending_facility),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" and ")
}

fn state_words(state: PortState) -> &'static str {
    match state {
        PortState::Running => "Running",
        PortState::OnHold => "On hold",
        PortState::NotDeployed => "Not deployed",
    }
}

/// Title, application and state of a send port.
fn belongs(book: &mut Book<'_>, title: &str, application: &str, state: PortState) {
    book.say("Send port", "title", title);
    book.say("Application", "application", application);
    book.say("When it was first deployed", "state", state_words(state));
}

/// What a send port subscribes to, by itself and as a member of groups, and who sends to it directly.
fn subscribed(book: &mut Book<'_>, configuration: &Configuration, name: &str) {
    let every = |conditions: Vec<String>| match conditions.is_empty() {
        true => "Every message".to_owned(),
        false => conditions.join(", and "),
    };
    let mut own = "Nothing by itself".to_owned();
    let mut by_group = Vec::new();
    for one in routing::subscriptions(configuration) {
        if one.kind != "send_port" || one.name != name {
            continue;
        }
        match &one.means {
            Means::SendsAsMember(group) => by_group.push(format!("{group}: {}", every(one.conditions()))),
            _ => own = every(one.conditions()),
        }
    }
    book.say("Subscribes to", "filter", own);
    book.say("As a member of groups", "", list(&by_group, "None"));
    let senders = routing::sent_to_directly(configuration).into_iter().find(|(port, _)| port == name);
    let senders = senders.map(|(_, senders)| senders).unwrap_or_default();
    book.say("Sent to by orchestrations", "", list(&senders, "None"));
}

/// Orchestrations whose logical ports are bound to a receive port.
fn followers(book: &mut Book<'_>, configuration: &Configuration, port: &str) {
    let bound = configuration.orchestrations.values().filter(|enlisted| {
        enlisted.ports.values().any(|binding| binding.receive_port.as_deref() == Some(port))
    });
    let names: Vec<String> = bound.map(|enlisted| enlisted.name.clone()).collect();
    book.say("Orchestrations bound to the port", "", list(&names, "None"));
}
