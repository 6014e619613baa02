//! Ports that are asked for, as the eBPF programs are told.

use aya::{Ebpf, maps::Array};
use tcp_trace_ebpf::{PORT_SETS, PORT_WORDS, PORTS_EITHER, PORTS_LOCAL, PORTS_PEER, maps};

use super::{KernelError, tracer::not_in_object};

/// Ports that are asked for; an empty set asks for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// Of either end.
    pub either: Vec<u16>,
    /// Of the end that reports.
    pub local: Vec<u16>,
    /// Of the other end.
    pub peer: Vec<u16>,
}

impl Ports {
    /// The sets in the order of the map, each with its bit.
    fn sets(&self) -> [(u8, &[u16]); PORT_SETS] {
        [(PORTS_EITHER, &self.either), (PORTS_LOCAL, &self.local), (PORTS_PEER, &self.peer)]
    }

    /// The bits of the sets that ask for anything.
    pub(super) fn asked(&self) -> u8 {
        self.sets().into_iter().filter(|(_, ports)| !ports.is_empty()).fold(0, |bits, (bit, _)| bits | bit)
    }

    /// Sets a bit for each port in the programs' map.
    pub(super) fn set(&self, ebpf: &mut Ebpf) -> Result<(), KernelError> {
        let failed = |error| KernelError::failed("filter by port", error);
        let map = ebpf.map_mut(maps::PORTS).ok_or_else(|| not_in_object(maps::PORTS))?;
        let mut words = Array::<_, u64>::try_from(map).map_err(failed)?;
        for ((_, ports), first) in self.sets().into_iter().zip((0..).step_by(PORT_WORDS)) {
            for port in ports {
                let index = first + u32::from(port / 64);
                let word = words.get(&index, 0).map_err(failed)? | 1 << (port % 64);
                words.set(index, word, 0).map_err(failed)?;
            }
        }
        Ok(())
    }
}
