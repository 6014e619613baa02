//! Which process uses a socket: its first read or write identifies it, and so does each read or write by another process.

use aya_ebpf::{
    bindings::BPF_SK_STORAGE_GET_F_CREATE,
    helpers::{bpf_get_socket_cookie, bpf_ktime_get_ns},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use tcp_trace_ebpf::{
    CHANGES_MAX, KIND_PROCESS, RawHeader, RawProcessUse, TRIGGER_FIRST_USE,
    decide::{process::Verdict, segment::DirectionMemory},
};

use crate::{
    emit, filter,
    maps::{self, SocketMemory},
    probes::{mptcp, stack, state, tls},
    process_filter, sock,
};

/// `DEFINE_EVENT(tcp_event_sk, tcp_rcv_space_adjust, TP_PROTO(struct sock *sk))`, in `tcp_recvmsg()`; in `tcp_read_sock()` also
/// when a softirq calls that.
#[btf_tracepoint(function = "tcp_rcv_space_adjust")]
pub(crate) fn tcp_rcv_space_adjust(ctx: BtfTracePointContext) -> i32 {
    let sk: *const u8 = ctx.arg(0);
    note(sk, || sock::is_locked(sk));
    if tls::is_reported() && sock::is_locked(sk) {
        tls::note_socket(sk);
    }
    if stack::are_reported() && sock::is_locked(sk) {
        stack::note_use(sk, false);
    }
    0
}

/// `TRACE_EVENT(sock_send_length, TP_PROTO(struct sock *sk, int ret, int flags))`, from Linux 6.3 on.
#[btf_tracepoint(function = "sock_send_length")]
pub(crate) fn sock_send_length(ctx: BtfTracePointContext) -> i32 {
    let sk: *const u8 = ctx.arg(0);
    note(sk, || true);
    if tls::is_reported() {
        tls::note_socket(sk);
    }
    if stack::are_reported() {
        stack::note_use(sk, true);
    }
    0
}

/// Reports the process that runs now as that of the socket that it uses, unless it is known to be that, or no system call of it does:
/// `is_in_call` is asked only when it is not known.
#[inline(always)]
pub(crate) fn note(sk: *const u8, is_in_call: impl FnOnce() -> bool) {
    let is_tcp = sock::is_tcp(sk);
    // Cheap port check first: it rejects most excluded sockets before any map look-up.
    if is_tcp && filter::is_socket_excluded(sk) {
        return;
    }
    let known = maps::memory(sk, 0);
    let mut is_first = true;
    if !known.is_null() {
        // SAFETY: a pointer from bpf_sk_storage_get is null or valid for the program's run.
        let noted = unsafe { &mut *known };
        if noted.sender_awaited != 0 {
            // Each question is its sender's: such a socket may be used by one process after the other.
            noted.sender_awaited = 0;
            report(cookie(sk));
            return;
        }
        if noted.process_known != 0 {
            if noted.user == sock::current_user() {
                return;
            }
            is_first = false;
        }
    }
    // Sends of UDP, Unix and other sockets come here too.
    if !is_tcp {
        if sock::is_mptcp(sk) {
            mptcp::note_use(sk);
        }
        return;
    }
    if sock::is_kernel_thread() || !is_in_call() {
        return;
    }
    if is_first {
        note_first(sk);
    } else {
        // SAFETY: not null, as a process is known.
        note_next(sk, unsafe { &mut *known });
    }
}

/// Reports the first process that uses a socket.
#[inline(always)]
fn note_first(sk: *const u8) {
    let Some(memory) = remember(sk) else { return };
    // SAFETY: `remember` gives no null pointer.
    let memory = unsafe { &mut *memory };
    if !report(cookie(sk)) {
        // The next use is reported as a change.
        memory.user = 0;
        return;
    }
    if process_filter::is_enabled() {
        memory.verdict = process_filter::judge_use(memory.verdict, sock::ports(sk).peer);
    }
    if stack::are_reported() && !process_filter::is_excluded(sk) {
        stack::report(sk, TRIGGER_FIRST_USE);
    }
}

/// Reports another process than the one that used the socket before, unless the filter excludes both. When only the one before
/// was excluded, user space may not know the socket: it gets all that begins a connection, as a transition that changes nothing.
#[inline(always)]
fn note_next(sk: *const u8, memory: &mut SocketMemory) {
    if memory.changes == CHANGES_MAX {
        return;
    }
    if process_filter::is_enabled() && memory.verdict.is_excluded() {
        let verdict = process_filter::judge_use(memory.verdict, sock::ports(sk).peer);
        if !verdict.is_excluded() {
            let state = sock::state(sk);
            if !state::report_unchanged(sk, state, memory.incarnations) {
                return;
            }
            memory.verdict = verdict;
            memory.changes += 1;
        }
    } else if report(cookie(sk)) {
        memory.changes += 1;
    } else {
        return;
    }
    memory.user = sock::current_user();
}

/// Notes that the process that runs now is reported with a transition that it makes.
#[inline(always)]
pub(crate) fn note_reported(sk: *const u8) {
    let memory = maps::memory(sk, 0);
    if !memory.is_null() {
        // SAFETY: not null, so valid for this run.
        unsafe { (*memory).user = sock::current_user() };
    }
}

/// The cookie of a socket that is the argument of a tracepoint.
#[inline(always)]
fn cookie(sk: *const u8) -> u64 {
    // SAFETY: the verifier checks the pointer.
    unsafe { bpf_get_socket_cookie(sk.cast_mut().cast()) }
}

/// Reports that the process that runs now uses the socket with this cookie; false when the ring buffer is full, or it is a kernel thread.
#[inline(always)]
pub(super) fn report(cookie: u64) -> bool {
    let process = sock::current_process();
    if process.known == 0 {
        return false;
    }
    let used = RawProcessUse {
        header: RawHeader {
            // SAFETY: the helper has no preconditions.
            time_ns: unsafe { bpf_ktime_get_ns() },
            cookie,
            kind: KIND_PROCESS,
            padding: 0,
        },
        process,
    };
    let Some(mut record) = emit::reserve() else { return false };
    record.write(used);
    emit::submit(record, true);
    true
}

/// Remembers a socket that leaves `CLOSE`, whose process is being reported: it gives the number of this incarnation.
#[inline(always)]
pub(crate) fn remember_new<T>(sk: *const T) -> u32 {
    let Some(memory) = remember(sk) else { return 0 };
    // SAFETY: `remember` gives no null pointer.
    unsafe {
        let incarnation = (*memory).incarnations;
        (*memory).incarnations = incarnation.wrapping_add(1);
        (*memory).end_reported = 0;
        (*memory).changes = 0;
        (*memory).translation_known = 0;
        (*memory).directions = [DirectionMemory::default(); 2];
        (*memory).verdict = Verdict::Undecided;
        incarnation
    }
}

/// Remembers that the process of `sk` is being reported. `None` when the kernel has no memory for it: the process is then
/// reported with a later use.
#[inline(always)]
pub(crate) fn remember<T>(sk: *const T) -> Option<*mut SocketMemory> {
    let memory = maps::memory(sk, BPF_SK_STORAGE_GET_F_CREATE);
    if memory.is_null() {
        return None;
    }
    // SAFETY: not null, so valid for this run.
    unsafe {
        (*memory).process_known = 1;
        (*memory).user = sock::current_user();
    }
    Some(memory)
}
