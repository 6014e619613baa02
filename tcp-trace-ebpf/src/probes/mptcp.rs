//! MPTCP: a process has a socket of its own kind (RFC 8684), and the connections are its subflows, which are TCP. What uses the
//! one uses the connection that it began with.

use aya_ebpf::{bindings::BPF_NOEXIST, helpers::bpf_ktime_get_ns};
use tcp_trace_ebpf::{KIND_SUBFLOW, RawHeader, RawSubflow, decide::transition, tcp::CLOSE};

use crate::{
    emit, filter,
    maps::{MPTCP, MptcpMemory},
    probes::process_use,
    sock,
};

/// Notes a TCP socket that connects or is accepted; true when it is a subflow of an MPTCP socket. The first one is that with
/// which the MPTCP socket began.
#[inline(always)]
pub(super) fn note_subflow(sk: *const u8, cookie: u64, is_by_process: bool) -> bool {
    let Some(socket) = sock::mptcp_socket(sk) else { return false };
    // SAFETY: the pointer is to an element of the map.
    let first = MPTCP.get_ptr(socket).map(|memory| unsafe { (*memory).subflow });
    if let Some(first) = first {
        if first != cookie {
            report_further(cookie, first);
        }
        return true;
    }
    let user = if is_by_process { sock::current_user() } else { 0 };
    // Where there is no room, its process is not known by this one.
    let _ = MPTCP.insert(socket, MptcpMemory { subflow: cookie, user }, BPF_NOEXIST.into());
    true
}

/// Reports that a socket is a further subflow of the MPTCP socket that began with another.
#[inline(always)]
fn report_further(cookie: u64, first: u64) {
    emit::record(RawSubflow {
        header: RawHeader {
            // SAFETY: the helper has no preconditions.
            time_ns: unsafe { bpf_ktime_get_ns() },
            cookie,
            kind: KIND_SUBFLOW,
            padding: 0,
        },
        first,
    });
}

/// Notes a transition of an MPTCP socket: who closes it uses it, and at its end it is forgotten, as its address will be another's.
#[inline(always)]
pub(super) fn note_transition(sk: *const u8, (old, new): (u8, u8)) {
    if !sock::is_mptcp(sk) {
        return;
    }
    if new == CLOSE {
        let _ = MPTCP.remove(sk as u64);
    } else if transition::is_by_process(old, new) && old != CLOSE {
        note_use(sk);
    }
}

/// Reports the process that runs now and uses an MPTCP socket, unless it is known to.
#[inline(always)]
pub(super) fn note_use(sk: *const u8) {
    let Some(memory) = MPTCP.get_ptr_mut(sk as u64) else { return };
    // SAFETY: the pointer is to an element of the map.
    let memory = unsafe { &mut *memory };
    let user = sock::current_user();
    if memory.user == user || filter::is_socket_excluded(sk) {
        return;
    }
    if process_use::report(memory.subflow) {
        memory.user = user;
    }
}
