//! Interleaved measurements: every round measures each tool once, so that what changes on the machine meanwhile
//! changes for all.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::{
    cost,
    tool::{Ended, Tool},
    workload::{Target, Throughput, Workload},
};

/// How long the load runs before it is measured, in seconds.
const WARM_UP: u32 = 1;

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) throughput: Throughput,
    /// Rate as a part of that without a tool, in the same round.
    pub(crate) ratio: f64,
    /// Processor time of the server.
    pub(crate) server_time: Duration,
    /// Processor time of the tool.
    pub(crate) tool_time: Duration,
    /// Most memory of the tool, in bytes.
    pub(crate) memory: u64,
    pub(crate) ended: Ended,
}

/// All measurements of a tool.
pub(crate) struct Measured {
    pub(crate) tool: Tool,
    pub(crate) samples: Vec<Sample>,
}

/// Measures every tool in every round.
pub(crate) fn measure(
    workload: Workload,
    tools: &[Tool],
    rounds: u32,
    seconds: u32,
) -> Result<Vec<Measured>> {
    let target = workload.prepare()?;
    let all = [Tool::None].iter().chain(tools);
    let mut measured: Vec<_> = all.map(|tool| Measured { tool: *tool, samples: Vec::new() }).collect();
    for round in 0..rounds {
        eprintln!("{}: round {} of {rounds}", workload.name(), round + 1);
        let bare = sample(workload, Tool::None, &target, seconds)?;
        measured[0].samples.push(Sample { ratio: 1.0, ..bare });
        // Every other round in the other order.
        let last = tools.len();
        for step in 0..tools.len() {
            let index = if round % 2 == 0 { 1 + step } else { last - step };
            let tool = measured[index].tool;
            let sample = sample(workload, tool, &target, seconds)
                .with_context(|| format!("{} under {}", tool.name(), workload.name()))?;
            let ratio = sample.throughput.rate / bare.throughput.rate;
            measured[index].samples.push(Sample { ratio, ..sample });
        }
    }
    Ok(measured)
}

fn sample(workload: Workload, tool: Tool, target: &Target, seconds: u32) -> Result<Sample> {
    let running = tool.start(target.port)?;
    workload.run(target, WARM_UP)?;
    let before = (cost::processor_time(target.pid)?, running.processor_time()?);
    let throughput = workload.run(target, seconds)?;
    let after = (cost::processor_time(target.pid)?, running.processor_time()?);
    let memory = running.peak_memory()?;
    let ended = running.stop()?;
    Ok(Sample {
        throughput,
        ratio: 1.0,
        server_time: after.0.saturating_sub(before.0),
        tool_time: after.1.saturating_sub(before.1),
        memory,
        ended,
    })
}

/// The middle of some values; of an even number of them, the upper one.
pub(crate) fn median<T: PartialOrd + Copy>(mut values: Vec<T>) -> Option<T> {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4, 1, 3, 2]), Some(3));
        assert_eq!(median(Vec::<u8>::new()), None);
    }
}
