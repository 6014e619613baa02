//! Tests of what must not be taken for the cause, and of what is reported: requests of others, illegal messages,
//! retries, idle connections.

use std::sync::Arc;

use tcp_trace_model::{
    event::{Direction, Flags},
    exchange::Integrity,
};

use super::*;
use crate::diagnosis::testing_http::segment;

/// A request of the gateway from and to these milliseconds, that is answered with this status.
fn other(number: u64, status: u16, (from, to): (u64, u64), target: &str) -> (Http, Connection) {
    let end = upstream(number, (from, to), By::Local, How::Fin);
    let mut http = asked(&end, answer(Role::Client, status, from, to - from));
    http.exchange.request.as_mut().unwrap().target = target.into();
    (http, end)
}

fn add(history: &mut History, (http, end): (Http, Connection)) {
    life(history, Vec::new(), vec![http], end);
}

/// The gateway got its request at 1 s and answered after this time.
fn gateway_after(status: u16, ms: u64) -> History {
    let http = answer(Role::Server, status, 1_000, ms);
    lived(Vec::new(), vec![http], summary(Role::Server, By::Peer, How::Fin))
}

#[test]
fn a_request_that_is_just_under_way_is_not_the_cause() {
    for (status, target) in [(503, "/pay"), (503, "/other"), (502, "/pay"), (504, "/other")] {
        // Also one that takes long, as they do when others have to queue.
        for from in [5_999, 5_700] {
            let mut history = gateway_after(status, 5_000);
            add(&mut history, other(10, 200, (from, 6_020), target));
            assert_eq!(cause(&history), "own_answer", "{status} {target} {from}");
            // The same until the end of the trace.
            let mut history = gateway_after(status, 5_000);
            let (http, mut end) = other(10, 200, (from, 6_020), target);
            let pending = unanswered(Role::Client, 0, from, Outcome::NoResponse);
            let timing = http.exchange.timing;
            let mut http = asked(&end, pending);
            http.exchange.timing = timing;
            http.exchange.request.as_mut().unwrap().target = target.into();
            (end.close.how, end.close.by, end.open, end.closed) = (How::Open, By::None, true, None);
            add(&mut history, (http, end));
            assert_eq!(cause(&history), "own_answer", "{status} {target} {from}");
        }
    }
}

#[test]
fn a_gateway_that_leaves_the_call_running_had_waited_for_it() {
    let mut history = gateway_after(504, 5_000);
    add(&mut history, other(10, 200, (1_010, 9_000), "/pay"));
    let finding = only(&history);
    assert_eq!(finding.cause.as_deref(), Some("upstream_silent"));
    assert_eq!(finding.evidence.get("longest_attempt_us"), Some(&Fact::Number(4_990_000)));
}

#[test]
fn what_the_server_ended_had_ended_before_the_gateway_closed() {
    for (has_begun, expected) in [(true, "upstream_cut"), (false, "upstream_closed")] {
        for (fin, closes, expected) in [
            // The gateway answers at 1,100 ms, and then closes its own connection when it comes to it.
            (1_030, 1_300, expected),
            // The server ended it when it was answered already.
            (1_250, 1_300, "own_answer"),
        ] {
            let mut history = gateway(502);
            let end = upstream(10, (1_010, closes), By::Peer, How::Fin);
            let mut http = asked(&end, unanswered(Role::Client, 0, 1_010, Outcome::NoResponse));
            http.exchange.timing.total_us = (closes - 1_010) * 1_000;
            if has_begun {
                http.exchange.outcome = Outcome::Truncated;
                http.exchange.ended =
                    Some(Ended { message: Message::Response, part: Part::Head, offset: 27 });
                http.exchange.response = answer(Role::Client, 200, 1_010, 15).exchange.response;
                http.exchange.timing.wait_us = Some(15_000);
            }
            let mut segment = segment(Role::Client, Direction::In, Flags::FIN.with(Flags::ACK), fin);
            if let Record::Segment(segment) = &mut segment {
                segment.connection = end.connection.clone();
            }
            life(&mut history, vec![segment], vec![http], end);
            assert_eq!(cause(&history), expected, "{has_begun} {fin}");
        }
    }
}

#[test]
fn a_request_without_an_answer_is_waited_for_whatever_becomes_of_it() {
    for (until, expected) in [(9_000, "upstream_silent"), (5_900, "own_answer")] {
        let mut history = gateway_after(504, 5_000);
        let (mut http, end) = other(10, 200, (1_010, until), "/pay");
        (http.exchange.response, http.exchange.outcome) = (None, Outcome::NoResponse);
        // Bytes were lost, so that it is not known how it failed.
        http.exchange.integrity = Integrity::Gap;
        add(&mut history, (http, end));
        assert_eq!(cause(&history), expected);
    }
}

