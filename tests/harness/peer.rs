//! One remote socket that the test plays: it counts sequence numbers, and does nothing else by itself.

use std::{net::SocketAddr, time::Duration};

use tcp_trace_model::event::Flags;

use crate::{Segment, TimeWindow, Wire};

/// Initial sequence number of a scripted peer: close to the wrap, so that every exchange of some bytes wraps.
const INITIAL_SEQUENCE: u32 = u32::MAX - 10;
/// A window that is never full here.
const WINDOW: u16 = 65_535;

/// SYN and ACK.
pub const SYN_ACK: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);
/// FIN and ACK: what the kernel's FINs are.
pub const FIN_ACK: Flags = Flags(Flags::FIN.0 | Flags::ACK.0);
/// RST and ACK.
pub const RST_ACK: Flags = Flags(Flags::RST.0 | Flags::ACK.0);

/// A remote socket. It answers only what the test says.
#[derive(Debug)]
pub struct Peer<'w> {
    wire: &'w Wire,
    local: SocketAddr,
    remote: SocketAddr,
    /// Sequence number of the next segment that it sends.
    pub next_seq: u32,
    /// Acknowledgment number of the next segment that it sends.
    pub next_ack: u32,
    /// Window that it offers.
    pub window: u16,
    /// Segments that it has received, oldest first.
    pub received: Vec<Segment>,
}

impl<'w> Peer<'w> {
    pub(crate) fn new(wire: &'w Wire, local: SocketAddr, remote: SocketAddr) -> Self {
        let next_seq = INITIAL_SEQUENCE;
        Self { wire, local, remote, next_seq, next_ack: 0, window: WINDOW, received: Vec::new() }
    }

    /// The wire that it is at.
    pub fn wire(&self) -> &'w Wire {
        self.wire
    }

    /// The kernel's address.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// A segment as [`Peer::send`] sends it. It can be changed and given to [`Wire::send`].
    pub fn segment(&self, flags: Flags, payload: &[u8]) -> Segment {
        Segment {
            time: tcp_trace_model::time::Time(0),
            source: self.remote,
            destination: self.local,
            flags,
            seq: self.next_seq,
            ack: if flags.has(Flags::ACK) { self.next_ack } else { 0 },
            window: self.window,
            payload: payload.to_vec(),
            packet: Vec::new(),
        }
    }

    /// Sends a segment with the next sequence numbers.
    pub fn send(&mut self, flags: Flags) -> TimeWindow {
        self.send_data(flags, b"")
    }

    /// The same with payload.
    pub fn send_data(&mut self, flags: Flags, payload: &[u8]) -> TimeWindow {
        let segment = self.segment(flags, payload);
        self.next_seq = self.next_seq.wrapping_add(segment.length_in_sequence());
        self.wire.send(&segment)
    }

    /// Waits for the next segment with exactly these control bits, PSH aside. Others before it count as
    /// received.
    pub fn expect(&mut self, flags: Flags) -> Segment {
        let names: Vec<_> = flags.names().collect();
        loop {
            let what = format!("{names:?} after {:#?}", self.received);
            let (local, remote) = (self.local, self.remote);
            let segment = self.wire.expect(&what, |s| (s.source, s.destination) == (local, remote));
            self.note(&segment);
            if segment.is(flags) {
                return segment;
            }
        }
    }

    /// Takes every segment that comes within this time.
    pub fn receive_for(&mut self, time: Duration) {
        let deadline = std::time::Instant::now() + time;
        let (local, remote) = (self.local, self.remote);
        loop {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            match self.wire.receive(left, |s| (s.source, s.destination) == (local, remote)) {
                Some(segment) => self.note(&segment),
                None => return,
            }
        }
    }

    /// Takes a received segment into account.
    pub(crate) fn note(&mut self, segment: &Segment) {
        let is_first = self.received.is_empty();
        if is_first || segment.seq == self.next_ack {
            self.next_ack = segment.seq.wrapping_add(segment.length_in_sequence());
        }
        self.received.push(segment.clone());
    }

    /// Takes what has come already into account, and gives how many segments with payload, SYN or FIN came
    /// again: those whose sequence numbers had come before.
    pub fn retransmits(&mut self) -> u64 {
        self.receive_for(Duration::ZERO);
        let mut end: Option<u32> = None;
        let mut retransmits = 0;
        for segment in self.received.iter().filter(|segment| segment.length_in_sequence() > 0) {
            let is_new = end.is_none_or(|end| segment.seq.wrapping_sub(end).cast_signed() >= 0);
            retransmits += u64::from(!is_new);
            if is_new {
                end = Some(segment.seq.wrapping_add(segment.length_in_sequence()));
            }
        }
        retransmits
    }
}
