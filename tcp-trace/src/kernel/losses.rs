//! What the programs could not hand over, as they and the kernel count it.

use std::{
    fs,
    os::fd::{AsRawFd as _, OwnedFd},
};

use aya::maps::{MapData, PerCpuArray};
use tcp_trace_ebpf::{LOST_RECORDS, NESTED};
use tcp_trace_model::record::LossPlace;

use super::KernelError;

/// The counters and what they said the last time.
pub(super) struct Losses {
    counters: PerCpuArray<MapData, u64>,
    ring: Vec<u64>,
    /// The program that reports transitions.
    state_program: OwnedFd,
    skipped: u64,
}

/// Events that were lost since the last time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewlyLost {
    /// Where.
    pub place: LossPlace,
    /// On which processor, where that is known.
    pub cpu: Option<u32>,
    /// How many.
    pub events: u64,
}

impl Losses {
    pub(super) fn new(counters: PerCpuArray<MapData, u64>, state_program: OwnedFd) -> Self {
        Self { counters, ring: Vec::new(), state_program, skipped: 0 }
    }

    /// What was lost since the last call.
    pub(super) fn newly(&mut self) -> Result<Vec<NewlyLost>, KernelError> {
        let mut lost = Vec::new();
        let now = self.read(LOST_RECORDS)?;
        for (cpu, count) in now.iter().enumerate() {
            let events = count - self.ring.get(cpu).copied().unwrap_or_default();
            if events > 0 {
                lost.push(NewlyLost { place: LossPlace::Ring, cpu: Some(cpu as u32), events });
            }
        }
        self.ring = now;
        // The second program counts what it reports before the kernel counts that it skips the first: read in the
        // other order, nothing is missing that is on its way.
        let misses = self.misses()?;
        let nested: u64 = self.read(NESTED)?.iter().sum();
        let skipped = misses.saturating_sub(nested);
        if skipped > self.skipped {
            lost.push(NewlyLost { place: LossPlace::Program, cpu: None, events: skipped - self.skipped });
            self.skipped = skipped;
        }
        Ok(lost)
    }

    fn read(&self, counter: u32) -> Result<Vec<u64>, KernelError> {
        let values = self.counters.get(&counter, 0);
        Ok(values.map_err(|error| KernelError::failed("read the loss counters", error))?.to_vec())
    }

    /// How often the kernel did not run the program because it was running on that CPU already
    /// (`recursion_misses` in `bpf_prog_show_fdinfo()`).
    fn misses(&self) -> Result<u64, KernelError> {
        let path = format!("/proc/self/fdinfo/{}", self.state_program.as_raw_fd());
        let text = fs::read_to_string(path)
            .map_err(|error| KernelError::failed("read how often a program was skipped", error))?;
        let value = text.lines().find_map(|line| line.strip_prefix("recursion_misses:"));
        Ok(value.and_then(|value| value.trim().parse().ok()).unwrap_or_default())
    }
}
