//! Segments that arrived and that the kernel refused, and those of which that is not known yet.

use std::collections::VecDeque;

use tcp_trace_model::{
    event::{Direction, Flags, Segment},
    record::{self, FlagNames},
    refusal::{Refusal, Refusals, Verdict},
    time::Time,
};

use super::{Connection, half_open::HeldSegment};
use crate::stream::{HELD_BYTES_MAX, ahead};

/// Refused segments of a connection that have a line of their own; further ones are counted only.
pub const REFUSED_RECORDED_MAX: u32 = 64;
/// Segments of a connection that wait until it is known whether the kernel took them. Of more, the oldest is lost; also where their
/// payload and what the direction holds already are more than [`HELD_BYTES_MAX`].
pub const UNSURE_MAX: usize = 32;

/// The kernel's reason for the RST of a socket that does not wait for the peer's FIN (`SK_RST_REASON_TCP_ABORT_ON_LINGER`).
const ABORT_ON_LINGER: &str = "TCP_ABORT_ON_LINGER";

/// What few connections have.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// How many, by the reason.
    pub(super) counts: Refusals,
    recorded: u32,
    /// The last one: the kernel may answer it with an RST.
    last: Option<(Refusal, Numbers)>,
    /// Those of which it is not known. Oldest first.
    unsure: VecDeque<Unsure>,
}

/// A segment of which it is not known whether the kernel took it.
#[derive(Debug)]
struct Unsure {
    held: HeldSegment,
    /// Why not, if it did not.
    why: Refusal,
    /// Whether something before it was missing when it came: `rcv_nxt` does not tell whether it was taken.
    is_ahead: bool,
}

/// Sequence number, and the acknowledged one where there is any.
type Numbers = (u32, Option<u32>);

/// Those of the RST that answers a segment (RFC 9293, section 3.10.7.1).
fn reset_for(segment: &Segment<'_>) -> Numbers {
    if segment.flags.has(Flags::ACK) { (segment.acknowledgment, None) } else { (0, Some(end(segment))) }
}

/// What became of a segment that waited.
#[derive(Debug)]
pub enum Settled {
    /// The kernel took it.
    Taken(HeldSegment),
    /// It was refused; its line, where it has one.
    Refused(Option<record::Segment>),
    /// A copy of it is taken now: one of both is a retransmit.
    Copied(HeldSegment),
    /// The kernel took it, or another one with the same numbers and other bytes; or nothing shows any more what became of it.
    Lost,
}

/// What tells whether the kernel took segments that wait.
#[derive(Clone, Copy, Debug)]
pub enum Proof<'a> {
    /// All before this number was received.
    Received(u32),
    /// This segment is taken now: nothing of it was received before in order.
    Taken(&'a Segment<'a>),
    /// What was received before this number is all.
    Closed(u32),
}

/// What a proof shows of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// Nothing.
    Nothing,
    /// It was taken.
    Taken,
    /// It was refused.
    Refused,
    /// A copy of it is taken: whether it was before, or was refused, makes no difference.
    Copied,
    /// Neither can be shown any more.
    Unknown,
}

/// The number after a segment's last one.
pub(super) fn end(segment: &Segment<'_>) -> u32 {
    let control = u32::from(segment.flags.has(Flags::SYN)) + u32::from(segment.flags.has(Flags::FIN));
    segment.sequence.wrapping_add(segment.length).wrapping_add(control)
}

/// Whether a segment has bytes at the number of another's FIN, or behind it.
fn is_behind_fin(segment: &Segment<'_>, other: &Segment<'_>) -> bool {
    let syn = u32::from(segment.flags.has(Flags::SYN));
    let last = segment.sequence.wrapping_add(syn).wrapping_add(segment.length);
    segment.length > 0 && other.flags.has(Flags::FIN) && ahead(last, end(other)) >= 0
}

/// Whether two segments have different bytes with the same numbers.
fn differ(one: &Segment<'_>, other: &Segment<'_>) -> bool {
    let off = ahead(other.sequence, one.sequence);
    let (first, second) = if off >= 0 { (one, other) } else { (other, one) };
    let behind = first.payload.get(off.unsigned_abs() as usize..).unwrap_or_default();
    behind.iter().zip(second.payload).any(|(one, other)| one != other)
}

impl<'a> Proof<'a> {
    /// What a segment proves, of those that arrived before it.
    pub fn of(segment: &'a Segment<'a>) -> Option<Self> {
        match (segment.direction, segment.verdict) {
            (Direction::Out, _) if segment.flags.has(Flags::ACK) => {
                Some(Self::Received(segment.acknowledgment))
            }
            (Direction::In, Verdict::Old) => Some(Self::Received(end(segment))),
            (Direction::In, Verdict::Taken) if end(segment) != segment.sequence => Some(Self::Taken(segment)),
            _ => None,
        }
    }

