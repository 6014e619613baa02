//! Which way connections leave this host: when to ask the kernel, and what it answered.

use std::net::{IpAddr, SocketAddr};

use tcp_trace_model::{
    event::{Endpoints, Role, State, StateChange},
    record::ConnectionId,
};

use super::{cx::Cx, output::Output, table::Tracked};

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

impl Tracked {
    /// Asks for its route when a connect has succeeded or failed: by then, the next hop has said where it is, or has not.
    pub(super) fn ask_route_after(&mut self, change: &StateChange, cx: &mut Cx) {
        let is_connected = change.new == State::Established;
        let has_failed = change.old == State::SynSent && change.new == State::Close;
        if is_connected || has_failed {
            self.ask_route(cx);
        }
    }

    /// Asks for its route, if this host began it and it may come out.
    pub(super) fn ask_route(&mut self, cx: &mut Cx) {
        let connection = &mut self.connection;
        // Where its segments go decides, and not where the process connected to.
        let ends = connection.translated().or(connection.endpoints());
        let (Some(Role::Client), Some(Endpoints { local, peer }), Some(netns), false) =
            (connection.role(), ends, connection.netns(), self.gate.is_shut())
        else {
            return;
        };
        if !local.ip().is_unspecified() && !is_link_local(peer.ip()) {
            connection.ask_route();
            let local = local.ip();
            cx.out.push(Output::AskRoute(RouteQuestion { connection: connection.id(), netns, local, peer }));
        }
    }
}

/// Whether an address means something only together with an interface, which is not known here.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}
