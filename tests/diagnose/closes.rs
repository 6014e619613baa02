//! Closes that do not get through, and peers that are gone, played at a wire.

use std::{
    io::Write as _,
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, SocketFlags, SocketType, connect, socket_with,
        sockopt::{set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl},
    },
};
use tcp_trace_model::{event::Flags, record::Finding};
use tcp_trace_tests::{
    Diagnosis, FIN_ACK, Namespace, Peer, SYN_ACK, TimeWindow, Wire, WireAddresses, assert_ages, free_port,
    now, wait_for, while_doing,
};

const STALL: [&str; 2] = ["--min-stall", "2s"];

/// A namespace whose remote host the test plays.
pub(crate) struct Place {
    pub(crate) namespace: Namespace,
    pub(crate) wire: Wire,
    pub(crate) server: SocketAddr,
}

impl Place {
    pub(crate) fn new() -> Self {
        let (namespace, addresses) = (Namespace::new(), WireAddresses::ipv4());
        let wire = Wire::new(&namespace, addresses);
        Self { namespace, wire, server: SocketAddr::new(addresses.remote, free_port()) }
    }

    /// Begins to connect to an address, and does not wait.
    pub(crate) fn begin(&self, server: SocketAddr) -> (TcpStream, rustix::io::Result<()>) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let make = || socket_with(AddressFamily::INET, SocketType::STREAM, flags, None);
        let socket = self.namespace.run(make).expect("it can be had");
        let begun = connect(&socket, &server);
        (socket.into(), begun)
    }

    /// A connection with the remote host.
    pub(crate) fn connected(&self) -> (TcpStream, Peer<'_>) {
        let (client, begun) = self.begin(self.server);
        assert_eq!(begun, Err(Errno::INPROGRESS));
        let (mut peer, _) = self.wire.accept(self.server);
        peer.send(SYN_ACK);
        peer.expect(Flags::ACK);
        client.set_nonblocking(false).expect("a socket can wait");
        (client, peer)
    }

    /// A connection whose peer has no more room, and when it said so.
    pub(crate) fn without_room(&self) -> (TcpStream, Peer<'_>, TimeWindow) {
        let (mut client, mut peer) = self.connected();
        client.write_all(b"request").expect("it is connected");
        peer.expect(Flags::ACK);
        peer.window = 0;
        let closed = peer.send(Flags::ACK);
        (client, peer, closed)
    }

    fn find(&self, code: &str) -> Finding {
        Diagnosis::wait_for(code, self.server.port(), &STALL)
    }

    fn is_in(&self, state: &str) {
        wait_for(state, || {
            self.namespace.states(self.server.port()).contains(&state.to_owned()).then_some(())
        });
    }
}

fn assert_pid(finding: &Finding) {
    assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(std::process::id()));
}

#[test]
fn a_peer_that_does_not_acknowledge_data_is_reported() {
    let place = Place::new();
    let (mut client, mut peer) = place.connected();
    let start = while_doing(|| client.write_all(b"request").expect("it is connected"));
    peer.expect(Flags::ACK);
    let finding = place.find("half_open_peer");
    assert_eq!(finding.cause.as_deref(), Some("data_unanswered"));
    assert_pid(&finding);
    assert_ages(&finding, start);
    // The healthy twin: it answers.
    let last = peer.received.last().expect("it sent").clone();
    peer.next_ack = last.seq.wrapping_add(last.length_in_sequence());
    peer.send(Flags::ACK);
    wait_for("no retransmission", || {
        Diagnosis::of_port(place.server.port(), &STALL).findings.is_empty().then_some(())
    });
}

/// The kernel counts the time of all silences in one sum.
#[test]
fn a_second_silence_is_as_old_as_itself() {
    let place = Place::new();
    let (mut client, mut peer) = place.connected();
    client.write_all(b"first").expect("it is connected");
    peer.expect(Flags::ACK);
    place.find("half_open_peer");
    peer.send(Flags::ACK);
    let answered = now();
    wait_for("an idle time", || (now().micros_since(answered) > 1_000_000).then_some(()));
    Diagnosis::of_port(place.server.port(), &["--min-stall", "1ms"]).expect_none();
    let start = while_doing(|| client.write_all(b"second").expect("it is connected"));
    let finding = place.find("half_open_peer");
    assert_eq!(finding.cause.as_deref(), Some("data_unanswered"));
    assert_ages(&finding, start);
}

