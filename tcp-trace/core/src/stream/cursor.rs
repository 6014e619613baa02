//! How far a direction was read.

use tcp_trace_model::time::Time;

use super::{
    chunk::Chunk,
    half::{DISTANCE_MAX, Trouble},
    held::Piece,
    number::ahead,
};

/// The next byte to yield.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    /// Its number; `None` before the first.
    pub(super) next: Option<u32>,
    /// Its offset.
    pub(super) offset: u64,
}

impl Cursor {
    /// Sets the number of the first byte, unless it is known.
    pub(super) fn start(&mut self, number: u32) {
        self.next.get_or_insert(number);
    }

    /// Goes on by so many bytes, and gives the offset of the first.
    pub(super) fn advance(&mut self, length: u64) -> u64 {
        let offset = self.offset;
        self.offset += length;
        // Truncation is what sequence numbers do.
        self.next = self.next.map(|next| next.wrapping_add(length as u32));
        offset
    }

    /// Yields what is new of a payload that is in order, or holds it.
    #[inline]
    pub(super) fn take<'a>(
        &mut self,
        start: u32,
        piece: Piece<'a>,
        time: Time,
        trouble: &mut Option<Box<Trouble>>,
    ) -> Option<Chunk<'a>> {
        let distance = ahead(start, *self.next.get_or_insert(start));
        if distance.unsigned_abs() > DISTANCE_MAX {
            return None;
        }
        let known = u64::from(distance.unsigned_abs());
        if distance > 0 {
            let offset = self.offset + known;
            trouble.get_or_insert_default().held.add(offset, piece, time);
            return None;
        }
        let length = piece.length().checked_sub(known).filter(|length| *length > 0)?;
        let offset = self.advance(length);
        Some(match piece {
            // Less than the length of `bytes`, so it fits.
            Piece::Bytes(bytes) => Chunk::Bytes { offset, bytes: &bytes[known as usize..], time },
            Piece::Elided(_) => Chunk::Elided { offset, length, time },
        })
    }
}
