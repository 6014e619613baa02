//! Tests of requests that meet the end of their connection.

use std::sync::Arc;

use tcp_trace_model::{
    event::{Direction, Flags, Role, State},
    record::{By, ConnectionId, ExchangeTls, Fact, How, Outcome, Record, StateSpan, TlsLink},
};

use super::*;
use crate::diagnosis::{
    History,
    testing::Host,
    testing_http::{at, exchange, id, life, lived, segment, summary, unanswered},
};

/// All rules of failed exchanges: none is reported twice.
const RULES: [&str; 4] = ["keepalive_race", "response_cut", "unread_data_reset", "no_response"];

/// A client whose second request was sent at 5 s, 4.99 s idle; the FIN or RST came at this time.
fn client(flags: Flags, ended_ms: u64, reused: bool) -> History {
    let mut last = unanswered(Role::Client, 1, 5_000, Outcome::Reset);
    last.exchange.timing.idle_us = Some(4_990_000);
    last.exchange.reused = Some(reused);
    let mut first = exchange(Role::Client, 0, 0);
    let response = first.exchange.response.as_mut().unwrap();
    response.headers.push("Keep-Alive", "timeout=4, max=100");
    let end = segment(Role::Client, Direction::In, flags, ended_ms);
    lived(vec![end], vec![first, last], summary(Role::Client, By::Peer, How::Rst))
}

fn only(history: &History, code: &str) -> Finding {
    for other in RULES {
        let findings = Host::new().judge_with(other, history);
        assert_eq!(findings.len(), usize::from(other == code), "{other}: {findings:#?}");
    }
    Host::new().judge_with(code, history).remove(0)
}

#[test]
fn an_end_before_the_request_or_within_a_round_trip_is_a_race() {
    for (ended_ms, cause, note) in [
        (4_010, "already_closed", "POST /pay: sent after 4.99 s idle, 990 ms after the server's close"),
        (5_019, "crossed", "POST /pay: sent after 4.99 s idle, 19.0 ms before the server's close was seen"),
    ] {
        let finding = only(&client(Flags::FIN, ended_ms, true), "keepalive_race");
        assert_eq!(finding.cause.as_deref(), Some(cause));
        assert_eq!(finding.connections[0].notes, [note]);
        assert!(
            finding.evidence.get("server_announced_us") == Some(&Fact::Number(4_000_000)),
            "{:?}",
            finding.evidence
        );
    }
    let finding = only(&client(Flags::FIN, 4_010, true), "keepalive_race");
    let expected = "1 request from client (pid 5) to 10.0.0.1:8080 was sent on a kept-alive connection that the \
                    server had already closed: it closed after 4.00 s of idle time.";
    assert_eq!(finding.summary, expected);
}

#[test]
fn a_later_end_or_a_new_connection_is_another_fault() {
    only(&client(Flags::FIN, 5_021, true), "no_response");
    only(&client(Flags::RST, 5_300, true), "no_response");
    only(&client(Flags::FIN, 5_019, false), "no_response");
}

/// A process that had read the request and closes sends no RST; with delayed acknowledgments the smoothed round trip time is long.
#[test]
fn a_close_behind_the_request_without_an_rst_is_no_race() {
    for (how, rtt_us, code) in [
        (How::Fin, None, "no_response"),
        (How::Fin, Some(20_000), "no_response"),
        (How::Rst, None, "keepalive_race"),
        (How::Rst, Some(20_000), "keepalive_race"),
    ] {
        let mut last = unanswered(Role::Client, 1, 5_000, Outcome::NoResponse);
        (last.exchange.timing.idle_us, last.exchange.reused) = (Some(4_990_000), Some(true));
        let mut end = summary(Role::Client, By::Peer, how);
        (end.handshake.as_mut().unwrap().rtt_us, end.srtt_us) = (rtt_us, Some(20_000));
        let fin = segment(Role::Client, Direction::In, Flags::FIN, 5_019);
        only(&lived(vec![fin], vec![exchange(Role::Client, 0, 0), last], end), code);
    }
}

