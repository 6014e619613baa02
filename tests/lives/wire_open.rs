//! Ways to begin, and to fail to, with a remote host that the test plays.

use std::io::{self, Read as _};

use tcp_trace_model::{
    event::{Flags, Role},
    record::{By, How},
};
use tcp_trace_tests::{
    FIN_ACK, HalfOpen, Life, RST_ACK, SYN_ACK, Scene, TimeWindow, WireAddresses, hold, now,
};

use crate::wire::{CLIENT_PORT, to_clients, to_server};

#[test]
fn wire_simultaneous_open() {
    for addresses in [WireAddresses::ipv4(), WireAddresses::ipv6()] {
        let (scene, wire) = Scene::wire_to_server(addresses);
        let client = scene.begin_to_connect();
        let (mut peer, syn) = wire.accept(scene.server);
        hold();
        // The peer's own SYN was on its way already.
        peer.send(Flags::SYN);
        let answer = peer.expect(SYN_ACK);
        assert_eq!((answer.seq, answer.ack), (syn.seq, peer.next_seq));
        scene.wait_for_states(&["SYN_RECV"]);
        hold();
        peer.send(Flags::ACK);
        scene.wait_for_states(&["ESTABLISHED"]);
        hold();
        peer.send(FIN_ACK);
        scene.wait_for_states(&["CLOSE_WAIT"]);
        drop(client);
        peer.expect(FIN_ACK);
        peer.send(Flags::ACK);
        scene.wait_for_states(&[]);
        // The SYN+ACK has the number of the SYN, and is no retransmit (`tcp_send_synack()` does not count it).
        let retransmits = peer.retransmits().checked_sub(1).expect("the SYN+ACK came");
        let life = Life::client("CLOSE SYN_SENT SYN_RECV ESTABLISHED CLOSE_WAIT LAST_ACK CLOSE");
        scene.check(None, &[life.closed(By::Peer, How::Fin).retransmitted(retransmits)]);
    }
}

#[test]
fn wire_refused_connect() {
    let (scene, wire) = to_server();
    let client = scene.begin_to_connect();
    let (mut peer, _) = wire.accept(scene.server);
    hold();
    let mut reset = peer.segment(RST_ACK, b"");
    reset.seq = 0;
    wire.send(&reset);
    assert_eq!(failure_of(&client), Some(io::ErrorKind::ConnectionRefused));
    let life = Life::client("CLOSE SYN_SENT CLOSE").retransmitted(peer.retransmits());
    scene.check(None, &[life.closed(By::Peer, How::Refused).because("ECONNREFUSED")]);
}

/// The error that a socket failed with.
fn failure_of(socket: &std::net::TcpStream) -> Option<io::ErrorKind> {
    socket.take_error().expect("a socket has its error").map(|error| error.kind())
}

#[test]
fn wire_connect_without_answer_times_out() {
    let (scene, wire) = to_server();
    scene.namespace.set("ipv4/tcp_syn_retries", "1");
    let mut client = scene.begin_to_connect();
    let (mut peer, syn) = wire.accept(scene.server);
    let again = peer.expect(Flags::SYN);
    assert_eq!(again.seq, syn.seq);
    let error = client.read(&mut [0]).expect_err("no answer comes");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    // tcp_syn_linear_timeouts come on top of tcp_syn_retries since Linux 6.5.
    let retransmits = peer.retransmits();
    let life = Life::client("CLOSE SYN_SENT CLOSE").closed(By::None, How::Timeout);
    let recording = scene.check(None, &[life.because("ETIMEDOUT").retransmitted(retransmits)]);
    let handshake = recording.connections_of(Role::Client)[0].handshake.expect("SYNs were sent");
    assert_eq!(handshake.syn_seq, Some(syn.seq));
    assert_eq!(u64::from(handshake.syn_retransmits), retransmits);
    assert_eq!((handshake.syn_ack_seq, handshake.rtt_us), (None, None));
}

#[test]
fn wire_client_gives_up_before_the_answer() {
    let (scene, wire) = to_server();
    let client = scene.begin_to_connect();
    let (mut peer, _) = wire.accept(scene.server);
    scene.wait_for_states(&["SYN_SENT"]);
    hold();
    drop(client);
    scene.wait_for_states(&[]);
    let life = Life::client("CLOSE SYN_SENT CLOSE").retransmitted(peer.retransmits());
    scene.check(None, &[life.closed(By::Local, How::Abandoned)]);
}

