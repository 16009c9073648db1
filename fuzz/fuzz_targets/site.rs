//! `cargo fuzz run site`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| orderly_fuzz::targets::site(data));
