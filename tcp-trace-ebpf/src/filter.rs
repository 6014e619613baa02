//! What the filter excludes, by the filter's maps: see [`decide::filter`](tcp_trace_ebpf::decide::filter).

use core::arch::asm;

use aya_ebpf::{
    bindings::BPF_SK_STORAGE_GET_F_CREATE,
    helpers::{bpf_get_current_cgroup_id, bpf_get_current_pid_tgid},
    programs::SkBuffContext,
};
use tcp_trace_ebpf::{
    Bytes16,
    decide::{
        filter::{
            Listed, are_ports_excluded, is_judged_by_network, is_process_excluded,
            is_selected_by_peer as is_selected_by,
        },
        translation::Ports,
    },
    port_place,
};

use crate::{
    maps::{
        self, COMMS, EXCLUDED_CGROUPS, FILTERS_NETWORKS, FILTERS_PORTS, FILTERS_PROCESS, NETWORKS, PIDS,
        PORTS, TRANSLATED_PORTS,
    },
    sock,
};

/// Whether the ports of a connection are excluded; a port that is 0 is not known.
#[inline(always)]
pub(crate) fn is_excluded(ports: Ports) -> bool {
    are_own_excluded(ports) && !is_translated(ports.local)
}

/// The same, whatever translation selects.
#[inline(always)]
pub(crate) fn are_own_excluded(ports: Ports) -> bool {
    are_ports_excluded(port_sets(), ports.local, ports.peer, is_in_set)
}

/// Whether a connection to this port is selected, whichever port its socket will get.
#[inline(always)]
pub(crate) fn is_selected_by_peer(peer_port: u16) -> bool {
    is_selected_by(port_sets(), peer_port, is_in_set)
}

#[inline(always)]
fn is_in_set(set: u8, port: u16) -> bool {
    let (word, bit) = port_place(set, port);
    PORTS.get(word).is_some_and(|word| word & bit != 0)
}

/// Which sets of ports are in use.
#[inline(always)]
fn port_sets() -> u8 {
    // SAFETY: the pointer is to a static. Read volatile: the compiler must not take the zero of the source for the
    // value.
    unsafe { core::ptr::read_volatile(&raw const FILTERS_PORTS) }
}

/// Whether ports are filtered at all. When not, the verifier removes what depends on it.
#[inline(always)]
pub(crate) fn are_ports_filtered() -> bool {
    port_sets() != 0
}

/// Whether a socket with this local port may be one that only its translated ports select.
#[inline(always)]
pub(crate) fn is_translated(local_port: u16) -> bool {
    TRANSLATED_PORTS.get(local_port.into()).is_some_and(|count| *count != 0)
}

/// Notes that only its translated ports select a socket with this local port: until it is closed, nothing with that port is excluded
/// here, and user space decides.
#[inline(always)]
pub(crate) fn select_translated<T>(sk: *const T, local_port: u16) {
    // A socket that has given its port back; many others have none yet.
    if local_port == 0 {
        return;
    }
    let memory = maps::memory(sk, BPF_SK_STORAGE_GET_F_CREATE);
    if !memory.is_null() {
        // SAFETY: not null, so valid for this run.
        let counted = unsafe { &mut (*memory).counted_port };
        if *counted != 0 {
            return;
        }
        *counted = local_port;
    }
    count_translated(local_port, 1);
}

/// Notes that a socket is closed, which may be one of those.
#[inline(always)]
pub(crate) fn deselect_translated<T>(sk: *const T) {
    let memory = maps::memory(sk, 0);
    if memory.is_null() {
        return;
    }
    // SAFETY: not null, so valid for this run.
    let counted = unsafe { core::mem::take(&mut (*memory).counted_port) };
    if counted != 0 {
        count_translated(counted, -1);
    }
}

#[inline(always)]
fn count_translated(local_port: u16, change: i64) {
    let Some(count) = TRANSLATED_PORTS.get_ptr_mut(local_port.into()) else { return };
    // SAFETY: the pointer is to a word of the map. Another CPU may count another socket at the same time, so it has to be one
    // instruction; the target has no atomic types in Rust.
    unsafe { asm!("lock *(u64 *)({count} + 0) += {change}", count = in(reg) count, change = in(reg) change) };
}

/// Whether a packet's socket is in a network namespace that is excluded.
#[inline(always)]
pub(crate) fn is_packet_in_excluded_network(ctx: &SkBuffContext, peer_port: u16) -> bool {
    // A namespace that cannot be read may be selected.
    is_judged_by_network(are_networks_selected(), peer_port)
        && sock::netns_of_packet(ctx).is_ok_and(is_network_excluded)
}

/// Whether a TCP socket is excluded, by its network namespace too.
#[inline(always)]
pub(crate) fn is_socket_excluded(sk: *const u8) -> bool {
    let ports = sock::ports(sk);
    is_excluded(ports) || is_in_excluded_network(sk, ports.peer)
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

    #[expect(
        clippy::needless_borrows_for_generic_args,
        reason = "what is handed over by value is copied to the stack, of which programs on uprobes have little"
    )]
    #[inline(always)]
    fn is_comm_selected(&self) -> Option<bool> {
        let from = sock::current_comm().ok()?;
        let mut comm = Bytes16::default();
        sock::read_comm(from, &mut comm).ok()?;
        Some(COMMS.get_ptr(&comm).is_some())
    }

    #[inline(always)]
    fn is_cgroup_excluded(&self) -> bool {
        // SAFETY: the helper has no preconditions.
        EXCLUDED_CGROUPS.get_ptr(unsafe { bpf_get_current_cgroup_id() }).is_some()
    }
}
