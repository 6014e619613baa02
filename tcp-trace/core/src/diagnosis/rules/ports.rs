//! TIME_WAIT that piles up, and ephemeral ports that run out towards one destination.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use tcp_trace_model::{
    event::State,
    record::{Evidence, Finding, Process, Severity},
};

use super::super::{
    Facts, Findings, Thresholds,
    attempts::Sums,
    finding::{Case, Service, grouped, named, of, places, who},
    snapshot::{Network, Socket},
};
use crate::prose::counted;

/// How long TIME_WAIT lasts, in milliseconds (`TCP_TIMEWAIT_LEN`).
const TIME_WAIT_MS: u32 = 60_000;

/// Percentage of the ports from which on connects are about to fail.
const CRITICAL_PERCENT: u64 = 98;

/// Many sockets of one service in TIME_WAIT, where ports are not what runs out.
pub(super) fn time_wait(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    let cases = facts.in_state(State::TimeWait).map(|socket| Case::new(socket, None));
    // Where ports run out, these are why.
    let cases: Vec<_> = cases.filter(|case| !findings.explain(case.socket.connection())).collect();
    for (service, cases) in grouped(cases.into_iter(), |case| Service::of(facts, case.socket)) {
        let most = cases.first().and_then(|case| facts.network(case.socket.netns)?.max_time_wait);
        let count = cases.len() as u64;
        let is_at_limit = most.is_some_and(|most| count * 10 >= most * 9);
        if count < thresholds.time_wait && !is_at_limit {
            continue;
        }
        let process = closer(facts, service, &cases);
        findings.push(Finding {
            cause: Some(if is_at_limit { "at_the_limit" } else { "many" }.to_owned()),
            severity: if is_at_limit { Severity::Warning } else { Severity::Notice },
            summary: format!(
                "{}, {service}, in TIME_WAIT: {} closes them first, and each stays for 60 s.",
                counted(cases.len(), "socket"),
                process.as_ref().map_or("this host".to_owned(), named),
            ),
            evidence: habits(facts, service)
                .and("sockets", count)
                .and("closed_per_second", count / 60)
                .and_known("limit", most)
                .and("peers", places(cases.iter().map(|case| case.socket.diag.endpoints.peer.ip()))),
            why: "The end that closes first keeps the connection in TIME_WAIT. This many mean a new connection for \
                  nearly every request. On a server they only cost memory; on a client each also holds a port."
                .to_owned(),
            advice: "Reuse connections: keep-alive and a pool in the client, a keep-alive timeout and enough \
                     requests per connection in the server. Let the client close first where it can. Beyond \
                     net.ipv4.tcp_max_tw_buckets the kernel forgets them at once."
                .to_owned(),
            process,
            ..of(facts, cases)
        });
    }
}

/// The process that closed them: sockets in TIME_WAIT have none. The listener's; otherwise the process that was seen
/// to close most of them, or one that has others of the same service now.
fn closer(facts: &Facts<'_>, service: Service, cases: &[Case<'_>]) -> Option<Process> {
    let now = match service {
        Service::Accepted(_) => facts.owner(facts.listener_of(cases.first()?.socket)?),
        Service::ConnectedTo(peer) => {
            let traced = facts.history.attempts().destinations().filter(|(to, _)| to.peer == peer);
            let closer = traced.max_by_key(|(_, sums)| sums.closed_first).map(|(_, sums)| sums);
            if let Some(Sums { process: Some(process), closed_first: 1.., .. }) = closer {
                return Some(process.clone());
            }
            let mut same = facts.now.sockets.iter().filter(|socket| socket.diag.endpoints.peer == peer);
            same.find_map(|socket| facts.owner(socket))
        }
    };
    now.map(|process| process.named.clone())
}

/// How connections to a destination were used, if that was traced.
fn habits(facts: &Facts<'_>, service: Service) -> Evidence {
    let Service::ConnectedTo(peer) = service else { return Evidence::default() };
    let all =
        || facts.history.attempts().destinations().filter(|(to, _)| to.peer == peer).map(|(_, sums)| sums);
    let sum = |of: fn(&Sums) -> u64| Some(all().map(of).sum::<u64>()).filter(|sum| *sum > 0);
    Evidence::default()
        .and_known("traced_connections", sum(|sums| sums.established))
        .and_known("closed_first_here", sum(|sums| sums.closed_first))
        .and_known("http_exchanges_on_them", sum(|sums| sums.exchanges))
        .and_known("told_to_close_by_a_header", sum(|sums| sums.told_to_close))
}

/// The ports of one local address that are in use towards one destination.
struct Used<'a> {
    ports: BTreeSet<u16>,
    time_wait: u64,
    cases: Vec<Case<'a>>,
}

