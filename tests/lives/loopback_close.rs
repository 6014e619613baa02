//! Orderly closes, between two sockets on this host.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpStream},
};

use tcp_trace_model::{
    event::{Direction, Flags, Role},
    record::{By, How},
};
use tcp_trace_tests::{Life, Scene, hold, while_doing};

/// A client that closes first, and did not lose its socket before the peer's FIN came.
fn client_first() -> Life {
    Life::client("CLOSE SYN_SENT ESTABLISHED FIN_WAIT1 FIN_WAIT2 TIME_WAIT")
        .in_kernel("CLOSE SYN_SENT ESTABLISHED FIN_WAIT1 FIN_WAIT2 CLOSE")
        .closed(By::Local, How::Fin)
}

/// A server that closes second.
fn server_second() -> Life {
    Life::server("LISTEN SYN_RECV ESTABLISHED CLOSE_WAIT LAST_ACK CLOSE").closed(By::Peer, How::Fin)
}

fn read_to_end(stream: &mut TcpStream) -> usize {
    stream.read_to_end(&mut Vec::new()).expect("the FIN comes")
}

/// How often it is tried to close within the 40 ms for which the kernel holds an ACK back.
const TRIES: usize = 10;

#[test]
fn loopback_client_closes_first_and_three_segments_end_it() {
    for scene in [Scene::loopback, Scene::loopback_ipv6] {
        let was_in_time = (0..TRIES).any(|_| three_segments_end_it(scene()));
        assert!(was_in_time, "the server never closed within 40 ms");
    }
}

/// False when the server closed so late that the first FIN had been acknowledged by itself.
fn three_segments_end_it(scene: Scene) -> bool {
    let listener = scene.listen();
    let (mut client, mut server) = scene.pair(&listener);
    client.write_all(b"x").expect("it is connected");
    server.read_exact(&mut [0]).expect("the client writes");
    hold();
    drop(client);
    // The kernel holds the ACK of a FIN back for 40 ms, once there was data: the second FIN carries it.
    assert_eq!(read_to_end(&mut server), 0);
    drop(server);
    scene.wait_for_states(&["TIME_WAIT"]);
    let lives = [client_first().carried(1, 0), server_second().carried(0, 1)];
    let recording = scene.check(Some(listener), &lives);
    let client = recording.connections_of(Role::Client)[0].connection.id;
    let segments = recording.segments(client);
    let fin = segments.iter().position(|segment| segment.flags.0.has(Flags::FIN));
    let Some([first, second, rest @ ..]) = fin.map(|fin| &segments[fin..]) else {
        panic!("no close: {segments:?}")
    };
    assert_eq!(first.direction, Direction::Out, "{segments:?}");
    assert_eq!(
        (second.direction, second.ack),
        (Direction::In, Some(first.seq.wrapping_add(1))),
        "{segments:?}"
    );
    if !second.flags.0.has(Flags::FIN) {
        return false;
    }
    let [third] = rest else { panic!("more than three segments: {segments:?}") };
    assert_eq!(third.ack, Some(second.seq.wrapping_add(1)), "{segments:?}");
    true
}

#[test]
fn loopback_server_closes_first() {
    let scene = Scene::loopback();
    let listener = scene.listen();
    let (mut client, server) = scene.pair(&listener);
    hold();
    drop(server);
    assert_eq!(read_to_end(&mut client), 0);
    let fin = while_doing(|| drop(client));
    scene.wait_for_states(&["TIME_WAIT"]);
    let lives = [
        Life::client("CLOSE SYN_SENT ESTABLISHED CLOSE_WAIT LAST_ACK CLOSE").closed(By::Peer, How::Fin),
        Life::server("LISTEN SYN_RECV ESTABLISHED FIN_WAIT1 FIN_WAIT2 TIME_WAIT")
            .in_kernel("LISTEN SYN_RECV ESTABLISHED FIN_WAIT1 FIN_WAIT2 CLOSE")
            .at("FIN_WAIT2>TIME_WAIT", fin)
            .closed(By::Local, How::Fin),
    ];
    scene.check(Some(listener), &lives);
}

#[test]
fn loopback_half_closed_client_goes_on_receiving() {
    const REQUEST: &[u8] = b"all that I have to say";
    const RESPONSE: &[u8] = &[7; 5_000];
    let scene = Scene::loopback();
    let listener = scene.listen();
    let (mut client, mut server) = scene.pair(&listener);
    client.write_all(REQUEST).expect("the server reads");
    client.shutdown(Shutdown::Write).expect("it is connected");
    assert_eq!(read_to_end(&mut server), REQUEST.len());
    scene.wait_for_states(&["CLOSE_WAIT", "FIN_WAIT2"]);
    hold();
    server.write_all(RESPONSE).expect("the client reads");
    client.read_exact(&mut [0; RESPONSE.len()]).expect("the server writes");
    scene.wait_for_states(&["CLOSE_WAIT", "FIN_WAIT2"]);
    hold();
    drop(server);
    assert_eq!(read_to_end(&mut client), 0);
    scene.wait_for_states(&["TIME_WAIT"]);
    hold();
    drop(client);
    let (request, response) = (REQUEST.len() as u64, RESPONSE.len() as u64);
    let lives = [client_first().carried(request, response), server_second().carried(response, request)];
    scene.check(Some(listener), &lives);
}

/// Writes until the peer's receive buffer and the own send buffer are full, and gives how much went in.
fn fill(stream: &mut TcpStream) -> u64 {
    stream.set_nonblocking(true).expect("a socket can be non-blocking");
    let mut written = 0;
    loop {
        match stream.write(&[7; 65_536]) {
            Ok(more) => written += more as u64,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    stream.set_nonblocking(false).expect("a socket can be blocking");
    written
}

#[test]
fn loopback_fin_behind_unsent_data_meets_the_peers_fin() {
    let scene = Scene::loopback();
    // Small buffers are full soon.
    scene.namespace.set("ipv4/tcp_rmem", "4096 8192 8192");
    scene.namespace.set("ipv4/tcp_wmem", "4096 8192 8192");
    let listener = scene.listen();
    let (mut client, mut server) = scene.pair(&listener);
    let sent = fill(&mut client);
    client.shutdown(Shutdown::Write).expect("it is connected");
    scene.wait_for_states(&["ESTABLISHED", "FIN_WAIT1"]);
    hold();
    server.shutdown(Shutdown::Write).expect("it is connected");
    scene.wait_for_states(&["CLOSING", "FIN_WAIT2"]);
    hold();
    assert_eq!(read_to_end(&mut server) as u64, sent);
    scene.wait_for_states(&["TIME_WAIT", "TIME_WAIT"]);
    let lives = [
        Life::client("CLOSE SYN_SENT ESTABLISHED FIN_WAIT1 CLOSING TIME_WAIT")
            .in_kernel("CLOSE SYN_SENT ESTABLISHED FIN_WAIT1 CLOSING CLOSE")
            .closed(By::Both, How::Fin)
            .carried(sent, 0),
        Life::server("LISTEN SYN_RECV ESTABLISHED FIN_WAIT1 FIN_WAIT2 TIME_WAIT")
            .in_kernel("LISTEN SYN_RECV ESTABLISHED FIN_WAIT1 FIN_WAIT2 CLOSE")
            .closed(By::Local, How::Fin)
            .carried(0, sent),
    ];
    scene.check(Some(listener), &lives);
}

#[test]
fn loopback_listener_opens_and_closes() {
    for scene in [Scene::loopback(), Scene::loopback_ipv6()] {
        let listener = scene.listen();
        hold();
        scene.check(Some(listener), &[]);
    }
}
