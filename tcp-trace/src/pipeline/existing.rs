//! Sockets that are older than the session.

use super::Pipeline;
use crate::{
    conn::Connection,
    event::{Cookie, Endpoints, Figures, Owner, Role, State},
    record::{ConnectionId, Record},
    time::Time,
};

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
    pub owner: Option<Owner>,
    /// What it knows.
    pub figures: Figures,
}

impl Pipeline {
    /// Takes a socket that was there before the first event. All events from before the list was read need to
    /// have been taken: of a socket that has had one, only the process is news.
    pub fn existing(&mut self, now: Time, socket: ExistingSocket, out: &mut Vec<Record>) {
        let ExistingSocket { cookie, netns, endpoints, state, role, owner, figures } = socket;
        if !self.table.contains_key(&cookie) {
            let id = ConnectionId::of_socket(cookie, 0);
            if !self.add(now, cookie, Connection::new(id, now, Some(state), role)) {
                return;
            }
        }
        let Some(tracked) = self.table.get_mut(&cookie) else { return };
        tracked.connection.learn_endpoints(endpoints, Some(netns));
        tracked.connection.learn_figures(figures);
        if let Some(owner) = &owner {
            tracked.connection.learn_owner(owner);
        }
        tracked.gate.decide(&self.settings.filter, &tracked.connection, now, false, out);
    }

    /// Notes what the kernel's socket of an open connection knows.
    pub fn figures(&mut self, cookie: Cookie, figures: Figures) {
        if let Some(tracked) = self.table.get_mut(&cookie) {
            tracked.connection.learn_figures(figures);
        }
    }
}
