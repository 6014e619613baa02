//! Scenes of listeners, of connects and of ports.

use std::{net::IpAddr, sync::Arc};

use tcp_trace_model::{
    event::{Role, State},
    record::{By, Connection, ConnectionId, Endpoint, How, Outcome, StateSpan},
};

use super::{Scene, Scenes, counted, last, server};
use crate::diagnosis::{
    testing::{Host, NETNS},
    testing_http::{at, closed_listener, exchange, summary, unanswered},
};

/// A listener with so many connections that nobody has accepted, each for so many seconds.
pub(super) fn waiting(count: u16, limit: u32, seconds: u32) -> Host {
    let mut host = Host::new();
    let api = host.process(6, "api");
    host.listener(Some(api), count.into(), limit);
    for port in 0..count {
        host.accepted(None, State::Established, 40_000 + port).idle(seconds);
    }
    host
}

/// So many handshakes under way at a listener, each with its SYN+ACK sent again so often.
fn half_open(count: u16, retransmits: u8) -> Host {
    let (mut host, _) = server();
    for number in 0..count {
        let peer = format!("10.1.{}.7:{}", number % 200, 1_000 + number);
        host.socket(None, State::SynRecv, "10.0.0.1:8080", &peer).diag.retransmits = retransmits;
    }
    host
}

/// A host with 100 ephemeral ports, of which so many are in TIME_WAIT towards one server.
pub(super) fn ports(count: u16) -> Scene {
    let mut host = Host::new();
    host.snapshot.networks[0].port_range = Some((40_000, 40_099));
    let client = host.process(5, "client");
    host.socket(Some(client), State::Established, "10.0.0.1:40099", "10.0.0.5:80");
    for port in 0..count {
        host.socket(None, State::TimeWait, &format!("10.0.0.1:{}", 40_000 + port), "10.0.0.5:80");
    }
    Scene::of(host)
}

/// A client's connect to this address that ended so.
pub(super) fn connect(cookie: u64, to: IpAddr, how: How, reason: Option<&str>) -> Connection {
    let mut end = summary(Role::Client, By::Local, how);
    let info = Arc::make_mut(&mut end.connection);
    info.id = ConnectionId::of_socket(cookie, 0);
    info.network.as_mut().unwrap().peer = Endpoint { address: to, port: 80 };
    let state = if how == How::Fin { State::Established } else { State::SynSent };
    end.states = vec![StateSpan { state, entered: at(0), duration_us: None, estimated: false }];
    end.close.reason = reason.map(str::to_owned);
    (end.closed, end.seen_from_start) = (Some(at(1)), true);
    end
}

fn connected(how: How, reason: Option<&str>) -> Scene {
    Scene::of(Host::new()).and(Vec::new(), Vec::new(), connect(1, [10, 0, 0, 5].into(), how, reason))
}

pub(super) fn refused() -> Scene {
    connected(How::Refused, Some("ECONNREFUSED"))
}

/// The same, and the server was reached by its other address.
fn beside_ipv6(how: How, reason: Option<&str>) -> Scene {
    let ipv6 = connect(2, IpAddr::V6([0xfd00, 0, 0, 0, 0, 0, 0, 5].into()), How::Fin, None);
    connected(how, reason).and(Vec::new(), Vec::new(), ipv6)
}

/// A connect that took so long, with its SYN sent again so often.
fn slow_connect(us: u64, syns: u32) -> Connection {
    let mut end = connect(1, [10, 0, 0, 5].into(), How::Fin, None);
    let connecting = StateSpan { state: State::SynSent, duration_us: Some(us), ..end.states[0].clone() };
    end.states.insert(0, connecting);
    end.handshake.as_mut().unwrap().syn_retransmits = syns;
    end
}

/// A connect whose second SYN was answered.
pub(super) fn slow() -> Scene {
    ended(slow_connect(1_020_000, 1))
}

/// A server's end that its own kernel reset at this millisecond, and that nobody had used.
fn reset_unused(ms: u64) -> Connection {
    let mut end = summary(Role::Server, By::Local, How::Rst);
    (end.closed, end.seen_from_start) = (Some(at(ms)), true);
    Arc::make_mut(&mut end.connection).process = None;
    end
}

