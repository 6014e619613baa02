//! Records to bytes: one trait, one file per format.

mod jsonl;
mod ladder;
mod output;
mod palette;
mod phrase;
mod table;
mod units;
mod words;
mod words_dns;
mod words_timing;

pub use jsonl::JsonLines;
pub use ladder::{LADDER_RECORDS_MAX, Ladder};
pub use output::Sink;
pub use palette::Palette;
pub(crate) use phrase::Tone;
pub use table::Table;
