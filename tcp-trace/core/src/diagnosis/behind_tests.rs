//! Tests of what goes wrong behind a process that is asked itself: one fault is one finding, that of the last one behind.

use std::sync::Arc;

use proptest::prelude::*;
use tcp_trace_model::{
    event::{Role, State},
    record::{
        By, Connection, ConnectionId, ConnectionInfo, Fact, Finding, How, Http, Network, Outcome, Process,
        Url,
    },
};

use crate::diagnosis::{
    Facts, History, Thresholds, judge,
    testing::Host,
    testing_http::{at, cut, exchange, info, life, summary, unanswered},
};

/// What goes wrong with an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Slow,
    GivenUp,
    Cut,
    Closed,
}

const FAULTS: [Fault; 4] = [Fault::Slow, Fault::GivenUp, Fault::Cut, Fault::Closed];

/// Where an exchange is: between a client and the gateway at 10.0.0.1:8080, or between that and the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Front,
    Behind,
}

/// The process that is asked at the front, and asks behind.
const GATEWAY: u32 = 6;

/// An end of the connection with this number.
fn end(place: Place, role: Role, number: u16, asking: u32) -> ConnectionInfo {
    let mut info = info(role);
    let cookie =
        u64::from(number) * 4 + u64::from(place == Place::Behind) * 2 + u64::from(role == Role::Server);
    info.id = ConnectionId::of_socket(cookie + 100, 0);
    if place == Place::Behind {
        let ports = (41_000 + number, 80);
        let (local, peer) = if role == Role::Client { ports } else { (ports.1, ports.0) };
        let address = |port| format!("{}:{port}", if port == 80 { "10.0.0.5" } else { "10.0.0.1" });
        let ends = (address(local).parse().unwrap(), address(peer).parse().unwrap());
        info.network =
            Some(Network::new(tcp_trace_model::event::Endpoints { local: ends.0, peer: ends.1 }, None));
        let (pid, name) = if role == Role::Client { (asking, "api") } else { (8, "backend") };
        info.process = Some(Arc::new(Process { pid, name: name.into(), ..Process::default() }));
    } else if let Some(network) = &mut info.network {
        let client = if role == Role::Client { &mut network.local } else { &mut network.peer };
        client.port = 50_000 + number;
    }
    info
}

/// An exchange with this fault that begins at this time and takes so long, and its connection's end.
fn lived(fault: Fault, info: &ConnectionInfo, (from_ms, took_ms): (u64, u64)) -> (Http, Connection) {
    let role = info.role.unwrap();
    let by = |server: bool| if server == (role == Role::Server) { By::Local } else { By::Peer };
    let (mut http, mut end) = match fault {
        Fault::Slow => (exchange(role, 0, from_ms), summary(role, by(false), How::Fin)),
        Fault::GivenUp => {
            (unanswered(role, 0, from_ms, Outcome::NoResponse), summary(role, by(false), How::Fin))
        }
        Fault::Cut => (cut(role, Outcome::Truncated), summary(role, by(true), How::Fin)),
        Fault::Closed => {
            (unanswered(role, 0, from_ms, Outcome::NoResponse), summary(role, by(true), How::Fin))
        }
    };
    let timing = &mut http.exchange.timing;
    (timing.started, timing.total_us) = (at(from_ms), took_ms * 1_000);
    timing.wait_us = Some(took_ms * 1_000);
    http.time = at(from_ms + took_ms);
    let path = "/pay".into();
    http.exchange.url = Some(Url { scheme: None, host: Some("shop".into()), path, query: None });
    (http.connection, end.connection) = (Arc::new(info.clone()), Arc::new(info.clone()));
    (http, end)
}

/// Exchanges at both places: with these faults, from when, for how long, and which process asked behind.
#[derive(Clone, Debug)]
struct Scene {
    front: (Fault, u64, u64),
    behind: (Fault, u64, u64),
    asking: u32,
    count: u16,
}

/// So many pairs of exchanges in which the backend's fault is passed on.
fn passed_on(fault: Fault, count: u16) -> Scene {
    Scene { front: (fault, 1_000, 2_000), behind: (fault, 1_001, 1_998), asking: GATEWAY, count }
}

fn record(scene: &Scene, history: &mut History) {
    record_as(scene, history, |http, _| http);
}

fn record_as(scene: &Scene, history: &mut History, changed: impl Fn(Http, Place) -> Http) {
    for number in 0..scene.count {
        let later = u64::from(number) * 5_000;
        for (place, (fault, from, took)) in [(Place::Behind, scene.behind), (Place::Front, scene.front)] {
            let ends = [Role::Client, Role::Server].map(|role| end(place, role, number, scene.asking));
            for (own, other) in [(0, 1), (1, 0)] {
                let (http, mut end) = lived(fault, &ends[own], (from + later, took));
                end.peer_connection = Some(ends[other].id);
                life(history, Vec::new(), vec![changed(http, place)], end);
            }
        }
    }
}