#[test]
fn a_download_that_is_cut_later_had_been_answered() {
    let mut history = gateway_after(504, 5_000);
    let end = upstream(10, (1_010, 9_000), By::Peer, How::Rst);
    let mut http = asked(&end, answer(Role::Client, 200, 1_010, 50));
    (http.exchange.timing.receive_us, http.exchange.timing.total_us) = (Some(7_940_000), 7_990_000);
    (http.exchange.outcome, http.time) = (Outcome::Truncated, at(9_000));
    http.exchange.ended = Some(Ended { message: Message::Response, part: Part::Body, offset: 40 });
    add(&mut history, (http, end));
    assert_eq!(cause(&history), "own_answer");
}

#[test]
fn requests_for_something_else_are_not_counted_with_the_cause() {
    let mut history = gateway_after(504, 2_000);
    for (number, target) in [(10, "/pay"), (11, "/other")] {
        let mut end = upstream(number, (1_010, 3_000), By::Local, How::Fin);
        let network = Arc::make_mut(&mut end.connection).network.as_mut().unwrap();
        network.peer.port = 9_000 + u16::try_from(number).unwrap();
        let mut http = asked(&end, unanswered(Role::Client, 0, 1_010, Outcome::NoResponse));
        http.exchange.timing.total_us = 1_990_000;
        http.exchange.request.as_mut().unwrap().target = target.into();
        add(&mut history, (http, end));
    }
    let finding = only(&history);
    assert_eq!(finding.evidence.get("attempts"), Some(&Fact::Number(1)));
    assert_eq!(finding.evidence.get("upstreams"), Some(&Fact::List(vec!["10.0.0.2:9010 (1)".to_owned()])));
}

#[test]
fn what_is_passed_on_after_a_retry_is_reported_once() {
    let mut history = gateway_after(503, 100);
    add(&mut history, other(10, 503, (1_010, 1_040), "/pay"));
    add(&mut history, other(11, 503, (1_050, 1_080), "/pay"));
    let finding = only(&history);
    assert_eq!(finding.cause.as_deref(), Some("passed_on"));
    assert_eq!(finding.evidence.get("attempts"), Some(&Fact::Number(2)));
}

#[test]
fn a_connect_without_a_port_is_reported_as_such() {
    for (how, reason, port) in [(How::Error, Some("EADDRNOTAVAIL"), 40_000), (How::Abandoned, None, 0)] {
        let mut history = gateway(502);
        let mut end = failed(10, (1_010, 1_011), how);
        end.close.reason = reason.map(str::to_owned);
        Arc::make_mut(&mut end.connection).network.as_mut().unwrap().local.port = port;
        life(&mut history, Vec::new(), Vec::new(), end);
        let finding = only(&history);
        assert_eq!(finding.cause.as_deref(), Some("upstream_no_port"), "{how:?}");
        let expected = "meanwhile its connects to 10.0.0.2:9000 got no local port (EADDRNOTAVAIL).";
        assert!(finding.summary.ends_with(expected), "{}", finding.summary);
        assert!(finding.advice.contains("ip_local_port_range"), "{}", finding.advice);
    }
}

#[test]
fn only_an_illegal_response_is_no_http() {
    let (fin, rst) = (How::Fin, How::Rst);
    for (reason, status, by, how, expected) in [
        ("response: both Transfer-Encoding and Content-Length", None, By::Local, fin, "upstream_invalid"),
        ("response: Content-Length \"-5\" is not a number", Some(200), By::Local, fin, "upstream_invalid"),
        ("request: no Host", None, By::Peer, fin, "upstream_closed"),
        ("request: no Host", None, By::Peer, rst, "upstream_reset"),
        ("request: no Host", Some(400), By::Peer, fin, "upstream_answer_not_taken"),
        ("WebSocket, server: a mask", Some(101), By::Peer, fin, "upstream_answer_not_taken"),
    ] {
        let mut history = gateway(502);
        let end = upstream(10, (1_005, 1_095), by, how);
        let mut http = asked(&end, answer(Role::Client, status.unwrap_or_default(), 1_010, 20));
        (http.exchange.outcome, http.exchange.reason) = (Outcome::Invalid, Some(reason.into()));
        if status.is_none() {
            http.exchange.response = None;
        }
        add(&mut history, (http, end));
        assert_eq!(cause(&history), expected, "{reason} {status:?} {how:?}");
    }
}

#[test]
fn a_kept_connection_that_ends_with_a_408_was_idle_after_its_last_response() {
    for (index, words, why) in [
        (0, "carried no request within 5.00 s", "was opened and stayed idle"),
        (3, "carried no further request within 5.00 s", "stayed idle after its last response"),
    ] {
        let mut http = answer(Role::Server, 408, 9_000, 0);
        (http.exchange.index, http.exchange.request, http.exchange.reused) = (index, None, Some(index > 0));
        (http.exchange.timing.send_us, http.exchange.timing.wait_us, http.exchange.timing.idle_us) =
            (None, None, Some(5_000_000));
        let history = lived(Vec::new(), vec![http], summary(Role::Server, By::Local, How::Fin));
        let finding = only(&history);
        assert_eq!(
            (finding.cause.as_deref(), finding.severity),
            (Some("request_not_sent"), Severity::Notice)
        );
        assert!(finding.summary.contains(words), "{}", finding.summary);
        assert!(finding.why.contains(why), "{}", finding.why);
        assert_eq!(finding.advice.contains("keep-alive timeout"), index > 0, "{}", finding.advice);
    }
}

