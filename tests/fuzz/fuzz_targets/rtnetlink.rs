//! Any bytes in place of an answer about routes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tcp_trace::kernel::fuzz::rtnetlink(bytes));
