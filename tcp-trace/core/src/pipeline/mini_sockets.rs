//! Connections whose socket is gone and whose TIME_WAIT or FIN_WAIT2 goes on.

use std::collections::{HashMap, HashSet};

use tcp_trace_model::{
    event::{Endpoints, Segment, State, StateChange},
    record::{ConnectionId, Record, Transition},
    time::Time,
};

use super::Pipeline;
use crate::conn::{Connection, FourTuple};

/// Connections that are followed without a socket at the same time. Of further ones the summary is written when
/// their socket goes, and says when the rest will end.
pub const MINI_SOCKETS_MAX: usize = 131_072;

/// Connections whose socket is gone and whose mini-socket is not.
#[derive(Debug, Default)]
pub(super) struct MiniSockets {
    /// By their own addresses, as the kernel lists them.
    own: HashMap<FourTuple, ConnectionId>,
    /// Those whose addresses are translated, by the addresses with which their segments leave this host.
    translated: HashMap<FourTuple, ConnectionId>,
}

impl MiniSockets {
    pub(super) fn is_empty(&self) -> bool {
        self.own.is_empty()
    }

    /// Adds the network namespaces that they are in.
    pub(super) fn namespaces(&self, namespaces: &mut Vec<u32>) {
        if self.is_empty() {
            return;
        }
        let all: HashSet<u32> = self.own.keys().map(|key| key.netns).collect();
        namespaces.extend(all);
    }

    /// Those of a network namespace, in the order of their names: the table's own differs from run to run.
    pub(super) fn of(&self, netns: u32) -> Vec<(ConnectionId, Endpoints)> {
        let of_netns = self.own.iter().filter(|(key, _)| key.netns == netns);
        let mut ids: Vec<_> = of_netns.map(|(key, id)| (*id, key.endpoints)).collect();
        ids.sort_unstable();
        ids
    }

    /// The one with these addresses.
    pub(super) fn get(&self, key: &FourTuple) -> Option<ConnectionId> {
        self.own.get(key).copied()
    }

    /// The one whose segments leave with these addresses.
    fn get_sender(&self, key: &FourTuple) -> Option<ConnectionId> {
        self.translated.get(key).or_else(|| self.own.get(key)).copied()
    }

    /// Follows that of a connection, unless there are too many: whether it does.
    fn insert(&mut self, key: FourTuple, connection: &Connection) -> bool {
        let has_room = self.own.len() < MINI_SOCKETS_MAX;
        if has_room {
            self.own.insert(key, connection.id());
            if let Some(endpoints) = connection.translated() {
                self.translated.insert(FourTuple { endpoints, ..key }, connection.id());
            }
        }
        has_room
    }

    /// Takes out that of a connection.
    pub(super) fn forget(&mut self, connection: &Connection) {
        let Some(key) = four_tuple(connection) else { return };
        let of = |key| move |id: &ConnectionId| (*id == connection.id()).then_some(key);
        if let Some(key) = self.own.get(&key).and_then(of(key)) {
            self.own.remove(&key);
        }
        let translated = connection.translated().map(|endpoints| FourTuple { endpoints, ..key });
        if let Some(key) = translated.and_then(|key| self.translated.get(&key).and_then(of(key))) {
            self.translated.remove(&key);
        }
    }
}

impl Pipeline {
    /// Whether there are connections whose mini-socket goes on.
    pub fn has_mini_sockets(&self) -> bool {
        !self.mini_sockets.is_empty()
    }

    /// Applies a change to a connection without a socket. Its summary is written when that was the end of it.
    pub(super) fn change_mini_socket(
        &mut self,
        id: ConnectionId,
        change: impl FnOnce(&mut Connection) -> Option<Transition>,
    ) {
        let Some(tracked) = self.connections.of(id) else { return };
        let Some(transition) = change(&mut tracked.connection) else { return };
        let (time, new) = (transition.time, transition.new);
        tracked.pass(Record::Transition(transition), &mut self.cx);
        match new {
            State::Close => self.retire(id, time),
            State::TimeWait if self.cx.settings.leave_time_wait => self.connections.close(time, id),
            _ => {}
        }
    }

    /// A socket went to `CLOSE`: a mini-socket may go on, and the other end's may have had its FIN.
    pub(super) fn socket_closes(
        &mut self,
        time: Time,
        id: ConnectionId,
        peer: Option<ConnectionId>,
        change: &StateChange,
    ) {
        self.follow_mini_socket(id, time);
        let is_orphan = self.connections.of(id).is_some_and(|tracked| tracked.connection.is_orphan());
        if is_orphan && let Some(tracked) = peer.and_then(|peer| self.connections.of(peer)) {
            tracked.connection.peer_gave_up();
        }
        // From both states, only the acknowledgment of its FIN leads on.
        if let (State::LastAck | State::Closing, 0, Some(peer)) = (change.old, change.error, peer) {
            self.change_mini_socket(peer, Connection::on_peer_done);
        }
    }

    /// Follows the mini-socket of a connection, if it has one and comes out.
    pub(super) fn follow_mini_socket(&mut self, id: ConnectionId, time: Time) {
        let Some(tracked) = self.connections.of(id) else { return };
        let connection = &tracked.connection;
        let is_followed = connection.has_mini_socket() && !tracked.gate.is_shut();
        let Some(key) = four_tuple(connection).filter(|_| is_followed) else { return };
        self.reused(key, time);
        if let Some(tracked) = self.connections.of(id)
            && !self.mini_sockets.insert(key, &tracked.connection)
        {
            tracked.connection.leave_mini_socket();
        }
    }

    /// The kernel answers in the name of a mini-socket.
    pub(super) fn mini_socket_segment(&mut self, time: Time, segment: &Segment<'_>) {
        let Some(netns) = segment.netns else { return };
        // The one through which the kernel answers has no addresses of its own.
        if let Some(id) = self.mini_sockets.get_sender(&FourTuple { netns, endpoints: segment.endpoints }) {
            self.change_mini_socket(id, |connection| connection.on_answer(time, segment));
        }
    }

    /// A new connection has these addresses: the mini-socket that had them is gone.
    pub(super) fn reused(&mut self, key: FourTuple, time: Time) {
        if let Some(id) = self.mini_sockets.get(&key) {
            self.change_mini_socket(id, |connection| connection.on_reuse(time));
        }
    }

    /// A listener gets a SYN with these addresses: neither its own mini-socket is there that had them, nor a client's on this
    /// host whose segments had.
    pub(super) fn reused_by_syn(&mut self, key: FourTuple, time: Time) {
        self.reused(key, time);
        let sender = FourTuple { endpoints: key.endpoints.reversed(), ..key };
        if let Some(id) = self.mini_sockets.get_sender(&sender) {
            self.change_mini_socket(id, |connection| connection.on_reuse(time));
        }
    }
}

/// Addresses with namespace, when both are known.
pub(super) fn four_tuple(connection: &Connection) -> Option<FourTuple> {
    Some(FourTuple { netns: connection.netns()?, endpoints: connection.endpoints()? })
}
