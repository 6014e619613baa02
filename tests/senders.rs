//! Servers that send without write(): sendfile, splice and io_uring.

use tcp_trace_tests::{Script, Tracer, assert_same_at, curl};

/// A body that is a few segments on loopback.
const FEW_SEGMENTS: u64 = 60_000;
/// A body that is many.
const MANY_SEGMENTS: u64 = 1 << 20;

/// Asks for bodies of this size that are sent in these ways, and compares.
fn assert_recorded(ways: &[&str], size: u64) {
    let sender = Script::start("python3", "sender.py");
    let tracer = Tracer::start(&["--port", &sender.port().to_string()]);
    let curls: Vec<_> = ways.iter().flat_map(|way| curl(&[&sender.url(&format!("/{way}/{size}"))])).collect();
    tracer.wait_for_lines("http", 2 * ways.len());
    tracer.wait_for_closed();
    let recording = tracer.stop();
    assert!(curls.iter().all(|curl| curl.size_download == size), "{curls:?}");
    assert_same_at("python3", &recording, &sender.access_log(ways.len()), &curls);
}

#[test]
fn sendfile_is_recorded() {
    assert_recorded(&["sendfile"], FEW_SEGMENTS);
}

#[test]
fn splice_is_recorded() {
    assert_recorded(&["splice"], FEW_SEGMENTS);
}

#[test]
fn io_uring_is_recorded() {
    assert_recorded(&["io_uring"], FEW_SEGMENTS);
}

#[test]
fn large_bodies_are_recorded_whole_however_they_are_sent() {
    assert_recorded(&["sendfile", "splice", "io_uring"], MANY_SEGMENTS);
}
