//! Records to bytes: one trait, one file per format.

mod chunk_writer;
mod counting;
mod findings;
mod footer;
mod jsonl;
mod ladder;
mod output;
mod stats;
mod table;
mod tee;
mod waterfall;
mod words;
mod words_dns;
mod words_http2;
mod words_protocol;
mod words_timing;
mod words_tls;

pub use chunk_writer::{Backlog, ChunkWriter, OUTPUT_QUEUE_BYTES_MAX};
pub use counting::{Counting, Counts};
pub use findings::Findings;
pub use jsonl::JsonLines;
pub use ladder::{LADDER_BYTES_MAX, Ladder};
pub use output::Sink;
pub use stats::{StatsOrder, StatsTable, stats_csv, stats_json};
pub use table::Table;
pub use tee::Tee;
pub use waterfall::{COLUMNS_DEFAULT, WATERFALL_BYTES_MAX, Waterfall};