/// A server's end that its own kernel reset at 500 ms, with what its process had left unread.
fn reset_unread() -> Connection {
    let mut end = summary(Role::Server, By::Local, How::Rst);
    (end.closed, end.seen_from_start) = (Some(at(500)), true);
    (end.receive_queue, end.first_used) = (2_048, Some(at(100)));
    end
}

pub(super) fn ended(end: Connection) -> Scene {
    Scene::lived(Vec::new(), Vec::new(), end)
}

/// A connection that is open between two of these addresses.
fn loopback(state: State, local: &str, peer: &str) -> Scene {
    let mut host = Host::new();
    let client = host.process(5, "client");
    host.socket(Some(client), state, local, peer).idle(90);
    Scene::of(host)
}

const ACCEPTED_UNREAD: fn() -> Scene = || {
    let (mut host, api) = server();
    host.accepted(Some(api), State::Established, 40_000).idle(90).diag.rqueue = 123;
    last(&mut host).info().rcv_wnd = Some(60_000);
    Scene::of(host)
};

pub(super) const SCENES: &[Scenes] = &[
    Scenes {
        code: "accept_queue_full",
        fault: (
            "more wait than the queue holds",
            || Scene::of(waiting(5, 4, 90)),
            &["accept_queue_full/full"],
        ),
        twin: ("nobody waits", || Scene::of(waiting(0, 4, 0))),
        look_alikes: &[
            ("a burst", || Scene::of(waiting(5, 4, 0)), &[]),
            (
                "the queue has room, and nobody accepts",
                || Scene::of(waiting(4, 128, 90)),
                &["accept_stalled/not_accepting"],
            ),
            ("accepted, and no thread reads", ACCEPTED_UNREAD, &["data_not_read/requests"]),
            (
                "SYNs wait for the last segment of their handshake",
                || Scene::of(half_open(200, 2)),
                &["syn_backlog/many_sources"],
            ),
        ],
    },
    Scenes {
        code: "accept_stalled",
        fault: (
            "nobody accepts, and the queue has room",
            || Scene::of(waiting(2, 128, 90)),
            &["accept_stalled/not_accepting"],
        ),
        twin: ("one came a moment ago", || Scene::of(waiting(1, 128, 0))),
        look_alikes: &[
            ("the queue is full", || Scene::of(waiting(5, 4, 90)), &["accept_queue_full/full"]),
            ("accepted, and no thread reads", ACCEPTED_UNREAD, &["data_not_read/requests"]),
            (
                "the peer has closed, and the process that accepted has not",
                || {
                    let (mut host, api) = server();
                    host.accepted(Some(api), State::CloseWait, 40_000).idle(90).diag.rqueue = 1;
                    Scene::of(host)
                },
                &["close_wait/end_not_read"],
            ),
        ],
    },
    Scenes {
        code: "listener_closed",
        fault: (
            "a listener is closed with a connection in its queue",
            || ended(closed_listener(500)).and(Vec::new(), Vec::new(), reset_unused(501)),
            &["listener_closed/closed_with_queue"],
        ),
        twin: ("a listener is closed with an empty queue", || ended(closed_listener(500))),
        look_alikes: &[
            (
                "a process closes a connection with a request unread, and then its listener",
                || {
                    let http = unanswered(Role::Server, 0, 100, Outcome::Reset);
                    ended(closed_listener(500)).and(Vec::new(), vec![http], reset_unread())
                },
                &["unread_data_reset/closed_with_unread_data"],
            ),
            (
                "reset long after the listener was closed",
                || ended(closed_listener(500)).and(Vec::new(), Vec::new(), reset_unused(9_000)),
                &[],
            ),
            (
                "the listener was closed before the connect",
                || {
                    ended(closed_listener(0)).and(
                        Vec::new(),
                        Vec::new(),
                        connect(1, [10, 0, 0, 5].into(), How::Refused, Some("ECONNREFUSED")),
                    )
                },
                &["connect_refused/refused"],
            ),
        ],
    },
    Scenes {
        code: "syn_backlog",
        fault: (
            "200 addresses leave the SYN+ACK unanswered",
            || Scene::of(half_open(200, 2)),
            &["syn_backlog/many_sources"],
        ),
        twin: ("200 handshakes are under way", || Scene::of(half_open(200, 0))),
        look_alikes: &[
            (
                "the accept queue is full, so that no handshake can end",
                || {
                    let mut host = half_open(200, 2);
                    (host.snapshot.sockets[0].diag.rqueue, host.snapshot.sockets[0].diag.wqueue) = (5, 4);
                    host.accepted(None, State::Established, 40_000).idle(90);
                    Scene::of(host)
                },
                &["accept_queue_full/full"],
            ),
            ("some on a bad line", || Scene::of(half_open(20, 1)), &[]),
            (
                "cookies were sent before the trace began",
                || {
                    let sent = |host| counted(host, &[("SyncookiesSent", 20)]);
                    Scene::of(sent(half_open(20, 0))).since(sent(half_open(20, 0)))
                },
                &[],
            ),
        ],
    },
    Scenes {
        code: "port_exhaustion",
        fault: ("99 of 100 ports are in use", || ports(98), &["port_exhaustion/nearly_used_up"]),
        twin: ("half of the ports are in use", || ports(49)),
        look_alikes: &[
            (
                "most may be used again at once",
                || {
                    let mut scene = ports(98);
                    scene.now.snapshot.networks[0].reuses_time_wait = Some(1);
                    scene
                },
                &[],
            ),
            (
                "the one port that the program chose is taken",
                || connected(How::Error, Some("no SYN was sent")),
                &["connect_port_taken/port_taken"],
            ),
            (
                "a server's port, which is in the range",
                || {
                    let (mut host, _) = server();
                    host.snapshot.networks[0].port_range = Some((8080, 8080));
                    host.accepted(None, State::TimeWait, 40_000);
                    Scene::of(host)
                },
                &[],
            ),
        ],
    },
    Scenes {
        code: "self_connected",
        fault: (
            "both ends are one socket",
            || loopback(State::Established, "127.0.0.1:40000", "127.0.0.1:40000"),
            &["self_connected/simultaneous_open"],
        ),
        twin: ("another port", || loopback(State::Established, "127.0.0.1:40000", "127.0.0.1:40001")),
        look_alikes: &[
            (
                "the same port of another address",
                || loopback(State::CloseWait, "127.0.0.1:40000", "127.0.0.2:40000"),
                &["close_wait/not_closed"],
            ),
            ("nothing listens at that port", refused, &["connect_refused/refused"]),
        ],
    },
    Scenes {
        code: "connect_refused",
        fault: ("nothing listens", refused, &["connect_refused/refused"]),
        twin: ("it is accepted", || connected(How::Fin, None)),
        look_alikes: &[
            ("the other IP version succeeds", || beside_ipv6(How::Refused, Some("ECONNREFUSED")), &[]),
            (
                "no SYN is answered",
                || connected(How::Timeout, Some("ETIMEDOUT")),
                &["connect_timeout/no_answer"],
            ),
            (
                "accepted by nobody, and then reset",
                || ended(closed_listener(500)).and(Vec::new(), Vec::new(), reset_unused(500)),
                &["listener_closed/closed_with_queue"],
            ),
        ],
    },
    Scenes {
        code: "connect_timeout",
        fault: (
            "no SYN is answered",
            || connected(How::Timeout, Some("ETIMEDOUT")),
            &["connect_timeout/no_answer"],
        ),
        twin: ("it is accepted", || connected(How::Fin, None)),
        look_alikes: &[
            (
                "the kernel gives up an established connection",
                || {
                    let mut end = connect(1, [10, 0, 0, 5].into(), How::Timeout, Some("ETIMEDOUT"));
                    end.states[0].state = State::Established;
                    ended(end)
                },
                &["connection_died/unanswered"],
            ),
            (
                "a router says that there is no way",
                || connected(How::Error, Some("EHOSTUNREACH")),
                &["connect_no_route/no_route"],
            ),
            (
                "a listener of this host is full",
                || {
                    let mut host = waiting(5, 4, 90);
                    let client = host.process(5, "client");
                    host.socket(Some(client), State::SynSent, "10.0.0.1:50000", "10.0.0.1:8080")
                        .resending(3, 7_000);
                    Scene::of(host)
                },
                &["accept_queue_full/full"],
            ),
            ("the second SYN is answered", slow, &["connect_slow/syn_retransmitted"]),
        ],
    },
    Scenes {
        code: "connect_port_taken",
        fault: (
            "no SYN was sent from the port that the program chose",
            || connected(How::Error, Some("no SYN was sent")),
            &["connect_port_taken/port_taken"],
        ),
        twin: ("it is accepted", || connected(How::Fin, None)),
        look_alikes: &[
            (
                "no port was left",
                || connected(How::Error, Some("EADDRNOTAVAIL")),
                &["port_exhaustion/no_port_left"],
            ),
            (
                "there is no route",
                || connected(How::Error, Some("ENETUNREACH")),
                &["connect_no_route/no_route"],
            ),
            ("refused", refused, &["connect_refused/refused"]),
        ],
    },
    Scenes {
        code: "connect_slow",
        fault: ("the second SYN is answered", slow, &["connect_slow/syn_retransmitted"]),
        twin: ("the first is answered", || ended(slow_connect(20_000, 0))),
        look_alikes: &[
            ("a long way", || ended(slow_connect(1_020_000, 0)), &[]),
            (
                "the listener is here and full",
                || {
                    let mut end = slow_connect(1_020_000, 1);
                    let network = Arc::make_mut(&mut end.connection).network.as_mut().unwrap();
                    network.peer = Endpoint { address: [10, 0, 0, 1].into(), port: 8080 };
                    network.netns = Some(NETNS);
                    Scene::of(waiting(5, 4, 90)).and(Vec::new(), Vec::new(), end)
                },
                &["accept_queue_full/full"],
            ),
            (
                "no SYN is answered",
                || connected(How::Timeout, Some("ETIMEDOUT")),
                &["connect_timeout/no_answer"],
            ),
        ],
    },
    Scenes {
        code: "connect_no_route",
        fault: (
            "there is no route",
            || connected(How::Error, Some("ENETUNREACH")),
            &["connect_no_route/no_route"],
        ),
        twin: ("it is accepted", || connected(How::Fin, None)),
        look_alikes: &[
            ("the other IP version succeeds", || beside_ipv6(How::Error, Some("ENETUNREACH")), &[]),
            (
                "a firewall answers that the port is closed",
                || connected(How::Error, Some("ECONNREFUSED")),
                &["connect_refused/refused"],
            ),
            (
                "the way to an established peer is lost",
                || {
                    let mut end = connect(1, [10, 0, 0, 5].into(), How::Error, Some("EHOSTUNREACH"));
                    end.states[0].state = State::Established;
                    ended(end)
                },
                &["connection_died/unreachable"],
            ),
        ],
    },
    Scenes {
        code: "connection_died",
        fault: (
            "an idle connection's probes are not answered",
            || {
                let mut end = connect(1, [10, 0, 0, 5].into(), How::Timeout, Some("ETIMEDOUT"));
                (end.states[0].state, end.close.unacknowledged) = (State::Established, Some(0));
                ended(end)
            },
            &["connection_died/keep_alive_unanswered"],
        ),
        twin: ("both ends close", || connected(How::Fin, None)),
        look_alikes: &[
            (
                "its request got no answer",
                || {
                    let mut end = summary(Role::Client, By::Local, How::Timeout);
                    end.close.reason = Some("ETIMEDOUT".to_owned());
                    let http = unanswered(Role::Client, 0, 0, Outcome::NoResponse);
                    Scene::lived(Vec::new(), vec![http], end)
                },
                &["no_response/connection_failed"],
            ),
            (
                "no SYN was answered",
                || connected(How::Timeout, Some("ETIMEDOUT")),
                &["connect_timeout/no_answer"],
            ),
            (
                "the peer's RST ended it",
                || {
                    let mut end = summary(Role::Client, By::Peer, How::Rst);
                    end.close.reason = Some("ECONNRESET".to_owned());
                    Scene::lived(Vec::new(), vec![exchange(Role::Client, 0, 0)], end)
                },
                &[],
            ),
        ],
    },
];
