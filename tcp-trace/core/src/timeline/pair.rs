//! Which two lives are the ends of one connection, and its exchanges, each once.

use std::collections::{HashMap, HashSet};

use tcp_trace_model::{
    event::Role,
    record::{ConnectionId, Ends, Http, Network},
};

use super::{Life, Store, partners};

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The end that sent the SYN.
    Client,
    /// The end that was listening.
    Server,
}

impl Side {
    /// The other one.
    pub fn opposite(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// A connection: a client's and a server's end, of which at least one is there. Where it is not known which is which, they
/// are placed as they come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pair<'a> {
    /// The client's end.
    pub client: Option<&'a Life>,
    /// The server's end.
    pub server: Option<&'a Life>,
}

impl<'a> Pair<'a> {
    /// The ends that are there.
    pub fn ends(&self) -> impl Iterator<Item = &'a Life> {
        [self.client, self.server].into_iter().flatten()
    }

    /// Each exchange, once where it is sure that both saw it, with the side that did: the client where it can be, because its
    /// times are what the user waits for, else the server.
    pub fn exchanges(&self) -> Vec<(Side, &'a Http)> {
        let of =
            |life: Option<&'a Life>| life.map(|life| life.exchanges.iter().collect()).unwrap_or_default();
        let (mut clients, servers): (Vec<&Http>, Vec<&Http>) = (of(self.client), of(self.server));
        clients.sort_by_key(|http| http.exchange.timing.started);
        let at_client = partners::at_client(&clients, &servers, self.is_from_start());
        let only_at_server = servers.into_iter().zip(at_client).filter(|(_, client)| client.is_none());
        let only_at_server: Vec<_> = only_at_server.map(|(http, _)| (Side::Server, http)).collect();
        clients.into_iter().map(|http| (Side::Client, http)).chain(only_at_server).collect()
    }

    /// Whether both ends were seen from the beginning of the connection on.
    fn is_from_start(&self) -> bool {
        self.ends().all(Life::is_from_start)
    }
}

/// Where an exchange is: the end that saw it, and its position there.
pub type Position = (ConnectionId, u64);

/// Where this one is.
pub fn position(http: &Http) -> Position {
    (http.connection.id, http.exchange.index)
}

/// All connections of a store, but no listeners, in the order of their beginnings.
#[derive(Debug, Default)]
pub struct Pairs<'a> {
    pairs: Vec<Pair<'a>>,
    by_end: HashMap<ConnectionId, usize>,
}

impl<'a> Pairs<'a> {
    /// Finds the two ends of each connection. First by the initial sequence numbers, which address translation leaves alone;
    /// then by what the tracer recorded of the other end; then, for what is older than the recording, by swapped addresses.
    pub fn new(store: &'a Store) -> Self {
        let mut finder = Finder {
            // A listener is no connection.
            lives: store.lives().filter(|life| life.role() != Some(Role::Listener)).collect(),
            used: HashSet::new(),
            pairs: Vec::new(),
        };
        finder.by_handshake(ports);
        // Where ports are translated on the way, only the sequence numbers are the same at both ends.
        finder.by_handshake(|_, _| (0, 0));
        finder.by_peer(store);
        finder.by_addresses();
        let mut pairs = finder.pairs;
        pairs.sort_by_cached_key(|pair| pair.ends().map(|life| life.span().0).min());
        let ends = pairs.iter().enumerate();
        let by_end = ends.flat_map(|(index, pair)| pair.ends().map(move |life| (life.connection, index)));
        Self { by_end: by_end.collect(), pairs }
    }

    /// Each connection.
    pub fn iter(&self) -> impl Iterator<Item = &Pair<'a>> {
        self.pairs.iter()
    }

    /// The connection that has this end.
    pub fn of(&self, end: ConnectionId) -> Option<&Pair<'a>> {
        self.by_end.get(&end).and_then(|index| self.pairs.get(*index))
    }

    /// The other end of the connection that has this end, when it is there too.
    pub fn other_end(&self, end: ConnectionId) -> Option<&'a Life> {
        self.of(end)?.ends().find(|life| life.connection != end)
    }

    /// Of exchanges that ends saw, each once: those of servers' ends that the client's end saw too, with that one.
    pub fn partners(&self, all: impl Iterator<Item = &'a Http>) -> HashMap<Position, Position> {
        let mut by_pair = HashMap::<usize, [Vec<&Http>; 2]>::new();
        let mut seen = HashSet::new();
        for http in all {
            let index = self.by_end.get(&http.connection.id).copied();
            let Some((index, pair)) = index.and_then(|index| Some((index, self.pairs.get(index)?))) else {
                continue;
            };
            if let (Some(client), Some(_)) = (pair.client, pair.server)
                && seen.insert(position(http))
            {
                let is_server = client.connection != http.connection.id;
                by_pair.entry(index).or_default()[usize::from(is_server)].push(http);
            }
        }
        let of_pair = |(index, [clients, servers]): (usize, [Vec<&'a Http>; 2])| {
            let is_from_start = self.pairs.get(index).is_some_and(Pair::is_from_start);
            let found = partners::at_client(&clients, &servers, is_from_start);
            let both = servers.into_iter().zip(found).filter_map(|(server, client)| Some((server, client?)));
            both.map(|(server, client)| (position(server), position(client))).collect::<Vec<_>>()
        };
        by_pair.into_iter().flat_map(of_pair).collect()
    }

    /// The exchanges of all connections, each once, in the order in which they began.
    pub fn exchanges(&self) -> Vec<&'a Http> {
        let mut all: Vec<_> = self.iter().flat_map(Pair::exchanges).map(|(_, http)| http).collect();
        all.sort_by_key(|http| (http.exchange.timing.started, http.connection.id, http.exchange.index));
        all
    }
}

