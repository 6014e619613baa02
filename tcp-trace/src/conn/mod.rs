//! The life of each connection: states, handshake, bytes, and how it ended. Pure.

mod close;
mod connection;
mod half_open;
mod http_side;
mod sequence;
mod summary;

pub use connection::Connection;
pub use half_open::{HALF_OPEN_MAX, HalfOpen, HalfOpenKey, HeldSegment};
