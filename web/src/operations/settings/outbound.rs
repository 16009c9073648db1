//! What a send port is set to: what it gets, in which order, when it is tried again and what answers mean.

use orderly_engine::configuration::{
    AckAction, AckRule, Answered, Ask, Backup, BatchOrder, Breaker, Calendar, Configuration, Envelope,
    ExpectedAck, Holidays, Mismatch, OnFailure, Order, Outbound, OutboundBatch, OutboundCharset, Release,
    Retry, SendLimits, SendPort, Unmappable,
};

use super::book::Book;
use super::transport;
use super::words::{bytes, capital, list, span, when, yes};

pub(super) fn port(book: &mut Book<'_>, configuration: &Configuration, port: &SendPort) {
    let SendPort {
        name,
        title,
        application,
        party,
        target,
        filter: _, // In words by the subscriptions of the port.
        order,
        batch,
        retry,
        calendar,
        backup,
        intent,
        breaker,
        limits,
        ack,
        state,
    } = port;
    book.group("What it gets");
    super::subscribed(book, configuration, name);
    super::belongs(book, title, application, *state);
    let whom = party.clone().unwrap_or_else(|| "Whom the message names (MSH-5, MSH-6)".to_owned());
    book.say("Party", "party", whom);
    book.group("Order and speed");
    in_order(book, order);
    book.within("limits", |book| speed(book, limits));
    open_hours(book, calendar.as_ref());
    book.group("Connection");
    transport::send(book, target);
    book.group("When it fails");
    book.within("retry", |book| tries(book, retry));
    book.within("breaker", |book| pauses(book, *breaker));
    let once = if *intent {
        "Never: after a crash or a lost answer a person decides"
    } else {
        "After a crash or a lost answer it is sent again; the receiver must know repeats"
    };
    book.say("May be sent twice", "intent", once);
    second_way(book, backup.as_ref());
    book.group("What answers mean");
    book.within("ack", |book| answers(book, ack));
    book.group("Batches that go out");
    collected(book, batch.as_ref());
}

fn in_order(book: &mut Book<'_>, order: &Order) {
    let behind = |failure: &OnFailure| match failure {
        OnFailure::HoldKey => "It waits until the failed one is delivered or given up",
        OnFailure::Skip => "It goes on; there is a gap",
    };
    let (words, shards, on_failure) = match order {
        Order::None => ("None: messages may overtake each other".to_owned(), None, None),
        Order::Key { by, shards, on_failure } => (
            format!("Those with the same {} follow each other", by.join(" and ")),
            Some(shards),
            Some(on_failure),
        ),
        Order::Source { on_failure } => {
            ("Those of one sender follow each other".to_owned(), None, Some(on_failure))
        }
        Order::Strict { on_failure } => ("All follow each other".to_owned(), None, Some(on_failure)),
    };
    book.say("Order", "order", words);
    if let Some(shards) = shards {
        book.say("Lanes that work at the same time", "order.key.shards", shards.to_string());
    }
    if let Some(failure) = on_failure {
        book.say("What stands behind a failed one", "order", behind(failure));
    }
}

fn speed(book: &mut Book<'_>, limits: &SendLimits) {
    let SendLimits { rate, connections, in_flight, waiting, message } = limits;
    let fast =
        rate.map_or_else(|| "As fast as it goes".to_owned(), |rate| format!("{rate} messages a second"));
    book.say("Speed", "rate", fast);
    book.say("Connections", "connections", connections.to_string());
    book.say("Unanswered messages a connection", "in_flight", in_flight.to_string());
    let alert = waiting.map_or_else(|| "Never".to_owned(), |most| format!("Above {most} messages"));
    book.say("Alert when more wait", "waiting", alert);
    let cut = message.map_or_else(|| "Never".to_owned(), |most| format!("Above {}", bytes(most as u64)));
    book.say("Sent in fragments (DSC, ADD)", "message", cut);
}

