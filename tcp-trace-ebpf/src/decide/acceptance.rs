//! Whether the kernel will take a segment that arrives: the checks of RFC 9293, section 3.10.7, and RFC 5961 as Linux makes them.
//!
//! The ingress hook runs before them, with the numbers of the socket as they are then. Where the kernel looks at other numbers
//! later, because a system call has locked the socket or another CPU is sending at the same time, the verdict is unsure.

use super::{forget, segment::end};
use crate::{
    NO_VERDICT, RawSegment, VERDICT_MASK, VERDICT_SHIFT, VERDICT_UNSURE,
    refusal::{
        ABORT_ON_DATA, ACK_UNSENT_DATA, AFTER_FIN, INVALID_ACK_SEQUENCE, INVALID_END_SEQUENCE,
        INVALID_SEQUENCE, INVALID_SYN, OLD_DATA, OLD_SEQUENCE, OVERWINDOW, PAWS, RESET, TCP_FLAGS,
        TOO_OLD_ACK, ZEROWINDOW,
    },
    tcp::{
        ACK, CLOSE_WAIT, CLOSING, ESTABLISHED, FIN, FIN_WAIT1, FIN_WAIT2, LAST_ACK, RST, SYN, SYN_RECV,
        SYN_SENT, distance,
    },
};

/// The bit of `sk_shutdown` that ends receiving (`include/net/sock.h`).
const RCV_SHUTDOWN: u8 = 1;
/// How far a timestamp may lie behind the last one (`TCP_PAWS_WINDOW`).
const PAWS_WINDOW: i32 = 1;
/// For how long a timestamp is remembered, in seconds (RFC 7323, section 5.5): on older kernels; newer ones do for longer.
const PAWS_MEMORY: u64 = 60 * 60 * 24 * 24;

/// What a socket says of itself when a segment arrives: fields of `struct tcp_sock`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Socket {
    /// The number after the last one received in order.
    pub rcv_nxt: u32,
    /// `rcv_nxt` when the window was announced last.
    pub rcv_wup: u32,
    /// The window that was announced then, bytes.
    pub rcv_wnd: u32,
    /// The first number that is not acknowledged.
    pub snd_una: u32,
    /// The number after the last one sent; it follows what is sent.
    pub snd_nxt: u32,
    /// The number after the last one that was written.
    pub write_seq: u32,
    /// The largest window that the peer announced.
    pub max_window: u32,
    /// Bytes that the peer acknowledged.
    pub bytes_acked: u64,
    /// `sk_shutdown`.
    pub shutdown: u8,
    /// How many blocks beyond `rcv_nxt` it holds.
    pub num_sacks: u8,
    /// Whether a system call works on it.
    pub is_locked: bool,
}

/// What the timestamp of a segment says (RFC 7323, section 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timestamp {
    /// It is new enough, or there is none to be compared.
    #[default]
    Passes,
    /// It is older than the last one.
    Fails,
}

/// What the kernel makes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgment {
    /// One of [`refusal`](crate::refusal); [`NO_VERDICT`] when it is taken.
    pub reason: u8,
    /// Whether it may be taken nevertheless.
    pub is_unsure: bool,
}

impl Judgment {
    /// The kernel takes it.
    pub const TAKEN: Self = Self { reason: NO_VERDICT, is_unsure: false };

    #[inline(always)]
    const fn sure(reason: u8) -> Self {
        Self { reason, is_unsure: false }
    }

    #[inline(always)]
    const fn unsure(reason: u8) -> Self {
        Self { reason, is_unsure: true }
    }

    /// Whether the kernel takes the segment, as far as can be said.
    #[inline(always)]
    pub const fn is_taken(self) -> bool {
        self.reason == NO_VERDICT
    }

    /// As bits of [`RawSegment::attributes`].
    #[inline(always)]
    pub const fn attributes(self) -> u8 {
        self.reason << VERDICT_SHIFT | if self.is_unsure { VERDICT_UNSURE } else { 0 }
    }
}

/// Whether the kernel compares the segments of a socket in this state with its numbers.
#[inline(always)]
pub const fn is_judged(state: u8) -> bool {
    matches!(
        state,
        ESTABLISHED | SYN_SENT | SYN_RECV | FIN_WAIT1 | FIN_WAIT2 | CLOSE_WAIT | LAST_ACK | CLOSING
    )
}

/// Whether a TCP header of so many bytes has room for a timestamp where the kernel puts it (`TCPOLEN_TSTAMP_ALIGNED`).
#[inline(always)]
pub const fn may_have_timestamp(header_length: u32) -> bool {
    header_length >= 20 + 12
}

/// Whether a timestamp is not older than the last one that the socket remembers (`tcp_paws_check()`).
#[inline(always)]
pub const fn is_recent(value: u32, remembered: u32) -> bool {
    distance(value, remembered) <= PAWS_WINDOW
}

