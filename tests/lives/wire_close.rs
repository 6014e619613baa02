//! Orderly closes, with a remote host that the test plays.

use std::{io::Read as _, net::Shutdown, time::Duration};

use tcp_trace_model::{
    event::Flags,
    record::{By, How},
};
use tcp_trace_tests::{FIN_ACK, Life, accept, hold};

use crate::wire::{accepted, answer_fin_with_fin, connected, handshake, to_clients, to_server};

#[test]
fn wire_simultaneous_close() {
    let (scene, wire) = to_server();
    let (client, mut peer) = connected(&scene, &wire);
    hold();
    client.shutdown(Shutdown::Write).expect("it is connected");
    peer.expect(FIN_ACK);
    scene.wait_for_states(&["FIN_WAIT1"]);
    hold();
    // The peer's FIN was on its way already: it acknowledges what came before the other FIN.
    let mut crossing = peer.segment(FIN_ACK, b"");
    crossing.ack = crossing.ack.wrapping_sub(1);
    wire.send(&crossing);
    scene.wait_for_states(&["CLOSING"]);
    assert_eq!(scene.namespace.ss(scene.server.port())[0].state, "CLOSING");
    hold();
    peer.next_seq = peer.next_seq.wrapping_add(1);
    peer.send(Flags::ACK);
    scene.wait_for_states(&["TIME_WAIT"]);
    let life = Life::client("CLOSE SYN_SENT ESTABLISHED FIN_WAIT1 CLOSING TIME_WAIT")
        .in_kernel("CLOSE SYN_SENT ESTABLISHED FIN_WAIT1 CLOSING CLOSE")
        .retransmitted(peer.retransmits());
    scene.check(None, &[life.closed(By::Both, How::Fin)]);
}

#[test]
fn wire_orphan_gets_the_peers_fin() {
    let (scene, wire) = to_server();
    let (client, mut peer) = connected(&scene, &wire);
    drop(client);
    peer.expect(FIN_ACK);
    peer.send(Flags::ACK);
    scene.wait_for_states(&["FIN_WAIT2"]);
    hold();
    let fin = peer.send(FIN_ACK);
    peer.expect(Flags::ACK);
    let shown = scene.namespace.ss(scene.server.port());
    let timer = shown[0].timer.as_ref().expect("TIME_WAIT has a timer");
    assert_eq!((shown[0].state.as_str(), timer.kind.as_str()), ("TIME_WAIT", "timewait"));
    assert!(timer.left > Duration::from_secs(58), "{timer:?}");
    let life = Life::client("CLOSE SYN_SENT ESTABLISHED FIN_WAIT1 FIN_WAIT2 TIME_WAIT")
        .in_kernel("CLOSE SYN_SENT ESTABLISHED FIN_WAIT1 FIN_WAIT2 CLOSE")
        .at("FIN_WAIT2>TIME_WAIT", fin)
        .retransmitted(peer.retransmits());
    scene.check(None, &[life.closed(By::Local, How::Fin)]);
}

/// A server that closed first and is in TIME_WAIT.
fn server_in_time_wait() -> Life {
    Life::server("LISTEN SYN_RECV ESTABLISHED FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE")
        .in_kernel("LISTEN SYN_RECV ESTABLISHED FIN_WAIT1 FIN_WAIT2 CLOSE")
}

#[test]
fn wire_time_wait_is_reused_by_a_new_syn() {
    let (scene, wire) = to_clients();
    let listener = scene.listen();
    let (server, mut peer, first_syn) = accepted(&scene, &wire, &listener);
    drop(server);
    answer_fin_with_fin(&mut peer);
    scene.wait_for_states(&["TIME_WAIT"]);
    hold();
    let retransmits = peer.retransmits();
    // RFC 9293, section 3.6.1: a larger initial sequence number than the last one of before.
    peer.next_seq = peer.next_seq.wrapping_add(100_000);
    peer.received.clear();
    let second_syn = handshake(&mut peer);
    let mut server = accept(&listener);
    hold();
    peer.send(FIN_ACK);
    assert_eq!(server.read(&mut [0]).expect("the FIN comes"), 0);
    drop(server);
    peer.expect(FIN_ACK);
    peer.send(Flags::ACK);
    scene.wait_for_states(&[]);
    let first = server_in_time_wait()
        .at("LISTEN>SYN_RECV", first_syn)
        .at("TIME_WAIT>CLOSE", second_syn)
        .retransmitted(retransmits);
    let second = Life::server("LISTEN SYN_RECV ESTABLISHED CLOSE_WAIT LAST_ACK CLOSE")
        .at("LISTEN>SYN_RECV", second_syn)
        .retransmitted(peer.retransmits());
    let lives = [first.closed(By::Local, How::Fin), second.closed(By::Peer, How::Fin)];
    scene.check(Some(listener), &lives);
}

#[test]
fn wire_time_wait_is_cut_short_by_an_rst() {
    let (scene, wire) = to_clients();
    let listener = scene.listen();
    let (server, mut peer, syn) = accepted(&scene, &wire, &listener);
    drop(server);
    answer_fin_with_fin(&mut peer);
    scene.wait_for_states(&["TIME_WAIT"]);
    hold();
    let reset = peer.send(Flags::RST);
    scene.wait_for_states(&[]);
    let life = server_in_time_wait()
        .at("LISTEN>SYN_RECV", syn)
        .at("TIME_WAIT>CLOSE", reset)
        .retransmitted(peer.retransmits());
    // How it ended does not change any more: both FINs had come.
    scene.check(Some(listener), &[life.closed(By::Local, How::Fin)]);
}

#[test]
fn wire_orphan_is_reset() {
    let (scene, wire) = to_server();
    let (client, mut peer) = connected(&scene, &wire);
    drop(client);
    peer.expect(FIN_ACK);
    peer.send(Flags::ACK);
    scene.wait_for_states(&["FIN_WAIT2"]);
    hold();
    let reset = peer.send(Flags::RST);
    scene.wait_for_states(&[]);
    // Nobody sees what comes to a mini-socket, an RST or the peer's FIN: what is known is the own FIN.
    let life = Life::client("CLOSE SYN_SENT ESTABLISHED FIN_WAIT1 FIN_WAIT2 CLOSE")
        .at("FIN_WAIT2>CLOSE", reset)
        .retransmitted(peer.retransmits());
    scene.check(None, &[life.closed(By::Local, How::Fin)]);
}
