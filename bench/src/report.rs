//! Tables in Markdown, as they stand in docs/performance.md.

use crate::{
    rounds::{Measured, Sample, median},
    workload::Workload,
};

/// Says where and how it was measured.
pub(crate) fn print_heading(rounds: u32, seconds: u32) {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    println!("Linux {release}, {processors} processors, {rounds} rounds of {seconds} s each.\n");
}

/// Prints what came of a workload.
pub(crate) fn print_workload(workload: Workload, measured: &[Measured]) {
    println!("### {}: {}\n", workload.name(), workload.description());
    let rate = if workload == Workload::Bulk { "Gbit/s" } else { "requests/s" };
    println!(
        "| tool | ratio | {rate} | p99 ms | server us/request | tool us/request | tool MiB | events | exchanges | lost |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for Measured { tool, samples } in measured {
        let of = |value: &dyn Fn(&Sample) -> Option<f64>| median(samples.iter().filter_map(value).collect());
        let per_request = |time: fn(&Sample) -> std::time::Duration| {
            of(&|sample| {
                let requests = sample.throughput.requests;
                (requests > 0).then(|| time(sample).as_secs_f64() * 1e6 / requests as f64)
            })
        };
        let unit = if workload == Workload::Bulk { 1e9 } else { 1.0 };
        let cells = [
            tool.name(),
            cell(of(&|sample| Some(sample.ratio)), 3),
            cell(of(&|sample| Some(sample.throughput.rate / unit)), if unit > 1.0 { 2 } else { 0 }),
            cell(of(&|sample| sample.throughput.p99.map(|time| time.as_secs_f64() * 1e3)), 2),
            cell(per_request(|sample| sample.server_time), 2),
            cell(per_request(|sample| sample.tool_time), 2),
            cell(of(&|sample| Some(sample.memory as f64 / f64::from(1 << 20))), 1),
            cell(of(&|sample| sample.ended.events.map(|events| events as f64)), 0),
            cell(of(&|sample| sample.ended.http.map(|http| http as f64)), 0),
            // Not the median: what was lost once was lost.
            most_lost(samples),
        ];
        println!("| {} |", cells.join(" | "));
    }
    println!();
}

fn cell(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
}

fn most_lost(samples: &[Sample]) -> String {
    let most = samples.iter().filter_map(|sample| sample.ended.lost).max();
    most.map_or_else(|| "-".to_owned(), |lost| lost.to_string())
}
