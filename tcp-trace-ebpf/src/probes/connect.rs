//! Connects that the ports of the socket exclude, as far as they are known. When the SYN leaves, the port that the socket got, or
//! translated ports, may select the connection after all: its beginning is held until then.

use aya_ebpf::{
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    helpers::{bpf_get_socket_cookie, bpf_ktime_get_ns, bpf_sk_storage_get},
    programs::SkBuffContext,
};
use tcp_trace_ebpf::{
    DIRECTION_OUT, KIND_TRANSITION, RawHeader, RawTcpStats, RawTransition,
    tcp::{CLOSE, SYN_SENT},
};

use super::process_use;
use crate::{
    emit,
    maps::{CONNECTS, HeldConnect},
    packet, sock,
};

/// What is held of the socket at `sk`, a pointer that the verifier knows as one; null when there is nothing and `flags` do not
/// ask to make it, and when the kernel has no memory.
#[inline(always)]
fn held<T>(sk: *const T, flags: u32) -> *mut HeldConnect {
    // SAFETY: the verifier checks both pointers; a null value means that new memory is zeroed.
    unsafe {
        bpf_sk_storage_get(
            (&raw const CONNECTS).cast_mut().cast(),
            sk.cast_mut().cast(),
            core::ptr::null_mut(),
            flags.into(),
        )
    }
    .cast()
}

/// Holds a connect of the process that runs now.
#[inline(always)]
pub(super) fn hold(sk: *const u8) {
    let held = held(sk, BPF_SK_STORAGE_GET_F_CREATE);
    if !held.is_null() {
        // SAFETY: not null, so valid for this run.
        unsafe {
            (*held).time_ns = bpf_ktime_get_ns();
            (*held).process = sock::current_process();
        }
    } else {
        // It may be selected.
        emit::lost();
    }
}

/// Reports the connect that is held of the socket whose packet this is, with the time when it was made.
#[inline(always)]
pub(super) fn report_held(ctx: &SkBuffContext, sk: *mut bpf_sock) -> Result<(), i32> {
    let held = held(sk, 0);
    // SAFETY: null or valid for this run.
    if held.is_null() || unsafe { (*held).time_ns == 0 } {
        return Ok(());
    }
    let family = packet::addresses(ctx, DIRECTION_OUT)?.family;
    let netns = sock::netns_of_packet(ctx)?;
    let Some(mut entry) = emit::reserve::<RawTransition>() else { return Ok(()) };
    // SAFETY: one points to room in the ring buffer, the other is not null and valid for this run.
    let (record, held) = unsafe { (&mut *entry.as_mut_ptr(), &mut *held) };
    record.header = RawHeader {
        time_ns: held.time_ns,
        // SAFETY: the pointer is this program's own context.
        cookie: unsafe { bpf_get_socket_cookie(ctx.skb.skb.cast()) },
        kind: KIND_TRANSITION,
        padding: 0,
    };
    record.endpoints = sock::endpoints_of_packet(ctx, family);
    record.process = held.process;
    record.netns = netns;
    record.error = 0;
    record.old = CLOSE;
    record.new = SYN_SENT;
    record.shutdown = 0;
    record.attributes = 0;
    record.incarnation = process_use::remember_new(sk);
    record.stats = RawTcpStats::default();
    emit::submit(entry, true);
    held.time_ns = 0;
    Ok(())
}
