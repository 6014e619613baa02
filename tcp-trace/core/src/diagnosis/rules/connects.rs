//! Connects that fail: refused, not answered, no way to the host. Those that are over are known from the history only.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use tcp_trace_model::{
    event::State,
    record::{Evidence, Finding, FindingConnection, Network, Severity, Text},
    socket::Timer,
};

use super::{
    super::{
        Facts, Findings, Thresholds,
        attempts::{Destination, Failures, Sums},
        finding::{CONNECTIONS_MAX, Case, for_how_long, grouped, of, oldest, peers, places, who_named},
        unanswered,
    },
    accept_queue,
};
use crate::prose::{Micros, counted};

/// SYNs that were sent again, from which on a connect that goes on is a fault: 3 s have passed.
const SYN_RETRANSMITS_MIN: u8 = 2;

/// Connects that failed sooner have no time that is worth telling, in microseconds.
const SHORT_US: u64 = 1_000;

/// What is reported for each way to fail.
struct Way {
    cause: &'static str,
    /// Of one connect, and of several.
    in_words: [&'static str; 2],
    why: &'static str,
    advice: &'static str,
    of: fn(&Sums) -> &Failures,
}

const REFUSED: Way = Way {
    cause: "refused",
    in_words: ["was refused (ECONNREFUSED)", "were refused (ECONNREFUSED)"],
    why: "The SYN reached the host, but nothing listens on this address and port: the server is down or starting, \
          or listens on another port or only on another address (127.0.0.1, IPv6); or a firewall answers with an \
          RST or ICMP (REJECT).",
    advice: "On the server: ss -ltnp. Check the address and port in the client's configuration, and the start \
             order; let the client retry with growing pauses instead of at once.",
    of: |sums| &sums.refused,
};

const TIMED_OUT: Way = Way {
    cause: "no_answer",
    in_words: ["got no answer to any SYN (ETIMEDOUT)"; 2],
    why: "SYNs are retransmitted and never answered: the host is down, a firewall or security group drops them, the \
          answer takes another route, or the server's accept queue is full.",
    advice: "Try the same address from the server's own network, and look for the SYNs there (tcpdump). If they \
             arrive, look at the listener (accept queue) and its firewall; if not, at routes and firewalls in \
             between. Set a connect timeout of a few seconds: the kernel's takes two minutes.",
    of: |sums| &sums.timed_out,
};

const GIVEN_UP: Way = Way {
    cause: "given_up",
    in_words: ["got no answer to any SYN before the client gave up"; 2],
    of: |sums| &sums.given_up,
    ..TIMED_OUT
};

const UNREACHABLE: Way = Way {
    cause: "no_route",
    in_words: ["failed because the host could not be reached"; 2],
    why: "There is no route to the address, or a router (by ICMP) or neighbour discovery in the last network \
          reported that the host cannot be reached. An IPv6 address without IPv6 connectivity looks the same.",
    advice: "ip route get ADDRESS shows the route, and ip neigh whether the host answers in its network. Check the \
             address that the name resolved to.",
    of: |sums| &sums.unreachable,
};

const UNSENT: Way = Way {
    cause: "port_taken",
    in_words: [
        "failed before a SYN was sent, usually because its fixed local port was taken",
        "failed before a SYN was sent, usually because their fixed local port was taken",
    ],
    why: "Usually the program binds its socket to a local port of its own choice before it connects, and the same addresses \
          and ports belong to another connection still, such as its last one, which waits in TIME_WAIT for 60 s: connect() \
          fails with EADDRNOTAVAIL. Rarely the routing (ip rule by ports), an IPsec policy, or a key of TCP-MD5 or TCP-AO \
          forbids the SYN; connect()'s error tells which.",
    advice: "Let the kernel choose the local port (bind to port 0, or not at all); or let the other end close first, so that \
             TIME_WAIT is there. With TCP timestamps, net.ipv4.tcp_tw_reuse=1 allows it a second later.",
    of: |sums| &sums.unsent,
};

/// Not even a SYN was sent, from a local port that is mostly taken.
pub(super) fn port_taken(facts: &Facts<'_>, _: &Thresholds, findings: &mut Findings) {
    judge(facts, &UNSENT, findings);
}

/// Refused.
pub(super) fn refused(facts: &Facts<'_>, _: &Thresholds, findings: &mut Findings) {
    judge(facts, &REFUSED, findings);
}

/// Not answered, also those that still wait.
pub(super) fn timed_out(facts: &Facts<'_>, _: &Thresholds, findings: &mut Findings) {
    judge(facts, &TIMED_OUT, findings);
    judge(facts, &GIVEN_UP, findings);
    waiting(facts, findings);
}

/// No route.
pub(super) fn no_route(facts: &Facts<'_>, _: &Thresholds, findings: &mut Findings) {
    judge(facts, &UNREACHABLE, findings);
}

/// A finding per program: one that is started again and again is many processes.
fn judge(facts: &Facts<'_>, way: &Way, findings: &mut Findings) {
    let mut by_program = BTreeMap::<Option<&Text>, Vec<Failed<'_>>>::new();
    let explained = explained(facts, findings);
    for (destination, sums) in facts.history.attempts().destinations() {
        let failures = match explained.get(destination) {
            Some(explained) => (way.of)(sums).without((way.of)(explained), |id| findings.explain(id)),
            None => (way.of)(sums).clone(),
        };
        // A full accept queue explains it.
        let listener = || facts.listener_at(destination.netns.unwrap_or_default(), destination.peer);
        let is_explained = || listener().is_some_and(|it| findings.explain(it.connection()));
        let is_silent = [TIMED_OUT.cause, GIVEN_UP.cause].contains(&way.cause);
        let is_explained =
            is_silent && is_explained() || way.cause == GIVEN_UP.cause && reached(facts, destination);
        if failures.count > 0 && !is_explained && !has_another_way(facts, destination) {
            let program = sums.process.as_ref().map(|process| &process.name);
            by_program.entry(program).or_default().push(Failed { destination, sums, failures });
        }
    }
    for destinations in by_program.into_values() {
        findings.push(of_program(facts, way, &destinations));
    }
}

/// A destination with its failed connects that no other finding explains.
struct Failed<'a> {
    destination: &'a Destination,
    sums: &'a Sums,
    failures: Failures,
}