#[test]
fn a_408_whose_request_had_come_shows_no_wait_for_it() {
    let history = gateway_after(408, 1_000);
    let finding = only(&history);
    assert_eq!(finding.cause.as_deref(), Some("own_answer"));
    assert_eq!(finding.evidence.get("longest_wait_us"), None);
}

#[test]
fn numbers_of_a_recording_that_are_too_large_are_no_fault() {
    let mut http = answer(Role::Server, 408, 1_000, 0);
    (http.exchange.index, http.exchange.request) = (u64::MAX, None);
    (http.exchange.timing.send_us, http.exchange.timing.wait_us) = (Some(u64::MAX), Some(u64::MAX));
    http.exchange.timing.idle_us = Some(u64::MAX);
    let history = lived(Vec::new(), vec![http], summary(Role::Server, By::Local, How::Fin));
    assert_eq!(cause(&history), "request_not_sent");
}

/// Refused connects, one every 100 ms from 300 ms on, as a health check makes them; the gateway answers 503 at 1.1 s to a request of 1 s.
fn beside_checks(count: u64, first_ms: u64) -> History {
    let mut history = gateway(503);
    for number in 0..count {
        let from = first_ms + number * 100;
        life(&mut history, Vec::new(), Vec::new(), failed(20 + number, (from, from + 1), How::Refused));
    }
    history
}

#[test]
fn a_connect_that_may_be_a_health_checks_is_said_to_be() {
    for (count, first_ms, is_said) in [(8, 350, true), (3, 850, false), (1, 1_050, false)] {
        let finding = only(&beside_checks(count, first_ms));
        assert_eq!(finding.cause.as_deref(), Some("upstream_refused"));
        assert_eq!(finding.summary.contains("or that was a health check's"), is_said, "{}", finding.summary);
        assert_eq!(finding.evidence.get("attempts_beside_requests").is_some(), is_said);
    }
    // The gateway had further requests, of which it is not known when they were.
    let mut history = beside_checks(8, 350);
    let mut others = summary(Role::Server, By::Peer, How::Fin);
    others.closed = Some(at(2_000));
    let info = Arc::make_mut(&mut others.connection);
    (info.id, info.network.as_mut().unwrap().peer.port) = (socket(70), 50_070);
    let answered = |index| {
        let mut http = exchange(Role::Server, index, index);
        http.connection = others.connection.clone();
        http
    };
    life(&mut history, Vec::new(), vec![answered(0), answered(1), answered(2)], others.clone());
    assert!(!only(&history).summary.contains("health check"));
}

#[test]
fn who_asks_itself_passes_nothing_on_that_it_was_asked() {
    let mut asked_itself = answer(Role::Server, 502, 1_000, 100);
    asked_itself.exchange.request.as_mut().unwrap().method = "GET".into();
    let network = *asked_itself.connection.network.as_ref().unwrap();
    let mut history = lived(Vec::new(), vec![asked_itself], summary(Role::Server, By::Peer, How::Fin));
    // Its client's end began before the request came, and has the same response.
    let (mut http, mut end) = other(10, 502, (999, 1_101), "/pay");
    let swapped = Arc::make_mut(&mut end.connection).network.as_mut().unwrap();
    (swapped.local, swapped.peer) = (network.peer, network.local);
    http.connection = end.connection.clone();
    http.exchange.request.as_mut().unwrap().method = "GET".into();
    add(&mut history, (http, end));
    assert_eq!(cause(&history), "own_answer");
}

#[test]
fn a_request_that_waited_for_another_ones_call_has_its_cause() {
    for (method, expected) in [("GET", "upstream_silent"), ("POST", "own_answer")] {
        let mut asked_later = answer(Role::Server, 504, 3_000, 3_000);
        asked_later.exchange.request.as_mut().unwrap().method = method.into();
        let mut history = lived(Vec::new(), vec![asked_later], summary(Role::Server, By::Peer, How::Fin));
        let end = upstream(10, (1_010, 6_000), By::Local, How::Fin);
        let mut call = asked(&end, unanswered(Role::Client, 0, 1_010, Outcome::NoResponse));
        call.exchange.request.as_mut().unwrap().method = method.into();
        call.exchange.timing.total_us = 4_985_000;
        add(&mut history, (call, end));
        assert_eq!(cause(&history), expected, "{method}");
    }
}
