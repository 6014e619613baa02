//! The same scene is the same finding from a snapshot, from a trace and from a recording: all scenes at the same time, each at a port of its
//! own, and each way that shows less is named with its reason.

use std::{collections::BTreeMap, time::Instant};

use tcp_trace_core::diagnosis::rules::RULES;
use tcp_trace_model::record::{Finding, Severity};
use tcp_trace_tests::{Diagnosing, Diagnosis, Folder, PATIENCE, Tracer, tcp_trace};

use crate::{http, races, scenes::*, waits};

/// From where on something is a finding here.
const ARGUMENTS: [&str; 8] =
    ["--min-age", "1s", "--min-stall", "1s", "--half-open", "20", "--time-wait", "30"];

/// What judges a scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// A snapshot of this moment.
    Snapshot,
    /// A trace, `--for`.
    Trace,
    /// A recording, `--from`.
    Recording,
}

/// A way that does not show a scene, and why.
type Exception = (Way, &'static str);

const IS_OVER: &[Exception] = &[(Way::Snapshot, "it is over, and a snapshot has no past")];
const IS_HTTP: &[Exception] = &[(Way::Snapshot, "HTTP is not in a snapshot")];
const NEEDS_SETTINGS: &[Exception] =
    &[(Way::Recording, "the range of ephemeral ports is a setting of the network namespace")];
const NEEDS_THREADS: &[Exception] = &[(Way::Recording, "what threads wait for is not recorded")];

/// Code and cause, the scene, and its exceptions.
type Row = (&'static str, &'static str, fn() -> Scene, &'static [Exception]);

const ROWS: &[Row] = &[
    // What takes long comes before what the kernel gives up after a while.
    ("idle_connections", "growing", || here(growing), IS_OVER),
    ("slow_server", "first_byte", || here(slow_server), IS_HTTP),
    ("accept_queue_full", "full", full_queue, &[]),
    ("accept_stalled", "not_accepting", not_accepted, &[]),
    ("syn_backlog", "many_sources", half_open, &[]),
    ("port_exhaustion", "nearly_used_up", ports_in_use, NEEDS_SETTINGS),
    ("self_connected", "simultaneous_open", with_itself, &[]),
    ("close_wait", "not_closed", || stuck(&["leak"], |port| drop(client(port, 0))), &[]),
    ("close_wait", "end_not_read", || stuck(&["end"], |port| drop(client(port, 1))), &[]),
    ("close_wait", "data_not_read", || stuck(&["data"], |port| drop(client(port, 0))), &[]),
    ("close_wait", "answer_due", || stuck(&["leak"], half_closed), &[]),
    ("half_open_peer", "data_unanswered", || wire(data_unanswered), &[]),
    ("half_open_peer", "window_probes_unanswered", || wire(probes_unanswered), &[]),
    ("half_open_peer", "keep_alive_unanswered", || wire(|place| keep_alive(place, 127)), &[]),
    ("zero_window", "process_not_reading", || stuck(&["data"], full_window), &[]),
    ("data_not_read", "requests", || stuck(&["data"], |port| client(port, 0)), &[]),
    ("gateway_errors", "upstream_refused", || here(gateway), IS_HTTP),
    ("connect_refused", "refused", || here(refused), IS_OVER),
    ("connect_timeout", "waiting", || wire(|place| place.begin(place.server)), &[]),
    ("connect_timeout", "no_answer", || wire(timed_out), IS_OVER),
    ("connect_no_route", "no_route", || wire(unreachable), IS_OVER),
    ("connect_slow", "syn_retransmitted", || wire(connected_late), IS_OVER),
    ("listener_closed", "closed_with_queue", || here(closed_listener), IS_OVER),
    ("wrong_protocol", "tls_answered_in_http", || here(tls_to_http), IS_OVER),
    ("response_cut", "closed", || here(|port| http::answered(port, 400, false)), IS_HTTP),
    ("response_cut", "reset", || here(|port| http::answered(port, 400, true)), IS_HTTP),
    ("unread_data_reset", "closed_with_unread_data", || here(|port| http::uploaded(port, false)), IS_HTTP),
    ("no_response", "server_closed", || here(|port| http::silent(port, None)), IS_HTTP),
    ("no_response", "client_gave_up", || here(given_up), IS_HTTP),
    ("no_response", "waiting", || here(waits::asked), IS_HTTP),
    ("used_after_close", "connection_was_ended", || here(used_after_close), IS_HTTP),
    ("keepalive_race", "request_unread", || here(|port| races::unread(port, false)), IS_HTTP),
    ("answer_not_read", "closed_unread", || here(answer_unread), IS_HTTP),
    ("connection_died", "keep_alive_unanswered", || wire(died), IS_OVER),
    ("websocket_not_closed", "not_ended", || here(websocket), IS_HTTP),
    ("slow_reader", "client_does_not_read", || here(slow_reader), IS_HTTP),
    ("descriptor_kept", "other_program", || stuck(&["copy"], |port| client(port, 1)), NEEDS_THREADS),
    ("idle_connections", "descriptors", || here(idle), &[]),
    ("fin_wait2_stuck", "half_closed", || wire(fin_wait2), &[]),
    ("fin_wait1_unsent", "no_answer", || wire(fin_wait1), &[]),
    ("closing_stuck", "no_answer", || wire(closing), &[]),
    ("last_ack_stuck", "no_answer", || wire(last_ack), &[]),
    ("time_wait_pileup", "many", time_waits, &[]),
];

/// Rules that have no scene here, and why.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "connect_port_taken",
        "kernels differ in whether a port in TIME_WAIT is taken: tests/lives, and the core's scenes",
    ),
    ("tls_handshake", "needs a program that speaks TLS: tests/tls"),
    ("goaway_race", "needs a program that speaks HTTP/2: tests/http2.rs"),
    ("stream_refused", "needs a program that speaks HTTP/2: tests/http2.rs"),
    ("flow_control", "needs a program that speaks HTTP/2: tests/http2.rs"),
    ("not_reused", "needs a way that takes a millisecond: the core's scenes"),
    ("slow_network", "needs a router that drops: tests/diagnose/network.rs"),
    ("delayed_ack_stall", "needs many messages that the test times itself: tests/diagnose/small_writes.rs"),
];

