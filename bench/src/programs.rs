//! What the kernel counts of the eBPF programs' runs. Counting itself takes time, some 60 ns a run: it is on for this
//! only.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result};

use crate::{
    tool::Tool,
    workload::{Target, Workload},
};

/// Where the kernel is told to count (`sysctl kernel.bpf_stats_enabled`).
const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";
/// Runs of a program that are enough to tell of it.
const RUNS_LEAST: u64 = 1_000;

/// Counts while it is there.
struct Counting {
    before: String,
}

impl Counting {
    fn start() -> Result<Self> {
        let before = fs::read_to_string(SWITCH).with_context(|| format!("cannot read {SWITCH}"))?;
        fs::write(SWITCH, "1").with_context(|| format!("cannot write {SWITCH}"))?;
        Ok(Self { before })
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        // There is nobody to tell; the next run sets it anew.
        let _ = fs::write(SWITCH, self.before.trim());
    }
}

/// Runs and their nanoseconds of each loaded program, by its id and name.
fn counted() -> Result<BTreeMap<(u32, String), (u64, u64)>> {
    let programs = aya::programs::loaded_programs();
    programs
        .map(|program| {
            let program = program.context("cannot read of a loaded program")?;
            let name = String::from_utf8_lossy(program.name()).into_owned();
            Ok(((program.id(), name), (program.run_count(), program.run_time().as_nanos() as u64)))
        })
        .collect()
}

/// Prints what the programs cost under a workload.
pub(crate) fn measure(workload: Workload, tools: &[Tool], seconds: u32) -> Result<()> {
    let target = workload.prepare()?;
    println!("### {}: {}\n", workload.name(), workload.description());
    println!("| tool | program | runs per request | ns per run |");
    println!("|---|---|---|---|");
    for tool in tools {
        print_tool(workload, *tool, &target, seconds).with_context(|| tool.name())?;
    }
    println!();
    Ok(())
}

fn print_tool(workload: Workload, tool: Tool, target: &Target, seconds: u32) -> Result<()> {
    let running = tool.start(target.port)?;
    workload.run(target, 1)?;
    let counting = Counting::start()?;
    let before = counted()?;
    let requests = workload.run(target, seconds)?.requests;
    let after = counted()?;
    drop(counting);
    running.stop()?;
    for (program, (runs, nanoseconds)) in after {
        let (runs_before, nanoseconds_before) = before.get(&program).copied().unwrap_or_default();
        let runs = runs.saturating_sub(runs_before);
        if runs >= RUNS_LEAST {
            let each = nanoseconds.saturating_sub(nanoseconds_before) / runs;
            let per_request = runs as f64 / requests.max(1) as f64;
            println!("| {} | {} | {per_request:.2} | {each} |", tool.name(), program.1);
        }
    }
    Ok(())
}
