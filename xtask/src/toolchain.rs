//! What building the eBPF object needs: rustc of one version, bpf-linker of one version, rust-src.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{output, project, run},
    rust_src::{self, RUST_VERSION},
};

/// The last one that uses rustc's own LLVM 22.
const LINKER_VERSION: &str = "0.10.4";

/// Where everything is.
pub(crate) struct Toolchain {
    /// rustup's name for the compiler, where it is not the default one.
    rustup_name: Option<&'static str>,
    linker: PathBuf,
    /// The `library` folder of rust-src.
    library: PathBuf,
    sysroot: PathBuf,
}

impl Toolchain {
    /// Finds everything, or installs it below `target/tools`.
    pub(crate) fn provide() -> Result<Self> {
        let rustup_name = rust()?;
        let sysroot = PathBuf::from(output(
            with_name(Command::new("rustc"), rustup_name).args(["--print", "sysroot"]),
        )?);
        let tools = project().join("target/tools");
        fs::create_dir_all(&tools).with_context(|| format!("cannot create {}", tools.display()))?;
        let linker = linker(&tools, rustup_name)?;
        let library = rust_src::provide(&tools, &sysroot)?;
        Ok(Self { rustup_name, linker, library, sysroot })
    }

    /// A cargo that builds for the BPF target. The bytes depend on no path of this machine.
    pub(crate) fn cargo(&self) -> Result<Command> {
        let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let cargo_home = cargo_home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
        let cargo_home = cargo_home.context("neither CARGO_HOME nor HOME is set")?;
        let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
        // The last matching one counts, so the more special ones come last.
        let flags = [
            "-Cdebuginfo=2".to_owned(),
            "-Clink-arg=--btf".to_owned(),
            // Else `memset` is a call: see ARCHITECTURE.md.
            "-Clink-arg=--disable-expand-memcpy-in-order".to_owned(),
            format!("-Clinker={}", self.linker.display()),
            remap(&cargo_home, "/cargo"),
            remap(&self.sysroot, "/rust"),
            remap(&project(), "/tcp-trace"),
            remap(&self.library, "/rust/library"),
        ];
        let mut cargo = with_name(Command::new("cargo"), self.rustup_name);
        cargo
            .current_dir(project())
            .env("RUSTC_BOOTSTRAP", "1")
            .env("__CARGO_TESTS_ONLY_SRC_ROOT", &self.library)
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
            .env("CARGO_TARGET_DIR", project().join("target/ebpf"))
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_STRIP", "none")
            .env_remove("RUSTFLAGS");
        Ok(cargo)
    }
}

/// The arguments that make cargo build the programs.
pub(crate) const PROGRAMS: [&str; 9] = [
    "--release",
    "--locked",
    "--package=tcp-trace-ebpf",
    "--bin=tcp-trace",
    "--features=programs",
    "--target=bpfel-unknown-none",
    "-Z",
    "build-std=core",
    "--quiet",
];

fn with_name(mut command: Command, rustup_name: Option<&str>) -> Command {
    if let Some(name) = rustup_name {
        command.env("RUSTUP_TOOLCHAIN", name);
    } else {
        // cargo sets it for xtask itself.
        command.env_remove("RUSTC");
    }
    command
}

/// The compiler of the right version: the default one, or one that rustup has beside it.
fn rust() -> Result<Option<&'static str>> {
    let is_right = |version: &str| version.starts_with(&format!("rustc {RUST_VERSION} "));
    let default = output(Command::new("rustc").arg("--version"))?;
    if is_right(&default) {
        return Ok(None);
    }
    let beside = output(Command::new("rustup").args(["run", RUST_VERSION, "rustc", "--version"]));
    if beside.is_ok_and(|version| is_right(&version)) {
        return Ok(Some(RUST_VERSION));
    }
    bail!(
        "the eBPF object is built with rustc {RUST_VERSION}, and this is {default}: \
         install it with: rustup toolchain install {RUST_VERSION}"
    );
}

fn linker(tools: &Path, rustup_name: Option<&str>) -> Result<PathBuf> {
    let own = tools.join("bin/bpf-linker");
    let in_path =
        env::var_os("PATH").map(|path| env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
    let candidates =
        std::iter::once(own.clone()).chain(in_path.iter().map(|folder| folder.join("bpf-linker")));
    let is_right = |path: &PathBuf| {
        path.is_file()
            && output(Command::new(path).arg("--version"))
                .is_ok_and(|version| version == format!("bpf-linker {LINKER_VERSION}"))
    };
    if let Some(found) = candidates.into_iter().find(is_right) {
        return Ok(found);
    }
    eprintln!("xtask: installing bpf-linker {LINKER_VERSION} into target/tools (a minute or two)");
    let mut cargo = with_name(Command::new("cargo"), rustup_name);
    cargo
        .args(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--root"])
        .arg(tools)
        .env("CARGO_TARGET_DIR", tools.join("build"));
    run(&mut cargo).context(
        "cannot install bpf-linker, which links the eBPF object; is the crates registry reachable?",
    )?;
    if !is_right(&own) {
        bail!("cargo installed a bpf-linker that is not version {LINKER_VERSION}: {}", own.display());
    }
    Ok(own)
}
