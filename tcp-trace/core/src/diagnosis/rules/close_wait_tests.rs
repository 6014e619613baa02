//! Tests of CLOSE_WAIT: the causes, whose they are, and what is no fault.

use std::sync::Arc;

use tcp_trace_model::{
    record::{ConnectionInfo, Fact, Record, Transition},
    time::Time,
};

use super::*;
use crate::diagnosis::{History, testing::Host, testing_http::NOW};

/// A server with a listener, and connections that the peer closed this many seconds ago, with this in their queue.
fn server(connections: &[(u32, u32)]) -> Host {
    let mut host = Host::new();
    let api = host.process(812, "api");
    host.listener(Some(api), 0, 128);
    for (port, (seconds, queue)) in (40_000..).zip(connections) {
        host.accepted(Some(api), State::CloseWait, port).idle(*seconds).diag.rqueue = *queue;
    }
    host
}

#[test]
fn the_receive_queue_shows_the_cause() {
    for (queue, cause, in_summary) in [
        (0, "not_closed", "everything was read"),
        (1, "end_not_read", "but not EOF"),
        (501, "data_not_read", "was not all read (500 B unread)"),
    ] {
        let findings = server(&[(120, queue)]).judge("close_wait");
        let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
        assert_eq!(finding.cause.as_deref(), Some(cause));
        assert!(finding.summary.contains(in_summary), "{}", finding.summary);
        let start = "1 socket of api (pid 812), accepted at port 8080, in CLOSE_WAIT for 2 min: ";
        assert!(finding.summary.starts_with(start), "{}", finding.summary);
        assert_eq!(finding.connections[0].age_us, Some(120_000_000));
        assert_eq!(finding.connections[0].fd, Some(11));
        assert_eq!(finding.severity, Severity::Warning);
    }
}

#[test]
fn sockets_of_one_process_service_and_cause_are_one_finding() {
    let mut host = server(&[(90, 0), (3_600, 0), (120, 1)]);
    let other = host.process(900, "cron");
    host.socket(Some(other), State::CloseWait, "10.0.0.1:50000", "10.0.0.5:443").idle(120);
    let findings = host.judge("close_wait");
    assert_eq!(findings.len(), 3, "{findings:#?}");
    let leak = &findings[0];
    assert_eq!(leak.evidence.get("sockets"), Some(&Fact::Number(2)));
    assert_eq!(leak.evidence.get("oldest_us"), Some(&Fact::Number(3_600_000_000)));
    assert_eq!(leak.connections[0].age_us, Some(3_600_000_000), "the oldest first");
    assert!(findings[2].summary.contains("cron (pid 900), connected to 10.0.0.5:443"));
}

#[test]
fn what_is_young_or_still_sends_is_no_fault() {
    assert_eq!(server(&[(59, 0)]).judge("close_wait"), []);
    let mut host = server(&[(600, 0), (600, 0)]);
    host.snapshot.sockets[1].info().last_data_sent_ms = 5_000;
    host.snapshot.sockets[2].diag.wqueue = 100;
    assert_eq!(host.judge("close_wait"), [], "an answer after the peer's FIN may take its time");
    let mut host = server(&[(600, 0)]);
    host.snapshot.sockets[1].diag.state = State::Established;
    assert_eq!(host.judge("close_wait"), []);
}

#[test]
fn many_or_half_of_the_descriptors_are_critical() {
    let mut host = server(&[(90, 0); 10]);
    host.snapshot.processes[0].files_limit = Some(20);
    let findings = host.judge("close_wait");
    assert_eq!(findings[0].severity, Severity::Critical);
    assert_eq!((findings[0].connections.len(), findings[0].connections_omitted), (8, 2));
}

#[test]
fn many_leaks_are_critical_and_many_that_wait_are_not() {
    for (unread, expected) in [(0, Severity::Critical), (1, Severity::Warning), (500, Severity::Warning)] {
        let mut host = server(&[(90, unread); Thresholds::DEFAULT.many as usize]);
        host.snapshot.processes[0].files_limit = None;
        assert_eq!(host.judge("close_wait")[0].severity, expected, "{unread}");
    }
}

#[test]
fn lines_are_promised_only_where_there_are_some() {
    for (executable, expected) in [
        ("/srv/api", "shows which lines open"),
        ("/usr/bin/python3.11", "py-spy dump --pid 812"),
        ("/usr/bin/node", "--perf-basic-prof"),
        ("/usr/lib/jvm/java-17/bin/java", "jstack 812"),
        ("/usr/bin/ruby3.1", "rbspy dump --pid 812"),
        ("/usr/bin/perl", "cannot show lines"),
    ] {
        let mut host = server(&[(90, 0)]);
        host.snapshot.processes[0].named.executable = Some(executable.into());
        let finding = host.judge("close_wait").remove(0);
        assert!(finding.advice.contains(expected), "{executable}: {}", finding.advice);
    }
}

#[test]
fn processes_that_share_the_socket_are_named() {
    let mut host = server(&[]);
    let (parent, child) = (0, host.process(813, "worker"));
    let socket = host.accepted(Some(parent), State::CloseWait, 40_000).idle(100);
    socket.holders.end += 1;
    let holder = crate::diagnosis::snapshot::Holder { process: child, fd: Some(3) };
    host.snapshot.holders.push(holder);
    let shared: Vec<_> = host.judge("close_wait")[0].shared_with.iter().map(|process| process.pid).collect();
    assert_eq!(shared, [813]);
}

#[test]
fn a_process_that_cannot_be_seen_is_said() {
    let mut host = server(&[(90, 0)]);
    host.snapshot.holders.clear();
    let finding = &host.judge("close_wait")[0];
    assert_eq!(finding.process, None);
    assert!(finding.summary.contains("of an unknown process"), "{}", finding.summary);
}

#[test]
fn when_it_was_traced_the_time_of_the_fin_counts() {
    let host = server(&[(61, 0)]);
    let mut history = History::default();
    let socket = &host.snapshot.sockets[1];
    history.record(&Record::Transition(Transition {
        time: Time(NOW.0 - 70_000_000_000),
        connection: Arc::new(ConnectionInfo {
            network: Some(tcp_trace_model::record::Network::new(socket.diag.endpoints, None)),
            ..ConnectionInfo::new(socket.connection())
        }),
        old: State::Established,
        new: State::CloseWait,
        in_old_us: None,
        estimated: false,
        gap: false,
        reason: None,
    }));
    let findings = host.judge_with("close_wait", &history);
    assert_eq!(findings[0].connections[0].age_us, Some(70_000_000));
}

#[test]
fn an_answer_to_keep_alive_does_not_make_it_younger() {
    let mut before = server(&[(50, 0)]);
    before.snapshot.time = Time(NOW.0 - 30_000_000_000);
    let now = server(&[(5, 0)]);
    let mut now = now.snapshot;
    now.sockets[1].info().last_data_sent_ms = 80_000;
    let history = History::default();
    let facts = Facts::new(&now, Some(&before.snapshot), &history);
    assert_eq!(age_us(&facts, &now.sockets[1]), Some(80_000_000));
    assert_eq!(age_us(&Facts::new(&now, None, &history), &now.sockets[1]), Some(5_000_000));
}