fn open_hours(book: &mut Book<'_>, calendar: Option<&Calendar>) {
    let Some(calendar) = calendar else {
        return book.say("Service hours", "calendar", "Always open");
    };
    let Calendar { name, open, closed, holidays, from, until, every_weeks, timezone } = calendar;
    let hours = |hours: &[orderly_engine::configuration::Hours]| {
        hours.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let Holidays { days, every_year } = holidays;
    let mut text = format!("{name}: {} ({timezone})", hours(open).join("; "));
    if !closed.is_empty() {
        text += &format!(", but not {}", hours(closed).join("; "));
    }
    if !days.is_empty() || !every_year.is_empty() {
        let count = days.len() + every_year.len();
        text += &format!(", but for {count} {}", if count == 1 { "holiday" } else { "holidays" });
    }
    if *every_weeks > 1 {
        text += &format!(", each {every_weeks} weeks");
    }
    text += &from.map(|day| format!(", from {day}")).unwrap_or_default();
    text += &until.map(|day| format!(", until {day}")).unwrap_or_default();
    book.say("Service hours", "calendar", text);
}

fn tries(book: &mut Book<'_>, retry: &Retry) {
    let Retry { times, lasting, wait, factor, most, jitter } = retry;
    let count = times.map_or_else(|| "As often as it takes".to_owned(), |times| format!("{times} times"));
    book.say("Tried again", "times", count);
    book.say("Given up after", "for", span(*lasting));
    book.say("First tried again after", "wait", span(*wait));
    book.say("Each further wait is longer", "factor", format!("{factor} times"));
    book.say("Longest wait", "most", span(*most));
    let drawn = if *jitter { "Yes, so that not all try at once" } else { "No" };
    book.say("Waits are drawn by chance", "jitter", drawn);
}

fn pauses(book: &mut Book<'_>, breaker: Breaker) {
    let Breaker { failures, within, pause, most } = breaker;
    book.say("The port pauses after", "failures", format!("{failures} failures of the connection"));
    book.say("Failures are counted within", "within", span(within));
    book.say("First pause", "pause", span(pause));
    book.say("Longest pause", "most", span(most));
}

fn second_way(book: &mut Book<'_>, backup: Option<&Backup>) {
    let Some(Backup { target, after, retry, by_hand }) = backup else {
        return book.say("Backup receiver", "backup", "None");
    };
    book.group("Backup receiver");
    let back = match by_hand {
        true => "When an operator returns the port",
        false => "When nothing waits for the backup",
    };
    book.say("Back to the first", "backup.back", back);
    book.within("backup", |book| {
        transport::send(book, target);
        let Retry { times, lasting, .. } = after;
        let count = times.map(|times| format!("{times} attempts or ")).unwrap_or_default();
        book.say("Taken after", "after", format!("{count}{} without the first receiver", span(*lasting)));
        book.within("retry", |book| tries(book, retry));
    });
}

fn answers(book: &mut Book<'_>, rule: &AckRule) {
    let AckRule { expect, within, application_within, mismatch, from_any_receive_port, codes, publish } =
        rule;
    let awaited = match expect {
        ExpectedAck::None => "None: written is delivered",
        ExpectedAck::Transport => "The transport's",
        ExpectedAck::Accept => "Accept acknowledgment (CA, CE, CR)",
        ExpectedAck::Application => "Application acknowledgment (AA, AE, AR)",
        ExpectedAck::Any => "The first of either kind",
    };
    book.say("Acknowledgment awaited", "expect", awaited);
    book.say("Awaited for", "within", span(*within));
    book.say("Application answer awaited after CA for", "application_within", span(*application_within));
    let foreign = match mismatch {
        Mismatch::Wait => "Waits for the right one",
        Mismatch::Suspend => "The delivery is suspended",
        Mismatch::Ignore => "It is taken as ours",
    };
    book.say("An answer to another id", "mismatch", foreign);
    let by = if *from_any_receive_port { "This connection or any receive port" } else { "This connection" };
    book.say("It may come by", "accept_from", by);
    for answered in Answered::ALL {
        let key = format!("codes.{}", answered.word());
        book.say(answer_words(answered), &key, action_words(codes.action(answered)));
    }
    let preset = book.written("preset").unwrap_or("hl7").to_owned();
    book.say("Where a code is not named, the preset counts", "preset", preset);
    book.say("Answers are published to subscribers", "publish", yes(*publish));
}

fn answer_words(answered: Answered) -> &'static str {
    match answered {
        Answered::Aa => "AA, accepted",
        Answered::Ae => "AE, error",
        Answered::Ar => "AR, rejected",
        Answered::Ca => "CA, stored",
        Answered::Ce => "CE, not stored",
        Answered::Cr => "CR, refused",
        Answered::NoConnection => "No connection",
        Answered::Broken => "The connection broke",
        Answered::Timeout => "No answer in time",
        Answered::Unreadable => "An answer that is no HL7",
        Answered::Other => "Any other code",
    }
}

