//! Which ports, network namespaces and processes the filter excludes. Connections to DNS servers are never excluded here: one
//! that is selected may follow a lookup.

use crate::{BY_CGROUP, BY_COMM, BY_FOLLOWED, BY_PID, DNS_PORT, PORTS_EITHER, PORTS_LOCAL, PORTS_PEER};

/// Whether the ports of a connection are certainly excluded. A port of 0 is not known yet.
///
/// `sets` are the sets of ports in use, and `contains` says whether one of them has a port.
#[inline(always)]
pub fn are_ports_excluded(
    sets: u8,
    local_port: u16,
    peer_port: u16,
    contains: impl Fn(u8, u16) -> bool,
) -> bool {
    if sets == 0 || peer_port == DNS_PORT {
        return false;
    }
    let lacks = |set: u8, port: u16| sets & set != 0 && port != 0 && !contains(set, port);
    lacks(PORTS_LOCAL, local_port)
        || lacks(PORTS_PEER, peer_port)
        || lacks(PORTS_EITHER, local_port) && lacks(PORTS_EITHER, peer_port)
}

/// Whether the peer's port alone selects a connection, whichever port its socket will get.
#[inline(always)]
pub fn is_selected_by_peer(sets: u8, peer_port: u16, contains: impl Fn(u8, u16) -> bool) -> bool {
    let passes = |set: u8| sets & set == 0 || contains(set, peer_port);
    peer_port == DNS_PORT || sets & PORTS_LOCAL == 0 && passes(PORTS_PEER) && passes(PORTS_EITHER)
}

/// Whether network namespaces matter for a connection to this port, when some are selected.
#[inline(always)]
pub const fn is_judged_by_network(are_networks_selected: bool, peer_port: u16) -> bool {
    are_networks_selected && peer_port != DNS_PORT
}

/// What the filter's maps say of a process.
pub trait Listed {
    /// Whether its id is selected.
    fn is_pid_selected(&self) -> bool;
    /// Whether it is followed.
    fn is_followed(&self) -> bool;
    /// Whether its name is selected; `None` when it could not be read.
    fn is_comm_selected(&self) -> Option<bool>;
    /// Whether its cgroup is known to be excluded.
    fn is_cgroup_excluded(&self) -> bool;
}

/// Whether a process is certainly excluded, when processes are selected by `kinds`. Maps are asked only when needed.
#[inline(always)]
pub fn is_process_excluded(kinds: u8, process: &impl Listed) -> bool {
    kinds & BY_PID != 0 && !process.is_pid_selected()
        || kinds & BY_FOLLOWED != 0 && !process.is_followed()
        || kinds & BY_COMM != 0 && process.is_comm_selected() == Some(false)
        || kinds & BY_CGROUP != 0 && process.is_cgroup_excluded()
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
