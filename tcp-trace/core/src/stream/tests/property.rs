//! Any cut, order, repetition and elision gives the same bytes.

use proptest::prelude::*;

use super::*;

/// A segment from here to there, and whether its payload is left out where that is allowed.
type Cut = (prop::sample::Index, usize, bool);

fn cuts() -> impl Strategy<Value = Vec<Cut>> {
    prop::collection::vec((any::<prop::sample::Index>(), 1..400_usize, any::<bool>()), 0..60)
}

proptest! {
    #[test]
    fn any_cut_order_repetition_and_elision_gives_the_same_bytes(
        bytes in prop::collection::vec(any::<u8>(), 1..2000),
        needed in prop::collection::vec(any::<bool>(), 1..40),
        cuts in cuts(),
        start: u32,
    ) {
        // Of each 50 bytes all are needed or none.
        let is_needed = |offset: usize| needed[offset / 50 % needed.len()];
        let mut half = Half::default();
        half.start(start);
        let (mut seen, mut is_finished) = (0, false);
        let mut take = |half: &mut Half, segment: &Segment<'_>| {
            half.track(Time(0), segment, None);
            let mut chunks = half.read(Time(0), segment);
            while let Some(chunk) = chunks.next_chunk() {
                let (offset, length) = match chunk {
                    Chunk::Bytes { offset, bytes: seen, .. } => {
                        let at = usize::try_from(offset).unwrap();
                        assert_eq!(seen, &bytes[at..at + seen.len()]);
                        (offset, seen.len() as u64)
                    }
                    Chunk::Elided { offset, length, .. } => {
                        let range = usize::try_from(offset).unwrap()..usize::try_from(offset + length).unwrap();
                        assert!(!range.clone().any(is_needed), "{range:?} is needed");
                        (offset, length)
                    }
                    Chunk::Gap { .. } => panic!("nothing is lost"),
                    Chunk::Fin { .. } => {
                        assert!(!is_finished && seen == bytes.len() as u64);
                        is_finished = true;
                        continue;
                    }
                };
                assert_eq!(offset, seen, "each byte once");
                seen += length;
            }
        };
        let whole = (0, bytes.len(), false);
        let parts = cuts.iter().map(|(at, length, is_elided)| {
            let at = at.index(bytes.len());
            (at, (at + length).min(bytes.len()), *is_elided)
        });
        // Random pieces first, then everything: whatever came before, each byte comes out once.
        for (from, to, is_elided) in parts.chain(std::iter::once(whole)) {
            let sequence = start.wrapping_add(u32::try_from(from).unwrap());
            let is_elided = is_elided && !(from..to).any(is_needed);
            let part = if is_elided {
                segment(Direction::In, Flags::ACK, sequence, u32::try_from(to - from).unwrap())
            } else {
                payload(Direction::In, sequence, &bytes[from..to])
            };
            take(&mut half, &part);
        }
        let end = start.wrapping_add(u32::try_from(bytes.len()).unwrap());
        take(&mut half, &segment(Direction::In, Flags::FIN.with(Flags::ACK), end, 0));
        prop_assert!(is_finished && seen == bytes.len() as u64);
        prop_assert!(!half.has_held());
    }

    /// Some segments are lost: what comes out is a part of the bytes at its place, with gaps where they are missing.
    #[test]
    fn what_is_lost_is_a_gap_and_nothing_else_is(
        bytes in prop::collection::vec(any::<u8>(), 1..2000),
        size in 1..200_usize,
        is_lost in prop::collection::vec(any::<bool>(), 1..40),
        acknowledged in any::<prop::sample::Index>(),
    ) {
        let mut half = Half::default();
        half.start(0);
        let mut out: Vec<Option<u8>> = Vec::new();
        let mut take = |mut chunks: Chunks<'_>| {
            while let Some(chunk) = chunks.next_chunk() {
                match chunk {
                    Chunk::Bytes { bytes, .. } => out.extend(bytes.iter().map(|byte| Some(*byte))),
                    Chunk::Gap { length, .. } => out.extend(vec![None; usize::try_from(length).unwrap()]),
                    other => panic!("{other:?}"),
                }
            }
        };
        let mut expected = Vec::new();
        for (number, part) in bytes.chunks(size).enumerate() {
            let is_lost = is_lost[number % is_lost.len()];
            expected.extend(part.iter().map(|byte| (!is_lost).then_some(*byte)));
            if is_lost {
                continue;
            }
            let segment = payload(Direction::In, u32::try_from(number * size).unwrap(), part);
            half.track(Time(0), &segment, None);
            take(half.read(Time(0), &segment));
        }
        let acknowledged = u32::try_from(acknowledged.index(bytes.len() + 1)).unwrap();
        take(half.advance_to(acknowledged, false, Time(0)));
        take(half.give_up(Time(0)));
        prop_assert!(!half.has_held());
        prop_assert_eq!(&out[..], &expected[..out.len()]);
        // Nothing that was seen is kept back.
        prop_assert!(expected[out.len()..].iter().all(Option::is_none));
    }
}
