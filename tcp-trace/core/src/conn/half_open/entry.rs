//! One half-open connection.

use tcp_trace_model::{
    event::{Cookie, Direction, Flags, Segment},
    refusal::{Refusal, Refusals, Verdict},
    time::Time,
};

use super::{super::refused::end, HeldSegment, LISTED_AFTER_US};
use crate::stream::ahead;

/// Segments that are held of each: retransmits of a stubborn client, and data that came with the ACK.
const SEGMENTS_MAX: usize = 32;
/// Payload bytes that are held of each.
const PAYLOAD_MAX: usize = 65_536;
/// Refused ones among the segments that are held: they leave room for the others.
const REFUSED_MAX: usize = SEGMENTS_MAX / 2;
/// The window of a half-open connection at the most, bytes (`tcp_synack_window()`).
const WINDOW: i32 = 65_535;

/// What a segment does that was taken.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// How many SYNs came before the one that it answers.
    pub(super) unanswered: u32,
    /// Whether it ends the half-open connection.
    pub(super) is_over: bool,
}

/// What is known of it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) listener: Cookie,
    pub(super) segments: Vec<HeldSegment>,
    /// Which of them is the SYN that was answered, once one was.
    pub(super) answered: Option<usize>,
    payload: usize,
    /// How many of those that were refused are not held, by the reason.
    pub(super) refused: Refusals,
    /// When the kernel listed it last.
    pub(super) listed: Option<Time>,
    /// A SYN with another sequence number, which was not answered yet.
    pub(super) rival: Option<HeldSegment>,
}

/// The number that acknowledges a SYN, or a SYN+ACK, without what it carries.
pub(super) fn answer_to(syn: &Segment<'_>) -> u32 {
    syn.sequence.wrapping_add(1)
}

impl Entry {
    pub(super) fn new(listener: Cookie, segments: Vec<HeldSegment>) -> Self {
        Self {
            listener,
            segments,
            answered: None,
            payload: 0,
            refused: Refusals::new(),
            listed: None,
            rival: None,
        }
    }

    /// Whether the kernel takes a segment that arrives (`tcp_check_req()`), where the answer to the SYN was seen. It keeps nothing with
    /// which it could compare where it answered with a SYN cookie, which is not seen.
    fn judge(&self, segment: &Segment<'_>) -> Verdict {
        let Some(answer) =
            self.syn_ack().filter(|_| !self.is_fast_open() && segment.verdict == Verdict::Taken)
        else {
            return segment.verdict;
        };
        let (first, flags) = (answer.segment.acknowledgment, segment.flags);
        let is_syn_again = flags.has(Flags::SYN)
            && !flags.has(Flags::ACK)
            && !flags.has(Flags::RST)
            && answer_to(segment) == first;
        if segment.direction == Direction::Out || is_syn_again {
            return Verdict::Taken;
        }
        if flags.has(Flags::ACK) && segment.acknowledgment != answer_to(&answer.segment) {
            return Verdict::Refused(Refusal::InvalidAckSequence);
        }
        let off = ahead(segment.sequence, first);
        let is_in_window = off == 0 || off < WINDOW && ahead(end(segment), first) > 0;
        if !is_in_window {
            return Verdict::Refused(Refusal::InvalidSequence);
        }
        let is_dropped = !flags.has(Flags::ACK) && !flags.has(Flags::SYN) && !flags.has(Flags::RST);
        if is_dropped { Verdict::Refused(Refusal::Flags) } else { Verdict::Taken }
    }

    /// Takes a segment; `None` when there is no room for it.
    pub(super) fn hold(&mut self, time: Time, segment: &Segment<'_>) -> Option<Held> {
        let verdict = self.judge(segment);
        if let Verdict::Refused(why) = verdict {
            let is_refused = |held: &&HeldSegment| matches!(held.segment.verdict, Verdict::Refused(_));
            let has_room = self.segments.iter().filter(is_refused).count() < REFUSED_MAX;
            let segment = Segment { payload: &[], verdict, ..segment.clone() };
            if has_room {
                self.segments.push(HeldSegment::new(time, &segment));
            } else {
                *self.refused.entry(why).or_default() += 1;
            }
            return Some(Held::default());
        }
        if self.segments.len() >= SEGMENTS_MAX || self.payload + segment.payload.len() > PAYLOAD_MAX {
            return None;
        }
        self.payload += segment.payload.len();
        let is_first_answer = self.answered.is_none() && self.is_answer(segment);
        let unanswered = if is_first_answer { self.answer() } else { 0 };
        self.segments.push(HeldSegment::new(time, segment));
        Some(Held { unanswered, is_over: self.is_reset_by(segment) })
    }