/// What a timestamp says that is older than the last one, which came at `remembered_at`, seconds.
#[inline(always)]
pub const fn late_timestamp(remembered_at: u32, now_ns: u64) -> Timestamp {
    let is_remembered = (now_ns / 1_000_000_000).saturating_sub(remembered_at as u64) < PAWS_MEMORY;
    if is_remembered { Timestamp::Fails } else { Timestamp::Passes }
}

/// What the judgment compared of a segment stays as it is, but the verifier does not know what came out of that (see
/// [`forget`]).
#[inline(always)]
pub fn forget_judged(segment: &mut RawSegment, mask: u32) {
    segment.sequence = forget(segment.sequence, mask);
    segment.acknowledgment = forget(segment.acknowledgment, mask);
    segment.length = forget(segment.length, mask);
    segment.flags = forget(segment.flags.into(), mask) as u8;
    segment.state = forget(segment.state.into(), mask) as u8;
}

/// What was judged of a segment.
#[inline(always)]
pub const fn verdict_of(segment: &RawSegment) -> Judgment {
    let reason = segment.attributes >> VERDICT_SHIFT & VERDICT_MASK;
    Judgment { reason, is_unsure: segment.attributes & VERDICT_UNSURE != 0 }
}

/// Whether a segment that was judged says how far its direction has come: one that is refused does not, nor one that may be.
#[inline(always)]
pub const fn is_progress(segment: &RawSegment) -> bool {
    matches!(verdict_of(segment).reason, NO_VERDICT | OLD_DATA)
}

/// Whether the payload of a segment that was judged may count.
#[inline(always)]
pub const fn has_payload(segment: &RawSegment) -> bool {
    let verdict = verdict_of(segment);
    verdict.is_taken() || verdict.is_unsure
}

/// Whether the checksum of a segment of so many bytes with its header may still be verified when the hook has passed it on: that of
/// a short one is before (`CHECKSUM_BREAK`).
#[inline(always)]
pub const fn may_be_unverified(bytes: u32) -> bool {
    bytes > 76
}

/// Judges a segment (`tcp_rcv_established()`, `tcp_rcv_state_process()`, `tcp_validate_incoming()`, `tcp_ack()`,
/// `tcp_data_queue()`).
#[inline(always)]
pub fn judge(segment: &RawSegment, socket: &Socket, timestamp: Timestamp) -> Judgment {
    let flags = segment.flags;
    if segment.state == SYN_SENT {
        return judge_answer(segment, socket);
    }
    if flags & (ACK | RST | SYN) == 0 {
        return Judgment::sure(TCP_FLAGS);
    }
    let is_late = matches!(timestamp, Timestamp::Fails);
    let sequence = segment.sequence;
    let end = end(segment);
    let left = distance(socket.rcv_nxt, socket.rcv_wup.wrapping_add(socket.rcv_wnd));
    let window = if left > 0 { left } else { 0 };
    let right = socket.rcv_nxt.wrapping_add(window as u32);
    if flags & RST != 0 {
        return judge_reset(segment, socket, right);
    }
    let is_beyond = distance(right, sequence) > 0;
    let is_before = distance(end, socket.rcv_wup) > 0;
    if flags & SYN != 0 {
        // It is challenged wherever it lies, also when it is late. Both SYNs crossed where a SYN+ACK answers the one of this end
        // (`tcp_rcv_state_process()`).
        let is_answer = segment.state == SYN_RECV && flags & ACK != 0;
        let is_in_order = !is_late && !is_beyond && !is_before;
        return if is_answer && is_in_order { Judgment::TAKEN } else { Judgment::sure(INVALID_SYN) };
    }
    if is_late {
        return Judgment::sure(PAWS);
    }
    if is_beyond {
        return Judgment::sure(INVALID_SEQUENCE);
    }
    if is_before {
        return old(segment);
    }
    let is_old = distance(end, socket.rcv_nxt) >= 0;
    // Data in order that arrive as predicted are queued before anything else is looked at (`tcp_rcv_established()`).
    let may_be_predicted =
        segment.state == ESTABLISHED && segment.length > 0 && flags & FIN == 0 && sequence == socket.rcv_nxt;
    let acknowledgment = judge_acknowledgment(segment, socket);
    if !acknowledgment.is_taken() {
        // They stay: nothing looks at what `tcp_ack()` says of one that is too old.
        return Judgment {
            is_unsure: acknowledgment.is_unsure || may_be_predicted && acknowledgment.reason == TOO_OLD_ACK,
            reason: acknowledgment.reason,
        };
    }
    if end == sequence {
        return Judgment::TAKEN;
    }
    if is_old {
        return old(segment);
    }
    let closing = judge_closing(segment, socket);
    if !closing.is_taken() {
        return closing;
    }
    if window == 0 {
        // Newer kernels take a FIN that has no data. Nothing is predicted once a window of 0 was announced (`tcp_select_window()`).
        let is_unsure = socket.is_locked || segment.length == 0 || may_be_predicted && socket.rcv_wnd != 0;
        return Judgment { reason: ZEROWINDOW, is_unsure };
    }
    if distance(right, sequence) >= 0 && sequence != socket.rcv_nxt {
        return Judgment { reason: OVERWINDOW, is_unsure: socket.is_locked };
    }
    if distance(right, end) > 0 {
        // Linux 6.17 refuses it where there is something to be read.
        return Judgment::unsure(INVALID_END_SEQUENCE);
    }
    Judgment::TAKEN
}

