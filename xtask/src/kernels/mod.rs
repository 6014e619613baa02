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
    path::Path,
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

/// Boots every kernel, prints the table, and fails unless each did what is expected of it.
pub(crate) fn run() -> Result<()> {
    run_and_capture(None)
}

/// The same; what the program reads from the ring buffer on each kernel is written to `captures`.
pub(crate) fn run_and_capture(captures: Option<&Path>) -> Result<()> {
    let folder = project().join("target/kernels");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let kernels = catalog::provide(&folder)?;
    let programs = programs::build(captures.is_some())?;
    let initramfs = folder.join("initramfs.cpio");
    initramfs::write(&initramfs, &programs)?;
    let paths: Vec<&str> =
        [CHECK, DEMO].into_iter().chain(programs.tests.iter().map(String::as_str)).collect();
    let outcomes = boot(&kernels, &initramfs, &folder.join("vms"), &paths, captures.is_some())?;
    if let Some(captures) = captures {
        outcomes
            .iter()
            .filter_map(Outcome::capture)
            .try_for_each(|(name, text)| keep(captures, name, text))?;
    }
    println!("{}", report::table(&outcomes, &paths).trim_end());
    let failures: usize = outcomes.iter().map(Outcome::failures).sum();
    if failures > 0 {
        println!("{}", report::failures(&outcomes, &paths).trim_end());
        bail!("{failures} failures on Debian's kernels, told above");
    }
    Ok(())
}

/// Keeps what a VM captured, which is base64.
fn keep(folder: &Path, name: &str, base64: &str) -> Result<()> {
    let text = folder.join(format!("debian-{name}.base64"));
    fs::write(&text, base64).with_context(|| format!("cannot write {}", text.display()))?;
    let bytes = output_bytes(Command::new("base64").arg("-d").arg(&text))?;
    fs::remove_file(&text).with_context(|| format!("cannot remove {}", text.display()))?;
    let path = folder.join(format!("debian-{name}.ring"));
    fs::write(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}: {} bytes", path.display(), bytes.len());
    Ok(())
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
