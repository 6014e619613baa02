//! Each rule's fault, its healthy twin, and what looks like it and has another cause: in every scene, all that is found.

mod connects;
mod exchanges;
mod http;
mod http2;
mod loss;
mod once;
mod protocols;
mod recording;
mod sockets;

use std::{collections::HashSet, net::IpAddr};

use tcp_trace_model::record::{Connection, Finding, FindingConnection, Http, Network, Record};

use super::{
    Facts, History, Thresholds, judge, recorded,
    rules::RULES,
    testing::{self, Host},
    testing_http,
};

/// What is known in a scene.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    /// The sockets as the trace began, when there was one.
    pub(super) before: Option<Host>,
    /// The sockets now.
    pub(super) now: Host,
    /// What was traced.
    pub(super) records: Vec<Record>,
}

/// A scene, and what is found in it: `code` or `code/cause`, in the order of the rules.
type Known = (&'static str, fn() -> Scene, &'static [&'static str]);

/// The scenes of a rule.
pub(super) struct Scenes {
    /// The rule.
    pub(super) code: &'static str,
    /// The fault.
    pub(super) fault: Known,
    /// The same without it: nothing is found.
    pub(super) twin: (&'static str, fn() -> Scene),
    /// Scenes that resemble the fault, where it is not that.
    pub(super) look_alikes: &'static [Known],
}

/// Those of all rules.
pub(super) fn all() -> impl Iterator<Item = &'static Scenes> {
    [sockets::SCENES, connects::SCENES, protocols::SCENES, exchanges::SCENES, http::SCENES, http2::SCENES]
        .into_iter()
        .flatten()
}

impl Scene {
    /// Of sockets.
    pub(super) fn of(now: Host) -> Self {
        Self { before: None, now, records: Vec::new() }
    }

    /// Of one end's life, as in [`testing_http::life`].
    pub(super) fn lived(segments: Vec<Record>, exchanges: Vec<Http>, end: Connection) -> Self {
        Self::of(Host::new()).and(segments, exchanges, end)
    }

    /// With another end's life.
    pub(super) fn and(mut self, segments: Vec<Record>, exchanges: Vec<Http>, end: Connection) -> Self {
        self.records.extend(testing_http::life_records(segments, exchanges, end));
        self
    }

    /// With the sockets as the trace began.
    pub(super) fn since(self, before: Host) -> Self {
        Self { before: Some(before), ..self }
    }

    /// What was traced.
    pub(super) fn history(&self) -> History {
        let mut history = History::default();
        self.records.iter().for_each(|record| history.record(record));
        history
    }

    /// What all rules find.
    pub(super) fn found(&self) -> Vec<Finding> {
        let history = self.history();
        let before = self.before.as_ref().map(|before| &before.snapshot);
        judge(&Facts::new(&self.now.snapshot, before, &history), &Thresholds::DEFAULT).findings
    }
}

/// The findings as `code/cause`.
fn names(findings: &[Finding]) -> Vec<String> {
    let mut names: Vec<_> = findings.iter().map(name).collect();
    names.sort();
    names
}

/// A finding as `code/cause`.
pub(super) fn name(finding: &Finding) -> String {
    format!("{}/{}", finding.code, finding.cause.as_deref().unwrap_or_default())
}

/// What is found otherwise than expected.
fn differences<'a>(scenes: impl Iterator<Item = &'a Known>) -> Vec<String> {
    let difference = |(words, scene, expected): &Known| {
        let (found, mut expected) = (names(&scene().found()), expected.to_vec());
        expected.sort_unstable();
        (found != expected).then(|| format!("{words}: {found:?} in place of {expected:?}"))
    };
    scenes.filter_map(difference).collect()
}

#[test]
fn every_fault_is_found_and_is_one_finding() {
    assert!(all().all(|rule| rule.fault.2.iter().any(|name| code(name) == rule.code)));
    assert_eq!(differences(all().map(|rule| &rule.fault)), [""; 0]);
}

#[test]
fn a_twin_has_no_finding() {
    let twins: Vec<Known> = all().map(|rule| (rule.twin.0, rule.twin.1, &[][..])).collect();
    assert_eq!(differences(twins.iter()), [""; 0]);
}

#[test]
fn what_looks_like_a_fault_is_found_as_what_it_is() {
    assert_eq!(differences(all().flat_map(|rule| rule.look_alikes)), [""; 0]);
}

#[test]
fn what_two_rules_see_is_told_by_the_one_that_knows_the_cause() {
    assert_eq!(differences(once::SCENES.iter()), [""; 0]);
}

#[test]
fn no_socket_and_no_exchange_is_in_two_findings() {
    let of_rules = all().flat_map(|rule| rule.look_alikes.iter().chain([&rule.fault]));
    for (words, scene, _) in of_rules.chain(once::SCENES) {
        let findings = scene().found();
        let each: Vec<HashSet<_>> =
            findings.iter().map(|finding| finding.connections.iter().map(whose).collect()).collect();
        for (at, one) in each.iter().enumerate() {
            let is_told = |it: &Told<'_>| each[..at].iter().flatten().any(|other| are_same(it, other));
            assert!(!one.iter().any(is_told), "{words}: {findings:#?}");
        }
    }
}

/// The ends of a connection, in one order, and the request, where a finding is about one.
type Told<'a> = ([(IpAddr, u16); 2], Option<&'a str>);

