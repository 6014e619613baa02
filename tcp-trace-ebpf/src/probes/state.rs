//! Every change of a TCP socket's state.

use aya_ebpf::{
    helpers::{bpf_get_socket_cookie, bpf_ktime_get_ns},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use tcp_trace_ebpf::{
    CONNECTED, EXITING, KIND_TRANSITION, NESTED, RawHeader, RawProcess, RawTcpStats, RawTransition, SUBFLOW,
    TRIGGER_CONNECT,
    decide::{
        process::Verdict,
        transition::{self, Stats},
        translation::Ports,
    },
    tcp::{CLOSE, ESTABLISHED, SYN_SENT},
};

use crate::{
    emit, filter,
    maps::STATE_RUNNING,
    probes::{connect, mptcp, process_use, stack},
    process_filter, sock,
};

/// `TRACE_EVENT(inet_sock_set_state, TP_PROTO(const struct sock *sk, const int oldstate, const int newstate))`
#[btf_tracepoint(function = "inet_sock_set_state")]
#[inline(always)]
pub(crate) fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    // Before Linux 6.1 the kernel runs it a second time on the same CPU, where the program below reports already.
    if STATE_RUNNING.get(0) == Some(&1) {
        return 0;
    }
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
#[inline(always)]
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
    // States are small numbers.
    let (old, new) = (ctx.arg::<i32>(1) as u8, ctx.arg::<i32>(2) as u8);
    // The tracepoint also reports SCTP and MPTCP sockets.
    if !sock::is_tcp(sk) {
        mptcp::note_transition(sk, (old, new));
        return;
    }
    let Ports { peer: peer_port, .. } = sock::ports(sk);
    if filter::is_in_excluded_network(sk, peer_port) {
        return;
    }
    if filter::are_ports_filtered() && is_excluded_by_ports(sk, (old, new)) {
        if (old, new) == (CLOSE, SYN_SENT) {
            connect::hold(sk);
        }
        return;
    }
    if filter::are_ports_filtered() && new == CLOSE {
        filter::deselect_translated(sk);
    }
    let is_by_call = transition::is_by_process(old, new);
    let is_by_process = is_by_call && !sock::is_kernel_thread();
    let incarnation = if is_by_call && old == CLOSE { process_use::remember_new(sk) } else { 0 };
    let mut verdict = Verdict::Undecided;
    if process_filter::is_enabled() {
        verdict = process_filter::judge_transition(sk, (old, new), is_by_process, peer_port);
        if verdict == Verdict::ExcludedUnreported {
            if process_filter::remember(sk, verdict) {
                return;
            }
            verdict = Verdict::Excluded;
        }
    }
    let Some(mut record) = emit::reserve::<RawTransition>() else {
        return;
    };
    // An RST that waited for the lock, and `tcp_abort()`, leave an error first.
    let is_in_call = transition::may_be_by_process(old, new) && sock::is_locked(sk) && sock::error(sk) == 0;
    let is_by_process = is_by_process || is_in_call && !sock::is_kernel_thread();
    // SAFETY: it points to room for one in the ring buffer.
    let filled = unsafe { &mut *record.as_mut_ptr() };
    fill(filled, sk, (old, new), is_by_process, incarnation);
    if matches!(new, SYN_SENT | ESTABLISHED) && mptcp::note_subflow(sk, filled.header.cookie, is_by_process) {
        filled.attributes = SUBFLOW;
    }
    if is_by_process && sock::is_exiting() {
        filled.attributes |= EXITING;
    }
    emit::submit(record, is_by_process);
    if is_by_process && old != CLOSE {
        process_use::note_reported(sk);
    }
    if process_filter::is_enabled() && verdict != Verdict::Undecided {
        process_filter::remember(sk, verdict);
    }
    if stack::are_reported() && old == CLOSE && new == SYN_SENT {
        stack::report(sk, TRIGGER_CONNECT);
    }
}

/// Whether ports exclude a transition.
#[inline(always)]
fn is_excluded_by_ports(sk: *const u8, (old, new): (u8, u8)) -> bool {
    let Ports { mut local, peer } = sock::ports(sk);
    if local == 0 && (old, new) == (CLOSE, SYN_SENT) {
        // It gets a port before its SYN leaves: until then the connect is held.
        return !filter::is_selected_by_peer(peer);
    }
    if local == 0 && new == CLOSE {
        // It has given its port back, by which it may be known.
        local = sock::last_local_port(sk);
    }
    filter::is_excluded(Ports { local, peer })
}

/// Reports a socket that user space may not know, and how often it left `CLOSE`, with the process that runs now and uses it; false when the ring buffer is full.
#[inline(always)]
pub(crate) fn report_unchanged(sk: *const u8, state: u8, incarnations: u32) -> bool {
    let Some(mut record) = emit::reserve::<RawTransition>() else {
        return false;
    };
    // SAFETY: it points to room for one in the ring buffer.
    let filled = unsafe { &mut *record.as_mut_ptr() };
    fill(filled, sk, (state, state), true, incarnations.saturating_sub(1));
    if incarnations > 0 {
        filled.attributes = CONNECTED;
    }
    emit::submit(record, true);
    true
}

/// Fills in a record in its place: it is too large for the stack.
#[inline(always)]
fn fill(
    record: &mut RawTransition,
    sk: *const u8,
    (old, new): (u8, u8),
    is_by_process: bool,
    incarnation: u32,
) {
    record.header = RawHeader {
        // SAFETY: the helper has no preconditions.
        time_ns: unsafe { bpf_ktime_get_ns() },
        // SAFETY: the pointer is a tracepoint's argument.
        cookie: unsafe { bpf_get_socket_cookie(sk.cast_mut().cast()) },
        kind: KIND_TRANSITION,
        padding: 0,
    };
    record.endpoints = sock::endpoints(sk);
    if new == CLOSE && old != SYN_SENT && record.endpoints.local_port == 0 {
        // It has given its port back: of a socket that user space has not seen, it would stay unknown who selects it.
        record.endpoints.local_port = sock::last_local_port(sk);
    }
    record.process = if is_by_process { sock::current_process() } else { RawProcess::default() };
    record.netns = sock::netns(sk);
    record.error = sock::error(sk);
    record.old = old;
    record.new = new;
    record.shutdown = sock::shutdown(sk);
    record.incarnation = incarnation;
    record.attributes = 0;
    record.stats = match transition::stats(old, new) {
        Stats::AcceptQueue => sock::accept_queue(sk),
        Stats::Connection => sock::tcp_stats(sk),
        Stats::None => RawTcpStats::default(),
    };
}
