//! An RST in every state that can receive one, from a remote host that the test plays. Those in SYN_SENT and
//! SYN_RECV are in `wire_open`, those of mini-sockets in `wire_close`.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
};

use tcp_trace_model::{
    event::{Flags, Role},
    record::{By, Ended, Exchange, How, Message, Outcome, Part},
};
use tcp_trace_tests::{FIN_ACK, Life, Peer, RST_ACK, Scene, hold};

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

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// How often it is tried to reset within the 100 ms for which an exchange waits for its acknowledgment.
const TRIES: usize = 10;

/// A server of the kernel's answers, and the peer resets the connection. `end` sends the RST, behind whatever it acknowledges first.
/// Gives the exchange as recorded, how many bytes the summary says were not acknowledged, and whether the RST came in time.
fn reset_after_response(end: impl FnOnce(&mut Peer<'_>)) -> (Exchange, Option<u32>, bool) {
    let (scene, wire) = to_clients();
    let listener = scene.listen();
    let (mut server, mut peer, syn) = accepted(&scene, &wire, &listener);
    peer.send_data(Flags::ACK, REQUEST);
    let mut request = [0; REQUEST.len()];
    server.read_exact(&mut request).expect("the client sends it");
    server.write_all(RESPONSE).expect("it is connected");
    while peer.expect(Flags::ACK).payload != RESPONSE {}
    end(&mut peer);
    scene.wait_for_states(&[]);
    let (sent, received) = (RESPONSE.len() as u64, REQUEST.len() as u64);
    let life = Life::server("LISTEN SYN_RECV ESTABLISHED CLOSE").at("LISTEN>SYN_RECV", syn);
    let life = life.closed(By::Peer, How::Rst).because("ECONNRESET").carried(sent, received);
    let recording = scene.check(Some(listener), &[life.retransmitted(peer.retransmits())]);
    drop(server);
    let [http] = recording.http_of(Role::Server)[..] else { panic!("it is one: {recording:#?}") };
    let [summary] = recording.connections_of(Role::Server)[..] else { panic!("it is one: {recording:#?}") };
    let timing = &http.exchange.timing;
    let sent = timing.started.after_micros(timing.until_response_us().expect("it was answered"));
    let is_in_time = summary.closed.expect("it is closed").micros_since(sent) < 100_000;
    (*http.exchange.clone(), summary.close.unacknowledged, is_in_time)
}

#[test]
fn wire_response_that_meets_a_reset_did_not_arrive() {
    let is_reset_in_time = (0..TRIES).any(|_| {
        let (exchange, unacknowledged, is_in_time) = reset_after_response(|peer| {
            peer.next_ack = peer.next_ack.wrapping_sub(u32::try_from(RESPONSE.len()).expect("it is short"));
            peer.send(Flags::RST);
        });
        assert_eq!(unacknowledged, u32::try_from(RESPONSE.len()).ok());
        let ended = Ended { message: Message::Response, part: Part::None, offset: 0 };
        let is_reset = exchange.outcome == Outcome::Reset;
        assert!(is_reset || !is_in_time, "{exchange:#?}");
        assert_eq!(exchange.ended, is_reset.then_some(ended));
        let reason = is_reset.then_some("reset by the client before the response");
        assert_eq!(exchange.reason.as_deref(), reason);
        is_reset
    });
    assert!(is_reset_in_time, "the RST never came within 100 ms");
}

#[test]
fn wire_response_that_was_acknowledged_before_a_reset_arrived() {
    let by_ack = |peer: &mut Peer<'_>| {
        peer.send(Flags::ACK);
        peer.send(Flags::RST);
    };
    let by_reset = |peer: &mut Peer<'_>| {
        peer.send(RST_ACK);
    };
    for (exchange, unacknowledged, _) in [reset_after_response(by_ack), reset_after_response(by_reset)] {
        assert_eq!((exchange.outcome, exchange.ended), (Outcome::Ok, None), "{exchange:#?}");
        assert_eq!(unacknowledged, Some(0));
    }
}
