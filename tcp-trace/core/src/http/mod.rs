//! HTTP/1 from TCP payload: messages, and requests linked with their responses (RFC 9110, RFC 9112). Pure.

mod chunked;
mod connection;
mod ending;
mod exchange;
mod framing;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod head;
mod line;
mod lost;
mod message;
mod missing;
mod open;
mod stalls;
mod stream;
#[cfg(test)]
mod tests;
mod websocket;

pub use connection::{Handover, HttpConnection, Tunnel};
pub use exchange::{ConnectionEnd, End, Exchanges};
pub use head::HEAD_MAX;
pub use open::{INFORMATIONAL_MAX, OPEN_MAX, recycle};
pub use stalls::Cause;
