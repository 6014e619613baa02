//! Tests of exchanges that take long.

use tcp_trace_model::{
    event::State,
    record::{By, Connection, ExchangeTls, Fact, How, Record, StateSpan, TlsLink, Url},
    time::Time,
};

use super::*;
use crate::diagnosis::{
    History,
    testing::Host,
    testing_http::{exchange, life, summary},
};

const RULES: [&str; 3] = ["slow_server", "slow_network", "slow_reader"];

/// So many exchanges of 2 s, and what else is set.
fn history(role: Role, count: u64, set: impl Fn(&mut Http)) -> History {
    let mut history = History::default();
    for index in 0..count {
        let mut http = exchange(role, index, index * 3_000);
        http.exchange.timing.total_us = 2_000_000;
        let path = format!("/users/{index}").as_str().into();
        http.exchange.url = Some(Url { scheme: None, host: Some("api.example".into()), path, query: None });
        set(&mut http);
        history.record(&Record::Http(http));
    }
    history
}

fn stall(retransmits: u64, retransmit_us: u64, zero_window_us: u64) -> Option<Stall> {
    Some(Stall { retransmits, retransmit_us, zero_window_us, ..Stall::default() })
}

/// The time went to the server.
fn waits(http: &mut Http) {
    http.exchange.timing.wait_us = Some(1_990_000);
}

#[test]
fn an_example_has_the_state_that_its_connection_is_in() {
    let state = |summary: Option<(bool, State)>| {
        let mut history = history(Role::Client, 3, waits);
        let connection = exchange(Role::Client, 0, 0).connection;
        if let Some((open, last)) = summary {
            let span = StateSpan { state: last, entered: Time(1), duration_us: None, estimated: false };
            let connection = Connection { connection, open, states: vec![span], ..Connection::default() };
            history.record(&Record::Connection(Box::new(connection)));
        }
        Host::new().judge_with("slow_server", &history)[0].connections[0].state
    };
    assert_eq!(state(None), State::Established);
    assert_eq!(state(Some((true, State::CloseWait))), State::CloseWait);
    assert_eq!(state(Some((false, State::TimeWait))), State::Close, "it has ended");
}

#[test]
fn what_took_the_time_is_reported() {
    type Set = fn(&mut Http);
    let cases: [(&str, &str, Set); 5] = [
        ("slow_server", "first_byte", waits),
        ("slow_network", "retransmits", |http| {
            http.exchange.timing.receive_us = Some(1_990_000);
            http.exchange.timing.stalls =
                Some(Stalls { receive: stall(7, 1_500_000, 0), ..Stalls::default() });
        }),
        // The wait is long, but not the server's.
        ("slow_network", "retransmits", |http| {
            http.exchange.timing.wait_us = Some(1_990_000);
            http.exchange.timing.stalls = Some(Stalls { wait: stall(3, 1_500_000, 0), ..Stalls::default() });
        }),
        ("slow_reader", "client_does_not_read", |http| {
            http.exchange.timing.receive_us = Some(1_990_000);
            http.exchange.timing.stalls =
                Some(Stalls { receive: stall(0, 0, 1_800_000), ..Stalls::default() });
        }),
        ("slow_reader", "server_does_not_read", |http| {
            http.exchange.timing.send_us = Some(1_990_000);
            http.exchange.timing.stalls = Some(Stalls { send: stall(0, 0, 1_800_000), ..Stalls::default() });
        }),
    ];
    for (code, cause, set) in cases {
        let history = history(Role::Client, 3, set);
        for other in RULES {
            let findings = Host::new().judge_with(other, &history);
            assert_eq!(findings.len(), usize::from(other == code), "{cause} {other}");
        }
        let finding = Host::new().judge_with(code, &history).remove(0);
        assert_eq!(finding.cause.as_deref(), Some(cause));
        let start = "3 requests for api.example/users from client (pid 5) to 10.0.0.1:8080 ";
        assert!(finding.summary.starts_with(start), "{}", finding.summary);
        assert_eq!(finding.connections[0].notes.len(), 1);
    }
}

