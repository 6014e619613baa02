//! The bytes of a connection: each direction in order, by offset, with what is known of bytes that were not seen. Pure.
//!
//! [`Duplex`] takes TCP segments. It is the only place that knows sequence numbers: what reads a direction gets
//! [`Chunk`]s, and says with [`Need`] which bytes it can do without.

mod chunk;
mod duplex;
mod half;
mod held;
mod holes;
mod number;
mod progress;
mod send_times;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;

pub use chunk::{Chunk, Chunks, Need};
pub use duplex::Duplex;
pub use half::Half;
pub use held::{HELD_BYTES_MAX, HELD_SEGMENTS_MAX};
pub use number::ahead;
pub use progress::{Arrival, SKIP_MAX};
