//! What fuzzers run: any bytes, and what holds whatever they are.

use tcp_trace_model::{
    record::{Tls, TlsEnd},
    time::Time,
};

use super::{Progress, Session, testing::Hello};
use crate::stream::Chunk;

/// Pieces into which bytes are cut.
const PIECES: [usize; 4] = [1, 2, 7, 61];

/// Records of either end, of a server's behind a ClientHello: how they are cut changes nothing.
///
/// # Panics
/// When that does not hold.
pub fn records(bytes: &[u8]) {
    let hello = Hello::default().name("www.example.com").sent();
    for (before, end) in [(&[][..], TlsEnd::Client), (&hello, TlsEnd::Server)] {
        let whole = read(before, end, bytes, bytes.len().max(1));
        for piece in PIECES {
            assert_eq!(read(before, end, bytes, piece), whole, "{end:?}: {piece}");
        }
    }
}

fn read(before: &[u8], end: TlsEnd, bytes: &[u8], piece: usize) -> (Tls, Option<Box<Tls>>) {
    let mut session = Session::new();
    let mut offsets = [0_u64; 2];
    let pieces = bytes.chunks(piece).map(|piece| (end, piece));
    for (end, bytes) in [(TlsEnd::Client, before)].into_iter().chain(pieces) {
        let offset = &mut offsets[usize::from(end == TlsEnd::Server)];
        let progress = session.input(end, Chunk::Bytes { offset: *offset, bytes, time: Time(0) });
        if matches!(progress, Progress::NoHello | Progress::OtherAnswer) {
            break;
        }
        *offset += bytes.len() as u64;
    }
    session.end();
    (session.tls().clone(), session.summary(true))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn how_any_bytes_are_cut_changes_nothing(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            super::records(&bytes);
        }

        #[test]
        fn how_any_records_are_cut_changes_nothing(
            records in prop::collection::vec((20_u8..25, prop::collection::vec(any::<u8>(), 0..60)), 0..12),
        ) {
            let mut bytes = Vec::new();
            for (kind, payload) in records {
                bytes.extend([kind, 3, 3]);
                bytes.extend((payload.len() as u16).to_be_bytes());
                bytes.extend(payload);
            }
            super::records(&bytes);
        }
    }
}
