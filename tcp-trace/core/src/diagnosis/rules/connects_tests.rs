//! Tests of connects that fail.

use std::sync::Arc;

use tcp_trace_model::{
    event::{Endpoints, Role},
    record::{Close, Connection, ConnectionId, ConnectionInfo, How, Network, Process, Record, StateSpan},
};

use super::*;
use crate::diagnosis::{History, testing::Host, testing_http::NOW};

/// A history of connects of process 5: where to, how they ended, and by what error.
fn history(connects: &[(&str, How, Option<&str>)]) -> History {
    let mut history = History::default();
    for (cookie, (peer, how, reason)) in (1..).zip(connects) {
        let peer: SocketAddr = peer.parse().unwrap();
        let local =
            SocketAddr::new(if peer.is_ipv4() { [10, 0, 0, 1].into() } else { [0; 16].into() }, 50_000);
        let state = if *how == How::Fin { State::Established } else { State::SynSent };
        history.record(&Record::Connection(Box::new(Connection {
            time: NOW,
            connection: Arc::new(ConnectionInfo {
                id: ConnectionId::of_socket(cookie, 0),
                role: Some(Role::Client),
                network: Some(Network::new(Endpoints { local, peer }, None)),
                process: Some(Arc::new(Process { pid: 5, name: "client".into(), ..Process::default() })),
                ..ConnectionInfo::default()
            }),
            duration_us: Some(1_000),
            states: vec![StateSpan { state, entered: NOW, duration_us: None, estimated: false }],
            close: Close { how: *how, reason: reason.map(str::to_owned), ..Close::default() },
            ..Connection::default()
        })));
    }
    history
}

#[test]
fn a_connect_that_its_client_gave_up_is_reported_where_its_syn_was_sent_again() {
    for (syn_retransmits, reached, is_reported) in [(2, false, true), (0, false, false), (2, true, false)] {
        let mut history = History::default();
        let mut end = crate::diagnosis::testing_http::summary(
            Role::Client,
            tcp_trace_model::record::By::Local,
            How::Abandoned,
        );
        end.states[0].state = State::SynSent;
        end.handshake.as_mut().unwrap().syn_retransmits = syn_retransmits;
        end.duration_us = Some(3_000_000);
        history.record(&Record::Connection(Box::new(end.clone())));
        if reached {
            end.states[0].state = State::Established;
            end.close.how = How::Fin;
            let info = Arc::make_mut(&mut end.connection);
            info.id = ConnectionId::of_socket(7, 0);
            info.network.as_mut().unwrap().peer.address = [10, 0, 0, 7].into();
            history.record(&Record::Connection(Box::new(end)));
        }
        let findings = Host::new().judge_with("connect_timeout", &history);
        assert_eq!(!findings.is_empty(), is_reported, "{findings:#?}");
        let words = "1 connect from client (pid 5) to 10.0.0.1:8080 got no answer to any SYN before the client gave up after 3.00 s.";
        assert!(findings.iter().all(|it| it.summary == words && it.cause.as_deref() == Some("given_up")));
    }
}

#[test]
fn each_way_to_fail_is_reported() {
    for (how, reason, code, cause) in [
        (How::Refused, "ECONNREFUSED", "connect_refused", "refused"),
        (How::Error, "ECONNREFUSED", "connect_refused", "refused"),
        (How::Timeout, "ETIMEDOUT", "connect_timeout", "no_answer"),
        (How::Error, "EHOSTUNREACH", "connect_no_route", "no_route"),
        (How::Error, "no SYN was sent", "connect_port_taken", "port_taken"),
    ] {
        let history = history(&[("10.0.0.5:80", how, Some(reason)), ("10.0.0.5:80", how, Some(reason))]);
        let each = [
            "connect_refused",
            "connect_timeout",
            "connect_no_route",
            "connect_port_taken",
            "port_exhaustion",
        ];
        for other in each {
            let findings = Host::new().judge_with(other, &history);
            assert_eq!(findings.len(), usize::from(other == code), "{code} {other}");
        }
        let findings = Host::new().judge_with(code, &history);
        assert_eq!(findings[0].cause.as_deref(), Some(cause));
        let start = "2 connects from client (pid 5) to 10.0.0.5:80 ";
        assert!(findings[0].summary.starts_with(start), "{}", findings[0].summary);
        assert_eq!(findings[0].severity, Severity::Warning);
        assert_eq!(findings[0].connections.len(), 2);
    }
}

