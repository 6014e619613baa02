//! Any bytes in place of a chunked body.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tcp_trace_core::http::fuzz::chunked(bytes));
