//! `cargo xtask test`: everything that has to hold, in the order in which a failure is cheapest.

use std::{process::Command, time::Instant};

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{project, require, run},
    ebpf, tidy,
    toolchain::{PROGRAMS, Toolchain},
};

/// A check: its name, and what does it. The arguments go to the test programs.
type Check = (&'static str, fn(&[&str]) -> Result<()>);

const CHECKS: [Check; 6] = [
    ("fmt", |_| run(cargo().args(["fmt", "--all", "--check"]))),
    ("clippy", |_| clippy()),
    ("tidy", |_| tidy::check(&project())),
    ("unit", |rest| {
        run(cargo().args(["test", "--workspace", "--exclude=tcp-trace-tests", "--locked"]).args(rest))
    }),
    ("ebpf", |_| ebpf::check()),
    ("e2e", end_to_end),
];

/// Programs that the end-to-end tests run, with the Debian package of each.
const PROGRAMS_OF_TESTS: [(&str, &str); 19] = [
    ("ab", "apache2-utils"),
    ("addr2line", "binutils"),
    ("apache2", "apache2-bin"),
    ("bpftool", "bpftool"),
    ("chromium", "chromium"),
    ("curl", "curl"),
    ("gcc", "gcc"),
    ("h2load", "nghttp2-client"),
    ("haproxy", "haproxy"),
    ("ip", "iproute2"),
    ("nginx", "nginx-light"),
    ("node", "nodejs"),
    ("nsenter", "util-linux"),
    ("python3", "python3"),
    ("setpriv", "util-linux"),
    ("tshark", "tshark"),
    ("unshare", "util-linux"),
    ("wget", "wget"),
    ("wrk", "wrk"),
];

/// Whether there is a check of this name.
pub(crate) fn exists(name: &str) -> bool {
    CHECKS.iter().any(|(check, _)| *check == name)
}

/// Runs every check and stops at the first that fails.
pub(crate) fn all() -> Result<()> {
    let start = Instant::now();
    for (name, check) in CHECKS {
        println!("== {name}");
        check(&[]).with_context(|| format!("check {name}"))?;
    }
    println!("all checks passed in {} s", start.elapsed().as_secs());
    Ok(())
}

/// Runs one check.
pub(crate) fn only(name: &str, rest: &[&str]) -> Result<()> {
    CHECKS.iter().filter(|(check, _)| *check == name).try_for_each(|(_, check)| check(rest))
}

fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(project());
    cargo
}

fn clippy() -> Result<()> {
    let deny = ["--", "-D", "warnings"];
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--locked"]).args(deny))?;
    run(Toolchain::provide()?.cargo()?.arg("clippy").args(PROGRAMS).args(deny))
}

fn end_to_end(rest: &[&str]) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("the end-to-end tests load eBPF programs and make network namespaces: run as root");
    }
    require(&PROGRAMS_OF_TESTS, "the end-to-end tests")?;
    run(Command::new("python3").args(["-c", "import requests"]))
        .context("the end-to-end tests need Python's requests: apt-get install python3-requests")?;
    // The README's first command, which also builds what the tests run.
    run(cargo().args(["run", "--release", "--locked", "--", "demo"]))?;
    // One at a time: a program that another test starts has a copy of all descriptors until it runs, so that a close does
    // not close and a file that was written cannot be run. Nor do tests take each other's processors then.
    let mut tests = cargo();
    tests.args(["test", "--release", "--locked", "--package=tcp-trace-tests"]).env("RUST_TEST_THREADS", "1");
    run(tests.args(rest))
}
