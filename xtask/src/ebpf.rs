//! Builds the committed eBPF object, or checks that it is what its source gives.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{project, run},
    object_file, stack,
    toolchain::{PROGRAMS, Toolchain},
};

/// Builds the object and puts it where the program embeds it.
pub(crate) fn build() -> Result<()> {
    let bytes = compiled()?;
    let path = committed_path();
    fs::write(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}: {} bytes", path.display(), bytes.len());
    Ok(())
}

/// Rebuilds the object and compares it with the committed one.
pub(crate) fn check() -> Result<()> {
    let path = committed_path();
    let committed = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let built = compiled()?;
    if committed == built {
        println!("{} is what its source gives, byte for byte", path.display());
        return Ok(());
    }
    let kept = project().join("target/ebpf/tcp-trace.bpf.o");
    fs::write(&kept, &built).with_context(|| format!("cannot write {}", kept.display()))?;
    bail!(
        "{} is not what its source gives: {} (the rebuilt one is at {}); run `cargo xtask ebpf` and commit the result",
        path.display(),
        object_file::first_difference(&committed, &built),
        kept.display()
    );
}

fn committed_path() -> PathBuf {
    project().join("tcp-trace/bpf/tcp-trace.bpf.o")
}

fn compiled() -> Result<Vec<u8>> {
    run(Toolchain::provide()?.cargo()?.arg("build").args(PROGRAMS))
        .context("cannot build the eBPF programs")?;
    let path = project().join("target/ebpf/bpfel-unknown-none/release/tcp-trace");
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let stripped = object_file::without_debug_sections(&bytes).context("cannot strip the eBPF object")?;
    for (name, depth) in stack::depths(&stripped, "uprobe")? {
        if depth > stack::UPROBE_MAX {
            bail!(
                "the program {name} needs {depth} bytes of stack: more than {} are not safe on a uprobe (see \
                 probes/tls.rs)",
                stack::UPROBE_MAX
            );
        }
    }
    Ok(stripped)
}
