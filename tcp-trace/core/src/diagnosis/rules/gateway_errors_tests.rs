//! Tests of the errors of gateways: the gateway is `api` (pid 6) at `SERVER`, its upstream 10.0.0.2:9000.

use std::sync::Arc;

use tcp_trace_model::{
    event::State,
    record::{
        By, Cidr, Connection, ConnectionId, ConnectionInfo, Ended, Endpoint, Fact, Filter, How, Loss,
        LossPlace, Message, Outcome, Record, StateSpan,
    },
};

use super::*;
use crate::diagnosis::{
    History,
    testing::Host,
    testing_http::{answer, at, exchange, life, lived, summary, unanswered},
};

#[path = "gateway_errors_at_once_tests.rs"]
mod at_once;
#[path = "gateway_errors_beside_tests.rs"]
mod beside;
#[path = "gateway_errors_why_tests.rs"]
mod why;

const CODE: &str = "gateway_errors";

fn socket(number: u64) -> ConnectionId {
    ConnectionId::of_socket(number, 0)
}

/// The gateway's own connection with this number, from and to these milliseconds.
fn upstream(number: u64, (opened, closed): (u64, u64), by: By, how: How) -> Connection {
    let mut end = summary(Role::Client, by, how);
    let info = Arc::make_mut(&mut end.connection);
    info.id = socket(number);
    info.network.as_mut().unwrap().peer = Endpoint { address: "10.0.0.2".parse().unwrap(), port: 9000 };
    info.process = Some(Arc::new(Process { pid: 6, name: "api".into(), ..Process::default() }));
    (end.opened, end.closed, end.seen_from_start) = (at(opened), Some(at(closed)), true);
    end
}

/// The same, that did not come about.
fn failed(number: u64, times: (u64, u64), how: How) -> Connection {
    let mut end = upstream(number, times, if how == How::Refused { By::Peer } else { By::Local }, how);
    let state = State::SynSent;
    end.states = vec![StateSpan { state, entered: end.opened, duration_us: None, estimated: false }];
    end
}

/// An exchange on such a connection.
fn asked(end: &Connection, mut http: Http) -> Http {
    let ConnectionInfo { id, network, process, .. } = (*end.connection).clone();
    http.connection = Arc::new(ConnectionInfo { id, network, process, ..(*http.connection).clone() });
    http
}

/// The gateway answered at 1 s + 100 ms.
fn gateway(status: u16) -> History {
    let http = answer(Role::Server, status, 1_000, 100);
    lived(Vec::new(), vec![http], summary(Role::Server, By::Peer, How::Fin))
}

fn only(history: &History) -> Finding {
    let mut findings = Host::new().judge_with(CODE, history);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    findings.remove(0)
}

fn cause(history: &History) -> String {
    only(history).cause.unwrap()
}

#[test]
fn what_became_of_the_connect_is_the_cause() {
    for (how, reason, expected) in [
        (How::Refused, Some("ECONNREFUSED"), "upstream_refused"),
        (How::Abandoned, None, "upstream_connect_timeout"),
        (How::Timeout, Some("ETIMEDOUT"), "upstream_connect_timeout"),
        (How::Error, Some("EHOSTUNREACH"), "upstream_no_route"),
        (How::Error, Some("ECONNREFUSED"), "upstream_refused"),
        (How::Error, Some("EADDRNOTAVAIL"), "upstream_no_port"),
        (How::Error, Some("no SYN was sent"), "upstream_no_syn"),
    ] {
        for status in [502, 503, 504] {
            let mut history = gateway(status);
            let mut end = failed(10, (1_010, 1_090), how);
            end.close.reason = reason.map(str::to_owned);
            life(&mut history, Vec::new(), Vec::new(), end);
            assert_eq!(cause(&history), expected, "{status} {how:?}");
        }
    }
}

