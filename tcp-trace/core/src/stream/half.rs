//! One direction of a connection: its numbers, what is missing of it, and its bytes in order (RFC 9293, section 3.4).

use tcp_trace_model::{
    event::{Elision as SegmentElision, Flags, Segment},
    time::Time,
};

use super::{
    chunk::{Chunks, Need},
    cursor::Cursor,
    elision::Elision,
    held::{HeldPieces, Piece},
    holes::Holes,
    number::ahead,
    seen::{Arrival, End, Seen},
    send_times::SendTimes,
    zero_window::ZeroWindow,
};

/// A segment further than this from the expected number is not of this connection's window: windows end at 1 GiB
/// (RFC 7323, section 2.3).
pub(super) const DISTANCE_MAX: u32 = 1 << 30;

/// One direction. It counts bytes from its first segment on, and yields them from [`start`](Self::start) on, or from the
/// first payload.
///
/// Invariants: held payload lies behind the next byte to yield; at most [`HELD_BYTES_MAX`](super::HELD_BYTES_MAX) bytes and
/// [`HELD_SEGMENTS_MAX`](super::HELD_SEGMENTS_MAX) segments are held once all chunks were taken.
#[derive(Debug, Default)]
pub struct Half {
    /// What its segments' numbers say.
    pub seen: Seen,
    /// How far it was yielded.
    pub(super) cursor: Cursor,
    pub(super) fin: Fin,
    pub(super) elision: Elision,
    /// `None` while there was none.
    pub(super) trouble: Option<Box<Trouble>>,
}

/// The end of a direction, by the number of its FIN.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Fin {
    /// Not seen.
    #[default]
    Unseen,
    /// Seen, and not yielded: something before it may be missing.
    Seen(u32),
    /// Yielded.
    Yielded(u32),
}

impl Fin {
    pub(super) fn number(self) -> Option<u32> {
        match self {
            Self::Unseen => None,
            Self::Seen(number) | Self::Yielded(number) => Some(number),
        }
    }

    /// Notes the number of a FIN that was seen.
    pub(super) fn set(&mut self, number: u32) {
        *self = if matches!(self, Self::Yielded(_)) { Self::Yielded(number) } else { Self::Seen(number) };
    }

    /// Whether it comes next, after the byte before `next`, and has not been yielded.
    fn take(&mut self, next: Option<u32>) -> bool {
        match *self {
            Self::Seen(number) if next.is_none_or(|next| next == number) => {
                *self = Self::Yielded(number);
                true
            }
            _ => false,
        }
    }
}

/// What few directions have.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// Numbers below [`Seen::highest`] that were not seen.
    pub(super) holes: Holes,
    pub(super) held: HeldPieces,
    zero_window: ZeroWindow,
}

impl Half {
    /// Sets the number of the first byte, the SYN's plus one. Without it the first payload's counts.
    pub fn start(&mut self, number: u32) {
        self.cursor.start(number);
    }

    /// Whether its SYN was seen with this number.
    pub fn began_with(&self, syn: u32) -> bool {
        self.seen.first == Some(syn.wrapping_add(1))
    }

    /// The number after the highest one seen.
    pub fn highest(&self) -> Option<u32> {
        self.seen.highest
    }

    /// The number before which all payload has passed; `None` where segments pass unseen.
    pub fn in_order(&self) -> Option<u32> {
        self.passed().filter(|_| !self.seen.is_elided)
    }

    /// A number before which all payload has passed. Where segments pass unseen, more may have.
    pub fn passed(&self) -> Option<u32> {
        self.seen.in_order(self.fin, self.trouble.as_deref())
    }

    /// Bytes that were yielded: the offset of the next one.
    pub fn offset(&self) -> u64 {
        self.cursor.offset
    }

    /// The number of the byte at an offset of what was yielded; `None` before the first.
    pub fn number_at(&self, offset: u64) -> Option<u32> {
        // Truncation is what sequence numbers do.
        self.cursor.next.map(|next| next.wrapping_sub(self.cursor.offset.wrapping_sub(offset) as u32))
    }

    /// How many of the bytes that were yielded lie before a number; `None` before the first.
    pub fn offset_of(&self, number: u32) -> Option<u64> {
        let behind = ahead(self.cursor.next?, number).max(0);
        Some(self.cursor.offset.saturating_sub(behind.unsigned_abs().into()))
    }