/// The failed connects that other findings explain, by destination.
fn explained(facts: &Facts<'_>, findings: &Findings) -> BTreeMap<Destination, Sums> {
    let mut explained = BTreeMap::<_, Sums>::new();
    let ended = facts.history.ended().filter_map(|life| life.summary.as_deref());
    for summary in ended.filter(|summary| findings.explain(summary.connection.id)) {
        if let Some(destination) = Destination::of(summary) {
            explained.entry(destination).or_default().add_failure(summary);
        }
    }
    explained
}

/// Whether the process got to the same port by the other IP version: names often have both kinds of addresses, and
/// clients try one after the other (RFC 8305).
fn has_another_way(facts: &Facts<'_>, destination: &Destination) -> bool {
    facts.history.attempts().destinations().any(|(other, sums)| {
        let is_same = (other.pid, other.peer.port()) == (destination.pid, destination.peer.port());
        is_same && other.peer.is_ipv4() != destination.peer.is_ipv4() && sums.established > 0
    })
}

/// Whether the process got to the same port of any address: clients try all that a name has, and give up the rest.
fn reached(facts: &Facts<'_>, destination: &Destination) -> bool {
    facts.history.attempts().destinations().any(|(other, sums)| {
        let is_same = (other.pid, other.peer.port()) == (destination.pid, destination.peer.port());
        is_same && sums.established > 0
    })
}

fn of_program(facts: &Facts<'_>, way: &Way, destinations: &[Failed<'_>]) -> Finding {
    let all = || destinations.iter().map(|it| &it.failures);
    let count: u64 = all().map(|failures| failures.count).sum();
    let established: u64 = destinations.iter().map(|it| it.sums.established).sum();
    let process = destinations.iter().find_map(|it| it.sums.process.clone());
    let processes: BTreeSet<_> = destinations.iter().filter_map(|it| it.destination.pid).collect();
    let whose = match (&process, processes.len()) {
        (Some(process), 2..) => format!("{} ({} processes)", process.name.printable(), processes.len()),
        (process, _) => who_named(process.as_ref()),
    };
    let peers = destinations.iter().flat_map(|it| {
        std::iter::repeat_n(it.destination.peer, usize::try_from(it.failures.count).unwrap_or_default())
    });
    let examples = all().flat_map(|failures| &failures.examples).take(CONNECTIONS_MAX);
    let connections: Vec<_> = examples
        .map(|(connection, network)| FindingConnection::new(*connection, State::Close, *network))
        .collect();
    let retransmits: u64 = all().map(|failures| failures.syn_retransmits).sum();
    let longest = all().map(|failures| failures.longest_us).max().unwrap_or_default();
    let last = all().filter_map(|failures| failures.when).map(|(_, last)| last).max();
    let reason = all().find_map(|failures| failures.reason.clone());
    let after = match count {
        _ if way.cause != GIVEN_UP.cause || longest < SHORT_US => String::new(),
        1 => format!(" after {}", Micros(longest)),
        _ => format!(" after up to {}", Micros(longest)),
    };
    let is_all_known = established > 0 || facts.history.lost == 0;
    Finding {
        cause: Some(way.cause.to_owned()),
        severity: if established > 0 { Severity::Notice } else { Severity::Warning },
        summary: format!(
            "{} from {} to {} {}{after}{}.",
            counted(count, "connect"),
            whose,
            translated_place(destinations.iter().map(|it| it.destination.peer), all()),
            way.in_words[usize::from(count > 1)],
            if established > 0 { format!("; {established} succeeded") } else { String::new() },
        ),
        evidence: Evidence::default()
            .and("connects", count)
            // Where events were lost, there may have been more.
            .and_known("succeeded", is_all_known.then_some(established))
            .and_known("error", reason)
            .and_known("syns_sent_again", (retransmits > 0).then_some(retransmits))
            .and_known("longest_us", (longest >= SHORT_US).then_some(longest))
            .and_known("last_ago_us", last.map(|last| facts.now.time.micros_since(last)))
            .and("peers", places(peers)),
        why: way.why.to_owned(),
        advice: way.advice.to_owned(),
        process,
        connections_omitted: count.saturating_sub(connections.len() as u64),
        connections,
        ..Finding::default()
    }
}

