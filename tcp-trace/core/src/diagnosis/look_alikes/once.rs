//! Scenes that two rules see: the one that knows the cause says it.

use std::{net::IpAddr, sync::Arc};

use tcp_trace_model::{
    event::{Direction, Flags, Role, State},
    record::{
        By, Connection, ConnectionId, Endpoint, How, Http, KernelSocket, Outcome, Record, Stalls, StateSpan,
    },
};

use super::{
    Known, Scene, client,
    connects::{self, connect, waiting},
    counted,
    http::{stall, through, upstream},
    last, server,
    sockets::{accepted, pool},
};
use crate::diagnosis::{
    testing::{Host, NETNS},
    testing_http::{at, exchange, segment, summary, unanswered},
};

/// An open connection of the client at this port to 10.0.0.5:80 with this cookie, whose request was sent 100 s ago and is not answered.
fn due(cookie: u64, port: u16) -> (Http, Connection) {
    let mut end = summary(Role::Client, By::None, How::Open);
    let info = Arc::make_mut(&mut end.connection);
    info.id = ConnectionId::of_socket(cookie, 0);
    let network = info.network.as_mut().unwrap();
    network.local = Endpoint { address: [10, 0, 0, 1].into(), port };
    network.peer = Endpoint { address: [10, 0, 0, 5].into(), port: 80 };
    let mut http = unanswered(Role::Client, 0, 0, Outcome::NoResponse);
    (http.connection, http.time) = (end.connection.clone(), at(90_000));
    (http, end)
}

/// The last socket of this host, with such a request.
fn with_request(host: Host) -> Scene {
    let socket = host.snapshot.sockets.last().unwrap();
    let (http, mut end) = due(socket.diag.cookie, socket.diag.endpoints.local.port());
    end.states[0].state = socket.state();
    let info = socket.diag.info;
    end.socket = Some(Box::new(KernelSocket {
        send_queue: socket.diag.wqueue,
        no_file: socket.has_no_file(),
        timer: Some(socket.diag.timer),
        tcp_info: info,
        ..KernelSocket::default()
    }));
    Scene::of(host).and(Vec::new(), vec![http], end)
}

/// A client here that connects to this listener's own address, by 0.0.0.0.
fn everywhere(mut host: Host) -> Host {
    host.snapshot.sockets[0].diag.endpoints.local.set_ip([0, 0, 0, 0].into());
    host
}

/// A server in another network namespace, with so many that wait at a listener at all its addresses, each for 90 s.
fn container(waiting: u16) -> Host {
    let mut host = everywhere(connects::waiting(waiting, 4, 90));
    host.snapshot.sockets.iter_mut().for_each(|socket| socket.netns = NETNS + 1);
    host
}

/// The same, and a client that connects to this address.
fn with_connect(mut host: Host, to: &str) -> Scene {
    let client = host.process(5, "client");
    host.socket(Some(client), State::SynSent, "10.0.0.9:50000", to).resending(3, 7_000);
    Scene::of(host)
}

/// A client of [`SERVER`](crate::diagnosis::testing_http::SERVER) that was connected, whose request was sent again, and so was the server's SYN+ACK.
pub(super) fn half_open(host: Host, is_answered: bool) -> Scene {
    let mut end = summary(Role::Client, By::Local, How::Fin);
    (end.seen_from_start, end.handshake.as_mut().unwrap().syn_ack_retransmits) = (true, 1);
    Arc::make_mut(&mut end.connection).network.as_mut().unwrap().netns = Some(NETNS);
    let mut again = segment(Role::Client, Direction::In, Flags::SYN.with(Flags::ACK), 1_000);
    if let Record::Segment(segment) = &mut again {
        segment.retransmit = true;
    }
    let mut http = if is_answered {
        exchange(Role::Client, 0, 0)
    } else {
        unanswered(Role::Client, 0, 0, Outcome::NoResponse)
    };
    http.time = at(2_000);
    (http.exchange.timing.wait_us, http.exchange.timing.total_us) = (Some(1_990_000), 2_000_000);
    let wait = stall(1_800_000, 0);
    http.exchange.timing.stalls = Some(Stalls { wait, ..Stalls::default() });
    Scene::of(host).and(vec![again], vec![http], end)
}