/// Code, cause, of how many connections, the process, and how severe.
type Found = (String, String, u64, Option<u32>, Severity);

/// What was found at each of these ports.
fn found(diagnosis: &Diagnosis, ports: &[u16]) -> BTreeMap<u16, Vec<Found>> {
    let port_of = |finding: &Finding| {
        let ends = finding.connections.iter().flat_map(|it| [it.network.local.port, it.network.peer.port]);
        // Without examples, that of an address in the summary.
        let words = finding.summary.split(':').skip(1).map(|rest| {
            rest.split(|letter: char| !letter.is_ascii_digit()).next().unwrap_or_default().parse::<u16>()
        });
        let mut all = ends.chain(words.flatten());
        all.find(|port| ports.contains(port)).unwrap_or_else(|| panic!("of no scene: {finding:#?}"))
    };
    let mut found = BTreeMap::<u16, Vec<Found>>::new();
    for finding in &diagnosis.findings {
        let connections = finding.connections.len() as u64 + finding.connections_omitted;
        let process = finding.process.as_ref().map(|process| process.pid);
        let cause = finding.cause.clone().unwrap_or_default();
        let row = (finding.code.clone(), cause, connections, process, finding.severity);
        found.entry(port_of(finding)).or_default().push(row);
    }
    found
}

