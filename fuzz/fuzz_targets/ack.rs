//! `cargo fuzz run ack`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| orderly_fuzz::targets::ack(data));
