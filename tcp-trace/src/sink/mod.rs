//! Records to bytes: one trait, one file per format.

mod findings;
mod jsonl;
mod ladder;
mod output;
mod rest;
mod table;
mod waterfall;
mod words;
mod words_dns;
mod words_timing;

pub use findings::Findings;
pub use jsonl::JsonLines;
pub use ladder::{LADDER_RECORDS_MAX, Ladder};
pub use output::Sink;
pub use table::Table;
pub use waterfall::{COLUMNS_DEFAULT, WATERFALL_EXCHANGES_MAX, Waterfall};
