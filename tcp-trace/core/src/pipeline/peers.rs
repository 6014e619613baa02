//! Which two connections are the ends of one: both ends of a connection can be on this host.

use std::collections::HashMap;

use tcp_trace_model::{
    event::{Direction, Flags, Role, Segment},
    record::ConnectionId,
    time::Time,
};

use super::{
    Pipeline,
    mini_sockets::four_tuple,
    table::{Connections, Tracked},
};
use crate::conn::{Connection, FourTuple};

/// What both ends know and no other connection shares: the initial sequence numbers, of which each end chooses one. Addresses
/// can differ between the ends, where they are translated on the way.
type Handshake = (u32, u32);

/// Connections whose other end was not seen yet.
#[derive(Debug, Default)]
pub(super) struct Peers {
    waiting: HashMap<(Handshake, Side), ConnectionId>,
}

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Side {
    Client,
    Server,
}

impl Side {
    fn opposite(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

impl Peers {
    /// Links a connection with its other end, if its handshake was seen and the other end is there.
    fn link(&mut self, id: ConnectionId, connections: &mut Connections) {
        let Some((handshake, side)) = connections.of(id).and_then(|tracked| end(&tracked.connection)) else {
            return;
        };
        let Some(other) = self.waiting.remove(&(handshake, side.opposite())) else {
            self.waiting.insert((handshake, side), id);
            return;
        };
        self.waiting.remove(&(handshake, side));
        for (one, another) in [(id, other), (other, id)] {
            if let Some(tracked) = connections.of(one) {
                tracked.connection.learn_peer(another);
            }
        }
    }

    /// Links a half-open connection, which is in no table, with the client's end.
    pub(super) fn link_half_open(&mut self, half_open: &mut Connection, connections: &mut Connections) {
        let Some((handshake, side)) = end(half_open) else { return };
        let Some(client) = self.waiting.remove(&(handshake, side.opposite())) else { return };
        if let Some(tracked) = connections.of(client).filter(|tracked| !tracked.gate.is_shut()) {
            tracked.connection.learn_peer(half_open.id());
            half_open.learn_peer(client);
        }
    }

    /// Takes a connection that leaves the table out of the links. The other end of one that does not come out is
    /// not told either.
    pub(super) fn forget(&mut self, leaving: &mut Tracked, connections: &mut Connections) {
        if let Some(end) = end(&leaving.connection)
            && self.waiting.get(&end) == Some(&leaving.connection.id())
        {
            self.waiting.remove(&end);
        }
        let Some(peer) = leaving.connection.peer() else { return };
        let is_shut = leaving.gate.is_shut();
        if let Some(tracked) = connections.of(peer) {
            if tracked.gate.is_shut() {
                leaving.connection.forget_peer();
            }
            if is_shut {
                tracked.connection.forget_peer();
            }
        }
    }
}

/// What is known of the ends of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    id: ConnectionId,
    peer: Option<ConnectionId>,
    four_tuple: Option<FourTuple>,
    is_half_closed: bool,
}

impl Ends {
    /// Those of a connection.
    pub(super) fn of(connection: &Connection) -> Self {
        Self {
            id: connection.id(),
            peer: connection.peer(),
            four_tuple: four_tuple(connection),
            is_half_closed: connection.is_half_closed(),
        }
    }
}

impl Pipeline {
    /// Looks at a segment of the handshake or the close, for what it says of the other end on this host.
    pub(super) fn note_other_end(&mut self, time: Time, ends: Ends, segment: &Segment<'_>) {
        let Ends { id, peer, four_tuple, is_half_closed } = ends;
        let is_end = segment.flags.has(Flags::FIN) || segment.flags.has(Flags::RST);
        if !is_end {
            if segment.flags.has(Flags::SYN)
                && segment.direction == Direction::Out
                && !segment.flags.has(Flags::ACK)
                && let Some(key) = four_tuple
                && self.mini_sockets.get(&key).is_some_and(|before| before != id)
            {
                self.reused(key, time);
            }
            if peer.is_none() {
                self.peers.link(id, &mut self.connections);
            }
            return;
        }
        let Some(peer) = peer else { return };
        if segment.direction == Direction::In {
            if segment.flags.has(Flags::RST) {
                // From Linux 6.13 on, what a mini-socket sends is seen where it arrives and nowhere else.
                self.change_mini_socket(peer, |connection| connection.mini_socket_sent_reset(time, true));
            }
            return;
        }
        if segment.flags.has(Flags::RST) {
            self.change_mini_socket(peer, |connection| connection.peer_sent_reset(time, segment.sequence));
        } else if let Some(tracked) = self.connections.of(peer) {
            tracked.connection.peer_sent_fin(time, is_half_closed);
        }
    }
}

/// Which end of which handshake a connection is, when that was seen.
fn end(connection: &Connection) -> Option<(Handshake, Side)> {
    let side = match connection.role()? {
        Role::Client => Side::Client,
        Role::Server => Side::Server,
        Role::Listener => return None,
    };
    Some((connection.initial_sequences()?, side))
}
