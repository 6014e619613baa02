//! The only writer of the ring buffer. What does not fit is counted, per CPU.

use core::{arch::asm, ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{helpers::bpf_skb_load_bytes, programs::SkBuffContext};
use tcp_trace_ebpf::{PAYLOAD_MAX, PAYLOAD_SIZES, RawSegment};

use crate::maps::{EVENTS, LOST};

/// A segment's record with room for `N` bytes of payload.
#[repr(C)]
struct WithPayload<const N: usize> {
    segment: RawSegment,
    payload: [u8; N],
}

/// Writes one record of fixed size.
#[inline(always)]
pub(crate) fn record<T: 'static>(record: T) {
    match EVENTS.reserve_untyped::<T>(0) {
        Some(mut entry) => {
            entry.write(record);
            entry.submit(0);
        }
        None => lost(),
    }
}

/// Writes `segment` and the [`PAYLOAD_MAX`] bytes of the packet from `packet_offset` on.
#[inline(always)]
pub(crate) fn whole_part(ctx: &SkBuffContext, segment: RawSegment, packet_offset: u32) {
    payload::<PAYLOAD_MAX>(ctx, segment, packet_offset);
}

/// Writes `segment` and `captured` bytes of the packet from `packet_offset` on, in the smallest record that
/// holds them. `captured` is 1 to [`PAYLOAD_MAX`] bytes.
#[inline(always)]
pub(crate) fn last_part(ctx: &SkBuffContext, segment: RawSegment, packet_offset: u32) {
    let captured = segment.captured as usize;
    if captured <= PAYLOAD_SIZES[0] {
        payload::<{ PAYLOAD_SIZES[0] }>(ctx, segment, packet_offset);
    } else if captured <= PAYLOAD_SIZES[1] {
        payload::<{ PAYLOAD_SIZES[1] }>(ctx, segment, packet_offset);
    } else {
        payload::<PAYLOAD_MAX>(ctx, segment, packet_offset);
    }
}

#[inline(always)]
fn payload<const N: usize>(ctx: &SkBuffContext, segment: RawSegment, packet_offset: u32) {
    const { assert!(N.is_power_of_two()) };
    let Some(mut entry) = EVENTS.reserve_untyped::<WithPayload<N>>(0) else {
        lost();
        return;
    };
    let record: *mut WithPayload<N> = MaybeUninit::as_mut_ptr(&mut entry);
    // The verifier has to see both bounds, 1 to N, on the very register that it checks: hence the mask,
    // and the black box that keeps the compiler from removing it as redundant.
    let length = (core::hint::black_box(segment.captured - 1) & (N as u32 - 1)) + 1;
    // SAFETY: `record` points to size_of::<WithPayload<N>>() bytes of the ring, and `length` is at most N.
    let result = unsafe {
        (&raw mut (*record).segment).write(segment);
        bpf_skb_load_bytes(
            ctx.skb.skb.cast_const().cast::<c_void>(),
            packet_offset,
            (&raw mut (*record).payload).cast(),
            length,
        )
    };
    if result == 0 {
        entry.submit(0);
    } else {
        entry.discard(0);
        lost();
    }
}

/// Counts one record that user space will not see.
#[inline(always)]
pub(crate) fn lost() {
    if let Some(counter) = LOST.get_ptr_mut(0) {
        // A softirq may interrupt a program on the same CPU, so the addition has to be one instruction. The
        // target has no atomic types in Rust, but the instruction exists in every BPF version.
        // SAFETY: the pointer is to this CPU's u64 of the map and lives as long as the program.
        unsafe {
            asm!("lock *(u64 *)({counter} + 0) += {one}", counter = in(reg) counter, one = in(reg) 1_u64);
        };
    }
}
