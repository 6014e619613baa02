//! Every change of a TCP socket's state.

use aya_ebpf::{
    helpers::{bpf_get_socket_cookie, bpf_ktime_get_ns},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use tcp_trace_ebpf::{
    KIND_TRANSITION, MOMENT_CONNECT, NESTED, RawFigures, RawHeader, RawOwner, RawTransition,
};

use crate::{
    emit, filter,
    maps::STATE_RUNNING,
    probes::{owner, stack},
    sock, verdict,
};

const ESTABLISHED: i32 = 1;
const SYN_SENT: i32 = 2;
const SYN_RECV: i32 = 3;
const FIN_WAIT1: i32 = 4;
const CLOSE: i32 = 7;
const CLOSE_WAIT: i32 = 8;
const LAST_ACK: i32 = 9;
const LISTEN: i32 = 10;

/// `TRACE_EVENT(inet_sock_set_state, TP_PROTO(const struct sock *sk, const int oldstate, const int newstate))`
#[btf_tracepoint(function = "inet_sock_set_state")]
pub(crate) fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    let running = STATE_RUNNING.get_ptr_mut(0);
    set(running, 1);
    report(&ctx);
    set(running, 0);
    0
}

/// The same tracepoint, for what happens while the program above runs on this CPU: `connect()` changes the state
/// with softirqs enabled, one of them may change another socket's, and the kernel runs no tracing program twice
/// at once (`__bpf_trace_run()`). Softirqs do not interrupt each other, so two programs are enough.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub(crate) fn state_nested(ctx: BtfTracePointContext) -> i32 {
    if STATE_RUNNING.get(0) == Some(&1) {
        report(&ctx);
        emit::count(NESTED);
    }
    0
}

#[inline(always)]
fn set(running: Option<*mut u32>, value: u32) {
    if let Some(running) = running {
        // SAFETY: the pointer is to this CPU's u32 of the map and lives as long as the program. Written volatile:
        // the compiler does not know who interrupts.
        unsafe { running.write_volatile(value) };
    }
}

#[inline(always)]
fn report(ctx: &BtfTracePointContext) {
    let sk: *const u8 = ctx.arg(0);
    let old: i32 = ctx.arg(1);
    let new: i32 = ctx.arg(2);
    // The tracepoint also reports SCTP and MPTCP sockets.
    if !sock::is_tcp(sk) {
        return;
    }
    let (local_port, peer_port) = sock::ports(sk);
    // A client whose beginning was reported without a port has to be known by it.
    if old != SYN_SENT && filter::is_unwanted(local_port, peer_port)
        || filter::is_in_unwanted_network(sk, peer_port)
    {
        return;
    }
    let is_owners = is_in_process_context(old, new);
    let mut life = 0;
    if is_owners && let (CLOSE, Some(memory)) = (old, owner::remember(sk)) {
        // SAFETY: `remember` gives no null pointer.
        unsafe {
            life = (*memory).lives;
            (*memory).lives = life.wrapping_add(1);
            (*memory).end_reported = 0;
            (*memory).verdict = verdict::LEFT;
        }
    }
    let mut given = verdict::LEFT;
    if verdict::are_given() {
        given = verdict::at_transition(sk, (old, new), is_owners, peer_port);
        if given == verdict::UNHEARD {
            if verdict::note(sk, given) {
                return;
            }
            given = verdict::UNWANTED;
        }
    }
    let Some(mut record) = emit::reserve::<RawTransition>() else {
        return;
    };
    // SAFETY: it points to room for one in the ring buffer.
    fill(unsafe { &mut *record.as_mut_ptr() }, sk, (old as u8, new as u8), is_owners, life);
    emit::submit(record, is_owners);
    if verdict::are_given() && given != verdict::LEFT {
        verdict::note(sk, given);
    }
    if stack::are_wanted() && old == CLOSE && new == SYN_SENT {
        stack::report(sk, MOMENT_CONNECT);
    }
}

/// Fills in a record in its place: it is too large for the stack.
#[inline(always)]
fn fill(record: &mut RawTransition, sk: *const u8, (old, new): (u8, u8), is_owners: bool, life: u32) {
    record.header = RawHeader {
        // SAFETY: the helper has no preconditions.
        time_ns: unsafe { bpf_ktime_get_ns() },
        // SAFETY: the pointer is a tracepoint's argument.
        cookie: unsafe { bpf_get_socket_cookie(sk.cast_mut().cast()) },
        kind: KIND_TRANSITION,
        padding: 0,
    };
    record.endpoints = sock::endpoints(sk);
    record.owner = if is_owners { sock::current_owner() } else { RawOwner::default() };
    record.netns = sock::netns(sk);
    record.error = sock::error(sk);
    record.old = old;
    record.new = new;
    record.shutdown = sock::shutdown(sk);
    record.life = life;
    record.padding = 0;
    let (old, new) = (i32::from(old), i32::from(new));
    record.figures = if old == LISTEN && new == CLOSE || new == LISTEN {
        sock::accept_queue(sk)
    } else if new == CLOSE {
        sock::figures(sk)
    } else {
        RawFigures::default()
    };
}

/// Whether this transition is made by a system call of the owner and never by an arriving segment:
/// `tcp_v4_connect()`, `inet_csk_listen_start()`, and `tcp_close_state()` in close and shutdown.
#[inline(always)]
fn is_in_process_context(old: i32, new: i32) -> bool {
    matches!(
        (old, new),
        (CLOSE, SYN_SENT | LISTEN)
            | (ESTABLISHED | SYN_RECV, FIN_WAIT1)
            | (CLOSE_WAIT, LAST_ACK)
            | (LISTEN, CLOSE)
    )
}
