//! `cargo xtask kernels`: the program and its tests on real kernels, old to new, each in a VM.

mod catalog;
mod console;
mod initramfs;
mod programs;
mod report;
mod verdict;
mod vm;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::{Context as _, Result, bail};

use self::{
    catalog::Kernel,
    programs::Programs,
    report::Outcome,
    verdict::{CHECK, DEMO},
};
use crate::{
    command::{output_bytes, project},
    setup::Need,
};

/// VMs at a time.
const WORKERS: usize = 2;

/// What this needs of the machine.
pub(crate) const NEEDS: [Need; 7] = [
    Need::Program("apt-get", "apt"),
    Need::Program("busybox", "busybox-static"),
    Need::Program("dpkg", "dpkg"),
    Need::Program("ldd", "libc-bin"),
    Need::Program("qemu-system-x86_64", "qemu-system-x86"),
    Need::Program("ss", "iproute2"),
    Need::Program("xz", "xz-utils"),
];

/// Boots the kernels that `words` name, or all; runs the tests whose names contain one of the other words, or all; prints the
/// table, and fails unless each kernel did what is expected of it.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    check(words, false).map(|_| ())
}

/// The same with all of them; gives what the program read from the ring buffer on each kernel, by the kernel's name.
pub(crate) fn run_and_capture() -> Result<Vec<(&'static str, Vec<u8>)>> {
    check(&[], true)
}

/// Gets the kernels, and builds what runs on them, unless that is done.
pub(crate) fn prepare() -> Result<()> {
    provide(false).map(|_| ())
}

fn provide(captures: bool) -> Result<(Vec<Kernel>, Programs)> {
    Ok((catalog::provide(&folder()?)?, programs::build(captures)?))
}

/// Where kernels, and what comes of VMs, are kept.
fn folder() -> Result<PathBuf> {
    let folder = project().join("target/kernels");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

fn check(words: &[&str], captures: bool) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let (lines, parts): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| catalog::is_line(word));
    let folder = folder()?;
    let (mut kernels, mut programs) = provide(captures)?;
    kernels.retain(|kernel| lines.is_empty() || lines.contains(&kernel.line.name));
    programs.tests.retain(|name| parts.is_empty() || parts.iter().any(|part| name.contains(part)));
    let initramfs = folder.join("initramfs.cpio");
    initramfs::write(&initramfs, &programs)?;
    let paths: Vec<&str> =
        [CHECK, DEMO].into_iter().chain(programs.tests.iter().map(String::as_str)).collect();
    let outcomes = boot(&kernels, &initramfs, &folder.join("vms"), &paths, captures)?;
    println!("{}", report::table(&outcomes, &paths).trim_end());
    let failures: usize = outcomes.iter().map(Outcome::failures).sum();
    if failures > 0 {
        println!("{}", report::failures(&outcomes, &paths).trim_end());
        bail!("{failures} failures on Debian's kernels, shown above");
    }
    outcomes.iter().filter_map(Outcome::capture).map(|(name, text)| Ok((name, decoded(text)?))).collect()
}

/// What a VM captured, which is compressed and in base64.
fn decoded(base64: &str) -> Result<Vec<u8>> {
    let path = folder()?.join("capture.base64");
    fs::write(&path, base64).with_context(|| format!("cannot write {}", path.display()))?;
    let decode = "base64 --decode \"$0\" | gzip --decompress";
    output_bytes(Command::new("bash").args(["-o", "pipefail", "-c", decode]).arg(&path))
}

/// Runs all VMs and gives what came of them, in the order of the kernels.
fn boot<'a>(
    kernels: &'a [Kernel],
    initramfs: &Path,
    folder: &Path,
    paths: &[&str],
    captures: bool,
) -> Result<Vec<Outcome<'a>>> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(kernel) = kernels.get(number) else { return };
            eprintln!("xtask: booting {} ({})", kernel.line.name, kernel.package);
            let ran = vm::run(kernel, initramfs, &folder.join(kernel.line.name), captures)
                .with_context(|| format!("cannot run a VM with kernel {}", kernel.line.name));
            let outcome = ran.map(|ran| Outcome::new(kernel, ran, paths));
            results.lock().unwrap_or_else(PoisonError::into_inner).push((number, outcome));
        }
    };
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(work);
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, outcome)| outcome).collect()
}
