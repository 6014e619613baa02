//! What the programs decide, as pure functions: built for the BPF target, and for the host, where they are tested.
//!
//! Nothing here reads a map, a clock or kernel memory, and no predicate has an effect: a decision says what to report and
//! what to remember, and the probe applies it. Everything is inlined, as the rest of the programs is: a call would
//! hide from the verifier what it knows of the arguments.

pub mod acceptance;
pub mod filter;
pub mod process;
pub mod segment;
pub mod skip;
pub mod stack;
pub mod tls;
pub mod transition;
pub mod translation;

use core::hint::black_box;

use crate::DIRECTION_OUT;

/// The element of a direction, [`DIRECTION_OUT`] or [`DIRECTION_IN`](crate::DIRECTION_IN). Not by an index: where the
/// compiler does not see its bounds it adds a check that panics, and a program that could panic does not load; where
/// it does see them, the verifier may not.
#[inline(always)]
pub fn pick<T>(array: &[T; 2], direction: u8) -> &T {
    let [out, incoming] = array;
    if direction == DIRECTION_OUT { out } else { incoming }
}

/// The same, to change it.
#[inline(always)]
pub fn pick_mut<T>(array: &mut [T; 2], direction: u8) -> &mut T {
    let [out, incoming] = array;
    if direction == DIRECTION_OUT { out } else { incoming }
}

/// The same number, of which the verifier no longer knows anything; `mask` is any number that it does not know either.
///
/// The verifier goes through what follows once for each set of values that it knows. Behind a decision with many outcomes that is
/// again and again, up to its limit of 1,000,000 instructions, which Linux 6.1 reached with the judgment of segments.
#[inline(always)]
pub fn forget(number: u32, mask: u32) -> u32 {
    black_box(number ^ mask) ^ mask
}

/// The other direction.
#[inline(always)]
pub const fn opposite(direction: u8) -> u8 {
    direction ^ 1
}