fn whose(connection: &FindingConnection) -> Told<'_> {
    let Network { local, peer, .. } = connection.network;
    let mut ends = [(local.address, local.port), (peer.address, peer.port)];
    ends.sort_unstable();
    let note = connection.notes.first().and_then(|note| note.split(':').next());
    // `GET /x`; not `other end`.
    let is_request =
        |note: &&str| *note == "no request" || note.starts_with(|it: char| it.is_ascii_uppercase());
    (ends, note.filter(is_request))
}

/// Of a connection, each exchange may fail for a reason of its own; a socket's fault is that of all on it.
fn are_same((ends, request): &Told<'_>, (other_ends, other): &Told<'_>) -> bool {
    ends == other_ends && (request.is_none() || other.is_none() || request == other)
}

#[test]
fn every_rule_has_a_twin_and_two_look_alikes_with_another_cause() {
    for rule in RULES {
        let scenes: Vec<_> = all().filter(|scenes| scenes.code == rule.code).collect();
        let [scenes] = scenes.as_slice() else { panic!("{}: {} times", rule.code, scenes.len()) };
        assert!(scenes.look_alikes.len() >= 2, "{} has too few", rule.code);
        for (words, _, found) in scenes.look_alikes {
            assert!(found.iter().all(|name| !scenes.fault.2.contains(name)), "{}: {words}", rule.code);
        }
    }
}

#[test]
fn what_is_recorded_without_sockets_is_judged_the_same_from_a_recording() {
    for rule in all() {
        let twin: Known = (rule.twin.0, rule.twin.1, &[]);
        for (words, scene, _) in rule.look_alikes.iter().chain([&rule.fault, &twin]) {
            let scene = scene();
            if scene.before.is_none() && scene.now.snapshot.sockets.is_empty() {
                let history = scene.history();
                let end = recorded::snapshot(&history);
                let findings = judge(&Facts::new(&end, None, &history), &Thresholds::DEFAULT).findings;
                assert_eq!(names(&findings), names(&scene.found()), "{}: {words}", rule.code);
            }
        }
    }
}

#[test]
fn the_documentation_has_each_rule_with_its_look_alikes() {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/diagnose.md"));
    let mut missing = Vec::new();
    for rule in all() {
        let is_its = |row: &&str| {
            let first = row.split('|').nth(1).unwrap_or_default();
            row.starts_with("| `")
                && row.split('|').count() > 5
                && first.contains(&format!("`{}`", rule.code))
        };
        let rows: Vec<_> = text.lines().filter(is_its).collect();
        missing.extend(rows.is_empty().then(|| format!("{} has no row", rule.code)));
        let look_alikes: String = rows.iter().filter_map(|row| row.split('|').nth(4)).collect();
        for (words, _, found) in rule.look_alikes {
            for other in found.iter().map(|name| code(name)).filter(|code| *code != rule.code) {
                if !look_alikes.contains(&format!("`{other}`")) {
                    missing.push(format!("the row of {} does not name {other}: {words}", rule.code));
                }
            }
        }
    }
    assert_eq!(missing, [""; 0]);
}

/// The rule's code of `code/cause`.
fn code(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

/// A server at [`testing_http::SERVER`] with an empty accept queue.
fn server() -> (Host, u32) {
    let mut host = Host::new();
    let api = host.process(6, "api");
    host.listener(Some(api), 0, 128);
    (host, api)
}

/// A client, which has connected to `10.0.0.5:80` by this port and then was quiet for so many seconds.
fn client(state: tcp_trace_model::event::State, seconds: u32) -> (Host, u32) {
    let mut host = Host::new();
    let client = host.process(5, "client");
    host.socket(Some(client), state, "10.0.0.1:50000", "10.0.0.5:80").idle(seconds);
    (host, client)
}

/// The last socket of a host.
fn last(host: &mut Host) -> &mut super::snapshot::Socket {
    host.snapshot.sockets.last_mut().unwrap()
}

/// The network namespace's counters.
fn counted(mut host: Host, counters: &[(&str, u64)]) -> Host {
    let network = host.snapshot.networks.iter_mut().find(|it| it.netns == testing::NETNS).unwrap();
    network.counters = counters.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    host
}
