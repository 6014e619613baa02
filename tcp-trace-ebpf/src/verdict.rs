//! Whether the process of a socket is asked for: decided in process context, and remembered at the socket, where
//! programs in any context find it.
//!
//! The answer is that of user space, which goes by the first process that it learns of a connection. So nothing is
//! decided of sockets whose process user space may have learnt elsewhere: those that are older than tracing, until it
//! has taken the list of them. Listeners are left to it, because others accept from them, and connections to DNS
//! servers, because one that is asked for may follow a lookup.

use aya_ebpf::bindings::BPF_SK_STORAGE_GET_F_CREATE;
use tcp_trace_ebpf::DNS_PORT;

use crate::{
    filter,
    maps::{self, FILTERS_OWNERS, OLDER_KNOWN, SocketMemory},
};

/// User space decides.
pub(crate) const LEFT: u8 = 0;
/// The socket was accepted; whoever uses it first is its process.
const AWAITED: u8 = 1;
/// The process is asked for, or only user space can tell.
const ASKED_FOR: u8 = 2;
/// The process is not asked for. User space knows the socket: it hears of transitions, so that it can forget it, and of
/// FIN and RST, which tell it what the other end is in for, if that is on this host.
pub(crate) const UNWANTED: u8 = 3;
/// The process is not asked for, and user space has never heard of the socket in this life.
pub(crate) const UNHEARD: u8 = 4;

const ESTABLISHED: i32 = 1;
const SYN_SENT: i32 = 2;
const SYN_RECV: i32 = 3;
const CLOSE: i32 = 7;

/// Whether there is anything to decide. When not, the verifier removes what depends on it.
#[inline(always)]
pub(crate) fn are_given() -> bool {
    // SAFETY: the pointer is to a static. Read volatile: the compiler must not take the zero of the source for the
    // value.
    unsafe { core::ptr::read_volatile(&raw const FILTERS_OWNERS) != 0 }
}

/// The verdict on `sk`, a pointer that the verifier knows as a socket.
#[inline(always)]
pub(crate) fn of<T>(sk: *const T) -> u8 {
    if !are_given() {
        return LEFT;
    }
    let memory = maps::memory(sk, 0);
    // SAFETY: a pointer from bpf_sk_storage_get is null or valid for the program's run.
    if memory.is_null() { LEFT } else { unsafe { (*memory).verdict } }
}

/// Whether nobody needs to hear of the use of `sk`.
#[inline(always)]
pub(crate) fn is_unwanted(sk: *const u8) -> bool {
    of(sk) >= UNWANTED
}

/// The verdict on a socket that changes its state, in process context when `is_owners`. It is to be noted once user
/// space is told of the transition.
#[inline(always)]
pub(crate) fn at_transition(sk: *const u8, (old, new): (i32, i32), is_owners: bool, peer_port: u16) -> u8 {
    if (old, new) == (CLOSE, SYN_SENT) {
        return of_process(peer_port, if is_older_known() { UNHEARD } else { UNWANTED });
    }
    if old == CLOSE {
        return LEFT;
    }
    let memory = maps::memory(sk, 0);
    let (noted, is_used) = if memory.is_null() {
        (LEFT, false)
    } else {
        // SAFETY: a pointer from bpf_sk_storage_get is null or valid for the program's run.
        unsafe { ((*memory).verdict, (*memory).owner_known != 0) }
    };
    match noted {
        LEFT if (old, new) == (SYN_RECV, ESTABLISHED) && !is_used && is_older_known() => AWAITED,
        AWAITED if is_owners => of_process(peer_port, UNWANTED),
        noted => noted,
    }
}

/// Gives the verdict on an accepted socket that its process uses for the first time, and has been told of.
#[inline(always)]
pub(crate) fn at_first_use(memory: &mut SocketMemory, peer_port: u16) {
    if memory.verdict == AWAITED {
        memory.verdict = of_process(peer_port, UNWANTED);
    }
}

/// Notes a verdict at its socket; false when the kernel has no memory for it.
#[inline(always)]
pub(crate) fn note(sk: *const u8, verdict: u8) -> bool {
    let memory = maps::memory(sk, BPF_SK_STORAGE_GET_F_CREATE);
    if memory.is_null() {
        return false;
    }
    // SAFETY: not null, so valid for this run.
    unsafe { (*memory).verdict = verdict };
    true
}

/// The verdict on a socket of the process that runs now, `unwanted` or [`ASKED_FOR`].
#[inline(always)]
fn of_process(peer_port: u16, unwanted: u8) -> u8 {
    if peer_port != DNS_PORT && filter::is_unwanted_process() { unwanted } else { ASKED_FOR }
}

/// Whether user space has taken the list of the sockets that are older than tracing.
#[inline(always)]
fn is_older_known() -> bool {
    // SAFETY: the pointer is to a word of the map. Read volatile: user space writes it at any time.
    OLDER_KNOWN.get_ptr(0).is_some_and(|known| unsafe { known.read_volatile() } != 0)
}