fn action_words(action: AckAction) -> &'static str {
    match action {
        AckAction::Accept => "Delivered",
        AckAction::Retry => "Tried again",
        AckAction::Suspend => "Suspended: a person decides",
        AckAction::HoldPort => "The port goes on hold",
    }
}

fn collected(book: &mut Book<'_>, batch: Option<&OutboundBatch>) {
    let Some(batch) = batch else {
        return book.say("Batches", "batch", "None: each message is sent by itself");
    };
    let OutboundBatch { release, group_by, order, send_empty, envelope, answer, header, starts } = batch;
    book.within("batch", |book| {
        let Release { cron, count, bytes: size, idle, oldest, cut_off } = release;
        let times =
            cron.as_ref().map_or_else(|| "Not by the clock".to_owned(), |cron| cron.text().to_owned());
        book.say("Closed at (cron)", "release.cron", times);
        book.say("Closed with so many messages", "release.count", count.to_string());
        book.say("Closed before it is larger than", "release.bytes", bytes(*size));
        let or_not =
            |time: Option<std::time::Duration>| time.map_or_else(|| "Not looked at".to_owned(), span);
        book.say("Closed when nothing came for", "release.idle", or_not(*idle));
        book.say("Closed when its first message is as old as", "release.oldest", or_not(*oldest));
        let cut = if *cut_off { "By the time of receipt" } else { "By the time of collecting" };
        book.say("A message belongs to a batch", "release.cut_off", cut);
        book.say("Batches of their own by", "group_by", list(group_by, "Nothing: one for all"));
        let order = match order {
            BatchOrder::Arrival => "As they came",
            BatchOrder::ControlId => "By control id",
        };
        book.say("Order in it", "order", order);
        let empty = if *send_empty { "Sent all the same" } else { "Not sent" };
        book.say("A batch of nothing", "empty", empty);
        let around = match envelope {
            Envelope::File => "FHS, BHS, BTS and FTS",
            Envelope::Batch => "BHS and BTS",
            Envelope::Bare => "None: messages one behind the other",
        };
        book.say("Envelope", "envelope", around);
        let fields: Vec<String> = header.iter().map(|(place, text)| format!("{place} = {text}")).collect();
        book.say("Its header", "header", list(&fields, "Who sends and who receives"));
        let awaited =
            answer.map_or_else(|| "Not awaited".to_owned(), |within| format!("Within {}", span(within)));
        book.say("Answer to the batch", "answer", awaited);
        let start = starts.map(|at| format!("From {}", at.format("%Y-%m-%d %H:%M UTC")));
        book.say("Begins", "starts", start.unwrap_or_else(|| "At once".to_owned()));
    });
}

/// How messages to a party are written, with `outbound` before each key.
pub(super) fn written(book: &mut Book<'_>, outbound: &Outbound) {
    let Outbound { version, charset, header, ask, validation, profile, numbers } = outbound;
    let as_is = || "As it is".to_owned();
    book.say("Version (MSH-12)", "outbound.version", version.clone().unwrap_or_else(as_is));
    match charset {
        None => book.say("Character set", "outbound.charset", "As it is"),
        Some(OutboundCharset { name, unmappable, substitute, declare }) => {
            book.say("Character set", "outbound.charset.name", name);
            let lacking = match unmappable {
                Unmappable::Suspend => "The delivery is suspended",
                Unmappable::Substitute => "Another takes its place",
            };
            book.say("A character that it lacks", "outbound.charset.unmappable", lacking);
            book.say("What takes its place", "outbound.charset.substitute", substitute.to_string());
            book.say("MSH-18 is set", "outbound.charset.declare", yes(*declare));
        }
    }
    let level = validation.as_ref().map(|own| own.level.word());
    book.say("Checked before it leaves", "outbound.validation.level", capital(level.unwrap_or("not at all")));
    book.say("Profile", "outbound.profile", profile.clone().unwrap_or_else(|| "None".to_owned()));
    book.say("Numbered (MSH-13)", "outbound.sequence", yes(*numbers));
    let places: Vec<String> = header.iter().map(|(place, text)| format!("{place} = {text}")).collect();
    book.say("Header", "outbound.header", list(&places, "As it is"));
    match ask {
        None => book.say("Acknowledgments asked for", "outbound.ask", "As the message asks"),
        Some(Ask { accept, application }) => {
            book.say("Accept asked for (MSH-15)", "outbound.ask.accept", capital(&when(*accept)));
            book.say(
                "Application asked for (MSH-16)",
                "outbound.ask.application",
                capital(&when(*application)),
            );
        }
    }
}
