//! What TLS says in the clear. Pure.
//!
//! Total: whatever the bytes, there is an answer, and what is held of them is bounded.

mod certificate;
mod cipher_suites;
mod client_hello;
mod cutter;
mod extensions;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod messages;
mod names;
mod reader;
mod records;
mod server_hello;
mod session;
mod side;
#[cfg(any(test, fuzzing))]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub(crate) use cutter::{Cutter, START, start_behind_header, start_of};
pub(crate) use records::APPLICATION_DATA;
pub(crate) use session::{Progress, Session};
