//! `cargo xtask bench`: what tracing costs real servers, with tcp-trace and its peers side by side in one run.

mod baseline;
mod callgrind;
mod cost;
mod idle;
mod programs;
mod report;
mod rounds;
mod server;
mod tool;
mod workload;

use clap::Parser;

use crate::{tool::Tool, workload::Workload};

/// Measures what tracing costs servers on this machine.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench")]
struct Arguments {
    /// Count instructions of the pure core instead, and fail where they differ from the committed baseline by more than 5 %
    #[arg(long, conflicts_with_all = ["rounds", "seconds", "workload", "tool"])]
    check: bool,
    /// The same, and write the counts as the new baseline
    #[arg(long, conflicts_with_all = ["rounds", "seconds", "workload", "tool"])]
    update: bool,
    /// Print the functions that these instructions are spent in
    #[arg(long, conflicts_with_all = ["check", "update", "rounds", "seconds", "workload", "tool"])]
    profile: bool,
    /// Measure the eBPF programs instead: how often they run per request, and for how long
    #[arg(long, conflicts_with_all = ["check", "update", "profile", "rounds"])]
    programs: bool,
    /// How often each tool is measured; medians are printed
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long one measurement takes, in seconds
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Only these workloads
    #[arg(long, value_enum, value_delimiter = ',')]
    workload: Vec<Workload>,
    /// Only these tools; what they are compared with, `none`, is always measured
    #[arg(long, value_enum, value_delimiter = ',')]
    tool: Vec<Tool>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if arguments.check || arguments.update || arguments.profile {
        tool::require("valgrind")?;
        return if arguments.profile { baseline::profile() } else { baseline::check(arguments.update) };
    }
    let workloads = or_all(&arguments.workload);
    let tools: Vec<Tool> = or_all(&arguments.tool).into_iter().filter(|tool| *tool != Tool::None).collect();
    for tool in &tools {
        tool.require()?;
    }
    report::print_heading(if arguments.programs { 1 } else { arguments.rounds }, arguments.seconds);
    for workload in workloads {
        workload.require()?;
        if arguments.programs {
            programs::measure(workload, &tools, arguments.seconds)?;
            continue;
        }
        let measured = rounds::measure(workload, &tools, arguments.rounds, arguments.seconds)?;
        report::print_workload(workload, &measured);
    }
    Ok(())
}

/// The values that were chosen, or all there are.
fn or_all<T: clap::ValueEnum>(chosen: &[T]) -> Vec<T> {
    if chosen.is_empty() { T::value_variants().to_vec() } else { chosen.to_vec() }
}
