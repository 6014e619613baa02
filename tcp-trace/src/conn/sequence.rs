//! One direction's sequence numbers: how many bytes, and what was sent again (RFC 9293, section 3.4).

use crate::{
    event::{Flags, Segment},
    time::Time,
};

/// Holes that are remembered: of segments that overtake each other, usually few are under way.
const HOLES: usize = 4;

/// Sequence numbers of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sequence {
    /// The number after the last one seen; `None` before the first segment.
    next: Option<u32>,
    /// Numbers below `next` that were not seen: from, to. Oldest first; when there are more, the oldest are forgotten.
    holes: [Option<(u32, u32)>; HOLES],
    /// Payload bytes, each counted once, with those that passed before the last one seen.
    pub(super) bytes: u64,
    /// Segments whose numbers had been used before.
    pub(super) retransmits: u64,
    /// Since when the sender of this direction can take no more data.
    zero_window: Option<Time>,
    /// For how long it could not, before that, in microseconds.
    zero_window_us: u64,
}

impl Sequence {
    fn add_hole(&mut self, from: u32, to: u32) {
        if self.holes.iter().all(Option::is_some) {
            self.holes.rotate_left(1);
            self.holes[HOLES - 1] = None;
        }
        if let Some(free) = self.holes.iter_mut().find(|hole| hole.is_none()) {
            *free = Some((from, to));
        }
    }

    /// Whether all these numbers were missing; they are not any more.
    fn fills_hole(&mut self, from: u32, to: u32) -> bool {
        let is_before = |a: u32, b: u32| b.wrapping_sub(a).cast_signed() >= 0;
        let covers = |hole: &(u32, u32)| is_before(hole.0, from) && is_before(to, hole.1);
        let Some(place) = self.holes.iter_mut().find(|hole| hole.as_ref().is_some_and(covers)) else {
            return false;
        };
        let Some((start, end)) = place.take() else { return false };
        for (from, to) in [(start, from), (to, end)] {
            if from != to {
                self.add_hole(from, to);
            }
        }
        true
    }

    /// The number after the last one seen.
    pub(super) fn next(&self) -> Option<u32> {
        self.next
    }

    /// Notes whether the segment's sender can take data; true when the window closes or opens by it.
    pub(super) fn note_window(&mut self, time: Time, segment: &Segment<'_>) -> bool {
        match (self.zero_window, segment.zero_window) {
            (None, true) => self.zero_window = Some(time),
            (Some(since), false) => {
                self.zero_window_us += time.micros_since(since);
                self.zero_window = None;
            }
            _ => return false,
        }
        true
    }

    /// For how long the sender of this direction could take no more data, in microseconds.
    pub(super) fn zero_window_us(&self, now: Time) -> u64 {
        self.zero_window_us + self.zero_window.map_or(0, |since| now.micros_since(since))
    }

    /// Takes a segment into account; true when its numbers were used before.
    pub(super) fn segment(&mut self, segment: &Segment<'_>) -> bool {
        let syn = u32::from(segment.flags.has(Flags::SYN));
        let fin = u32::from(segment.flags.has(Flags::FIN));
        let end = segment.sequence.wrapping_add(syn).wrapping_add(segment.length).wrapping_add(fin);
        let Some(next) = self.next else {
            self.next = Some(end);
            self.bytes = segment.length.into();
            return false;
        };
        // Numbers are compared modulo 2^32: positive means after.
        let beyond = end.wrapping_sub(next).cast_signed();
        let occupies = syn + segment.length + fin;
        if beyond > 0 {
            self.next = Some(end);
            if segment.sequence.wrapping_sub(next).cast_signed() > 0 {
                self.add_hole(next, segment.sequence);
            }
            self.bytes += u64::from(beyond.cast_unsigned() - (syn + fin).min(beyond.cast_unsigned()));
            return false;
        }
        let is_retransmit = occupies > 0 && !self.fills_hole(segment.sequence, end);
        self.retransmits += u64::from(is_retransmit);
        is_retransmit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Direction, Endpoints};