/// As after a reload: the old worker closes all its idle connections, and lives on.
#[test]
fn connections_that_are_closed_at_once_were_not_closed_for_being_idle() {
    for (other_ended_ms, cause) in [(4_011, "server_closed_many"), (7_000, "already_closed")] {
        let mut history = History::default();
        let mut client = summary(Role::Client, By::Peer, How::Rst);
        client.peer_connection = Some(id(Role::Server));
        let mut last = unanswered(Role::Client, 1, 5_000, Outcome::Reset);
        (last.exchange.timing.idle_us, last.exchange.reused) = (Some(4_990_000), Some(true));
        let fin = segment(Role::Client, Direction::In, Flags::FIN, 4_012);
        life(&mut history, vec![fin], vec![exchange(Role::Client, 0, 0), last], client);
        let fin = segment(Role::Server, Direction::Out, Flags::FIN, 4_010);
        let own = summary(Role::Server, By::Local, How::Fin);
        life(&mut history, vec![fin], vec![exchange(Role::Server, 0, 0)], own);
        // Another of its connections, last used a second before.
        let mut other = summary(Role::Server, By::Local, How::Fin);
        let info = Arc::make_mut(&mut other.connection);
        info.id = ConnectionId::of_socket(30, 0);
        info.network.as_mut().unwrap().peer.port = 50_001;
        let mut fin = segment(Role::Server, Direction::Out, Flags::FIN, other_ended_ms);
        let Record::Segment(segment) = &mut fin else { panic!() };
        segment.connection = Arc::clone(&other.connection);
        let mut http = exchange(Role::Server, 0, other_ended_ms - 1_000);
        http.connection = Arc::clone(&other.connection);
        life(&mut history, vec![fin], vec![http], other);
        let finding = only(&history, "keepalive_race");
        assert_eq!(finding.cause.as_deref(), Some(cause));
        assert_eq!(
            finding.summary.contains("of idle time"),
            cause == "already_closed",
            "{}",
            finding.summary
        );
    }
}

/// On one host the server's own end says whether its FIN was sent before the request, whatever the round trip.
#[test]
fn the_servers_end_knows_whether_the_request_was_there() {
    for (sent_ms, code) in [(4_999, "keepalive_race"), (5_001, "no_response")] {
        let mut history = History::default();
        let mut client = summary(Role::Client, By::Peer, How::Rst);
        client.peer_connection = Some(id(Role::Server));
        let mut last = unanswered(Role::Client, 1, 5_000, Outcome::Reset);
        last.exchange.timing.idle_us = Some(4_990_000);
        let fin = segment(Role::Client, Direction::In, Flags::FIN, 5_002);
        life(&mut history, vec![fin], vec![last], client);
        let fin = segment(Role::Server, Direction::Out, Flags::FIN, sent_ms);
        life(&mut history, vec![fin], Vec::new(), summary(Role::Server, By::Local, How::Rst));
        let finding = only(&history, code);
        assert_eq!(finding.evidence.get("server"), Some(&"api (pid 6)".into()));
    }
}

#[test]
fn a_whole_request_unread_on_a_kept_connection_is_a_race_at_the_server() {
    let tls = Some(ExchangeTls { link: TlsLink::NestedSyscall });
    for (unread, tls, code) in [
        (160, None, "keepalive_race"),
        (100, None, "unread_data_reset"),
        (182, tls, "keepalive_race"),
        (182, None, "unread_data_reset"),
        (100, tls, "unread_data_reset"),
    ] {
        let mut server = summary(Role::Server, By::Local, How::Rst);
        server.receive_queue = unread;
        let mut last = unanswered(Role::Server, 1, 5_000, Outcome::Reset);
        (last.exchange.timing.idle_us, last.exchange.tls) = (Some(4_990_000), tls);
        let rst = segment(Role::Server, Direction::Out, Flags::RST, 5_001);
        let finding = only(&lived(vec![rst], vec![last], server), code);
        assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(6));
    }
}

/// As a server does behind its last response when a connection has had its number of requests.
#[test]
fn an_end_without_idle_time_is_no_race() {
    let mut last = unanswered(Role::Client, 1, 15, Outcome::Reset);
    last.exchange.timing.idle_us = Some(5_000);
    let fin = segment(Role::Client, Direction::In, Flags::FIN, 11);
    let exchanges = vec![exchange(Role::Client, 0, 0), last];
    let history = lived(vec![fin], exchanges, summary(Role::Client, By::Peer, How::Rst));
    for code in RULES {
        assert_eq!(Host::new().judge_with(code, &history), []);
    }
}

#[test]
fn the_longest_idle_that_went_well_is_reported() {
    let mut history = client(Flags::FIN, 4_010, true);
    let mut fine = exchange(Role::Client, 1, 3_000);
    fine.exchange.timing.idle_us = Some(3_000_000);
    let mut end = summary(Role::Client, By::Local, How::Fin);
    for info in [&mut fine.connection, &mut end.connection] {
        Arc::make_mut(info).id = ConnectionId::of_socket(3, 0);
    }
    life(&mut history, Vec::new(), vec![fine], end);
    let findings = Host::new().judge_with("keepalive_race", &history);
    assert_eq!(findings[0].evidence.get("longest_idle_that_went_well_us"), Some(&Fact::Number(3_000_000)));
}

#[test]
fn kept_connections_that_end_idle_are_fine() {
    let exchanges = vec![exchange(Role::Client, 0, 0), exchange(Role::Client, 1, 5_000)];
    let fin = segment(Role::Client, Direction::In, Flags::FIN, 9_000);
    let history = lived(vec![fin], exchanges, summary(Role::Client, By::Peer, How::Fin));
    for code in RULES {
        assert_eq!(Host::new().judge_with(code, &history), []);
    }
}

