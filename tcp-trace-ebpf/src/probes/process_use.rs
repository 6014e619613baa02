//! Which process uses a socket: its first read or write identifies it.

use aya_ebpf::{
    bindings::BPF_SK_STORAGE_GET_F_CREATE,
    helpers::{bpf_get_socket_cookie, bpf_ktime_get_ns},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use tcp_trace_ebpf::{KIND_PROCESS, RawHeader, RawProcessUse, TRIGGER_FIRST_USE, decide::process::Verdict};

use crate::{
    emit, filter,
    maps::{self, SocketMemory},
    probes::stack,
    process_filter, sock,
};

/// `DEFINE_EVENT(tcp_event_sk, tcp_rcv_space_adjust, TP_PROTO(struct sock *sk))`, in `tcp_recvmsg()`.
#[btf_tracepoint(function = "tcp_rcv_space_adjust")]
pub(crate) fn tcp_rcv_space_adjust(ctx: BtfTracePointContext) -> i32 {
    note(&ctx);
    if stack::are_reported() {
        stack::note_use(ctx.arg(0), false);
    }
    0
}

/// `TRACE_EVENT(sock_send_length, TP_PROTO(struct sock *sk, int ret, int flags))`, from Linux 6.3 on.
#[btf_tracepoint(function = "sock_send_length")]
pub(crate) fn sock_send_length(ctx: BtfTracePointContext) -> i32 {
    note(&ctx);
    if stack::are_reported() {
        stack::note_use(ctx.arg(0), true);
    }
    0
}

/// Reports the process that runs now as that of the socket that it uses, unless one is known.
#[inline(always)]
pub(crate) fn note(ctx: &BtfTracePointContext) {
    let sk: *const u8 = ctx.arg(0);
    let is_tcp = sock::is_tcp(sk);
    // Cheap port check first: it rejects most excluded sockets before any map look-up.
    if is_tcp && filter::is_socket_excluded(sk) {
        return;
    }
    let known = maps::memory(sk, 0);
    if !known.is_null() {
        // SAFETY: a pointer from bpf_sk_storage_get is null or valid for the program's run.
        let noted = unsafe { &mut *known };
        if noted.sender_awaited != 0 {
            // Each question is its sender's: such a socket may be used by one process after the other.
            noted.sender_awaited = 0;
            report(sk);
            return;
        }
        if noted.process_known != 0 {
            return;
        }
    }
    // Sends of UDP, Unix and other sockets come here too.
    if !is_tcp {
        return;
    }
    let Some(memory) = remember(sk) else { return };
    let is_reported = report(sk);
    if process_filter::is_enabled() && is_reported {
        // SAFETY: `remember` gives no null pointer.
        process_filter::judge_first_use(unsafe { &mut *memory }, sock::ports(sk).peer);
    }
    if stack::are_reported() && !process_filter::is_excluded(sk) {
        stack::report(sk, TRIGGER_FIRST_USE);
    }
}

/// Reports that the process that runs now uses `sk`; false when the ring buffer is full.
#[inline(always)]
fn report(sk: *const u8) -> bool {
    let used = RawProcessUse {
        header: RawHeader {
            // SAFETY: the helper has no preconditions.
            time_ns: unsafe { bpf_ktime_get_ns() },
            // SAFETY: the pointer is a tracepoint's argument.
            cookie: unsafe { bpf_get_socket_cookie(sk.cast_mut().cast()) },
            kind: KIND_PROCESS,
            padding: 0,
        },
        process: sock::current_process(),
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
        (*memory).translation_known = 0;
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
    unsafe { (*memory).process_known = 1 };
    Some(memory)
}
