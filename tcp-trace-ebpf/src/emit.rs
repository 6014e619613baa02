//! The only writer of the ring buffer. What does not fit is counted, per CPU.

use core::{arch::asm, ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, BPF_RB_RING_SIZE},
    helpers::{bpf_ktime_get_ns, bpf_ringbuf_query, bpf_skb_load_bytes},
    maps::ring_buf::RingBufEntry,
    programs::SkBuffContext,
};
use tcp_trace_ebpf::{
    DATAGRAM_MAX, LOST_RECORDS, PAYLOAD_MAX, PAYLOAD_SIZES, RawDatagram, RawSegment, UNHURRIED_MAX,
    WAKE_PAUSE_NS,
};

use crate::maps::{COUNTERS, EVENTS, LAST_WAKE, WAKE_BYTES};

/// A segment's or datagram's record with room for `N` bytes of payload.
#[repr(C)]
struct WithPayload<T, const N: usize> {
    head: T,
    payload: [u8; N],
}

/// Writes one record of fixed size.
#[inline(always)]
pub(crate) fn record<T: 'static>(record: T) {
    if let Some(mut entry) = reserve::<T>() {
        entry.write(record);
        submit(entry, false);
    }
}

/// Whether the reader is woken for a record: when more than [`WAKE_BYTES`] wait. Waking costs more than all else that is
/// done for a record; the reader looks by itself, too.
#[inline(always)]
fn wake_up() -> u64 {
    // SAFETY: the pointer is to a static. Read volatile: the compiler must not take the zero of the source for the
    // value.
    let limit = u64::from(unsafe { core::ptr::read_volatile(&raw const WAKE_BYTES) });
    if query(BPF_RB_AVAIL_DATA) < limit { BPF_RB_NO_WAKEUP.into() } else { wake_up_soon() }
}

/// The same for a record that is read at once: one that names a process, because the reader looks at processes, which may
/// end at any time, and one with much payload. A reader that just was woken is busy, or looks again soon.
#[inline(always)]
fn wake_up_soon() -> u64 {
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    let Some(last) = LAST_WAKE.get_ptr_mut(0) else { return BPF_RB_FORCE_WAKEUP.into() };
    // SAFETY: the pointer is to this CPU's u64 of the map and lives as long as the program.
    unsafe {
        if now.wrapping_sub(last.read_volatile()) < WAKE_PAUSE_NS {
            return BPF_RB_NO_WAKEUP.into();
        }
        last.write_volatile(now);
    }
    BPF_RB_FORCE_WAKEUP.into()
}

/// Room for one record that is too large for the stack; it has to go to [`submit`].
#[inline(always)]
pub(crate) fn reserve<T: 'static>() -> Option<RingBufEntry<T>> {
    let entry = EVENTS.reserve_untyped::<T>(0);
    if entry.is_none() {
        lost();
    }
    entry
}

/// Hands over a record that was filled in, to be read soon when it `is_urgent`: it names a process, or has much payload.
#[inline(always)]
pub(crate) fn submit<T: 'static>(entry: RingBufEntry<T>, is_urgent: bool) {
    entry.submit(if is_urgent { wake_up_soon() } else { wake_up() });
}

/// Writes `segment` and its payload, which starts at `packet_offset` of the packet, in the smallest record
/// that holds it.
#[inline(always)]
pub(crate) fn segment_with_payload(ctx: &SkBuffContext, mut segment: RawSegment, packet_offset: u32) {
    segment.captured = segment.length;
    let length = segment.length as usize;
    if length <= PAYLOAD_SIZES[0] {
        payload::<_, { PAYLOAD_SIZES[0] }>(ctx, segment, segment.captured, packet_offset);
    } else if length <= PAYLOAD_SIZES[1] {
        payload::<_, { PAYLOAD_SIZES[1] }>(ctx, segment, segment.captured, packet_offset);
    } else if length <= PAYLOAD_SIZES[2] {
        payload::<_, { PAYLOAD_SIZES[2] }>(ctx, segment, segment.captured, packet_offset);
    } else if length <= PAYLOAD_SIZES[3] {
        payload::<_, { PAYLOAD_SIZES[3] }>(ctx, segment, segment.captured, packet_offset);
    } else if length <= PAYLOAD_SIZES[4] {
        payload::<_, { PAYLOAD_SIZES[4] }>(ctx, segment, segment.captured, packet_offset);
    } else if length <= PAYLOAD_SIZES[5] {
        payload::<_, { PAYLOAD_SIZES[5] }>(ctx, segment, segment.captured, packet_offset);
    } else {
        if length > PAYLOAD_MAX {
            segment.captured = PAYLOAD_MAX as u32;
            lost();
        }
        payload::<_, PAYLOAD_MAX>(ctx, segment, segment.captured, packet_offset);
    }
}

