//! One direction's sequence numbers: how many bytes, and what was sent again (RFC 9293, section 3.4).

use tcp_trace_model::{
    event::{Direction, Flags, Segment, Skipping},
    time::Time,
};

use super::{holes::Holes, sent::Sent};

/// Sequence numbers of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sequence {
    /// The number after the last one seen; `None` before the first segment.
    next: Option<u32>,
    /// Whether segments pass that are not reported.
    is_skipped: bool,
    /// Number of the FIN.
    fin: Option<u32>,
    /// Payload bytes, each counted once, with those that passed before the last one seen.
    pub(super) bytes: u64,
    /// Segments whose numbers had been used before.
    pub(super) retransmits: u32,
    /// `None` while there was none.
    trouble: Option<Box<Trouble>>,
}

/// What few directions have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Trouble {
    /// Numbers below [`Sequence::next`] that were not seen.
    holes: Holes,
    zero_window: ZeroWindow,
}

/// When the sender of a direction could take no more data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ZeroWindow {
    /// Since when it cannot.
    since: Option<Time>,
    /// For how long it could not, before that, in microseconds.
    before_us: u64,
}

/// What a segment's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    /// Not used before, or it has none.
    New,
    /// Missing since later ones had passed; when that was, if it is known that they had not passed unseen.
    Late(Option<Time>),
    /// Used before. When they were, if that is known: of the direction that leaves this host.
    Again(Option<Time>),
}

impl Sequence {
    /// The number after the last one seen.
    pub(super) fn next(&self) -> Option<u32> {
        self.next
    }

    /// Notes whether the segment's sender can take data; true when the window closes or opens by it.
    pub(super) fn note_window(&mut self, time: Time, segment: &Segment<'_>) -> bool {
        match (self.zero_window(), segment.zero_window) {
            (None, true) => self.trouble.get_or_insert_default().zero_window.since = Some(time),
            (Some(since), false) => {
                let window = &mut self.trouble.get_or_insert_default().zero_window;
                window.before_us += time.micros_since(since);
                window.since = None;
            }
            _ => return false,
        }
        true
    }

    /// For how long the sender of this direction could take no more data, in microseconds.
    pub(super) fn zero_window_us(&self, now: Time) -> u64 {
        let Some(Trouble { zero_window, .. }) = self.trouble.as_deref() else { return 0 };
        zero_window.before_us + zero_window.since.map_or(0, |since| now.micros_since(since))
    }

    /// Since when the sender of this direction can take no more data, while it cannot.
    pub(super) fn zero_window(&self) -> Option<Time> {
        self.trouble.as_deref()?.zero_window.since
    }

    /// The number before which all payload has passed, seen or left out.
    pub(super) fn in_order(&self) -> Option<u32> {
        let next = self.next?;
        let payload = self.fin.filter(|fin| next.wrapping_sub(*fin).cast_signed() > 0).unwrap_or(next);
        let hole = self.trouble.as_deref().and_then(|trouble| trouble.holes.first());
        Some(hole.unwrap_or(payload))
    }

    /// Notes that events were lost: what is missing may have passed.
    pub(super) fn give_up_holes(&mut self) {
        if let Some(trouble) = &mut self.trouble {
            trouble.holes.give_up();
        }
    }

    /// Notes that the kernel side is told something else of which payload to leave out.
    pub(super) fn told(&mut self) {
        self.is_skipped = false;
    }