    fn shows(self, unsure: &Unsure) -> Shown {
        let segment = unsure.held.segment();
        let (first, last) = (segment.sequence, end(&segment));
        match self {
            // Nothing is received behind the FIN.
            Self::Received(number) | Self::Closed(number)
                if ahead(number, last) > 0 && segment.flags.has(Flags::FIN) =>
            {
                Shown::Refused
            }
            Self::Received(number) | Self::Closed(number) if ahead(number, last) >= 0 => Shown::Taken,
            Self::Received(_) => Shown::Nothing,
            Self::Closed(_) if unsure.is_ahead => Shown::Unknown,
            Self::Closed(_) => Shown::Refused,
            // Nothing else has the number of the FIN.
            Self::Taken(copy) if is_behind_fin(copy, &segment) || is_behind_fin(&segment, copy) => {
                Shown::Refused
            }
            Self::Taken(copy) => {
                let (from, to) = (copy.sequence, end(copy));
                let overlap = ahead(to, first) > 0 && ahead(last, from) > 0;
                let is_within = ahead(first, from) >= 0 && ahead(to, last) >= 0;
                // Of one whose payload is not needed, the numbers alone say that nothing was received before.
                let has_bytes = copy.payload.len() == copy.length as usize;
                match !has_bytes || differ(&segment, copy) {
                    _ if !overlap => Shown::Nothing,
                    true if unsure.is_ahead => Shown::Unknown,
                    true => Shown::Refused,
                    false if is_within => Shown::Copied,
                    false => Shown::Nothing,
                }
            }
        }
    }
}

impl Connection {
    /// Notes that the kernel refused a segment, and gives its line.
    pub fn refuse(&mut self, time: Time, segment: &Segment<'_>, why: Refusal) -> Option<record::Segment> {
        if segment.flags.has(Flags::SYN.with(Flags::ACK))
            && let Some(handshake) = &mut self.handshake
        {
            handshake.refused_answer();
        }
        let connection = self.info().clone();
        let refused = self.socket.refused.get_or_insert_default();
        *refused.counts.entry(why).or_default() += 1;
        refused.last = Some((why, reset_for(segment)));
        if refused.recorded == REFUSED_RECORDED_MAX {
            return None;
        }
        refused.recorded += 1;
        Some(record::Segment {
            time,
            connection,
            direction: segment.direction,
            flags: FlagNames(segment.flags),
            seq: segment.sequence,
            ack: segment.flags.has(Flags::ACK).then_some(segment.acknowledgment),
            length: segment.length,
            retransmit: false,
            refused: Some(why),
        })
    }

    /// The line of an RST with which the kernel answers a segment for this reason, where no program sees it leave: that of an IPv6
    /// socket, since Linux 6.13. `None` also where its numbers are not known.
    pub fn unseen_reset(&mut self, time: Time, reason: &str) -> Option<record::Segment> {
        let is_unseen = self.ending().reset.is_none() && self.endpoints()?.peer.is_ipv6();
        let refused = self.socket.refused.as_mut().and_then(|refused| refused.last.take());
        let answers_refused = refused.filter(|(why, _)| why.name() == reason).map(|(_, numbers)| numbers);
        let (seq, ack) = answers_refused.or_else(|| self.reset_for_last_acknowledgment(reason))?;
        let flags = if ack.is_some() { Flags::RST.with(Flags::ACK) } else { Flags::RST };
        if is_unseen {
            self.ending_mut().recorded_reset = Some(seq);
        }
        is_unseen.then(|| record::Segment {
            time,
            connection: self.info().clone(),
            direction: Direction::Out,
            flags: FlagNames(flags),
            seq,
            ack,
            length: 0,
            retransmit: false,
            refused: None,
        })
    }

    /// That of the RST which answers the acknowledgment of the own FIN, where nobody waits for the peer's (TCP_LINGER2 below 0).
    fn reset_for_last_acknowledgment(&self, reason: &str) -> Option<Numbers> {
        let (Some([acknowledged, _]), Some(sent)) = (self.ending().passed, self.ending().sent_to) else {
            return None;
        };
        (reason == ABORT_ON_LINGER && acknowledged == sent).then_some((sent, None))
    }

    /// Counts segments that were refused and have no line.
    pub fn count_refused(&mut self, refused: &Refusals) {
        for (why, count) in refused {
            *self.socket.refused.get_or_insert_default().counts.entry(*why).or_default() += count;
        }
    }

    /// Why the kernel cannot have taken a segment, whatever it acknowledges: it has a FIN that lies before what has passed, and nobody
    /// sends on behind its own; or bytes behind the FIN that came.
    pub fn contradicts(&self, segment: &Segment<'_>) -> Option<Refusal> {
        let half = self.stream.half(segment.direction);
        let is_before = |next: u32| ahead(next, end(segment)) >= 0;
        let last = segment.sequence.wrapping_add(segment.length);
        if segment.flags.has(Flags::FIN) && !half.has_fin() && half.passed().is_some_and(is_before) {
            Some(Refusal::OldSequence)
        } else if segment.length > 0 && half.is_behind_fin(last) {
            Some(Refusal::AfterFin)
        } else {
            None
        }
    }

