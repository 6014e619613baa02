//! Resets by what applications do, between two sockets on this host.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use rustix::net::sockopt::set_socket_linger;
use tcp_trace_model::record::{By, How};
use tcp_trace_tests::{Life, Scene, hold};

fn read_reset(stream: &mut TcpStream) {
    let error = stream.read(&mut [0]).expect_err("the RST comes");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn loopback_linger_0_resets_at_close() {
    for scene in [Scene::loopback(), Scene::loopback_ipv6()] {
        let listener = scene.listen();
        let (client, mut server) = scene.pair(&listener);
        hold();
        set_socket_linger(&client, Some(Duration::ZERO)).expect("a socket can linger");
        drop(client);
        read_reset(&mut server);
        let lives = [
            Life::client("CLOSE SYN_SENT ESTABLISHED CLOSE").closed(By::Local, How::Rst),
            // Its process has done nothing with it yet that the kernel reports.
            Life::server("LISTEN SYN_RECV ESTABLISHED CLOSE")
                .closed(By::Peer, How::Rst)
                .because("ECONNRESET")
                .of_unknown_process(),
        ];
        scene.check(Some(listener), &lives);
    }
}

#[test]
fn loopback_a_close_without_lingering_names_who_closes_what_nobody_used() {
    let scene = Scene::loopback();
    let listener = scene.listen();
    let (mut client, server) = scene.pair(&listener);
    hold();
    set_socket_linger(&server, Some(Duration::ZERO)).expect("a socket can linger");
    drop(server);
    read_reset(&mut client);
    let lives = [
        Life::client("CLOSE SYN_SENT ESTABLISHED CLOSE").closed(By::Peer, How::Rst).because("ECONNRESET"),
        Life::server("LISTEN SYN_RECV ESTABLISHED CLOSE").closed(By::Local, How::Rst),
    ];
    scene.check(Some(listener), &lives);
}

#[test]
fn loopback_unread_data_resets_at_close() {
    const UNREAD: &[u8] = b"nobody reads this";
    let scene = Scene::loopback();
    let listener = scene.listen();
    let (mut client, server) = scene.pair(&listener);
    client.write_all(UNREAD).expect("it is connected");
    // It has come, and stays unread.
    assert_eq!(server.peek(&mut [0]).expect("it comes"), 1);
    hold();
    drop(server);
    read_reset(&mut client);
    let bytes = UNREAD.len() as u64;
    let lives = [
        Life::client("CLOSE SYN_SENT ESTABLISHED CLOSE")
            .closed(By::Peer, How::Rst)
            .because("ECONNRESET")
            .carried(bytes, 0),
        Life::server("LISTEN SYN_RECV ESTABLISHED CLOSE").closed(By::Local, How::Rst).carried(0, bytes),
    ];
    scene.check(Some(listener), &lives);
}

#[test]
fn loopback_linger_0_resets_a_half_closed_connection() {
    let scene = Scene::loopback();
    let listener = scene.listen();
    let (mut client, mut server) = scene.pair(&listener);
    client.write_all(b"x").expect("it is connected");
    server.read_exact(&mut [0]).expect("the client writes");
    client.shutdown(Shutdown::Write).expect("it is connected");
    scene.wait_for_states(&["CLOSE_WAIT", "FIN_WAIT2"]);
    hold();
    set_socket_linger(&server, Some(Duration::ZERO)).expect("a socket can linger");
    drop(server);
    read_reset(&mut client);
    let lives = [
        Life::client("CLOSE SYN_SENT ESTABLISHED FIN_WAIT1 FIN_WAIT2 CLOSE")
            .closed(By::Peer, How::Rst)
            .because("ECONNRESET")
            .carried(1, 0),
        Life::server("LISTEN SYN_RECV ESTABLISHED CLOSE_WAIT CLOSE")
            .closed(By::Local, How::Rst)
            .carried(0, 1),
    ];
    scene.check(Some(listener), &lives);
}

/// Payload that is no HTTP, of which most is left out: what ended without a segment of its own is counted too.
#[test]
fn loopback_reset_behind_payload_that_nobody_needs_counts_every_byte() {
    const PIECE: [u8; 10_000] = [7; 10_000];
    for is_readers in [true, false] {
        let scene = Scene::loopback();
        let listener = scene.listen();
        let (mut client, mut server) = scene.pair(&listener);
        for number in 0..30 {
            client.write_all(&PIECE).expect("it is connected");
            server.read_exact(&mut [0; PIECE.len()]).expect("the client writes");
            if number % 10 == 1 {
                hold();
            }
        }
        let (first, mut second) = if is_readers { (server, client) } else { (client, server) };
        set_socket_linger(&first, Some(Duration::ZERO)).expect("a socket can linger");
        drop(first);
        read_reset(&mut second);
        let client = Life::client("CLOSE SYN_SENT ESTABLISHED CLOSE").carried(300_000, 0);
        let server = Life::server("LISTEN SYN_RECV ESTABLISHED CLOSE").carried(0, 300_000);
        let is_reset = |life: Life| life.closed(By::Peer, How::Rst).because("ECONNRESET");
        let lives = if is_readers {
            [is_reset(client), server.closed(By::Local, How::Rst)]
        } else {
            [client.closed(By::Local, How::Rst), is_reset(server)]
        };
        scene.check(Some(listener), &lives);
    }
}
