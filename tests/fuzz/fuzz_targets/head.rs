//! Any bytes in place of a request and of a response.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tcp_trace_core::http::fuzz::head(bytes));