/// What came before. A FIN among it is none that came.
#[inline(always)]
fn old(segment: &RawSegment) -> Judgment {
    let has_end = matches!(segment.state, CLOSE_WAIT | LAST_ACK | CLOSING);
    let is_false_fin = segment.flags & FIN != 0 && !has_end;
    Judgment::sure(if is_false_fin { OLD_SEQUENCE } else { OLD_DATA })
}

/// RFC 5961, section 3.2. The hook does not know which of the blocks beyond is the last, whose number counts too.
#[inline(always)]
fn judge_reset(segment: &RawSegment, socket: &Socket, right: u32) -> Judgment {
    let ahead = distance(socket.rcv_nxt, segment.sequence);
    let is_of_fin = ahead == -1 && matches!(segment.state, CLOSE_WAIT | LAST_ACK | CLOSING);
    if ahead == 0 || is_of_fin {
        return Judgment::TAKEN;
    }
    if distance(right, segment.sequence) > 0 || ahead < 0 {
        return Judgment::sure(RESET);
    }
    // What is before it may wait for the system call to end; whether the RST is taken, the transition tells.
    if socket.is_locked || socket.num_sacks > 0 { Judgment::TAKEN } else { Judgment::sure(RESET) }
}

/// RFC 5961, section 5.2 (`tcp_ack()`).
#[inline(always)]
fn judge_acknowledgment(segment: &RawSegment, socket: &Socket) -> Judgment {
    let number = segment.acknowledgment;
    let behind = distance(number, socket.snd_una);
    if behind > 0 {
        if behind as u32 > socket.max_window {
            return Judgment::sure(TOO_OLD_ACK);
        }
        // Kernels before 6.7 allow the whole window, and those before 6.8 nothing once a side has closed (`tcp_rcv_state_process()`).
        let is_unsure = behind as u64 > socket.bytes_acked || segment.state != ESTABLISHED;
        return if is_unsure { Judgment::unsure(TOO_OLD_ACK) } else { Judgment::TAKEN };
    }
    if distance(socket.snd_nxt, number) <= 0 {
        return Judgment::TAKEN;
    }
    // What is being sent now counts only when it is on its way.
    Judgment { reason: ACK_UNSENT_DATA, is_unsure: distance(socket.write_seq, number) <= 0 }
}

/// Data for a socket that receives no more, because the peer's FIN came or because it is closed.
#[inline(always)]
fn judge_closing(segment: &RawSegment, socket: &Socket) -> Judgment {
    match segment.state {
        CLOSE_WAIT | LAST_ACK | CLOSING if distance(socket.rcv_nxt, segment.sequence) >= 0 => {
            Judgment::sure(AFTER_FIN)
        }
        FIN_WAIT1 | FIN_WAIT2 if socket.shutdown & RCV_SHUTDOWN != 0 => {
            let has_data = distance(socket.rcv_nxt, segment.sequence.wrapping_add(segment.length)) > 0;
            if has_data { Judgment::sure(ABORT_ON_DATA) } else { Judgment::TAKEN }
        }
        _ => Judgment::TAKEN,
    }
}

/// The answer to a SYN (`tcp_rcv_synsent_state_process()`).
#[inline(always)]
fn judge_answer(segment: &RawSegment, socket: &Socket) -> Judgment {
    let flags = segment.flags;
    if flags & ACK != 0 {
        let number = segment.acknowledgment;
        let is_new = distance(socket.snd_una, number) > 0;
        // `tcp_connect()` sends the SYN, and counts it then.
        let sent_to = if socket.is_locked { socket.write_seq } else { socket.snd_nxt };
        if !is_new || distance(sent_to, number) > 0 {
            return Judgment::sure(INVALID_ACK_SEQUENCE);
        }
    } else if flags & RST != 0 {
        return Judgment::sure(RESET);
    }
    if flags & (SYN | RST) != 0 {
        return Judgment::TAKEN;
    }
    // The SYN+ACK before it may wait for the system call to end.
    Judgment { reason: TCP_FLAGS, is_unsure: socket.is_locked }
}

#[cfg(test)]
#[path = "acceptance_tests.rs"]
mod tests;
