//! Operations on the connection table.
#![no_main]

#[path = "../../tests/hostile/entries.rs"]
#[allow(dead_code, reason = "each target runs one of the entries")]
mod entries;

libfuzzer_sys::fuzz_target!(|input: &[u8]| entries::table(input));
