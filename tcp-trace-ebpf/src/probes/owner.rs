//! Who uses a socket: the first read or write of a process names it.

use aya_ebpf::{
    bindings::BPF_SK_STORAGE_GET_F_CREATE,
    helpers::{bpf_get_socket_cookie, bpf_ktime_get_ns},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use tcp_trace_ebpf::{KIND_OWNER, MOMENT_FIRST_USE, RawHeader, RawOwned};

use crate::{
    emit, filter,
    maps::{self, SocketMemory},
    probes::stack,
    sock, verdict,
};

/// `DEFINE_EVENT(tcp_event_sk, tcp_rcv_space_adjust, TP_PROTO(struct sock *sk))`, in `tcp_recvmsg()`.
#[btf_tracepoint(function = "tcp_rcv_space_adjust")]
pub(crate) fn tcp_rcv_space_adjust(ctx: BtfTracePointContext) -> i32 {
    note_owner(&ctx);
    if stack::are_wanted() {
        stack::note_use(ctx.arg(0), false);
    }
    0
}

/// `TRACE_EVENT(sock_send_length, TP_PROTO(struct sock *sk, int ret, int flags))`, from Linux 6.3 on.
#[btf_tracepoint(function = "sock_send_length")]
pub(crate) fn sock_send_length(ctx: BtfTracePointContext) -> i32 {
    note_owner(&ctx);
    if stack::are_wanted() {
        stack::note_use(ctx.arg(0), true);
    }
    0
}

/// Reports the process that runs now as the owner of the socket that it uses, unless that is known.
#[inline(always)]
pub(crate) fn note_owner(ctx: &BtfTracePointContext) {
    let sk: *const u8 = ctx.arg(0);
    let is_tcp = sock::is_tcp(sk);
    // Told from the ports before anything is looked up: most of what is not asked for ends here.
    if is_tcp && filter::is_unwanted_socket(sk) {
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
        if noted.owner_known != 0 {
            return;
        }
    }
    // Sends of UDP, Unix and other sockets come here too.
    if !is_tcp {
        return;
    }
    let Some(memory) = remember(sk) else { return };
    let is_told = report(sk);
    if verdict::are_given() && is_told {
        // SAFETY: `remember` gives no null pointer.
        verdict::at_first_use(unsafe { &mut *memory }, sock::ports(sk).1);
    }
    if stack::are_wanted() && !verdict::is_unwanted(sk) {
        stack::report(sk, MOMENT_FIRST_USE);
    }
}

/// Says that the process that runs now uses `sk`; false when there was no room to.
#[inline(always)]
fn report(sk: *const u8) -> bool {
    let owned = RawOwned {
        header: RawHeader {
            // SAFETY: the helper has no preconditions.
            time_ns: unsafe { bpf_ktime_get_ns() },
            // SAFETY: the pointer is a tracepoint's argument.
            cookie: unsafe { bpf_get_socket_cookie(sk.cast_mut().cast()) },
            kind: KIND_OWNER,
            padding: 0,
        },
        owner: sock::current_owner(),
    };
    let Some(mut record) = emit::reserve() else { return false };
    record.write(owned);
    emit::submit(record, true);
    true
}

/// Notes that the owner of `sk` is being reported. `None` when the kernel has no memory for the note: the
/// owner is then reported with a later use.
#[inline(always)]
pub(crate) fn remember(sk: *const u8) -> Option<*mut SocketMemory> {
    let memory = maps::memory(sk, BPF_SK_STORAGE_GET_F_CREATE);
    if memory.is_null() {
        return None;
    }
    // SAFETY: not null, so valid for this run.
    unsafe { (*memory).owner_known = 1 };
    Some(memory)
}
