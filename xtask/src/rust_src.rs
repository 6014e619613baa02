//! The standard library's source, of which `core` is built for the BPF target. From rustup, else from Debian.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    apt::Apt,
    command::{output, run},
};

/// The compiler that the committed object is built with: another one gives other bytes.
pub(crate) const RUST_VERSION: &str = "1.95.0";

/// A folder or an archive with the source, for machines that reach neither rustup's server nor Debian.
const FALLBACK: &str = "TCP_TRACE_RUST_SRC";

/// Where the `library` folder is: always a copy at the same place below the project, because cargo's names for
/// the crates in it, which end up in the object, depend on where they lie.
pub(crate) fn provide(tools: &Path, sysroot: &Path) -> Result<PathBuf> {
    let own = tools.join(format!("rust-src-{RUST_VERSION}/library"));
    if is_library(&own) {
        return Ok(own);
    }
    eprintln!("xtask: getting rust-src {RUST_VERSION}");
    let mut tried = Vec::new();
    for (way, attempt) in [
        ("rustup component add rust-src", from_rustup as fn(&Path, &Path) -> Result<PathBuf>),
        ("Debian's package rust-src", from_debian),
        (FALLBACK, from_fallback),
    ] {
        match attempt(tools, sysroot) {
            Ok(library) => return keep(&library, &own),
            Err(error) => tried.push(format!("\n  {way}: {error:#}")),
        }
    }
    bail!(
        "no rust-src {RUST_VERSION} to be had, of which the eBPF programs' core library is built:{}\n\
         set {FALLBACK} to a folder or an archive with its `library` folder",
        tried.concat()
    );
}

fn is_library(folder: &Path) -> bool {
    folder.join("core/Cargo.toml").is_file()
}

/// Copies a `library` folder to where the next build finds it.
fn keep(library: &Path, own: &Path) -> Result<PathBuf> {
    let parent = own.parent().context("the folder has no parent")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    run(Command::new("cp").arg("-r").arg("--no-preserve=mode").arg(library).arg(own))?;
    leave_out_tests(&own.join("Cargo.toml"))?;
    Ok(own.to_owned())
}

/// Takes the test crates out of the workspace where they were left out of the source.
fn leave_out_tests(manifest: &Path) -> Result<()> {
    let text = fs::read_to_string(manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    let folder = manifest.parent().unwrap_or(manifest);
    let kept = text.lines().filter(|line| {
        let member = line.trim().trim_end_matches(',').trim_matches('"');
        !matches!(member, "coretests" | "alloctests") || folder.join(member).is_dir()
    });
    let kept = kept.collect::<Vec<_>>().join("\n") + "\n";
    fs::write(manifest, kept).with_context(|| format!("cannot write {}", manifest.display()))
}

fn from_rustup(_: &Path, sysroot: &Path) -> Result<PathBuf> {
    let library = sysroot.join("lib/rustlib/src/rust/library");
    if !is_library(&library) {
        output(Command::new("rustup").args(["component", "add", "rust-src"]))?;
    }
    if !is_library(&library) {
        bail!("it installed no {}", library.display());
    }
    Ok(library)
}

fn from_debian(tools: &Path, _: &Path) -> Result<PathBuf> {
    let apt = Apt::new(&tools.join("apt"), &["debian trixie-backports"])?;
    apt.update()?;
    let versions = apt.versions("rust-src")?;
    let version = versions
        .iter()
        .find(|version| version.starts_with(RUST_VERSION))
        .with_context(|| format!("it has no version {RUST_VERSION}"))?;
    find_library(&apt.unpacked(&format!("rust-src={version}"))?)
        .context("the package has no `library` folder")
}

fn from_fallback(tools: &Path, _: &Path) -> Result<PathBuf> {
    let Some(path) = env::var_os(FALLBACK).map(PathBuf::from) else { bail!("it is not set") };
    if path.is_dir() {
        return find_library(&path).with_context(|| format!("{} has no `library` folder", path.display()));
    }
    let unpacked = tools.join("fallback");
    fs::create_dir_all(&unpacked).with_context(|| format!("cannot create {}", unpacked.display()))?;
    output(Command::new("tar").arg("-xf").arg(&path).arg("-C").arg(&unpacked))?;
    find_library(&unpacked).with_context(|| format!("{} has no `library` folder", path.display()))
}

/// The shallowest `library` folder below `folder`, or `folder` itself.
fn find_library(folder: &Path) -> Option<PathBuf> {
    const DEPTH: usize = 6;
    let mut level = vec![folder.to_owned()];
    for _ in 0..DEPTH {
        if let Some(found) = level.iter().find(|folder| is_library(folder)) {
            return Some(found.clone());
        }
        let below = level.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
        let folders = below.filter_map(|entry| {
            let entry = entry.ok()?;
            entry.file_type().ok()?.is_dir().then(|| entry.path())
        });
        level = folders.collect();
    }
    None
}