fn found(scene: &Scene) -> Vec<Finding> {
    let mut history = History::default();
    record(scene, &mut history);
    let host = Host::new();
    judge(&Facts::new(&host.snapshot, None, &history), &Thresholds::DEFAULT).findings
}

#[test]
fn what_is_passed_on_is_one_finding_of_the_server_behind() {
    for (fault, code, count) in [
        (Fault::Slow, "slow_server", 3),
        (Fault::GivenUp, "no_response", 1),
        (Fault::Cut, "response_cut", 1),
        (Fault::Closed, "no_response", 1),
    ] {
        let findings = found(&passed_on(fault, count));
        let [finding] = findings.as_slice() else { panic!("{fault:?}: {findings:#?}") };
        assert_eq!(finding.code, code);
        assert!(finding.summary.contains("10.0.0.5:80"), "{}", finding.summary);
        let expected = Fact::List(vec![format!("api (pid 6) at 10.0.0.1:8080 ({count})")]);
        assert_eq!(finding.evidence.get("passed_on_by"), Some(&expected));
    }
}

#[test]
fn what_goes_wrong_at_the_front_alone_is_its_own() {
    let scene = passed_on(Fault::Slow, 3);
    for (words, scene, expected) in [
        ("another process asks", Scene { asking: 7, ..scene.clone() }, 2),
        ("it began before", Scene { behind: (Fault::Slow, 999, 1_998), ..scene.clone() }, 2),
        ("it ended later", Scene { behind: (Fault::Slow, 1_001, 2_500), ..scene.clone() }, 2),
        ("it took a small part", Scene { front: (Fault::Slow, 1_000, 4_000), ..scene.clone() }, 2),
        ("few wait behind, and it is no finding", Scene { count: 2, ..scene.clone() }, 0),
        ("another fault", Scene { front: (Fault::Cut, 1_000, 2_000), ..scene }, 2),
    ] {
        let findings = found(&scene);
        assert_eq!(findings.len(), expected, "{words}: {findings:#?}");
        assert!(findings.iter().all(|finding| finding.evidence.get("passed_on_by").is_none()), "{words}");
    }
}

/// A client that does not wait as long as the gateway: the server behind it answers late.
#[test]
fn a_late_answer_to_a_gateway_whose_client_gave_up_is_the_servers() {
    let scene = |count| Scene {
        front: (Fault::GivenUp, 1_000, 1_200),
        behind: (Fault::Slow, 1_001, 2_000),
        ..passed_on(Fault::Slow, count)
    };
    for (count, code, address) in [(3, "slow_server", "10.0.0.5:80"), (2, "no_response", "10.0.0.1:8080")] {
        let findings = found(&scene(count));
        let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
        assert_eq!(finding.code, code);
        assert!(finding.summary.contains(address), "{}", finding.summary);
    }
}

/// That a connection has a finding of its own says nothing of the server behind its exchange.
#[test]
fn a_finding_of_the_front_connections_hides_no_slow_server_behind() {
    let (scene, mut history) = (passed_on(Fault::Slow, 3), History::default());
    record(&scene, &mut history);
    let mut host = Host::new();
    let client = host.process(5, "client");
    for number in 0..3 {
        let local = format!("10.0.0.9:{}", 50_000 + number);
        let socket = host.socket(Some(client), State::CloseWait, &local, "10.0.0.1:8080").idle(90);
        socket.diag.cookie = end(Place::Front, Role::Client, number, GATEWAY).id.cookie;
    }
    let facts = Facts::new(&host.snapshot, None, &history);
    let findings = judge(&facts, &Thresholds::DEFAULT).findings;
    let mut codes: Vec<_> = findings.iter().map(|finding| finding.code.as_str()).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["close_wait", "slow_server"], "{findings:#?}");
}

/// One thread of a server works, another one waits for something else.
#[test]
fn of_several_requests_at_once_only_one_with_the_same_target_is_passed_on() {
    for (target, expected) in [("/metrics", 2), ("/pay", 1), ("/shop/pay", 1)] {
        let mut history = History::default();
        let changed = |mut http: Http, place: Place| {
            if place == Place::Behind {
                http.exchange.request.as_mut().unwrap().target = target.into();
            }
            http
        };
        let mut scene = passed_on(Fault::Cut, 1);
        record_as(&scene, &mut history, changed);
        // Another request, which goes well.
        scene.front = (Fault::Slow, 1_500, 90);
        let ends = [Role::Client, Role::Server].map(|role| end(Place::Front, role, 9, GATEWAY));
        for of in &ends {
            let (http, summary) = lived(Fault::Slow, of, (1_500, 90));
            life(&mut history, Vec::new(), vec![http], summary);
        }
        let host = Host::new();
        let facts = Facts::new(&host.snapshot, None, &history);
        let findings = judge(&facts, &Thresholds::DEFAULT).findings;
        assert_eq!(findings.len(), expected, "{target}: {findings:#?}");
    }
}

