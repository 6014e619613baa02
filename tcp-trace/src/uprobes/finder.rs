//! Files that processes execute, or may execute later, and what is hooked in each.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use tcp_trace_model::event::TlsLibrary;

use super::{
    functions::Unhooked,
    image::{self, Hooks},
    uncovered::{self, Uncovered},
};
use crate::{
    kernel::{Hook, process},
    symbols::maps::{self, FileId, Mapping},
};

/// Files that are remembered. Of further ones it is not known whether they have a TLS library.
const FILES_MAX: usize = 65_536;
/// Executable mappings of one process that are looked at.
const MAPPINGS_MAX: usize = 4096;

/// `OVERLAYFS_SUPER_MAGIC`.
const OVERLAY: u64 = 0x794c_7630;

/// Where a host has its own libraries.
const LIBRARY_FOLDERS: [&str; 6] =
    ["/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib", "/usr/local/lib64"];
/// And its programs.
const PROGRAM_FOLDERS: [&str; 2] = ["/usr/bin", "/usr/local/bin"];
/// Beginnings of the names of libraries that programs load when they start, or later.
const LIBRARIES: [&str; 4] = ["libssl.so.", "libcrypto.so.", "libgnutls.so.", "libnode.so."];
/// Programs with a TLS library inside.
const PROGRAMS: [&str; 4] = ["node", "nodejs", "bun", "deno"];

/// A file with functions to hook.
#[derive(Debug)]
pub struct Target {
    /// What is known of it.
    pub known: Arc<Known>,
    /// It is open, so it can be hooked even where its name is gone.
    pub file: File,
    /// Where.
    pub hooks: Vec<Hook>,
}

/// What is known of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its path, as one of its processes sees it.
    pub path: PathBuf,
    /// `None` when it passes no plaintext by itself: a library for the rest of TLS.
    pub library: Option<TlsLibrary>,
    /// Functions that pass plaintext and cannot be hooked.
    pub unhooked: Vec<Unhooked>,
    /// Whether it has functions of rustls, hooked or not.
    pub has_rustls: bool,
}

/// What makes a file the same as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Identity {
    Inode {
        device: u64,
        inode: u64,
    },
    /// In an overlay, as containers have it: each mount has its own device, and uprobes are at the file below, which many may share.
    BelowOverlay {
        inode: u64,
        size: u64,
        modified: (i64, i64),
        changed: (i64, i64),
    },
}

impl Identity {
    fn of(file: &File) -> Option<Self> {
        let metadata = file.metadata().ok()?;
        let is_overlay =
            rustix::fs::fstatfs(file).is_ok_and(|system| u64::try_from(system.f_type) == Ok(OVERLAY));
        Some(if is_overlay {
            Self::BelowOverlay {
                inode: metadata.ino(),
                size: metadata.size(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
            }
        } else {
            Self::Inode { device: metadata.dev(), inode: metadata.ino() }
        })
    }
}

/// A name of a file: inode numbers are used again.
type Name = (FileId, Vec<u8>);

/// Looks for files to hook, each once.
#[derive(Debug, Default)]
pub struct Finder {
    /// `None` for those that have nothing to do with TLS.
    known: HashMap<Name, Option<Arc<Known>>>,
    /// Files with hooks, whatever their names.
    opened: HashMap<Identity, Arc<Known>>,
    /// Whether programs that were searched have rustls inside.
    with_rustls: HashMap<Identity, bool>,
    is_full: bool,
}

impl Finder {
    /// What is new in all processes, and among the host's own libraries and programs.
    pub fn everywhere(&mut self) -> Vec<Target> {
        let mut targets = Vec::new();
        for pid in process::pids().unwrap_or_default() {
            targets.extend(self.in_process(pid));
        }
        for path in host_files() {
            targets.extend(self.at(&path));
        }
        targets
    }

    /// What is new in one process, if it is still there.
    pub fn in_process(&mut self, pid: u32) -> Vec<Target> {
        let mut targets = Vec::new();
        let mut seen = HashSet::new();
        for mapping in mappings(pid) {
            // A file is often mapped more than once.
            if !seen.insert(mapping.file) {
                continue;
            }
            let name = (mapping.file, mapping.path.clone());
            if self.known.contains_key(&name) {
                continue;
            }
            let path = PathBuf::from(OsStr::from_bytes(&mapping.path));
            if let Ok(file) = open(pid, &mapping) {
                targets.extend(self.look(name, path, file));
            }
        }
        targets
    }

