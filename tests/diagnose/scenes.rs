//! Scenes that are faults, each at a port of its own.

use std::{
    any::Any,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, SocketFlags, SocketType, bind, connect, socket_with,
        sockopt::{
            set_socket_keepalive, set_socket_reuseaddr, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl,
        },
    },
};
use tcp_trace_model::event::Flags;
use tcp_trace_tests::{
    FIN_ACK, Namespace, Running, SYN_ACK, Script, WireAddresses, accept, free_port, now, wait_for,
};

use crate::{closes::Place, http, windows::fill};

/// A scene that was prepared at a port and is still to be made.
pub(crate) struct Scene {
    pub(crate) port: u16,
    pub(crate) make: Box<dyn FnOnce() -> Kept>,
}

/// What has to stay until all is judged.
pub(crate) type Kept = Box<dyn Any>;

/// At a port, by this process alone.
pub(crate) fn here<T: 'static>(make: fn(u16) -> T) -> Scene {
    let port = free_port();
    Scene { port, make: Box::new(move || Box::new(make(port))) }
}

/// At the port of a server that handles its connections wrongly.
pub(crate) fn stuck<T: 'static>(arguments: &[&str], make: fn(u16) -> T) -> Scene {
    let server = Script::start_with("python3", "stuck.py", arguments);
    let port = server.port();
    Scene { port, make: Box::new(move || Box::new((make(port), server))) }
}

/// With a remote host that the test plays.
pub(crate) fn wire<T: 'static>(make: fn(&Place) -> T) -> Scene {
    let place = Place::new();
    let port = place.server.port();
    Scene { port, make: Box::new(move || Box::new((make(&place), place))) }
}

/// In a network namespace of its own.
pub(crate) fn alone<T: Send + 'static>(settings: &[(&str, &str)], make: fn(u16) -> T) -> Scene {
    let (namespace, port) = (Namespace::new(), free_port());
    settings.iter().for_each(|(name, value)| namespace.set(name, value));
    Scene { port, make: Box::new(move || Box::new((namespace.run(|| make(port)), namespace))) }
}

/// A client that sends five bytes and reads this many.
pub(crate) fn client(port: u16, answer: usize) -> TcpStream {
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    client.write_all(b"hello").expect("it is connected");
    client.read_exact(&mut vec![0; answer]).expect("it answers");
    client
}

pub(crate) fn full_queue() -> Scene {
    stuck(&["none", "1"], |port| [client(port, 0), client(port, 0)])
}

pub(crate) fn not_accepted() -> Scene {
    stuck(&["none"], |port| {
        drop(client(port, 0));
        client(port, 0)
    })
}

pub(crate) fn half_open() -> Scene {
    let place = Place::new();
    let SocketAddr::V4(remote) = place.server else { panic!("IPv4") };
    let local = SocketAddr::new(WireAddresses::ipv4().local, free_port());
    place.namespace.set("ipv4/tcp_synack_retries", "8");
    let listener = place.namespace.run(|| TcpListener::bind(local)).expect("the port is free");
    let make = move || -> Kept {
        for number in 0..20 {
            let mut syn = place.wire.peer(local, 2_000 + number).segment(Flags::SYN, b"");
            let [a, b, c, _] = remote.ip().octets();
            syn.source = SocketAddr::from(([a, b, c, 10 + number as u8], 2_000 + number));
            place.wire.send(&syn);
        }
        Box::new((listener, place))
    };
    Scene { port: local.port(), make: Box::new(make) }
}

/// More than 80 % of its ports are towards one destination.
pub(crate) fn ports_in_use() -> Scene {
    alone(&[("ipv4/ip_local_port_range", "40000 40019")], |port| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is free");
        let one = || {
            let client = TcpStream::connect(("127.0.0.1", port)).expect("there are ports");
            (client, accept(&listener))
        };
        (0..17).map(|_| one()).collect::<Vec<_>>()
    })
}

pub(crate) fn with_itself() -> Scene {
    here(|port| {
        let own = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let make = || socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let socket = make().expect("it can be had");
        set_socket_reuseaddr(&socket, true).expect("a socket has this option");
        bind(&socket, &own).expect("the port is free");
        connect(&socket, &own).expect("it is answered by itself");
        socket
    })
}

