//! `make bench-hl7`: reading, checking and answering messages, against other libraries and against a bare scan of the
//! same bytes in the same run. Times are the fastest of several rounds; allocations are those of one call.

mod others;
mod sample;

use std::alloc::System;
use std::hint::black_box;
use std::time::{Duration, Instant};

use orderly_hl7::acknowledge::{AckCode, AckRequest, acknowledge};
use orderly_hl7::validate::{Validation, validate};
use orderly_hl7::xml::{from_xml, to_xml};
use orderly_hl7::{Message, Path, mllp};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How long one measurement may take.
const BUDGET: Duration = Duration::from_millis(600);

/// The places that are read, in the form of the standard.
pub const PATHS: [&str; 10] = [
    "MSH-9.1",
    "MSH-9.2",
    "MSH-10",
    "PID-3.1",
    "PID-3.4.2",
    "PID-5.1",
    "PID-7",
    "PV1-3.1",
    "OBX-3.1",
    "OBX-5",
];

/// What one call cost.
#[derive(Clone, Copy)]
struct Cost {
    micros: f64,
    allocations: usize,
}

fn measure(mut call: impl FnMut()) -> Cost {
    call();
    let region = Region::new(ALLOCATOR);
    call();
    let change = region.change();
    let allocations = change.allocations + change.reallocations;
    let begun = Instant::now();
    call();
    let once = begun.elapsed().max(Duration::from_nanos(100));
    let rounds = (BUDGET.as_nanos() / 7 / once.as_nanos()).clamp(1, 100_000) as u32;
    let mut best = f64::MAX;
    for _ in 0..7 {
        let begun = Instant::now();
        for _ in 0..rounds {
            call();
        }
        best = best.min(begun.elapsed().as_secs_f64() * 1e6 / f64::from(rounds));
    }
    Cost { micros: best, allocations }
}

fn row(name: &str, cost: Cost, ours: Cost) {
    let ratio = cost.micros / ours.micros;
    println!("| {name:<44} | {:>12.2} | {ratio:>9.2} | {:>11} |", cost.micros, cost.allocations);
}

fn main() {
    let paths: Vec<Path> = PATHS.iter().map(|path| path.parse().expect("a path")).collect();
    for size in [1_000, 15_000, 1_000_000] {
        let bytes = sample::result(size);
        let text = String::from_utf8(bytes.clone()).expect("the sample is ASCII");
        println!("\n{} bytes", bytes.len());
        println!("| {:<44} | {:>12} | {:>9} | {:>11} |", "", "microseconds", "times us", "allocations");
        println!("|{:-<46}|{:-<14}|{:-<11}|{:-<13}|", "", "", "", "");
        let parse = measure(|| drop(black_box(Message::parse(bytes.as_slice()))));
        let ours = measure(|| {
            let message = Message::parse(bytes.as_slice()).expect("the sample is readable");
            for path in &paths {
                black_box(message.get(path));
            }
        });
        row("Orderly: parse and read 10 fields", ours, ours);
        row("Orderly: parse alone", parse, ours);
        let scan = measure(|| {
            black_box(memchr::memchr3_iter(b'|', b'^', b'\r', &bytes).count());
        });
        row("memchr3 scan of | ^ CR", scan, ours);
        others::measure_all(&text, |name, call| row(name, measure(call), ours));
        if let Some(micros) = others::python(&text) {
            row("python-hl7: parse and read 10 fields", Cost { micros, allocations: 0 }, ours);
        }
        the_rest(&bytes, ours);
    }
}

/// What is done to a message after it was read.
fn the_rest(bytes: &[u8], ours: Cost) {
    let message = Message::parse(bytes).expect("the sample is readable");
    let now = chrono::DateTime::from_timestamp(1_772_323_200, 0).unwrap_or_default().fixed_offset();
    let validation = Validation::default();
    assert!(validate(&message, &validation).is_empty(), "the sample is valid");
    row("Orderly: validate", measure(|| drop(black_box(validate(&message, &validation)))), ours);
    let path: Path = "PID-5.1".parse().expect("a path");
    let encode = measure(|| {
        let mut edit = message.edit();
        edit.set(&path, "O|Neill").expect("it can be written");
        black_box(edit.finish());
    });
    row("Orderly: set a field and encode", encode, ours);
    let request = AckRequest::new(AckCode::AA, "42", now);
    row("Orderly: acknowledge", measure(|| drop(black_box(acknowledge(&message, &request)))), ours);
    let block = mllp::frame(bytes);
    let frame = measure(|| {
        let mut deframer = mllp::Deframer::new(mllp::FrameLimits::default());
        deframer.push(&block);
        black_box(deframer.next());
    });
    row("Orderly: take a frame apart", frame, ours);
    let xml = to_xml(&message).expect("the sample has an XML form");
    row("Orderly: write as XML", measure(|| drop(black_box(to_xml(&message)))), ours);
    row("Orderly: read from XML", measure(|| drop(black_box(from_xml(xml.as_bytes())))), ours);
    let read = measure(|| {
        for path in PATHS {
            black_box(message.get(&path.parse().expect("a path")));
        }
    });
    println!("allocations to read ten fields of a parsed message: {}", read.allocations);
}
