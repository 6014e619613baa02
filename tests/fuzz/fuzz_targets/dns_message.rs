//! Any bytes in place of a DNS message, and of the answer to it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tcp_trace_core::dns::fuzz::message(bytes));
