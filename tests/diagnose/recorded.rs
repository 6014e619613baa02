//! What a trace adds: the time of the FIN, the last exchange; and judging a recording.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
};

use tcp_trace_model::record::Finding;
use tcp_trace_tests::{
    Diagnosing, Diagnosis, Folder, TimeWindow, Tracer, assert_ages, free_port, now, tcp_trace, wait_for,
    while_doing,
};

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

/// A client that has read a response and does not close, though the server said so and has closed.
fn leak(port: u16) -> (TcpStream, TimeWindow) {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let (mut server, _) = listener.accept().expect("it is connected");
    client.write_all(b"GET /leak HTTP/1.1\r\nHost: x\r\n\r\n").expect("it is connected");
    server.read_exact(&mut [0; 31]).expect("the request comes");
    server.write_all(RESPONSE).expect("it is connected");
    let closed = while_doing(|| drop(server));
    let mut read = Vec::new();
    client.read_to_end(&mut read).expect("the response comes");
    assert_eq!(read, RESPONSE);
    (client, closed)
}

fn assert_leak(finding: &Finding) {
    assert_eq!((finding.code.as_str(), finding.cause.as_deref()), ("close_wait", Some("not_closed")));
    assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(std::process::id()));
    let [connection] = finding.connections.as_slice() else { panic!("{finding:#?}") };
    let expected = "last exchange: GET /leak → 200, read to the end, the response said Connection: close";
    assert!(connection.notes.iter().any(|note| note == expected), "{:?}", connection.notes);
}

#[test]
fn with_a_trace_the_last_exchange_is_reported() {
    let port = free_port();
    let diagnosing = Diagnosing::start(port, &["--min-age", "1s"]);
    let (client, closed) = leak(port);
    wait_for("the age", || (now().micros_since(closed.to) > 2_000_000).then_some(()));
    let diagnosis = diagnosing.end();
    let finding = diagnosis.only();
    assert_leak(finding);
    assert_ages(finding, closed);
    drop(client);
}

#[test]
fn a_recording_is_judged_as_it_ends() {
    let port = free_port();
    let tracer = Tracer::start(&["--port", &port.to_string()]);
    let (client, closed) = leak(port);
    TcpStream::connect(("127.0.0.1", port)).expect_err("nothing listens any more");
    wait_for("CLOSE_WAIT", || tracer.text().contains("\"new\":\"CLOSE_WAIT\"").then_some(()));
    wait_for("the age", || (now().micros_since(closed.to) > 2_000_000).then_some(()));
    let text = tracer.stop_for_text();
    drop(client);
    let folder = Folder::new();
    let file = folder.file("recording.jsonl");
    std::fs::write(&file, text).expect("the folder is ours");
    let name = file.to_str().expect("it is UTF-8");
    let diagnosis = Diagnosis::with(tcp_trace(), &["--from", name, "--min-age", "1s"]);
    let [leak, refused] = diagnosis.findings.as_slice() else { panic!("{diagnosis:#?}") };
    assert_leak(leak);
    assert_ages(leak, closed);
    assert_eq!((refused.code.as_str(), refused.connections.len()), ("connect_refused", 1));
    let other = (port ^ 1).to_string();
    Diagnosis::with(tcp_trace(), &["--from", name, "--min-age", "1s", "--port", &other]).expect_none();
    let older = Diagnosis::with(tcp_trace(), &["--from", name]);
    assert_eq!(older.only().code, "connect_refused", "60 s have not passed");
}
