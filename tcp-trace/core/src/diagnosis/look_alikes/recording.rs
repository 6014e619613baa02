//! The same scene is the same finding from a snapshot and from a recording, which has what the kernel said of each open socket as it
//! ended.

use std::sync::Arc;

use tcp_trace_model::{
    event::{Role, State},
    record::{
        By, Close, Connection, ConnectionInfo, Finding, Handshake, How, KernelSocket, Network, Record,
        StateSpan,
    },
    socket::Timer,
    time::Time,
};

use super::{Known, Scene, all, code, name};
use crate::diagnosis::{Facts, History, Thresholds, judge, recorded, snapshot::Socket, testing_http::NOW};

/// What a recording does not have, and the rules that need it.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("port_exhaustion", "the range of ephemeral ports is a setting of the network namespace"),
    ("time_wait_pileup/at_the_limit", "the limit is a setting of the network namespace"),
    ("descriptor_kept", "what the threads of a process wait for"),
];

/// The recording of a scene.
fn recorded(scene: &Scene) -> Vec<Record> {
    let history = scene.history();
    let facts = Facts::new(&scene.now.snapshot, None, &history);
    let open = scene.now.snapshot.sockets.iter().map(|socket| summary(&facts, socket));
    let open = open.map(|summary| Record::Connection(Box::new(summary)));
    scene.records.iter().cloned().chain(open).collect()
}

fn summary(facts: &Facts<'_>, socket: &Socket) -> Connection {
    let diag = &socket.diag;
    let role = if diag.state == State::Listen { Some(Role::Listener) } else { facts.role(socket) };
    let owner = facts.now.owner(socket);
    let holders: Vec<_> = facts.now.owners(socket).map(|(process, _)| process.named.clone()).collect();
    // It answered last when it entered its state.
    let quiet_ms = diag.info.map_or(0, |info| u64::from(info.last_ack_recv_ms));
    let entered = Time(NOW.0 - quiet_ms * 1_000_000);
    let traced = facts.history.life_of(socket.connection()).and_then(|life| life.summary.as_deref());
    // A half-open connection is no socket yet, and one in TIME_WAIT none any more.
    let (is_half_open, is_over) = (diag.state == State::SynRecv, diag.state == State::TimeWait);
    Connection {
        time: NOW,
        handshake: is_half_open
            .then(|| Handshake { syn_ack_retransmits: diag.retransmits.into(), ..Handshake::default() }),
        closed: is_over.then_some(entered),
        ends: is_over.then(|| NOW.after_micros(1_000)),
        connection: Arc::new(ConnectionInfo {
            id: socket.connection(),
            role,
            network: Some(Network::new(diag.endpoints, Some(socket.netns))),
            process: holders.first().cloned().map(Arc::new),
            ..ConnectionInfo::default()
        }),
        opened: traced.map_or(entered, |traced| traced.opened),
        seen_from_start: traced.is_some_and(|traced| traced.seen_from_start),
        states: vec![StateSpan { state: diag.state, entered, duration_us: None, estimated: false }],
        close: Close { by: By::None, how: if is_over { How::Fin } else { How::Open }, ..Close::default() },
        open: !is_over,
        socket: Some(Box::new(KernelSocket {
            receive_queue: diag.rqueue,
            send_queue: diag.wqueue,
            no_file: socket.has_no_file(),
            also_open_in: holders.iter().skip(1).map(|process| process.pid).collect(),
            process_state: None,
            open_files: owner.map(|process| process.files),
            open_files_limit: owner.and_then(|process| process.files_limit),
            timer: Some(diag.timer).filter(|timer| *timer != Timer::None),
            timer_retransmits: diag.retransmits,
            timer_expires_ms: diag.expires_ms,
            shutdown: diag.shutdown,
            tcp_info: diag.info,
        }))
        .filter(|_| !is_half_open && !is_over),
        ..Connection::default()
    }
}

#[test]
fn what_a_snapshot_shows_a_recording_shows_too() {
    let mut differences = Vec::new();
    for rule in all() {
        let twin: Known = (rule.twin.0, rule.twin.1, &[]);
        for (words, scene, expected) in rule.look_alikes.iter().chain([&rule.fault, &twin]) {
            let scene = scene();
            let is_exception = |name: &&str| EXCEPTIONS.iter().any(|(of, _)| [code(name), name].contains(of));
            if scene.before.is_some() || expected.iter().any(is_exception) {
                continue;
            }
            let mut history = History::default();
            recorded(&scene).iter().for_each(|record| history.record(record));
            let end = recorded::snapshot(&history);
            let findings = judge(&Facts::new(&end, None, &history), &Thresholds::DEFAULT).findings;
            let severe = |findings: &[Finding]| {
                let mut all: Vec<_> = findings.iter().map(|it| (name(it), it.severity)).collect();
                all.sort();
                all
            };
            let (now, recorded) = (severe(&scene.found()), severe(&findings));
            if now != recorded {
                differences.push(format!("{words}: {recorded:?} in place of {now:?}"));
            }
        }
    }
    assert_eq!(differences, [""; 0]);
}

#[test]
fn the_documentation_names_what_a_recording_does_not_have() {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/diagnose.md"));
    for (rule, words) in EXCEPTIONS {
        let is_row =
            |row: &str| row.starts_with(&format!("| `{rule}`")) && row.ends_with(&format!("| {words} |"));
        assert!(text.lines().any(is_row), "{rule}");
    }
}
