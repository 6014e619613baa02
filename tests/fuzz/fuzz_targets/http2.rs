//! Any bytes in place of the frames of either end of a connection.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tcp_trace_core::http2::fuzz::frames(bytes));
