//! Records as the eBPF programs write them into the ring buffer.

use tcp_trace_ebpf::{AF_INET, DIRECTION_IN, DIRECTION_OUT, KIND_SEGMENT};

/// `TCP_ESTABLISHED`.
const ESTABLISHED: u8 = 1;
const PSH_ACK: u8 = 0x18;

/// The record of a segment with payload between two ports of loopback, laid out as `tcp_trace_ebpf::RawSegment`.
pub(crate) fn segment(cookie: u64, time: u64, is_out: bool, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let (local, peer): (u16, u16) = (8080, 41352);
    let loopback = [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // Payloads of the benchmark are short.
    let length = payload.len() as u32;
    let direction = if is_out { DIRECTION_OUT } else { DIRECTION_IN };
    [
        time.to_ne_bytes().as_slice(),
        &cookie.to_ne_bytes(),
        &KIND_SEGMENT.to_ne_bytes(),
        &[0; 4],
        &loopback,
        &loopback,
        &local.to_ne_bytes(),
        &peer.to_ne_bytes(),
        &AF_INET.to_ne_bytes(),
        &[0; 2],
        &sequence.to_ne_bytes(),
        &[0; 4],
        &length.to_ne_bytes(),
        &length.to_ne_bytes(),
        &[0; 4],
        &[direction, PSH_ACK, ESTABLISHED, 0],
        // Nothing is skipped.
        &[0; 8],
        payload,
    ]
    .concat()
}