#[test]
fn every_scene_is_the_same_finding_three_ways() {
    let prepared: Vec<_> = ROWS.iter().map(|row| (row, (row.2)())).collect();
    let ports: Vec<_> = prepared.iter().map(|(_, scene)| scene.port).collect();
    let all = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
    let filter = ["--port", &all];
    let arguments = [&filter[..], &ARGUMENTS].concat();
    let (tracer, tracing) = (Tracer::start(&filter), Diagnosing::of_host(&arguments));
    let kept: Vec<_> =
        prepared.into_iter().map(|((code, cause, ..), scene)| ((code, cause), (scene.make)())).collect();
    let is_in = |way: Way, row: &Row| row.3.iter().all(|exception| exception.0 != way);
    let names = |way| -> BTreeMap<u16, Vec<(&str, &str)>> {
        let rows = ROWS.iter().zip(&ports).filter(|(row, _)| is_in(way, row));
        rows.map(|(row, port)| (*port, vec![(row.0, row.1)])).collect()
    };
    let names_of = |found: &BTreeMap<u16, Vec<Found>>| -> BTreeMap<u16, Vec<(String, String)>> {
        let pairs = |found: &Vec<Found>| found.iter().map(|it| (it.0.clone(), it.1.clone())).collect();
        found.iter().map(|(port, found)| (*port, pairs(found))).collect()
    };
    let owned = |names: BTreeMap<u16, Vec<(&str, &str)>>| -> BTreeMap<u16, Vec<(String, String)>> {
        let own = |(code, cause): (&str, &str)| (code.to_owned(), cause.to_owned());
        names.into_iter().map(|(port, names)| (port, names.into_iter().map(own).collect())).collect()
    };
    let begun = Instant::now();
    let now_found = loop {
        let found = found(&Diagnosis::with(tcp_trace(), &arguments), &ports);
        if names_of(&found) == owned(names(Way::Snapshot)) {
            break found;
        }
        let expected = names(Way::Snapshot);
        assert!(begun.elapsed() < PATIENCE, "{found:#?} in place of {expected:#?}");
    };
    let traced = found(&tracing.end(), &ports);
    let folder = Folder::new();
    let file = folder.file("recording.jsonl");
    std::fs::write(&file, tracer.stop_for_text()).expect("the folder is ours");
    let from = ["--from", file.to_str().expect("it is UTF-8")];
    let recorded = found(&Diagnosis::with(tcp_trace(), &[&from[..], &ARGUMENTS].concat()), &ports);
    assert_eq!(names_of(&traced), owned(names(Way::Trace)), "--for");
    assert_eq!(names_of(&recorded), owned(names(Way::Recording)), "--from");
    for (row, port) in ROWS.iter().zip(&ports) {
        let each = [(Way::Snapshot, &now_found), (Way::Trace, &traced), (Way::Recording, &recorded)];
        let shown: Vec<_> = each.into_iter().filter(|(way, _)| is_in(*way, row)).collect();
        for (way, found) in &shown {
            let (all, first) = (&found[port], &shown[0].1[port]);
            let counts = |all: &[Found]| all.iter().map(|it| it.2).collect::<Vec<_>>();
            assert_eq!(counts(all), counts(first), "{}/{}: {way:?}", row.0, row.1);
            for (one, other) in all.iter().zip(first) {
                // A snapshot does not know whose a socket was that no process has open any more.
                let is_known = shown[0].0 != Way::Snapshot || other.3.is_some();
                assert_eq!(one.4, other.4, "{}/{}: {way:?}", row.0, row.1);
                assert!(one.3 == other.3 || !is_known, "{}/{}: {way:?}: {one:?} {other:?}", row.0, row.1);
            }
        }
    }
    drop(kept);
}

#[test]
fn every_rule_has_a_scene_or_a_reason() {
    for rule in RULES {
        let scenes = ROWS.iter().filter(|row| row.0 == rule.code).count();
        let reasons = ELSEWHERE.iter().filter(|(code, _)| *code == rule.code).count();
        assert!(scenes > 0 && reasons == 0 || scenes == 0 && reasons == 1, "{}", rule.code);
    }
    let of_scenes = ROWS.iter().flat_map(|row| row.3).map(|(_, reason)| *reason);
    assert!(of_scenes.chain(ELSEWHERE.iter().map(|(_, reason)| *reason)).all(|reason| !reason.is_empty()));
}
