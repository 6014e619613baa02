//! One direction of a connection: its numbers, what is missing of it, and its bytes in order (RFC 9293, section 3.4).

use tcp_trace_model::{
    event::{Flags, Segment},
    time::Time,
};

use super::{
    chunk::Chunks,
    held::{Held, HeldPieces, Piece},
    holes::Holes,
    number::{ahead, first},
};

/// A segment further than this from the expected number is not of this connection's window: windows end at 1 GiB
/// (RFC 7323, section 2.3).
const DISTANCE_MAX: u32 = 1 << 30;

/// One direction. It counts bytes from its first segment on, and yields them from [`start`](Self::start) on, or from the
/// first payload.
///
/// Invariants: held payload lies behind the next byte to yield; at most [`HELD_BYTES_MAX`](super::HELD_BYTES_MAX) bytes and
/// [`HELD_SEGMENTS_MAX`](super::HELD_SEGMENTS_MAX) segments are held once all chunks were taken.
#[derive(Debug, Default)]
pub struct Half {
    /// The number after the highest one seen; `None` before the first segment.
    pub(super) highest: Option<u32>,
    /// Number of the FIN.
    pub(super) fin: Option<u32>,
    /// Number of the next byte to yield; `None` before the first.
    next: Option<u32>,
    /// Its offset.
    offset: u64,
    /// The kernel side's skip entry: before which number it hands over no payload.
    pub(super) entry: Option<u32>,
    /// Payload before this number may have passed unreported.
    pub(super) elidable: Option<u32>,
    /// Payload bytes, each counted once, with those that passed before the last one seen.
    pub bytes: u64,
    /// Segments whose numbers had been used before.
    pub retransmits: u32,
    /// Whether segments pass that are not reported.
    pub(super) is_elided: bool,
    /// Whether the FIN has been yielded.
    is_finished: bool,
    /// `None` while there was none.
    pub(super) trouble: Option<Box<Trouble>>,
}

/// What few directions have.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// Numbers below [`Half::highest`] that were not seen.
    pub(super) holes: Holes,
    pub(super) zero_window: ZeroWindow,
    held: HeldPieces,
}

/// When the sender of a direction could take no more data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ZeroWindow {
    /// Since when it cannot.
    since: Option<Time>,
    /// For how long it could not, before that, in microseconds.
    before_us: u64,
}

impl Half {
    /// Sets the number of the first byte, the SYN's plus one. Without it the first payload's counts.
    pub fn start(&mut self, number: u32) {
        self.next.get_or_insert(number);
    }

    /// The number after the highest one seen.
    pub fn highest(&self) -> Option<u32> {
        self.highest
    }

    /// The number of the next byte to yield.
    pub(super) fn next(&self) -> Option<u32> {
        self.next
    }

    /// Bytes that were yielded: the offset of the next one.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the FIN was seen.
    pub fn has_fin(&self) -> bool {
        self.fin.is_some()
    }