#[test]
fn at_the_server_alone_a_fin_had_arrived_only_where_that_is_known() {
    // When the FIN went out, and when it was acknowledged, if it was.
    for (fin_ms, acknowledged_ms, cause) in [
        (4_950, None, "crossed"),
        (4_950, Some(4_990), "already_closed"),
        (4_950, Some(5_001), "crossed"),
        (4_000, None, "already_closed"),
    ] {
        let mut last = unanswered(Role::Server, 1, 5_000, Outcome::Reset);
        last.exchange.timing.idle_us = Some(4_990_000);
        let mut server = summary(Role::Server, By::Local, How::Fin);
        let state = State::FinWait2;
        let acknowledged = acknowledged_ms.map(at);
        server.states.extend(acknowledged.map(|entered| StateSpan {
            state,
            entered,
            ..server.states[0].clone()
        }));
        let fin = segment(Role::Server, Direction::Out, Flags::FIN, fin_ms);
        let finding = only(&lived(vec![fin], vec![last], server), "keepalive_race");
        assert_eq!(finding.cause.as_deref(), Some(cause), "{fin_ms} {acknowledged_ms:?}");
    }
}

/// A server whose FIN went out before the request of a kept connection, with its own exchange before.
fn at_server(change: impl Fn(&mut tcp_trace_model::record::Connection), before: Http) -> History {
    let mut history = History::default();
    let mut last = unanswered(Role::Client, 1, 5_000, Outcome::Reset);
    last.exchange.timing.idle_us = Some(4_990_000);
    life(&mut history, Vec::new(), vec![last], summary(Role::Client, By::Peer, How::Rst));
    let mut server = summary(Role::Server, By::Local, How::Fin);
    change(&mut server);
    let fin = segment(Role::Server, Direction::Out, Flags::FIN, 4_010);
    life(&mut history, vec![fin], vec![before], server);
    history
}

#[test]
fn a_server_that_stopped_has_no_idle_timeout() {
    let before = || exchange(Role::Server, 0, 0);
    for (ended, reason, cause) in [
        (true, None, "server_stopped"),
        (false, Some("ECONNABORTED"), "socket_destroyed"),
        (false, None, "already_closed"),
    ] {
        let change = |server: &mut tcp_trace_model::record::Connection| {
            (server.close.process_ended, server.close.reason) = (ended, reason.map(str::to_owned));
        };
        let finding = only(&at_server(change, before()), "keepalive_race");
        // Without segments of its own, the client does not say when the FIN came.
        let cause = if cause == "already_closed" { "crossed" } else { cause };
        assert_eq!(finding.cause.as_deref(), Some(cause));
        let is_by_time = cause == "crossed";
        assert_eq!(finding.advice.contains("idle timeout"), is_by_time, "{}", finding.advice);
        assert_eq!(finding.evidence.get("server_closed_after_idle_us").is_some(), is_by_time);
    }
}

#[test]
fn of_several_processes_at_a_port_the_servers_own_has_to_stop() {
    for (stopped_pid, others_go_on, expected) in
        [(6, true, "server_stopped"), (7, true, "crossed"), (7, false, "server_stopped")]
    {
        let mut history = at_server(|_| {}, exchange(Role::Server, 0, 0));
        for (cookie, pid, closed) in [(3, stopped_pid, true), (4, 8, !others_go_on)] {
            let mut listener =
                summary(Role::Server, By::Local, if closed { How::Unknown } else { How::Open });
            let info = Arc::make_mut(&mut listener.connection);
            (info.id, info.role) = (ConnectionId::of_socket(cookie, 0), Some(Role::Listener));
            Arc::make_mut(info.process.as_mut().unwrap()).pid = pid;
            listener.closed = closed.then_some(at(4_011));
            life(&mut history, Vec::new(), Vec::new(), listener);
        }
        let finding = only(&history, "keepalive_race");
        assert_eq!(finding.cause.as_deref(), Some(expected), "{stopped_pid} {others_go_on}");
    }
}

#[test]
fn a_lone_408_is_no_use_of_the_connection() {
    let mut lone = exchange(Role::Server, 0, 1_010);
    (lone.exchange.request, lone.exchange.timing.idle_us) = (None, Some(1_000_000));
    let response = lone.exchange.response.as_mut().unwrap();
    response.status_code = 408;
    response.headers.push("Connection", "close");
    let finding = only(&at_server(|_| {}, lone), "keepalive_race");
    // Since the end of the request before, at 10 ms.
    let idle = finding.evidence.get("server_closed_after_idle_us");
    assert_eq!(idle, Some(&Fact::Number(4_000_000)));
}

#[test]
fn more_than_the_request_unread_is_an_upload_that_was_not_read() {
    let mut server = summary(Role::Server, By::Local, How::Rst);
    server.receive_queue = 160 + 18_000;
    let mut last = unanswered(Role::Server, 1, 5_000, Outcome::Reset);
    last.exchange.timing.idle_us = Some(4_990_000);
    only(&lived(Vec::new(), vec![last], server), "unread_data_reset");
}
