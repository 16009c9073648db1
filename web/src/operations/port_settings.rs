//! What a port is set to, in words: how senders are answered, what receivers are asked and what their answers mean.

use std::time::Duration;

use orderly_engine::configuration::{
    AckConflict, AckMode, Acknowledgment, Configuration, DifferentAgain, ExpectedAck, Inbound, Outbound,
    ReceiveAdapter, ReceiveLocation, SameAgain, SendAdapter, SendPort, SequenceRule,
};

/// A heading with its lines: a name and what is set.
pub(crate) struct Group {
    pub(crate) title: String,
    pub(crate) lines: Vec<(&'static str, String)>,
}

/// The settings of one port, as far as somebody who operates it asks for them.
pub(crate) fn of(configuration: &Configuration, kind: &str, name: &str) -> Vec<Group> {
    if kind == "receive" {
        let found = configuration
            .receive_locations()
            .find(|(port, location)| format!("{}/{}", port.name, location.name) == name);
        return found.map(|(_, location)| receive(configuration, location)).unwrap_or_default();
    }
    configuration.send_ports.get(name).map(|port| send(configuration, port)).unwrap_or_default()
}

fn receive(configuration: &Configuration, location: &ReceiveLocation) -> Vec<Group> {
    let of = |title: String, party: Option<&str>| Group { title, lines: inbound(location.inbound(party)) };
    let mut groups = vec![Group { title: "Limits".to_owned(), lines: limits(location) }];
    match &location.party {
        Some(party) => groups.push(of(format!("Messages of {party}"), Some(party))),
        None => {
            let named = configuration.parties.values().filter(|party| !party.identify.is_empty());
            groups.extend(named.map(|party| of(format!("Messages of {}", party.title), Some(&party.name))));
            groups.push(of("Messages of anybody else".to_owned(), None));
        }
    }
    groups
}

fn limits(location: &ReceiveLocation) -> Vec<(&'static str, String)> {
    let limits = &location.limits;
    let rate =
        limits.rate.map_or("as fast as they come".to_owned(), |rate| format!("{rate} messages a second"));
    let mut lines = vec![
        ("One message", format!("{} KiB at most", limits.message_bytes >> 10)),
        ("Speed", rate),
        ("Under way at once", limits.in_flight.to_string()),
    ];
    if let ReceiveAdapter::Mllp(mllp) = &location.adapter {
        lines.push(("Transport", transport(mllp.tls.is_some(), mllp.framing.commit_bytes)));
    }
    lines
}

fn transport(tls: bool, commit_bytes: bool) -> String {
    let release = if commit_bytes { "MLLP release 2 (commit bytes)" } else { "MLLP release 1" };
    format!("{release}, {}", if tls { "TLS" } else { "plain" })
}

fn inbound(inbound: &Inbound) -> Vec<(&'static str, String)> {
    let mut lines = vec![("Acknowledgment", acknowledgment(&inbound.acknowledgment))];
    let extras = extras(&inbound.acknowledgment);
    if !extras.is_empty() {
        lines.push(("Its content", extras));
    }
    let same = match inbound.duplicates.same {
        SameAgain::RepeatAnswer => "the first answer once more",
        SameAgain::AcceptAgain => "taken again",
        SameAgain::Suspend => "held for a person",
    };
    let different = match inbound.duplicates.different {
        DifferentAgain::Accept => "taken, with an alert",
        DifferentAgain::Refuse => "refused",
        DifferentAgain::Suspend => "held for a person",
    };
    lines.push(("Repeats", format!("same bytes: {same}; other bytes under the same id: {different}")));
    match inbound.sequence {
        SequenceRule::Ignore => {}
        SequenceRule::Echo => lines.push(("Sequence numbers", "repeated in the answer".to_owned())),
        SequenceRule::Enforce => lines.push(("Sequence numbers", "gaps are refused".to_owned())),
    }
    lines
}

fn acknowledgment(ack: &Acknowledgment) -> String {
    let asked = || {
        format!(
            "accept {}, application {} where the message says nothing",
            ack.accept_when.code(),
            ack.application_when.code()
        )
    };
    let mode = match ack.mode {
        AckMode::None => "none".to_owned(),
        AckMode::Original => "original mode: one answer, after the commit".to_owned(),
        AckMode::Enhanced => format!("enhanced mode: {}", asked()),
        AckMode::Application => format!("stored is told at once, the application answers later: {}", asked()),
        AckMode::Static => "a fixed text".to_owned(),
        AckMode::Transport => "by the transport alone".to_owned(),
    };
    let conflict = match ack.conflict {
        AckConflict::MessageWins => "",
        AckConflict::PartyWins => "; MSH-15 and MSH-16 of messages do not count",
        AckConflict::EitherAsks => "; also where only the message asks",
    };
    let route = ack.route.as_ref().map(|port| format!("; the application's answer leaves by {port}"));
    format!("{mode}{conflict}{}", route.unwrap_or_default())
}

fn extras(ack: &Acknowledgment) -> String {
    let mut parts = Vec::new();
    if let Some(from) = &ack.from {
        parts.push(format!("from {}", from.app));
    }
    parts.extend(ack.header.iter().map(|(field, text)| format!("MSH-{field} = {text}")));
    if ack.help_desk {
        parts.push("names the help desk".to_owned());
    }
    if ack.echo_software {
        parts.push("repeats SFT".to_owned());
    }
    if ack.of_acks {
        parts.push("acknowledgments that ask are answered".to_owned());
    }
    parts.join(", ")
}

fn send(configuration: &Configuration, port: &SendPort) -> Vec<Group> {
    let rule = &port.ack;
    let expects = match rule.expect {
        ExpectedAck::None => "none".to_owned(),
        ExpectedAck::Transport => "the transport's".to_owned(),
        ExpectedAck::Accept => format!("accept (CA, CE, CR) within {}", span(rule.within)),
        ExpectedAck::Application => {
            format!("application (AA, AE, AR) within {} after CA", span(rule.application_within))
        }
        ExpectedAck::Any => format!("the first one, within {}", span(rule.within)),
    };
    let mut lines = vec![("Acknowledgment awaited", expects)];
    if rule.from_any_receive_port {
        lines.push(("It may come by", "this connection or any receive port".to_owned()));
    }
    if rule.publish {
        lines.push(("Answers", "are published to their subscribers".to_owned()));
    }
    let actions = orderly_engine::configuration::Answered::ALL.into_iter().map(|answered| {
        format!("{} {}", answered.word(), rule.codes.action(answered).word().replace('_', " "))
    });
    lines.push(("What answers mean", actions.collect::<Vec<_>>().join(", ")));
    if let SendAdapter::Mllp(mllp) = &port.target {
        lines.push(("Transport", transport(mllp.tls.is_some(), mllp.framing.commit_bytes)));
    }
    let mut groups = vec![Group { title: "Delivery".to_owned(), lines }];
    if let Some(party) = port.party.as_ref().and_then(|name| configuration.parties.get(name)) {
        let lines = outbound(&party.outbound);
        if !lines.is_empty() {
            groups.push(Group { title: format!("Written for {}", party.title), lines });
        }
    }
    groups
}

fn outbound(outbound: &Outbound) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(version) = &outbound.version {
        lines.push(("Version", version.clone()));
    }
    if let Some(ask) = &outbound.ask {
        let asked = format!("accept {}, application {}", ask.accept.code(), ask.application.code());
        lines.push(("Acknowledgments asked for", asked));
    }
    if let Some(charset) = &outbound.charset {
        lines.push(("Character set", charset.name.clone()));
    }
    if !outbound.header.is_empty() {
        let places = outbound.header.iter().map(|(place, text)| format!("{place} = {text}"));
        lines.push(("Header", places.collect::<Vec<_>>().join(", ")));
    }
    lines
}

fn span(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds >= 60 && seconds % 60 == 0 => format!("{} min", seconds / 60),
        _ => format!("{} s", duration.as_secs_f64()),
    }
}
