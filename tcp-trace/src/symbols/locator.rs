//! Finds the code that a thread is in, while its process is there: unwinds its stack, and keeps the files open.

use std::{collections::HashMap, sync::Arc};

use framehop::FrameAddress;
use tcp_trace_model::{
    event::{Owner, ProcessKey, Registers},
    record::Stack,
};

use super::{
    perf_map::PerfMap,
    process::{CAN_UNWIND, InModule, Modules, Opened, Process},
};
use crate::kernel::process;

/// Processes whose code is remembered; when there are more, all are read anew.
const PROCESSES_MAX: usize = 256;

/// Processes whose own names of their functions are remembered.
const PERF_MAPS_MAX: usize = 16;

/// Files of processes that are open before they are read; further processes have to be there until it is their turn.
const HELD_FILES_MAX: usize = 256;

/// Nanoseconds of a tick in which /proc gives times (`USER_HZ`, 100 on every architecture of today).
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

/// A process, whatever its id is used for later.
type Key = (u32, ProcessKey);

/// A stack whose code was found: it can be named even after the process has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LocatedStack {
    /// The innermost first.
    pub(super) frames: Vec<LocatedFrame>,
    /// Whether there are further frames that could not be found.
    pub(super) truncated: bool,
}

/// A place in a file, or an address in memory that belongs to none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LocatedFrame {
    /// Where the call is in the process; 0 if the module says more, so that equal places are equal in all processes.
    pub(super) address: u64,
    /// Path of the file, as the process sees it, or what the kernel calls the mapping. Empty for neither.
    pub(super) path: Arc<[u8]>,
    /// The file, when it could be read, and the address in it as linked.
    pub(super) module: Option<InModule>,
    /// What the process itself calls a function that it compiled while it ran.
    pub(super) name: Option<Arc<str>>,
}

/// Finds the code of stacks, and remembers what it read for those that come later.
#[derive(Default)]
pub struct Locator {
    modules: Modules,
    processes: HashMap<Key, Process>,
    perf_maps: HashMap<Key, PerfMap>,
    /// Processes that are about to be read, and may be gone by then.
    held: HashMap<Key, Opened>,
}

impl Locator {
    /// Opens the files of a process whose stack will be needed: they are opened at once, and read later.
    pub fn hold(&mut self, owner: &Owner) {
        let key = (owner.pid, owner.key);
        let files: usize = self.held.values().map(Opened::files).sum();
        if files >= HELD_FILES_MAX || self.processes.contains_key(&key) || self.held.contains_key(&key) {
            return;
        }
        if let Some(opened) = Opened::open(owner.pid, || is_still(owner)) {
            self.held.insert(key, opened);
        }
    }

    /// The code that a thread of `owner` with these registers and this stack is in; or why that is unknown.
    pub fn locate(
        &mut self,
        owner: &Owner,
        registers: Registers,
        bytes: &[u8],
    ) -> Result<LocatedStack, Stack> {
        if !CAN_UNWIND {
            return Err(Stack::missing("stacks of this architecture cannot be unwound"));
        }
        if registers.ip == 0 {
            return Err(Stack::missing("done by the kernel itself"));
        }
        let gone = || Stack::missing("the process was gone");
        let key = (owner.pid, owner.key);
        if !self.processes.contains_key(&key) && !self.read(owner) {
            return Err(gone());
        }
        let (mut addresses, mut truncated) = self.unwind(key, registers, bytes).ok_or_else(gone)?;
        // A library was loaded since.
        if !self.knows(key, &addresses) && self.read(owner) {
            (addresses, truncated) = self.unwind(key, registers, bytes).ok_or_else(gone)?;
        }
        if !self.knows(key, addresses.get(..1).unwrap_or_default()) {
            return Err(gone());
        }
        let mut frames: Vec<_> = addresses.iter().map(|address| self.frame(key, *address)).collect();
        self.name(key, &mut frames);
        Ok(LocatedStack { frames, truncated })
    }

    /// Reads the code of a process that is still what it was, or was when it was held; false when it is gone.
    fn read(&mut self, owner: &Owner) -> bool {
        if self.processes.len() >= PROCESSES_MAX || self.modules.are_full() {
            self.processes.clear();
            self.perf_maps.clear();
            self.modules = Modules::default();
        }
        let key = (owner.pid, owner.key);
        let opened = self.held.remove(&key).or_else(|| Opened::open(owner.pid, || is_still(owner)));
        let Some(opened) = opened else { return false };
        self.processes.insert(key, Process::read(opened, &mut self.modules));
        true
    }

    fn unwind(&mut self, key: Key, registers: Registers, bytes: &[u8]) -> Option<(Vec<FrameAddress>, bool)> {
        Some(self.processes.get_mut(&key)?.unwind(registers, bytes))
    }

    /// Whether all these addresses are in what is mapped.
    fn knows(&self, key: Key, addresses: &[FrameAddress]) -> bool {
        let process = self.processes.get(&key);
        let knows = |address: &FrameAddress| process?.place(address.address_for_lookup());
        addresses.iter().all(|address| knows(address).is_some())
    }

    /// Gives frames that are in no file the names that the process itself has for what it compiled while it ran.
    fn name(&mut self, key: Key, frames: &mut [LocatedFrame]) {
        let mut frames = frames.iter_mut().filter(|frame| frame.path.is_empty()).peekable();
        if frames.peek().is_none() {
            return;
        }
        if self.perf_maps.len() >= PERF_MAPS_MAX && !self.perf_maps.contains_key(&key) {
            self.perf_maps.clear();
        }
        let map = self.perf_maps.entry(key).or_default();
        map.refresh(key.0);
        for frame in frames {
            frame.name = map.name(frame.address);
        }
    }

    fn frame(&self, key: Key, address: FrameAddress) -> LocatedFrame {
        let looked_up = address.address_for_lookup();
        let place = self.processes.get(&key).and_then(|process| process.place(looked_up));
        let (path, module) = place.filter(|(path, _)| !path.is_empty()).unwrap_or_default();
        LocatedFrame { address: if module.is_some() { 0 } else { looked_up }, path, module, name: None }
    }
}

/// Whether the process with this id is the one whose stack was taken. What it executes may be another program since:
/// then the instruction pointer is in nothing that is mapped, because programs are put at random addresses.
fn is_still(owner: &Owner) -> bool {
    process::started(owner.pid) == Some(owner.key.started / NANOSECONDS_PER_TICK)
}
