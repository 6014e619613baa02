//! The code of a process: its modules, and unwinding through them.

use std::{
    collections::HashMap,
    fs::{self, File},
    ops::Range,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    sync::Arc,
};

#[cfg(target_arch = "aarch64")]
use framehop::aarch64::{
    CacheAarch64 as Cache, UnwindRegsAarch64 as UnwindRegs, UnwinderAarch64 as CodeUnwinder,
};
#[cfg(not(target_arch = "aarch64"))]
use framehop::{
    FrameAddress, MayAllocateDuringUnwind, Unwinder as _,
    x86_64::{CacheX86_64 as Cache, UnwindRegsX86_64 as UnwindRegs, UnwinderX86_64 as CodeUnwinder},
};
use tcp_trace_model::event::Registers;

use super::{
    maps::{self, Mapping},
    module::{FileId, Module},
};

/// Whether stacks can be unwound on this architecture.
pub(super) const CAN_UNWIND: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

/// Executable mappings of a process that are known; a program with more has code of its own making.
const MAPPINGS_MAX: usize = 4096;
/// Files that are kept open; when there are more, all are read anew.
const MODULES_MAX: usize = 256;
/// Files of a process that are opened.
const OPEN_MAX: usize = 192;
/// Frames of a stack that are reported.
const FRAMES_MAX: usize = 128;

/// Modules by file, shared by all processes. `None` for a file that is not ELF.
#[derive(Default)]
pub(super) struct Modules {
    by_file: HashMap<FileId, Option<Arc<Module>>>,
}

impl Modules {
    /// Whether there is no room for those of a further process.
    pub(super) fn are_full(&self) -> bool {
        self.by_file.len() >= MODULES_MAX
    }

    fn of(&mut self, file: File) -> Option<Arc<Module>> {
        let id = FileId::of(&file).ok()?;
        self.by_file.entry(id).or_insert_with(|| Module::read(file, id).map(Arc::new)).clone()
    }
}

/// The file of a mapping: by itself, which takes CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE, or by its path.
fn open(pid: u32, mapping: &Mapping) -> Option<File> {
    if !mapping.is_file() {
        return None;
    }
    const DELETED: &[u8] = b" (deleted)";
    if let Ok(file) = File::open(format!("/proc/{pid}/map_files/{}", mapping.name())) {
        return Some(file);
    }
    if mapping.path.ends_with(DELETED) {
        // At its path there is another file, or none.
        return None;
    }
    let inside = Path::new(std::ffi::OsStr::from_bytes(mapping.path.strip_prefix(b"/")?));
    File::open(Path::new(&format!("/proc/{pid}/root")).join(inside)).ok()
}

/// What a process has mapped, with the files opened: they can be read when it is gone.
pub(super) struct Opened {
    mappings: Vec<(Mapping, Option<File>)>,
}

impl Opened {
    /// Opens what is mapped. `None` when the process is gone, or when `is_still` says that it is another one.
    pub(super) fn open(pid: u32, is_still: impl FnOnce() -> bool) -> Option<Self> {
        let text = fs::read(format!("/proc/{pid}/maps")).ok()?;
        let mut files = 0;
        let mappings = maps::parse(&text, MAPPINGS_MAX).into_iter().map(|mapping| {
            let file = if files < OPEN_MAX { open(pid, &mapping) } else { None };
            files += usize::from(file.is_some());
            (mapping, file)
        });
        let mappings: Vec<_> = mappings.collect();
        // A process that has ended maps nothing.
        (!mappings.is_empty() && is_still()).then_some(Self { mappings })
    }

    /// How many files it keeps open.
    pub(super) fn files(&self) -> usize {
        self.mappings.iter().filter(|(_, file)| file.is_some()).count()
    }
}

/// A module, and an address in it as linked; or its bias, the difference between that and the address in the process.
pub(super) type InModule = (Arc<Module>, u64);

/// A part of a process's memory.
struct Code {
    range: Range<u64>,
    /// Path of the file, as the process sees it, or what the kernel calls it.
    path: Arc<[u8]>,
    /// With its bias.
    module: Option<InModule>,
}

/// The code of a process.
pub(super) struct Process {
    code: Vec<Code>,
    unwinder: CodeUnwinder<Arc<[u8]>, MayAllocateDuringUnwind>,
    // Its own cache: rules of modules are distinguished by a short number only.
    cache: Cache<MayAllocateDuringUnwind>,
}

impl Process {
    /// Reads the code of what is mapped.
    pub(super) fn read(opened: Opened, modules: &mut Modules) -> Self {
        let mut unwinder = CodeUnwinder::new();
        let mut code = Vec::new();
        for (mapping, file) in opened.mappings {
            let module = file.and_then(|file| modules.of(file)).and_then(|module| {
                let bias = module.bias(mapping.range.start, mapping.file_offset)?;
                Some((module, bias))
            });
            if let Some((module, bias)) = &module {
                let name = String::from_utf8_lossy(&mapping.path).into_owned();
                let sections = module.unwind_sections();
                unwinder.add_module(framehop::Module::new(name, mapping.range.clone(), *bias, sections));
            }
            code.push(Code { range: mapping.range, path: Arc::from(mapping.path), module });
        }
        Self { code, unwinder, cache: Cache::new() }
    }

    /// The addresses of the functions that a thread is in, the innermost first, and whether there are more.
    pub(super) fn unwind(&mut self, registers: Registers, stack: &[u8]) -> (Vec<FrameAddress>, bool) {
        let mut read = |address: u64| {
            let at = address.checked_sub(registers.sp).and_then(|at| usize::try_from(at).ok()).ok_or(())?;
            let bytes = stack.get(at..).and_then(|bytes| bytes.first_chunk()).ok_or(())?;
            Ok(u64::from_ne_bytes(*bytes))
        };
        let (ip, registers) = (registers.ip, native(registers));
        let mut frames = self.unwinder.iter_frames(ip, registers, &mut self.cache, &mut read);
        let mut addresses = Vec::new();
        while addresses.len() < FRAMES_MAX {
            match frames.next() {
                Ok(Some(address)) => addresses.push(address),
                Ok(None) => return (addresses, false),
                Err(_) => return (addresses, true),
            }
        }
        (addresses, true)
    }

    /// What is at an address: the path of its file, as the process sees it, or what the kernel calls the mapping; and the
    /// module with the address in it as linked. `None` when nothing was mapped there when this was read.
    pub(super) fn place(&self, address: u64) -> Option<(Arc<[u8]>, Option<InModule>)> {
        let index = self.code.partition_point(|code| code.range.end <= address);
        let code = self.code.get(index).filter(|code| code.range.contains(&address))?;
        let module = code.module.as_ref().map(|(module, bias)| (module.clone(), address.wrapping_sub(*bias)));
        Some((code.path.clone(), module))
    }
}

#[cfg(target_arch = "aarch64")]
fn native(registers: Registers) -> UnwindRegs {
    UnwindRegs::new(registers.lr, registers.sp, registers.fp)
}

#[cfg(not(target_arch = "aarch64"))]
fn native(registers: Registers) -> UnwindRegs {
    UnwindRegs::new(registers.ip, registers.sp, registers.fp)
}
