//! Memory for heads. Each takes a part of a block, and a block is used again once nothing uses any part of it: so heads
//! that are written as they come cost no allocation, unless they are longer than half a block.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};

/// Bytes of a block. One head that is kept for long keeps its whole block.
const BLOCK: usize = 2048;
/// Blocks that are taken by turns: the longer one waits for its turn, the surer it is free again.
const BLOCKS: usize = 32;

/// The blocks of a thread, each with its free rest, and the one that parts are taken from.
struct Blocks {
    blocks: [BytesMut; BLOCKS],
    current: usize,
}

thread_local! {
    static OWN: RefCell<Blocks> =
        RefCell::new(Blocks { blocks: std::array::from_fn(|_| BytesMut::new()), current: 0 });
}

/// What `write` appends: `length` bytes.
pub(super) fn part(length: usize, write: impl FnOnce(&mut BytesMut)) -> Bytes {
    if length > BLOCK / 2 {
        let mut own = BytesMut::with_capacity(length);
        write(&mut own);
        return own.freeze();
    }
    OWN.with_borrow_mut(|Blocks { blocks, current }| {
        if !blocks[*current].try_reclaim(length) {
            *current = (*current + 1) % BLOCKS;
            if !blocks[*current].try_reclaim(length) {
                blocks[*current] = BytesMut::with_capacity(BLOCK);
            }
        }
        let block = &mut blocks[*current];
        write(block);
        block.split().freeze()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn of(bytes: &[u8]) -> Bytes {
        part(bytes.len(), |block| block.extend_from_slice(bytes))
    }

    #[test]
    fn parts_keep_their_bytes_while_others_come() {
        let kept: Vec<_> = (0..=u8::MAX).map(|byte| of(&[byte; 300])).collect();
        for (byte, part) in kept.iter().enumerate() {
            assert!(part.iter().all(|own| usize::from(*own) == byte) && part.len() == 300, "{byte}");
        }
    }

    #[test]
    fn a_block_is_used_again_when_nothing_uses_it() {
        let fill = |byte| -> Vec<Bytes> { (0..BLOCKS * BLOCK / 512).map(|_| of(&[byte; 512])).collect() };
        let places = |parts: &[Bytes]| -> BTreeSet<_> { parts.iter().map(|part| part.as_ptr()).collect() };
        let first = fill(1);
        let first_places = places(&first);
        // While they are used, others get other memory.
        let second = fill(2);
        assert!(places(&second).is_disjoint(&first_places));
        let second_places = places(&second);
        drop((first, second));
        assert_eq!(places(&fill(3)), second_places);
    }

    #[test]
    fn a_large_part_has_memory_of_its_own() {
        let large = of(&[7; 3 * BLOCK]);
        assert_eq!(large, [7; 3 * BLOCK][..]);
        assert_eq!(large.try_into_mut().map(|own| own.len()), Ok(3 * BLOCK), "nobody shares it");
    }
}