/// The same for a datagram, which is not empty.
#[inline(always)]
pub(crate) fn datagram_with_payload(ctx: &SkBuffContext, mut datagram: RawDatagram, packet_offset: u32) {
    datagram.captured = datagram.length;
    if datagram.length as usize <= PAYLOAD_SIZES[0] {
        payload::<_, { PAYLOAD_SIZES[0] }>(ctx, datagram, datagram.captured, packet_offset);
    } else {
        if datagram.length as usize > DATAGRAM_MAX {
            datagram.captured = DATAGRAM_MAX as u32;
            lost();
        }
        payload::<_, DATAGRAM_MAX>(ctx, datagram, datagram.captured, packet_offset);
    }
}

/// Whether the ring buffer is more than half full: what is large and worth little is then left out.
#[inline(always)]
pub(crate) fn is_half_full() -> bool {
    query(BPF_RB_AVAIL_DATA) > query(BPF_RB_RING_SIZE) / 2
}

/// What the ring buffer says of itself, in bytes.
#[inline(always)]
fn query(what: u32) -> u64 {
    // SAFETY: the pointer is to the map.
    unsafe { bpf_ringbuf_query((&raw const EVENTS).cast_mut().cast(), what.into()) }
}

#[inline(always)]
fn payload<T: 'static, const N: usize>(ctx: &SkBuffContext, head: T, captured: u32, packet_offset: u32) {
    const { assert!(N.is_power_of_two()) };
    let Some(mut entry) = reserve::<WithPayload<T, N>>() else { return };
    let record: *mut WithPayload<T, N> = MaybeUninit::as_mut_ptr(&mut entry);
    // The verifier has to see both bounds, 1 to N, on the very register that it checks: hence the mask,
    // and the black box that keeps the compiler from removing it as redundant.
    let length = (core::hint::black_box(captured - 1) & (N as u32 - 1)) + 1;
    // SAFETY: `record` points to size_of::<WithPayload<T, N>>() bytes of the ring, and `length` is at most N.
    let result = unsafe {
        (&raw mut (*record).head).write(head);
        bpf_skb_load_bytes(
            ctx.skb.skb.cast_const().cast::<c_void>(),
            packet_offset,
            (&raw mut (*record).payload).cast(),
            length,
        )
    };
    if result == 0 {
        // Of a long message the rest may be left out once its head is read: the sooner, the less is copied.
        submit(entry, N > UNHURRIED_MAX);
    } else {
        entry.discard(BPF_RB_NO_WAKEUP.into());
        lost();
    }
}

/// Counts one record that user space will not see.
#[inline(always)]
pub(crate) fn lost() {
    count(LOST_RECORDS);
}

/// Adds one to a counter of this CPU.
#[inline(always)]
pub(crate) fn count(counter: u32) {
    if let Some(counter) = COUNTERS.get_ptr_mut(counter) {
        // A softirq may interrupt a program on the same CPU, so the addition has to be one instruction. The
        // target has no atomic types in Rust, but the instruction exists in every BPF version.
        // SAFETY: the pointer is to this CPU's u64 of the map and lives as long as the program.
        unsafe {
            asm!("lock *(u64 *)({counter} + 0) += {one}", counter = in(reg) counter, one = in(reg) 1_u64);
        };
    }
}
