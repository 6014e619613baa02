//! HTTP/1 from TCP payload: messages, and requests linked with their responses (RFC 9110, RFC 9112). Pure.

mod chunked;
mod connection;
mod delivery;
mod ending;
mod exchange;
mod framing;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod handover;
mod head;
mod line;
mod lost;
mod message;
mod missing;
mod open;
mod stalls;
mod stream;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod websocket;

pub use connection::{ANSWER_MAX, HttpConnection};
pub(crate) use delivery::UNSEEN;
pub use delivery::{cut_by_reset, may_lack_bytes};
pub(crate) use ending::{broke_off, broken_outcome, place, reason};
pub use exchange::{ConnectionEnd, End, Exchanges};
pub use handover::{Handover, Tunnel, Upgraded};
pub use head::HEAD_MAX;
pub(crate) use message::UNREAD;
pub(crate) use open::Open;
pub use open::{INFORMATIONAL_MAX, OPEN_MAX, recycle};
pub use stalls::Cause;
pub(crate) use stalls::note as note_stall;
pub(crate) use websocket::Follower;
