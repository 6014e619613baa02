//! Payload of one direction that is held while something before it is missing.

use std::collections::BTreeMap;

use tcp_trace_model::time::Time;

/// Bytes that are held of one direction while something before them is missing.
pub const HELD_BYTES_MAX: usize = 256 << 10;
/// Segments that are held of one direction.
pub const HELD_SEGMENTS_MAX: usize = 1024;

/// A segment's payload.
#[derive(Clone, Copy, Debug)]
pub(super) enum Piece<'a> {
    Bytes(&'a [u8]),
    Elided(u32),
}

impl Piece<'_> {
    pub(super) fn length(self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Elided(length) => length.into(),
        }
    }
}

/// A payload that is held.
#[derive(Debug)]
pub(super) enum Held {
    Bytes(Vec<u8>),
    Elided(u64),
}

impl Held {
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Elided(length) => *length,
        }
    }

    fn memory(&self) -> usize {
        if let Self::Bytes(bytes) = self { bytes.len() } else { 0 }
    }
}

/// Payloads by the offset of their first byte, each with its time. Of two with the same offset the longer one counts.
#[derive(Debug, Default)]
pub(super) struct HeldPieces {
    pieces: BTreeMap<u64, (Time, Held)>,
    bytes: usize,
}

impl HeldPieces {
    pub(super) fn add(&mut self, offset: u64, piece: Piece<'_>, time: Time) {
        let known = self.pieces.get(&offset).map_or(0, |(_, held)| held.length());
        if piece.length() > known {
            let held = match piece {
                Piece::Bytes(bytes) => Held::Bytes(bytes.to_vec()),
                Piece::Elided(length) => Held::Elided(length.into()),
            };
            self.bytes += held.memory();
            let before = self.pieces.insert(offset, (time, held));
            self.bytes -= before.map_or(0, |(_, held)| held.memory());
        }
    }

    /// Takes the first one out.
    pub(super) fn pop(&mut self) -> Option<(Time, Held)> {
        let (_, (time, held)) = self.pieces.pop_first()?;
        self.bytes -= held.memory();
        Some((time, held))
    }

    /// Where the first one begins.
    pub(super) fn first(&self) -> Option<u64> {
        self.pieces.keys().next().copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(super) fn is_too_much(&self) -> bool {
        self.bytes > HELD_BYTES_MAX || self.pieces.len() > HELD_SEGMENTS_MAX
    }

    /// Bytes of memory that the payloads take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
