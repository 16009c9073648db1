//! How long it takes to find who wants a message, among 10,000 subscriptions: `cargo run --release -p orderly-engine
//! --example match_subscriptions`. Prints microseconds a message; no database is needed.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use orderly_engine::configuration::{Address, Configuration, Filter, RuleBook, SendPort};
use orderly_engine::current::Current;
use orderly_engine::directory::Directory;
use orderly_engine::ids::MessageId;
use orderly_engine::message_box::Arrival;
use orderly_rules::filter::Test;
use orderly_rules::{Properties, Value};

const SUBSCRIPTIONS: usize = 10_000;
const ROUNDS: u32 = 20_000;
const TYPES: [&str; 10] = ["ADT", "ORU", "ORM", "SIU", "MDM", "DFT", "BAR", "OML", "VXU", "MFN"];

/// How the filters are spread.
#[derive(Clone, Copy)]
enum Spread {
    /// Each names a type, a sender, and two tests that are not equality.
    Mixed,
    /// All want the same type; senders differ.
    OneType,
    /// No equality at all: prefixes and ranges only.
    NoEquality,
}

fn text(value: &str) -> Test {
    Test::OneOf(vec![Value::Text(value.to_owned())])
}

fn filter(number: usize, spread: Spread) -> Filter {
    let mut filter = Filter::everything();
    match spread {
        Spread::Mixed => {
            filter.and("hl7.type", text(TYPES[number % TYPES.len()]));
            filter.and("hl7.sending_app", text(&format!("APP{}", number / 20)));
            filter.and("hl7.control_id", Test::Present(true));
            filter.and("hl7.version", Test::Not(vec![Value::Text("2.1".to_owned())]));
        }
        Spread::OneType => {
            filter.and("hl7.type", text("ORU"));
            filter.and("hl7.sending_app", text(&format!("APP{number}")));
        }
        Spread::NoEquality => {
            filter.and("hl7.sending_app", Test::Prefix(format!("APP{number}X")));
            filter.and("hl7.findings", Test::Above(Value::from(5_i64)));
        }
    }
    filter
}

fn current(spread: Spread, count: usize) -> Current {
    let mut configuration = Configuration::empty(Arc::new(RuleBook::default()));
    for number in 0..count {
        let name = format!("port-{number}");
        let mut port = SendPort::mllp(name.clone(), Address::new("127.0.0.1", 1));
        port.filter = Some(filter(number, spread));
        configuration.send_ports.insert(name, port);
    }
    let directory = Directory::without_database(&configuration);
    Current::new(Arc::new(configuration), directory, &[])
}

fn properties(number: usize) -> Properties {
    let mut properties = Properties::new();
    properties.set("hl7.type", TYPES[number % TYPES.len()]);
    properties.set("hl7.event", "R01");
    properties.set("hl7.control_id", "MSG00001");
    properties.set("hl7.version", "2.5.1");
    properties.set("hl7.sending_app", format!("APP{}", number / 20));
    properties.set("hl7.findings", 1_i64);
    properties.set("patient.id", "00482117");
    properties.set("port.name", "lab");
    properties
}

fn measure(name: &str, spread: Spread, count: usize) {
    let current = current(spread, count);
    let messages: Vec<Properties> = (0..512).map(|number| properties(number * 19 % count)).collect();
    let arrival = Arrival { message: MessageId(1), order_source: "lab" };
    let mut found = 0_u32;
    let begun = Instant::now();
    for (_, properties) in (0..ROUNDS).zip(messages.iter().cycle()) {
        found += u32::try_from(black_box(current.routes(properties, arrival)).len()).unwrap_or_default();
    }
    let micros = begun.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS);
    let each = f64::from(found) / f64::from(ROUNDS);
    println!("{name}: {count} subscriptions, {micros:.2} us a message, {each:.2} subscribers found");
}

fn main() {
    measure("a small site         ", Spread::Mixed, 20);
    measure("type, sender and more", Spread::Mixed, SUBSCRIPTIONS);
    measure("one type, by sender  ", Spread::OneType, SUBSCRIPTIONS);
    measure("prefix and range only", Spread::NoEquality, SUBSCRIPTIONS);
}
