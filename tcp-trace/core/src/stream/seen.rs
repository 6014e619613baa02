//! What the segments of a direction say by their numbers: how many bytes, what came late, and what was sent again.

use tcp_trace_model::{
    event::{Direction, Flags, Segment, Skipping},
    time::Time,
};

use super::{
    half::{DISTANCE_MAX, Fin, Trouble},
    number::ahead,
    send_times::SendTimes,
};

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

/// What was seen of a direction, whether it is read or not.
#[derive(Debug, Default)]
pub struct Seen {
    /// The number after the highest one seen; `None` before the first segment.
    pub(super) highest: Option<u32>,
    /// Payload bytes, each counted once, with those that passed before the last one seen.
    pub bytes: u64,
    /// Segments whose numbers had been used before.
    pub retransmits: u32,
    /// Whether segments pass that are not reported.
    pub(super) is_elided: bool,
}

impl Seen {
    /// Takes a segment into account. `sent` notes when bytes were sent, of the direction that leaves this host.
    pub(super) fn track(
        &mut self,
        time: Time,
        segment: &Segment<'_>,
        mut sent: Option<&mut SendTimes>,
        fin_seen: &mut Fin,
        trouble: &mut Option<Box<Trouble>>,
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
        let is_first_fin = fin > 0 && fin_seen.number().is_none();
        if fin > 0 {
            fin_seen.set(end.wrapping_sub(1));
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
        let filled = trouble
            .as_deref_mut()
            .and_then(|trouble| trouble.holes.fill(start, end))
            .map(Arrival::OutOfOrder);
        let beyond = ahead(end, next);
        if beyond > 0 {
            self.highest = Some(end);
            let is_after_hole = ahead(start, next) > 0;
            if is_after_hole {
                let since = (are_holes_known && segment.direction == Direction::In).then_some(time);
                trouble.get_or_insert_default().holes.open(next, start, since);
            }
            note_sent(if is_after_hole { start } else { next }, time);
            self.bytes += u64::from(beyond.cast_unsigned() - (syn + fin).min(beyond.cast_unsigned()));
            return filled.unwrap_or(Arrival::InOrder);
        }
        if is_first_fin {
            // Something behind it came first, and its number was taken for that of a byte.
            self.bytes = self.bytes.saturating_sub(1);
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

    /// The number before which all payload has passed, seen or elided.
    pub(super) fn in_order(&self, fin: Fin, trouble: Option<&Trouble>) -> Option<u32> {
        let highest = self.highest?;
        let payload = fin.number().filter(|fin| ahead(highest, *fin) > 0).unwrap_or(highest);
        Some(trouble.and_then(|trouble| trouble.holes.first()).unwrap_or(payload))
    }

    /// Counts what the receiver took, see [`Half::received_before`](super::Half::received_before).
    pub(super) fn received_before(&mut self, number: u32, fin: Fin) {
        let surplus = self.highest.map_or(0, |highest| ahead(highest, number));
        if surplus > 0 && surplus.unsigned_abs() <= DISTANCE_MAX {
            let fin = u64::from(fin.number().is_some_and(|fin| ahead(fin, number) >= 0));
            self.bytes = self.bytes.saturating_sub(u64::from(surplus.unsigned_abs()) - fin);
        }
    }
}