/// What both ends of a connection have in common: the sequence numbers of the handshake, and ports unless they are translated.
type Key = ((u16, u16), u32, u32);

/// Client's and server's port, as an end knows them.
fn ports(network: &Network, role: Role) -> (u16, u16) {
    let (client, server) = match role {
        Role::Server => (network.peer, network.local),
        _ => (network.local, network.peer),
    };
    (client.port, server.port)
}

fn key(life: &Life, role: Role, ports: fn(&Network, Role) -> (u16, u16)) -> Option<Key> {
    let (syn, syn_ack) = life.initial_sequences();
    Some((ports(&life.network()?, role), syn?, syn_ack?))
}

/// Lives on their way into pairs.
struct Finder<'a> {
    lives: Vec<&'a Life>,
    used: HashSet<ConnectionId>,
    pairs: Vec<Pair<'a>>,
}

impl<'a> Finder<'a> {
    fn add(&mut self, life: &'a Life, other: Option<&'a Life>) {
        self.used.extend([Some(life), other].into_iter().flatten().map(|life| life.connection));
        let is_server = life.role() == Some(Role::Server) || other.and_then(Life::role) == Some(Role::Client);
        let (client, server) = if is_server { (other, Some(life)) } else { (Some(life), other) };
        self.pairs.push(Pair { client, server });
    }

    fn by_handshake(&mut self, ports: fn(&Network, Role) -> (u16, u16)) {
        let keys = |role| {
            let free = self.lives.iter().filter(|life| !self.used.contains(&life.connection));
            let of_role = free.filter(move |life| life.role() == Some(role));
            of_role.filter_map(move |life| Some((key(life, role, ports)?, *life)))
        };
        let mut servers: HashMap<Key, &Life> = keys(Role::Server).collect();
        let found: Vec<_> =
            keys(Role::Client).filter_map(|(key, client)| Some((client, servers.remove(&key)?))).collect();
        found.into_iter().for_each(|(client, server)| self.add(client, Some(server)));
    }

    fn by_peer(&mut self, store: &'a Store) {
        for life in self.lives.clone() {
            let peer = life.summary.as_ref().and_then(|summary| summary.peer_connection);
            let other = peer.filter(|peer| !self.used.contains(peer)).and_then(|peer| store.life(peer));
            let other = other.filter(|other| other.connection != life.connection);
            if let Some(other) = other.filter(|other| other.role() != Some(Role::Listener))
                && !self.used.contains(&life.connection)
            {
                self.add(life, Some(other));
            }
        }
    }

    fn by_addresses(&mut self) {
        // What one end sends, translated or not, reaches the other with that one's own addresses.
        let pairs = |life: &Life| {
            let network = life.network();
            let own = network.map(|Network { local, peer, .. }| Ends { local, peer });
            let translated = network.and_then(|network| network.translated);
            translated.into_iter().chain(own)
        };
        let mut ends: HashMap<Ends, Vec<&Life>> = HashMap::new();
        for life in self.lives.iter().filter(|life| !self.used.contains(&life.connection)) {
            for pair in pairs(life) {
                ends.entry(pair).or_default().push(life);
            }
        }
        let (servers, mut lives): (Vec<&Life>, Vec<&Life>) =
            self.lives.iter().copied().partition(|life| life.role() == Some(Role::Server));
        lives.extend(servers);
        for life in lives {
            if self.used.contains(&life.connection) {
                continue;
            }
            let swapped = pairs(life).map(|Ends { local, peer }| Ends { local: peer, peer: local });
            let swapped = swapped.filter_map(|pair| ends.get(&pair));
            let is_free = |other: &&&Life| {
                other.connection != life.connection && !self.used.contains(&other.connection)
            };
            let mut others = swapped.flatten().filter(is_free);
            let other = others.find(|other| are_ends_of_one(life, other)).copied();
            self.add(life, other);
        }
    }
}

/// Whether nothing speaks against two connections with swapped addresses being one.
fn are_ends_of_one(a: &Life, b: &Life) -> bool {
    let agree = |a: Option<u32>, b: Option<u32>| a.is_some() && a == b;
    let differ = |a: Option<u32>, b: Option<u32>| a.zip(b).is_some_and(|(a, b)| a != b);
    let ((a_syn, a_syn_ack), (b_syn, b_syn_ack)) = (a.initial_sequences(), b.initial_sequences());
    let ((a_first, a_last), (b_first, b_last)) = (a.span(), b.span());
    let netns = |life: &Life| life.network().and_then(|network| network.netns);
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
