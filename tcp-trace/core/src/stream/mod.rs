//! The bytes of a connection: each direction in order, by offset, with what is known of bytes that were not seen. Pure.
//!
//! [`Duplex`] takes TCP segments. It is the only place that knows sequence numbers: what reads a direction gets
//! [`Chunk`]s, and says with [`Need`] which bytes it can do without.

mod chunk;
mod cursor;
mod duplex;
mod elision;
mod half;
mod held;
mod holes;
mod number;
mod seen;
mod send_times;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
mod zero_window;

pub use chunk::{Chunk, Chunks, Need};
pub use duplex::Duplex;
pub use elision::SKIP_MAX;
pub use half::Half;
pub use held::{HELD_BYTES_MAX, HELD_SEGMENTS_MAX};
pub use number::ahead;
pub use seen::{Arrival, End, Extent, Seen};
