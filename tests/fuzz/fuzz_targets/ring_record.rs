//! Any bytes in place of a record of the ring buffer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tcp_trace::kernel::fuzz::record(bytes));
