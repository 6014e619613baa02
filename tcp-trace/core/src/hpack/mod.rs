//! HPACK, the compression of header fields in HTTP/2 (RFC 7541). Pure.
//!
//! The decoder may begin in the middle of a connection. Indices count entries of the dynamic table from the newest one on, so every
//! reference to an entry whose insertion was seen is exact; what refers to older ones is unknown, and said to be.

mod decoder;
#[cfg(test)]
pub mod encoder;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod huffman;
mod integer;
mod static_table;
mod table;
#[cfg(test)]
mod tests;

pub use decoder::{Decoder, Fault, Field};
pub use table::TABLE_MAX;
