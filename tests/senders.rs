//! Servers that send without write(): sendfile, splice and io_uring.

use tcp_trace_tests::{Script, Tracer, assert_same_at, curl};

/// Asks for a body by one of the ways of the program, and compares.
fn assert_recorded(target: &str) {
    let sender = Script::start("python3", "sender.py");
    let tracer = Tracer::start(&["--port", &sender.port().to_string()]);
    let curls = [curl(&[&sender.url(target)]), curl(&["--limit-rate", "4M", &sender.url(target)])];
    tracer.wait_for_lines("http", 4);
    let recording = tracer.stop();
    assert_eq!(curls.concat().iter().map(|curl| curl.size_download).collect::<Vec<_>>(), [1 << 20; 2]);
    assert_same_at("python3", &recording, &sender.access_log(2), &curls.concat());
}

#[test]
fn sendfile_is_recorded() {
    assert_recorded("/sendfile");
}

#[test]
fn splice_is_recorded() {
    assert_recorded("/splice");
}

#[test]
fn io_uring_is_recorded() {
    assert_recorded("/io_uring");
}
