//! Sockets that are older than the session.

use std::{collections::HashSet, sync::Arc};

use tcp_trace_model::{
    event::{Cookie, Endpoints, Owner, Role, State, TcpStats},
    record::{ConnectionId, KernelSocket},
    time::Time,
};

use super::Pipeline;
use crate::conn::{Connection, Progress};

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
    /// A listener, or a connection that a listener of the same namespace and port accepted; else `None`: where the other end
    /// is such a connection, this one is known to have connected.
    pub role: Option<Role>,
    /// A process that has it open, as /proc tells.
    pub owner: Option<Arc<Owner>>,
    /// The ids of the others that have it open.
    pub others: Vec<u32>,
    /// What it knows.
    pub stats: TcpStats,
    /// How far it has come; `None` of mini-sockets.
    pub bytes: Option<Progress>,
    /// All that the kernel said of it.
    pub listed: Option<Box<KernelSocket>>,
    /// Of a mini-socket, what is left of its timer, in microseconds.
    pub mini_socket_us: Option<u64>,
    /// Whether it is one of several subflows of an MPTCP socket: each carries a part of what that does.
    pub is_one_of_several: bool,
}

impl Pipeline {
    /// Takes the sockets that were there before the first event. All events up to now need to have been taken:
    /// of a socket that has had one, only the process is news, and what has ended meanwhile is none.
    pub fn existing(&mut self, now: Time, sockets: &[ExistingSocket]) {
        let ended = self.connections.take_ended();
        let mut sockets: Vec<_> = sockets.iter().filter(|socket| !ended.contains(&socket.cookie)).collect();
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
            let own = (socket.netns, socket.endpoints, socket.cookie, socket.role);
            let after = sockets.peek().map(|next| (next.netns, next.endpoints, next.cookie, next.role));
            let is_other = |other: &(u32, Endpoints, Cookie, Option<Role>)| {
                (other.0, other.1.reversed()) == (own.0, own.1)
            };
            let other = before.filter(is_other).or(after.filter(is_other));
            // What a listener did not accept, and another end that it did, connected.
            let is_client = other.is_some_and(|(.., role)| role == Some(Role::Server));
            let role = socket.role.or(is_client.then_some(Role::Client));
            self.existing_socket(now, socket, role, other.map(|(_, _, cookie, _)| cookie));
            before = Some(own);
        }
    }

    /// Whether [`Pipeline::existing`] has still to be called.
    pub fn expects_existing(&self) -> bool {
        self.connections.expects_existing()
    }

    /// Says that [`Pipeline::existing`] will be called.
    pub fn expect_existing(&mut self) {
        self.connections.expect_existing();
    }

    fn existing_socket(
        &mut self,
        now: Time,
        socket: &ExistingSocket,
        role: Option<Role>,
        other_end: Option<Cookie>,
    ) {
        let ExistingSocket { cookie, netns, endpoints, state, stats, bytes, mini_socket_us, .. } = *socket;
        let Self { cx, connections, .. } = self;
        let is_new = connections.get(cookie).is_none();
        if is_new && !cx.settings.filter.asks_for_netns(netns) {
            // The kernel side will never tell of it.
            return;
        }
        let id = ConnectionId::of_socket(cookie, 0);
        let new = || Connection::new(id, now, Some(state), role);
        let Some(tracked) = connections.get_or_add(now, cookie, new, cx) else { return };
        tracked.connection.learn_endpoints(endpoints, Some(netns));
        if let Some(role) = role {
            tracked.connection.learn_role(role);
        }
        if let Some(owner) = &socket.owner {
            tracked.connection.learn_holder(now, cx.owners.shared(owner));
        }
        if is_new {
            tracked.connection.learn_stats(stats);
            if let Some(bytes) = bytes {
                tracked.connection.count_bytes_from(bytes);
            }
            if let Some(other) = other_end {
                tracked.connection.learn_peer(ConnectionId::of_socket(other, 0));
            }
        }
        tracked.decide(now, false, cx);
        if socket.is_one_of_several {
            tracked.connection.learn_subflow();
            self.leave_to_others(now, cookie);
        }
        let Some(tracked) = self.connections.get_mut(cookie) else { return };
        if let (true, Some(left)) = (is_new, mini_socket_us) {
            tracked.connection.set_mini_socket(now, left);
            self.socket_gone(id, now);
            self.follow_mini_socket(id, now);
        }
    }

    /// Whether a connection that comes out has a socket.
    pub fn has_open(&self) -> bool {
        self.connections.iter().any(|tracked| !tracked.gate.is_shut() && tracked.connection.has_socket())
    }

    /// The connections that are open as far as was seen, of those that a list of sockets has. Half-open ones are listed otherwise.
    pub fn with_sockets(&self) -> Vec<ConnectionId> {
        self.connections.names(|connection| {
            let has_cookie = !matches!(connection.state(), None | Some(State::Close | State::SynRecv));
            connection.has_socket() && has_cookie
        })
    }

    /// Leaves of such connections those that are still open as far as was seen, and that a list lacks which was read since: it has all
    /// sockets of the `complete` network namespaces.
    pub fn retain_missing(&self, all: &mut Vec<ConnectionId>, present: &HashSet<Cookie>, complete: &[u32]) {
        all.retain(|id| {
            let open = self.connections.get(id.cookie).map(|tracked| &tracked.connection);
            let open = open.filter(|connection| connection.id() == *id && connection.has_socket());
            let netns = open.and_then(Connection::netns);
            netns.is_some_and(|netns| complete.contains(&netns)) && !present.contains(&id.cookie)
        });
    }

    /// Notes that the kernel has the sockets of these connections no more, although nothing told of their end.
    pub fn are_missing(&mut self, missing: &[ConnectionId]) {
        for id in missing {
            if let Some(tracked) = self.connections.of(*id) {
                tracked.connection.learn_missing();
            }
        }
    }

    /// Notes what the sockets know that are still open at the end, and whose they are: one that has been handed on is no more
    /// that of the last process that used it.
    pub fn still_open(&mut self, now: Time, sockets: Vec<ExistingSocket>) {
        // A mini-socket has the cookie of a socket of which the end is still unread, and knows nothing.
        for socket in sockets.into_iter().filter(|socket| socket.mini_socket_us.is_none()) {
            let tracked = self.connections.get_mut(socket.cookie);
            let Some(tracked) = tracked.filter(|tracked| tracked.connection.has_socket()) else { continue };
            tracked.connection.learn_stats(socket.stats);
            if let Some(bytes) = socket.bytes {
                tracked.connection.learn_bytes(bytes);
            }
            if let Some(listed) = socket.listed {
                tracked.connection.learn_listed(listed);
            }
            if let Some(owner) = &socket.owner {
                let holds = |known: &Owner| known.pid == owner.pid || socket.others.contains(&known.pid);
                if !tracked.connection.owner().is_some_and(holds) {
                    tracked.learn_user(now, owner, &mut self.cx);
                }
            }
        }
    }
}
