//! Tests of requests to a gateway at the same time: a connect does not say which of them it is for.

use std::sync::Arc;

use super::*;

/// A history of a gateway, whose requests and attempts are added.
struct Gateway(History, u64);

impl Gateway {
    fn new() -> Self {
        Self(History::default(), 100)
    }

    fn number(&mut self) -> u64 {
        self.1 += 1;
        self.1
    }

    /// A request that it got and answered between these milliseconds.
    fn asked(&mut self, target: &str, status: u16, (from, to): (u64, u64)) {
        let id = socket(self.number());
        let mut end = summary(Role::Server, By::Peer, How::Fin);
        let mut http = answer(Role::Server, status, from, to - from);
        http.exchange.request.as_mut().unwrap().target = target.into();
        for info in [&mut end.connection, &mut http.connection] {
            Arc::make_mut(info).id = id;
        }
        life(&mut self.0, Vec::new(), vec![http], end);
    }

    /// A connect to an upstream that did not come about.
    fn connect(&mut self, port: u16, how: How, times: (u64, u64)) {
        let mut end = failed(self.number(), times, how);
        Arc::make_mut(&mut end.connection).network.as_mut().unwrap().peer.port = port;
        life(&mut self.0, Vec::new(), Vec::new(), end);
    }

    /// A request to an upstream, which closes.
    fn closed(&mut self, port: u16, target: &str, (from, to): (u64, u64)) {
        let mut end = upstream(self.number(), (from, to), By::Peer, How::Fin);
        Arc::make_mut(&mut end.connection).network.as_mut().unwrap().peer.port = port;
        let mut http = asked(&end, unanswered(Role::Client, 0, from, Outcome::NoResponse));
        http.exchange.timing.total_us = (to - from) * 1_000;
        http.exchange.request.as_mut().unwrap().target = target.into();
        life(&mut self.0, Vec::new(), vec![http], end);
    }

    /// Each cause, its status, how many answers have it, and the upstreams that were tried.
    fn causes(&self) -> Vec<(String, u64, u64, String)> {
        let findings = Host::new().judge_with(CODE, &self.0);
        let of = findings.iter().map(|finding| {
            let number = |name| match finding.evidence.get(name) {
                Some(Fact::Number(number)) => *number,
                other => panic!("{name}: {other:?}"),
            };
            let upstreams = match finding.evidence.get("upstreams") {
                Some(Fact::List(places)) => places.join(", "),
                _ => String::new(),
            };
            (finding.cause.clone().unwrap(), number("status"), number("responses"), upstreams)
        });
        let mut all: Vec<_> = of.collect();
        all.sort();
        all
    }