#[test]
fn what_another_finding_explains_is_not_counted_again() {
    let refused = ("10.0.0.5:80", How::Refused, Some("ECONNREFUSED"));
    let history = history(&[refused; 3]);
    let snapshot = Host::new().snapshot;
    let facts = Facts::new(&snapshot, None, &history);
    let mut findings = Findings::default();
    findings.claim(&facts, ConnectionId::of_socket(1, 0));
    judge(&facts, &REFUSED, &mut findings);
    assert!(findings[0].summary.starts_with("2 connects from"), "{}", findings[0].summary);
    let examples: Vec<_> = findings[0].connections.iter().map(|example| example.connection).collect();
    assert_eq!(examples, [2, 3].map(|cookie| ConnectionId::of_socket(cookie, 0)));
}

#[test]
fn many_peers_are_counted_and_successes_reported() {
    let history = history(&[
        ("10.0.0.5:80", How::Refused, None),
        ("10.0.0.6:80", How::Refused, None),
        ("10.0.0.6:80", How::Fin, None),
    ]);
    let findings = Host::new().judge_with("connect_refused", &history);
    let expected = "2 connects from client (pid 5) to 2 addresses were refused (ECONNREFUSED); 1 succeeded.";
    assert_eq!(findings[0].summary, expected);
    assert_eq!(findings[0].severity, Severity::Notice);
}

#[test]
fn what_succeeds_or_falls_back_to_the_other_ip_version_is_no_fault() {
    let fine = history(&[("10.0.0.5:80", How::Fin, None), ("10.0.0.5:80", How::Rst, None)]);
    let eyeballs = history(&[("[::1]:80", How::Refused, None), ("127.0.0.1:80", How::Fin, None)]);
    for history in [fine, eyeballs] {
        for code in ["connect_refused", "connect_timeout", "connect_no_route"] {
            assert_eq!(Host::new().judge_with(code, &history), []);
        }
    }
}

#[test]
fn only_what_the_network_said_is_no_route() {
    // Destroyed by `ss -K`, and an error that is not known.
    for reason in [Some("ECONNABORTED"), None] {
        let history = history(&[("10.0.0.5:80", How::Error, reason)]);
        for code in ["connect_refused", "connect_timeout", "connect_no_route", "connect_port_taken"] {
            assert_eq!(Host::new().judge_with(code, &history), [], "{reason:?}");
        }
    }
}

#[test]
fn a_connect_that_waits_is_reported_by_its_syns() {
    let mut host = Host::new();
    let client = host.process(5, "client");
    let socket = host.socket(Some(client), State::SynSent, "10.0.0.1:50000", "10.0.0.5:80");
    socket.diag.timer = Timer::Retransmit;
    (socket.info().retransmits, socket.info().rto_us) = (1, 1_000_000);
    socket.info().last_ack_recv_ms = 4_000_000_000;
    assert_eq!(host.judge("connect_timeout"), [], "one SYN may get lost");
    host.snapshot.sockets[0].resending(2, 1_500);
    let findings = host.judge("connect_timeout");
    let expected = "1 connect from client (pid 5) to 10.0.0.5:80 gets no answer to any SYN for 2 s.";
    assert_eq!(findings[0].summary, expected);
    assert_eq!(findings[0].connections[0].age_us, Some(2_500_000));
}

#[test]
fn a_full_queue_on_this_host_is_reported_instead() {
    let mut host = Host::new();
    let (client, api) = (host.process(5, "client"), host.process(6, "api"));
    host.listener(Some(api), 5, 4);
    host.accepted(None, State::Established, 40_000).idle(10);
    let socket = host.socket(Some(client), State::SynSent, "10.0.0.9:50000", "10.0.0.1:8080");
    socket.diag.timer = Timer::Retransmit;
    (socket.info().retransmits, socket.info().rto_us) = (3, 1_000_000);
    assert_eq!(host.judge("connect_timeout"), []);
    assert_eq!(host.judge("accept_queue_full").len(), 1);
}