#[test]
fn both_ends_are_reported_once_by_the_one_to_blame() {
    // Of TLS, the server's calls may be seen only from its second exchange on.
    for (before, tls) in [(0, None), (1, Some(ExchangeTls { link: TlsLink::NestedSyscall }))] {
        let mut both = history(Role::Client, 3, |http| {
            waits(http);
            (http.exchange.index, http.exchange.tls) = (http.exchange.index + before, tls);
        });
        let server = history(Role::Server, 3, |http| {
            waits(http);
            http.exchange.tls = tls;
        });
        server.exchanges().slow().for_each(|http| both.record(&Record::Http(http.clone())));
        let findings = Host::new().judge_with("slow_server", &both);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].evidence.get("requests"), Some(&Fact::Number(3)), "{before}");
        assert_eq!(findings[0].process.as_ref().map(|process| process.pid), Some(6));
    }
}

#[test]
fn a_server_that_answered_at_once_is_not_slow() {
    let both = |wait_us: u64, again: Option<Stall>| {
        let ends = [Role::Client, Role::Server].map(|role| {
            let each = (0..3).map(|index| {
                let mut http = exchange(role, index, 1_000 + index * 3_000);
                waits(&mut http);
                http.exchange.timing.total_us = 2_000_000;
                if role == Role::Server {
                    http.exchange.timing.wait_us = Some(wait_us);
                    http.exchange.timing.total_us = wait_us + 90;
                    http.exchange.timing.stalls =
                        again.map(|it| Stalls { receive: Some(it), ..Stalls::default() });
                }
                http
            });
            (each.collect::<Vec<_>>(), summary(role, By::Peer, How::Fin))
        });
        let mut history = History::default();
        ends.into_iter().for_each(|(each, end)| life(&mut history, Vec::new(), each, end));
        let found = RULES.map(|code| Host::new().judge_with(code, &history));
        found
            .concat()
            .into_iter()
            .map(|finding| (finding.cause.unwrap(), finding.evidence))
            .collect::<Vec<_>>()
    };
    let causes = |found: &[(String, _)]| found.iter().map(|(cause, _)| cause.clone()).collect::<Vec<_>>();
    assert_eq!(causes(&both(1_900_000, None)), ["first_byte"]);
    assert_eq!(causes(&both(5_000, None)), Vec::<String>::new(), "what took the time is not known");
    let lost = both(5_000, stall(3, 1_900_000, 0));
    assert_eq!(causes(&lost), ["retransmits"], "only the server's end sees that it sent the response again");
    // Of each connection, the last two exchanges are remembered.
    assert_eq!(lost[0].1.get("requests"), Some(&Fact::Number(2)));
}

#[test]
fn few_waits_and_long_downloads_are_fine() {
    let few = history(Role::Client, 2, waits);
    let download = history(Role::Client, 9, |http| http.exchange.timing.receive_us = Some(1_990_000));
    let quick = history(Role::Client, 9, |http| {
        waits(http);
        http.exchange.timing.total_us = 900_000;
    });
    for history in [few, download, quick] {
        for code in RULES {
            assert_eq!(Host::new().judge_with(code, &history), []);
        }
    }
}

#[test]
fn what_waits_for_its_own_window_holds_up_only_what_waits_at_the_same_time() {
    use tcp_trace_model::http2::Stream;
    for (second_ms, expected) in [
        (1_000, &[("connection_window", Some("POST /pay"))][..]),
        (9_000, &[("connection_window", None), ("stream_window", None)]),
    ] {
        let mut history = History::default();
        for (index, ms, stream_us) in [(0, 0, 1_500_000), (1, second_ms, 0)] {
            let mut http = exchange(Role::Client, index, ms);
            (http.exchange.timing.receive_us, http.exchange.timing.total_us) = (Some(1_990_000), 2_000_000);
            let blocked = Some(Blocked { stream_us, connection_us: 1_500_000 });
            let details = StreamDetails { response_blocked: blocked, ..StreamDetails::default() };
            http.exchange.stream = Some(Box::new(Stream { id: 1, details, grpc: None }));
            history.record(&Record::Http(http));
        }
        let findings = Host::new().judge_with("flow_control", &history);
        let found: Vec<_> = findings
            .iter()
            .map(|it| {
                let names = it.evidence.0.iter().find(|(name, _)| name == "held_up_by");
                (it.cause.as_deref().unwrap_or_default(), names.map(|(_, fact)| format!("{fact:?}")))
            })
            .collect();
        assert_eq!(found.len(), expected.len(), "{second_ms}: {findings:#?}");
        for ((cause, held_up_by), (expected_cause, request)) in found.iter().zip(expected) {
            assert_eq!(cause, expected_cause);
            assert_eq!(held_up_by.is_some(), request.is_some(), "{second_ms}");
            assert!(request.is_none_or(|request| held_up_by.as_ref().is_some_and(|it| it.contains(request))));
        }
    }
}
