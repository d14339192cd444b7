//! See `shardbearer/src/fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shardbearer::fuzzing::responses(bytes));
