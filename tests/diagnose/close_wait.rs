//! CLOSE_WAIT, at servers and clients that were there before.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Command,
    time::{Duration, Instant},
};

use tcp_trace_model::event::State;
use tcp_trace_tests::{
    Diagnosis, Script, TimeWindow, assert_ages, free_port, now, number, output, wait_for, while_doing,
};

/// How long a socket may wait here.
const MIN_AGE: &str = "2s";
const CLIENTS: usize = 5;

/// Clients that send five bytes, read this many, and close; and when they did that.
fn clients(port: u16, answer: usize) -> TimeWindow {
    let from = now();
    for _ in 0..CLIENTS {
        let mut client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        client.write_all(b"hello").expect("it is connected");
        client.read_exact(&mut vec![0; answer]).expect("it answers");
    }
    TimeWindow { from, to: now() }
}

/// The sockets in CLOSE_WAIT at a port, as `ss` shows them.
fn shown_by_ss(port: u16) -> usize {
    let shown =
        output(Command::new("ss").args(["-Htan", "state", "close-wait", &format!("( sport = :{port} )")]));
    shown.stdout.iter().filter(|byte| **byte == b'\n').count()
}

#[test]
fn the_cause_is_reported_for_existing_sockets() {
    for (mode, answer, cause) in
        [("leak", 0, "not_closed"), ("end", 1, "end_not_read"), ("data", 0, "data_not_read")]
    {
        let server = Script::start_with("python3", "stuck.py", &[mode]);
        let closed = clients(server.port(), answer);
        wait_for("all in CLOSE_WAIT", || (shown_by_ss(server.port()) == CLIENTS).then_some(()));
        let young = Diagnosis::of_port(server.port(), &["--min-age", "30s"]);
        young.expect_none();
        // The clients closed one after the other: the last may be too young when the first is not.
        let diagnosis = Diagnosis::wait_until(server.port(), &["--min-age", MIN_AGE], |finding| {
            number(finding, "sockets") == CLIENTS as u64
        });
        let finding = diagnosis.only();
        assert_eq!((finding.code.as_str(), finding.cause.as_deref()), ("close_wait", Some(cause)));
        let process = finding.process.as_ref().expect("root sees it");
        assert_eq!((process.pid, &*process.name.0), (server.pid(), b"python3".as_slice()));
        assert!(finding.command.iter().any(|word| word.0 == mode.as_bytes()), "{:?}", finding.command);
        assert_eq!(finding.connections.len(), CLIENTS);
        assert_ages(finding, closed);
        for connection in &finding.connections {
            assert_eq!((connection.state, connection.network.local.port), (State::CloseWait, server.port()));
            let fd = connection.fd.expect("root sees it");
            let link = std::fs::read_link(format!("/proc/{}/fd/{fd}", server.pid())).expect("it is open");
            assert!(link.to_string_lossy().starts_with("socket:["));
        }
    }
}

#[test]
fn a_server_that_closes_has_no_finding() {
    let server = Script::start_with("python3", "stuck.py", &["fine"]);
    clients(server.port(), 0);
    wait_for("none in CLOSE_WAIT", || (shown_by_ss(server.port()) == 0).then_some(()));
    Diagnosis::of_port(server.port(), &["--min-age", "1ms"]).expect_none();
}

/// A client of this process that keeps a connection whose server has closed.
#[test]
fn a_pooled_connection_that_the_server_closed_is_the_clients() {
    let port = free_port();
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let (mut server, _) = listener.accept().expect("it is connected");
    server.write_all(b"response").expect("it is connected");
    client.read_exact(&mut [0; 8]).expect("the response comes");
    let closed = while_doing(|| drop((server, listener)));
    let finding = Diagnosis::wait_for("close_wait", port, &["--min-age", MIN_AGE]);
    assert_ages(&finding, closed);
    assert_eq!(finding.cause.as_deref(), Some("end_not_read"));
    assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(std::process::id()));
    assert!(finding.summary.contains(&format!("connected to 127.0.0.1:{port}")), "{}", finding.summary);
}

/// A half-closed connection on which the server still sends is none.
#[test]
fn an_answer_after_the_peers_end_is_no_fault() {
    let port = free_port();
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    let client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let (mut server, _) = listener.accept().expect("it is connected");
    client.shutdown(std::net::Shutdown::Write).expect("it is connected");
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        server.write_all(b"a part").expect("the client reads still");
        Diagnosis::of_port(port, &["--min-age", MIN_AGE]).expect_none();
    }
}
