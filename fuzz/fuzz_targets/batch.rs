//! `cargo fuzz run batch`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| orderly_fuzz::targets::batch(data));