#[test]
fn probes_of_a_closed_window_that_are_not_answered_are_reported() {
    let place = Place::new();
    let (mut client, mut peer, start) = place.without_room();
    client.write_all(b"more").expect("there is room here");
    let finding = place.find("half_open_peer");
    assert_eq!(finding.cause.as_deref(), Some("window_probes_unanswered"));
    assert_pid(&finding);
    assert_ages(&finding, start);
    // The healthy twin: it has room again, and takes the data.
    peer.window = 1_000;
    peer.receive_for(Duration::ZERO);
    peer.send(Flags::ACK);
    peer.expect(Flags::ACK);
    peer.send(Flags::ACK);
    wait_for("nothing to be sent", || {
        Diagnosis::of_port(place.server.port(), &STALL).findings.is_empty().then_some(())
    });
}

#[test]
fn keep_alive_that_is_not_answered_is_reported() {
    const SECOND: Duration = Duration::from_secs(1);
    let place = Place::new();
    let from = now();
    let (client, mut peer) = place.connected();
    let start = TimeWindow { from, to: now() };
    set_tcp_keepidle(&client, SECOND).expect("a socket has this option");
    set_tcp_keepintvl(&client, SECOND).expect("a socket has this option");
    set_tcp_keepcnt(&client, 50).expect("a socket has this option");
    set_socket_keepalive(&client, true).expect("a socket has this option");
    let finding = place.find("half_open_peer");
    assert_eq!(finding.cause.as_deref(), Some("keep_alive_unanswered"));
    assert_pid(&finding);
    assert_ages(&finding, start);
    // The healthy twin: it answers.
    wait_for("answered probes", || {
        peer.receive_for(Duration::ZERO);
        peer.send(Flags::ACK);
        Diagnosis::of_port(place.server.port(), &STALL).findings.is_empty().then_some(())
    });
}

#[test]
fn a_fin_that_is_not_acknowledged_is_reported() {
    let place = Place::new();
    let (client, mut peer) = place.connected();
    let start = while_doing(|| client.shutdown(Shutdown::Write).expect("it is connected"));
    peer.expect(FIN_ACK);
    place.is_in("FIN_WAIT1");
    let finding = place.find("fin_wait1_unsent");
    assert_eq!(finding.cause.as_deref(), Some("no_answer"));
    assert_pid(&finding);
    assert_ages(&finding, start);
    // The healthy twin: it is acknowledged.
    peer.send(Flags::ACK);
    place.is_in("FIN_WAIT2");
    Diagnosis::of_port(place.server.port(), &STALL).expect_none();
}

#[test]
fn a_crossed_fin_that_is_not_acknowledged_is_reported() {
    let place = Place::new();
    let (client, mut peer) = place.connected();
    client.shutdown(Shutdown::Write).expect("it is connected");
    peer.expect(FIN_ACK);
    let next_ack = peer.next_ack;
    peer.next_ack = next_ack.wrapping_sub(1);
    let start = peer.send(FIN_ACK);
    place.is_in("CLOSING");
    let finding = place.find("closing_stuck");
    assert_eq!(finding.cause.as_deref(), Some("no_answer"));
    assert_pid(&finding);
    assert_ages(&finding, start);
    // The healthy twin: it is acknowledged.
    peer.next_ack = next_ack;
    peer.send(Flags::ACK);
    place.is_in("TIME_WAIT");
    Diagnosis::of_port(place.server.port(), &STALL).expect_none();
}

#[test]
fn a_last_ack_that_does_not_come_is_reported() {
    let place = Place::new();
    let (client, mut peer) = place.connected();
    peer.send(FIN_ACK);
    place.is_in("CLOSE_WAIT");
    let start = while_doing(|| drop(client));
    peer.expect(FIN_ACK);
    let finding = place.find("last_ack_stuck");
    assert_eq!((finding.cause.as_deref(), finding.process.as_ref()), (Some("no_answer"), None));
    assert_ages(&finding, start);
    // The healthy twin: it is acknowledged.
    peer.send(Flags::ACK);
    wait_for("the end", || Diagnosis::of_port(place.server.port(), &STALL).findings.is_empty().then_some(()));
}

#[test]
fn a_peer_that_does_not_close_is_reported_where_this_end_waits_for_it() {
    let place = Place::new();
    let (client, mut peer) = place.connected();
    client.shutdown(Shutdown::Write).expect("it is connected");
    peer.expect(FIN_ACK);
    let start = peer.send(Flags::ACK);
    place.is_in("FIN_WAIT2");
    let port = place.server.port();
    Diagnosis::of_port(port, &[]).expect_none();
    let finding = Diagnosis::wait_for("fin_wait2_stuck", port, &["--min-age", "2s"]);
    assert_eq!(finding.cause.as_deref(), Some("half_closed"));
    assert_pid(&finding);
    assert_ages(&finding, start);
    // The healthy twin: an orphan, which the kernel forgets.
    drop(client);
    Diagnosis::of_port(port, &["--min-age", "1ms"]).expect_none();
}
