//! Segments of nobody, near what the connection has come to: what the kernel makes of them is what the programs judge.

use proptest::prelude::*;
use tcp_trace_ebpf::{
    NO_VERDICT, RawSegment,
    decide::acceptance::{self, Judgment, Socket, Timestamp},
    refusal,
};
use tcp_trace_model::event::Flags;

use super::{
    end::{End, Packet},
    kernel::state_number,
};

/// What the window is in which segments are taken.
const WINDOW: u32 = 65_535;
/// What they carry: what is read of it would be seen.
const PAYLOAD: &[u8] = b"GET /forged HTTP/1.1\r\nHost: forged.example\r\nContent-Length: 7\r\n\r\n";

/// A segment, by how far its numbers are from those of the end that it arrives at.
#[derive(Clone, Debug)]
pub(super) struct Forged {
    pub(super) flags: u8,
    /// From the next byte that it expects.
    pub(super) sequence: i64,
    /// From the first byte that is not acknowledged.
    pub(super) acknowledgment: i64,
    pub(super) length: usize,
}

pub(super) fn forged() -> impl Strategy<Value = Forged> {
    let near = || prop_oneof![4 => -3..4_i64, 4 => -2_000..2_000_i64, 1 => -70_000..70_000_i64];
    let flags = prop_oneof![2 => Just(Flags::ACK.0), 3 => 0..32_u8];
    (flags, near(), near(), prop_oneof![1 => Just(0), 3 => 0..600_usize]).prop_map(
        |(flags, sequence, acknowledgment, length)| Forged { flags, sequence, acknowledgment, length },
    )
}

/// Whether the kernel may take it.
pub(super) fn is_unsure(judgment: Judgment) -> bool {
    judgment.is_unsure || judgment.reason == refusal::OLD_DATA
}

/// Whether the programs report it for what it is: one without payload only as part of handshake or close. The peer's own SYN again is none
/// that counts as refused.
pub(super) fn is_reported(packet: &Packet) -> bool {
    let has = |flag| packet.flags.has(flag);
    let is_own_syn = has(Flags::SYN) && packet.position == 0;
    !is_own_syn && (!packet.payload.is_empty() || has(Flags::SYN) || has(Flags::FIN) || has(Flags::RST))
}

impl Forged {
    fn packet(&self, end: &End) -> Packet {
        let payload = PAYLOAD.iter().copied().cycle().take(self.length).collect();
        Packet {
            flags: Flags(self.flags),
            position: end.expected.wrapping_add_signed(self.sequence),
            acknowledged: end.unacknowledged.wrapping_add_signed(self.acknowledgment),
            payload,
        }
    }

    /// What arrives at a socket, and what the programs say of it; `None` where the kernel takes it, or ends the connection for it.
    pub(super) fn refused_by(&self, end: &End) -> Option<(Packet, Judgment)> {
        if end.is_gone() {
            return None;
        }
        let packet = self.packet(end);
        let segment = RawSegment {
            sequence: packet.position as u32,
            acknowledgment: packet.acknowledged as u32,
            length: packet.payload.len() as u32,
            flags: self.flags,
            state: state_number(end.state),
            ..RawSegment::default()
        };
        let socket = Socket {
            rcv_nxt: end.expected as u32,
            rcv_wup: end.expected as u32,
            rcv_wnd: WINDOW,
            snd_una: end.unacknowledged as u32,
            snd_nxt: end.next as u32,
            write_seq: end.next.max(1 + end.written.len() as u64) as u32,
            max_window: WINDOW,
            bytes_acked: end.unacknowledged,
            shutdown: end.shutdown(),
            num_sacks: end.beyond.len() as u8,
            is_locked: false,
        };
        let judgment = acceptance::judge(&segment, &socket, Timestamp::Passes);
        let is_taken = match judgment.reason {
            NO_VERDICT | refusal::ABORT_ON_DATA => true,
            // What it acknowledges counts.
            refusal::OLD_DATA => self.acknowledgment > 0,
            _ => false,
        };
        (!is_taken).then_some((packet, judgment))
    }

    /// What arrives for a half-open connection, which has answered the SYN; `None` where the kernel takes it (`tcp_check_req()`).
    pub(super) fn for_half_open(&self, end: &End) -> Option<Packet> {
        let packet = self.packet(end);
        let has = |flag| packet.flags.has(flag);
        let is_wrong = has(Flags::ACK) && packet.acknowledged != 1;
        let is_outside = self.sequence < 0 && -self.sequence >= self.length as i64 + 2
            || self.sequence > i64::from(WINDOW);
        let is_dropped = !has(Flags::ACK) && !has(Flags::SYN) && !has(Flags::RST);
        // A SYN alone may be that of another connection.
        let is_syn = has(Flags::SYN) && !has(Flags::ACK);
        (!is_syn && (is_wrong || is_outside || is_dropped)).then_some(packet)
    }
}