pub(crate) fn half_closed(port: u16) -> TcpStream {
    let client = client(port, 0);
    client.shutdown(Shutdown::Write).expect("it is connected");
    client
}

pub(crate) fn full_window(port: u16) -> TcpStream {
    let mut client = client(port, 0);
    fill(&mut client);
    client
}

pub(crate) fn data_unanswered(place: &Place) -> TcpStream {
    let (mut client, _) = place.connected();
    client.write_all(b"request").expect("it is connected");
    client
}

pub(crate) fn probes_unanswered(place: &Place) -> TcpStream {
    let (mut client, ..) = place.without_room();
    client.write_all(b"more").expect("there is room here");
    client
}

/// A client whose probes begin after a second, of which so many may stay without an answer.
pub(crate) fn keep_alive(place: &Place, probes: u32) -> TcpStream {
    const SECOND: Duration = Duration::from_secs(1);
    let (client, _) = place.connected();
    set_tcp_keepidle(&client, SECOND).expect("a socket has this option");
    set_tcp_keepintvl(&client, SECOND).expect("a socket has this option");
    set_tcp_keepcnt(&client, probes).expect("a socket has this option");
    set_socket_keepalive(&client, true).expect("a socket has this option");
    client
}

/// Lets so many microseconds pass.
pub(crate) fn pass(us: u64) {
    let begun = now();
    wait_for("some time", || (now().micros_since(begun) > us).then_some(()));
}

/// Until nothing is left of it.
pub(crate) fn wait_for_the_end(place: &Place) {
    wait_for("the end", || place.namespace.states(place.server.port()).is_empty().then_some(()));
}

pub(crate) fn died(place: &Place) -> TcpStream {
    let client = keep_alive(place, 1);
    wait_for_the_end(place);
    client
}

/// A gateway whose backend, at another address with the same port, refuses.
pub(crate) fn gateway(port: u16) {
    let (client, server) = http::pair(port);
    http::send(&client, http::GET);
    http::receive(&server, http::GET.len());
    TcpStream::connect(("127.0.0.2", port)).expect_err("nothing listens there");
    let answer = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n";
    http::send(&server, answer);
    http::receive(&client, answer.len());
}

pub(crate) fn refused(port: u16) {
    TcpStream::connect(("127.0.0.1", port)).expect_err("nothing listens");
}

pub(crate) fn timed_out(place: &Place) {
    place.namespace.set("ipv4/tcp_syn_retries", "1");
    let (client, begun) = place.begin(place.server);
    assert_eq!(begun, Err(Errno::INPROGRESS));
    wait_for_the_end(place);
    drop(client);
}

pub(crate) fn unreachable(place: &Place) {
    let (client, begun) = place.begin(place.server);
    assert_eq!(begun, Err(Errno::INPROGRESS));
    let (_, syn) = place.wire.accept(place.server);
    place.wire.send_host_unreachable(&syn);
    wait_for_the_end(place);
    drop(client);
}

/// The second SYN is answered.
pub(crate) fn connected_late(place: &Place) -> TcpStream {
    let (client, begun) = place.begin(place.server);
    assert_eq!(begun, Err(Errno::INPROGRESS));
    let (mut peer, _) = place.wire.accept(place.server);
    peer.expect(Flags::SYN);
    peer.send(SYN_ACK);
    peer.expect(Flags::ACK);
    client
}

pub(crate) fn closed_listener(port: u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is free");
    let mut client = client(port, 0);
    drop(listener);
    client.read(&mut [0]).expect_err("its kernel resets it");
}