#[test]
fn what_became_of_the_request_is_the_cause() {
    let broken = |outcome, took_us| {
        let mut http = unanswered(Role::Client, 0, 1_010, outcome);
        http.exchange.timing.total_us = took_us;
        http
    };
    let (fin, rst, reset) = (How::Fin, How::Rst, Outcome::Reset);
    let mut invalid = broken(Outcome::Invalid, 20_000);
    (invalid.exchange.ended, invalid.exchange.reason) = (None, Some("response: not a status line".into()));
    for (http, by, how, status, expected) in [
        (broken(Outcome::NoResponse, 80_000), By::Peer, fin, 502, "upstream_closed"),
        (broken(reset, 80_000), By::Peer, rst, 502, "upstream_reset"),
        (broken(Outcome::NoResponse, 90_000), By::Local, fin, 504, "upstream_silent"),
        // HAProxy answers first and ends its own connection behind that.
        (broken(reset, 500_000), By::Local, rst, 504, "upstream_silent"),
        (broken(Outcome::NoResponse, 80_000), By::None, How::Timeout, 504, "upstream_failed"),
        (invalid, By::Local, fin, 502, "upstream_invalid"),
        (answer(Role::Client, 502, 1_010, 50), By::Peer, fin, 502, "passed_on"),
        (answer(Role::Client, 200, 1_010, 50), By::Local, rst, 502, "upstream_answer_not_taken"),
        // It asked another server too, successfully.
        (answer(Role::Client, 200, 1_010, 50), By::Local, fin, 503, "own_answer"),
    ] {
        let mut history = gateway(status);
        let end = upstream(10, (1_005, 1_095), by, how);
        life(&mut history, Vec::new(), vec![asked(&end, http)], end);
        assert_eq!(cause(&history), expected);
    }
}

#[test]
fn a_connection_without_readable_http_is_judged_by_its_end() {
    for (by, how, sent, received, status, expected) in [
        (By::Peer, How::Fin, 300, 0, 502, "upstream_closed"),
        (By::Peer, How::Rst, 300, 0, 502, "upstream_reset"),
        (By::Local, How::Fin, 300, 0, 504, "upstream_silent"),
        // It was answered, in whatever protocol.
        (By::Peer, How::Fin, 300, 500, 502, "own_answer"),
        // A health check connects and closes.
        (By::Local, How::Fin, 0, 0, 503, "own_answer"),
    ] {
        let mut history = gateway(status);
        let mut end = upstream(10, (1_005, 1_095), by, how);
        (end.bytes.sent, end.bytes.received) = (sent, received);
        life(&mut history, Vec::new(), Vec::new(), end);
        assert_eq!(cause(&history), expected, "{by:?} {how:?} {sent} {received}");
    }
}

#[test]
fn only_what_began_during_the_exchange_and_in_its_process_counts() {
    for (times, pid, expected) in [
        ((1_050, 1_051), 6, "upstream_refused"),
        ((900, 901), 6, "own_answer"),
        ((1_150, 1_151), 6, "own_answer"),
        ((1_050, 1_051), 7, "own_answer"),
    ] {
        let mut history = gateway(502);
        let mut end = failed(10, times, How::Refused);
        let info = Arc::make_mut(&mut end.connection);
        Arc::make_mut(info.process.as_mut().unwrap()).pid = pid;
        life(&mut history, Vec::new(), Vec::new(), end);
        let finding = only(&history);
        assert_eq!(finding.cause.as_deref(), Some(expected), "{times:?} {pid}");
        // As nginx and HAProxy do not try a server that has failed.
        let before = (times.0 == 900).then(|| Fact::List(vec!["10.0.0.2:9000 (1)".to_owned()]));
        assert_eq!(finding.evidence.get("connects_that_failed_otherwise").cloned(), before, "{times:?}");
    }
}

#[test]
fn each_exchange_is_explained_by_its_own_request() {
    // Meanwhile another request of the same process is refused.
    let mut history = gateway(504);
    let end = upstream(10, (1_005, 1_095), By::Local, How::Fin);
    let mut http = unanswered(Role::Client, 0, 1_010, Outcome::NoResponse);
    http.exchange.timing.total_us = 85_000;
    life(&mut history, Vec::new(), vec![asked(&end, http)], end);
    life(&mut history, Vec::new(), Vec::new(), failed(11, (1_050, 1_098), How::Refused));
    assert_eq!(cause(&history), "upstream_silent");
    assert_eq!(only(&history).evidence.get("with_this_status"), None);
    // Meanwhile another request is answered with the same status.
    let mut history = gateway(502);
    let end = upstream(10, (1_005, 1_095), By::Peer, How::Fin);
    let mut http = answer(Role::Client, 502, 1_010, 80);
    http.exchange.request.as_mut().unwrap().target = "/other".into();
    life(&mut history, Vec::new(), vec![asked(&end, http)], end);
    life(&mut history, Vec::new(), Vec::new(), failed(11, (1_020, 1_021), How::Refused));
    let findings = Host::new().judge_with(CODE, &history);
    let causes: Vec<_> = findings.iter().filter_map(|finding| finding.cause.as_deref()).collect();
    assert_eq!(causes, ["upstream_refused", "remote"]);
    // Two requests with the same status for two causes.
    let mut history = gateway(502);
    let mut second = answer(Role::Server, 502, 5_000, 100);
    Arc::make_mut(&mut second.connection).id = socket(3);
    let mut end = summary(Role::Server, By::Peer, How::Fin);
    Arc::make_mut(&mut end.connection).id = socket(3);
    life(&mut history, Vec::new(), vec![second], end);
    life(&mut history, Vec::new(), Vec::new(), failed(11, (5_020, 5_021), How::Refused));
    for finding in Host::new().judge_with(CODE, &history) {
        let counts = ["responses", "with_this_status"].map(|name| finding.evidence.get(name).cloned());
        assert_eq!(counts, [1, 2].map(|count| Some(Fact::Number(count))));
    }
}