/// What is found of these where the processes of these ends are not known.
fn without_processes(fault: Fault, hidden: &[(Place, Role)], target_behind: &str) -> Vec<Finding> {
    let mut history = History::default();
    for number in 0..3 {
        let later = u64::from(number) * 5_000;
        for (place, from, took) in [(Place::Behind, 1_001, 1_998), (Place::Front, 1_000, 2_000)] {
            let ends = [Role::Client, Role::Server].map(|role| {
                let mut end = end(place, role, number, GATEWAY);
                end.process = end.process.filter(|_| !hidden.contains(&(place, role)));
                end
            });
            for (own, other) in [(0, 1), (1, 0)] {
                let (mut http, mut summary) = lived(fault, &ends[own], (from + later, took));
                if place == Place::Behind {
                    http.exchange.request.as_mut().unwrap().target = target_behind.into();
                }
                summary.peer_connection = Some(ends[other].id);
                life(&mut history, Vec::new(), vec![http], summary);
            }
        }
    }
    let host = Host::new();
    judge(&Facts::new(&host.snapshot, None, &history), &Thresholds::DEFAULT).findings
}

#[test]
fn a_relay_whose_process_is_not_known_is_not_told_twice_and_no_process_is_named() {
    let (asked, asking) = ((Place::Front, Role::Server), (Place::Behind, Role::Client));
    for hidden in [&[asked, asking][..], &[asked], &[asking]] {
        for fault in FAULTS {
            let findings = without_processes(fault, hidden, "/shop/pay");
            let [finding] = findings.as_slice() else { panic!("{fault:?} {hidden:?}: {findings:#?}") };
            assert!(finding.summary.contains("10.0.0.5:80"), "{}", finding.summary);
            let who = if hidden.contains(&asked) { "an unknown process" } else { "api (pid 6)" };
            let expected = Fact::List(vec![format!("{who} at 10.0.0.1:8080 (3)")]);
            assert_eq!(finding.evidence.get("passed_on_by"), Some(&expected));
            // Only the target says that they belong together.
            assert_eq!(without_processes(fault, hidden, "/metrics").len(), 2, "{fault:?} {hidden:?}");
        }
    }
}

/// A cache that asks once for all who want the same at that time: what is found of so many requests, each so much later than the one before.
fn waiting_for_one(count: u16, apart_ms: u64, method: &str, own: bool) -> Vec<Finding> {
    let mut history = History::default();
    let mut add = |place: Place, number: u16, from: u64, until: u64| {
        let ends = [Role::Client, Role::Server].map(|role| end(place, role, number, GATEWAY));
        for (own, other) in [(0, 1), (1, 0)] {
            let (mut http, mut summary) = lived(Fault::Slow, &ends[own], (from, until - from));
            http.exchange.request.as_mut().unwrap().method = method.into();
            summary.peer_connection = Some(ends[other].id);
            life(&mut history, Vec::new(), vec![http], summary);
        }
    };
    for round in 0..3 {
        let (began, first) = (1_000 + u64::from(round) * 20_000, round * 20);
        add(Place::Behind, first, began + 1, began + 8_000);
        for number in 0..count {
            let from = began + u64::from(number) * apart_ms;
            add(Place::Front, first + number, from, began + 8_010 + u64::from(number) * 100);
            if own && number > 0 {
                add(Place::Behind, first + number, from + 7_000, from + 7_020);
            }
        }
    }
    let host = Host::new();
    judge(&Facts::new(&host.snapshot, None, &history), &Thresholds::DEFAULT).findings
}

#[test]
fn who_waits_for_what_a_cache_has_asked_for_somebody_else_is_told_with_that() {
    let findings = waiting_for_one(4, 500, "GET", false);
    let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
    assert_eq!(finding.code, "slow_server");
    assert!(finding.summary.contains("10.0.0.5:80"), "{}", finding.summary);
    let expected = Fact::List(vec!["api (pid 6) at 10.0.0.1:8080 (12)".to_owned()]);
    assert_eq!(finding.evidence.get("passed_on_by"), Some(&expected));
    // What is not asked for again, or was asked for each, is not known to have waited for that.
    assert_eq!(waiting_for_one(4, 500, "POST", false).len(), 2);
    assert_eq!(waiting_for_one(4, 500, "GET", true).len(), 2);
}

proptest! {
    #[test]
    fn no_exchange_is_in_two_findings(
        front in 0_usize..4,
        behind in 0_usize..4,
        (from, took) in (990_u64..3_100, 1_u64..4_000),
        asking in prop_oneof![Just(GATEWAY), Just(7)],
        count in 1_u16..5,
    ) {
        let scene = Scene {
            front: (FAULTS[front], 1_000, 2_000),
            behind: (FAULTS[behind], from, took),
            asking,
            count,
        };
        let findings = found(&scene);
        let ends = |finding: &Finding| -> Vec<_> {
            let ports = finding.connections.iter().map(|it| (it.network.local.port, it.network.peer.port));
            ports.map(|(local, peer)| (local.min(peer), local.max(peer))).collect()
        };
        let mut all: Vec<_> = findings.iter().flat_map(ends).collect();
        let shown = all.len();
        all.sort_unstable();
        all.dedup();
        prop_assert_eq!(all.len(), shown, "{:#?}", findings);
    }
}