/// Connects that wait for an answer now.
fn waiting(facts: &Facts<'_>, findings: &mut Findings) {
    let mut waiting = Vec::new();
    for socket in facts.in_state(State::SynSent) {
        let Some(info) = socket.diag.info else { continue };
        // That listener is reported separately.
        let is_explained = || {
            let listener = facts.listener_at(socket.netns, socket.diag.endpoints.peer);
            listener.is_some_and(accept_queue::has_no_room)
        };
        let is_silent = socket.diag.timer == Timer::Retransmit && info.retransmits >= SYN_RETRANSMITS_MIN;
        if is_silent && !is_explained() {
            let age = facts.traced_age_us(socket).unwrap_or_else(|| unanswered::resending_us(socket, &info));
            waiting.push(Case::new(socket, Some(age)));
        }
    }
    let waiting = findings.unexplained(facts, waiting.into_iter());
    for cases in grouped(waiting.into_iter(), |case| facts.owner_pid(case.socket)).into_values() {
        let process = cases.first().and_then(|case| facts.owner(case.socket)).map(|process| &process.named);
        let ends = cases.iter().map(|case| case.socket.diag.endpoints.peer);
        let retransmits =
            cases.iter().filter_map(|case| case.socket.diag.info).map(|info| info.retransmits).max();
        findings.push(Finding {
            cause: Some("waiting".to_owned()),
            severity: Severity::Warning,
            summary: format!(
                "{} from {} to {} {} no answer to any SYN {}.",
                counted(cases.len(), "connect"),
                who_named(process),
                place(ends),
                if cases.len() == 1 { "gets" } else { "get" },
                for_how_long(&cases),
            ),
            evidence: Evidence::default()
                .and("sockets", cases.len())
                .and_known("oldest_us", oldest(&cases))
                .and_known("syns_sent_again", retransmits.map(u64::from))
                .and("peers", peers(&cases)),
            why: TIMED_OUT.why.to_owned(),
            advice: TIMED_OUT.advice.to_owned(),
            ..of(facts, cases)
        });
    }
}

/// The same of failed connects; one peer with the address that its SYNs went to, where that is another.
fn translated_place<'a>(
    peers: impl Iterator<Item = SocketAddr>,
    failures: impl Iterator<Item = &'a Failures>,
) -> String {
    let networks = failures.flat_map(|failures| &failures.examples).map(|(_, network)| network);
    let sent_to = |network: &Network| {
        let peer = network.translated.map(|ends| ends.peer);
        peer.filter(|peer| *peer != network.peer)
    };
    let mut sent_to: Vec<_> = networks.map(sent_to).collect();
    sent_to.dedup();
    let place = place(peers);
    match sent_to.as_slice() {
        [Some(peer)] => format!("{place} (by NAT to {peer})"),
        _ => place,
    }
}

/// One peer by its address, several by their number.
fn place(peers: impl Iterator<Item = SocketAddr>) -> String {
    let mut peers: Vec<_> = peers.collect();
    peers.sort_unstable();
    peers.dedup();
    match peers.as_slice() {
        [one] => one.to_string(),
        many => format!("{} addresses", many.len()),
    }
}

#[cfg(test)]
#[path = "connects_tests.rs"]
mod tests;
