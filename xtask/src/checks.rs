//! `cargo xtask test`: everything that has to hold, in the order in which a failure is cheapest.

use std::{
    fmt::Write as _,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    bench,
    command::{program, project, run},
    ebpf, kernels,
    setup::{self, Need},
    tidy,
    toolchain::{PROGRAMS, Toolchain},
};

/// A check.
struct Check {
    name: &'static str,
    needs: &'static [Need],
    run: fn(&Call<'_>) -> Result<()>,
}

/// How a check is called.
#[derive(Default)]
struct Call<'a> {
    /// What goes to the test programs.
    arguments: &'a [&'a str],
    /// Whether the checks before it have run.
    is_part_of_all: bool,
}

const CHECKS: [Check; 9] = [
    Check { name: "fmt", needs: &[Need::Cargo("fmt", "rustfmt")], run: |_| fmt() },
    Check { name: "clippy", needs: &[Need::Cargo("clippy", "clippy")], run: |_| clippy() },
    Check { name: "tidy", needs: &[], run: |_| tidy::check(&project()) },
    Check { name: "unit", needs: &[], run: unit },
    Check { name: "ebpf", needs: &[], run: |_| ebpf::check() },
    Check { name: "demo", needs: &NEEDS_OF_PROGRAM, run: |_| demo() },
    Check { name: "e2e", needs: &NEEDS_OF_TESTS, run: end_to_end },
    Check {
        name: "bench",
        needs: &[Need::Program("valgrind", "valgrind")],
        run: |_| bench::run_with(&["--check"]),
    },
    Check { name: "kernels", needs: &kernels::NEEDS, run: |_| kernels::run() },
];

const ROOT: Need = Need::Root("the program loads eBPF programs, and its tests make network namespaces");
const BTF: Need = Need::Kernel("/sys/kernel/btf/vmlinux", "a kernel with BTF");

const NEEDS_OF_PROGRAM: [Need; 2] = [ROOT, BTF];

const NEEDS_OF_TESTS: [Need; 29] = [
    ROOT,
    BTF,
    Need::Kernel("/dev/net/tun", "TUN devices"),
    Need::Program("ab", "apache2-utils"),
    Need::Program("addr2line", "binutils"),
    Need::Program("apache2", "apache2-bin"),
    Need::Program("bpftool", "bpftool"),
    Need::Program("chromium", "chromium"),
    Need::Program("curl", "curl"),
    Need::Program("gcc", "gcc"),
    Need::Program("h2load", "nghttp2-client"),
    Need::Program("haproxy", "haproxy"),
    Need::Program("ip", "iproute2"),
    Need::Program("nft", "nftables"),
    Need::Program("nginx", "nginx-light"),
    Need::Program("node", "nodejs"),
    Need::Program("nsenter", "util-linux"),
    Need::Program("prlimit", "util-linux"),
    Need::Program("python3", "python3"),
    Need::Program("setpriv", "util-linux"),
    Need::Program("ss", "iproute2"),
    Need::Program("strip", "binutils"),
    Need::Program("tc", "iproute2"),
    Need::Program("tshark", "tshark"),
    Need::Program("unshare", "util-linux"),
    Need::Program("wget", "wget"),
    Need::Program("wrk", "wrk"),
    Need::Python("jsonschema", "python3-jsonschema"),
    Need::Python("requests", "python3-requests"),
];

/// Whether there is a check of this name.
pub(crate) fn exists(name: &str) -> bool {
    CHECKS.iter().any(|check| check.name == name)
}

/// The names of all checks.
pub(crate) fn names() -> String {
    CHECKS.map(|check| check.name).join(", ")
}

/// Runs every check that is not skipped, stops at the first that fails, and prints how long each took.
pub(crate) fn all(skipped: &[&str], may_install: bool) -> Result<()> {
    let checks: Vec<_> = CHECKS.iter().filter(|check| !skipped.contains(&check.name)).collect();
    let mut times = Times::default();
    times.measure("setup", || provide(&checks, may_install))?;
    let call = Call { is_part_of_all: true, ..Call::default() };
    for check in checks {
        println!("== {}", check.name);
        if let Err(error) = times.measure(check.name, || (check.run)(&call)) {
            print!("{}", times.table());
            return Err(error.context(format!("check {}", check.name)));
        }
    }
    print!("{}", times.table());
    println!("all checks passed");
    Ok(())
}

/// Runs one check; the arguments go to the test programs.
pub(crate) fn only(name: &str, arguments: &[&str], may_install: bool) -> Result<()> {
    let checks: Vec<_> = CHECKS.iter().filter(|check| check.name == name).collect();
    provide(&checks, may_install)?;
    let call = Call { arguments, ..Call::default() };
    checks.into_iter().try_for_each(|check| (check.run)(&call))
}

fn provide(checks: &[&Check], may_install: bool) -> Result<()> {
    let needs: Vec<_> = checks.iter().flat_map(|check| check.needs).copied().collect();
    setup::provide(&needs, may_install)
}

/// How long each step took.
#[derive(Default)]
struct Times(Vec<(&'static str, Duration)>);

impl Times {
    fn measure<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = work();
        self.0.push((name, start.elapsed()));
        done
    }

    fn table(&self) -> String {
        let mut table = String::from("== times\n");
        let sum = ("sum", self.0.iter().map(|(_, time)| *time).sum());
        for (name, time) in self.0.iter().chain([&sum]) {
            // Writing to a String cannot fail.
            let _ = writeln!(table, "{name:<8} {:>6.1} s", time.as_secs_f64());
        }
        table
    }
}

fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(project());
    cargo
}

fn fmt() -> Result<()> {
    run(cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    let deny = ["--", "-D", "warnings"];
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--locked"]).args(deny))?;
    run(Toolchain::provide()?.cargo()?.arg("clippy").args(PROGRAMS).args(deny))
}

fn unit(call: &Call<'_>) -> Result<()> {
    run(cargo().args(["test", "--workspace", "--exclude=tcp-trace-tests", "--locked"]).args(call.arguments))
}

/// The README's first command.
fn demo() -> Result<()> {
    run(cargo().args(["run", "--release", "--locked", "--", "demo"]))
}

fn end_to_end(call: &Call<'_>) -> Result<()> {
    // The same packages as the unit tests have, so that dependencies have the same features and are not built again.
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--locked"]);
    if !call.arguments.contains(&"--test") {
        tests.args(["--test", "*"]);
    }
    // In a run of all checks, what users get, which the demo ran; else what takes less time to build.
    let profile = if call.is_part_of_all { "release" } else { "e2e" };
    run(cargo().args(["build", "--profile", profile, "--locked"]))?;
    tests.env("TCP_TRACE_BIN", program(profile));
    // One at a time: a program that another test starts has a copy of all descriptors until it runs, so that a close does
    // not close and a file that was written cannot be run. Nor do tests take each other's processors then.
    run(tests.args(call.arguments).env("RUST_TEST_THREADS", "1"))
}
