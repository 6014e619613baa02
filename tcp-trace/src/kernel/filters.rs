//! What the eBPF programs decide of a filter: which kinds are asked for, and their values.

use std::hash::Hash;

use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap, MapData, MapError},
};
use tcp_trace_ebpf::{
    COMM_LEN, FILTER_VALUES_MAX, FOLLOW_CHILDREN, OTHER_CGROUPS_MAX, OWNERS_CGROUP, OWNERS_COMM,
    OWNERS_FOLLOWED, OWNERS_PID, PORT_SETS, PORT_WORDS, PORTS_EITHER, PORTS_LOCAL, PORTS_PEER, maps,
};
use tcp_trace_model::record::Filter;

use super::{
    KernelError,
    cgroup_paths::CgroupPaths,
    tracer::{not_in_object, taken},
};

/// A filter, as far as the programs are told of it: they leave out what it certainly does not ask for.
#[derive(Clone, Copy)]
pub(super) struct Told<'a>(pub(super) &'a Filter);

impl<'a> Told<'a> {
    /// The bits of the sets of ports that ask for anything.
    pub(super) fn ports(self) -> u8 {
        self.port_sets()
            .into_iter()
            .filter(|(_, ports)| !ports.is_empty())
            .fold(0, |bits, (bit, _)| bits | bit)
    }

    /// The bits of what owners are asked for by.
    pub(super) fn owners(self) -> u8 {
        let Self(filter) = self;
        [
            (OWNERS_PID, is_told(&filter.pid)),
            (OWNERS_COMM, is_told(&filter.comm)),
            (OWNERS_FOLLOWED, filter.followed),
            (OWNERS_CGROUP, !filter.cgroup.is_empty()),
        ]
        .into_iter()
        .filter(|(_, is_told)| *is_told)
        .fold(0, |bits, (bit, _)| bits | bit)
    }

    /// Whether network namespaces are asked for.
    pub(super) fn networks(self) -> u8 {
        u8::from(is_told(&self.0.netns))
    }

    /// Entries that the map of other cgroups needs.
    pub(super) fn other_cgroups_max(self) -> u32 {
        if self.0.cgroup.is_empty() { 1 } else { OTHER_CGROUPS_MAX as u32 }
    }

    /// Fills the programs' maps.
    pub(super) fn set(self, ebpf: &mut Ebpf) -> Result<(), KernelError> {
        let Self(filter) = self;
        self.set_ports(ebpf)?;
        insert(ebpf, maps::PIDS, filter.pid.iter().copied())?;
        insert(ebpf, maps::COMMS, filter.comm.iter().map(|name| padded(name)))?;
        insert(ebpf, maps::NETWORKS, filter.netns.iter().copied())
    }

    /// The sets of ports in the order of their map, each with its bit.
    fn port_sets(self) -> [(u8, &'a [u16]); PORT_SETS] {
        let Self(filter) = self;
        [(PORTS_EITHER, &filter.port), (PORTS_LOCAL, &filter.local_port), (PORTS_PEER, &filter.peer_port)]
    }

    /// Sets a bit for each port.
    fn set_ports(self, ebpf: &mut Ebpf) -> Result<(), KernelError> {
        let map = ebpf.map_mut(maps::PORTS).ok_or_else(|| not_in_object(maps::PORTS))?;
        let mut words = Array::<_, u64>::try_from(map).map_err(failed)?;
        for ((_, ports), first) in self.port_sets().into_iter().zip((0..).step_by(PORT_WORDS)) {
            for port in ports {
                let index = first + u32::from(port / 64);
                let word = words.get(&index, 0).map_err(failed)? | 1 << (port % 64);
                words.set(index, word, 0).map_err(failed)?;
            }
        }
        Ok(())
    }
}

/// What the programs are told while they run.
pub(super) struct Learning {
    older_known: Array<MapData, u32>,
    /// When cgroups are asked for.
    other_cgroups: Option<HashMap<MapData, u64, u8>>,
}

impl Learning {
    /// Takes the maps, and tells of the cgroups that are there.
    pub(super) fn new(ebpf: &mut Ebpf, filter: &Filter) -> Result<Self, KernelError> {
        let older_known = Array::try_from(taken(ebpf, maps::OLDER_KNOWN)?).map_err(failed)?;
        let mut learning = Self { older_known, other_cgroups: None };
        if !filter.cgroup.is_empty() {
            learning.other_cgroups =
                Some(HashMap::try_from(taken(ebpf, maps::OTHER_CGROUPS)?).map_err(failed)?);
            match CgroupPaths::open() {
                Ok(mut paths) => paths
                    .all()
                    .filter(|(_, path)| !filter.asks_for_cgroup(path))
                    .take(OTHER_CGROUPS_MAX)
                    .for_each(|(id, _)| learning.other_cgroup(id)),
                Err(error) => log::debug!("cannot use the map of excluded cgroups: {error}"),
            }
        }
        Ok(learning)
    }

