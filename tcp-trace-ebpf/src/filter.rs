//! What was not asked for, as far as that can be told here.

use aya_ebpf::{
    helpers::{bpf_get_current_cgroup_id, bpf_get_current_pid_tgid},
    programs::SkBuffContext,
};
use tcp_trace_ebpf::{
    DNS_PORT, OWNERS_CGROUP, OWNERS_COMM, OWNERS_FOLLOWED, OWNERS_PID, PORT_WORDS, PORTS_EITHER, PORTS_LOCAL,
    PORTS_PEER,
};

use crate::{
    maps::{COMMS, FILTERS_NETWORKS, FILTERS_OWNERS, FILTERS_PORTS, NETWORKS, OTHER_CGROUPS, PIDS, PORTS},
    sock,
};

/// Whether it is known of both ends, as far as it matters, that they are not asked for; a port that is 0 is not known.
/// Connections to DNS servers never are: one that is asked for may follow a lookup.
#[inline(always)]
pub(crate) fn is_unwanted(local_port: u16, peer_port: u16) -> bool {
    // SAFETY: the pointer is to a static. Read volatile: the compiler must not take the zero of the source for the
    // value.
    let filters = unsafe { core::ptr::read_volatile(&raw const FILTERS_PORTS) };
    if filters == 0 || peer_port == DNS_PORT {
        return false;
    }
    let lacks = |set: u8, port: u16| filters & set != 0 && port != 0 && !is_asked_for(set, port);
    lacks(PORTS_LOCAL, local_port)
        || lacks(PORTS_PEER, peer_port)
        || lacks(PORTS_EITHER, local_port) && lacks(PORTS_EITHER, peer_port)
}

/// The same of the socket that a packet belongs to, by its network namespace too, before anything is read of the packet
/// itself; `None` when the socket has no peer: what the packet says counts then.
#[inline(always)]
pub(crate) fn is_unwanted_packet(ctx: &SkBuffContext) -> Option<bool> {
    // SAFETY: the context's fields are readable, these two where the packet has a socket.
    let (local, peer) = unsafe { ((*ctx.skb.skb).local_port, (*ctx.skb.skb).remote_port) };
    // The peer's port is in network byte order.
    let (local, peer) = (local as u16, u16::from_be(peer as u16));
    (peer != 0).then(|| is_unwanted_segment(ctx, local, peer))
}

/// The same of a segment with these ports, by the network namespace of its socket too.
#[inline(always)]
pub(crate) fn is_unwanted_segment(ctx: &SkBuffContext, local_port: u16, peer_port: u16) -> bool {
    // A namespace that cannot be read may be asked for.
    is_unwanted(local_port, peer_port)
        || are_networks_asked_for()
            && peer_port != DNS_PORT
            && sock::netns_of_packet(ctx).is_ok_and(is_unwanted_network)
}

/// The same of a TCP socket, by its network namespace too.
#[inline(always)]
pub(crate) fn is_unwanted_socket(sk: *const u8) -> bool {
    let (local, peer) = sock::ports(sk);
    is_unwanted(local, peer) || is_in_unwanted_network(sk, peer)
}

/// Whether a TCP socket is in a network namespace that is not asked for. Connections to DNS servers never are.
#[inline(always)]
pub(crate) fn is_in_unwanted_network(sk: *const u8, peer_port: u16) -> bool {
    are_networks_asked_for() && peer_port != DNS_PORT && is_unwanted_network(sock::netns(sk))
}

/// Whether network namespaces are asked for.
#[inline(always)]
fn are_networks_asked_for() -> bool {
    // SAFETY: the pointer is to a static. Read volatile, as above.
    unsafe { core::ptr::read_volatile(&raw const FILTERS_NETWORKS) != 0 }
}

#[inline(always)]
fn is_unwanted_network(netns: u32) -> bool {
    NETWORKS.get_ptr(netns).is_none()
}

/// Whether the process that runs now is not asked for. Only for hooks that run in process context.
#[inline(always)]
pub(crate) fn is_unwanted_process() -> bool {
    // SAFETY: the pointer is to a static. Read volatile, as above.
    let filters = unsafe { core::ptr::read_volatile(&raw const FILTERS_OWNERS) };
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if filters & OWNERS_PID != 0 && PIDS.get_ptr(pid).is_none() {
        return true;
    }
    if filters & OWNERS_FOLLOWED != 0 && !sock::is_followed(pid) {
        return true;
    }
    if filters & OWNERS_COMM != 0 && sock::current_comm().is_ok_and(|comm| COMMS.get_ptr(comm).is_none()) {
        return true;
    }
    // SAFETY: the helper has no preconditions.
    filters & OWNERS_CGROUP != 0 && OTHER_CGROUPS.get_ptr(unsafe { bpf_get_current_cgroup_id() }).is_some()
}

#[inline(always)]
fn is_asked_for(set: u8, port: u16) -> bool {
    let word = PORTS.get(set.trailing_zeros() * PORT_WORDS as u32 + u32::from(port) / 64);
    word.is_some_and(|word| word >> (port % 64) & 1 == 1)
}