/// Ephemeral ports towards one destination that are used up, or nearly.
pub(super) fn exhaustion(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    let mut destinations = BTreeMap::<(u32, IpAddr, SocketAddr), Used<'_>>::new();
    for socket in facts.chosen().filter(|socket| !is_reusable(facts, socket)) {
        let ends = socket.diag.endpoints;
        let is_ephemeral =
            || facts.network(socket.netns).is_some_and(|network| network.is_ephemeral(ends.local.port()));
        if matches!(socket.state(), State::Listen | State::SynRecv) || !is_ephemeral() {
            continue;
        }
        let used = destinations.entry((socket.netns, ends.local.ip(), ends.peer)).or_insert_with(|| Used {
            ports: BTreeSet::new(),
            time_wait: 0,
            cases: Vec::new(),
        });
        used.ports.insert(ends.local.port());
        used.time_wait += u64::from(socket.state() == State::TimeWait);
        used.cases.push(Case::new(socket, None));
    }
    let mut reported = BTreeSet::new();
    for ((netns, _, peer), used) in destinations {
        let Some(network) = facts.network(netns) else { continue };
        let failed = without_port(facts, peer);
        let Some(all) = network.ports().filter(|all| *all > 0) else { continue };
        let percent = used.ports.len() as u64 * 100 / all;
        let is_server = used.cases.first().is_some_and(|case| facts.listener_of(case.socket).is_some());
        if !is_server && (percent >= thresholds.ports_percent || failed > 0) {
            reported.insert(peer);
            // Others may have a fault of their own, for which so many are open.
            let time_wait = used.cases.iter().filter(|case| case.socket.state() == State::TimeWait);
            time_wait.for_each(|case| findings.claim_socket(facts, case.socket));
            findings.push(exhausted(facts, network, peer, percent, failed, used));
        }
    }
    // Sockets that have gone since.
    for (destination, sums) in facts.history.attempts().destinations() {
        if sums.without_port.count > 0 && reported.insert(destination.peer) {
            let none = Used { ports: BTreeSet::new(), time_wait: 0, cases: Vec::new() };
            let network =
                destination.netns.and_then(|netns| facts.network(netns)).cloned().unwrap_or_default();
            let failed = without_port(facts, destination.peer);
            let finding = exhausted(facts, &network, destination.peer, 0, failed, none);
            let process = finding.process.clone().or_else(|| sums.process.clone());
            findings.push(Finding { process, ..finding });
        }
    }
}

/// Whether a new connection may take the place of one in TIME_WAIT at once (`tcp_twsk_unique()`): a second after its last segment.
fn is_reusable(facts: &Facts<'_>, socket: &Socket) -> bool {
    let setting = facts.network(socket.netns).and_then(|network| network.reuses_time_wait);
    let is_allowed = match setting {
        Some(1) => true,
        Some(2) => socket.diag.endpoints.peer.ip().to_canonical().is_loopback(),
        _ => false,
    };
    let lasted_ms = TIME_WAIT_MS.saturating_sub(socket.diag.expires_ms);
    is_allowed && socket.state() == State::TimeWait && lasted_ms > 1_000
}

/// Connects to a destination that got no port.
fn without_port(facts: &Facts<'_>, peer: SocketAddr) -> u64 {
    let all = facts.history.attempts().destinations().filter(|(to, _)| to.peer == peer);
    all.map(|(_, sums)| sums.without_port.count).sum()
}