#[test]
fn wire_host_unreachable() {
    let (scene, wire) = to_server();
    let mut client = scene.begin_to_connect();
    let (mut peer, syn) = wire.accept(scene.server);
    hold();
    wire.send_host_unreachable(&syn);
    let error = client.read(&mut [0]).expect_err("the router reports it");
    assert_eq!(error.kind(), io::ErrorKind::HostUnreachable);
    let life = Life::client("CLOSE SYN_SENT CLOSE").retransmitted(peer.retransmits());
    scene.check(None, &[life.closed(By::None, How::Error).because("EHOSTUNREACH")]);
}

#[test]
fn wire_server_whose_syn_ack_was_lost_is_connected_by_the_second() {
    let (scene, wire) = to_clients();
    let listener = scene.listen();
    let mut peer = wire.peer(scene.server, CLIENT_PORT);
    let syn = peer.send(Flags::SYN);
    peer.expect(SYN_ACK);
    // Nothing is sent until the kernel sends it again, after a second.
    peer.expect(SYN_ACK);
    peer.send(Flags::ACK);
    let mut server = tcp_trace_tests::accept(&listener);
    peer.send(FIN_ACK);
    assert_eq!(server.read(&mut [0]).expect("the FIN comes"), 0);
    drop(server);
    peer.expect(FIN_ACK);
    peer.send(Flags::ACK);
    scene.wait_for_states(&[]);
    let retransmits = peer.retransmits();
    assert!(retransmits >= 1, "{:#?}", peer.received);
    let life =
        Life::server("LISTEN SYN_RECV ESTABLISHED CLOSE_WAIT LAST_ACK CLOSE").at("LISTEN>SYN_RECV", syn);
    let life = life.closed(By::Peer, How::Fin).retransmitted(retransmits);
    let recording = scene.check(Some(listener), &[life]);
    let handshake = recording.connections_of(Role::Server)[0].handshake.expect("it was seen");
    assert_eq!(handshake.rtt_us, None, "which of two SYN+ACKs was answered is unknown");
}

/// Waits until `ss` shows no half-open connection any more, and gives when it went.
fn end_of_half_open(scene: &Scene) -> TimeWindow {
    let port = scene.server.port();
    let is_there = || scene.namespace.ss(port).iter().any(|socket| socket.state == "SYN_RECV");
    let mut from = now();
    tcp_trace_tests::wait_for("the half-open connection to go", || {
        let before = now();
        if is_there() {
            from = before;
            return None;
        }
        Some(TimeWindow { from, to: now() })
    })
}

#[test]
fn wire_half_open_connection_that_never_completes() {
    let (scene, wire) = to_clients();
    scene.namespace.set("ipv4/tcp_synack_retries", "1");
    let listener = scene.listen();
    let mut peer = wire.peer(scene.server, CLIENT_PORT);
    let syn = peer.send(Flags::SYN);
    peer.expect(SYN_ACK);
    let shown = scene.namespace.ss(scene.server.port());
    let half_open = shown.iter().find(|socket| socket.peer_port == CLIENT_PORT).expect("ss shows it");
    assert_eq!(half_open.state, "SYN_RECV");
    assert_eq!(half_open.timer.as_ref().map(|timer| timer.kind.as_str()), Some("on"));
    let end = end_of_half_open(&scene);
    assert_eq!(peer.retransmits(), 1, "the SYN+ACK came twice");
    let expected = HalfOpen { peer_port: CLIENT_PORT, syn, end, by: By::None, how: How::Timeout };
    scene.check_half_open(listener, &expected);
}

#[test]
fn wire_half_open_connection_that_is_reset() {
    let (scene, wire) = to_clients();
    let listener = scene.listen();
    let mut peer = wire.peer(scene.server, CLIENT_PORT);
    let syn = peer.send(Flags::SYN);
    peer.expect(SYN_ACK);
    hold();
    let end = peer.send(Flags::RST);
    end_of_half_open(&scene);
    let expected = HalfOpen { peer_port: CLIENT_PORT, syn, end, by: By::Peer, how: How::Rst };
    scene.check_half_open(listener, &expected);
}
