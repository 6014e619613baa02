//! What the filter excludes, by the filter's maps: see [`decide::filter`](tcp_trace_ebpf::decide::filter).

use aya_ebpf::{
    helpers::{bpf_get_current_cgroup_id, bpf_get_current_pid_tgid},
    programs::SkBuffContext,
};
use tcp_trace_ebpf::{
    decide::filter::{Listed, are_ports_excluded, is_judged_by_network, is_process_excluded},
    port_place,
};

use crate::{
    maps::{
        COMMS, EXCLUDED_CGROUPS, FILTERS_NETWORKS, FILTERS_PORTS, FILTERS_PROCESS, NETWORKS, PIDS, PORTS,
    },
    sock,
};

/// Whether the ports of a connection are excluded; a port that is 0 is not known.
#[inline(always)]
pub(crate) fn is_excluded(local_port: u16, peer_port: u16) -> bool {
    // SAFETY: the pointer is to a static. Read volatile: the compiler must not take the zero of the source for the
    // value.
    let sets = unsafe { core::ptr::read_volatile(&raw const FILTERS_PORTS) };
    are_ports_excluded(sets, local_port, peer_port, |set, port| {
        let (word, bit) = port_place(set, port);
        PORTS.get(word).is_some_and(|word| word & bit != 0)
    })
}

/// The same of the socket that a packet belongs to, by its network namespace too, before anything is read of the packet
/// itself; `None` when the socket has no peer: what the packet says counts then.
#[inline(always)]
pub(crate) fn is_packet_excluded(ctx: &SkBuffContext) -> Option<bool> {
    // SAFETY: the context's fields are readable, these two where the packet has a socket.
    let (local, peer) = unsafe { ((*ctx.skb.skb).local_port, (*ctx.skb.skb).remote_port) };
    // The peer's port is in network byte order.
    let (local, peer) = (local as u16, u16::from_be(peer as u16));
    (peer != 0).then(|| is_segment_excluded(ctx, local, peer))
}

/// The same of a segment with these ports, by the network namespace of its socket too.
#[inline(always)]
pub(crate) fn is_segment_excluded(ctx: &SkBuffContext, local_port: u16, peer_port: u16) -> bool {
    // A namespace that cannot be read may be selected.
    is_excluded(local_port, peer_port)
        || is_judged_by_network(are_networks_selected(), peer_port)
            && sock::netns_of_packet(ctx).is_ok_and(is_network_excluded)
}

/// The same of a TCP socket, by its network namespace too.
#[inline(always)]
pub(crate) fn is_socket_excluded(sk: *const u8) -> bool {
    let (local, peer) = sock::ports(sk);
    is_excluded(local, peer) || is_in_excluded_network(sk, peer)
}

/// Whether a TCP socket is in a network namespace that is excluded.
#[inline(always)]
pub(crate) fn is_in_excluded_network(sk: *const u8, peer_port: u16) -> bool {
    is_judged_by_network(are_networks_selected(), peer_port) && is_network_excluded(sock::netns(sk))
}

/// Whether some network namespaces are selected, and all others excluded.
#[inline(always)]
fn are_networks_selected() -> bool {
    // SAFETY: the pointer is to a static. Read volatile, as above.
    unsafe { core::ptr::read_volatile(&raw const FILTERS_NETWORKS) != 0 }
}

#[inline(always)]
fn is_network_excluded(netns: u32) -> bool {
    NETWORKS.get_ptr(netns).is_none()
}

/// Whether the process that runs now is excluded. Only for hooks that run in process context.
#[inline(always)]
pub(crate) fn is_current_process_excluded() -> bool {
    // SAFETY: the pointer is to a static. Read volatile, as above.
    let kinds = unsafe { core::ptr::read_volatile(&raw const FILTERS_PROCESS) };
    is_process_excluded(kinds, &Current { pid: (bpf_get_current_pid_tgid() >> 32) as u32 })
}

/// The process that runs now.
struct Current {
    pid: u32,
}

impl Listed for Current {
    #[inline(always)]
    fn is_pid_selected(&self) -> bool {
        PIDS.get_ptr(self.pid).is_some()
    }

    #[inline(always)]
    fn is_followed(&self) -> bool {
        sock::is_followed(self.pid)
    }

    #[inline(always)]
    fn is_comm_selected(&self) -> Option<bool> {
        sock::current_comm().ok().map(|comm| COMMS.get_ptr(comm).is_some())
    }

    #[inline(always)]
    fn is_cgroup_excluded(&self) -> bool {
        // SAFETY: the helper has no preconditions.
        EXCLUDED_CGROUPS.get_ptr(unsafe { bpf_get_current_cgroup_id() }).is_some()
    }
}