    /// Takes a segment into account. `sent` notes when bytes were sent, of the direction that leaves this host.
    pub(super) fn segment(
        &mut self,
        time: Time,
        segment: &Segment<'_>,
        mut sent: Option<&mut Sent>,
    ) -> Passage {
        let mut note_sent = |start: u32, time: Time| {
            if let (Some(sent), 1..) = (&mut sent, segment.length) {
                sent.note(start, time);
            }
        };
        let syn = u32::from(segment.flags.has(Flags::SYN));
        let fin = u32::from(segment.flags.has(Flags::FIN));
        let start = segment.sequence;
        let end = start.wrapping_add(syn).wrapping_add(segment.length).wrapping_add(fin);
        if fin > 0 {
            self.fin = Some(end.wrapping_sub(1));
        }
        // Where segments pass unseen, only with how far they had come it is known that one is missing.
        let are_holes_known = !self.is_skipped || matches!(segment.skipping, Skipping::Since(_));
        self.is_skipped |= segment.skipping != Skipping::No;
        let Some(mut next) = self.next else {
            self.next = Some(end);
            self.bytes = segment.length.into();
            note_sent(start, time);
            return Passage::New;
        };
        // Numbers are compared modulo 2^32: positive means after.
        if let Skipping::Since(left) = segment.skipping {
            let passed = left.next.wrapping_sub(next).cast_signed();
            if passed > 0 {
                note_sent(next, Time(time.0.saturating_sub(u64::from(left.us) * 1_000)));
                self.bytes += u64::from(passed.cast_unsigned());
                next = left.next;
                self.next = Some(next);
            }
        }
        let filled =
            self.trouble.as_deref_mut().and_then(|trouble| trouble.holes.fill(start, end)).map(Passage::Late);
        let beyond = end.wrapping_sub(next).cast_signed();
        if beyond > 0 {
            self.next = Some(end);
            let is_after_hole = start.wrapping_sub(next).cast_signed() > 0;
            if is_after_hole {
                let since = (are_holes_known && segment.direction == Direction::In).then_some(time);
                self.trouble.get_or_insert_default().holes.open(next, start, since);
            }
            note_sent(if is_after_hole { start } else { next }, time);
            self.bytes += u64::from(beyond.cast_unsigned() - (syn + fin).min(beyond.cast_unsigned()));
            return filled.unwrap_or(Passage::New);
        }
        let occupies = syn + segment.length + fin;
        filled.unwrap_or_else(|| {
            if occupies == 0 {
                return Passage::New;
            }
            self.retransmits = self.retransmits.saturating_add(1);
            Passage::Again(sent.and_then(|sent| sent.first(start)))
        })
    }
}

#[cfg(test)]
mod tests {
    use tcp_trace_model::event::Endpoints;

    use super::*;

    impl Sequence {
        /// Takes a segment into account; true when its numbers were used before.
        fn repeats(&mut self, segment: &Segment<'_>) -> bool {
            matches!(self.segment(Time(0), segment, None), Passage::Again(_))
        }
    }

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
            skipping: Default::default(),
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
        assert!(!sequence.repeats(&segment(Flags::SYN, 1000, 0)));
        assert!(!sequence.repeats(&segment(Flags::ACK, 1001, 79)));
        assert!(!sequence.repeats(&segment(Flags::FIN, 1080, 0)));
        assert_eq!(sequence.bytes, 79);
        assert_eq!(sequence.retransmits, 0);
    }

    #[test]
    fn numbers_used_before_are_a_retransmit_and_count_once() {
        let mut sequence = Sequence::default();
        sequence.repeats(&segment(Flags::SYN, 1000, 0));
        assert!(sequence.repeats(&segment(Flags::SYN, 1000, 0)));
        sequence.repeats(&segment(Flags::ACK, 1001, 79));
        assert!(sequence.repeats(&segment(Flags::ACK, 1001, 79)));
        assert!(!sequence.repeats(&segment(Flags::ACK, 1001, 100)), "it brings new bytes as well");
        assert_eq!((sequence.bytes, sequence.retransmits), (100, 2));
    }

    #[test]
    fn segments_that_overtake_each_other_are_no_retransmits() {
        let mut sequence = Sequence::default();
        let mut send = |number: u32| sequence.repeats(&segment(Flags::ACK, number * 100, 100));
        let order = [10, 12, 11, 14, 13];
        assert!(order.into_iter().all(|number| !send(number)));
        assert!(order.into_iter().all(send), "and now they are all sent again");
        assert_eq!((sequence.bytes, sequence.retransmits), (500, 5));
    }

    #[test]
    fn a_pure_ack_is_never_a_retransmit() {
        let mut sequence = Sequence::default();
        sequence.repeats(&segment(Flags::ACK, 1001, 79));
        assert!(!sequence.repeats(&segment(Flags::ACK, 1080, 0)));
        assert!(!sequence.repeats(&segment(Flags::ACK, 1001, 0)));
    }

    #[test]
    fn the_fin_counts_the_bytes_that_nobody_reported() {
        let mut sequence = Sequence::default();
        sequence.repeats(&segment(Flags::SYN, 1000, 0));
        sequence.repeats(&segment(Flags::FIN, 1_001_001, 0));
        assert_eq!(sequence.bytes, 1_000_000);
    }

    #[test]
    fn numbers_wrap_at_two_to_the_32() {
        let mut sequence = Sequence::default();
        sequence.repeats(&segment(Flags::SYN, u32::MAX - 9, 0));
        sequence.repeats(&segment(Flags::ACK, u32::MAX - 8, 100));
        assert!(sequence.repeats(&segment(Flags::ACK, u32::MAX - 8, 100)));
        assert!(!sequence.repeats(&segment(Flags::ACK, 91, 9)));
        assert_eq!(sequence.bytes, 109);
    }
}