pub(crate) fn tls_to_http(port: u16) {
    let (client, server) = http::pair(port);
    // A ClientHello's beginning.
    let hello = b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03";
    let hello = [&hello[..], &[7; 32], b"\x00\x00\x02\x13\x01\x01\x00"].concat();
    http::send(&client, &hello);
    http::receive(&server, hello.len());
    http::send(&server, b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    drop(server);
    { &client }.read_to_end(&mut Vec::new()).expect("it comes");
}

pub(crate) fn given_up(port: u16) {
    http::silent(port, Some(Duration::from_millis(1_100)));
}

pub(crate) fn used_after_close(port: u16) {
    let (client, server) = http::pair(port);
    http::send(&client, http::GET);
    http::receive(&server, http::GET.len());
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    http::send(&server, answer);
    http::receive(&client, answer.len());
    drop(server);
    pass(100_000);
    http::send(&client, http::GET);
    let _ = { &client }.read(&mut [0]);
    wait_for("the RST", || rustix::net::sockopt::socket_error(&client).is_ok().then_some(()));
}

pub(crate) fn answer_unread(port: u16) {
    let (client, server) = http::pair(port);
    http::send(&client, http::GET);
    http::receive(&server, http::GET.len());
    http::send(&server, http::OK);
    wait_for("the answer", || {
        (rustix::io::ioctl_fionread(&client).expect("it is a socket") == http::OK.len() as u64).then_some(())
    });
    pass(200_000);
    drop(client);
    { &server }.read(&mut [0]).expect_err("its kernel resets it");
}

pub(crate) fn websocket(port: u16) -> (TcpStream, TcpStream) {
    let (client, server) = http::pair(port);
    let exchange = |from: &TcpStream, to: &TcpStream, bytes: &[u8]| {
        http::send(from, bytes);
        http::receive(to, bytes.len());
    };
    exchange(
        &client,
        &server,
        b"GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    exchange(
        &server,
        &client,
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    );
    // Close frames with status 1000; a client's is masked (RFC 6455, section 5.2), here with zeros.
    exchange(&client, &server, b"\x88\x82\x00\x00\x00\x00\x03\xe8");
    exchange(&server, &client, b"\x88\x02\x03\xe8");
    (client, server)
}

pub(crate) fn slow_reader(port: u16) {
    http::download(port, Duration::from_millis(1_500));
}

pub(crate) fn slow_server(port: u16) {
    http::slow(port, 3, Duration::from_millis(1_100));
}

/// A program that may have so many files open, and opens so many connections, one every so many seconds, and keeps them.
pub(crate) fn pool(port: u16, files: u32, connections: usize, seconds: f64) -> (Running, Vec<TcpStream>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is free");
    let program = format!(
        "import socket, sys, time\nkept = []\nfor _ in range({connections}):\n    \
         kept.append(socket.create_connection(('127.0.0.1', {port})))\n    time.sleep({seconds})\nsys.stdin.read()"
    );
    let mut command = Command::new("prlimit");
    command.args([&format!("--nofile={files}"), "python3", "-c", &program]).stdin(Stdio::piped());
    let running = Running::start(&mut command);
    (running, (0..connections).map(|_| accept(&listener)).collect())
}

pub(crate) fn idle(port: u16) -> (Running, Vec<TcpStream>) {
    pool(port, 20, 12, 0.0)
}

/// Each is opened in another second.
pub(crate) fn growing(port: u16) -> (Running, Vec<TcpStream>) {
    pool(port, 1_000, 12, 1.01)
}

pub(crate) fn fin_wait1(place: &Place) -> TcpStream {
    let (client, mut peer) = place.connected();
    client.shutdown(Shutdown::Write).expect("it is connected");
    peer.expect(FIN_ACK);
    client
}

pub(crate) fn fin_wait2(place: &Place) -> TcpStream {
    let (client, mut peer) = place.connected();
    client.shutdown(Shutdown::Write).expect("it is connected");
    peer.expect(FIN_ACK);
    peer.send(Flags::ACK);
    client
}

/// Its FIN crossed the peer's, which does not acknowledge it.
pub(crate) fn closing(place: &Place) -> TcpStream {
    let (client, mut peer) = place.connected();
    client.shutdown(Shutdown::Write).expect("it is connected");
    peer.expect(FIN_ACK);
    peer.next_ack = peer.next_ack.wrapping_sub(1);
    peer.send(FIN_ACK);
    client
}

pub(crate) fn last_ack(place: &Place) {
    let (client, mut peer) = place.connected();
    peer.send(FIN_ACK);
    wait_for("CLOSE_WAIT", || {
        place.namespace.states(place.server.port()).contains(&"CLOSE_WAIT".to_owned()).then_some(())
    });
    drop(client);
    peer.expect(FIN_ACK);
}

pub(crate) fn time_waits() -> Scene {
    alone(&[], |port| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is free");
        for _ in 0..30 {
            let client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
            let mut server = accept(&listener);
            drop(client);
            assert_eq!(server.read(&mut [0]).expect("it ends"), 0);
        }
        listener
    })
}
