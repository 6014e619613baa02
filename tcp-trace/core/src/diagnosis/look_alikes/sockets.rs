//! Scenes of sockets: CLOSE_WAIT, windows, silence, and the states of a close.

use std::sync::Arc;

use tcp_trace_model::{
    event::{Role, State},
    record::{By, How, Http, Network, Outcome},
    socket::Timer,
};

use super::{Scene, Scenes, client, last, server};
use crate::diagnosis::{
    testing::Host,
    testing_http::{self, at, exchange, summary},
};

/// A connection of a server in this state, quiet for so many seconds, with this unread.
pub(super) fn accepted(state: State, seconds: u32, unread: u32) -> Host {
    let (mut host, api) = server();
    host.accepted(Some(api), state, 40_000).idle(seconds).diag.rqueue = unread;
    last(&mut host).info().rcv_wnd = Some(60_000);
    host
}

fn set(mut host: Host, change: impl FnOnce(&mut crate::diagnosis::snapshot::Socket)) -> Host {
    change(last(&mut host));
    host
}

/// A client that has this to send and whose peer, which answers, says that it has no room.
fn blocked(state: State) -> Scene {
    let (host, _) = client(state, 90);
    Scene::of(set(host, |socket| (socket.diag.wqueue, socket.diag.timer) = (9_000, Timer::Probe)))
}

/// A client whose segments are sent again and never acknowledged.
fn unanswered(state: State) -> Scene {
    let (host, _) = client(state, 90);
    Scene::of(set(host, |socket| socket.resending(7, 90_000).diag.wqueue = 101))
}

/// The same, of a socket that its process has closed.
fn orphan(scene: Scene) -> Scene {
    let mut scene = scene;
    let socket = last(&mut scene.now);
    (socket.diag.inode, socket.holders) = (0, 0..0);
    scene
}

/// A writer that waits, and at the other end on this host a process that does not read.
fn reader_here(state: State) -> Scene {
    let mut host = Host::new();
    let [writer, slow] = [(8, "writer"), (9, "slow")].map(|(pid, name)| host.process(pid, name));
    let socket = host.socket(Some(writer), state, "10.0.0.9:40000", "10.0.0.1:8080").idle(90);
    (socket.diag.wqueue, socket.diag.timer) = (9_000, Timer::Probe);
    let socket = host.accepted(Some(slow), State::Established, 40_000).idle(90);
    (socket.diag.rqueue, socket.info().rcv_wnd) = (5_000, Some(0));
    Scene::of(host)
}

/// A process with 100 descriptors and so many connections, quiet for so many seconds.
pub(super) fn pool(count: u16, seconds: u32, state: State) -> Host {
    let mut host = Host::new();
    let client = host.process(5, "client");
    host.snapshot.processes[0].files_limit = Some(100);
    for port in 0..count {
        let local = format!("10.0.0.1:{}", 40_000 + port);
        host.socket(Some(client), state, &local, "10.0.0.5:80").idle(seconds);
    }
    host
}

/// A process with five idle connections, which opened twelve more during the trace, so many milliseconds one after the other, each with
/// this exchange.
fn grown(apart_ms: u64, http: &Http) -> Scene {
    let mut scene = Scene::of(pool(17, 120, State::Established));
    for (number, index) in (0..).zip(5..17) {
        let opened_ms = 5_000 + number * apart_ms;
        let socket = &mut scene.now.snapshot.sockets[index];
        socket.idle(u32::try_from((100_000 - opened_ms) / 1_000).unwrap());
        let mut end = summary(Role::Client, By::Local, How::Open);
        (end.opened, end.seen_from_start) = (at(opened_ms), true);
        let info = Arc::make_mut(&mut end.connection);
        let netns = Some(socket.netns);
        (info.id, info.network) = (socket.connection(), Some(Network::new(socket.diag.endpoints, netns)));
        let http = Http { connection: end.connection.clone(), ..http.clone() };
        scene = scene.and(Vec::new(), vec![http], end);
    }
    scene
}