    /// Tells of a cgroup that is not asked for.
    pub(super) fn other_cgroup(&mut self, id: u64) {
        if let Some(map) = &mut self.other_cgroups
            && let Err(error) = map.insert(id, 1, 0)
        {
            // The programs go on handing over what its processes do: that costs time, and nothing else.
            log::debug!("cannot exclude a cgroup: {error}");
        }
    }

    /// Tells that the list of older sockets was taken.
    pub(super) fn older_known(&mut self) {
        if let Err(error) = self.older_known.set(0, 1, 0) {
            log::debug!("cannot mark existing sockets as loaded: {error}");
        }
    }
}

/// Follows the children of this process.
pub(super) fn follow_children(ebpf: &mut Ebpf) -> Result<(), KernelError> {
    let failed = |error| KernelError::failed("follow the command", error);
    let map = ebpf.map_mut(maps::FOLLOWED).ok_or_else(|| not_in_object(maps::FOLLOWED))?;
    let mut followed = HashMap::<_, u32, u8>::try_from(map).map_err(failed)?;
    followed.insert(std::process::id(), FOLLOW_CHILDREN, 0).map_err(failed)
}

/// Whether the programs have room for the values of a kind, of which there are some.
fn is_told<T>(values: &[T]) -> bool {
    !values.is_empty() && values.len() <= FILTER_VALUES_MAX
}

fn insert<K: Pod + Eq + Hash>(
    ebpf: &mut Ebpf,
    name: &'static str,
    values: impl ExactSizeIterator<Item = K>,
) -> Result<(), KernelError> {
    let map = ebpf.map_mut(name).ok_or_else(|| not_in_object(name))?;
    let mut map = HashMap::<_, K, u8>::try_from(map).map_err(failed)?;
    if values.len() > FILTER_VALUES_MAX {
        return Ok(());
    }
    values.into_iter().try_for_each(|value| map.insert(value, 1, 0)).map_err(failed)
}

/// A name as the kernel keeps it, with zeros behind it. A longer one is no process's.
fn padded(name: &str) -> [u8; COMM_LEN] {
    let mut comm = [0; COMM_LEN];
    comm.iter_mut().zip(name.as_bytes()).for_each(|(to, from)| *to = *from);
    comm
}

fn failed(error: MapError) -> KernelError {
    KernelError::failed("pass the filter to the eBPF programs", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_are_told_which_kinds_are_asked_for() {
        for (filter, ports, owners, networks) in [
            (Filter::default(), 0, 0, 0),
            (
                Filter { port: vec![80], peer_port: vec![81], ..Filter::default() },
                PORTS_EITHER | PORTS_PEER,
                0,
                0,
            ),
            (
                Filter { pid: vec![7], comm: vec!["a".into()], ..Filter::default() },
                0,
                OWNERS_PID | OWNERS_COMM,
                0,
            ),
            (Filter { followed: true, ..Filter::default() }, 0, OWNERS_FOLLOWED, 0),
            (Filter { cgroup: vec!["/a".into()], netns: vec![1], ..Filter::default() }, 0, OWNERS_CGROUP, 1),
        ] {
            let told = Told(&filter);
            assert_eq!(
                (told.ports(), told.owners(), told.networks()),
                (ports, owners, networks),
                "{filter:?}"
            );
        }
    }

    #[test]
    fn more_values_than_there_is_room_for_are_left_to_user_space() {
        let pids = |count: usize| Filter { pid: (0..count as u32).collect(), ..Filter::default() };
        assert_eq!(Told(&pids(FILTER_VALUES_MAX)).owners(), OWNERS_PID);
        assert_eq!(Told(&pids(FILTER_VALUES_MAX + 1)).owners(), 0);
    }

    #[test]
    fn names_have_zeros_behind_them() {
        assert_eq!(padded("nginx"), *b"nginx\0\0\0\0\0\0\0\0\0\0\0");
    }
}
