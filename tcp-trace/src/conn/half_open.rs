//! Connections that a listener has answered and nobody has accepted yet.
//!
//! Their SYN, SYN+ACK and ACK pass under the listener's cookie. They wait here, by addresses, until the
//! third segment makes a socket of them.

use std::collections::{HashMap, VecDeque};

use crate::{
    event::{Direction, Endpoints, Flags, Segment},
    time::Time,
};

/// Half-open connections that are remembered; a SYN flood fills it and no more.
pub const HALF_OPEN_MAX: usize = 16_384;
/// Segments that are held of each: retransmits of a stubborn client, and data that came with the ACK.
const SEGMENTS_MAX: usize = 32;
/// Payload bytes that are held of each.
const PAYLOAD_MAX: usize = 65_536;
/// After this time without a socket a half-open connection is forgotten: longer than the kernel keeps it
/// (5 retransmits of the SYN+ACK, 63 s).
const LIFETIME_US: u64 = 120_000_000;

/// What tells half-open connections apart: namespace and addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HalfOpenKey {
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Seen from the listener.
    pub endpoints: Endpoints,
}

/// A segment with its payload, kept for the socket that will come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldSegment {
    /// When it passed.
    pub time: Time,
    segment: Segment<'static>,
    payload: Vec<u8>,
}

impl HeldSegment {
    fn new(time: Time, segment: &Segment<'_>) -> Self {
        let Segment { direction, flags, sequence, acknowledgment, length, endpoints, netns, state, payload } =
            *segment;
        Self {
            time,
            payload: payload.to_vec(),
            segment: Segment {
                direction,
                flags,
                sequence,
                acknowledgment,
                length,
                payload: &[],
                endpoints,
                netns,
                state,
            },
        }
    }

    /// The segment as it was.
    pub fn segment(&self) -> Segment<'_> {
        Segment { payload: &self.payload, ..self.segment.clone() }
    }
}

#[derive(Debug, Default)]
struct Entry {
    segments: Vec<HeldSegment>,
    payload: usize,
}

/// All half-open connections of the host.
#[derive(Debug, Default)]
pub struct HalfOpen {
    entries: HashMap<HalfOpenKey, Entry>,
    /// By age; entries that have become sockets are still in it.
    order: VecDeque<(Time, HalfOpenKey)>,
}

impl HalfOpen {
    /// Holds a segment that passed a listener. Returns how many segments had to be given up for it.
    pub fn segment(&mut self, key: HalfOpenKey, time: Time, segment: &Segment<'_>) -> u64 {
        let mut given_up = 0;
        let is_first = segment.direction == Direction::In
            && segment.flags.has(Flags::SYN)
            && !segment.flags.has(Flags::ACK);
        if is_first && self.is_another_syn(&key, segment.sequence) {
            // The same addresses again with another sequence number: a new attempt.
            self.entries.remove(&key);
        }
        if !self.entries.contains_key(&key) {
            if !is_first {
                return 0;
            }
            given_up += self.make_room();
            self.order.push_back((time, key));
        }
        let entry = self.entries.entry(key).or_default();
        if entry.segments.len() >= SEGMENTS_MAX || entry.payload + segment.payload.len() > PAYLOAD_MAX {
            return given_up + 1;
        }
        entry.payload += segment.payload.len();
        entry.segments.push(HeldSegment::new(time, segment));
        given_up
    }

    /// The segments of the connection that became a socket.
    pub fn take(&mut self, key: &HalfOpenKey) -> Vec<HeldSegment> {
        self.entries.remove(key).map(|entry| entry.segments).unwrap_or_default()
    }

    /// Forgets what has not become a socket in time.
    pub fn tick(&mut self, now: Time) {
        while let Some((time, key)) = self.order.front().copied() {
            let is_gone = !self.is_of_time(&key, time);
            if !is_gone && now.micros_since(time) < LIFETIME_US {
                break;
            }
            self.order.pop_front();
            if !is_gone {
                self.entries.remove(&key);
            }
        }
    }

    fn is_another_syn(&self, key: &HalfOpenKey, sequence: u32) -> bool {
        let first = self.entries.get(key).and_then(|entry| entry.segments.first());
        first.is_some_and(|first| first.segment.sequence != sequence)
    }

    /// Whether the entry is the one that was made at `time`, and not a later one with the same addresses.
    fn is_of_time(&self, key: &HalfOpenKey, time: Time) -> bool {
        let first = self.entries.get(key).and_then(|entry| entry.segments.first());
        first.is_some_and(|first| first.time == time)
    }

