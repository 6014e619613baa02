//! Figures: as tables for people, and for other programs.

mod export;
mod table;

use tcp_trace_core::stats::{Group, Stats};

pub use self::{
    export::{stats_csv, stats_json},
    table::StatsTable,
};

/// Which groups come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatsOrder {
    /// Those with most requests.
    Requests,
    /// Those with most failures.
    Failed,
    /// Those with the longest p99.
    P99,
    /// Those with most bytes in responses.
    Bytes,
}

/// The first `top` groups, or all where that is 0, and how many more there are.
fn first(stats: &Stats, order: StatsOrder, top: usize) -> (Vec<(&str, &Group)>, usize) {
    let mut groups = stats.groups();
    // Those that are equal stay in the order of their requests.
    groups.sort_by_key(|(_, group)| {
        std::cmp::Reverse(match order {
            StatsOrder::Requests => group.requests,
            StatsOrder::Failed => group.failed,
            StatsOrder::P99 => group.times.quantile(0.99).unwrap_or_default(),
            StatsOrder::Bytes => group.response_bytes,
        })
    });
    let shown = if top == 0 { groups.len() } else { top.min(groups.len()) };
    let more = groups.len() - shown;
    groups.truncate(shown);
    (groups, more)
}

/// Requests of a group in a second.
fn rate(group: &Group, duration_us: u64) -> f64 {
    if duration_us == 0 { 0.0 } else { group.requests as f64 * 1e6 / duration_us as f64 }
}

#[cfg(test)]
mod tests;
