//! Which kernels of Debian are tried, what is expected of each, and where its image comes from.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{apt::Apt, command::output_bytes};

/// Archives and suites that have the kernels.
const SUITES: [&str; 4] = [
    "debian-security bullseye-security",
    "debian-security bookworm-security",
    "debian-security trixie-security",
    "debian trixie-backports",
];
/// How a package name ends. The cloud's kernels have what a VM needs built in.
const FLAVOUR: &str = "-cloud-amd64";
/// An archive may have lost a package that its index still names: then the next older one is tried.
const ATTEMPTS: usize = 4;

/// Modules that list TCP's sockets, in the order in which they are loaded. A machine loads them when it is asked.
pub(super) const MODULES: [&str; 2] = ["inet_diag", "tcp_diag"];

/// A line of kernels.
#[derive(Debug)]
pub(super) struct Line {
    /// What it is called here.
    pub(super) name: &'static str,
    /// How the names of its packages start. From 6.19 on, `linux-image` has no kernel, `linux-binary` has.
    start: &'static str,
    /// For a kernel that is refused: what it lacks, as the message has to say it.
    pub(super) lacks: Option<&'static str>,
}

/// Every line that is tried, oldest first.
pub(super) const LINES: [Line; 5] = [
    // `bpf_sk_storage_get` for tracing programs came with 5.11, atomic operations of eBPF with 5.12.
    Line { name: "5.10", start: "linux-image-5.10.", lacks: Some("unknown func bpf_sk_storage_get") },
    Line { name: "6.1", start: "linux-image-6.1.", lacks: None },
    Line { name: "6.12", start: "linux-image-6.12.", lacks: None },
    Line { name: "6.18", start: "linux-image-6.18.", lacks: None },
    Line { name: "7.x", start: "linux-binary-7.", lacks: None },
];

/// A kernel that can be booted.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) line: &'static Line,
    /// The package that it is from.
    pub(super) package: String,
    pub(super) image: PathBuf,
    /// The files of [`MODULES`].
    pub(super) modules: Vec<PathBuf>,
}

/// Whether a line has this name.
pub(super) fn is_line(name: &str) -> bool {
    LINES.iter().any(|line| line.name == name)
}

/// The newest kernel of every line. What was downloaded once stays in `folder`.
pub(super) fn provide(folder: &Path) -> Result<Vec<Kernel>> {
    if LINES.iter().any(|line| cached(folder, line).is_none()) {
        eprintln!("xtask: getting Debian's kernels");
        let apt = Apt::new(&folder.join("apt"), &SUITES)?;
        // A suite that the mirror no longer has must not cost the kernels of the others.
        let update = apt.update();
        for line in LINES.iter().filter(|line| cached(folder, line).is_none()) {
            if let Err(error) = download(&apt, folder, line) {
                let update = update.as_ref().err().map_or(String::new(), |error| format!("\n  {error:#}"));
                bail!("no kernel {} to be had from Debian: {error:#}{update}", line.name);
            }
        }
    }
    let kernel = |line| cached(folder, line).with_context(|| format!("kernel {} was not kept", line.name));
    LINES.iter().map(kernel).collect()
}

fn cached(folder: &Path, line: &'static Line) -> Option<Kernel> {
    let folder = folder.join(line.name);
    let image = folder.join("vmlinuz");
    let modules: Vec<_> = MODULES.iter().map(|name| module_in(&folder, name)).collect();
    let package = fs::read_to_string(folder.join("package")).ok()?;
    let is_whole = image.is_file() && modules.iter().all(|module| module.is_file());
    is_whole.then_some(Kernel { line, package, image, modules })
}

fn module_in(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.ko"))
}

fn download(apt: &Apt, folder: &Path, line: &Line) -> Result<()> {
    let candidates = newest_first(&apt.names(line.start)?, line);
    if candidates.is_empty() {
        bail!("no package is called {}*{FLAVOUR}", line.start);
    }
    let mut failures = Vec::new();
    for package in candidates.iter().take(ATTEMPTS) {
        match keep(apt, package, &folder.join(line.name)) {
            Ok(()) => return Ok(()),
            Err(error) => failures.push(format!("\n  {package}: {error:#}")),
        }
    }
    bail!("{}", failures.concat().trim_start());
}

