//! What fuzzers run: any bytes, and what holds whatever they are.

use std::iter;

use tcp_trace_model::{event::Direction, http2::Http2Totals, time::Time};

use super::HttpTwo;
use crate::{
    http::{ConnectionEnd, End, Exchanges},
    stream::Chunk,
};

/// SETTINGS, and a request on stream 1.
const CLIENT: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x03\x01\x05\0\0\0\x01\x82\x86\x84";
/// WINDOW_UPDATE: in the middle of a connection, frames are read from a piece on that is nothing but frames.
const FRAME: &[u8] = b"\0\0\x04\x08\0\0\0\0\0\0\0\0\x01";
/// Pieces into which bytes are cut.
const PIECES: [usize; 4] = [1, 2, 7, 61];

/// Frames of either end, behind a request or in the middle of a connection: how they are cut changes nothing.
///
/// # Panics
/// When that does not hold.
pub fn frames(bytes: &[u8]) {
    for is_amid in [false, true] {
        for direction in [Direction::Out, Direction::In] {
            let whole = read(is_amid, direction, bytes, bytes.len().max(1));
            for piece in PIECES {
                assert_eq!(read(is_amid, direction, bytes, piece), whole, "{is_amid} {direction:?}: {piece}");
            }
        }
    }
}

fn read(is_amid: bool, direction: Direction, bytes: &[u8], piece: usize) -> (Exchanges, Http2Totals) {
    let mut http = if is_amid { HttpTwo::amid(None) } else { HttpTwo::new(Direction::Out) };
    let mut exchanges = Exchanges::new();
    let mut ends = [0_u64; 2];
    let before = if is_amid { (direction, FRAME) } else { (Direction::Out, CLIENT) };
    let pieces = bytes.chunks(piece).map(|piece| (direction, piece));
    for (direction, bytes) in iter::once(before).chain(pieces) {
        let offset = &mut ends[direction.index()];
        http.input(direction, Chunk::Bytes { offset: *offset, bytes, time: Time(0) }, false, &mut exchanges);
        *offset += bytes.len() as u64;
    }
    http.finish(Time(0), ConnectionEnd::without_fin(End::Fin), &mut exchanges);
    (exchanges, http.totals())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn how_any_bytes_are_cut_changes_nothing(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            super::frames(&bytes);
        }

        #[test]
        fn how_any_frames_are_cut_changes_nothing(
            frames in prop::collection::vec(
                (0_u8..12, any::<u8>(), 0_u32..6, prop::collection::vec(any::<u8>(), 0..40)), 0..12),
        ) {
            let mut bytes = Vec::new();
            for (kind, flags, stream, payload) in frames {
                bytes.extend(&(payload.len() as u32).to_be_bytes()[1..]);
                bytes.extend([kind, flags]);
                bytes.extend(stream.to_be_bytes());
                bytes.extend(payload);
            }
            super::frames(&bytes);
        }
    }
}