/// A server, and a sleeping program that has one of its connections open, which has carried an answer.
fn copy(state: State) -> Host {
    let (mut host, _) = server();
    let sleep = host.process(7, "sleep");
    host.snapshot.processes[0].named.executable = Some("api".into());
    host.snapshot.processes[1].named.executable = Some("sleep".into());
    (host.snapshot.processes[1].sleeps, host.snapshot.processes[1].age_ms) = (true, Some(89_990));
    let info = host.accepted(Some(sleep), state, 40_000).idle(90).info();
    (info.bytes_received, info.bytes_sent, info.bytes_acked, info.rcv_wnd) = (40, 60, 60, Some(60_000));
    host
}

/// A server's connections in this state, with so many peers.
fn crowd(state: State, count: u16) -> Host {
    let (mut host, _) = server();
    for port in 1..=count {
        host.accepted(None, state, port).idle(5);
    }
    host
}

/// A connection that waits in its listener's queue for 90 s, with so many bytes unread.
fn not_accepted(state: State, unread: u32) -> Host {
    let mut host = Host::new();
    let api = host.process(6, "api");
    host.listener(Some(api), 1, 128);
    host.accepted(None, state, 40_000).idle(90).diag.rqueue = unread;
    host
}

pub(super) const SCENES: &[Scenes] = &[
    Scenes {
        code: "close_wait",
        fault: (
            "the peer closed, everything was read, close() was not called",
            || Scene::of(accepted(State::CloseWait, 90, 0)),
            &["close_wait/not_closed"],
        ),
        twin: ("the peer closed a moment ago", || Scene::of(accepted(State::CloseWait, 1, 0))),
        look_alikes: &[
            (
                "nobody has accepted the connection",
                || Scene::of(not_accepted(State::CloseWait, 1)),
                &["accept_stalled/not_accepting"],
            ),
            (
                "the answer is sent again and not acknowledged",
                || unanswered(State::CloseWait),
                &["half_open_peer/data_unanswered"],
            ),
            (
                "the answer waits for the peer's window",
                || blocked(State::CloseWait),
                &["zero_window/peer_not_reading"],
            ),
            (
                "the answer is under way",
                || Scene::of(set(accepted(State::CloseWait, 90, 0), |it| it.info().last_data_sent_ms = 5)),
                &[],
            ),
            (
                "the client half-closed behind its request, and waits for the answer",
                || {
                    let mut host = accepted(State::CloseWait, 90, 0);
                    let client = host.process(5, "client");
                    host.socket(Some(client), State::FinWait2, "10.0.0.9:40000", "10.0.0.1:8080").idle(90);
                    Scene::of(host)
                },
                &["close_wait/answer_due"],
            ),
        ],
    },
    Scenes {
        code: "half_open_peer",
        fault: (
            "data is sent again and never acknowledged",
            || unanswered(State::Established),
            &["half_open_peer/data_unanswered"],
        ),
        twin: ("an idle connection", || Scene::of(client(State::Established, 90).0)),
        look_alikes: &[
            (
                "the peer answers that it has no room",
                || blocked(State::Established),
                &["zero_window/peer_not_reading"],
            ),
            (
                "the FIN is what is not acknowledged",
                || orphan(unanswered(State::FinWait1)),
                &["fin_wait1_unsent/no_answer"],
            ),
            ("a SYN is what is not answered", || unanswered(State::SynSent), &["connect_timeout/waiting"]),
            (
                "a loss now and then, and an answer a moment ago",
                || {
                    let mut scene = unanswered(State::Established);
                    last(&mut scene.now).info().last_ack_recv_ms = 200;
                    scene
                },
                &[],
            ),
        ],
    },
    Scenes {
        code: "zero_window",
        fault: (
            "a process does not read, and its window is closed",
            || Scene::of(set(accepted(State::Established, 90, 5_000), |it| it.info().rcv_wnd = Some(0))),
            &["zero_window/process_not_reading"],
        ),
        twin: ("much came and was read", || Scene::of(accepted(State::Established, 90, 0))),
        look_alikes: &[
            (
                "as much is unread, and the peer may send more",
                || Scene::of(accepted(State::Established, 90, 5_000)),
                &["data_not_read/requests"],
            ),
            (
                "probes of the closed window get no answer",
                || {
                    let mut scene = blocked(State::Established);
                    last(&mut scene.now).info().probes = 4;
                    scene
                },
                &["half_open_peer/window_probes_unanswered"],
            ),
            (
                "the process has closed meanwhile",
                || orphan(blocked(State::FinWait1)),
                &["fin_wait1_unsent/window_closed"],
            ),
            (
                "the window is closed, and nothing waits to be sent",
                || Scene::of(set(client(State::Established, 90).0, |it| it.info().snd_wnd = Some(0))),
                &[],
            ),
        ],
    },
    Scenes {
        code: "data_not_read",
        fault: (
            "requests that no thread reads",
            || Scene::of(accepted(State::Established, 90, 123)),
            &["data_not_read/requests"],
        ),
        twin: ("a request that came a moment ago", || Scene::of(accepted(State::Established, 1, 123))),
        look_alikes: &[
            (
                "nobody has accepted the connection",
                || Scene::of(not_accepted(State::Established, 123)),
                &["accept_stalled/not_accepting"],
            ),
            (
                "the window is closed too",
                || Scene::of(set(accepted(State::Established, 90, 123), |it| it.info().rcv_wnd = Some(0))),
                &["zero_window/process_not_reading"],
            ),
            (
                "the peer has closed behind it",
                || Scene::of(accepted(State::CloseWait, 90, 124)),
                &["close_wait/data_not_read"],
            ),
            (
                "the process reads slowly",
                || {
                    let now = accepted(State::Established, 90, 100);
                    Scene::of(now).since(accepted(State::Established, 80, 200))
                },
                &[],
            ),
        ],
    },
    Scenes {
        code: "descriptor_kept",
        fault: (
            "another program has a copy of an accepted socket, and sleeps",
            || Scene::of(copy(State::Established)),
            &["descriptor_kept/other_program"],
        ),
        twin: ("the program that listens pauses", || {
            let mut host = copy(State::Established);
            host.snapshot.processes[1].named.executable = Some("api".into());
            Scene::of(host)
        }),
        look_alikes: &[
            (
                "the peer has closed, so that it is known who does not",
                || Scene::of(set(copy(State::CloseWait), |it| it.diag.rqueue = 1)),
                &["close_wait/end_not_read"],
            ),
            (
                "a server for one connection answers, closes its listener and sleeps",
                || {
                    let mut host = copy(State::Established);
                    host.snapshot.sockets.remove(0);
                    host.snapshot.processes[1].age_ms = Some(95_000);
                    Scene::of(host)
                },
                &[],
            ),
            (
                "a request came that it does not read",
                || Scene::of(set(copy(State::Established), |it| it.diag.rqueue = 123)),
                &["data_not_read/requests"],
            ),
            (
                "the peer does not answer any more",
                || {
                    let host = copy(State::Established);
                    Scene::of(set(host, |it| it.resending(7, 90_000).diag.wqueue = 101))
                },
                &["half_open_peer/data_unanswered"],
            ),
            (
                "a helper that the connection was handed to waits for it",
                || {
                    let mut host = copy(State::Established);
                    host.snapshot.processes[1].sleeps = false;
                    Scene::of(host)
                },
                &[],
            ),
        ],
    },
    Scenes {
        code: "idle_connections",
        fault: (
            "a pool takes most of the descriptors",
            || Scene::of(pool(60, 90, State::Established)),
            &["idle_connections/descriptors"],
        ),
        twin: ("as many in use", || Scene::of(pool(60, 1, State::Established))),
        look_alikes: &[
            (
                "the server has closed them",
                || Scene::of(pool(60, 90, State::CloseWait)),
                &["close_wait/not_closed"],
            ),
            (
                "data came on them that nobody reads",
                || {
                    let mut host = pool(60, 90, State::Established);
                    host.snapshot.sockets.iter_mut().for_each(|it| it.diag.rqueue = 9);
                    Scene::of(host)
                },
                &["data_not_read/responses"],
            ),
            ("a pool with a limit", || Scene::of(pool(10, 90, State::Established)), &[]),
            (
                "few, but more and more beside idle ones",
                || grown(1_100, &exchange(Role::Client, 0, 1)),
                &["idle_connections/growing"],
            ),
            ("a pool that is filled at once", || grown(10, &exchange(Role::Client, 0, 1)), &[]),
            (
                "each waits for what a server has to say",
                || grown(1_100, &testing_http::unanswered(Role::Client, 0, 95_000, Outcome::NoResponse)),
                &[],
            ),
        ],
    },
    Scenes {
        code: "fin_wait2_stuck",
        fault: (
            "shutdown() here, and the peer does not close",
            || Scene::of(client(State::FinWait2, 90).0),
            &["fin_wait2_stuck/half_closed"],
        ),
        twin: ("the same a moment ago", || Scene::of(client(State::FinWait2, 1).0)),
        look_alikes: &[
            (
                "the other end is here and leaks",
                || {
                    let mut host = accepted(State::CloseWait, 90, 1);
                    let client = host.process(5, "client");
                    host.socket(Some(client), State::FinWait2, "10.0.0.9:40000", "10.0.0.1:8080").idle(90);
                    Scene::of(host)
                },
                &["close_wait/answer_due"],
            ),
            (
                "this end does not read what the peer sends first",
                || {
                    let (host, _) = client(State::FinWait2, 90);
                    Scene::of(set(host, |it| (it.diag.rqueue, it.info().rcv_wnd) = (9_000, Some(0))))
                },
                &["zero_window/process_not_reading"],
            ),
            (
                "the peer still sends",
                || Scene::of(set(client(State::FinWait2, 90).0, |it| it.info().last_data_recv_ms = 50)),
                &[],
            ),
        ],
    },
    Scenes {
        code: "fin_wait1_unsent",
        fault: (
            "closed with data that the peer does not take",
            || orphan(blocked(State::FinWait1)),
            &["fin_wait1_unsent/window_closed"],
        ),
        twin: ("closed a moment ago", || orphan(Scene::of(client(State::FinWait1, 1).0))),
        look_alikes: &[
            (
                "a process on this host does not read",
                || reader_here(State::FinWait1),
                &["zero_window/process_not_reading"],
            ),
            (
                "the FIN is not acknowledged",
                || orphan(unanswered(State::FinWait1)),
                &["fin_wait1_unsent/no_answer"],
            ),
            ("not closed yet", || blocked(State::Established), &["zero_window/peer_not_reading"]),
        ],
    },
    Scenes {
        code: "closing_stuck",
        fault: (
            "both closed, and the FIN is not acknowledged",
            || orphan(unanswered(State::Closing)),
            &["closing_stuck/no_answer"],
        ),
        twin: ("both closed a moment ago", || orphan(Scene::of(client(State::Closing, 1).0))),
        look_alikes: &[
            ("only this end closed", || orphan(unanswered(State::FinWait1)), &["fin_wait1_unsent/no_answer"]),
            ("the peer closed first", || orphan(unanswered(State::LastAck)), &["last_ack_stuck/no_answer"]),
        ],
    },
    Scenes {
        code: "last_ack_stuck",
        fault: (
            "the last FIN is not acknowledged",
            || orphan(unanswered(State::LastAck)),
            &["last_ack_stuck/no_answer"],
        ),
        twin: ("closed a moment ago", || orphan(Scene::of(client(State::LastAck, 1).0))),
        look_alikes: &[
            (
                "not closed, and data is not acknowledged",
                || unanswered(State::CloseWait),
                &["half_open_peer/data_unanswered"],
            ),
            ("not closed", || Scene::of(client(State::CloseWait, 90).0), &["close_wait/not_closed"]),
            (
                "a process on this host does not read",
                || reader_here(State::LastAck),
                &["zero_window/process_not_reading"],
            ),
        ],
    },
    Scenes {
        code: "time_wait_pileup",
        fault: (
            "a server closes 20,000 connections first",
            || Scene::of(crowd(State::TimeWait, 20_000)),
            &["time_wait_pileup/many"],
        ),
        twin: ("some", || Scene::of(crowd(State::TimeWait, 500))),
        look_alikes: &[
            (
                "the kernel may keep no more",
                || {
                    let mut host = crowd(State::TimeWait, 500);
                    host.snapshot.networks[0].max_time_wait = Some(500);
                    Scene::of(host)
                },
                &["time_wait_pileup/at_the_limit"],
            ),
            (
                "they are closed here, and not by their peers",
                || Scene::of(crowd(State::FinWait2, 20_000)),
                &["fin_wait2_stuck/orphans"],
            ),
            (
                "few, and towards one destination no port is left",
                || super::connects::ports(98),
                &["port_exhaustion/nearly_used_up"],
            ),
        ],
    },
];
