//! Measures parsing, reading and answering: `cargo run --release -p orderly-hl7 --example measure`.

use std::hint::black_box;
use std::time::Instant;

use orderly_hl7::acknowledge::{AckCode, AckRequest, acknowledge};
use orderly_hl7::dictionary::Version;
use orderly_hl7::validate::{Validation, validate};
use orderly_hl7::{Message, Path, mllp};

/// A result of about `size` bytes.
fn result(size: usize) -> Vec<u8> {
    let mut text = "MSH|^~\\&|LAB|NORTH|ENGINE|HUB|20260314093000||ORU^R01^ORU_R01|E000042|P|2.5.1\r\
        PID|1||70001^^^NORTH&1.2.3&ISO^MR~99^^^SSA^SS||Sample^Alex^Q||19800229|M|||1 Road^^Town^^12345||555-0100\r\
        PV1|1|I|WARD1^101^A|||||1234^Osei^Ama||||||||||||4711\rORC|RE|P1|F1||CM\r\
        OBR|1|P1|F1|24323-8^Comprehensive panel^LN|||20260314080000|||||||||1234^Osei^Ama\r"
        .to_owned();
    let mut number = 0;
    while text.len() < size {
        number += 1;
        text.push_str(&format!(
            "OBX|{number}|NM|2823-3^Potassium^LN||4.{number}|mmol/L|3.5-5.1|N|||F|||20260314090000\r"
        ));
    }
    text.into_bytes()
}

/// The fastest of many short rounds: what a busy machine does in between is left out.
fn measure(name: &str, calls: u32, mut call: impl FnMut()) {
    let mut best = f64::MAX;
    let rounds = (calls / 50).max(3);
    for _ in 0..150 {
        let start = Instant::now();
        for _ in 0..rounds {
            call();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(rounds));
    }
    println!("{name:<44} {:>10.2} us", best / 1_000.0);
}

fn main() {
    let paths: Vec<Path> = [
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
    ]
    .iter()
    .map(|path| path.parse().expect("a path"))
    .collect();
    let now = chrono::DateTime::parse_from_rfc3339("2026-03-14T09:30:00Z").expect("a time");
    for (size, rounds) in [(1_000, 20_000), (15_000, 2_000), (1_000_000, 30)] {
        let bytes = result(size);
        println!("{} bytes", bytes.len());
        measure("  copy", rounds, || {
            black_box(bytes.clone());
        });
        measure("  memchr3 scan of the delimiters", rounds, || {
            black_box(memchr::memchr3_iter(b'|', b'^', b'\r', &bytes).count());
        });
        measure("  parse", rounds, || {
            black_box(Message::parse(bytes.as_slice())).ok();
        });
        measure("  parse, read ten fields", rounds, || {
            if let Ok(message) = Message::parse(bytes.as_slice()) {
                for path in &paths {
                    black_box(message.get(path));
                }
            }
        });
        let Ok(message) = Message::parse(bytes.as_slice()) else { continue };
        measure("  validate, standard", rounds.min(5_000), || {
            black_box(validate(&message, &Validation::default()));
        });
        measure("  parse and validate, standard", rounds.min(5_000), || {
            if let Ok(message) = Message::parse(bytes.as_slice()) {
                black_box(validate(&message, &Validation::default()));
            }
        });
        measure("  set PID-3.1 and finish", rounds.min(5_000), || {
            let mut edit = message.edit();
            edit.set(&paths[3], "70002").ok();
            black_box(edit.finish());
        });
        measure("  acknowledge", rounds.min(5_000), || {
            black_box(acknowledge(&message, &AckRequest::new(AckCode::AA, "1", now)));
        });
        let block = mllp::frame(&bytes);
        measure("  deframe", rounds.min(5_000), || {
            let mut deframer = mllp::Deframer::new(mllp::FrameLimits::default());
            deframer.push(&block);
            black_box(deframer.next());
        });
    }
    for version in Version::all() {
        println!("{:<8} {:>8} bytes on the heap once used", version.name(), version.heap_bytes());
    }
}
