//! What the programs could not hand over, as they and the kernel count it.

use std::{
    fs::File,
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::fs::FileExt as _,
    },
};

use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray},
    programs::{Program, ProgramError},
};
use tcp_trace_ebpf::{LOST_RECORDS, NESTED, programs};
use tcp_trace_model::record::LossPlace;

use super::KernelError;

/// More than what the kernel says of a program (`bpf_prog_show_fdinfo()`).
const FDINFO_BYTES_MAX: usize = 4096;

/// The counters and what they said the last time.
pub(super) struct Losses {
    counters: PerCpuArray<MapData, u64>,
    ring: Vec<u64>,
    programs: Vec<TracingProgram>,
    skipped: u64,
}

/// A program that the kernel does not run while it is running on the same CPU already.
struct TracingProgram {
    /// What the kernel says of it, while its descriptor is open.
    fdinfo: File,
    _descriptor: OwnedFd,
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
    pub(super) fn new(counters: PerCpuArray<MapData, u64>, ebpf: &Ebpf) -> Result<Self, KernelError> {
        let programs = ebpf.programs().filter_map(|(name, program)| TracingProgram::new(name, program));
        let programs = programs.collect::<Result<_, _>>()?;
        Ok(Self { counters, ring: Vec::new(), programs, skipped: 0 })
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
        // The second program on the tracepoint of transitions counts what it reports before the kernel counts that it skips
        // the first: read in the other order, nothing is missing that is on its way.
        let misses = self.programs.iter().map(TracingProgram::misses).sum::<Result<u64, _>>()?;
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
}

impl TracingProgram {
    /// `None` of a program that is not loaded, and of those that lose no event when the kernel skips them: what interrupts the
    /// programs on reads and writes is a softirq, which uses no socket for a process; fork is not interrupted by one. Where the
    /// second program on the tracepoint of transitions is skipped, the first runs, or is skipped too.
    fn new(name: &str, program: &Program) -> Option<Result<Self, KernelError>> {
        let Program::BtfTracePoint(program) = program else { return None };
        if ![programs::STATE, programs::RESET].contains(&name) {
            return None;
        }
        let descriptor = match program.fd() {
            Ok(fd) => fd.as_fd().try_clone_to_owned().map_err(ProgramError::from),
            Err(ProgramError::NotLoaded) => return None,
            Err(error) => Err(error),
        };
        let open = |descriptor: OwnedFd| {
            let fdinfo = File::open(format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd()))?;
            Ok::<_, ProgramError>(Self { fdinfo, _descriptor: descriptor })
        };
        let opened = descriptor.and_then(open);
        Some(opened.map_err(|error| KernelError::failed(format!("use the program {name}"), error)))
    }

    /// How often the kernel did not run it because it was running on that CPU already
    /// (`recursion_misses` in `bpf_prog_show_fdinfo()`).
    fn misses(&self) -> Result<u64, KernelError> {
        let mut bytes = [0; FDINFO_BYTES_MAX];
        let length = self.fdinfo.read_at(&mut bytes, 0);
        let length =
            length.map_err(|error| KernelError::failed("read how often a program was skipped", error))?;
        Ok(recursion_misses(&bytes[..length]))
    }
}

fn recursion_misses(fdinfo: &[u8]) -> u64 {
    let mut lines = fdinfo.split(|byte| *byte == b'\n');
    let value = lines.find_map(|line| str::from_utf8(line).ok()?.strip_prefix("recursion_misses:"));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_runs_are_in_a_line_of_their_own() {
        let text = b"pos:\t0\nflags:\t02000002\nprog_type:\t26\nrun_cnt:\t0\nrecursion_misses:\t12\n";
        assert_eq!(recursion_misses(text), 12);
        assert_eq!(recursion_misses(b"pos:\t0\nprog_type:\t26\n"), 0, "Linux 5.11 and before");
    }
}
