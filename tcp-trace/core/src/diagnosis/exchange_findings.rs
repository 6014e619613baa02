//! Findings from groups of HTTP exchanges: whose they are, examples, and the words that rules share.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use tcp_trace_model::{
    event::{Role, State},
    record::{ConnectionInfo, Finding, FindingConnection, Http, Network, Outcome, Process, Text},
};

use super::{
    Facts, Findings,
    failed_exchanges::FailedExchange,
    finding::{named, of_first, who_named},
    findings::exchange_key,
};

/// Bytes of a request's target that a note shows.
const TARGET_MAX: usize = 60;

/// The server that an exchange was with: its address and port.
pub(super) fn server_of(http: &Http) -> SocketAddr {
    let end = if http.connection.role == Some(Role::Server) {
        http.connection.ends().local
    } else {
        http.connection.ends().peer
    };
    SocketAddr::new(end.address, end.port)
}

/// The exchanges that failed and have a `key`, by what they have in common: this, the server, and the reported
/// program. Not those that are explained already, or will be by what is behind them; these now are.
pub(super) fn grouped<'a, K: Ord>(
    facts: &Facts<'a>,
    findings: &mut Findings,
    key: impl Fn(&FailedExchange<'a>) -> Option<K>,
) -> BTreeMap<(K, SocketAddr, Option<&'a Text>), Vec<FailedExchange<'a>>> {
    let mut groups = BTreeMap::<_, Vec<_>>::new();
    for failed in facts.failed_exchanges() {
        let is_explained = || findings.explain_exchange(facts, failed.http) || has_root(facts, failed, &key);
        if let Some(key) = key(failed).filter(|_| !is_explained()) {
            findings.claim_exchange(facts, failed.http);
            let group = (key, server_of(failed.http), failed.http.connection.program());
            groups.entry(group).or_default().push(*failed);
        }
    }
    groups
}

/// Whether what is behind an exchange broke off too, and is reported: by this rule, whose `key` it has, or by another one.
fn has_root<'a, K>(
    facts: &Facts<'a>,
    failed: &FailedExchange<'a>,
    key: impl Fn(&FailedExchange<'a>) -> Option<K>,
) -> bool {
    let roots = facts.behind().roots(exchange_key(facts, failed.http));
    let mut failed = roots.filter_map(|root| facts.failed_exchanges().get(root.failed?));
    failed.any(|root| root.is_reported_at_once() || key(root).is_some())
}

/// The processes that passed on what went wrong with these to those that had asked them, if any did.
pub(super) fn passed_on<'a>(facts: &Facts<'_>, cases: impl Iterator<Item = &'a Http>) -> Option<Vec<String>> {
    let places = facts.behind().passed_on(cases.map(|http| exchange_key(facts, http)));
    Some(places).filter(|places| !places.is_empty())
}

/// A finding with these as its examples, the first ones, and the process that saw them; `note` says more of each.
pub(super) fn of(cases: &[FailedExchange<'_>], note: impl Fn(&FailedExchange<'_>) -> String) -> Finding {
    let one = |case: &FailedExchange<'_>| {
        let mut one = example(case.http);
        one.network = case.summary.connection.network.unwrap_or(one.network);
        one.notes = vec![format!("{}: {}", request(case.http), note(case))];
        Some(one)
    };
    of_first(cases, |case| case.http.connection.process.as_deref(), one)
}

/// An exchange as an example, with its request as the note.
pub(super) fn example(http: &Http) -> FindingConnection {
    let state = if http.exchange.outcome == Outcome::Ok { State::Established } else { State::Close };
    let network = Network { netns: None, translated: None, ..http.connection.ends() };
    FindingConnection {
        notes: vec![request(http)],
        ..FindingConnection::new(http.connection.id, state, network)
    }
}

/// `POST /pay`.
pub(super) fn request(http: &Http) -> String {
    let Some(request) = &http.exchange.request else { return "(request not seen)".to_owned() };
    let target = request.target.printable().to_string();
    let shown: String = target.chars().take(TARGET_MAX).collect();
    let more = if shown.len() < target.len() { "…" } else { "" };
    format!("{} {shown}{more}", request.method.printable())
}

/// The processes at this end of exchanges: `client (pid 5)`, or `client (3 processes)`.
pub(super) fn whose<'a>(mut processes: impl Iterator<Item = &'a Process> + Clone) -> String {
    let pids: BTreeSet<_> = processes.clone().map(|process| process.pid).collect();
    match (processes.next(), pids.len()) {
        (Some(process), 2..) => format!("{} ({} processes)", process.name.printable(), pids.len()),
        (process, _) => who_named(process),
    }
}

/// `from client (pid 5) to 10.0.0.5:80`, or where only the server is here, `to api (pid 7) at 10.0.0.1:80`.
pub(super) fn between(cases: &[FailedExchange<'_>], server: SocketAddr) -> String {
    between_ends(cases.iter().map(|case| &*case.http.connection), server)
}

/// The same of connections, by the end of each that is judged.
pub(super) fn between_ends<'a>(
    ends: impl Iterator<Item = &'a ConnectionInfo> + Clone,
    server: SocketAddr,
) -> String {
    let whose = whose(ends.clone().filter_map(|end| end.process.as_deref()));
    match ends.map(|end| end.role).next().flatten() {
        Some(Role::Server) => format!("to {whose} at {server}"),
        _ => format!("from {whose} to {server}"),
    }
}

/// The server's process, when it is on this host and was traced.
pub(super) fn server_process(cases: &[FailedExchange<'_>]) -> Option<String> {
    let process: Option<&Process> =
        cases.iter().find_map(|case| case.server()?.connection.process.as_deref());
    process.map(named)
}
