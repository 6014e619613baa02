//! Adds to events where their processes run: executable and cgroup, looked up once per process and execve().

use std::{collections::HashMap, os::unix::ffi::OsStringExt as _, sync::Arc};

use bytes::Bytes;
use tcp_trace_model::event::{Event, EventKind, Owner, ProcessInfo, ProcessKey};

use crate::kernel::{cgroup_paths::CgroupPaths, process};

/// Processes in each of the two generations that are remembered.
const GENERATION_MAX: usize = 8_192;

/// Nanoseconds of a tick in which /proc shows times (`USER_HZ`, 100 on every architecture of today).
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

/// Executables and cgroups by process.
pub(super) struct Enricher {
    known: Generations<(u32, ProcessKey), ProcessInfo>,
    /// `None` when the cgroup hierarchy cannot be read.
    cgroups: Option<CgroupPaths>,
    /// Cgroups of processes that were looked up.
    new_cgroups: Vec<(u64, Arc<str>)>,
}

impl Enricher {
    pub(super) fn new() -> Self {
        let cgroups = CgroupPaths::open()
            .inspect_err(|error| log::warn!("cannot read cgroups, so connections have none: {error}"))
            .ok();
        Self { known: Generations::new(GENERATION_MAX), cgroups, new_cgroups: Vec::new() }
    }

    /// Fills in where the process of an event runs, if it names one, which is returned.
    pub(super) fn enrich<'a>(&mut self, event: &'a mut Event<'_>) -> Option<&'a Owner> {
        let owner = match &mut event.kind {
            EventKind::StateChange(change) => change.owner.as_mut(),
            EventKind::Owner(owner) => Some(owner),
            _ => None,
        }?;
        owner.info = self.place(owner);
        Some(owner)
    }

    /// The cgroups of processes that were looked up since the last call: id and path.
    pub(super) fn drain_new_cgroups(&mut self) -> impl Iterator<Item = (u64, Arc<str>)> {
        self.new_cgroups.drain(..)
    }

    fn place(&mut self, owner: &Owner) -> ProcessInfo {
        let Self { known, cgroups, new_cgroups } = self;
        known.get_or_insert_with((owner.pid, owner.key), || {
            let id = owner.key.cgroup;
            let cgroup: Option<Arc<str>> =
                cgroups.as_mut().and_then(|cgroups| cgroups.path(id).map(Arc::from));
            new_cgroups.extend(cgroup.iter().map(|path| (id, path.clone())));
            let executable = executable(owner.pid).filter(|_| is_still(owner));
            ProcessInfo { executable, cgroup }
        })
    }
}

/// A bounded cache in two generations: when the younger one is full, the older one is dropped and what is used from there on
/// is young again. So no more than half is ever looked up anew at a time, and what is in use stays.
struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    /// Entries of each.
    limit: usize,
}

impl<K: std::hash::Hash + Eq, V: Clone> Generations<K, V> {
    fn new(limit: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), limit }
    }

    fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> V {
        if let Some(value) = self.young.get(&key) {
            return value.clone();
        }
        if self.young.len() >= self.limit {
            self.old = std::mem::take(&mut self.young);
        }
        let value = self.old.remove(&key).unwrap_or_else(make);
        self.young.insert(key, value.clone());
        value
    }
}

/// Whether a process is what it was when its event was made: the same process, and by its name the same program.
fn is_still(owner: &Owner) -> bool {
    process::started(owner.pid) == Some(owner.key.started / NANOSECONDS_PER_TICK)
        && process::name(owner.pid).is_some_and(|name| name == owner.name)
}

/// Path of a process's executable, when the process is still there.
pub(super) fn executable(pid: u32) -> Option<Bytes> {
    process::executable(pid).map(|path| path.into_os_string().into_vec().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_is_looked_up_once_however_many_others_come() {
        let mut cache = Generations::new(100);
        let mut look_ups = 0;
        for other in 1..10_000 {
            cache.get_or_insert_with(0, || {
                look_ups += 1;
                "in use"
            });
            cache.get_or_insert_with(other, || "seen once");
        }
        assert_eq!(look_ups, 1);
    }

    #[test]
    fn it_never_holds_more_than_two_generations() {
        let mut cache = Generations::new(100);
        for key in 0..1_000 {
            cache.get_or_insert_with(key, || ());
            assert!(cache.young.len() <= 100 && cache.old.len() <= 100, "after {key}");
        }
        // Of those that were dropped, each is looked up again when it is used.
        let mut look_ups = 0;
        cache.get_or_insert_with(0, || look_ups += 1);
        assert_eq!(look_ups, 1);
    }
}
