//! Findings from groups of HTTP exchanges: whose they are, examples, and the words that rules share.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use tcp_trace_model::{
    event::{Role, State},
    record::{Finding, FindingConnection, Http, Network, Outcome, Process, Text},
};

use super::{
    Facts,
    broken::Broken,
    finding::{CONNECTIONS_MAX, named, who_named},
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

/// The exchanges that broke off and have a `key`, by what they have in common: this, the server, and the reported
/// program.
pub(super) fn grouped<'a, K: Ord>(
    facts: &Facts<'a>,
    key: impl Fn(&Broken<'a>) -> Option<K>,
) -> BTreeMap<(K, SocketAddr, Option<&'a Text>), Vec<Broken<'a>>> {
    let mut groups = BTreeMap::<_, Vec<_>>::new();
    for broken in facts.broken() {
        if let Some(key) = key(broken) {
            let program = broken.http.connection.process.as_deref().map(|process| &process.name);
            groups.entry((key, server_of(broken.http), program)).or_default().push(*broken);
        }
    }
    groups
}

/// A finding with these as its examples, the first ones, and the process that saw them; `note` says more of each.
pub(super) fn of(cases: &[Broken<'_>], note: impl Fn(&Broken<'_>) -> String) -> Finding {
    let one = |case: &Broken<'_>| {
        let mut one = example(case.http);
        if let Some(span) = case.summary.states.last().filter(|_| case.summary.open) {
            one.state = span.state;
        }
        one.network = case.summary.connection.network.unwrap_or(one.network);
        one.notes = vec![format!("{}: {}", request(case.http), note(case))];
        one
    };
    Finding {
        process: cases.iter().find_map(|case| case.http.connection.process.as_deref().cloned()),
        connections: cases.iter().take(CONNECTIONS_MAX).map(one).collect(),
        connections_omitted: cases.len().saturating_sub(CONNECTIONS_MAX) as u64,
        ..Finding::default()
    }
}

/// An exchange as an example, with its request as the note.
pub(super) fn example(http: &Http) -> FindingConnection {
    FindingConnection {
        connection: http.connection.id,
        state: if http.exchange.outcome == Outcome::Ok { State::Established } else { State::Close },
        network: Network { netns: None, translated: None, ..http.connection.ends() },
        fd: None,
        age_us: None,
        receive_queue: 0,
        send_queue: 0,
        notes: vec![request(http)],
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

/// `client (pid 5) to 10.0.0.5:80`, or where only the server is here, `to api (pid 7) at 10.0.0.1:80`.
pub(super) fn between(cases: &[Broken<'_>], server: SocketAddr) -> String {
    let whose = whose(cases.iter().filter_map(|case| case.http.connection.process.as_deref()));
    match cases.first().and_then(|case| case.http.connection.role) {
        Some(Role::Server) => format!("to {whose} at {server}"),
        _ => format!("from {whose} to {server}"),
    }
}

/// The server's process, when it is on this host and was traced.
pub(super) fn server_process(cases: &[Broken<'_>]) -> Option<String> {
    let process: Option<&Process> =
        cases.iter().find_map(|case| case.server()?.connection.process.as_deref());
    process.map(named)
}
