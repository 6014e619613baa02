//! Any bytes in place of the TLS records of either end of a connection.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tcp_trace_core::tls::fuzz::records(bytes));
