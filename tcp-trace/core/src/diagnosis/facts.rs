//! What the rules judge by: a snapshot, an earlier one, and the history between them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

use tcp_trace_model::{
    event::{Endpoints, Role, State},
    record::ConnectionId,
};

use super::{
    History,
    behind::Behind,
    failed_exchanges::{self, FailedExchange},
    snapshot::{Network, Process, Snapshot, Socket},
};
use crate::timeline::{Life, Pairs, Position};

/// Everything that is known when it is judged.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The sockets now, or those that were open at the end of a recording.
    pub now: &'a Snapshot,
    /// Those at the beginning, when it was traced meanwhile.
    pub before: Option<&'a Snapshot>,
    /// What was traced; empty when nothing was.
    pub history: &'a History,
    /// Index of the sockets that are connected, by network namespace and ends.
    by_ends: HashMap<(u32, Endpoints), u32>,
    /// The same in any namespace; `None` where more than one has a socket with these ends.
    anywhere: HashMap<Endpoints, Option<u32>>,
    /// Index of the listeners, by network namespace and port.
    listeners: BTreeMap<(u32, u16), u32>,
    /// The addresses of this host that sockets have, by network namespace.
    addresses: HashSet<(u32, IpAddr)>,
    /// Index of the sockets at the beginning, by cookie.
    earlier: HashMap<u64, u32>,
    /// The connections of the history.
    pairs: Pairs<'a>,
    /// Exchanges that both ends of a connection saw: the server's, with the client's.
    partners: HashMap<Position, Position>,
    /// HTTP exchanges that failed, in order of time.
    failed_exchanges: Vec<FailedExchange<'a>>,
    /// Which of those that went wrong did so because of another one.
    behind: Behind<'a>,
}

impl<'a> Facts<'a> {
    /// Of these.
    pub fn new(now: &'a Snapshot, before: Option<&'a Snapshot>, history: &'a History) -> Self {
        let (mut by_ends, mut anywhere, mut listeners) = (HashMap::new(), HashMap::new(), BTreeMap::new());
        for (index, socket) in (0..).zip(&now.sockets) {
            if socket.state() == State::Listen {
                listeners.entry((socket.netns, socket.diag.endpoints.local.port())).or_insert(index);
            } else if socket.state() != State::TimeWait {
                let ends = socket.diag.endpoints;
                by_ends.insert((socket.netns, ends), index);
                anywhere.entry(ends).and_modify(|only| *only = None).or_insert(Some(index));
            }
        }
        let addresses =
            now.sockets.iter().map(|socket| (socket.netns, socket.diag.endpoints.local.ip())).collect();
        let earlier = before.map_or(&[][..], |before| &before.sockets);
        let earlier = (0..).zip(earlier).map(|(index, socket)| (socket.diag.cookie, index)).collect();
        let pairs = Pairs::new(history.store());
        let failed_exchanges = failed_exchanges::all(history, &pairs);
        let partners = pairs.partners(history.remembered_exchanges());
        let behind = Behind::new(history, &failed_exchanges, now.time, |at| at_client(&partners, at));
        Self {
            now,
            before,
            history,
            by_ends,
            anywhere,
            listeners,
            addresses,
            earlier,
            pairs,
            partners,
            failed_exchanges,
            behind,
        }
    }

    /// The HTTP exchanges that failed, each with its fault, in order of time.
    pub(super) fn failed_exchanges(&self) -> &[FailedExchange<'a>] {
        &self.failed_exchanges
    }