    fn make_room(&mut self) -> u64 {
        let mut given_up = 0;
        while self.entries.len() >= HALF_OPEN_MAX {
            let Some((time, key)) = self.order.pop_front() else {
                break;
            };
            if self.is_of_time(&key, time) {
                given_up += self.take(&key).len() as u64;
            }
        }
        // Entries that became sockets leave their place in the order; it must not grow without bound.
        if self.order.len() >= 2 * HALF_OPEN_MAX {
            let order = std::mem::take(&mut self.order);
            self.order = order.into_iter().filter(|(time, key)| self.is_of_time(key, *time)).collect();
        }
        given_up
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::event::State;

    fn key(port: u16) -> HalfOpenKey {
        let endpoints = Endpoints {
            local: SocketAddr::from(([127, 0, 0, 1], 80)),
            peer: SocketAddr::from(([127, 0, 0, 1], port)),
        };
        HalfOpenKey { netns: 1, endpoints }
    }

    fn syn(sequence: u32) -> Segment<'static> {
        Segment {
            direction: Direction::In,
            flags: Flags::SYN,
            sequence,
            acknowledgment: 0,
            length: 0,
            payload: &[],
            endpoints: key(1).endpoints,
            netns: Some(1),
            state: Some(State::Listen),
        }
    }

    fn ack(payload: &'static [u8]) -> Segment<'static> {
        let length = u32::try_from(payload.len()).unwrap();
        Segment { flags: Flags::ACK, sequence: 101, payload, length, ..syn(0) }
    }

    #[test]
    fn the_socket_gets_what_passed_before_it_existed() {
        let mut half_open = HalfOpen::default();
        half_open.segment(key(1), Time(1), &syn(100));
        half_open.segment(key(2), Time(2), &syn(200));
        half_open.segment(key(1), Time(3), &ack(b"GET"));
        let held = half_open.take(&key(1));
        assert_eq!(held.len(), 2);
        assert_eq!((held[0].time, held[0].segment().sequence), (Time(1), 100));
        assert_eq!(held[1].segment().payload, b"GET");
        assert!(half_open.take(&key(1)).is_empty(), "they are handed out once");
        assert_eq!(half_open.take(&key(2)).len(), 1);
    }

    #[test]
    fn a_new_attempt_with_the_same_addresses_replaces_the_old_one() {
        let mut half_open = HalfOpen::default();
        half_open.segment(key(1), Time(1), &syn(100));
        half_open.segment(key(1), Time(2), &syn(100));
        half_open.segment(key(1), Time(3), &syn(900));
        let held = half_open.take(&key(1));
        assert_eq!(held.len(), 1);
        assert_eq!(held[0].segment().sequence, 900);
    }

    #[test]
    fn an_ack_without_a_syn_is_not_held() {
        let mut half_open = HalfOpen::default();
        assert_eq!(half_open.segment(key(1), Time(1), &ack(b"")), 0);
        assert!(half_open.take(&key(1)).is_empty());
    }

    #[test]
    fn a_syn_flood_is_bounded_and_what_it_pushes_out_is_counted() {
        let mut half_open = HalfOpen::default();
        let mut given_up = 0;
        for attempt in 0..3 * HALF_OPEN_MAX {
            let sequence = u32::try_from(attempt).unwrap();
            let mut key = key(u16::try_from(attempt % 65_536).unwrap());
            key.netns = u32::try_from(attempt / 65_536).unwrap();
            given_up += half_open.segment(key, Time(attempt as u64), &syn(sequence));
        }
        assert_eq!(half_open.entries.len(), HALF_OPEN_MAX);
        assert_eq!(given_up, 2 * HALF_OPEN_MAX as u64);
    }

    #[test]
    fn connections_that_complete_leave_no_trace() {
        let mut half_open = HalfOpen::default();
        for attempt in 0..4 * HALF_OPEN_MAX {
            let mut key = key(u16::try_from(attempt % 65_536).unwrap());
            key.netns = u32::try_from(attempt / 65_536).unwrap();
            half_open.segment(key, Time(attempt as u64), &syn(1));
            half_open.take(&key);
        }
        half_open.tick(Time(u64::MAX));
        assert_eq!((half_open.entries.len(), half_open.order.len()), (0, 0));
    }

    #[test]
    fn what_never_completes_is_forgotten() {
        let mut half_open = HalfOpen::default();
        half_open.segment(key(1), Time(0), &syn(100));
        half_open.tick(Time(119_000_000_000));
        half_open.segment(key(2), Time(119_000_000_000), &syn(100));
        half_open.tick(Time(121_000_000_000));
        assert!(half_open.take(&key(1)).is_empty());
        assert_eq!(half_open.take(&key(2)).len(), 1);
    }
}
