//! Sockets that are older than the session.

use std::{collections::HashSet, sync::Arc};

use tcp_trace_model::{
    event::{Cookie, Endpoints, Figures, Owner, Role, State},
    record::{ConnectionId, Record},
    time::Time,
};

use super::Pipeline;
use crate::conn::Connection;

/// A socket as the kernel lists it (sock_diag).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExistingSocket {
    /// Its cookie.
    pub cookie: Cookie,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Both ends.
    pub endpoints: Endpoints,
    /// The state it is in.
    pub state: State,
    /// A listener, or a connection that a listener of the same namespace and port accepted; else `None`.
    pub role: Option<Role>,
    /// A process that has it open, as /proc tells.
    pub owner: Option<Arc<Owner>>,
    /// What it knows.
    pub figures: Figures,
    /// Bytes of data sent so far, each counted once, and sequence numbers received: those of the data, and the FIN's.
    /// `None` of mini-sockets.
    pub bytes: Option<(u64, u64)>,
    /// Of a mini-socket, what is left of its timer, in microseconds.
    pub mini_socket_us: Option<u64>,
}

impl Pipeline {
    /// Takes the sockets that were there before the first event. All events up to now need to have been taken:
    /// of a socket that has had one, only the process is news, and what has ended meanwhile is none.
    pub fn existing(&mut self, now: Time, mut sockets: Vec<ExistingSocket>, out: &mut Vec<Record>) {
        let ended = self.ended_before_existing.take().unwrap_or_default();
        sockets.retain(|socket| !ended.contains(&socket.cookie));
        // There may be many: without a table of them, the ends of one connection stand beside each other. A list that is
        // read while it changes may have a socket twice, also with the mini-socket that took its place.
        sockets.sort_unstable_by_key(|socket| {
            let Endpoints { local, peer } = socket.endpoints;
            let is_mini = socket.mini_socket_us.is_some();
            (socket.netns, local.min(peer), local.max(peer), local, socket.cookie, is_mini)
        });
        sockets.dedup_by_key(|socket| socket.cookie);
        let mut before = None;
        let mut sockets = sockets.into_iter().peekable();
        while let Some(socket) = sockets.next() {
            let own = (socket.netns, socket.endpoints, socket.cookie);
            let after = sockets.peek().map(|next| (next.netns, next.endpoints, next.cookie));
            let is_other = |other: &(u32, Endpoints, Cookie)| (other.0, other.1.reversed()) == (own.0, own.1);
            let other = before.filter(is_other).or(after.filter(is_other)).map(|(.., cookie)| cookie);
            self.existing_socket(now, socket, other, out);
            before = Some(own);
        }
    }

    /// Whether [`Pipeline::existing`] has still to be called.
    pub fn expects_existing(&self) -> bool {
        self.ended_before_existing.is_some()
    }

    /// Says that [`Pipeline::existing`] will be called.
    pub fn expect_existing(&mut self) {
        self.ended_before_existing = Some(HashSet::new());
    }

    fn existing_socket(
        &mut self,
        now: Time,
        socket: ExistingSocket,
        other_end: Option<Cookie>,
        out: &mut Vec<Record>,
    ) {
        let ExistingSocket { cookie, netns, endpoints, state, role, owner, figures, bytes, mini_socket_us } =
            socket;
        let is_new = !self.table.contains_key(&cookie);
        if is_new && !self.settings.filter.asks_for_netns(netns) {
            // The kernel side will never tell of it.
            return;
        }
        let id = ConnectionId::of_socket(cookie, 0);
        if is_new && !self.add(now, cookie, Connection::new(id, now, Some(state), role)) {
            return;
        }
        let Some(tracked) = self.table.get_mut(&cookie) else { return };
        tracked.connection.learn_endpoints(endpoints, Some(netns));
        if let Some(owner) = &owner {
            tracked.connection.learn_owner(self.owners.shared(owner));
        }
        if is_new {
            tracked.connection.learn_figures(figures);
            if let Some(bytes) = bytes {
                tracked.connection.count_bytes_from(bytes);
            }
            if let Some(other) = other_end {
                tracked.connection.learn_peer(ConnectionId::of_socket(other, 0));
            }
        }
        tracked.gate.decide(&self.settings.filter, &tracked.connection, now, false, out);
        if let (true, Some(left)) = (is_new, mini_socket_us) {
            tracked.connection.is_mini_socket(now, left);
            self.socket_gone(id, now, out);
            self.follow_mini_socket(id, now, out);
        }
    }

    /// Whether a connection that comes out has a socket.
    pub fn has_open(&self) -> bool {
        self.table.values().any(|tracked| !tracked.gate.is_shut() && tracked.connection.has_socket())
    }

    /// Notes what the sockets know that are still open at the end, and whose they are.
    pub fn still_open(&mut self, sockets: Vec<ExistingSocket>) {
        // A mini-socket has the cookie of a socket of which the end is still unread, and knows nothing.
        for socket in sockets.into_iter().filter(|socket| socket.mini_socket_us.is_none()) {
            let tracked = self.table.get_mut(&socket.cookie);
            let Some(tracked) = tracked.filter(|tracked| tracked.connection.has_socket()) else { continue };
            tracked.connection.learn_figures(socket.figures);
            if let Some(bytes) = socket.bytes {
                tracked.connection.learn_bytes(bytes);
            }
            if let Some(owner) = &socket.owner {
                tracked.connection.learn_owner(self.owners.shared(owner));
            }
        }
    }
}
