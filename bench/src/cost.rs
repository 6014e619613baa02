//! What processes have used, as /proc says.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};

/// Processor time, user and system, of a process and its children.
pub(crate) fn processor_time(pid: u32) -> Result<Duration> {
    let ticks: u64 = family(pid)?.into_iter().filter_map(|pid| ticks(&fields(pid)?)).sum();
    Ok(Duration::from_nanos(ticks * 1_000_000_000 / rustix::param::clock_ticks_per_second()))
}

/// The most memory that a process and its children have had resident so far, in bytes, each at its own peak.
pub(crate) fn peak_memory(pid: u32) -> Result<u64> {
    let peak = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    Ok(family(pid)?.into_iter().filter_map(peak).sum::<u64>() * 1024)
}

/// A process and its children.
fn family(pid: u32) -> Result<Vec<u32>> {
    let mut family = vec![pid];
    for entry in fs::read_dir("/proc").context("cannot list processes")? {
        let name = entry.context("cannot list processes")?.file_name();
        let Some(child) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // The parent is the second field behind the name; a process that has ended meanwhile has none.
        let parent = fields(child).and_then(|fields| fields.get(1)?.parse::<u32>().ok());
        if parent == Some(pid) {
            family.push(child);
        }
    }
    Ok(family)
}

/// The fields of /proc/PID/stat behind the name, which may itself have spaces (proc_pid_stat(5)).
fn fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

fn ticks(fields: &[String]) -> Option<u64> {
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}