    /// When it was there last, for a list that was read from `time` on and lacks it; `None` where that shows nothing: something passed
    /// since, or its last answer has just left, or was not seen.
    pub(super) fn last_there(&self, time: Time) -> Option<Time> {
        let answer = self.segments.iter().rfind(|held| held.segment.direction == Direction::Out);
        let answered = answer.map(|answer| answer.time);
        let is_over = self.segments.iter().all(|held| held.time < time)
            && (self.listed.is_some()
                || answered.is_some_and(|answered| time.micros_since(answered) >= LISTED_AFTER_US));
        self.listed.max(answered).filter(|_| is_over)
    }

    /// The first answer to its SYN.
    fn syn_ack(&self) -> Option<&HeldSegment> {
        self.segments.iter().find(|held| held.segment.direction == Direction::Out)
    }

    /// Whether the SYN made a socket with what it carries (RFC 7413): before it is answered, or as the answer says.
    fn is_fast_open(&self) -> bool {
        let is_syn = |held: &&HeldSegment| {
            held.segment.direction == Direction::In && held.segment.flags.has(Flags::SYN)
        };
        let syn = self.segments.first().filter(is_syn).map(|syn| answer_to(&syn.segment));
        match self.syn_ack() {
            Some(answer) => syn.is_some_and(|syn| answer.segment.acknowledgment != syn),
            None => self.segments.iter().all(|held| is_syn(&held)),
        }
    }

    /// What passed of it, which is a socket now. Without Fast Open, the kernel does not take what a SYN carries; and of what came with
    /// its acknowledgment only the last copy, which made the socket: before there was no room for one.
    pub(super) fn into_segments(self) -> Vec<HeldSegment> {
        let is_fast_open = self.is_fast_open();
        let mut segments = self.segments;
        let mut last = None;
        for held in segments.iter_mut().rev().filter(|held| !held.payload.is_empty()) {
            let is_copied = last.is_some_and(|last| ahead(end(&held.segment), last) > 0);
            if is_copied || held.segment.flags.has(Flags::SYN) && !is_fast_open {
                held.segment.verdict = Verdict::WithoutPayload;
            }
            last.get_or_insert(held.segment.sequence);
        }
        segments
    }

    /// Whether a segment shows that a SYN was answered: the answer, or what acknowledges one that was not seen. A SYN cookie
    /// leaves without a socket, and Linux 6.1 does not show the answers of IPv6 listeners to cgroup programs.
    fn is_answer(&self, segment: &Segment<'_>) -> bool {
        let is_third = segment.flags.has(Flags::ACK) && !segment.flags.has(Flags::RST);
        segment.direction == Direction::Out || !self.segments.is_empty() && is_third
    }

    /// Notes that the last of its SYNs is answered: how many came before.
    fn answer(&mut self) -> u32 {
        let last = self.segments.len().saturating_sub(1);
        self.answered = Some(last);
        u32::try_from(last).unwrap_or(u32::MAX)
    }

    /// How many SYNs it has, when none was answered.
    pub(super) fn syns(&self) -> u32 {
        let is_syn = |held: &&HeldSegment| held.segment.flags.has(Flags::SYN);
        u32::try_from(self.segments.iter().filter(is_syn).count()).unwrap_or(u32::MAX)
    }

    /// When it began.
    pub(super) fn began(&self) -> Option<Time> {
        self.segments.get(self.answered.unwrap_or(0)).map(|held| held.time)
    }

    /// Whether it has a SYN+ACK, or is listed: the kernel has made a half-open connection of it.
    pub(super) fn is_known(&self) -> bool {
        self.listed.is_some() || self.syn_ack().is_some()
    }

    /// Whether an RST ends it (`tcp_check_req()`). The client's has to have a number that is expected. One that answers its
    /// third segment, because the queue is full (`tcp_abort_on_overflow`), has the number that this acknowledges.
    fn is_reset_by(&self, segment: &Segment<'_>) -> bool {
        if !segment.flags.has(Flags::RST) {
            return false;
        }
        let answer = self.syn_ack();
        let syn = self.segments.first().map(|first| first.segment.sequence);
        match segment.direction {
            Direction::Out => answer.is_none_or(|held| answer_to(&held.segment) == segment.sequence),
            Direction::In => {
                syn.is_some_and(|syn| (0..=WINDOW).contains(&ahead(segment.sequence, syn.wrapping_add(1))))
            }
        }
    }
}