/// The kernels among package names: not their debug symbols, not the unsigned ones.
fn newest_first(names: &[String], line: &Line) -> Vec<String> {
    let mut kernels: Vec<_> = names
        .iter()
        .filter(|name| name.starts_with(line.start) && name.ends_with(FLAVOUR))
        .map(|name| (numbers(name.trim_end_matches(FLAVOUR)), name.clone()))
        .collect();
    kernels.sort();
    kernels.into_iter().rev().map(|(_, name)| name).collect()
}

/// The numbers in a name, which order versions.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|character: char| !character.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

fn keep(apt: &Apt, package: &str, folder: &Path) -> Result<()> {
    let mut files = apt.unpacked(package)?;
    keep_image(&files, package, folder)?;
    if let Some(version) = package.strip_prefix("linux-binary-") {
        // This one has only the kernel.
        files = apt.unpacked(&format!("linux-modules-{version}"))?;
    }
    for name in MODULES {
        let module = module_below(&files, name).with_context(|| format!("there is no module {name}"))?;
        let bytes = if module.extension().is_some_and(|extension| extension == "xz") {
            output_bytes(Command::new("xz").args(["--decompress", "--stdout"]).arg(&module))?
        } else {
            fs::read(&module).with_context(|| format!("cannot read {}", module.display()))?
        };
        let to = module_in(folder, name);
        fs::write(&to, bytes).with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(())
}

/// The file of a module, compressed or not, in a folder or anywhere below it.
fn module_below(folder: &Path, name: &str) -> Option<PathBuf> {
    let mut pending = vec![folder.to_owned()];
    while let Some(folder) = pending.pop() {
        for path in fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())) {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && !path.is_symlink() {
                pending.push(path);
            } else if file == format!("{name}.ko") || file == format!("{name}.ko.xz") {
                return Some(path);
            }
        }
    }
    None
}

fn keep_image(files: &Path, package: &str, folder: &Path) -> Result<()> {
    // Where it is depends on the line.
    let image = image_below(&files.join("boot"))
        .or_else(|| image_below(&files.join("usr/lib/modules")))
        .context("it has no vmlinuz")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (name, from) in [("vmlinuz", Some(&image)), ("package", None)] {
        let to = folder.join(name);
        let kept = from.map_or_else(|| fs::write(&to, package), |from| fs::copy(from, &to).map(|_| ()));
        kept.with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(())
}

/// A `vmlinuz` in a folder or in one directly below it.
fn image_below(folder: &Path) -> Option<PathBuf> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
    };
    let is_image = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.is_file() && (name == "vmlinuz" || name.starts_with("vmlinuz-"))
    };
    let below = entries(folder);
    let deeper = below.iter().filter(|path| path.is_dir()).flat_map(|path| entries(path));
    below.iter().cloned().chain(deeper).find(is_image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_of_a_line_comes_first() {
        let names = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.1.0-57-cloud-amd64-dbg",
            "linux-image-6.1.0-58-amd64",
            "linux-image-6.12.12-cloud-amd64",
            "linux-image-6.12.9+deb13.1-cloud-amd64",
            "linux-image-6.12.9+deb13-cloud-amd64",
            "linux-image-cloud-amd64",
        ]
        .map(str::to_owned);
        let of = |name: &str| newest_first(&names, LINES.iter().find(|line| line.name == name).unwrap());
        assert_eq!(of("6.1"), ["linux-image-6.1.0-56-cloud-amd64", "linux-image-6.1.0-9-cloud-amd64"]);
        let expected = ["6.12.12", "6.12.9+deb13.1", "6.12.9+deb13"]
            .map(|version| format!("linux-image-{version}-cloud-amd64"));
        assert_eq!(of("6.12"), expected);
        assert!(of("7.x").is_empty());
    }
}
