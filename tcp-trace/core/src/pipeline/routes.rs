//! Which way connections leave this host: when to ask the kernel, and what it answered.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use tcp_trace_model::{
    event::{Cookie, Endpoints, Role, State, StateChange},
    record::{ConnectionId, Route},
};

use super::Pipeline;

/// A route to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteQuestion {
    /// Of which connection.
    pub connection: ConnectionId,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Where its segments come from.
    pub local: IpAddr,
    /// Where they go to.
    pub peer: SocketAddr,
}

impl Pipeline {
    /// What to ask the kernel since the last call. Each question is to be answered by [`Pipeline::route`].
    pub fn take_route_questions(&mut self) -> impl Iterator<Item = RouteQuestion> {
        self.route_questions.drain(..)
    }

    /// Takes the answer to a question; `None` when there is none.
    pub fn route(&mut self, connection: ConnectionId, route: Option<Arc<Route>>) {
        if let Some(tracked) = self.tracked(connection) {
            tracked.connection.learn_route(route);
        }
    }

    /// Whether a connection waits for an answer.
    pub(super) fn awaits_route(&mut self, connection: ConnectionId) -> bool {
        self.tracked(connection).is_some_and(|tracked| tracked.connection.awaits_route())
    }

    /// Asks when a connect has succeeded or failed: by then, the next hop has said where it is, or has not.
    pub(super) fn ask_route_after(&mut self, cookie: Cookie, change: &StateChange) {
        let is_connected = change.new == State::Established;
        let has_failed = change.old == State::SynSent && change.new == State::Close;
        if is_connected || has_failed {
            self.ask_route(cookie);
        }
    }

    /// Asks for the route of a connection that this host began.
    pub(super) fn ask_route(&mut self, cookie: Cookie) {
        let Some(tracked) = self.table.get_mut(&cookie).filter(|tracked| !tracked.gate.is_shut()) else {
            return;
        };
        let connection = &mut tracked.connection;
        let (Some(Role::Client), Some(Endpoints { local, peer }), Some(netns)) =
            (connection.role(), connection.endpoints(), connection.netns())
        else {
            return;
        };
        if !local.ip().is_unspecified() && !is_link_local(peer.ip()) {
            connection.ask_route();
            let local = local.ip();
            self.route_questions.push(RouteQuestion { connection: connection.id(), netns, local, peer });
        }
    }
}

/// Whether an address means something only together with an interface, which is not known here.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}