pub(super) const SCENES: &[Known] = &[
    (
        "a full listener in another network namespace, and a client that waits for it",
        || with_connect(container(5), "10.0.0.1:8080"),
        &["accept_queue_full/full"],
    ),
    (
        "a full listener in another network namespace, and a client that connects to its own loopback",
        || with_connect(container(5), "127.0.0.1:8080"),
        &["accept_queue_full/full", "connect_timeout/waiting"],
    ),
    (
        "a full listener in another network namespace, and a client that gave up",
        || {
            let mut end = connect(1, IpAddr::from([10, 0, 0, 1]), How::Timeout, Some("ETIMEDOUT"));
            let network = Arc::make_mut(&mut end.connection).network.as_mut().unwrap();
            (network.peer.port, network.netns) = (8080, Some(NETNS));
            Scene::of(container(5)).and(Vec::new(), Vec::new(), end)
        },
        &["accept_queue_full/full"],
    ),
    (
        "a full listener in another network namespace, and a request that waited until it had room",
        || half_open(container(5), true),
        &["accept_queue_full/full"],
    ),
    (
        "a full listener of this host, and a request that was given up before it had room",
        || half_open(waiting(5, 4, 90), false),
        &["accept_queue_full/full"],
    ),
    (
        "a listener of this host that has room, and a request that was lost",
        || half_open(waiting(0, 4, 0), true),
        &["slow_network/retransmits"],
    ),
    (
        "the client half-closed behind its request, and was answered",
        || {
            let mut host = accepted(State::CloseWait, 90, 0);
            let info = last(&mut host).info();
            (info.bytes_sent, info.bytes_acked, info.last_data_recv_ms) = (60, 60, 90_010);
            let client = host.process(5, "client");
            host.socket(Some(client), State::FinWait2, "10.0.0.9:40000", "10.0.0.1:8080").idle(90);
            Scene::of(host)
        },
        &["close_wait/not_closed"],
    ),
    (
        "the client half-closed behind its request, and was answered over HTTP",
        || {
            let mut host = accepted(State::CloseWait, 90, 0);
            last(&mut host).diag.cookie = 2;
            let client = host.process(5, "client");
            host.socket(Some(client), State::FinWait2, "10.0.0.9:40000", "10.0.0.1:8080").idle(90);
            Scene::of(host).and(
                Vec::new(),
                vec![exchange(Role::Server, 0, 0)],
                summary(Role::Server, By::None, How::Open),
            )
        },
        &["close_wait/not_closed"],
    ),
    (
        "the server has shut down writing, and the client has not closed",
        || {
            let mut host = server().0;
            let client = host.process(5, "client");
            host.accepted(Some(0), State::FinWait2, 40_000).idle(90);
            host.socket(Some(client), State::CloseWait, "10.0.0.9:40000", "10.0.0.1:8080").idle(90);
            Scene::of(host)
        },
        &["close_wait/not_closed"],
    ),
    (
        "requests wait for a server, on most of the descriptors",
        || {
            let mut scene = Scene::of(pool(60, 90, State::Established));
            for socket in &scene.now.snapshot.sockets.clone() {
                let (http, end) = due(socket.diag.cookie, socket.diag.endpoints.local.port());
                scene = scene.and(Vec::new(), vec![http], end);
            }
            scene
        },
        &["no_response/waiting"],
    ),
    (
        "a client half-closed behind its request, and the server is silent",
        || with_request(client(State::FinWait2, 90).0),
        &["no_response/waiting"],
    ),
    (
        "a client closed, and its request is not acknowledged",
        || {
            let (mut host, _) = client(State::FinWait1, 90);
            let socket = last(&mut host);
            socket.resending(7, 70_000).diag.wqueue = 161;
            (socket.diag.inode, socket.holders) = (0, 0..0);
            with_request(host)
        },
        &["no_response/not_acknowledged"],
    ),
    (
        "a gateway speaks HTTP to an upstream that speaks TLS",
        || {
            let mut end = upstream(6, (1_005, 1_095), By::Local, How::Fin);
            (end.protocol, end.answer_protocol) = (Some("http".to_owned()), Some("tls".to_owned()));
            let mut invalid = unanswered(Role::Client, 0, 1_010, Outcome::Invalid);
            invalid.exchange.timing.total_us = 20_000;
            (invalid.exchange.ended, invalid.exchange.reason) =
                (None, Some("response: not a status line".into()));
            through(502, Some(invalid), end)
        },
        &["gateway_errors/upstream_invalid"],
    ),
    (
        "a gateway gives up a connect, and leaves it to the kernel",
        || {
            let mut end = upstream(6, (1_000, 1_095), By::None, How::Open);
            (end.open, end.closed) = (true, None);
            let state = State::SynSent;
            end.states = vec![StateSpan { state, entered: end.opened, duration_us: None, estimated: false }];
            let mut scene = through(504, None, end);
            let api = scene.now.process(6, "api");
            let socket =
                scene.now.socket(Some(api), state, "10.0.0.9:50000", "10.0.0.2:9000").resending(5, 90_000);
            socket.diag.cookie = 10;
            scene
        },
        &["gateway_errors/upstream_connect_timeout"],
    ),
    (
        "a full listener of this host, at all its addresses, and a client that waits for it",
        || {
            let mut host = everywhere(waiting(5, 4, 90));
            let client = host.process(5, "client");
            host.socket(Some(client), State::SynSent, "10.0.0.1:50000", "10.0.0.1:8080").resending(3, 7_000);
            Scene::of(host)
        },
        &["accept_queue_full/full"],
    ),
    (
        "a full listener of this host, at all its addresses, and a client that gave up",
        || {
            let mut end = connect(1, IpAddr::from([10, 0, 0, 1]), How::Timeout, Some("ETIMEDOUT"));
            let network = Arc::make_mut(&mut end.connection).network.as_mut().unwrap();
            (network.peer.port, network.netns) = (8080, Some(NETNS));
            Scene::of(everywhere(waiting(5, 4, 90))).and(Vec::new(), Vec::new(), end)
        },
        &["accept_queue_full/full"],
    ),
    (
        "a burst at a listener with a short queue, for which the kernel sends cookies too",
        || {
            let dropping = |drops, counters: &[(&str, u64)]| {
                let (mut host, _) = server();
                let listener = last(&mut host);
                (listener.diag.wqueue, listener.diag.drops) = (16, Some(drops));
                counted(host, counters)
            };
            let now = dropping(9, &[("SyncookiesSent", 180), ("ListenOverflows", 9), ("ListenDrops", 9)]);
            let before = dropping(0, &[("SyncookiesSent", 0), ("ListenOverflows", 0), ("ListenDrops", 0)]);
            Scene::of(now).since(before)
        },
        &["accept_queue_full/overflowed"],
    ),
    (
        "a client that reads slowly what was left when the server closed",
        || {
            let before = accepted(State::CloseWait, 80, 200_000);
            Scene::of(accepted(State::CloseWait, 90, 100_000)).since(before)
        },
        &[],
    ),
];
