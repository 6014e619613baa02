//! Every TCP segment that a socket sends or receives: which of them user space hears of, and with what payload.
//! Datagrams are handed on.

use aya_ebpf::{
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    helpers::{bpf_get_socket_cookie, bpf_ktime_get_ns},
    macros::cgroup_skb,
    programs::SkBuffContext,
};
use aya_log_ebpf::debug;
use tcp_trace_ebpf::{
    DIRECTION_IN, DIRECTION_OUT, KIND_SEGMENT, LEFT_OFF, RawEndpoints, RawHeader, RawSegment, SKIP_BEGINS,
    ZERO_WINDOW, skip_index,
};

use super::datagram;
use crate::{
    emit, filter,
    maps::{self, PASSED, Passed, SKIP, SocketMemory},
    packet::{self, IPPROTO_UDP},
    sock, verdict,
};

/// The verdict of a cgroup_skb program that lets the packet pass. There is no other here.
const PASS: i32 = 1;
/// `TCP_CLOSE`: the socket through which the kernel answers for mini-sockets and closed ports.
const CLOSE: u32 = 7;
/// `TCP_LISTEN` and `TCP_NEW_SYN_RECV`: the segment belongs to a connection that is not accepted yet.
const LISTEN: u32 = 10;
const NEW_SYN_RECV: u32 = 12;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// `BPF_CGROUP_RUN_PROG_INET_EGRESS` in `ip_finish_output()` and `ip6_finish_output()`.
#[cgroup_skb]
pub(crate) fn segment_egress(ctx: SkBuffContext) -> i32 {
    if let Err(error) = try_segment(&ctx, DIRECTION_OUT) {
        debug!(&ctx, "segment of {} bytes out not understood: error {}", ctx.len(), error);
    }
    PASS
}

/// `BPF_CGROUP_RUN_PROG_INET_INGRESS` in `sk_filter_trim_cap()`, before the socket handles the segment.
#[cgroup_skb]
pub(crate) fn segment_ingress(ctx: SkBuffContext) -> i32 {
    if let Err(error) = try_segment(&ctx, DIRECTION_IN) {
        debug!(&ctx, "segment of {} bytes in not understood: error {}", ctx.len(), error);
    }
    PASS
}

#[inline(always)]
fn try_segment(ctx: &SkBuffContext, direction: u8) -> Result<(), i32> {
    // SAFETY: the context's fields are readable; `sk` is null or a socket that the verifier knows.
    let sk = unsafe { (*ctx.skb.skb).__bindgen_anon_2.sk };
    if sk.is_null() {
        return Ok(());
    }
    // What is not asked for costs most programs most of the packets: it is told before anything is read of them.
    let is_unwanted = filter::is_unwanted_packet(ctx);
    if is_unwanted == Some(true) {
        return Ok(());
    }
    let verdict = verdict::of(sk);
    if verdict == verdict::UNHEARD {
        return Ok(());
    }
    let Some((offset, protocol)) = packet::transport(ctx)? else {
        return Ok(());
    };
    if protocol == IPPROTO_UDP {
        return datagram::try_datagram(ctx, sk, offset, direction);
    }
    let header = packet::tcp_header(ctx, offset)?;
    let (local_port, peer_port) = header.ports(direction);
    if is_unwanted.is_none() && filter::is_unwanted_segment(ctx, local_port, peer_port) {
        return Ok(());
    }
    let flags = header.flags();
    if verdict == verdict::UNWANTED && flags & (FIN | RST) == 0 {
        return Ok(());
    }
    let payload_offset = offset + header.length();
    let length = ctx.len().saturating_sub(payload_offset);
    // SAFETY: not null.
    let state = unsafe { (*sk).state };
    let mut segment = RawSegment {
        sequence: header.sequence(),
        acknowledgment: header.acknowledgment(),
        length,
        direction,
        flags,
        state: state as u8,
        // The window of an RST means nothing.
        marks: if header.window() == 0 && flags & RST == 0 { ZERO_WINDOW } else { 0 },
        ..RawSegment::default()
    };
    if !is_wanted(sk, &segment) {
        return Ok(());
    }
    // SAFETY: the pointer is this program's own context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.skb.skb.cast()) };
    segment.header = RawHeader {
        // SAFETY: the helper has no preconditions.
        time_ns: unsafe { bpf_ktime_get_ns() },
        cookie,
        kind: KIND_SEGMENT,
        padding: 0,
    };
    let need = need_of_payload(cookie, &mut segment);
    if need == Need::Nothing {
        return Ok(());
    }
    segment.endpoints = RawEndpoints { local_port, peer_port, ..packet::addresses(ctx, direction)? };
    if segment.flags & (SYN | FIN | RST) != 0 || is_half_open(state) || state == CLOSE {
        segment.netns = sock::netns_of_packet(ctx)?;
    }
    if length == 0 || need == Need::Segment || verdict == verdict::UNWANTED {
        emit::record(segment);
    } else {
        emit::segment_with_payload(ctx, segment, payload_offset);
    }
    Ok(())
}

/// What user space needs of a segment.
#[derive(PartialEq, Eq)]
enum Need {
    Nothing,
    /// That it passed, without its payload.
    Segment,
    Payload,
}

