//! Servers that send without write() and receive without read(): sendfile, splice, io_uring and flags of recv(). What they read and wrote
//! is also what the witness compares.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
};

use tcp_trace_model::event::Role;
use tcp_trace_tests::{Script, Tracer, assert_same_at, curl, with_patience};

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

#[test]
fn a_body_that_is_received_without_read_is_recorded() {
    let body = "a".repeat(60_000);
    let ways = ["splice", "io_uring", "peek", "trunc", "zero"];
    let server = Script::start("python3", "sender.py");
    let tracer = Tracer::start(&["--port", &server.port().to_string()]);
    let curls: Vec<_> =
        ways.iter().flat_map(|way| curl(&["--data", &body, &server.url(&format!("/{way}/1000"))])).collect();
    tracer.wait_for_lines("http", 2 * ways.len());
    tracer.wait_for_closed();
    assert_same_at("python3", &tracer.stop(), &server.access_log(ways.len()), &curls);
}

#[test]
fn what_a_process_never_read_was_received_although_it_read_no_bytes_at_the_end() {
    const REQUEST: &[u8] = b"GET /unread/5 HTTP/1.1\r\nHost: h\r\n\r\n";
    const BEHIND: &[u8] = b"this is behind it";
    let server = Script::start("python3", "sender.py");
    let tracer = Tracer::start(&["--port", &server.port().to_string()]);
    let client = TcpStream::connect(("127.0.0.1", server.port())).expect("it listens");
    let mut client = with_patience(client);
    client.write_all(&[REQUEST, BEHIND].concat()).expect("it is connected");
    client.shutdown(Shutdown::Write).expect("it is connected");
    client.read_to_end(&mut Vec::new()).expect("it answers and closes");
    server.access_log(1);
    drop(client);
    tracer.wait_for_closed();
    let recording = tracer.stop();
    let [summary] = recording.connections_of(Role::Server)[..] else { panic!("it is one: {recording:#?}") };
    assert_eq!(summary.bytes.received, (REQUEST.len() + BEHIND.len()) as u64);
    let process = summary.connection.process.as_ref().map(|process| process.pid);
    assert_eq!(process, Some(server.pid()));
}
