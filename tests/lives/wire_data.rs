//! Data that is not acknowledged, or has no room, with a remote host that the test plays.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use rustix::net::sockopt::{
    set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl, set_tcp_user_timeout,
};
use tcp_trace_model::{
    event::Flags,
    record::{By, How},
};
use tcp_trace_tests::{FIN_ACK, Life, Peer, SYN_ACK, Scene, Segment, hold, wait_for};

use crate::wire::{connected, to_server};

const DATA: &[u8] = b"some bytes of a request";
const BYTES: u64 = DATA.len() as u64;

/// The peer closes first, and the client second.
fn peer_closes(scene: &Scene, client: TcpStream, peer: &mut Peer<'_>) {
    hold();
    peer.send(FIN_ACK);
    scene.wait_for_states(&["CLOSE_WAIT"]);
    hold();
    drop(client);
    peer.expect(FIN_ACK);
    peer.send(Flags::ACK);
    scene.wait_for_states(&[]);
}

const PEER_CLOSES: &str = "CLOSE SYN_SENT ESTABLISHED CLOSE_WAIT LAST_ACK CLOSE";

#[test]
fn wire_unacknowledged_data_ends_at_the_user_timeout() {
    let (scene, wire) = to_server();
    let (mut client, mut peer) = connected(&scene, &wire);
    hold();
    client.write_all(DATA).expect("it is connected");
    for _ in 0..2 {
        let data = peer.expect(Flags::ACK);
        assert_eq!(data.payload, DATA);
    }
    // It holds from the next of the kernel's tries on: a pause of the machine may be longer than the first wait.
    set_tcp_user_timeout(&client, 500).expect("a socket has this option");
    let error = client.read(&mut [0]).expect_err("never acknowledged");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let retransmits = peer.retransmits();
    let life = Life::client("CLOSE SYN_SENT ESTABLISHED CLOSE").carried(BYTES, 0);
    let life = life.closed(By::None, How::Timeout).because("ETIMEDOUT").retransmitted(retransmits);
    scene.check(None, &[life]);
}

#[test]
fn wire_silent_peer_ends_at_the_keepalive_timeout() {
    let (scene, wire) = to_server();
    let (mut client, mut peer) = connected(&scene, &wire);
    const SECOND: Duration = Duration::from_secs(1);
    set_tcp_keepidle(&client, SECOND).expect("a socket has this option");
    set_tcp_keepintvl(&client, SECOND).expect("a socket has this option");
    set_tcp_keepcnt(&client, 1).expect("a socket has this option");
    set_socket_keepalive(&client, true).expect("a socket has this option");
    let error = client.read(&mut [0]).expect_err("the probe gets no answer");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    peer.expect(Flags::ACK);
    let life = Life::client("CLOSE SYN_SENT ESTABLISHED CLOSE").retransmitted(peer.retransmits());
    scene.check(None, &[life.closed(By::None, How::Timeout).because("ETIMEDOUT")]);
}

#[test]
fn wire_retransmitted_data_counts_once_as_bytes() {
    let (scene, wire) = to_server();
    let (mut client, mut peer) = connected(&scene, &wire);
    client.write_all(DATA).expect("it is connected");
    let first = peer.expect(Flags::ACK);
    let second = peer.expect(Flags::ACK);
    assert_eq!((second.seq, &second.payload), (first.seq, &first.payload), "it comes again");
    peer.send(Flags::ACK);
    peer_closes(&scene, client, &mut peer);
    let retransmits = peer.retransmits();
    assert!(retransmits >= 1, "{:#?}", peer.received);
    let life = Life::client(PEER_CLOSES).carried(BYTES, 0).retransmitted(retransmits);
    scene.check(None, &[life.closed(By::Peer, How::Fin)]);
}

/// Whether a segment probes the window (RFC 9293, section 3.8.6.1): the kernel repeats the last number without a byte.
fn is_probe(segment: &Segment, peer: &Peer<'_>) -> bool {
    segment.payload.is_empty() && segment.seq == peer.next_ack.wrapping_sub(1)
}

/// The next segment that is no probe: the timer of another may have run out before the window came.
fn first_but_probes(peer: &mut Peer<'_>) -> Segment {
    loop {
        let segment = peer.expect(Flags::ACK);
        if !is_probe(&segment, peer) {
            return segment;
        }
    }
}

#[test]
fn wire_data_waits_for_a_window() {
    let (scene, wire) = to_server();
    let mut client = scene.begin_to_connect();
    let (mut peer, _) = wire.accept(scene.server);
    peer.window = 0;
    peer.send(SYN_ACK);
    peer.expect(Flags::ACK);
    client.write_all(DATA).expect("it is connected");
    let timer = || scene.namespace.ss(scene.server.port())[0].timer.clone().map(|timer| timer.kind);
    wait_for("the probe timer", || timer().filter(|kind| kind == "persist"));
    let probe = peer.expect(Flags::ACK);
    assert!(is_probe(&probe, &peer), "{probe:?}");
    hold();
    peer.window = u16::MAX;
    peer.send(Flags::ACK);
    let first = first_but_probes(&mut peer);
    assert_eq!(first.payload, DATA, "{first:?}");
    peer.send(Flags::ACK);
    peer_closes(&scene, client, &mut peer);
    // Probes carry nothing: they are none.
    let life = Life::client(PEER_CLOSES).carried(BYTES, 0).retransmitted(peer.retransmits());
    scene.check(None, &[life.closed(By::Peer, How::Fin)]);
}