    fn segment(flags: Flags, sequence: u32, length: u32) -> Segment<'static> {
        let nowhere = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
        Segment {
            direction: Direction::Out,
            flags,
            sequence,
            acknowledgment: 0,
            length,
            payload: &[],
            endpoints: Endpoints { local: nowhere, peer: nowhere },
            netns: None,
            state: None,
            zero_window: false,
        }
    }

    #[test]
    fn the_time_of_a_zero_window_is_summed_up() {
        let mut sequence = Sequence::default();
        let with = |zero_window| Segment { zero_window, ..segment(Flags::ACK, 1000, 0) };
        assert!(!sequence.note_window(Time(0), &with(false)));
        assert!(sequence.note_window(Time(1_000_000), &with(true)));
        assert!(!sequence.note_window(Time(2_000_000), &with(true)), "it is closed already");
        assert!(sequence.note_window(Time(4_000_000), &with(false)));
        assert!(sequence.note_window(Time(9_000_000), &with(true)));
        assert_eq!(sequence.zero_window_us(Time(10_000_000)), 3_000 + 1_000);
    }

    #[test]
    fn syn_and_fin_take_a_number_but_are_no_bytes() {
        let mut sequence = Sequence::default();
        assert!(!sequence.segment(&segment(Flags::SYN, 1000, 0)));
        assert!(!sequence.segment(&segment(Flags::ACK, 1001, 79)));
        assert!(!sequence.segment(&segment(Flags::FIN, 1080, 0)));
        assert_eq!(sequence.bytes, 79);
        assert_eq!(sequence.retransmits, 0);
    }

    #[test]
    fn numbers_used_before_are_a_retransmit_and_count_once() {
        let mut sequence = Sequence::default();
        sequence.segment(&segment(Flags::SYN, 1000, 0));
        assert!(sequence.segment(&segment(Flags::SYN, 1000, 0)));
        sequence.segment(&segment(Flags::ACK, 1001, 79));
        assert!(sequence.segment(&segment(Flags::ACK, 1001, 79)));
        assert!(!sequence.segment(&segment(Flags::ACK, 1001, 100)), "it brings new bytes as well");
        assert_eq!((sequence.bytes, sequence.retransmits), (100, 2));
    }

    #[test]
    fn segments_that_overtake_each_other_are_no_retransmits() {
        let mut sequence = Sequence::default();
        let mut send = |number: u32| sequence.segment(&segment(Flags::ACK, number * 100, 100));
        let order = [10, 12, 11, 14, 13];
        assert!(order.into_iter().all(|number| !send(number)));
        assert!(order.into_iter().all(send), "and now they are all sent again");
        assert_eq!((sequence.bytes, sequence.retransmits), (500, 5));
    }

    #[test]
    fn a_pure_ack_is_never_a_retransmit() {
        let mut sequence = Sequence::default();
        sequence.segment(&segment(Flags::ACK, 1001, 79));
        assert!(!sequence.segment(&segment(Flags::ACK, 1080, 0)));
        assert!(!sequence.segment(&segment(Flags::ACK, 1001, 0)));
    }

    #[test]
    fn the_fin_counts_the_bytes_that_nobody_reported() {
        let mut sequence = Sequence::default();
        sequence.segment(&segment(Flags::SYN, 1000, 0));
        sequence.segment(&segment(Flags::FIN, 1_001_001, 0));
        assert_eq!(sequence.bytes, 1_000_000);
    }

    #[test]
    fn numbers_wrap_at_two_to_the_32() {
        let mut sequence = Sequence::default();
        sequence.segment(&segment(Flags::SYN, u32::MAX - 9, 0));
        sequence.segment(&segment(Flags::ACK, u32::MAX - 8, 100));
        assert!(sequence.segment(&segment(Flags::ACK, u32::MAX - 8, 100)));
        assert!(!sequence.segment(&segment(Flags::ACK, 91, 9)));
        assert_eq!(sequence.bytes, 109);
    }
}
