//! Processes that do not read, here and at the other end.

use std::{
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};

use tcp_trace::event::Flags;
use tcp_trace_tests::{Diagnosis, Script, free_port, number, wait_for};

use crate::closes::{Place, assert_age};

const STALL: [&str; 2] = ["--min-stall", "2s"];

/// Writes until nothing more is taken for a while: what is taken moves on to the other end. Gives when it was taken last.
fn fill(client: &mut TcpStream) -> Instant {
    client.set_nonblocking(true).expect("a socket can be told not to wait");
    let block = vec![b'x'; 1 << 16];
    let mut taken = Instant::now();
    wait_for("full buffers", || match client.write(&block) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            (taken.elapsed() > Duration::from_millis(300)).then_some(())
        }
        Ok(_) => {
            taken = Instant::now();
            None
        }
        Err(error) => panic!("{error}"),
    });
    taken
}

#[test]
fn of_two_ends_here_the_process_that_does_not_read_is_told() {
    let server = Script::start_with("python3", "stuck.py", &["data"]);
    let mut client = TcpStream::connect(("127.0.0.1", server.port())).expect("it listens");
    let start = fill(&mut client);
    let finding = Diagnosis::wait_for("zero_window", server.port(), &STALL);
    assert_eq!(finding.cause.as_deref(), Some("process_not_reading"));
    assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(server.pid()));
    assert!(number(&finding, "unread_bytes") > 10_000);
    assert_age(&finding, start);
    assert_eq!(Diagnosis::of_port(server.port(), &STALL).findings.len(), 1, "the cause only");
    // Closed now, with data unsent: the same cause.
    drop(client);
    let finding = &Diagnosis::of_port(server.port(), &STALL).findings;
    assert!(finding.iter().all(|finding| finding.code == "zero_window"), "{finding:#?}");
}

#[test]
fn a_process_that_reads_has_no_finding() {
    let port = free_port();
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let (mut server, _) = listener.accept().expect("it is connected");
    fill(&mut client);
    server.set_nonblocking(true).expect("a socket can be told not to wait");
    let mut block = vec![0; 1 << 20];
    while server.read(&mut block).is_ok() {}
    wait_for("an empty send queue", || {
        while server.read(&mut block).is_ok() {}
        Diagnosis::of_port(port, &["--min-stall", "100ms"]).findings.is_empty().then_some(())
    });
}

#[test]
fn a_remote_peer_that_does_not_read_is_told() {
    let place = Place::new();
    let (mut client, mut peer) = place.connected();
    client.write_all(b"request").expect("it is connected");
    peer.expect(Flags::ACK);
    peer.window = 0;
    peer.send(Flags::ACK);
    let start = Instant::now();
    client.write_all(b"more").expect("there is room here");
    let port = place.server.port();
    let finding = wait_for("the finding", || {
        // It answers each probe: no room.
        peer.receive_for(Duration::from_millis(20));
        peer.send(Flags::ACK);
        let findings = Diagnosis::of_port(port, &STALL).findings;
        findings.into_iter().find(|finding| finding.code == "zero_window")
    });
    assert_eq!(finding.cause.as_deref(), Some("peer_not_reading"));
    assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(std::process::id()));
    assert_eq!(number(&finding, "unsent_bytes"), 4);
    assert_age(&finding, start);
    // Closed now: the same data, and the FIN behind it.
    drop(client);
    let findings = Diagnosis::of_port(port, &STALL).findings;
    assert_eq!(findings[0].code, "fin_wait1_unsent", "{findings:#?}");
    assert_eq!(findings[0].cause.as_deref(), Some("window_closed"));
}
