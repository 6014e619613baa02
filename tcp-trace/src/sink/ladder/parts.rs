//! The records of a session, sorted by connection, and which two connections are the ends of one.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
};

use tcp_trace_model::{
    event::{Direction, Flags, Role},
    record::{Connection, ConnectionId, Endpoint, Http, Network, Process, Record, Segment, Transition},
    time::Time,
};

/// Everything of one end. Its summary is absent when the recording stops before the connection does.
#[derive(Default)]
pub(super) struct Parts<'a> {
    pub(super) transitions: Vec<&'a Transition>,
    pub(super) segments: Vec<&'a Segment>,
    pub(super) http: Vec<&'a Http>,
    pub(super) summary: Option<&'a Connection>,
}

/// The parts of each connection.
pub(super) type AllParts<'a> = BTreeMap<ConnectionId, Parts<'a>>;

/// A client's and a server's end; at least one of them is there.
pub(super) type Pair = (Option<ConnectionId>, Option<ConnectionId>);

impl Parts<'_> {
    pub(super) fn role(&self) -> Option<Role> {
        let summary = self.summary.and_then(|summary| summary.role);
        let transition = || self.transitions.iter().rev().find_map(|transition| transition.role);
        let http = || self.http.iter().find_map(|http| http.role);
        let syn = || {
            let syn = self.segments.iter().find(|segment| control(segment) == Flags::SYN)?;
            Some(if syn.direction == Direction::Out { Role::Client } else { Role::Server })
        };
        summary.or_else(transition).or_else(http).or_else(syn)
    }

    /// Both ends. The last transition knows a port that the first did not.
    pub(super) fn network(&self) -> Option<Network> {
        let transition = || self.transitions.last().map(|transition| transition.network);
        let http = || {
            let network = &self.http.first()?.network;
            Some(Network { kind: network.kind, local: network.local, peer: network.peer, netns: None })
        };
        self.summary.and_then(|summary| summary.network).or_else(transition).or_else(http)
    }

    pub(super) fn is_from_start(&self) -> bool {
        self.summary.is_some_and(|summary| summary.seen_from_start)
    }

    /// Initial sequence numbers of the client's and the server's direction.
    pub(super) fn initial_sequences(&self) -> (Option<u32>, Option<u32>) {
        let handshake = self.summary.and_then(|summary| summary.handshake);
        let of =
            |flags| self.segments.iter().find(|segment| control(segment) == flags).map(|segment| segment.seq);
        (
            handshake.and_then(|handshake| handshake.syn_seq).or_else(|| of(Flags::SYN)),
            handshake.and_then(|handshake| handshake.syn_ack_seq).or_else(|| of(Flags::SYN.with(Flags::ACK))),
        )
    }

    /// First and last moment that was recorded of it.
    pub(super) fn span(&self) -> (Time, Time) {
        let points = || {
            let transitions = self.transitions.iter().map(|transition| transition.time);
            let segments = self.segments.iter().map(|segment| segment.time);
            let http = self.http.iter().flat_map(|http| [http.timing.started, http.time]);
            let summary = self.summary.iter().flat_map(|summary| [Some(summary.opened), summary.closed]);
            transitions.chain(segments).chain(http).chain(summary.flatten())
        };
        (points().min().unwrap_or_default(), points().max().unwrap_or_default())
    }
}

impl<'a> Parts<'a> {
    /// The process: the summary's, because early records may not know it yet.
    pub(super) fn process(&self) -> Option<&'a Process> {
        let summary = self.summary.and_then(|summary| summary.process.as_ref());
        let transition = || self.transitions.iter().rev().find_map(|transition| transition.process.as_ref());
        let http = || self.http.iter().rev().find_map(|http| http.process.as_ref());
        summary.or_else(transition).or_else(http)
    }
}

/// The flags that say what a segment is for. The others can change on the way (offloads set and clear PSH).
pub(super) fn control(segment: &Segment) -> Flags {
    let mask = Flags::SYN.with(Flags::FIN).with(Flags::RST).with(Flags::ACK);
    Flags(segment.flags.0.0 & mask.0)
}

/// Sorts records by their connection.
pub(super) fn by_connection(records: &[Record]) -> AllParts<'_> {
    let mut all = AllParts::new();
    for record in records {
        match record {
            Record::Transition(transition) => {
                all.entry(transition.connection).or_default().transitions.push(transition);
            }
            Record::Segment(segment) => all.entry(segment.connection).or_default().segments.push(segment),
            Record::Http(http) => all.entry(http.connection).or_default().http.push(http),
            Record::Connection(summary) => all.entry(summary.connection).or_default().summary = Some(summary),
            _ => {}
        }
    }
    // A listener is no connection.
    all.retain(|_, parts| parts.role() != Some(Role::Listener));
    all
}

