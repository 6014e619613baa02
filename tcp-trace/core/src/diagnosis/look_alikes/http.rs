//! Scenes of exchanges that take long, of WebSockets, and of gateways.

use std::sync::Arc;

use tcp_trace_model::{
    event::{Role, State},
    record::{
        By, Connection, ConnectionId, Endpoint, Frames, How, Http, KernelSocket, Outcome, Process, Record,
        Stall, Stalls, StateSpan, WebSocket,
    },
    socket::TcpInfo,
};

use super::{Scene, Scenes, connects, once};
use crate::diagnosis::{
    testing::Host,
    testing_http::{answer, at, exchange, summary, unanswered},
};

/// Twenty exchanges at one end, each with this.
fn twenty(role: Role, set: fn(&mut Http)) -> Scene {
    let records = (0..20).map(|index| {
        let mut http = exchange(role, index, index * 3_000);
        set(&mut http);
        Record::Http(http)
    });
    Scene { records: records.collect(), ..Scene::of(Host::new()) }
}

pub(super) fn stall(retransmit_us: u64, zero_window_us: u64) -> Option<Stall> {
    let retransmits = u64::from(retransmit_us > 0);
    Some(Stall { retransmits, retransmit_us, zero_window_us, ..Stall::default() })
}

/// It took 2 s until the response began.
fn waits(http: &mut Http) {
    (http.exchange.timing.wait_us, http.exchange.timing.total_us) = (Some(1_990_000), 2_000_000);
}

/// It took 2 s until the response had come, with this meanwhile.
pub(super) fn receives(http: &mut Http, receive: Option<Stall>) {
    (http.exchange.timing.receive_us, http.exchange.timing.total_us) = (Some(1_990_000), 2_000_000);
    http.exchange.timing.stalls = receive.map(|it| Stalls { receive: Some(it), ..Stalls::default() });
}

fn slow_server() -> Scene {
    twenty(Role::Client, waits)
}

fn slow_network() -> Scene {
    twenty(Role::Client, |http| receives(http, stall(1_500_000, 0)))
}

fn slow_reader() -> Scene {
    twenty(Role::Client, |http| receives(http, stall(0, 1_800_000)))
}

fn quick() -> Scene {
    twenty(Role::Client, |_| {})
}

/// A server's end that is open and in this state, quiet for 90 s.
fn quiet(state: State) -> Connection {
    let mut end = summary(Role::Server, By::None, How::Open);
    end.states[0].state = state;
    let info = TcpInfo {
        last_data_sent_ms: 90_000,
        last_data_recv_ms: 90_000,
        last_ack_recv_ms: 90_000,
        ..TcpInfo::default()
    };
    end.socket = Some(Box::new(KernelSocket { tcp_info: Some(info), ..KernelSocket::default() }));
    end
}

/// A WebSocket whose sides have sent so many Close frames.
fn closed_websocket(client: u64, server: u64, state: State) -> Scene {
    let mut http = exchange(Role::Server, 0, 0);
    let frames = |close| Frames { close, ..Frames::default() };
    http.exchange.websocket = Some(Box::new(WebSocket { client: frames(client), server: frames(server) }));
    Scene::lived(Vec::new(), vec![http], quiet(state))
}

/// A gateway answered with this status at 1.1 s.
fn gateway(status: u16) -> Scene {
    Scene::lived(
        Vec::new(),
        vec![answer(Role::Server, status, 1_000, 100)],
        summary(Role::Server, By::Peer, How::Fin),
    )
}

/// A process's own connection to an upstream, between these milliseconds.
pub(super) fn upstream(pid: u32, times: (u64, u64), by: By, how: How) -> Connection {
    let mut end = summary(Role::Client, by, how);
    let info = Arc::make_mut(&mut end.connection);
    info.id = ConnectionId::of_socket(10, 0);
    info.network.as_mut().unwrap().peer = Endpoint { address: [10, 0, 0, 2].into(), port: 9000 };
    info.process = Some(Arc::new(Process { pid, name: "api".into(), ..Process::default() }));
    (end.opened, end.closed, end.seen_from_start) = (at(times.0), Some(at(times.1)), true);
    end
}

/// The same, that is refused.
fn refused(pid: u32, times: (u64, u64)) -> Connection {
    let mut end = upstream(pid, times, By::Peer, How::Refused);
    end.states =
        vec![StateSpan { state: State::SynSent, entered: end.opened, duration_us: None, estimated: false }];
    end
}

/// A gateway that answered with this status, and its connection to its upstream.
pub(super) fn through(status: u16, exchange: Option<Http>, end: Connection) -> Scene {
    let exchange = exchange.map(|http| Http { connection: end.connection.clone(), ..http });
    gateway(status).and(Vec::new(), exchange.into_iter().collect(), end)
}

