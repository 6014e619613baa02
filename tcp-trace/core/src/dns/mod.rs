//! DNS lookups (RFC 1035): messages, which answer belongs to which question, and which connection follows. Pure.

#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod lookups;
mod message;
mod names;
mod stream;
#[cfg(test)]
mod tests;

/// Port of DNS servers (RFC 1035, section 4.2).
pub const DNS_PORT: u16 = 53;

pub use lookups::{ANSWER_TIMEOUT_US, Lookup, Lookups, OPEN_MAX, OWNER_PATIENCE_US, Source};
pub use message::{ANSWERS_MAX, Malformed, Message, parse};
pub use names::{LINK_US, NAMES_MAX, Names};
pub use stream::{StreamMessage, Streams};
