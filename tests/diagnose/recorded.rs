//! What a trace adds: the time of the FIN, the last exchange; and judging a recording.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tcp_trace::record::Finding;
use tcp_trace_tests::{Diagnosis, Folder, Running, Tracer, free_port, tcp_trace, wait_for};

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

/// A client that has read a response and does not close, though the server said so and has closed.
fn leak(port: u16) -> TcpStream {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let (mut server, _) = listener.accept().expect("it is connected");
    client.write_all(b"GET /leak HTTP/1.1\r\nHost: x\r\n\r\n").expect("it is connected");
    server.read_exact(&mut [0; 31]).expect("the request comes");
    server.write_all(RESPONSE).expect("it is connected");
    drop(server);
    let mut read = Vec::new();
    client.read_to_end(&mut read).expect("the response comes");
    assert_eq!(read, RESPONSE);
    client
}

fn assert_leak(finding: &Finding) {
    assert_eq!((finding.code.as_str(), finding.cause.as_deref()), ("close_wait", Some("not_closed")));
    assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(std::process::id()));
    let [connection] = finding.connections.as_slice() else { panic!("{finding:#?}") };
    let expected = "last exchange: GET /leak → 200, complete, said Connection: close";
    assert!(connection.notes.iter().any(|note| note == expected), "{:?}", connection.notes);
}

#[test]
fn with_a_trace_the_last_exchange_is_told() {
    let port = free_port();
    let mut command = tcp_trace();
    let port_text = port.to_string();
    command.args([
        "diagnose",
        "--format",
        "json",
        "--port",
        &port_text,
        "--min-age",
        "1s",
        "--for",
        "60s",
        "-v",
    ]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::start(&mut command);
    let mut stderr = running.0.stderr.take().expect("it is piped");
    let mut said = String::new();
    while !said.contains("attached") {
        let mut byte = [0; 64];
        let length = stderr.read(&mut byte).expect("it runs");
        assert!(length > 0, "it ended: {said}");
        said.push_str(&String::from_utf8_lossy(&byte[..length]));
    }
    let client = leak(port);
    let closed = Instant::now();
    wait_for("the age", || (closed.elapsed() > Duration::from_millis(1_500)).then_some(()));
    running.signal(Signal::INT);
    let mut stdout = Vec::new();
    running.0.stdout.take().expect("it is piped").read_to_end(&mut stdout).expect("it prints");
    let status = running.0.wait().expect("it ends");
    let diagnosis = Diagnosis::of_output(std::process::Output { status, stdout, stderr: said.into_bytes() });
    let elapsed = closed.elapsed();
    let finding = diagnosis.only();
    assert_leak(finding);
    let age = Duration::from_micros(finding.connections[0].age_us.expect("it was traced"));
    assert!(age > Duration::from_millis(1_450) && age < elapsed.mul_f64(1.1), "{age:?} of {elapsed:?}");
    drop(client);
}

#[test]
fn a_recording_is_judged_as_it_ends() {
    let port = free_port();
    let tracer = Tracer::start(&["--port", &port.to_string()]);
    let client = leak(port);
    let closed = Instant::now();
    TcpStream::connect(("127.0.0.1", port)).expect_err("nobody listens any more");
    wait_for("CLOSE_WAIT", || tracer.text().contains("\"new\":\"CLOSE_WAIT\"").then_some(()));
    wait_for("the age", || (closed.elapsed() > Duration::from_millis(1_200)).then_some(()));
    let text = tracer.stop_for_text();
    drop(client);
    let folder = Folder::new();
    let file = folder.file("recording.jsonl");
    std::fs::write(&file, text).expect("the folder is ours");
    let name = file.to_str().expect("it is UTF-8");
    let diagnosis = Diagnosis::with(tcp_trace(), &["--from", name, "--min-age", "1s"]);
    let [leak, refused] = diagnosis.findings.as_slice() else { panic!("{diagnosis:#?}") };
    assert_leak(leak);
    assert_eq!((refused.code.as_str(), refused.connections.len()), ("connect_refused", 1));
    let other = (port ^ 1).to_string();
    Diagnosis::with(tcp_trace(), &["--from", name, "--min-age", "1s", "--port", &other]).expect_none();
    let older = Diagnosis::with(tcp_trace(), &["--from", name]);
    assert_eq!(older.only().code, "connect_refused", "60 s have not passed");
}
