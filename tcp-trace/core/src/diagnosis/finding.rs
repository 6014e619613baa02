//! Findings from groups of sockets: examples, owners, and the words that rules share.

use std::{collections::BTreeMap, fmt::Display, net::SocketAddr};

use tcp_trace_model::{
    event::{Role, State},
    record::{Connection, Finding, FindingConnection, Network, Process as Named},
};

use super::{
    Facts,
    snapshot::{Process, Socket},
};
use crate::prose::Age;

/// Connections that a finding gives as examples; the rest is counted.
pub(super) const CONNECTIONS_MAX: usize = 8;
/// Addresses that a finding names; the rest is counted.
const PLACES_MAX: usize = 4;
/// Processes that a finding names beside the first.
const SHARED_MAX: usize = 8;

/// A socket that a rule has judged.
#[derive(Clone, Debug)]
pub(super) struct Case<'a> {
    /// The socket.
    pub(super) socket: &'a Socket,
    /// For how long it has been as it is, when known.
    pub(super) age_us: Option<u64>,
    /// What else is known of it.
    pub(super) notes: Vec<String>,
}

impl<'a> Case<'a> {
    pub(super) fn new(socket: &'a Socket, age_us: Option<u64>) -> Self {
        Self { socket, age_us, notes: Vec::new() }
    }
}

