//! Tests of responses that are cut off.

use std::sync::Arc;

use tcp_trace_model::{
    event::Role,
    record::{By, ConnectionId, ConnectionInfo, Fact, How, Outcome, Stall, Stalls, ZeroWindow},
};

use crate::diagnosis::{
    History,
    testing::Host,
    testing_http::{cut, exchange, id, info, life, lived, summary},
};

#[test]
fn who_cut_it_off_and_what_is_missing_is_reported() {
    for (how, outcome, cause, words) in [
        (How::Fin, Outcome::Truncated, "closed", "was cut off: the server closed before the end."),
        (How::Rst, Outcome::Reset, "reset", "was cut off by an RST."),
        (How::Timeout, Outcome::Truncated, "connection_failed", "was cut off because the connection failed."),
    ] {
        let history =
            lived(Vec::new(), vec![cut(Role::Client, outcome)], summary(Role::Client, By::Peer, how));
        let findings = Host::new().judge_with("response_cut", &history);
        assert_eq!(findings[0].cause.as_deref(), Some(cause));
        let start = "1 response to requests from client (pid 5) to 10.0.0.1:8080 ";
        assert_eq!(findings[0].summary, format!("{start}{words}"));
        assert_eq!(findings[0].evidence.get("missing_bytes"), Some(&Fact::Number(60)));
        let note = "POST /pay: 200, ended after 40 B of the body, 60 B missing";
        assert_eq!(findings[0].connections[0].notes, [note]);
    }
}

#[test]
fn a_client_that_had_not_read_is_named() {
    let stalled = |zero_window_us| {
        let mut http = cut(Role::Client, Outcome::Truncated);
        http.exchange.timing.total_us = 60_000_000;
        let receive = Some(Stall { zero_window_us, ..Stall::default() });
        http.exchange.timing.stalls = Some(Stalls { receive, ..Stalls::default() });
        http
    };
    for (how, process_ended, us, cause, words) in [
        (
            How::Fin,
            false,
            59_000_000,
            "client_not_reading",
            "closed before the end, and the client had not read",
        ),
        (
            How::Rst,
            false,
            59_000_000,
            "client_not_reading",
            "by an RST, and the client had not read for long",
        ),
        (
            How::Timeout,
            false,
            59_000_000,
            "client_not_reading",
            "failed, and the client had not read for long",
        ),
        (How::Fin, false, 2_000_000, "closed", "the server closed before the end."),
        (How::Fin, true, 59_000_000, "server_process_ended", "the server's process ended meanwhile."),
    ] {
        let mut client = summary(Role::Client, By::Peer, how);
        client.peer_connection = Some(id(Role::Server));
        let mut history = lived(Vec::new(), vec![stalled(us)], client);
        if process_ended {
            let mut server = summary(Role::Server, By::Local, how);
            (server.close.process_ended, server.peer_connection) = (true, Some(id(Role::Client)));
            life(&mut history, Vec::new(), Vec::new(), server);
        }
        let findings = Host::new().judge_with("response_cut", &history);
        assert_eq!(findings[0].cause.as_deref(), Some(cause), "{how:?} {us}");
        assert!(findings[0].summary.contains(words), "{}", findings[0].summary);
        let told = findings[0].evidence.get("window_closed_us");
        assert_eq!(told, (cause == "client_not_reading").then_some(&Fact::Number(us)));
    }
    // Only the server's end was traced.
    let mut server = summary(Role::Server, By::Local, How::Fin);
    server.zero_window = Some(ZeroWindow { local_us: 0, peer_us: 59_000_000 });
    let mut http = cut(Role::Server, Outcome::Truncated);
    http.exchange.timing.total_us = 60_000_000;
    let findings = Host::new().judge_with("response_cut", &lived(Vec::new(), vec![http], server));
    assert_eq!(findings[0].cause.as_deref(), Some("client_not_reading"));
}

#[test]
fn both_ends_are_reported_once() {
    let mut client = summary(Role::Client, By::Peer, How::Rst);
    client.peer_connection = Some(id(Role::Server));
    let mut history = lived(Vec::new(), vec![cut(Role::Client, Outcome::Reset)], client);
    let mut server = summary(Role::Server, By::Local, How::Rst);
    server.peer_connection = Some(id(Role::Client));
    server.close.reason = Some("TCP_STATE".into());
    life(&mut history, Vec::new(), vec![cut(Role::Server, Outcome::Reset)], server);
    let findings = Host::new().judge_with("response_cut", &history);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].evidence.get("reason_of_the_kernel"), Some(&"TCP_STATE".into()));
    assert_eq!(findings[0].evidence.get("responses"), Some(&Fact::Number(1)));
}

#[test]
fn a_port_that_is_used_again_is_another_connection() {
    let mut history = History::default();
    for cookie in [11, 12] {
        let of = Arc::new(ConnectionInfo { id: ConnectionId::of_socket(cookie, 0), ..info(Role::Client) });
        let mut http = cut(Role::Client, Outcome::Reset);
        let mut client = summary(Role::Client, By::Peer, How::Rst);
        (http.connection, client.connection) = (of.clone(), of);
        life(&mut history, Vec::new(), vec![http], client);
    }
    let findings = Host::new().judge_with("response_cut", &history);
    assert_eq!(findings[0].evidence.get("responses"), Some(&Fact::Number(2)));
}

#[test]
fn a_client_that_cancels_and_a_whole_response_are_fine() {
    for (role, by) in [(Role::Client, By::Local), (Role::Server, By::Peer)] {
        let history = lived(Vec::new(), vec![cut(role, Outcome::Reset)], summary(role, by, How::Rst));
        assert_eq!(Host::new().judge_with("response_cut", &history), []);
    }
    let whole =
        lived(Vec::new(), vec![exchange(Role::Client, 0, 0)], summary(Role::Client, By::Peer, How::Fin));
    assert_eq!(Host::new().judge_with("response_cut", &whole), []);
}
