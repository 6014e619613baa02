//! Notes on TCP, HTTP and the words of tcp-trace, which are in the binary: found by name or by words, laid out as
//! text.

mod language;
mod library;
mod render;
mod search;
mod topic;

pub use language::Language;
pub use library::Library;
pub use render::{Page, nothing_found};
pub use topic::{Block, Group, Topic};

#[cfg(test)]
mod notes_tests;
