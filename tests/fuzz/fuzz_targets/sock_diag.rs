//! Any bytes in place of an answer about sockets.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tcp_trace::kernel::fuzz::sock_diag(bytes));