/// What user space needs of a segment. It may have said so too late: then it gets more. Of payload that is skipped it
/// hears where that is not exactly in order: that is how retransmits show, and holes.
#[inline(always)]
fn need_of_payload(cookie: u64, segment: &mut RawSegment) -> Need {
    if segment.length == 0 && segment.flags & FIN == 0 {
        return Need::Payload;
    }
    let index = skip_index(cookie, segment.direction);
    let Some(entry) = SKIP.get_ptr(index) else {
        return Need::Payload;
    };
    // SAFETY: the pointer is to a word of the map. Read volatile: user space writes it at any time.
    let entry = unsafe { entry.read_volatile() };
    if entry == 0 || (entry >> 32) as u32 != cookie as u32 {
        return Need::Payload;
    }
    let is_in_order = note_passing(index, entry as u32, segment);
    if segment.flags & (SYN | FIN | RST) != 0 || segment.marks & ZERO_WINDOW != 0 {
        return Need::Payload;
    }
    let end = segment.sequence.wrapping_add(segment.length);
    let beyond = end.wrapping_sub(entry as u32) as i32;
    if beyond < 0 && is_in_order {
        Need::Nothing
    } else if beyond <= 0 {
        Need::Segment
    } else {
        Need::Payload
    }
}

/// Notes how far a direction has come whose payload is skipped, and in the segment where it had come before; true when
/// the segment begins exactly there. `until` is what user space says of it.
#[inline(always)]
fn note_passing(index: u32, until: u32, segment: &mut RawSegment) -> bool {
    let Some(passed) = PASSED.get_ptr_mut(index) else {
        return false;
    };
    // SAFETY: the pointer is to an element of the map. Segments of one direction of a socket do not pass at the same time;
    // where another socket takes the place meanwhile, its cookie differs.
    let before = unsafe { passed.read_volatile() };
    let end = segment.sequence.wrapping_add(segment.length);
    let cookie = segment.header.cookie as u32;
    let time_ns = segment.header.time_ns;
    let is_known = before.cookie == cookie && before.until == until;
    if is_known {
        let us = time_ns.saturating_sub(before.time_ns) / 1_000;
        segment.left_off = before.next;
        segment.left_off_us = if us < u64::from(u32::MAX) { us as u32 } else { u32::MAX };
        segment.marks |= LEFT_OFF;
    } else {
        segment.marks |= SKIP_BEGINS;
    }
    if !is_known || end.wrapping_sub(before.next) as i32 > 0 {
        // SAFETY: as above.
        unsafe { passed.write_volatile(Passed { time_ns, cookie, next: end, until, padding: 0 }) };
    }
    is_known && segment.sequence == before.next
}

#[inline(always)]
fn is_half_open(state: u32) -> bool {
    state == LISTEN || state == NEW_SYN_RECV
}

/// Whether user space hears of a segment: of all but the pure ACKs that acknowledge no SYN and no FIN and
/// neither close nor open a window.
#[inline(always)]
fn is_wanted(sk: *mut bpf_sock, segment: &RawSegment) -> bool {
    if is_half_open(u32::from(segment.state)) || u32::from(segment.state) == CLOSE {
        return true;
    }
    let closes_window = segment.marks & ZERO_WINDOW != 0 && is_first_zero_window(sk, segment.direction);
    let answered = usize::from(segment.direction);
    let answers = segment.flags & (SYN | FIN);
    if answers == FIN | SYN || answers == FIN || segment.flags & (SYN | ACK) == SYN | ACK {
        // It will be acknowledged by a segment of the other direction.
        let memory = maps::memory(sk, BPF_SK_STORAGE_GET_F_CREATE);
        if !memory.is_null() {
            let number = segment.sequence.wrapping_add(segment.length).wrapping_add(1);
            // SAFETY: not null, so valid for this run.
            unsafe {
                if answered == 0 {
                    (*memory).acknowledgment_due[1] = number;
                    (*memory).is_due[1] = 1;
                } else {
                    (*memory).acknowledgment_due[0] = number;
                    (*memory).is_due[0] = 1;
                }
            }
        }
        return true;
    }
    if segment.flags & (SYN | FIN | RST) != 0 || segment.length > 0 || closes_window {
        return true;
    }
    let memory = maps::memory(sk, 0);
    if memory.is_null() {
        return false;
    }
    // SAFETY: not null, so valid for this run.
    unsafe { if answered == 0 { take_due(memory, 0, segment) } else { take_due(memory, 1, segment) } }
}

/// Notes that the sender of `direction` can take no more; true when it could before.
#[inline(always)]
fn is_first_zero_window(sk: *mut bpf_sock, direction: u8) -> bool {
    let memory = maps::memory(sk, BPF_SK_STORAGE_GET_F_CREATE);
    if memory.is_null() {
        return true;
    }
    // SAFETY: not null, so valid for this run.
    unsafe {
        let noted =
            if direction == 0 { &mut (*memory).zero_window[0] } else { &mut (*memory).zero_window[1] };
        core::mem::replace(noted, 1) == 0
    }
}

/// Whether `segment` is the awaited acknowledgment of its direction, or opens a window that was closed; then
/// no further one is.
///
/// # Safety
/// `memory` points to a socket's memory.
#[inline(always)]
unsafe fn take_due(memory: *mut SocketMemory, direction: usize, segment: &RawSegment) -> bool {
    // SAFETY: by contract.
    unsafe {
        let opens_window = segment.marks & ZERO_WINDOW == 0 && (*memory).zero_window[direction] != 0;
        if opens_window {
            (*memory).zero_window[direction] = 0;
        }
        if (*memory).is_due[direction] == 0 {
            return opens_window;
        }
        let beyond = segment.acknowledgment.wrapping_sub((*memory).acknowledgment_due[direction]);
        if (beyond as i32) < 0 {
            return opens_window;
        }
        (*memory).is_due[direction] = 0;
    }
    true
}