    /// Keeps a segment until it is known whether the kernel took it. Gives how many of those that waited are lost for it, oldest first:
    /// nothing has shown what became of them.
    pub fn hold_unsure(&mut self, time: Time, segment: &Segment<'_>, why: Refusal) -> u32 {
        let half = self.stream.half(segment.direction);
        let held = half.held_bytes();
        let is_ahead = half.in_order().is_some_and(|next| ahead(segment.sequence, next) > 0);
        let unsure = &mut self.socket.refused.get_or_insert_default().unsure;
        unsure.push_back(Unsure { held: HeldSegment::new(time, segment), why, is_ahead });
        let mut bytes = held + unsure.iter().map(|unsure| unsure.held.segment().payload.len()).sum::<usize>();
        let mut lost = 0;
        while unsure.len() > UNSURE_MAX || bytes > HELD_BYTES_MAX {
            let Some(oldest) = unsure.pop_front() else { break };
            bytes -= oldest.held.segment().payload.len();
            lost += 1;
        }
        lost
    }

    /// Forgets the segments that wait, because nothing more comes: how many were lost with them. Acknowledgments alone say nothing
    /// that is missed.
    pub fn forget_unsure(&mut self) -> u32 {
        let Some(refused) = &mut self.socket.refused else { return 0 };
        let lost = refused.unsure.drain(..).filter(|unsure| {
            let segment = unsure.held.segment();
            end(&segment) != segment.sequence
        });
        u32::try_from(lost.count()).unwrap_or(u32::MAX)
    }

    /// Whether segments wait.
    #[inline]
    pub fn has_unsure(&self) -> bool {
        self.socket.refused.as_ref().is_some_and(|refused| !refused.unsure.is_empty())
    }

    /// What becomes of the segments that wait, oldest first. Of copies with different bytes it is not known which one was taken.
    pub fn settle(&mut self, proof: Proof<'_>) -> Vec<Settled> {
        let Some(refused) = &mut self.socket.refused else { return Vec::new() };
        let waiting = Vec::from(std::mem::take(&mut refused.unsure));
        let shown: Vec<_> = waiting.iter().map(|unsure| proof.shows(unsure)).collect();
        let is_ambiguous = |number: usize| {
            let segment = waiting[number].held.segment();
            let mut others = waiting.iter().zip(&shown).filter(|(_, shown)| **shown != Shown::Refused);
            others.any(|(other, _)| differ(&segment, &other.held.segment()))
        };
        let ambiguous: Vec<_> = shown
            .iter()
            .enumerate()
            .map(|(number, shown)| *shown == Shown::Taken && is_ambiguous(number))
            .collect();
        let mut known = Vec::new();
        for ((unsure, shown), is_ambiguous) in waiting.into_iter().zip(shown).zip(ambiguous) {
            let Unsure { held, why, .. } = &unsure;
            match shown {
                Shown::Unknown => known.push(Settled::Lost),
                Shown::Taken if is_ambiguous => known.push(Settled::Lost),
                Shown::Taken => known.push(Settled::Taken(self.believe(unsure.held))),
                Shown::Refused => {
                    known.push(Settled::Refused(self.refuse(held.time, &held.segment(), *why)));
                }
                Shown::Copied => known.push(Settled::Copied(self.believe(unsure.held))),
                Shown::Nothing => self.socket.refused.get_or_insert_default().unsure.push_back(unsure),
            }
        }
        known
    }

    /// What a segment that was received, or that had nothing new, says: not that what was never sent has been received.
    fn believe(&self, held: HeldSegment) -> HeldSegment {
        let segment = held.segment();
        let sent = self.stream.half(segment.direction.opposite());
        let known = sent.in_order().and_then(|_| sent.highest());
        let is_unsent = known.is_some_and(|highest| ahead(segment.acknowledgment, highest) > 0);
        if is_unsent { held.without_acknowledgment() } else { held }
    }

    /// Whether a segment without payload may have been reported for no more than what it shows of segments that wait. Of a connection
    /// that had none, the kernel side reports only those of handshake, windows and close.
    pub(super) fn may_only_settle(&self, segment: &Segment<'_>) -> bool {
        let of_fin = self.stream.half(segment.direction.opposite()).ends_with_fin(segment.acknowledgment);
        self.socket.refused.is_some() && !of_fin
    }

    /// Whether a segment is the connection's own SYN or SYN+ACK again: the kernel answers with what it answered before.
    pub fn is_own_syn(&self, segment: &Segment<'_>) -> bool {
        let is_syn =
            segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::FIN) && !segment.flags.has(Flags::RST);
        is_syn
            && self.stream.half(segment.direction).began_with(segment.sequence)
            && self.handshake.as_ref().is_some_and(|handshake| handshake.repeats(segment))
    }
}
