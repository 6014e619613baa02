//! When the bytes of one direction were first sent, of those that may be sent again.

use tcp_trace_model::time::Time;

use super::number::ahead;

/// Points in the sequence of which the time is remembered. When there are more, every two become one.
const MARKS_MAX: usize = 16;

/// Bytes that are not known to be acknowledged, by when they were first sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SendTimes {
    /// Sequence numbers in order, each with a time at which what begins there had been sent up to the next one.
    marks: Vec<(u32, Time)>,
}

impl SendTimes {
    /// Notes that bytes from `sequence` on, behind all before, were sent not later than `time`.
    pub(super) fn note(&mut self, sequence: u32, time: Time) {
        if self.marks.len() == MARKS_MAX {
            // The later of two times is right for both.
            self.marks = self.marks.chunks(2).map(|pair| (pair[0].0, pair[pair.len() - 1].1)).collect();
        }
        if self.marks.capacity() == 0 {
            // Most connections send one message and then wait.
            self.marks.reserve_exact(1);
        }
        self.marks.push((sequence, time));
    }

    /// Forgets what is acknowledged up to `sequence`, of which all before `next` was sent.
    pub(super) fn acknowledged(&mut self, sequence: u32, next: u32) {
        let is_after = |number: u32| ahead(number, sequence) > 0;
        if !is_after(next) {
            self.marks.clear();
            self.marks.shrink_to(1);
            return;
        }
        // A mark is over where the next one begins.
        let over = self.marks.iter().skip(1).take_while(|(start, _)| !is_after(*start)).count();
        self.marks.drain(..over);
    }

    /// When the byte with this number had been sent for the first time; `None` when that is not known.
    pub(super) fn first(&self, sequence: u32) -> Option<Time> {
        let is_behind = |start: u32| ahead(sequence, start) >= 0;
        self.marks.iter().rev().find(|(start, _)| is_behind(*start)).map(|(_, time)| *time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_the_time_of_their_segment_until_they_are_acknowledged() {
        let mut sent = SendTimes::default();
        let start = u32::MAX - 150;
        for segment in 0..3 {
            sent.note(start.wrapping_add(segment * 100), Time(segment.into()));
        }
        let first = |sent: &SendTimes, at: u32| sent.first(start.wrapping_add(at)).map(|time| time.0);
        assert_eq!([0, 99, 100, 299].map(|at| first(&sent, at)), [Some(0), Some(0), Some(1), Some(2)]);
        assert_eq!(sent.first(start - 1), None);
        sent.acknowledged(start.wrapping_add(150), start.wrapping_add(300));
        assert_eq!([99, 150, 250].map(|at| first(&sent, at)), [None, Some(1), Some(2)]);
        sent.acknowledged(start.wrapping_add(300), start.wrapping_add(300));
        assert_eq!(sent, SendTimes::default());
    }

    #[test]
    fn many_segments_are_bounded_and_never_said_to_be_older_than_they_are() {
        let mut sent = SendTimes::default();
        for segment in 0..1000_u32 {
            sent.note(segment * 100, Time(segment.into()));
            assert!(sent.marks.len() <= MARKS_MAX);
        }
        for segment in 0..1000_u32 {
            assert!(sent.first(segment * 100).is_some_and(|time| time.0 >= u64::from(segment)));
        }
    }
}
