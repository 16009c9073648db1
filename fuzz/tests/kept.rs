//! The kept corpus, and mutations of it from a fixed seed, through every target.

use orderly_fuzz::mutate::{Numbers, mutation};
use orderly_fuzz::{TARGETS, Target, seeds};

/// Mutations of each target; compiling a site takes longer than reading a message.
fn rounds(target: &Target) -> usize {
    let most = if target.name == "site" { 60 } else { 1_500 };
    std::env::var("ORDERLY_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(most)
}

fn check(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("it is in the list");
    let seeds = seeds(target).expect("the checkout is readable");
    assert!(!seeds.is_empty(), "{name} has nothing to begin with");
    for bytes in &seeds {
        (target.run)(bytes);
    }
    let mut numbers = Numbers::new(1);
    for _ in 0..rounds(target) {
        (target.run)(&mutation(&mut numbers, &seeds, 4 << 10));
    }
}

#[test]
fn messages() {
    check("message");
}

#[test]
fn paths_and_edits() {
    check("path");
}

#[test]
fn frames_in_any_chunks() {
    check("frames");
}

#[test]
fn batches_in_any_chunks() {
    check("batch");
}

#[test]
fn character_sets() {
    check("charset");
}

#[test]
fn xml() {
    check("xml");
}

#[test]
fn acknowledgments() {
    check("ack");
}

#[test]
fn profiles() {
    check("profile");
}

#[test]
fn sites() {
    check("site");
}