    /// Whether the FIN was seen.
    pub fn has_fin(&self) -> bool {
        self.fin.number().is_some()
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

    /// Takes a segment's numbers into account. `sent` notes when bytes were sent, of the direction that leaves this host.
    pub(super) fn track(
        &mut self,
        time: Time,
        segment: &Segment<'_>,
        sent: Option<&mut SendTimes>,
    ) -> Arrival {
        self.seen.track(time, segment, sent, &mut self.fin, &mut self.trouble)
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
        let elided = if is_needed && self.elision.until.is_some() {
            let in_order = self.seen.in_order(self.fin, self.trouble.as_deref());
            self.elision.take(in_order.unwrap_or(start), self.cursor.next)
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
        let has_fin = self.has_fin();
        let end = number.wrapping_sub(u32::from(has_fin || lasts_until_fin));
        let distance = self.cursor.next.map_or(0, |next| ahead(end, next));
        if distance > i32::from(!has_fin) && distance.unsigned_abs() <= DISTANCE_MAX {
            given_up = self.cursor.offset + u64::from(distance.unsigned_abs());
            elided = self.elision.take(end, self.cursor.next);
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

    /// Whether the FIN comes next, and has not been yielded.
    pub(super) fn take_fin(&mut self) -> bool {
        self.fin.take(self.cursor.next)
    }

    /// Counts its payload by where it ended. `first` is the number of the first byte where another segment than the SYN
    /// says it; where nothing does, what was seen says where the count began.
    pub fn count_to(&mut self, first: Option<u32>, end: End) {
        self.seen.count_to(first, end, self.fin);
    }

    /// Whether the byte before `number` lies behind a FIN that was seen, or has its number.
    pub fn is_behind_fin(&self, number: u32) -> bool {
        self.fin.number().is_some_and(|fin| ahead(number, fin) > 0)
    }

    /// Whether what lies before `number` ends with a FIN that was seen.
    pub fn ends_with_fin(&self, number: u32) -> bool {
        self.fin.number().is_some_and(|fin| fin.wrapping_add(1) == number)
    }

    /// What the kernel side's skip entry has to be after a segment: payload of the direction is not needed before the
    /// sequence number (`Some(Some(..))`), or is needed again (`Some(None)`). `None` if the entry is right.
    #[inline]
    pub fn want(&mut self, segment: &Segment<'_>, need: Need) -> Option<Option<u32>> {
        let end = segment.sequence.wrapping_add(segment.length);
        let is_behind = self.seen.highest.is_some_and(|highest| ahead(highest, end) > 0);
        let entry = match (need, self.elision.entry) {
            // What fills a hole looks in order to a kernel side that begins there, and would pass unseen.
            (Need::From(_), Some(_)) if segment.elision == SegmentElision::Starts && is_behind => {
                self.elision.entry = None;
                None
            }
            (Need::From(_), None) if self.awaits_bytes() => return None,
            _ => self.elision.want(segment, need, &self.cursor)?,
        };
        // Holes are unknown until the next report.
        self.seen.is_elided = false;
        Some(entry)
    }

    /// Notes that payload is needed again; true when the kernel side has a skip entry, which has to be removed.
    pub fn lift_skip(&mut self) -> bool {
        self.seen.is_elided = false;
        self.elision.entry.take().is_some()
    }

    /// Notes whether the segment's sender can take data; true when the window closes or opens by it.
    pub fn note_window(&mut self, time: Time, segment: &Segment<'_>) -> bool {
        match (self.zero_window(), segment.zero_window) {
            (None, true) => self.trouble.get_or_insert_default().zero_window.since = Some(time),
            (Some(_), false) => self.trouble.get_or_insert_default().zero_window.open(time),
            _ => return false,
        }
        true
    }

    /// For how long the sender of this direction could take no more data, in microseconds.
    pub fn zero_window_us(&self, now: Time) -> u64 {
        self.trouble.as_deref().map_or(0, |trouble| trouble.zero_window.us(now))
    }

    /// Since when the sender of this direction can take no more data, while it cannot.
    pub fn zero_window(&self) -> Option<Time> {
        self.trouble.as_deref()?.zero_window.since
    }
}
