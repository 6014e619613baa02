//! What can be typed behind `stats`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use tcp_trace_core::stats::Dimension;

use super::{
    args::{Colour, duration},
    exchange_filters::ExchangeFilters,
    filters::Filters,
};
use crate::sink::StatsOrder;

/// What to count, and how to print.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tcp-trace stats --for 10s
  tcp-trace stats --for 1m --by process --comm nginx
  tcp-trace stats monday.jsonl tuesday.jsonl --by host --format csv")]
pub(super) struct Stats {
    /// Recordings to count; '-' for stdin
    #[arg(value_name = "FILE", required_unless_present = "during")]
    pub(super) files: Vec<PathBuf>,
    /// Trace this host for this long instead, such as 10s; needs root
    #[arg(long = "for", help_heading = "What to count", value_name = "D", value_parser = duration, conflicts_with = "files")]
    pub(super) during: Option<Duration>,
    /// With --for: do not read what TLS libraries encrypt and decrypt
    #[arg(long, help_heading = "What to count", requires = "during")]
    pub(super) no_tls: bool,
    #[command(flatten)]
    pub(super) filters: Filters,
    #[command(flatten)]
    pub(super) exchanges: ExchangeFilters,
    /// What to group requests by
    #[arg(long, help_heading = "Output", value_name = "WHAT", value_enum, default_value_t = By::Path)]
    pub(super) by: By,
    /// Which groups come first
    #[arg(long, help_heading = "Output", value_name = "WHAT", value_enum, default_value_t = Sort::Requests)]
    pub(super) sort: Sort,
    /// Groups to print; 0 for all
    #[arg(long, help_heading = "Output", value_name = "N", default_value_t = 20)]
    pub(super) top: usize,
    /// How to print
    #[arg(long, help_heading = "Output", value_enum, default_value_t = StatsFormat::Text)]
    pub(super) format: StatsFormat,
    #[command(flatten)]
    pub(super) colour: Colour,
}

/// What requests are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum By {
    /// Method and path; numbers, UUIDs, hashes and tokens in it count as the same
    Path,
    /// The host that requests name
    Host,
    /// The other end: a client's address, or a server's address and port
    Peer,
    /// The processes at both ends, as far as they are on this host
    Process,
    /// Their containers
    Container,
    /// Status code
    Status,
}

impl By {
    pub(super) fn dimension(self) -> Dimension {
        match self {
            Self::Path => Dimension::Path,
            Self::Host => Dimension::Host,
            Self::Peer => Dimension::Peer,
            Self::Process => Dimension::Process,
            Self::Container => Dimension::Container,
            Self::Status => Dimension::Status,
        }
    }
}

/// Which groups come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Sort {
    /// Those with most requests
    Requests,
    /// Those with most failures
    Failed,
    /// Those with the longest p99
    P99,
    /// Those with most bytes in responses
    Bytes,
}

impl Sort {
    pub(super) fn order(self) -> StatsOrder {
        match self {
            Self::Requests => StatsOrder::Requests,
            Self::Failed => StatsOrder::Failed,
            Self::P99 => StatsOrder::P99,
            Self::Bytes => StatsOrder::Bytes,
        }
    }
}

/// A way to print figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum StatsFormat {
    /// Tables for people
    Text,
    /// One JSON object
    Json,
    /// One line per group, after the names of the columns
    Csv,
}
