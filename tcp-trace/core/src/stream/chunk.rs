//! What a direction yields, and what its reader needs.

use tcp_trace_model::time::Time;

use super::{
    half::Half,
    held::{Held, Piece},
};

/// What comes next in a direction. Offsets count its bytes from 0, and each chunk begins where the one before ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk<'a> {
    /// These bytes.
    Bytes {
        /// Of the first of them.
        offset: u64,
        /// In order, each byte once.
        bytes: &'a [u8],
        /// When their segment, and all before it, had been seen.
        time: Time,
    },
    /// Elided payload: it passed, and was not reported because its reader did not need it.
    Elided {
        /// Of the first byte.
        offset: u64,
        /// How many bytes.
        length: u64,
        /// When they had passed, and all before them.
        time: Time,
    },
    /// Bytes that were never seen.
    Gap {
        /// Of the first byte.
        offset: u64,
        /// How many bytes.
        length: u64,
        /// When they were given up.
        time: Time,
    },
    /// The end of the direction: all bytes before its FIN have been yielded.
    Fin {
        /// When that was so.
        time: Time,
    },
}

impl<'a> Chunk<'a> {
    /// The last so many of its bytes, if there are any.
    pub fn last(self, count: usize) -> Option<Self> {
        let Self::Bytes { offset, bytes, time } = self else { return None };
        let before = bytes.len().checked_sub(count).filter(|_| count > 0)?;
        Some(Self::Bytes { offset: offset + before as u64, bytes: &bytes[before..], time })
    }
}

/// Which bytes of a direction its reader needs to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// All that come.
    All,
    /// Those from this offset on: of those before it only how many they are, as [`Chunk::Elided`].
    From(u64),
    /// None, for good: the direction is not read any more.
    Nothing,
}

/// What a segment, an acknowledgment or a loss makes available of a direction.
#[derive(Debug)]
pub struct Chunks<'a> {
    pub(super) half: &'a mut Half,
    pub(super) time: Time,
    /// Bytes that passed unreported before the segment.
    pub(super) elided: u64,
    /// The segment's payload, by the number of its first byte.
    pub(super) piece: Option<(u32, Piece<'a>)>,
    /// Offset before which nothing is waited for.
    pub(super) given_up: u64,
    /// The held payload that was yielded last.
    pub(super) buffer: Vec<u8>,
}

impl Chunks<'_> {
    /// The next chunk; `None` when the rest has to be waited for.
    // Not an iterator: a chunk of held bytes lives until the next one.
    #[inline]
    pub fn next_chunk(&mut self) -> Option<Chunk<'_>> {
        let time = self.time;
        if self.elided > 0 {
            let length = std::mem::take(&mut self.elided);
            return Some(Chunk::Elided { offset: self.half.cursor.advance(length), length, time });
        }
        if let Some((start, piece)) = self.piece.take()
            && let Some(chunk) = self.half.cursor.take(start, piece, time, &mut self.half.trouble)
        {
            return Some(chunk);
        }
        if self.half.has_held() || self.given_up > 0 {
            return self.next_held();
        }
        self.half.take_fin().then_some(Chunk::Fin { time })
    }

    fn next_held(&mut self) -> Option<Chunk<'_>> {
        let time = self.time;
        let Half { cursor, trouble, .. } = &mut *self.half;
        let Some(held) = trouble.as_deref_mut().map(|trouble| &mut trouble.held) else {
            return self.rest_of_gap();
        };
        while let Some(start) = held.first() {
            if start > cursor.offset {
                if start > self.given_up && !held.is_too_much() {
                    break;
                }
                let length = start - cursor.offset;
                return Some(Chunk::Gap { offset: cursor.advance(length), length, time });
            }
            let Some((seen, piece)) = held.pop() else { break };
            let (known, time) = (cursor.offset - start, seen.max(time));
            let Some(length) = piece.length().checked_sub(known).filter(|length| *length > 0) else {
                continue;
            };
            let offset = cursor.advance(length);
            match piece {
                Held::Elided(_) => return Some(Chunk::Elided { offset, length, time }),
                Held::Bytes(bytes) => {
                    self.buffer = bytes;
                    // Less than the length of `bytes`, so it fits.
                    return Some(Chunk::Bytes { offset, bytes: &self.buffer[known as usize..], time });
                }
            }
        }
        self.rest_of_gap()
    }

    /// What is given up behind all that is held, and then the FIN.
    fn rest_of_gap(&mut self) -> Option<Chunk<'static>> {
        let time = self.time;
        // Of a whole direction, only what is before something that was seen is known to be missing.
        let end = if self.given_up == u64::MAX { 0 } else { self.given_up };
        match end.checked_sub(self.half.offset()).filter(|length| *length > 0) {
            Some(length) => Some(Chunk::Gap { offset: self.half.cursor.advance(length), length, time }),
            None => self.half.take_fin().then_some(Chunk::Fin { time }),
        }
    }
}