    /// Which of the exchanges that went wrong did so because of another one.
    pub(super) fn behind(&self) -> &Behind<'a> {
        &self.behind
    }

    /// The life of the other end of a connection, when that was traced too and its summary has come.
    pub(super) fn other_life(&self, connection: ConnectionId) -> Option<&'a Life> {
        self.pairs.other_end(connection).filter(|life| life.summary.is_some())
    }

    /// Where an exchange is at the client's end, if that is sure to have seen it too; else where it is.
    pub(super) fn at_client(&self, position: Position) -> Position {
        at_client(&self.partners, position)
    }

    /// The selected sockets in this state.
    pub fn in_state(&self, state: State) -> impl Iterator<Item = &'a Socket> {
        self.chosen().filter(move |socket| socket.state() == state)
    }

    /// The selected sockets.
    pub fn chosen(&self) -> impl Iterator<Item = &'a Socket> {
        self.now.sockets.iter().filter(|socket| socket.is_chosen)
    }

    /// The other end of a connection, when that is on this host, in any network namespace, and not in TIME_WAIT.
    pub fn other_end(&self, socket: &Socket) -> Option<&'a Socket> {
        let ends = socket.diag.endpoints.reversed();
        // Each namespace has a loopback of its own.
        let elsewhere = || {
            let index = *self.anywhere.get(&ends)?;
            index.filter(|_| !ends.peer.ip().to_canonical().is_loopback())
        };
        let index = self.by_ends.get(&(socket.netns, ends)).copied().or_else(elsewhere)?;
        Some(&self.now.sockets[index as usize])
    }

    /// The listener that has the local port of a socket: such a socket is a server's.
    pub fn listener_of(&self, socket: &Socket) -> Option<&'a Socket> {
        let index = self.listeners.get(&(socket.netns, socket.diag.endpoints.local.port()))?;
        Some(&self.now.sockets[*index as usize])
    }

    /// What a socket is for: as traced; else it was accepted where a listener has its port, or else where its own counts
    /// have no SYN.
    pub fn role(&self, socket: &Socket) -> Option<Role> {
        let open = || self.history.life(socket.diag.cookie);
        let traced = || open().or_else(|| self.history.life_of(socket.connection())).and_then(Life::role);
        let listener = || self.listener_of(socket).map(|_| Role::Server);
        traced().or_else(listener).or_else(|| role_by_counts(socket))
    }

    /// The listener that is reached from this network namespace at an address of this host: its own, or else that of the only other
    /// namespace that has one there.
    pub fn listener_at(&self, netns: u32, address: SocketAddr) -> Option<&'a Socket> {
        let is_own =
            || address.ip().to_canonical().is_loopback() || self.addresses.contains(&(netns, address.ip()));
        let elsewhere = || {
            let others =
                self.listeners.keys().filter(|(other, port)| *other != netns && *port == address.port());
            let mut found = others.filter_map(|(other, _)| self.listener_in(*other, address));
            found.next().filter(|_| found.next().is_none())
        };
        let own = self.listener_in(netns, address);
        if own.is_some() || is_own() { own } else { elsewhere() }
    }

    /// The listener of this network namespace that has this address.
    fn listener_in(&self, netns: u32, address: SocketAddr) -> Option<&'a Socket> {
        let index = self.listeners.get(&(netns, address.port()))?;
        let listener = &self.now.sockets[*index as usize];
        let at = listener.diag.endpoints.local.ip();
        let is_of_host = || address.ip().is_loopback() || self.addresses.contains(&(netns, address.ip()));
        (at == address.ip() || (at.is_unspecified() && is_of_host())).then_some(listener)
    }

    /// The process that has a socket open.
    pub fn owner(&self, socket: &Socket) -> Option<&'a Process> {
        self.now.owner(socket)
    }

    /// The pid of that process: what sockets of a finding have in common.
    pub fn owner_pid(&self, socket: &Socket) -> Option<u32> {
        self.owner(socket).map(|process| process.named.pid)
    }

    /// The settings and counters of a network namespace.
    pub fn network(&self, netns: u32) -> Option<&'a Network> {
        self.now.network(netns)
    }

    /// By how much a counter has grown since the beginning, when it was read twice.
    pub fn growth(&self, netns: u32, counter: &str) -> Option<u64> {
        let now = self.now.network(netns)?.counter(counter)?;
        let before = self.before?.network(netns)?.counter(counter)?;
        now.checked_sub(before)
    }

    /// How long a socket has been in its state, in microseconds, if that was traced.
    pub fn traced_age_us(&self, socket: &Socket) -> Option<u64> {
        let entered = socket.entered.or_else(|| self.history.entered(socket.diag.cookie, socket.state()))?;
        Some(self.now.time.micros_since(entered))
    }

    /// How long a socket has waited, in microseconds, as `of` tells of each moment: what restarts that clock without
    /// changing the state, as the answer to a keep-alive probe, is made up for by the snapshot at the beginning.
    pub fn waiting_us(&self, socket: &Socket, of: impl Fn(&Socket) -> Option<u64>) -> Option<u64> {
        let since_before = || {
            let earlier = self.earlier(socket).filter(|earlier| earlier.diag.rqueue == socket.diag.rqueue)?;
            Some(of(earlier)? + self.now.time.micros_since(self.before?.time))
        };
        of(socket).max(since_before())
    }

    /// The same socket at the beginning, if it was there in the same state.
    pub fn earlier(&self, socket: &Socket) -> Option<&'a Socket> {
        let index = self.earlier.get(&socket.diag.cookie)?;
        self.before?.sockets.get(*index as usize).filter(|earlier| earlier.state() == socket.state())
    }
}