pub(super) const SCENES: &[Scenes] = &[
    Scenes {
        code: "gateway_errors",
        fault: (
            "its upstream refuses",
            || through(502, None, refused(6, (1_010, 1_090))),
            &["gateway_errors/upstream_refused"],
        ),
        twin: ("its upstream answers", || {
            through(
                200,
                Some(answer(Role::Client, 200, 1_010, 80)),
                upstream(6, (1_010, 1_200), By::Local, How::Fin),
            )
        }),
        look_alikes: &[
            (
                "an application that answers 500",
                || {
                    through(
                        500,
                        Some(answer(Role::Client, 200, 1_010, 80)),
                        upstream(6, (1_010, 1_200), By::Local, How::Fin),
                    )
                },
                &[],
            ),
            (
                "another process's connect is refused meanwhile",
                || through(200, None, refused(7, (1_010, 1_090))),
                &["connect_refused/refused"],
            ),
            (
                "its upstream closes without an answer",
                || {
                    let mut http = unanswered(Role::Client, 0, 1_010, Outcome::NoResponse);
                    (http.time, http.exchange.timing.total_us) = (at(1_090), 80_000);
                    through(502, Some(http), upstream(6, (1_010, 1_090), By::Peer, How::Fin))
                },
                &["gateway_errors/upstream_closed"],
            ),
            ("all its answers are slow", slow_server, &["slow_server/first_byte"]),
        ],
    },
    Scenes {
        code: "slow_server",
        fault: ("2 s until the response begins", slow_server, &["slow_server/first_byte"]),
        twin: ("10 ms", quick),
        look_alikes: &[
            ("segments are lost", slow_network, &["slow_network/retransmits"]),
            ("the client does not read", slow_reader, &["slow_reader/client_does_not_read"]),
            (
                "the client waits for 100 Continue",
                || {
                    twenty(Role::Client, |http| {
                        http.exchange.timing.expect_us = Some(1_100_000);
                        (http.exchange.timing.send_us, http.exchange.timing.total_us) =
                            (Some(1_100_000), 1_110_000);
                    })
                },
                &["slow_server/continue_not_sent"],
            ),
            ("a long download", || twenty(Role::Client, |http| receives(http, None)), &[]),
        ],
    },
    Scenes {
        code: "slow_network",
        fault: ("segments are lost", slow_network, &["slow_network/retransmits"]),
        twin: ("none is lost", quick),
        look_alikes: &[
            ("the client does not read", slow_reader, &["slow_reader/client_does_not_read"]),
            ("the server takes its time", slow_server, &["slow_server/first_byte"]),
            ("the SYN was lost, long before", connects::slow, &["connect_slow/syn_retransmitted"]),
            (
                "the server's SYN+ACK was sent again too: its accept queue is full",
                || once::half_open(Host::new(), true),
                &["connect_slow/syn_ack_retransmitted"],
            ),
        ],
    },
    Scenes {
        code: "slow_reader",
        fault: ("the client does not read", slow_reader, &["slow_reader/client_does_not_read"]),
        twin: ("it reads", quick),
        look_alikes: &[
            ("segments are lost", slow_network, &["slow_network/retransmits"]),
            ("the server takes its time", slow_server, &["slow_server/first_byte"]),
        ],
    },
    Scenes {
        code: "delayed_ack_stall",
        fault: (
            "twenty small requests take 43 ms to be sent",
            || twenty(Role::Client, |http| http.exchange.timing.send_us = Some(43_000)),
            &["delayed_ack_stall/request"],
        ),
        twin: ("they are sent at once", quick),
        look_alikes: &[
            (
                "the server takes 43 ms",
                || twenty(Role::Client, |http| http.exchange.timing.wait_us = Some(43_000)),
                &[],
            ),
            (
                "losses take 43 ms",
                || {
                    twenty(Role::Client, |http| {
                        http.exchange.timing.send_us = Some(43_000);
                        http.exchange.timing.stalls =
                            Some(Stalls { send: stall(40_000, 0), ..Stalls::default() });
                    })
                },
                &[],
            ),
            ("the server takes 2 s", slow_server, &["slow_server/first_byte"]),
        ],
    },
    Scenes {
        code: "websocket_not_closed",
        fault: (
            "both sent a Close frame, and nobody a FIN",
            || closed_websocket(1, 1, State::Established),
            &["websocket_not_closed/not_ended"],
        ),
        twin: ("nobody sent a Close frame", || closed_websocket(0, 0, State::Established)),
        look_alikes: &[
            ("the server sent its FIN", || closed_websocket(1, 1, State::TimeWait), &[]),
            (
                "the other side does not answer the Close frame",
                || closed_websocket(1, 0, State::Established),
                &["websocket_not_closed/close_unanswered"],
            ),
        ],
    },
];