/// The ages of the oldest and the youngest.
pub(super) fn ages(cases: &[Case<'_>]) -> Option<(u64, u64)> {
    Some((oldest(cases)?, cases.iter().filter_map(|case| case.age_us).min()?))
}

/// The age of the oldest.
pub(super) fn oldest(cases: &[Case<'_>]) -> Option<u64> {
    cases.iter().filter_map(|case| case.age_us).max()
}

/// A finding with these as its connections, the oldest first, and the process that they have in common.
pub(super) fn of(facts: &Facts<'_>, mut cases: Vec<Case<'_>>) -> Finding {
    cases.sort_by_key(|case| std::cmp::Reverse(case.age_us));
    let mut finding = match cases.first() {
        Some(case) => owned_by(facts, case.socket),
        None => Finding::default(),
    };
    finding.connections_omitted = cases.len().saturating_sub(CONNECTIONS_MAX) as u64;
    let examples = cases.into_iter().take(CONNECTIONS_MAX);
    finding.connections = examples.map(|case| example(facts, case)).collect();
    finding
}

/// A finding with these as its connections, the first ones, and the process of the first that has one. A case without an
/// example is concerned all the same.
pub(super) fn of_first<'a, T>(
    cases: &'a [T],
    process: impl FnMut(&'a T) -> Option<&'a Named>,
    example: impl FnMut(&'a T) -> Option<FindingConnection>,
) -> Finding {
    Finding {
        process: cases.iter().find_map(process).cloned(),
        connections: cases.iter().take(CONNECTIONS_MAX).filter_map(example).collect(),
        connections_omitted: cases.len().saturating_sub(CONNECTIONS_MAX) as u64,
        ..Finding::default()
    }
}

/// A traced connection as an example, in its last state while it is open; `None` where its ends are not known.
pub(super) fn traced(summary: &Connection) -> Option<FindingConnection> {
    let state = last_state(summary);
    Some(FindingConnection::new(summary.connection.id, state, summary.connection.network?))
}

/// The state that a traced connection is in.
pub(super) fn last_state(summary: &Connection) -> State {
    summary.states.last().filter(|_| summary.open).map_or(State::Close, |span| span.state)
}

/// A finding with the processes that have a socket open.
fn owned_by(facts: &Facts<'_>, socket: &Socket) -> Finding {
    let mut owners = facts.now.owners(socket).map(|(process, _)| process);
    let Some(process) = owners.next() else { return Finding::default() };
    let mut shared_with: Vec<Named> = Vec::new();
    for other in owners {
        let is_known = |known: &Named| known.pid == other.named.pid;
        if shared_with.len() < SHARED_MAX && !is_known(&process.named) && !shared_with.iter().any(is_known) {
            shared_with.push(other.named.clone());
        }
    }
    Finding {
        process: Some(process.named.clone()),
        command: process.command.clone(),
        shared_with,
        ..Finding::default()
    }
}

fn example(facts: &Facts<'_>, case: Case<'_>) -> FindingConnection {
    let Case { socket, age_us, notes } = case;
    let netns = Some(socket.netns).filter(|netns| *netns != 0);
    let network = Network::new(socket.diag.endpoints, netns);
    FindingConnection {
        fd: facts.now.owners(socket).next().and_then(|(_, fd)| fd),
        age_us,
        receive_queue: socket.diag.rqueue,
        send_queue: socket.diag.wqueue,
        notes,
        ..FindingConnection::new(socket.connection(), socket.state(), network)
    }
}

/// Sockets by what they have in common, in its order.
pub(super) fn grouped<'a, K: Ord>(
    cases: impl Iterator<Item = Case<'a>>,
    key: impl Fn(&Case<'a>) -> K,
) -> BTreeMap<K, Vec<Case<'a>>> {
    let mut groups = BTreeMap::<K, Vec<Case<'a>>>::new();
    for case in cases {
        groups.entry(key(&case)).or_default().push(case);
    }
    groups
}

/// A process as `api (pid 812)`.
pub(super) fn who(process: Option<&Process>) -> String {
    who_named(process.map(|process| &process.named))
}

/// The same, of a process that may have ended.
pub(super) fn who_named(process: Option<&Named>) -> String {
    process.map_or("an unknown process".to_owned(), named)
}

/// A process as `api (pid 812)`.
pub(super) fn named(process: &Named) -> String {
    format!("{} (pid {})", process.name.printable(), process.pid)
}

/// `for 3 min 5 s`, or `for 3 min 5 s to 2 h 10 min`.
pub(super) fn for_how_long(cases: &[Case<'_>]) -> String {
    match ages(cases) {
        None => "for an unknown time".to_owned(),
        Some((oldest, youngest)) => {
            let (oldest, youngest) = (Age(oldest).to_string(), Age(youngest).to_string());
            if oldest == youngest { format!("for {oldest}") } else { format!("for {youngest} to {oldest}") }
        }
    }
}

/// Addresses with how many connections have each, most first: `10.0.0.5 (37)`.
pub(super) fn places<T: Ord + Display>(addresses: impl Iterator<Item = T>) -> Vec<String> {
    let mut counts = BTreeMap::<T, usize>::new();
    for address in addresses {
        *counts.entry(address).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let rest = counts.len().saturating_sub(PLACES_MAX);
    let mut names: Vec<_> =
        counts.iter().take(PLACES_MAX).map(|(address, count)| format!("{address} ({count})")).collect();
    if rest > 0 {
        names.push(format!("{rest} more"));
    }
    names
}

/// The addresses of the peers of sockets.
pub(super) fn peers(cases: &[Case<'_>]) -> Vec<String> {
    places(cases.iter().map(|case| case.socket.diag.endpoints.peer.ip()))
}

/// What a socket is for: the port that its listener has, or where it is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Service {
    /// Accepted from the listener with this port.
    Accepted(u16),
    /// Connected to this address.
    ConnectedTo(SocketAddr),
}

impl Service {
    pub(super) fn of(facts: &Facts<'_>, socket: &Socket) -> Self {
        let ends = socket.diag.endpoints;
        match facts.role(socket) {
            Some(Role::Server | Role::Listener) => Self::Accepted(ends.local.port()),
            Some(Role::Client) | None => Self::ConnectedTo(ends.peer),
        }
    }
}

impl Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Accepted(port) => write!(f, "accepted at port {port}"),
            Self::ConnectedTo(address) => write!(f, "connected to {address}"),
        }
    }
}