fn at_client(partners: &HashMap<Position, Position>, position: Position) -> Position {
    partners.get(&position).copied().unwrap_or(position)
}

/// Whether a socket connected, by what it has had acknowledged: the SYN of one that connected is one more than its data
/// (`tcp_snd_una_update()` counts it, `tcp_create_openreq_child()` begins behind it). Not after its FIN, which counts too, nor
/// where data was sent again.
fn role_by_counts(socket: &Socket) -> Option<Role> {
    let info = socket.diag.info?;
    let has_no_fin = matches!(socket.state(), State::Established | State::CloseWait);
    if !has_no_fin || info.bytes_retrans > 0 || info.bytes_acked == 0 && info.bytes_sent == 0 {
        return None;
    }
    let in_flight = u64::from(socket.diag.wqueue.saturating_sub(info.notsent_bytes));
    let acknowledged = info.bytes_sent.checked_sub(in_flight)?;
    match info.bytes_acked.checked_sub(acknowledged)? {
        0 => Some(Role::Server),
        1 => Some(Role::Client),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{Host, NETNS};

    /// A client and, in this network namespace, a server's end with the ends of that connection.
    fn found(client: &str, server: &str, netns: &[u32]) -> Option<u32> {
        let mut host = Host::new();
        host.socket(None, State::Established, client, server);
        for netns in netns {
            host.socket(None, State::Established, server, client).netns = *netns;
        }
        let history = History::default();
        let facts = Facts::new(&host.snapshot, None, &history);
        facts.other_end(&host.snapshot.sockets[0]).map(|other| other.netns)
    }

    #[test]
    fn the_other_end_is_in_this_namespace_or_in_the_only_other_one_that_has_it() {
        let (client, server) = ("10.0.0.9:40000", "10.0.0.1:8080");
        assert_eq!(found(client, server, &[NETNS + 1]), Some(NETNS + 1));
        assert_eq!(found(client, server, &[NETNS, NETNS + 1]), Some(NETNS));
        assert_eq!(found(client, server, &[NETNS + 1, NETNS + 2]), None);
        assert_eq!(found("127.0.0.1:40000", "127.0.0.1:8080", &[NETNS + 1]), None);
        assert_eq!(found("127.0.0.1:40000", "127.0.0.1:8080", &[NETNS, NETNS + 1]), Some(NETNS));
    }

    #[test]
    fn a_listener_is_in_this_namespace_or_in_the_only_other_one_that_has_it() {
        for (address, listening, expected) in [
            ("10.0.0.1:8080", &[NETNS][..], Some(NETNS)),
            ("10.0.0.1:8080", &[NETNS + 1], Some(NETNS + 1)),
            ("10.0.0.1:8080", &[NETNS, NETNS + 1], Some(NETNS)),
            ("10.0.0.1:8080", &[NETNS + 1, NETNS + 2], None),
            // Its own address, where nothing listens.
            ("10.0.0.9:8080", &[NETNS + 1], None),
            ("127.0.0.1:8080", &[NETNS + 1], None),
            ("127.0.0.1:8080", &[NETNS], Some(NETNS)),
        ] {
            let mut host = Host::new();
            host.socket(None, State::SynSent, "10.0.0.9:50000", address);
            for netns in listening {
                host.socket(None, State::Listen, "0.0.0.0:8080", "0.0.0.0:0").netns = *netns;
                host.accepted(None, State::Established, 40_000).netns = *netns;
                host.socket(None, State::Established, "10.0.0.9:8080", "10.0.0.8:1").netns = *netns;
            }
            let history = History::default();
            let facts = Facts::new(&host.snapshot, None, &history);
            let found = facts.listener_at(NETNS, address.parse().unwrap());
            assert_eq!(found.map(|it| it.netns), expected, "{address} {listening:?}");
        }
    }
}
