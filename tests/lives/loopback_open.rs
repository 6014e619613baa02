//! Ways to begin, and to fail to, between two sockets on this host.

use std::{
    io::{self, Read as _},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use rustix::net::{SendFlags, SocketFlags, sendto, sockopt::set_socket_linger};
use tcp_trace_model::{
    event::Role,
    record::{By, How},
};
use tcp_trace_tests::{Life, Namespace, Scene, accept, hold, wait_for, while_doing};

#[test]
fn loopback_refused_connect() {
    for scene in [Scene::loopback(), Scene::loopback_ipv6()] {
        let refused = scene.namespace.run(|| TcpStream::connect(scene.server));
        assert_eq!(refused.map_err(|error| error.kind()).err(), Some(io::ErrorKind::ConnectionRefused));
        let life = Life::client("CLOSE SYN_SENT CLOSE");
        scene.check(None, &[life.closed(By::Peer, How::Refused).because("ECONNREFUSED")]);
    }
}

#[test]
fn loopback_client_gives_up_at_a_full_backlog_and_the_waiting_one_is_reset() {
    let scene = Scene::loopback();
    // A backlog of 0 lets one connection wait; every further SYN is dropped.
    let listener = scene.listen_with_backlog(0);
    let waiting = scene.connect();
    let given_up = scene.begin_to_connect();
    scene.wait_for_states(&["ESTABLISHED", "ESTABLISHED", "SYN_SENT"]);
    hold();
    drop(given_up);
    scene.wait_for_states(&["ESTABLISHED", "ESTABLISHED"]);
    hold();
    // Nobody has accepted the other one when the listener closes: the kernel resets it.
    let lives = [
        Life::client("CLOSE SYN_SENT ESTABLISHED CLOSE").closed(By::Peer, How::Rst).because("ECONNRESET"),
        Life::client("CLOSE SYN_SENT CLOSE").closed(By::Local, How::Abandoned),
        Life::server("LISTEN SYN_RECV ESTABLISHED CLOSE").closed(By::Local, How::Rst).of_unknown_process(),
    ];
    scene.check(Some(listener), &lives);
    drop(waiting);
}

#[test]
fn loopback_server_begins_with_the_syn_that_a_full_queue_did_not_drop() {
    let scene = Scene::loopback();
    scene.namespace.set("ipv4/tcp_syncookies", "0");
    // A backlog of 0 lets one connection wait; every further SYN is dropped.
    let listener = scene.listen_with_backlog(0);
    let first = scene.connect();
    let second = scene.begin_to_connect();
    wait_for("two dropped SYNs", || (scene.namespace.counter("ListenDrops") >= 2).then_some(()));
    let (mut first_server, mut second_server) = (None, None);
    let answered = while_doing(|| {
        first_server = Some(accept(&listener));
        second_server = Some(accept(&listener));
    });
    let dropped = scene.namespace.counter("ListenDrops");
    for client in [first, second] {
        set_socket_linger(&client, Some(Duration::ZERO)).expect("a socket can linger");
        drop(client);
    }
    let client = Life::client("CLOSE SYN_SENT ESTABLISHED CLOSE").closed(By::Local, How::Rst);
    let server = Life::server("LISTEN SYN_RECV ESTABLISHED CLOSE")
        .closed(By::Peer, How::Rst)
        .because("ECONNRESET")
        .of_unknown_process();
    let late = server.clone().at("LISTEN>SYN_RECV", answered);
    let recording = scene.check(Some(listener), &[client.clone(), client, server, late]);
    let listeners = recording.connections_of(Role::Listener);
    assert_eq!(u64::from(listeners[0].syns_unanswered), dropped);
}

/// `MSG_FASTOPEN` (`include/linux/socket.h`): connect, with this data in the SYN if there is a cookie.
const FAST_OPEN: SendFlags = SendFlags::from_bits_retain(0x2000_0000);

#[test]
fn loopback_fast_open_carries_data_in_the_syn() {
    const REQUEST: &[u8] = b"hello";
    let namespace = Namespace::new();
    // Clients and servers use it, and listeners need no option for it.
    namespace.set("ipv4/tcp_fastopen", &(0x1 | 0x2 | 0x400).to_string());
    let scene = Scene::loopback_in(namespace);
    fetch_cookie(&scene);
    assert_eq!(scene.namespace.counter("TCPFastOpenActive"), 0);
    let listener = scene.listen();
    let client = scene.socket(SocketFlags::CLOEXEC);
    let sent = sendto(&client, REQUEST, FAST_OPEN, &scene.server).expect("the server answers");
    assert_eq!((sent, scene.namespace.counter("TCPFastOpenActive")), (REQUEST.len(), 1));
    let client = TcpStream::from(client);
    let mut server = accept(&listener);
    server.read_exact(&mut [0; REQUEST.len()]).expect("it is in the SYN");
    hold();
    drop(client);
    assert_eq!(server.read(&mut [0]).expect("the FIN comes"), 0);
    let fin = while_doing(|| drop(server));
    scene.wait_for_states(&["TIME_WAIT"]);
    let bytes = REQUEST.len() as u64;
    let lives = [
        Life::client("CLOSE SYN_SENT ESTABLISHED FIN_WAIT1 FIN_WAIT2 TIME_WAIT")
            .in_kernel("CLOSE SYN_SENT ESTABLISHED FIN_WAIT1 FIN_WAIT2 CLOSE")
            .at("FIN_WAIT2>TIME_WAIT", fin)
            .closed(By::Local, How::Fin)
            .carried(bytes, 0),
        Life::server("LISTEN SYN_RECV ESTABLISHED CLOSE_WAIT LAST_ACK CLOSE")
            .closed(By::Peer, How::Fin)
            .carried(0, bytes),
    ];
    let recording = scene.check(Some(listener), &lives);
    for role in [Role::Client, Role::Server] {
        let syn = recording.segments(recording.connections_of(role)[0].connection.id)[0];
        assert_eq!(u64::from(syn.length), bytes, "{role:?}: {syn:?}");
    }
}

/// Makes a connection at another port, which gives the client the server's cookie.
fn fetch_cookie(scene: &Scene) {
    let address = (scene.server.ip(), 0);
    let listener = scene.namespace.run(|| TcpListener::bind(address)).expect("ports can be had");
    let client = scene.socket(SocketFlags::CLOEXEC);
    let server = listener.local_addr().expect("a bound socket has an address");
    sendto(&client, b"x", FAST_OPEN, &server).expect("the server answers");
    accept(&listener).read_exact(&mut [0]).expect("it comes after the handshake");
}