fn exhausted(
    facts: &Facts<'_>,
    network: &Network,
    peer: SocketAddr,
    percent: u64,
    failed: u64,
    used: Used<'_>,
) -> Finding {
    let Used { ports, time_wait, cases } = used;
    let owners = cases.iter().filter_map(|case| facts.owner(case.socket));
    let owners: Vec<_> = owners.map(|process| who(Some(process))).collect();
    let process = closer(facts, Service::ConnectedTo(peer), &cases);
    let all = network.ports().unwrap_or_default();
    let range = network.port_range.map(|(first, last)| format!("{first} to {last}"));
    let failures = match failed {
        0 => String::new(),
        count => format!("; {} failed with EADDRNOTAVAIL", counted(count, "connect")),
    };
    let summary = if ports.is_empty() {
        format!("{} to {peer} got no local port (EADDRNOTAVAIL).", counted(failed, "connect"))
    } else {
        format!(
            "{} of {all} ephemeral ports ({percent} %) are in use towards {peer}, {time_wait} of them in TIME_WAIT{failures}.",
            ports.len()
        )
    };
    Finding {
        cause: Some(if failed > 0 { "no_port_left" } else { "nearly_used_up" }.to_owned()),
        severity: if failed > 0 || percent >= CRITICAL_PERCENT { Severity::Critical } else { Severity::Warning },
        summary,
        evidence: habits(facts, Service::ConnectedTo(peer))
            // Of sockets that have gone since, and of a recording, they are not known.
            .and_known("ports_in_use", Some(ports.len()).filter(|count| *count > 0))
            .and_known("ports", Some(all).filter(|all| *all > 0))
            .and_known("range", range)
            .and_known("in_time_wait", Some(time_wait).filter(|_| !ports.is_empty()))
            .and_known("no_port_left", (failed > 0).then_some(failed))
            .and_known("open_in", (!owners.is_empty()).then(|| places(owners.into_iter()))),
        why: "Each connection to the same address and port holds a local port, and for 60 s longer in TIME_WAIT \
              when this end closes first. When the range is used up, connect() fails with EADDRNOTAVAIL; long \
              before that, it becomes slow."
            .to_owned(),
        advice: "Reuse connections (keep-alive, a pool shared by the whole process), or let the server close first. \
                 More destinations (addresses or ports), a wider net.ipv4.ip_local_port_range and \
                 net.ipv4.tcp_tw_reuse=1 give room."
            .to_owned(),
        process,
        ..of(facts, cases)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{Host, NETNS};

    /// A host with 100 ephemeral ports, of which this many are in TIME_WAIT towards one server.
    fn client(count: u16) -> Host {
        let mut host = Host::new();
        host.snapshot.networks[0].port_range = Some((40_000, 40_099));
        let process = host.process(5, "client");
        host.socket(Some(process), State::Established, "10.0.0.1:40099", "10.0.0.5:80");
        for port in 0..count {
            host.socket(None, State::TimeWait, &format!("10.0.0.1:{}", 40_000 + port), "10.0.0.5:80");
        }
        host
    }

    #[test]
    fn ports_that_run_out_are_reported_with_their_destination() {
        let findings = client(79).judge("port_exhaustion");
        let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
        let expected =
            "80 of 100 ephemeral ports (80 %) are in use towards 10.0.0.5:80, 79 of them in TIME_WAIT.";
        assert_eq!((finding.summary.as_str(), finding.severity), (expected, Severity::Warning));
        assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(5));
        assert_eq!(client(98).judge("port_exhaustion")[0].severity, Severity::Critical);
    }

    #[test]
    fn a_range_with_room_and_a_servers_own_connections_are_no_fault() {
        assert_eq!(client(78).judge("port_exhaustion"), []);
        let mut host = client(0);
        host.snapshot.networks[0].port_range = Some((8080, 8080));
        host.listener(None, 0, 128);
        host.accepted(None, State::Established, 50_000);
        assert_eq!(host.judge("port_exhaustion"), [], "the port is the listener's");
        let mut host = client(99);
        host.snapshot.networks[0].netns = NETNS + 1;
        assert_eq!(host.judge("port_exhaustion"), [], "of another namespace nothing is known");
    }

    #[test]
    fn what_takes_the_ports_is_told_once() {
        let mut host = Host::new();
        let process = host.process(5, "client");
        host.socket(Some(process), State::Established, "10.0.0.1:32768", "10.0.0.5:80");
        for port in 0..23_000 {
            host.socket(None, State::TimeWait, &format!("10.0.0.1:{}", 33_000 + port), "10.0.0.5:80");
        }
        let history = crate::diagnosis::History::default();
        let found =
            crate::diagnosis::judge(&Facts::new(&host.snapshot, None, &history), &Thresholds::DEFAULT);
        let codes: Vec<_> = found.findings.iter().map(|it| &*it.code).collect();
        assert_eq!(codes, ["port_exhaustion"]);
    }

    #[test]
    fn time_wait_is_reported_when_it_piles_up() {
        let mut host = Host::new();
        let server = host.process(6, "server");
        host.listener(Some(server), 0, 128);
        for port in 1..=20_000 {
            host.accepted(None, State::TimeWait, port);
        }
        let findings = host.judge("time_wait_pileup");
        let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
        assert!(finding.summary.contains("accepted at port 8080, in TIME_WAIT: server (pid 6) closes them"));
        assert_eq!(finding.severity, Severity::Notice);
        host.snapshot.networks[0].max_time_wait = Some(20_000);
        assert_eq!(host.judge("time_wait_pileup")[0].severity, Severity::Warning);
        host.snapshot.sockets.pop();
        host.snapshot.networks[0].max_time_wait = Some(65_536);
        assert_eq!(host.judge("time_wait_pileup"), []);
    }
}
