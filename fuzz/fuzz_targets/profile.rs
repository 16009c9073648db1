//! `cargo fuzz run profile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| orderly_fuzz::targets::profile(data));
