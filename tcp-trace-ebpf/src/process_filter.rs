//! The verdict on a socket's process, kept with the socket: see [`decide::process`](tcp_trace_ebpf::decide::process).

use aya_ebpf::bindings::BPF_SK_STORAGE_GET_F_CREATE;
use tcp_trace_ebpf::decide::process::{Step, Verdict, at_transition, at_use};

use crate::{
    filter,
    maps::{self, EXISTING_LOADED, FILTERS_PROCESS},
};

/// Whether processes are filtered at all. When not, the verifier removes what depends on it.
#[inline(always)]
pub(crate) fn is_enabled() -> bool {
    // SAFETY: the pointer is to a static. Read volatile: the compiler must not take the zero of the source for the
    // value.
    unsafe { core::ptr::read_volatile(&raw const FILTERS_PROCESS) != 0 }
}

/// The verdict on `sk`, a pointer that the verifier knows as a socket.
#[inline(always)]
pub(crate) fn verdict<T>(sk: *const T) -> Verdict {
    if is_enabled() { remembered(sk).0 } else { Verdict::Undecided }
}

/// Whether the process of `sk` is known to be excluded.
#[inline(always)]
pub(crate) fn is_excluded(sk: *const u8) -> bool {
    verdict(sk).is_excluded()
}

/// The verdict on a socket that changes its state.
#[inline(always)]
pub(crate) fn judge_transition(
    sk: *const u8,
    change: (u8, u8),
    is_by_process: bool,
    peer_port: u16,
) -> Verdict {
    let (known, is_process_known) = remembered(sk);
    settle(at_transition(change, is_by_process, known, is_process_known, is_existing_loaded()), peer_port)
}

/// The verdict on a socket that the process that runs now reads or writes, where it was `known` so far.
#[inline(always)]
pub(crate) fn judge_use(known: Verdict, peer_port: u16) -> Verdict {
    settle(at_use(known), peer_port)
}

/// Remembers a verdict at its socket; false when the kernel has no memory for it.
#[inline(always)]
pub(crate) fn remember(sk: *const u8, verdict: Verdict) -> bool {
    let memory = maps::memory(sk, BPF_SK_STORAGE_GET_F_CREATE);
    if memory.is_null() {
        return false;
    }
    // SAFETY: not null, so valid for this run.
    unsafe { (*memory).verdict = verdict };
    true
}

#[inline(always)]
fn settle(step: Step, peer_port: u16) -> Verdict {
    step.verdict(peer_port, filter::is_current_process_excluded)
}

/// The verdict so far, and whether a process of the socket was reported.
#[inline(always)]
fn remembered<T>(sk: *const T) -> (Verdict, bool) {
    let memory = maps::memory(sk, 0);
    if memory.is_null() {
        return (Verdict::Undecided, false);
    }
    // SAFETY: a pointer from bpf_sk_storage_get is null or valid for the program's run. What lies there is zeros or what
    // was written as a verdict.
    unsafe { ((*memory).verdict, (*memory).process_known != 0) }
}

/// Whether user space has loaded the list of the sockets that are older than tracing.
#[inline(always)]
fn is_existing_loaded() -> bool {
    // SAFETY: the pointer is to a word of the map. Read volatile: user space writes it at any time.
    EXISTING_LOADED.get_ptr(0).is_some_and(|loaded| unsafe { loaded.read_volatile() } != 0)
}
