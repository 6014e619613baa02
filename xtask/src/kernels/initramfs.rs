//! The VMs' file system: the programs under test and the few that they need, in a cpio archive ("newc") as the
//! kernel's Documentation/driver-api/early-userspace/buffer-format.rst has it.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use super::{
    catalog::{Kernel, MODULES},
    programs::Programs,
};
use crate::command::find;

/// Programs of this machine that go along: the shell and its tools, and what tests ask for listeners.
const TOOLS: [&str; 2] = ["busybox", "ss"];
const INIT: &str = include_str!("init");

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const DEVICE: u32 = 0o020_600;
/// Device number of /dev/console, which the kernel opens for the first process.
const CONSOLE: (u32, u32) = (5, 1);

/// A kernel's modules, as an archive that follows the others'.
pub(super) fn modules(kernel: &Kernel) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.folder("modules");
    for (name, path) in MODULES.iter().zip(&kernel.modules) {
        archive.file(&format!("modules/{name}.ko"), &read(path)?);
    }
    Ok(archive.finish())
}

/// Writes the archive.
pub(super) fn write(path: &Path, programs: &Programs) -> Result<()> {
    let mut archive = Archive::default();
    for folder in ["dev", "proc", "run", "sys", "tmp"] {
        archive.folder(folder);
    }
    archive.entry("dev/console", DEVICE, CONSOLE, &[]);
    archive.file("init", INIT.as_bytes());
    archive.file("tests", (programs.tests.join("\n") + "\n").as_bytes());
    archive.file("bin/tcp-trace", &read(&programs.tcp_trace)?);
    archive.file("bin/lives", &read(&programs.lives)?);
    let mut libraries = BTreeSet::new();
    for tool in TOOLS {
        let path = find(tool).with_context(|| format!("{tool} is not in PATH"))?;
        archive.file(&format!("bin/{tool}"), &read(&path)?);
        libraries.extend(libraries_of(&path)?);
    }
    for library in libraries {
        archive.file(library.trim_start_matches('/'), &read(Path::new(&library))?);
    }
    fs::write(path, archive.finish()).with_context(|| format!("cannot write {}", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Paths of the shared libraries that a program needs; none where it is static, which ldd calls a failure.
fn libraries_of(program: &Path) -> Result<Vec<String>> {
    let ldd = Command::new("ldd").arg(program).output().context("cannot run ldd")?;
    let text = String::from_utf8_lossy(&ldd.stdout);
    let paths = text.split_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':'));
    Ok(paths.map(str::to_owned).collect())
}

/// The archive so far. Everything in it belongs to root.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    folders: BTreeSet<String>,
}

impl Archive {
    /// A folder and those above it, once each.
    fn folder(&mut self, name: &str) {
        if let Some((above, _)) = name.rsplit_once('/') {
            self.folder(above);
        }
        if self.folders.insert(name.to_owned()) {
            self.entry(name, FOLDER, (0, 0), &[]);
        }
    }

    /// A file that may be run.
    fn file(&mut self, name: &str, data: &[u8]) {
        if let Some((folder, _)) = name.rsplit_once('/') {
            self.folder(folder);
        }
        self.entry(name, PROGRAM, (0, 0), data);
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), data: &[u8]) {
        self.entries += 1;
        // Whole files of some MB: the sizes fit.
        let (size, name_size) = (data.len() as u32, name.len() as u32 + 1);
        let (major, minor) = device;
        // Inode, mode, user, group, links, time, size, device of the file system, device, size of the name, checksum.
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, major, minor, name_size, 0];
        self.bytes.extend(b"070701");
        self.bytes.extend(fields.iter().flat_map(|field| format!("{field:08X}").into_bytes()));
        self.bytes.extend(name.bytes().chain([0]));
        self.pad();
        self.bytes.extend(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.pad();
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names, modes and data of an archive, read as the format's description says.
    fn parse(mut bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        while !bytes.is_empty() {
            assert_eq!(&bytes[..6], b"070701");
            let field = |number: usize| {
                let text = std::str::from_utf8(&bytes[6 + 8 * number..14 + 8 * number]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
            let name = String::from_utf8(bytes[110..110 + name_size - 1].to_vec()).unwrap();
            let data = (110 + name_size).next_multiple_of(4);
            entries.push((name, mode, bytes[data..data + size].to_vec()));
            bytes = &bytes[(data + size).next_multiple_of(4)..];
        }
        entries
    }

    #[test]
    fn folders_come_before_what_is_in_them_and_once() {
        let mut archive = Archive::default();
        archive.file("lib/x/a", b"12345");
        archive.file("lib/b", b"");
        let names = |name: &str, mode, data: &[u8]| (name.to_owned(), mode, data.to_vec());
        assert_eq!(
            parse(&archive.finish()),
            [
                names("lib", FOLDER, b""),
                names("lib/x", FOLDER, b""),
                names("lib/x/a", PROGRAM, b"12345"),
                names("lib/b", PROGRAM, b""),
                names("TRAILER!!!", 0, b""),
            ]
        );
    }
}
