//! Resolves stacks: which functions, files and lines they are.

use std::{borrow::Cow, collections::HashMap, os::unix::ffi::OsStrExt as _, sync::Arc};

use blazesym::symbolize::{
    CodeInfo, Input, Sym, Symbolized, Symbolizer,
    source::{Elf, Source},
};
use framehop::FrameAddress;

use super::process::{Modules, Place, Process};
use crate::{
    event::{Identity, Owner, Registers},
    kernel::process,
    record::{Frame, Stack, Text},
};

/// Processes whose code is remembered; when there are more, all are read anew.
const PROCESSES_MAX: usize = 256;
/// Different stacks that are remembered, likewise.
const STACKS_MAX: usize = 4096;
/// Longest name of a function that is told, in bytes: those of templates have no end.
const NAME_MAX: usize = 1024;

/// Nanoseconds of a tick in which /proc tells times (`USER_HZ`, 100 on every architecture of today).
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

/// A process, whatever its id is used for later.
type Key = (u32, Identity);

/// Resolves stacks of processes that are alive, and remembers what it read for those that come later.
pub struct Resolver {
    symbolizer: Symbolizer,
    modules: Modules,
    processes: HashMap<Key, Process>,
    stacks: HashMap<(Key, Vec<u64>), Arc<Stack>>,
    nobody: Arc<Stack>,
    gone: Arc<Stack>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self {
            symbolizer: Symbolizer::new(),
            modules: Modules::default(),
            processes: HashMap::new(),
            stacks: HashMap::new(),
            nobody: Arc::new(Stack::missing("the kernel did it by itself")),
            gone: Arc::new(Stack::missing("the process was gone")),
        }
    }
}

impl Resolver {
    /// The functions that a thread of `owner` with these registers and this stack is in. Takes as long as it takes to
    /// read debug information.
    pub fn resolve(&mut self, owner: &Owner, registers: Registers, bytes: &[u8]) -> Arc<Stack> {
        if registers.ip == 0 {
            return self.nobody.clone();
        }
        let key = (owner.pid, owner.identity);
        if !self.processes.contains_key(&key) && !self.read(owner) {
            return self.gone.clone();
        }
        let Some((mut addresses, mut truncated)) = self.unwind(key, registers, bytes) else {
            return self.gone.clone();
        };
        // A library was loaded since.
        if !self.knows(key, &addresses) && self.read(owner) {
            (addresses, truncated) = self.unwind(key, registers, bytes).unwrap_or((addresses, truncated));
        }
        if !self.knows(key, addresses.get(..1).unwrap_or_default()) {
            return self.gone.clone();
        }
        let of_stack = (key, addresses.iter().map(|address| address.address()).collect::<Vec<_>>());
        if let Some(stack) = self.stacks.get(&of_stack) {
            return stack.clone();
        }
        if self.stacks.len() >= STACKS_MAX {
            self.stacks.clear();
        }
        let frames = addresses.iter().flat_map(|address| self.frames(key, *address)).collect();
        let stack = Arc::new(Stack { frames, truncated, missing: None });
        self.stacks.insert(of_stack, stack.clone());
        stack
    }

    /// Reads the code of a process that is still what it was; false when it is gone.
    fn read(&mut self, owner: &Owner) -> bool {
        if self.processes.len() >= PROCESSES_MAX || self.modules.are_full() {
            self.processes.clear();
            self.modules = Modules::default();
            self.symbolizer = Symbolizer::new();
        }
        let code = Process::read(owner.pid, || is_still(owner), &mut self.modules);
        let was_read = code.is_some();
        if let Some(code) = code {
            self.processes.insert((owner.pid, owner.identity), code);
        }
        was_read
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

    /// The frames at an address: that of the function, after those that the compiler put into it.
    fn frames(&self, key: Key, address: FrameAddress) -> Vec<Frame> {
        let place = self.processes.get(&key).and_then(|process| process.place(address.address_for_lookup()));
        let Some(place) = place.filter(|place| !place.path.is_empty()) else {
            return vec![Frame { address: Some(address.address()), ..Frame::default() }];
        };
        let Place { path, module } = place;
        let linked_after = module.map(|(_, linked)| {
            linked.wrapping_add(address.address().wrapping_sub(address.address_for_lookup()))
        });
        let bare = Frame { module: Some(Text(path.to_vec())), offset: linked_after, ..Frame::default() };
        let Some((module, linked)) = module else { return vec![bare] };
        let mut elf = Elf::new(module.path());
        elf.debug_syms = module.has_lines;
        let linked = [linked];
        let symbolized = self
            .symbolizer
            .symbolize(&Source::from(elf), Input::VirtOffset(&linked))
            .inspect_err(|error| log::debug!("{}: {error}", String::from_utf8_lossy(path)));
        match symbolized.ok().and_then(|symbols| symbols.into_iter().next()) {
            Some(Symbolized::Sym(symbol)) => with_symbol(&bare, &symbol),
            _ => vec![bare],
        }
    }
}

fn with_symbol(bare: &Frame, symbol: &Sym<'_>) -> Vec<Frame> {
    let frame = |name: &Cow<'_, str>, place: Option<&CodeInfo<'_>>, inlined: bool| Frame {
        function: Some(cut(name).to_owned()),
        file: place.map(|place| Text(place.to_path().as_os_str().as_bytes().to_vec())),
        line: place.and_then(|place| place.line),
        inlined,
        ..bare.clone()
    };
    let inlined = symbol.inlined.iter().rev().map(|one| frame(&one.name, one.code_info.as_ref(), true));
    inlined.chain([frame(&symbol.name, symbol.code_info.as_deref(), false)]).collect()
}

fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(NAME_MAX)]
}

/// Whether the process with this id is the one whose stack was taken. What it executes may be another program since:
/// then the instruction pointer is in nothing that is mapped, because programs are put at random addresses.
fn is_still(owner: &Owner) -> bool {
    process::started(owner.pid) == Some(owner.identity.started / NANOSECONDS_PER_TICK)
}
