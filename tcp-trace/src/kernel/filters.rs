//! The part of a filter that the eBPF programs decide: which kinds are in use, and their values.

use std::hash::Hash;

use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap, MapData, MapError},
};
use tcp_trace_ebpf::{
    BY_CGROUP, BY_COMM, BY_FOLLOWED, BY_PID, COMM_LEN, EXCLUDED_CGROUPS_MAX, FILTER_VALUES_MAX,
    FOLLOW_CHILDREN, PORT_SETS, PORTS_EITHER, PORTS_LOCAL, PORTS_PEER, maps, port_place,
};
use tcp_trace_model::record::Filter;

use super::{
    KernelError,
    cgroup_paths::CgroupPaths,
    tracer::{not_in_object, taken},
};

/// A filter as the programs apply it: they drop what it certainly excludes.
#[derive(Clone, Copy)]
pub(super) struct KernelFilter<'a>(pub(super) &'a Filter);

impl<'a> KernelFilter<'a> {
    /// The bits of the sets of ports that are not empty.
    pub(super) fn ports(self) -> u8 {
        self.port_sets()
            .into_iter()
            .filter(|(_, ports)| !ports.is_empty())
            .fold(0, |bits, (bit, _)| bits | bit)
    }

    /// The bits of what processes are selected by.
    pub(super) fn processes(self) -> u8 {
        let Self(filter) = self;
        [
            (BY_PID, is_decided(&filter.pid)),
            (BY_COMM, is_decided(&filter.comm)),
            (BY_FOLLOWED, filter.followed),
            (BY_CGROUP, !filter.cgroup.is_empty()),
        ]
        .into_iter()
        .filter(|(_, is_decided)| *is_decided)
        .fold(0, |bits, (bit, _)| bits | bit)
    }

    /// Whether network namespaces are selected.
    pub(super) fn networks(self) -> u8 {
        u8::from(is_decided(&self.0.netns))
    }

    /// Entries that the map of excluded cgroups needs.
    pub(super) fn excluded_cgroups_max(self) -> u32 {
        if self.0.cgroup.is_empty() { 1 } else { EXCLUDED_CGROUPS_MAX as u32 }
    }

    /// Fills the programs' maps.
    pub(super) fn set(self, ebpf: &mut Ebpf) -> Result<(), KernelError> {
        let Self(filter) = self;
        self.set_ports(ebpf)?;
        insert(ebpf, maps::PIDS, filter.pid.iter().copied())?;
        insert(ebpf, maps::COMMS, filter.comm.iter().map(|name| padded(name)))?;
        insert(ebpf, maps::NETWORKS, filter.netns.iter().copied())
    }

    /// The sets of ports, each with its bit.
    fn port_sets(self) -> [(u8, &'a [u16]); PORT_SETS] {
        let Self(filter) = self;
        [(PORTS_EITHER, &filter.port), (PORTS_LOCAL, &filter.local_port), (PORTS_PEER, &filter.peer_port)]
    }

    /// Sets a bit for each port.
    fn set_ports(self, ebpf: &mut Ebpf) -> Result<(), KernelError> {
        let map = ebpf.map_mut(maps::PORTS).ok_or_else(|| not_in_object(maps::PORTS))?;
        let mut words = Array::<_, u64>::try_from(map).map_err(failed)?;
        for (set, ports) in self.port_sets() {
            for port in ports {
                let (index, bit) = port_place(set, *port);
                let word = words.get(&index, 0).map_err(failed)? | bit;
                words.set(index, word, 0).map_err(failed)?;
            }
        }
        Ok(())
    }
}

/// What user space adds to the filter while the programs run.
pub(super) struct FilterUpdates {
    existing_loaded: Array<MapData, u32>,
    /// When cgroups are selected.
    excluded_cgroups: Option<HashMap<MapData, u64, u8>>,
}

impl FilterUpdates {
    /// Takes the maps, and excludes the existing cgroups that are not selected.
    pub(super) fn new(ebpf: &mut Ebpf, filter: &Filter) -> Result<Self, KernelError> {
        let existing_loaded = Array::try_from(taken(ebpf, maps::EXISTING_LOADED)?).map_err(failed)?;
        let mut updates = Self { existing_loaded, excluded_cgroups: None };
        if !filter.cgroup.is_empty() {
            updates.excluded_cgroups =
                Some(HashMap::try_from(taken(ebpf, maps::EXCLUDED_CGROUPS)?).map_err(failed)?);
            match CgroupPaths::open() {
                Ok(mut paths) => paths
                    .all()
                    .filter(|(_, path)| !filter.asks_for_cgroup(path))
                    .take(EXCLUDED_CGROUPS_MAX)
                    .for_each(|(id, _)| updates.exclude_cgroup(id)),
                Err(error) => log::debug!("cannot use the map of excluded cgroups: {error}"),
            }
        }
        Ok(updates)
    }

    /// Excludes a cgroup.
    pub(super) fn exclude_cgroup(&mut self, id: u64) {
        if let Some(map) = &mut self.excluded_cgroups
            && let Err(error) = map.insert(id, 1, 0)
        {
            // The programs go on reporting what its processes do: that costs time, and nothing else.
            log::debug!("cannot exclude a cgroup: {error}");
        }
    }

    /// Tells the programs that the list of existing sockets is loaded.
    pub(super) fn mark_existing_loaded(&mut self) {
        if let Err(error) = self.existing_loaded.set(0, 1, 0) {
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

/// Whether the programs decide a kind: it has values, and there is room for them.
fn is_decided<T>(values: &[T]) -> bool {
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
    fn the_programs_know_which_kinds_are_in_use() {
        for (filter, ports, processes, networks) in [
            (Filter::default(), 0, 0, 0),
            (
                Filter { port: vec![80], peer_port: vec![81], ..Filter::default() },
                PORTS_EITHER | PORTS_PEER,
                0,
                0,
            ),
            (Filter { pid: vec![7], comm: vec!["a".into()], ..Filter::default() }, 0, BY_PID | BY_COMM, 0),
            (Filter { followed: true, ..Filter::default() }, 0, BY_FOLLOWED, 0),
            (Filter { cgroup: vec!["/a".into()], netns: vec![1], ..Filter::default() }, 0, BY_CGROUP, 1),
        ] {
            let kernel = KernelFilter(&filter);
            assert_eq!(
                (kernel.ports(), kernel.processes(), kernel.networks()),
                (ports, processes, networks),
                "{filter:?}"
            );
        }
    }

    #[test]
    fn more_values_than_there_is_room_for_are_left_to_user_space() {
        let pids = |count: usize| Filter { pid: (0..count as u32).collect(), ..Filter::default() };
        assert_eq!(KernelFilter(&pids(FILTER_VALUES_MAX)).processes(), BY_PID);
        assert_eq!(KernelFilter(&pids(FILTER_VALUES_MAX + 1)).processes(), 0);
    }

    #[test]
    fn names_have_zeros_behind_them() {
        assert_eq!(padded("nginx"), *b"nginx\0\0\0\0\0\0\0\0\0\0\0");
    }
}
