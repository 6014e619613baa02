//! What the segments of a direction say by their numbers: how many bytes, what came late, and what was sent again.

use tcp_trace_model::{
    event::{Direction, Elision, Flags, Segment, State},
    time::Time,
};

use super::{
    half::{Fin, Trouble},
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
    /// The number of the first byte, the SYN's plus one, when the SYN was seen.
    pub(super) first: Option<u32>,
    /// The number after the highest one seen; `None` before the first segment.
    pub(super) highest: Option<u32>,
    /// Payload bytes, each counted once, with those that passed before the last one seen.
    pub bytes: u64,
    /// Segments whose numbers had been used before.
    pub retransmits: u32,
    /// Whether segments pass that are not reported.
    pub(super) is_elided: bool,
    /// Whether a SYN+ACK was seen: that of a simultaneous open has the number of the SYN before it (RFC 9293, section 3.5).
    has_syn_ack: bool,
}

/// Where a direction ended, as the kernel's socket knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The number after the last one.
    pub number: u32,
    /// Whether that is the FIN's.
    pub has_fin: bool,
    /// What it says of all that passed.
    pub extent: Extent,
}

/// What the number at which a direction ended says of all that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// It lies before it.
    Exact,
    /// There may be more.
    AtLeast,
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
        if segment.flags.has(Flags::SYN) && !self.note_syn(segment) {
            return Arrival::InOrder;
        }
        let syn = u32::from(segment.flags.has(Flags::SYN));
        let fin = u32::from(segment.flags.has(Flags::FIN));
        let start = segment.sequence;
        let end = start.wrapping_add(syn).wrapping_add(segment.length).wrapping_add(fin);
        let is_first_fin = fin > 0 && fin_seen.number().is_none();
        if fin > 0 {
            fin_seen.set(end.wrapping_sub(1));
        }
        // Where segments pass unseen, only with how far they had come it is known that one is missing.
        let are_holes_known = !self.is_elided || matches!(segment.elision, Elision::After(_));
        self.is_elided |= segment.elision != Elision::None;
        let Some(mut next) = self.highest else {
            if !is_counted(segment) {
                return Arrival::InOrder;
            }
            self.note_syn_ack(segment);
            self.highest = Some(end);
            self.bytes = segment.length.into();
            note_sent(start, time);
            return Arrival::InOrder;
        };
        if let Elision::After(left) = segment.elision {
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
            if !is_counted(segment) {
                return Arrival::InOrder;
            }
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
            if occupies == 0 || self.note_syn_ack(segment) {
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

    /// Notes where a direction begins: whether a SYN is of this connection.
    fn note_syn(&mut self, segment: &Segment<'_>) -> bool {
        let first = segment.sequence.wrapping_add(1);
        if self.first == Some(first) {
            return true;
        }
        // Before it is synchronised, the last one counts: the kernel refused the one before, or what came before any.
        let is_open = matches!(segment.state, Some(State::SynSent)) && segment.direction == Direction::In;
        if is_open {
            *self = Self { retransmits: self.retransmits, ..Self::default() };
        }
        let is_of_connection = self.highest.is_none();
        if is_of_connection {
            self.first = Some(first);
        }
        is_of_connection
    }

    /// Notes a SYN+ACK. Whether it is one, and the first of the direction.
    fn note_syn_ack(&mut self, segment: &Segment<'_>) -> bool {
        segment.flags.has(Flags::SYN.with(Flags::ACK)) && !std::mem::replace(&mut self.has_syn_ack, true)
    }

    /// Counts the bytes before `end`, by what the kernel's socket knows, see [`Half::count_to`](super::Half::count_to).
    pub(super) fn count_to(&mut self, first: Option<u32>, end: End, fin: Fin) {
        let End { number, has_fin, extent } = end;
        let payload = number.wrapping_sub(has_fin.into());
        let off = match (self.first.or(first), self.highest) {
            // Truncation is what sequence numbers do.
            (Some(first), _) => ahead(payload.wrapping_sub(first), self.bytes as u32),
            (None, Some(highest)) => {
                ahead(payload, fin.number().filter(|fin| ahead(highest, *fin) > 0).unwrap_or(highest))
            }
            (None, None) => return,
        };
        if extent == Extent::Exact || off > 0 {
            self.bytes = self.bytes.saturating_add_signed(off.into());
            self.highest = Some(number);
        }
    }
}

/// Whether a segment's number says how far its sender has come. That of an RST need not: one that answers a segment to
/// nobody has the number that this acknowledges (`tcp_v4_send_reset()`), and one that arrives may be refused.
fn is_counted(segment: &Segment<'_>) -> bool {
    let is_own =
        segment.direction == Direction::Out && segment.flags.has(Flags::ACK) && segment.sequence != 0;
    let is_reset = segment.flags.has(Flags::RST);
    // Nothing arrives before the SYN.
    let is_early = segment.state == Some(State::SynSent) && segment.direction == Direction::In;
    if is_reset { is_own } else { segment.flags.has(Flags::SYN) || !is_early }
}