/// Finds the two ends of each connection, in order of their beginning. First by the handshake's sequence numbers,
/// which address translation leaves alone; then, for what is older than the recording, by swapped addresses.
pub(super) fn pairs(all: &AllParts<'_>) -> Vec<Pair> {
    let mut pairs = by_handshake(all);
    let used: HashSet<_> = pairs.iter().flat_map(|(client, server)| [*client, *server]).flatten().collect();
    by_addresses(all, used, &mut pairs);
    pairs.sort_by_key(|(client, server)| {
        [client, server].into_iter().flatten().filter_map(|id| all.get(id)).map(|parts| parts.span().0).min()
    });
    pairs
}

/// What both ends of a connection have in common: ports, and the sequence numbers of the handshake. Addresses
/// can differ between them by translation.
type Key = (u16, u16, u32, u32);

fn key(parts: &Parts<'_>, role: Role) -> Option<Key> {
    let network = parts.network()?;
    let (client, server) = match role {
        Role::Server => (network.peer, network.local),
        _ => (network.local, network.peer),
    };
    let (syn, syn_ack) = parts.initial_sequences();
    Some((client.port, server.port, syn?, syn_ack?))
}

fn by_handshake(all: &AllParts<'_>) -> Vec<Pair> {
    let keys = |role| {
        all.iter()
            .filter(move |(_, parts)| parts.role() == Some(role))
            .filter_map(move |(id, parts)| Some((key(parts, role)?, *id)))
    };
    let mut servers: HashMap<Key, ConnectionId> = keys(Role::Server).collect();
    keys(Role::Client).filter_map(|(key, client)| Some((Some(client), Some(servers.remove(&key)?)))).collect()
}

fn by_addresses(all: &AllParts<'_>, mut used: HashSet<ConnectionId>, pairs: &mut Vec<Pair>) {
    type Ends = ((IpAddr, u16), (IpAddr, u16));
    fn plain(end: Endpoint) -> (IpAddr, u16) {
        (end.address, end.port)
    }
    let mut ends: HashMap<Ends, Vec<ConnectionId>> = HashMap::new();
    for (id, parts) in all.iter().filter(|(id, _)| !used.contains(id)) {
        if let Some(Network { local, peer, .. }) = parts.network() {
            ends.entry((plain(local), plain(peer))).or_default().push(*id);
        }
    }
    let left_first: Vec<_> = all.iter().filter(|(_, parts)| parts.role() != Some(Role::Server)).collect();
    let servers = all.iter().filter(|(_, parts)| parts.role() == Some(Role::Server));
    for (id, parts) in left_first.into_iter().chain(servers) {
        if !used.insert(*id) {
            continue;
        }
        let swapped =
            parts.network().and_then(|Network { local, peer, .. }| ends.get(&(plain(peer), plain(local))));
        let mut others = swapped.into_iter().flatten().filter(|other| !used.contains(other));
        let other =
            others.find(|other| all.get(other).is_some_and(|other| are_ends_of_one(parts, other))).copied();
        used.extend(other);
        let other_role = other.and_then(|other| all.get(&other)).and_then(Parts::role);
        let is_right = parts.role() == Some(Role::Server) || other_role == Some(Role::Client);
        pairs.push(if is_right { (other, Some(*id)) } else { (Some(*id), other) });
    }
}

/// Whether nothing speaks against two connections with swapped addresses being one.
fn are_ends_of_one(a: &Parts<'_>, b: &Parts<'_>) -> bool {
    let agree = |a: Option<u32>, b: Option<u32>| a.is_some() && a == b;
    let differ = |a: Option<u32>, b: Option<u32>| a.zip(b).is_some_and(|(a, b)| a != b);
    let ((a_syn, a_syn_ack), (b_syn, b_syn_ack)) = (a.initial_sequences(), b.initial_sequences());
    let ((a_first, a_last), (b_first, b_last)) = (a.span(), b.span());
    let netns = |parts: &Parts<'_>| parts.network().and_then(|network| network.netns);
    // Every network namespace has loopback addresses of its own; other addresses can meet across namespaces.
    let is_loopback = a.network().is_some_and(|network| network.local.address.to_canonical().is_loopback());
    let is_one_handshake = agree(a_syn, b_syn) || agree(a_syn_ack, b_syn_ack);
    let speaks_against = [
        a.role().is_some() && a.role() == b.role(),
        differ(a_syn, b_syn),
        differ(a_syn_ack, b_syn_ack),
        // Where a recording was cut off, the ends of one connection need not overlap.
        !is_one_handshake && (a_last < b_first || b_last < a_first),
        is_loopback && differ(netns(a), netns(b)),
    ];
    !speaks_against.contains(&true)
}