    fn expect(&self, expected: &[(&str, u64, u64, &str)]) {
        let found = self.causes();
        let found: Vec<_> = found.iter().map(|it| (it.0.as_str(), it.1, it.2, it.3.as_str())).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn a_connect_for_other_paths_is_not_why_a_gateway_answers_from_its_memory() {
    let mut gateway = Gateway::new();
    gateway.asked("/refused?1", 503, (1_000, 1_010));
    gateway.connect(9_000, How::Refused, (1_001, 1_002));
    gateway.asked("/memory?1", 503, (2_000, 2_001));
    gateway.asked("/refused?2", 503, (3_000, 3_010));
    gateway.connect(9_000, How::Refused, (3_003, 3_004));
    gateway.asked("/memory?2", 503, (3_001, 3_009));
    gateway.expect(&[("own_answer", 503, 2, ""), ("upstream_refused", 503, 2, "10.0.0.2:9000 (2)")]);
}

#[test]
fn what_the_answer_followed_is_the_cause() {
    // HAProxy tries again after a second, Caddy answers 502 to a connect without an answer.
    for status in [502, 503] {
        let mut gateway = Gateway::new();
        gateway.asked("/refused", status, (1_000, 2_001));
        gateway.connect(9_000, How::Refused, (1_001, 1_002));
        gateway.connect(9_000, How::Refused, (2_000, 2_001));
        gateway.asked("/full", status, (1_010, 3_011));
        gateway.connect(9_001, How::Abandoned, (1_011, 3_011));
        gateway.expect(&[
            ("upstream_connect_timeout", status.into(), 1, "10.0.0.2:9001 (1)"),
            ("upstream_refused", status.into(), 1, "10.0.0.2:9000 (2)"),
        ]);
    }
}

#[test]
fn a_connect_that_just_began_or_failed_later_is_not_the_cause() {
    let mut gateway = Gateway::new();
    gateway.asked("/memory", 503, (1_000, 1_009));
    gateway.connect(9_001, How::Abandoned, (1_001, 2_001));
    gateway.connect(9_000, How::Refused, (1_008, 1_010));
    gateway.expect(&[("own_answer", 503, 1, "")]);
}

#[test]
fn a_request_for_another_clients_target_is_not_the_cause() {
    let mut gateway = Gateway::new();
    gateway.asked("/closing", 503, (1_000, 1_010));
    gateway.closed(9_000, "/closing", (1_002, 1_008));
    gateway.asked("/memory", 503, (1_001, 1_009));
    gateway.expect(&[("own_answer", 503, 1, ""), ("upstream_closed", 503, 1, "10.0.0.2:9000 (1)")]);
    // That one was tried again and went well.
    let mut gateway = Gateway::new();
    gateway.asked("/again", 200, (1_000, 1_020));
    gateway.closed(9_000, "/again", (1_002, 1_008));
    gateway.asked("/memory", 503, (1_001, 1_009));
    gateway.expect(&[("own_answer", 503, 1, "")]);
}

#[test]
fn of_servers_that_were_tried_in_turn_the_last_is_the_cause_and_all_are_reported() {
    let mut gateway = Gateway::new();
    gateway.asked("/second", 502, (1_000, 1_010));
    gateway.connect(9_000, How::Refused, (1_001, 1_002));
    gateway.closed(9_001, "/second", (1_003, 1_009));
    gateway.expect(&[("upstream_closed", 502, 1, "10.0.0.2:9001 (1)")]);
    let finding = only(&gateway.0);
    let note =
        "closed without a response after 6.00 ms, and before that 10.0.0.2:9000 refused the connection";
    assert!(finding.connections[0].notes[0].ends_with(note), "{finding:#?}");
    // The connect is not a finding of its own.
    let host = Host::new();
    let report = crate::diagnosis::judge(&Facts::new(&host.snapshot, None, &gateway.0), &Thresholds::DEFAULT);
    assert!(report.findings.iter().all(|finding| finding.code == CODE), "{:#?}", report.findings);
    // The other way round.
    let mut gateway = Gateway::new();
    gateway.asked("/second", 503, (1_000, 1_010));
    gateway.closed(9_000, "/second", (1_001, 1_003));
    gateway.connect(9_000, How::Refused, (1_004, 1_009));
    gateway.expect(&[("upstream_refused", 503, 1, "10.0.0.2:9000 (1)")]);
}

#[test]
fn behind_a_failure_a_connect_may_be_another_requests() {
    let mut gateway = Gateway::new();
    gateway.asked("/refused", 503, (1_000, 1_010));
    gateway.connect(9_001, How::Refused, (1_005, 1_006));
    gateway.asked("/closing", 503, (1_000, 1_010));
    gateway.closed(9_000, "/closing", (1_001, 1_004));
    gateway.expect(&[
        ("upstream_closed", 503, 1, "10.0.0.2:9000 (1)"),
        ("upstream_refused", 503, 1, "10.0.0.2:9001 (1)"),
    ]);
    // With no other request there, it is the second of two servers.
    let mut gateway = Gateway::new();
    gateway.asked("/second", 503, (1_000, 1_010));
    gateway.closed(9_000, "/second", (1_001, 1_004));
    gateway.connect(9_001, How::Refused, (1_005, 1_006));
    gateway.expect(&[("upstream_refused", 503, 1, "10.0.0.2:9001 (1)")]);
}

#[test]
fn a_gateway_that_changes_paths_and_answers_from_its_memory_has_both_causes() {
    let mut gateway = Gateway::new();
    gateway.asked("/api/users", 502, (1_000, 1_010));
    gateway.closed(9_000, "/users", (1_001, 1_009));
    gateway.asked("/api/users", 502, (1_020, 1_030));
    gateway.connect(9_001, How::Refused, (1_021, 1_022));
    // No live upstreams.
    gateway.asked("/api/users", 502, (2_000, 2_001));
    gateway.expect(&[
        ("own_answer", 502, 1, ""),
        ("upstream_closed", 502, 1, "10.0.0.2:9000 (1)"),
        ("upstream_refused", 502, 1, "10.0.0.2:9001 (1)"),
    ]);
}

#[test]
fn a_server_of_a_pool_is_the_cause_also_where_it_was_asked_for_other_paths_before() {
    let mut gateway = Gateway::new();
    gateway.asked("/users", 502, (500, 510));
    gateway.closed(9_000, "/users", (501, 509));
    gateway.asked("/orders", 502, (600, 610));
    gateway.closed(9_001, "/orders", (601, 609));
    gateway.asked("/users?2", 502, (1_000, 1_010));
    gateway.asked("/orders?2", 502, (1_000, 1_010));
    gateway.connect(9_001, How::Refused, (1_002, 1_003));
    gateway.connect(9_001, How::Refused, (1_004, 1_005));
    let causes = gateway.causes();
    assert_eq!(causes.iter().map(|it| it.2).sum::<u64>(), 4);
    assert!(causes.iter().all(|it| it.0 != "own_answer"), "{causes:#?}");
}

#[test]
fn a_connect_that_failed_for_another_reason_is_a_failure() {
    let mut gateway = Gateway::new();
    gateway.asked("/x", 502, (1_000, 1_010));
    let mut end = failed(10, (1_001, 1_009), How::Error);
    end.close.reason = Some("ECONNABORTED".to_owned());
    life(&mut gateway.0, Vec::new(), Vec::new(), end);
    gateway.expect(&[("upstream_failed", 502, 1, "10.0.0.2:9000 (1)")]);
}

#[test]
fn servers_that_all_refuse_are_all_named() {
    let mut gateway = Gateway::new();
    gateway.asked("/x", 502, (1_000, 1_500));
    gateway.connect(9_000, How::Refused, (1_001, 1_002));
    // After a pause.
    gateway.connect(9_001, How::Refused, (1_498, 1_499));
    gateway.expect(&[("upstream_refused", 502, 1, "10.0.0.2:9000 (1), 10.0.0.2:9001 (1)")]);
    assert!(only(&gateway.0).summary.contains("its connects to 2 upstream servers were refused"));
}

#[test]
fn as_many_connects_as_possible_have_a_request_of_their_own() {
    let mut gateway = Gateway::new();
    for (target, from) in [("/a", 100), ("/b", 200)] {
        gateway.asked(target, 503, (from, from + 10));
        gateway.connect(9_000, How::Refused, (from + 1, from + 2));
    }
    gateway.asked("/b?2", 503, (999, 1_020));
    gateway.asked("/a?2", 503, (1_000, 1_010));
    gateway.asked("/memory", 503, (1_012, 1_018));
    gateway.connect(9_000, How::Refused, (1_003, 1_004));
    gateway.connect(9_000, How::Refused, (1_015, 1_016));
    gateway.expect(&[("own_answer", 503, 1, ""), ("upstream_refused", 503, 4, "10.0.0.2:9000 (4)")]);
}

#[test]
fn a_connect_to_an_unknown_server_is_for_paths_of_which_nothing_is_known() {
    let mut gateway = Gateway::new();
    gateway.asked("/memory", 503, (100, 110));
    gateway.connect(9_000, How::Refused, (101, 102));
    gateway.asked("/memory?2", 503, (1_000, 1_010));
    gateway.asked("/new", 503, (1_000, 1_010));
    gateway.connect(9_001, How::Refused, (1_003, 1_004));
    gateway.expect(&[
        ("own_answer", 503, 1, ""),
        ("upstream_refused", 503, 2, "10.0.0.2:9000 (1), 10.0.0.2:9001 (1)"),
    ]);
    // Alone, it is what failed.
    gateway.asked("/memory?3", 503, (2_000, 2_010));
    gateway.connect(9_002, How::Refused, (2_003, 2_004));
    assert_eq!(gateway.causes()[1].2, 3);
}

#[test]
fn of_many_attempts_for_one_target_no_more_are_remembered_than_fit() {
    const REQUESTS: usize = 5;
    const ATTEMPTS: usize = 40;
    let mut gateway = Gateway::new();
    for _ in 0..REQUESTS {
        gateway.asked("/x", 502, (1_000, 1_500));
    }
    for number in 0..ATTEMPTS as u64 {
        gateway.closed(9_000, "/x", (1_001 + number, 1_400));
    }
    let host = Host::new();
    let facts = Facts::new(&host.snapshot, None, &gateway.0);
    let upstreams = Upstreams::new(&facts);
    let reported = || facts.history.exchanges().gateway_errors().filter(|http| status(http) == Some(502));
    assert_eq!(
        examine(&facts, &upstreams, reported()).iter().map(Examined::tried).sum::<usize>(),
        REQUESTS * ATTEMPTS
    );
    // Of each at least the first, the last, and two between that have its target.
    for (max, left) in [(200, 40), (199, 20), (50, 9), (0, 4)] {
        let mut examined = examine(&facts, &upstreams, reported());
        let (total, most) = leave_out_most(&mut examined, usize::MAX, max);
        let each: Vec<_> = examined.iter().map(Examined::tried).collect();
        assert_eq!((total, each), (left * REQUESTS, vec![left; REQUESTS]), "{max}, {most}");
    }
}
