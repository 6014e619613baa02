//! Where processes run: executable and cgroup, looked up once per process and execve().

use std::{collections::HashMap, os::unix::ffi::OsStringExt as _, sync::Arc};

use bytes::Bytes;
use tcp_trace_model::event::{Event, EventKind, Identity, Owner, Place};

use crate::kernel::{cgroup_paths::CgroupPaths, process};

/// Processes that are remembered; when there are more, all are looked up anew.
const PLACES_MAX: usize = 16_384;

/// Nanoseconds of a tick in which /proc tells times (`USER_HZ`, 100 on every architecture of today).
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

/// Executables and cgroups by process.
pub(super) struct Places {
    known: HashMap<(u32, Identity), Place>,
    /// `None` when the cgroup hierarchy cannot be read.
    cgroups: Option<CgroupPaths>,
    /// Cgroups of processes that were looked up.
    seen: Vec<(u64, Arc<str>)>,
}

impl Places {
    pub(super) fn new() -> Self {
        let cgroups = CgroupPaths::open()
            .inspect_err(|error| log::warn!("cannot read cgroups, so connections have none: {error}"))
            .ok();
        Self { known: HashMap::new(), cgroups, seen: Vec::new() }
    }

    /// Fills in where the process of an event runs, if it names one.
    pub(super) fn complete(&mut self, event: &mut Event<'_>) {
        let owner = match &mut event.kind {
            EventKind::StateChange(change) => change.owner.as_mut(),
            EventKind::Owner(owner) => Some(owner),
            _ => None,
        };
        if let Some(owner) = owner {
            self.look_up(owner);
        }
    }

    /// The cgroups of processes that were looked up since the last call: id and path.
    pub(super) fn take_seen(&mut self) -> impl Iterator<Item = (u64, Arc<str>)> {
        self.seen.drain(..)
    }

    fn look_up(&mut self, owner: &mut Owner) {
        let key = (owner.pid, owner.identity);
        if let Some(place) = self.known.get(&key) {
            owner.place = place.clone();
            return;
        }
        if self.known.len() >= PLACES_MAX {
            self.known.clear();
        }
        let cgroups = self.cgroups.as_mut();
        let id = owner.identity.cgroup;
        let cgroup: Option<Arc<str>> = cgroups.and_then(|cgroups| cgroups.path(id).map(Arc::from));
        self.seen.extend(cgroup.iter().map(|path| (id, path.clone())));
        let executable = executable(owner.pid).filter(|_| is_still(owner));
        owner.place = Place { executable, cgroup };
        self.known.insert(key, owner.place.clone());
    }
}

/// Whether a process is what it was when its event was made: the same process, and by its name the same program.
fn is_still(owner: &Owner) -> bool {
    process::started(owner.pid) == Some(owner.identity.started / NANOSECONDS_PER_TICK)
        && process::name(owner.pid).is_some_and(|name| name == owner.name)
}

/// Path of a process's executable, when the process is still there.
pub(super) fn executable(pid: u32) -> Option<Bytes> {
    process::executable(pid).map(|path| path.into_os_string().into_vec().into())
}
