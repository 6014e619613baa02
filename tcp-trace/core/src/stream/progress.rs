//! How far a direction has come: how many bytes, what was sent again, and which payload the kernel side may leave out.

use tcp_trace_model::{
    event::{Direction, Flags, Segment, Skipping},
    time::Time,
};

use super::{chunk::Need, half::Half, number::ahead, send_times::SendTimes};

/// How far ahead payload is skipped of a direction that is not read, in bytes: half of what sequence numbers can tell
/// apart, so that they are never taken for old ones.
const AHEAD: u32 = 1 << 30;
/// How far ahead payload is elided whose bytes are counted: half of what sequence numbers can be told apart by here, so
/// that what comes behind it is still known to be ahead.
pub const SKIP_MAX: u32 = 1 << 29;
/// Bytes that are left of a body when it is worth a system call to do without them.
const WORTH_SKIPPING: i32 = 32 << 10;

/// What a segment's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Not used before, or it has none.
    InOrder,
    /// Missing since later ones had been seen; when that was, if it is known that they had not passed unseen.
    OutOfOrder(Option<Time>),
    /// Used before. When they were, if that is known: of the direction that leaves this host.
    Retransmit(Option<Time>),
}

impl Half {
    /// Takes a segment into account. `sent` notes when bytes were sent, of the direction that leaves this host.
    pub(super) fn track(
        &mut self,
        time: Time,
        segment: &Segment<'_>,
        mut sent: Option<&mut SendTimes>,
    ) -> Arrival {
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
        let are_holes_known = !self.is_elided || matches!(segment.skipping, Skipping::Since(_));
        self.is_elided |= segment.skipping != Skipping::No;
        let Some(mut next) = self.highest else {
            self.highest = Some(end);
            self.bytes = segment.length.into();
            note_sent(start, time);
            return Arrival::InOrder;
        };
        if let Skipping::Since(left) = segment.skipping {
            let passed = ahead(left.next, next);
            if passed > 0 {
                note_sent(next, Time(time.0.saturating_sub(u64::from(left.us) * 1_000)));
                self.bytes += u64::from(passed.cast_unsigned());
                next = left.next;
                self.highest = Some(next);
            }
        }
        let filled = self
            .trouble
            .as_deref_mut()
            .and_then(|trouble| trouble.holes.fill(start, end))
            .map(Arrival::OutOfOrder);
        let beyond = ahead(end, next);
        if beyond > 0 {
            self.highest = Some(end);
            let is_after_hole = ahead(start, next) > 0;
            if is_after_hole {
                let since = (are_holes_known && segment.direction == Direction::In).then_some(time);
                self.trouble.get_or_insert_default().holes.open(next, start, since);
            }
            note_sent(if is_after_hole { start } else { next }, time);
            self.bytes += u64::from(beyond.cast_unsigned() - (syn + fin).min(beyond.cast_unsigned()));
            return filled.unwrap_or(Arrival::InOrder);
        }
        let occupies = syn + segment.length + fin;
        filled.unwrap_or_else(|| {
            if occupies == 0 {
                return Arrival::InOrder;
            }
            self.retransmits = self.retransmits.saturating_add(1);
            Arrival::Retransmit(sent.and_then(|sent| sent.first(start)))
        })
    }
    /// What the kernel side's skip entry has to be after a segment: payload of the direction is not needed before the
    /// sequence number (`Some(Some(..))`), or is needed again (`Some(None)`). `None` if the entry is right.
    pub fn want(&mut self, segment: &Segment<'_>, need: Need) -> Option<Option<u32>> {
        if segment.length == 0 || segment.flags.has(Flags::SYN) || segment.flags.has(Flags::FIN) {
            return None;
        }
        let end = segment.sequence.wrapping_add(segment.length);
        let entry = self.entry;
        if entry.is_none() && need == Need::All {
            return None;
        }
        let until = match need {
            Need::All => None,
            Need::From(offset) => self.elide(offset, end),
            Need::Nothing => {
                let is_far = entry.is_some_and(|entry| ahead(entry, end) > AHEAD.cast_signed() / 2);
                if is_far { entry } else { Some(end.wrapping_add(AHEAD)) }
            }
        };
        // A stale entry has to be cleared before numbers wrap around to it.
        let until = until.filter(|until| ahead(*until, end) > 0);
        self.entry = until;
        (until != entry).then(|| {
            // Holes are unknown until the next report.
            self.is_elided = false;
            until
        })
    }

    /// The entry that lets payload before `offset` pass unreported after `end`, if it is worth that.
    fn elide(&mut self, offset: u64, end: u32) -> Option<u32> {
        let length = offset.checked_sub(self.offset()).filter(|length| *length > 0)?;
        // At most SKIP_MAX, so it fits.
        let until = self.next()?.wrapping_add(length.min(SKIP_MAX.into()) as u32);
        let left = ahead(until, end);
        // An entry holds as long as it lasts: of a body whose end is not known, there is always more.
        let is_enough = |entry: &u32| *entry == until || (WORTH_SKIPPING..left).contains(&ahead(*entry, end));
        if self.entry.as_ref().is_some_and(is_enough) {
            return self.entry;
        }
        if left < WORTH_SKIPPING {
            return None;
        }
        self.elidable = Some(until);
        Some(until)
    }
}