#[test]
fn the_text_says_who_how_often_and_what_was_tried() {
    let mut history = gateway(502);
    let mut second = answer(Role::Server, 502, 2_000, 100);
    second.exchange.index = 1;
    let mut fine = exchange(Role::Server, 2, 3_000);
    fine.exchange.index = 2;
    let mut end = summary(Role::Server, By::Peer, How::Fin);
    for info in [&mut end.connection, &mut second.connection, &mut fine.connection] {
        Arc::make_mut(info).id = socket(3);
    }
    life(&mut history, Vec::new(), vec![second, fine], end);
    for (number, opened) in [(10, 1_010), (11, 1_020), (12, 2_010)] {
        let end = failed(number, (opened, opened + 1), How::Refused);
        life(&mut history, Vec::new(), Vec::new(), end);
    }
    let finding = only(&history);
    let expected = "2 responses from api (pid 6) at 10.0.0.1:8080 were 502 Bad Gateway: meanwhile its connects to \
                    10.0.0.2:9000 were refused (ECONNREFUSED).";
    assert_eq!((finding.summary.as_str(), finding.explain.as_str()), (expected, "502"));
    for (name, number) in [("responses", 2), ("responses_in_all", 3), ("attempts", 3), ("status", 502)] {
        assert_eq!(finding.evidence.get(name), Some(&Fact::Number(number)), "{name}");
    }
    let upstreams = Fact::List(vec!["10.0.0.2:9000 (3)".to_owned()]);
    assert_eq!(finding.evidence.get("upstreams"), Some(&upstreams));
    let notes: Vec<_> = finding.connections.iter().flat_map(|it| &it.notes).collect();
    let note = "POST /pay: 502 after 100 ms, 10.0.0.2:9000 refused the connection after 1.00 ms";
    assert_eq!(notes, [note, note]);
}

#[test]
fn if_both_ends_are_traced_the_one_that_answered_is_reported() {
    let mut history = gateway(502);
    let client = || answer(Role::Client, 502, 1_000, 100);
    life(&mut history, Vec::new(), vec![client()], summary(Role::Client, By::Local, How::Fin));
    assert_eq!(only(&history).process.map(|process| process.pid), Some(6));
    let mut elsewhere = client();
    let response = elsewhere.exchange.response.as_mut().unwrap();
    response.headers = [("Date", "today"), ("Server", "nginx/1.18")].into_iter().collect();
    let history = lived(Vec::new(), vec![elsewhere], summary(Role::Client, By::Local, How::Fin));
    let finding = only(&history);
    assert_eq!(finding.cause.as_deref(), Some("remote"));
    let start = "1 response from 10.0.0.1:8080 to client (pid 5) was 502 Bad Gateway: ";
    assert!(finding.summary.starts_with(start), "{}", finding.summary);
    assert_eq!(finding.evidence.get("server_header"), Some(&"nginx/1.18".into()));
}

#[test]
fn what_is_passed_on_from_another_host_is_one_finding() {
    let mut history = gateway(503);
    let end = upstream(10, (1_005, 1_095), By::Peer, How::Fin);
    life(&mut history, Vec::new(), vec![asked(&end, answer(Role::Client, 503, 1_010, 80))], end);
    let finding = only(&history);
    assert_eq!((finding.cause.as_deref(), finding.severity), (Some("passed_on"), Severity::Warning));
}

