//! `cargo xtask test`: everything that has to hold, in the order in which a failure is cheapest.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    background::{self, Background, Orphan},
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
    /// In a run of all checks it starts, in the background, when it is this one's turn, and is waited for at its own place.
    starts_beside: Option<&'static str>,
}

/// How a check is called.
#[derive(Default)]
struct Call<'a> {
    /// What goes to the test programs.
    arguments: &'a [&'a str],
    /// Whether the checks before it have run.
    is_part_of_all: bool,
}

impl Check {
    const fn new(name: &'static str, needs: &'static [Need], run: fn(&Call<'_>) -> Result<()>) -> Self {
        Self { name, needs, run, starts_beside: None }
    }

    const fn beside(self, other: &'static str) -> Self {
        Self { starts_beside: Some(other), ..self }
    }
}

const CHECKS: [Check; 11] = [
    Check::new("fmt", &[Need::Cargo("fmt", "rustfmt")], |_| fmt()),
    Check::new("clippy", &[Need::Cargo("clippy", "clippy")], |_| clippy()),
    Check::new("tidy", &[], |_| tidy::check(&project())),
    Check::new("unit", &[], unit),
    Check::new("ebpf", &[], |_| ebpf::check()),
    Check::new("e2e", &NEEDS_OF_TESTS, end_to_end),
    // What follows goes on while the end-to-end tests mostly wait: linking, which takes one processor,
    Check::new("release", &[], |_| bench::build()).beside("e2e"),
    Check::new("demo", &NEEDS_OF_PROGRAM, |_| demo()),
    // instructions, which are counted, not timed,
    Check::new("bench", &[Need::Program("valgrind", "valgrind")], |_| bench::run_with(&["--check"]))
        .beside("e2e"),
    // and what the VMs need. They themselves run alone: their tests compare times.
    Check::new("images", &kernels::NEEDS, |_| kernels::prepare()).beside("e2e"),
    Check::new("kernels", &kernels::NEEDS, |call| kernels::run(call.arguments)),
];

const ROOT: Need = Need::Root("the program loads eBPF programs, and its tests make network namespaces");
const BTF: Need = Need::Kernel("/sys/kernel/btf/vmlinux", "a kernel with BTF");

const NEEDS_OF_PROGRAM: [Need; 2] = [ROOT, BTF];

const NEEDS_OF_TESTS: [Need; 48] = [
    ROOT,
    BTF,
    Need::Kernel("/dev/net/tun", "TUN devices"),
    Need::Program("ab", "apache2-utils"),
    Need::Program("addr2line", "binutils"),
    Need::Program("apache2", "apache2-bin"),
    Need::Program("bpftool", "bpftool"),
    Need::Program("caddy", "caddy"),
    Need::Program("chromium", "chromium"),
    Need::Program("curl", "curl"),
    Need::Program("gcc", "gcc"),
    Need::Program("go", "golang-go"),
    Need::Program("gunicorn", "gunicorn"),
    Need::Program("h2load", "nghttp2-client"),
    Need::Program("haproxy", "haproxy"),
    Need::Program("ip", "iproute2"),
    Need::Program("javac", "default-jdk-headless"),
    Need::Program("lighttpd", "lighttpd"),
    Need::Program("microsocks", "microsocks"),
    Need::Program("nft", "nftables"),
    Need::Program("nghttpd", "nghttp2-server"),
    Need::Program("nginx", "nginx-light"),
    Need::Program("node", "nodejs"),
    Need::Program("nsenter", "util-linux"),
    Need::Program("openssl", "openssl"),
    Need::Program("php", "php-cli"),
    Need::Program("prlimit", "util-linux"),
    Need::Program("python3", "python3"),
    Need::Program("ruby", "ruby"),
    Need::Program("setarch", "util-linux"),
    Need::Program("setpriv", "util-linux"),
    Need::Program("ss", "iproute2"),
    Need::Program("strip", "binutils"),
    Need::Program("systemd-socket-activate", "systemd"),
    Need::Program("tc", "iproute2"),
    Need::Program("tshark", "tshark"),
    Need::Program("unshare", "util-linux"),
    Need::Program("varnishd", "varnish"),
    Need::Program("varnishncsa", "varnish"),
    Need::Program("wget", "wget"),
    Need::Program("wrk", "wrk"),
    Need::Python("jsonschema", "python3-jsonschema"),
    Need::Python("requests", "python3-requests"),
    Need::Command(&["/usr/bin/python3", "-c", "import aiohttp"], "python3-aiohttp"),
    Need::Command(&["/usr/bin/python3", "-c", "import grpc"], "python3-grpcio"),
    Need::Command(&["/usr/bin/python3", "-c", "import h2"], "python3-h2"),
    Need::Command(&["/usr/bin/python3", "-c", "import httpx"], "python3-httpx"),
    Need::Command(&["php", "-r", "exit(function_exists('curl_init') ? 0 : 1);"], "php-curl"),
];

/// Whether there is a check of this name.
pub(crate) fn exists(name: &str) -> bool {
    CHECKS.iter().any(|check| check.name == name)
}

/// The names of all checks.
pub(crate) fn names() -> String {
    CHECKS.map(|check| check.name).join(", ")
}

/// Runs every check that is not skipped, stops at the first that fails, and prints how long each took. What is missing is
/// installed in the background until a check needs it.
pub(crate) fn all(skipped: &[&str], may_install: bool) -> Result<()> {
    let checks: Vec<_> = CHECKS.iter().filter(|check| !skipped.contains(&check.name)).collect();
    setup::provide(&background::NEEDS, may_install)?;
    let missing = setup::installable(&needs_of(&checks), may_install)?;
    let names = checks.iter().map(|check| check.name);
    let words: Vec<_> = ["setup"].into_iter().chain(names).collect();
    // What began to change the machine comes to its end.
    let start = || Background::start("setup", &words, Orphan::GoesOn);
    let mut setup = Setup { running: (!missing.is_empty()).then(start).transpose()?, missing };
    let mut times = Times::default();
    let result = in_order(&checks, &mut setup, &mut times);
    let installed = setup.running.map_or(Ok(()), |running| times.wait_for("setup", running));
    print!("{}", times.table());
    if let (Err(_), Err(error)) = (&result, &installed) {
        eprintln!("xtask: setup: {error:#}");
    }
    result.and(installed.context("setup"))?;
    println!("all checks passed");
    Ok(())
}

/// The installation of what was missing.
struct Setup {
    missing: Vec<Need>,
    /// Until it has been waited for.
    running: Option<Background>,
}

impl Setup {
    /// Waits for it if these checks need any of it.
    fn wait_if_needed(&mut self, checks: &[&Check], times: &mut Times) -> Result<()> {
        let is_needed = needs_of(checks).iter().any(|need| self.missing.contains(need));
        let Some(running) = self.running.take_if(|_| is_needed) else { return Ok(()) };
        println!("== setup");
        times.wait_for("setup", running).context("setup")
    }
}

fn in_order(checks: &[&Check], setup: &mut Setup, times: &mut Times) -> Result<()> {
    let call = Call { is_part_of_all: true, ..Call::default() };
    let is_free = background::is_free();
    let mut started = BTreeMap::new();
    for turn in &CHECKS {
        let (own, beside): (Vec<&Check>, Vec<&Check>) = checks
            .iter()
            .filter(|check| check.name == turn.name || check.starts_beside == Some(turn.name))
            .partition(|check| check.name == turn.name);
        setup.wait_if_needed(&[own.as_slice(), &beside].concat(), times)?;
        for check in beside.into_iter().filter(|_| is_free) {
            let words = ["test", "--no-install", "--only", check.name];
            let background = Background::start(check.name, &words, Orphan::Ends)?;
            started.insert(check.name, background);
        }
        for check in own {
            println!("== {}", check.name);
            let done = match started.remove(check.name) {
                Some(background) => times.wait_for(check.name, background),
                None => times.measure(check.name, || (check.run)(&call)),
            };
            done.with_context(|| format!("check {}", check.name))?;
        }
    }
    Ok(())
}

/// Installs what these checks need, or all.
pub(crate) fn install(names: &[&str]) -> Result<()> {
    let is_meant = |check: &&Check| names.is_empty() || names.contains(&check.name);
    setup::provide(&needs_of(&CHECKS.iter().filter(is_meant).collect::<Vec<_>>()), true)
}

/// Runs one check; the arguments go to the test programs.
pub(crate) fn only(name: &str, arguments: &[&str], may_install: bool) -> Result<()> {
    let checks: Vec<_> = CHECKS.iter().filter(|check| check.name == name).collect();
    setup::provide(&needs_of(&checks), may_install)?;
    let call = Call { arguments, ..Call::default() };
    checks.into_iter().try_for_each(|check| (check.run)(&call))
}

fn needs_of(checks: &[&Check]) -> Vec<Need> {
    checks.iter().flat_map(|check| check.needs).copied().collect()
}

/// How long each step took of the whole; for one that went on in the background, also how long it took itself.
#[derive(Default)]
struct Times(Vec<(&'static str, Duration, Option<Duration>)>);

impl Times {
    fn measure<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = work();
        self.0.push((name, start.elapsed(), None));
        done
    }

    fn wait_for(&mut self, name: &'static str, background: Background) -> Result<()> {
        let start = Instant::now();
        let done = background.finish();
        self.0.push((name, start.elapsed(), done.as_ref().ok().copied()));
        done.map(|_| ())
    }

    fn table(&self) -> String {
        let mut table = String::from("== times\n");
        let sum = ("sum", self.0.iter().map(|(_, time, _)| *time).sum(), None);
        for (name, time, beside) in self.0.iter().chain([&sum]) {
            let beside = beside.map_or(String::new(), |took| {
                format!("  waited for; {:.1} s in the background", took.as_secs_f64())
            });
            // Writing to a String cannot fail.
            let _ = writeln!(table, "{name:<8} {:>6.1} s{beside}", time.as_secs_f64());
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
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--exclude=tcp-trace-tests", "--locked"]).args(call.arguments);
    if call.is_part_of_all {
        // The same commit gets the same answer twice. Who runs the tests while he works has other cases each time.
        tests.env("PROPTEST_RNG_SEED", "1");
    }
    run(&mut tests)
}

/// The README's first command.
fn demo() -> Result<()> {
    run(cargo().args(["run", "--release", "--locked", "--", "demo"]))
}

/// The end of the name of a test that waits for a minute.
const A_MINUTE: &str = "_ends_after_a_minute";

/// The profile of the program that the end-to-end tests run.
const E2E: &str = "e2e";

fn end_to_end(call: &Call<'_>) -> Result<()> {
    // As users get it but for how it is linked, which takes minutes; the demo runs that.
    run(cargo().args(["build", "--profile", E2E, "--locked"]))?;
    // The same packages as the unit tests have, so that dependencies have the same features and are not built again.
    let tests = |programs: &[&str]| {
        let mut tests = cargo();
        tests.args(["test", "--workspace", "--locked"]).args(programs);
        tests.env("TCP_TRACE_BIN", program(E2E)).env("RUST_TEST_THREADS", "1");
        tests
    };
    // One at a time: a program that another test starts has a copy of all descriptors until it runs, so that a close does
    // not close and a file that was written cannot be run. Nor do tests take each other's processors then.
    if !call.is_part_of_all {
        let programs = if call.arguments.contains(&"--test") { &[][..] } else { &["--test", "*"] };
        return run(tests(programs).args(call.arguments));
    }
    run(tests(&["--test", "*"]).arg("--no-run"))?;
    // Of its minute it works for a second.
    let mut minute = tests(&["--test", "lives"]);
    minute.arg(A_MINUTE).stdout(Stdio::piped()).stderr(Stdio::piped());
    let minute = minute.spawn().context("cannot run cargo")?;
    let others = run(tests(&["--test", "*"]).args(["--", "--skip", A_MINUTE]));
    let minute = minute.wait_with_output().context("cannot wait for cargo")?;
    print!("{}{}", String::from_utf8_lossy(&minute.stderr), String::from_utf8_lossy(&minute.stdout));
    others?;
    ensure!(minute.status.success(), "the test that waits for a minute failed: {}", minute.status);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_in_the_background_starts_before_its_turn() {
        let place = |name| CHECKS.iter().position(|check| check.name == name);
        for (own, check) in CHECKS.iter().enumerate() {
            let Some(other) = check.starts_beside else { continue };
            assert!(place(other).is_some_and(|start| start < own), "{}", check.name);
        }
    }

    #[test]
    fn the_table_says_what_was_waited_for_and_what_that_took() {
        let seconds = Duration::from_secs;
        let times = Times(vec![("e2e", seconds(600), None), ("kernels", seconds(12), Some(seconds(500)))]);
        assert_eq!(
            times.table(),
            "== times\ne2e       600.0 s\nkernels    12.0 s  waited for; 500.0 s in the background\nsum       612.0 s\n"
        );
    }
}
