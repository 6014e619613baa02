//! Any bytes in place of what a DNS server sends by TCP.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tcp_trace_core::dns::fuzz::stream(bytes));