#[test]
fn a_request_that_does_not_come_whole_is_the_clients() {
    let timeout = |ms| {
        let mut http = answer(Role::Server, 408, ms, 0);
        http.exchange.request = None;
        (http.exchange.timing.send_us, http.exchange.timing.wait_us, http.exchange.timing.idle_us) =
            (None, None, Some(1_500_000));
        http
    };
    let ended = |part| Some(Ended { message: Message::Request, part, offset: 25 });
    let mut head = unanswered(Role::Server, 1, 1_000, Outcome::NoResponse);
    head.exchange.ended = ended(Part::Head);
    let mut body = answer(Role::Server, 408, 1_000, 1_000);
    (body.exchange.ended, body.exchange.timing.send_us, body.exchange.timing.wait_us) =
        (ended(Part::Body), None, None);
    for (exchanges, cause, wait_us, note) in [
        (
            vec![timeout(2_000), head],
            "request_unfinished",
            1_000_000,
            "POST /pay: 408 after 1.00 s, 25 B of the head",
        ),
        (vec![body], "request_unfinished", 1_000_000, "POST /pay: 408 after 1.00 s, 25 B of the body"),
        (vec![timeout(2_000)], "request_not_sent", 1_500_000, "no request: 408 after 1.50 s, nothing"),
    ] {
        let history = lived(Vec::new(), exchanges, summary(Role::Server, By::Local, How::Fin));
        let finding = only(&history);
        assert_eq!(finding.cause.as_deref(), Some(cause));
        assert_eq!(finding.evidence.get("longest_wait_us"), Some(&Fact::Number(wait_us)));
        assert_eq!(finding.connections[0].notes, [format!("{note} had arrived")]);
        for other in ["no_response", "keepalive_race", "response_cut"] {
            assert_eq!(Host::new().judge_with(other, &history), [], "{other}");
        }
    }
}

#[test]
fn what_was_not_seen_is_not_guessed() {
    let loss = |history: &mut History| {
        history.record(&Record::Loss(Loss { time: at(1_500), place: LossPlace::Ring, events: 1, cpu: None }));
    };
    let ports = Filter { port: vec![8080], ..Filter::default() };
    let network: Cidr = "10.0.0.0/24".parse().unwrap();
    let addresses = Filter { addr: vec![network], ..Filter::default() };
    let process = Filter { pid: vec![6], ..Filter::default() };
    for (filter, has_loss, expected) in [
        (process, false, "own_answer"),
        (ports, false, "not_seen"),
        (addresses, false, "not_seen"),
        (Filter::default(), true, "not_seen"),
    ] {
        let mut history = gateway(503);
        history.filtered(&filter);
        if has_loss {
            loss(&mut history);
        }
        assert_eq!(cause(&history), expected, "{filter:?}");
        // What was seen counts nevertheless.
        life(&mut history, Vec::new(), Vec::new(), failed(10, (1_010, 1_011), How::Refused));
        assert_eq!(cause(&history), "upstream_refused");
    }
}

#[test]
fn what_a_process_tried_too_often_is_not_all_looked_at() {
    let fine = |number: u64| upstream(number, (1_001 + number / 100, 1_099), By::Local, How::Fin);
    for (attempts, expected) in [(2_000, "own_answer"), (2_001, "not_seen")] {
        let mut history = gateway(502);
        (10..10 + attempts).for_each(|number| life(&mut history, Vec::new(), Vec::new(), fine(number)));
        let finding = only(&history);
        assert_eq!(finding.cause.as_deref(), Some(expected), "{attempts}");
        let is_said = finding.why.contains("not every attempt is examined");
        assert_eq!(is_said, expected == "not_seen", "{}", finding.why);
    }
}

#[test]
fn other_answers_and_retries_that_go_well_are_fine() {
    for status in [200, 404, 429, 501, 505] {
        let mut history = gateway(status);
        life(&mut history, Vec::new(), Vec::new(), failed(10, (1_010, 1_011), How::Refused));
        assert_eq!(Host::new().judge_with(CODE, &history), [], "{status}");
    }
}

/// As lighttpd's mod_proxy answers where others say 502.
#[test]
fn a_500_is_reported_only_where_something_failed_behind_it() {
    let mut history = gateway(500);
    life(&mut history, Vec::new(), Vec::new(), failed(10, (1_010, 1_011), How::Refused));
    let findings = Host::new().judge_with(CODE, &history);
    assert_eq!(findings[0].cause.as_deref(), Some("upstream_refused"));
    assert_eq!(Host::new().judge_with(CODE, &gateway(500)), [], "an exception of the application");
}
