//! An RST in every state that can receive one, from a remote host that the test plays. Those in SYN_SENT and
//! SYN_RECV are in `wire_open`, those of mini-sockets in `wire_close`.

use std::net::{Shutdown, TcpStream};

use tcp_trace_model::{
    event::Flags,
    record::{By, How},
};
use tcp_trace_tests::{FIN_ACK, Life, Peer, Scene, hold};

use crate::wire::{accepted, connected, to_clients, to_server};

/// Lets the peer reset the kernel's client in a state, and checks its life.
fn reset_client_in(state: &str, path: &'static str, bring: impl FnOnce(&TcpStream, &mut Peer<'_>)) {
    let (scene, wire) = to_server();
    let (client, mut peer) = connected(&scene, &wire);
    bring(&client, &mut peer);
    reset_in(&scene, state, &mut peer);
    // What `tcp_reset()` gives the socket.
    let error = if state == "CLOSE_WAIT" { "EPIPE" } else { "ECONNRESET" };
    let life = Life::client(path).retransmitted(peer.retransmits());
    scene.check(None, &[life.closed(By::Peer, How::Rst).because(error)]);
}

fn reset_in(scene: &Scene, state: &str, peer: &mut Peer<'_>) {
    scene.wait_for_states(&[state]);
    hold();
    scene.wait_for_states(&[state]);
    peer.send(Flags::RST);
    scene.wait_for_states(&[]);
}

fn shut_down(client: &TcpStream) {
    client.shutdown(Shutdown::Write).expect("it is connected");
}

#[test]
fn wire_reset_in_established() {
    reset_client_in("ESTABLISHED", "CLOSE SYN_SENT ESTABLISHED CLOSE", |_, _| {});
}

#[test]
fn wire_reset_in_established_of_a_server() {
    let (scene, wire) = to_clients();
    let listener = scene.listen();
    let (server, mut peer, syn) = accepted(&scene, &wire, &listener);
    reset_in(&scene, "ESTABLISHED", &mut peer);
    // Its process has done nothing with it yet that the kernel reports.
    let life =
        Life::server("LISTEN SYN_RECV ESTABLISHED CLOSE").at("LISTEN>SYN_RECV", syn).of_unknown_process();
    scene.check(Some(listener), &[life.closed(By::Peer, How::Rst).because("ECONNRESET")]);
    drop(server);
}

#[test]
fn wire_reset_in_fin_wait1() {
    reset_client_in("FIN_WAIT1", "CLOSE SYN_SENT ESTABLISHED FIN_WAIT1 CLOSE", |client, peer| {
        shut_down(client);
        peer.expect(FIN_ACK);
    });
}

#[test]
fn wire_reset_in_fin_wait2() {
    reset_client_in("FIN_WAIT2", "CLOSE SYN_SENT ESTABLISHED FIN_WAIT1 FIN_WAIT2 CLOSE", |client, peer| {
        shut_down(client);
        peer.expect(FIN_ACK);
        peer.send(Flags::ACK);
    });
}

#[test]
fn wire_reset_in_closing() {
    reset_client_in("CLOSING", "CLOSE SYN_SENT ESTABLISHED FIN_WAIT1 CLOSING CLOSE", |client, peer| {
        shut_down(client);
        peer.expect(FIN_ACK);
        // It does not acknowledge the FIN that has just come.
        peer.next_ack = peer.next_ack.wrapping_sub(1);
        peer.send(FIN_ACK);
    });
}

#[test]
fn wire_reset_in_close_wait() {
    reset_client_in("CLOSE_WAIT", "CLOSE SYN_SENT ESTABLISHED CLOSE_WAIT CLOSE", |_, peer| {
        peer.send(FIN_ACK);
    });
}

#[test]
fn wire_reset_in_last_ack() {
    reset_client_in("LAST_ACK", "CLOSE SYN_SENT ESTABLISHED CLOSE_WAIT LAST_ACK CLOSE", |client, peer| {
        peer.send(FIN_ACK);
        peer.expect(Flags::ACK);
        shut_down(client);
        peer.expect(FIN_ACK);
    });
}
