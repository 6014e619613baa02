//! Processes that do not read, here and at the other end.

use std::{
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use rustix::net::sockopt;
use tcp_trace_model::{event::Flags, record::Finding};
use tcp_trace_tests::{
    Diagnosis, FIN_ACK, Peer, Script, TimeWindow, assert_ages, free_port, now, number, wait_for, while_doing,
};

use crate::closes::Place;

const STALL: [&str; 2] = ["--min-stall", "2s"];

/// Writes until nothing more is taken for a while: what is taken moves on to the other end. Gives when it was taken last.
pub(crate) fn fill(client: &mut TcpStream) -> TimeWindow {
    client.set_nonblocking(true).expect("a socket can be non-blocking");
    let block = vec![b'x'; 1 << 16];
    let mut taken = TimeWindow::from(now());
    wait_for("full buffers", || {
        let from = now();
        match client.write(&block) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                (now().micros_since(taken.to) > 300_000).then_some(())
            }
            Ok(_) => {
                taken = TimeWindow { from, to: now() };
                None
            }
            Err(error) => panic!("{error}"),
        }
    });
    taken
}

#[test]
fn of_two_ends_here_the_process_that_does_not_read_is_reported() {
    let server = Script::start_with("python3", "stuck.py", &["data"]);
    let mut client = TcpStream::connect(("127.0.0.1", server.port())).expect("it listens");
    let start = fill(&mut client);
    let finding = Diagnosis::wait_for("zero_window", server.port(), &STALL);
    assert_eq!(finding.cause.as_deref(), Some("process_not_reading"));
    assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(server.pid()));
    assert!(number(&finding, "unread_bytes") > 10_000);
    assert_ages(&finding, start);
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
    server.set_nonblocking(true).expect("a socket can be non-blocking");
    let mut block = vec![0; 1 << 20];
    while server.read(&mut block).is_ok() {}
    wait_for("an empty send queue", || {
        while server.read(&mut block).is_ok() {}
        Diagnosis::of_port(port, &["--min-stall", "100ms"]).findings.is_empty().then_some(())
    });
}

/// Much is unread, and the peer may send more: its process may take its time.
#[test]
fn a_process_that_leaves_much_unread_in_a_large_buffer_has_no_finding() {
    let port = free_port();
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let (server, _) = listener.accept().expect("it is connected");
    sockopt::set_socket_recv_buffer_size(&server, 1 << 20).expect("it is a socket");
    client.write_all(&vec![b'x'; 100_000]).expect("there is room");
    let written = now();
    wait_for("all of it to arrive", || {
        (rustix::io::ioctl_fionread(&server).expect("it is a socket") == 100_000).then_some(())
    });
    wait_for("some time", || (now().micros_since(written) > 2_000_000).then_some(()));
    Diagnosis::of_port(port, &["--min-stall", "1s"]).expect_none();
}

/// The peer's window is closed for longer than there is something to send.
#[test]
fn data_waits_since_it_was_written() {
    let place = Place::new();
    let (mut client, mut peer, _) = place.without_room();
    let closed = now();
    wait_for("an idle time", || (now().micros_since(closed) > 2_000_000).then_some(()));
    let start = while_doing(|| client.write_all(b"more").expect("there is room here"));
    let finding = finding_of_slow(&place, &mut peer);
    assert_ages(&finding, start);
}

/// What is found of a remote peer that answers each probe: it has no room.
fn finding_of_slow(place: &Place, peer: &mut Peer<'_>) -> Finding {
    wait_for("the finding", || {
        peer.receive_for(Duration::from_millis(20));
        peer.send(Flags::ACK);
        let findings = Diagnosis::of_port(place.server.port(), &STALL).findings;
        findings.into_iter().find(|finding| finding.code == "zero_window")
    })
}

#[test]
fn a_remote_peer_that_does_not_read_is_reported() {
    let place = Place::new();
    let (mut client, mut peer, _) = place.without_room();
    let start = while_doing(|| client.write_all(b"more").expect("there is room here"));
    let finding = finding_of_slow(&place, &mut peer);
    assert_eq!(finding.cause.as_deref(), Some("peer_not_reading"));
    assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(std::process::id()));
    assert_eq!(number(&finding, "unsent_bytes"), 4);
    assert_ages(&finding, start);
    // Closed now: the same data, and the FIN behind it.
    drop(client);
    let diagnosis = Diagnosis::of_port(place.server.port(), &STALL);
    let finding = diagnosis.only();
    assert_eq!(
        (finding.code.as_str(), finding.cause.as_deref()),
        ("fin_wait1_unsent", Some("window_closed"))
    );
    assert_eq!(finding.process, None, "it has closed");
    assert_ages(finding, start);
    // The healthy twin: it has room again, and takes the data and the FIN.
    peer.window = 1_000;
    peer.receive_for(Duration::ZERO);
    peer.send(Flags::ACK);
    peer.expect(FIN_ACK);
    peer.send(Flags::ACK);
    wait_for("nothing to be sent", || {
        Diagnosis::of_port(place.server.port(), &STALL).findings.is_empty().then_some(())
    });
}