    /// Whether payload is held because something before it is missing.
    pub fn has_held(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| !trouble.held.is_empty())
    }

    /// Bytes of memory that held payload takes.
    pub fn held_bytes(&self) -> usize {
        self.trouble.as_ref().map_or(0, |trouble| trouble.held.bytes())
    }

    /// Whether it waits for something that a loss of events may have taken.
    pub fn awaits_bytes(&self) -> bool {
        self.trouble
            .as_ref()
            .is_some_and(|trouble| !trouble.held.is_empty() || trouble.holes.first().is_some())
    }

    /// The number before which all payload has passed, seen or elided.
    fn in_order(&self) -> Option<u32> {
        let highest = self.highest?;
        let payload = self.fin.filter(|fin| ahead(highest, *fin) > 0).unwrap_or(highest);
        let hole = self.trouble.as_deref().and_then(|trouble| trouble.holes.first());
        Some(hole.unwrap_or(payload))
    }

    /// Takes the payload and the FIN of a segment, and yields what is in order now.
    #[inline]
    pub fn read<'a>(&'a mut self, time: Time, segment: &Segment<'a>) -> Chunks<'a> {
        let start = segment.sequence.wrapping_add(segment.flags.has(Flags::SYN).into());
        let piece = match (segment.payload, segment.length) {
            ([], 0) => None,
            ([], length) => Some((start, Piece::Elided(length))),
            (bytes, _) => Some((start, Piece::Bytes(bytes))),
        };
        let is_needed = piece.is_some() || segment.flags.has(Flags::FIN);
        let elided = if is_needed && self.elidable.is_some() {
            self.take_elided(self.in_order().unwrap_or(start))
        } else {
            0
        };
        Chunks { half: self, time, elided, piece, given_up: 0, buffer: Vec::new() }
    }

    /// Notes that all before `number` has passed, a FIN included, and yields what that makes available: what is missing of
    /// it nobody will see. `lasts_until_fin` says that a message lasts until the direction ends.
    pub fn advance_to(&mut self, number: u32, lasts_until_fin: bool, time: Time) -> Chunks<'_> {
        let (mut elided, mut given_up) = (0, 0);
        // One number alone may be that of a FIN that was not seen.
        let has_fin = self.fin.is_some();
        let end = number.wrapping_sub(u32::from(has_fin || lasts_until_fin));
        let distance = self.next.map_or(0, |next| ahead(end, next));
        if distance > i32::from(!has_fin) && distance.unsigned_abs() <= DISTANCE_MAX {
            given_up = self.offset + u64::from(distance.unsigned_abs());
            elided = self.take_elided(end);
        }
        Chunks { half: self, time, elided, piece: None, given_up, buffer: Vec::new() }
    }

    /// Gives up what is missing before something that was seen, because events were lost, and yields that.
    pub fn give_up(&mut self, time: Time) -> Chunks<'_> {
        let mut given_up = 0;
        if let Some(trouble) = &mut self.trouble {
            trouble.holes.give_up();
            given_up = u64::MAX;
        }
        Chunks { half: self, time, elided: 0, piece: None, given_up, buffer: Vec::new() }
    }

    /// Frees what is held: nothing reads this direction any more.
    pub fn discard(&mut self) {
        if let Some(trouble) = &mut self.trouble {
            trouble.held = HeldPieces::default();
        }
    }

    /// Counts what the receiver took, at its end, where that is less than what was sent: before `number` (`rcv_nxt`), a FIN
    /// included. The rest was lost on the way, or refused.
    pub fn received_before(&mut self, number: u32) {
        let surplus = self.highest.map_or(0, |highest| ahead(highest, number));
        if surplus > 0 && surplus.unsigned_abs() <= DISTANCE_MAX {
            let fin = u64::from(self.fin.is_some_and(|fin| ahead(fin, number) >= 0));
            self.bytes = self.bytes.saturating_sub(u64::from(surplus.unsigned_abs()) - fin);
        }
    }

    /// How many bytes have passed unreported where all before `passed` has.
    fn take_elided(&mut self, passed: u32) -> u64 {
        let (Some(until), Some(next)) = (self.elidable, self.next) else { return 0 };
        if ahead(until, passed) <= 0 {
            self.elidable = None;
        }
        ahead(first(until, passed), next).max(0).unsigned_abs().into()
    }

    /// Yields what is new of a payload that is in order, or holds it.
    #[inline]
    pub(super) fn take_piece<'a>(
        &mut self,
        start: u32,
        piece: Piece<'a>,
        time: Time,
    ) -> Option<super::Chunk<'a>> {
        let distance = ahead(start, *self.next.get_or_insert(start));
        if distance.unsigned_abs() > DISTANCE_MAX {
            return None;
        }
        let known = u64::from(distance.unsigned_abs());
        if distance > 0 {
            let offset = self.offset + known;
            self.trouble.get_or_insert_default().held.add(offset, piece, time);
            return None;
        }
        let length = piece.length().checked_sub(known).filter(|length| *length > 0)?;
        let offset = self.advance(length);
        Some(match piece {
            // Less than the length of `bytes`, so it fits.
            Piece::Bytes(bytes) => super::Chunk::Bytes { offset, bytes: &bytes[known as usize..], time },
            Piece::Elided(_) => super::Chunk::Elided { offset, length, time },
        })
    }

    /// Goes on by so many bytes, and gives the offset of the first.
    pub(super) fn advance(&mut self, length: u64) -> u64 {
        let offset = self.offset;
        self.offset += length;
        // Truncation is what sequence numbers do.
        self.next = self.next.map(|next| next.wrapping_add(length as u32));
        offset
    }

    /// Whether the FIN comes next, and has not been yielded.
    pub(super) fn take_fin(&mut self) -> bool {
        let Some(fin) = self.fin.filter(|_| !self.is_finished) else { return false };
        self.is_finished = self.next.is_none_or(|next| next == fin);
        self.is_finished
    }

    /// Where the first held payload begins.
    pub(super) fn first_held(&self) -> Option<u64> {
        self.trouble.as_ref()?.held.first()
    }

    pub(super) fn pop_held(&mut self) -> Option<(Time, Held)> {
        self.trouble.as_mut()?.held.pop()
    }

    pub(super) fn holds_too_much(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.held.is_too_much())
    }

    /// Notes whether the segment's sender can take data; true when the window closes or opens by it.
    pub fn note_window(&mut self, time: Time, segment: &Segment<'_>) -> bool {
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
    pub fn zero_window_us(&self, now: Time) -> u64 {
        let Some(Trouble { zero_window, .. }) = self.trouble.as_deref() else { return 0 };
        zero_window.before_us + zero_window.since.map_or(0, |since| now.micros_since(since))
    }

    /// Since when the sender of this direction can take no more data, while it cannot.
    pub fn zero_window(&self) -> Option<Time> {
        self.trouble.as_deref()?.zero_window.since
    }
}
