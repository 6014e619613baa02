//! Connections whose socket is gone and whose TIME_WAIT or FIN_WAIT2 goes on.

use std::collections::{HashMap, HashSet};

use tcp_trace_model::{
    event::{Cookie, Endpoints, Segment, State, StateChange},
    record::{ConnectionId, Record, Transition},
    time::Time,
};

use super::Pipeline;
use crate::conn::{Connection, FourTuple, Listed};

/// Connections that are followed without a socket at the same time. Of further ones the summary is written when
/// their socket goes, and says when the rest will end.
pub const MINI_SOCKETS_MAX: usize = 131_072;

/// A socket without a cookie of its own, as the kernel lists it (sock_diag).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedSocket {
    /// Its addresses.
    pub endpoints: Endpoints,
    /// `TIME_WAIT`, `FIN_WAIT2`, or `SYN_RECV` for a half-open connection.
    pub state: State,
    /// What is left of its timer, in microseconds.
    pub expires_us: u64,
}

impl Pipeline {
    /// Whether there are connections whose mini-socket goes on.
    pub fn has_mini_sockets(&self) -> bool {
        !self.mini_sockets.is_empty()
    }

    /// The network namespaces of which a list of the kernel is needed now, in order.
    pub fn namespaces_to_list(&self, now: Time) -> Vec<u32> {
        let mut namespaces = Vec::new();
        self.half_open.namespaces(now, &mut namespaces);
        let with_mini_sockets: HashSet<u32> = self.mini_sockets.keys().map(|key| key.netns).collect();
        namespaces.extend(with_mini_sockets);
        namespaces.sort_unstable();
        namespaces.dedup();
        namespaces
    }

    /// Takes the kernel's list of a namespace's mini-sockets and half-open connections, read between `from` and
    /// `to`.
    pub fn listed(
        &mut self,
        netns: u32,
        (from, to): (Time, Time),
        sockets: &[ListedSocket],
        out: &mut Vec<Record>,
    ) {
        let is_half_open = |socket: &&ListedSocket| socket.state == State::SynRecv;
        let half_open = sockets.iter().filter(is_half_open).map(|socket| socket.endpoints).collect();
        self.half_open.listed(netns, from, &half_open);
        self.half_open_over(to, out);
        let listed: HashMap<Endpoints, Listed> = sockets
            .iter()
            .filter(|socket| !is_half_open(socket))
            .map(|socket| (socket.endpoints, Listed { state: socket.state, expires_us: socket.expires_us }))
            .collect();
        self.each_mini_socket(netns, out, |connection, endpoints| {
            connection.listed(from, to, listed.get(&endpoints).copied())
        });
    }

    /// Notes that a namespace's list cannot be read.
    pub fn not_listed(&mut self, netns: u32, now: Time, out: &mut Vec<Record>) {
        self.each_mini_socket(netns, out, |connection, _| connection.not_listed(now));
    }

    fn each_mini_socket(
        &mut self,
        netns: u32,
        out: &mut Vec<Record>,
        change: impl Fn(&mut Connection, Endpoints) -> Option<Transition>,
    ) {
        let of_netns = self.mini_sockets.iter().filter(|(key, _)| key.netns == netns);
        let mut ids: Vec<_> = of_netns.map(|(key, id)| (*id, key.endpoints)).collect();
        // The table's own order differs from run to run.
        ids.sort_unstable();
        for (id, endpoints) in ids {
            self.change_mini_socket(id, out, |connection| change(connection, endpoints));
        }
    }

    /// Applies a change to a connection without a socket. Its summary is written when that was the end of it.
    pub(super) fn change_mini_socket(
        &mut self,
        id: ConnectionId,
        out: &mut Vec<Record>,
        change: impl FnOnce(&mut Connection) -> Option<Transition>,
    ) {
        let Some(tracked) = self.tracked(id) else { return };
        let Some(transition) = change(&mut tracked.connection) else { return };
        let (time, new) = (transition.time, transition.new);
        tracked.gate.pass(Record::Transition(transition), out);
        if new == State::Close {
            self.retire(id, time, out);
        }
    }

    /// A socket went to `CLOSE`: a mini-socket may go on, and the other end's may have had its FIN.
    pub(super) fn socket_closes(
        &mut self,
        time: Time,
        cookie: Cookie,
        change: &StateChange,
        out: &mut Vec<Record>,
    ) {
        let Some(tracked) = self.table.get(&cookie) else { return };
        let (id, peer) = (tracked.connection.id(), tracked.connection.peer());
        self.follow_mini_socket(id, time, out);
        if let (State::LastAck, 0, Some(peer)) = (change.old, change.error, peer) {
            self.change_mini_socket(peer, out, Connection::peer_is_done);
        }
    }

    /// Follows the mini-socket of a connection, if it has one and comes out.
    pub(super) fn follow_mini_socket(&mut self, id: ConnectionId, time: Time, out: &mut Vec<Record>) {
        let Some(tracked) = self.tracked(id) else { return };
        let connection = &tracked.connection;
        let is_followed = connection.has_mini_socket() && !tracked.gate.is_shut();
        let Some(key) = four_tuple(connection).filter(|_| is_followed) else { return };
        self.reused(key, time, out);
        if self.mini_sockets.len() < MINI_SOCKETS_MAX {
            self.mini_sockets.insert(key, id);
        } else if let Some(tracked) = self.tracked(id) {
            tracked.connection.leave_mini_socket();
        }
    }

    /// The kernel answers in the name of a mini-socket.
    pub(super) fn mini_socket_segment(&mut self, time: Time, segment: &Segment<'_>, out: &mut Vec<Record>) {
        let Some(netns) = segment.netns else { return };
        let Some(id) = self.mini_sockets.get(&FourTuple { netns, endpoints: segment.endpoints }) else {
            return;
        };
        self.change_mini_socket(*id, out, |connection| connection.answered(time, segment));
    }

    /// A new connection has these addresses: the mini-socket that had them is gone.
    pub(super) fn reused(&mut self, key: FourTuple, time: Time, out: &mut Vec<Record>) {
        if let Some(id) = self.mini_sockets.get(&key).copied() {
            self.change_mini_socket(id, out, |connection| connection.reused(time));
        }
    }

    pub(super) fn forget_mini_socket(&mut self, connection: &Connection) {
        if let Some(key) = four_tuple(connection)
            && self.mini_sockets.get(&key) == Some(&connection.id())
        {
            self.mini_sockets.remove(&key);
        }
    }
}

/// Addresses with namespace, when both are known.
pub(super) fn four_tuple(connection: &Connection) -> Option<FourTuple> {
    Some(FourTuple { netns: connection.netns()?, endpoints: connection.endpoints()? })
}