    /// The same of a file that may be executed later.
    pub fn at(&mut self, path: &Path) -> Option<Target> {
        let file = File::open(path).ok()?;
        let metadata = file.metadata().ok().filter(fs::Metadata::is_file)?;
        // As the kernel's list of mappings names devices, except on file systems that have several.
        let device = (rustix::fs::major(metadata.dev()), rustix::fs::minor(metadata.dev()));
        let path = path.canonicalize().ok()?;
        let name = (FileId { device, inode: metadata.ino() }, path.as_os_str().as_bytes().to_vec());
        if self.known.contains_key(&name) { None } else { self.look(name, path, file) }
    }

    /// What a process has mapped of TLS libraries, and of what belongs to them.
    pub fn known_of(&self, pid: u32) -> Vec<Arc<Known>> {
        let mut seen = HashSet::new();
        let mappings = mappings(pid).into_iter().filter(|mapping| seen.insert(mapping.file));
        mappings.filter_map(|mapping| self.known.get(&(mapping.file, mapping.path)).cloned()?).collect()
    }

    /// What a process has mapped that is not hooked, and what is inside of its program.
    pub fn uncovered_of(&mut self, pid: u32) -> Vec<Uncovered> {
        let mut found: Vec<_> =
            mappings(pid).iter().filter_map(|mapping| uncovered::by_path(&mapping.path)).collect();
        found.dedup();
        if !self.known_of(pid).iter().any(|known| known.has_rustls)
            && let Ok(program) = File::open(format!("/proc/{pid}/exe"))
            && let Some(id) = Identity::of(&program)
            && *self.with_rustls.entry(id).or_insert_with(|| uncovered::has_rustls(&program))
        {
            found.push(uncovered::RUSTLS);
        }
        found
    }

    fn look(&mut self, name: Name, path: PathBuf, file: File) -> Option<Target> {
        if self.known.len() >= FILES_MAX {
            if !self.is_full {
                log::warn!(
                    "more than {FILES_MAX} executable files: further ones are not searched for TLS libraries"
                );
                self.is_full = true;
            }
            return None;
        }
        let id = Identity::of(&file)?;
        // Another name of the same file: another path, or another mount.
        if let Some(known) = self.opened.get(&id) {
            self.known.insert(name, Some(known.clone()));
            return None;
        }
        let Hooks { library, hooks, unhooked, has_rustls } = image::read(&file)
            .inspect_err(|error| log::debug!("cannot read symbols of {}: {error}", path.display()))
            .unwrap_or_default();
        if hooks.is_empty() && unhooked.is_empty() {
            self.known.insert(name, None);
            return None;
        }
        let known = Arc::new(Known { path, library, unhooked, has_rustls });
        self.opened.insert(id, known.clone());
        self.known.insert(name, Some(known.clone()));
        (!hooks.is_empty()).then_some(Target { known, file, hooks })
    }
}

/// The files that a process executes. None when it has ended.
fn mappings(pid: u32) -> Vec<Mapping> {
    let text = fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
    let mut mappings = maps::parse(&text, MAPPINGS_MAX);
    mappings.retain(Mapping::is_file);
    mappings
}

/// Opens the very file that is mapped, or, without the privilege, the one that has its name now.
fn open(pid: u32, mapping: &Mapping) -> io::Result<File> {
    File::open(format!("/proc/{pid}/map_files/{}", mapping.name())).or_else(|_| {
        let path = Path::new(OsStr::from_bytes(&mapping.path));
        File::open(Path::new(&format!("/proc/{pid}/root")).join(path.strip_prefix("/").unwrap_or(path)))
    })
}

/// The host's own libraries and programs that are known for TLS.
fn host_files() -> Vec<PathBuf> {
    let named = |folder: &Path, is_wanted: &dyn Fn(&str) -> bool| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let wanted = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_wanted));
        wanted.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let is_library = |name: &str| LIBRARIES.iter().any(|start| name.starts_with(start));
    // Debian's and Ubuntu's are one level deeper, by the kind of machine.
    let is_machine = |name: &str| name.ends_with("-linux-gnu") || name.ends_with("-linux-musl");
    let mut files = Vec::new();
    for folder in LIBRARY_FOLDERS.map(Path::new) {
        files.extend(named(folder, &is_library));
        for below in named(folder, &is_machine) {
            files.extend(named(&below, &is_library));
        }
    }
    for folder in PROGRAM_FOLDERS {
        files.extend(PROGRAMS.map(|name| Path::new(folder).join(name)));
    }
    files
}
