//! How much of a user stack is there to copy.

use crate::STACK_PART;

/// How many bytes of a part that begins at `from` lie before the boundary inside it. Pages, and with them what is mapped, end
/// at multiples of [`STACK_PART`], so that is what there is of the part in which a stack ends.
#[inline(always)]
pub const fn bytes_to_boundary(from: u64) -> u32 {
    const LAST: u64 = STACK_PART as u64 - 1;
    (from.wrapping_neg() & LAST) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_ends_at_a_boundary() {
        const TOP: u64 = 0x7fff_ffff_f000;
        for (from, expected) in [
            (TOP, 0),
            (TOP - 1, 1),
            (TOP - 1_023, 1_023),
            // The whole part is there.
            (TOP - 1_024, 0),
            (u64::MAX, 1),
        ] {
            assert_eq!(bytes_to_boundary(from), expected, "{from:x}");
        }
    }
}
