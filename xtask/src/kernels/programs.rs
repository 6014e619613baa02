//! Static builds of what the VMs run: the program, and the end-to-end tests that need only loopback.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::command::{output, project};

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The test executable, and how the names of those of its tests start that a VM can run.
const TESTS: &str = "lives";
const LOOPBACK: &str = "loopback_";

/// What is put into the VMs.
pub(super) struct Programs {
    pub(super) tcp_trace: PathBuf,
    pub(super) lives: PathBuf,
    /// Names of the tests.
    pub(super) tests: Vec<String>,
}

/// Builds both, in a folder of their own: other flags would make the normal build start anew.
pub(super) fn build(captures: bool) -> Result<Programs> {
    eprintln!("xtask: building tcp-trace and its tests statically");
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(project())
        .args(["build", "--profile=e2e", "--locked", "--target", TARGET])
        .args(["--package=tcp-trace", "--bin=tcp-trace", "--package=tcp-trace-tests", "--test", TESTS])
        .args(captures.then_some("--features=tcp-trace/capture"))
        .arg("--message-format=json-render-diagnostics")
        .env("CARGO_TARGET_DIR", project().join("target/static"))
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .env_remove("RUSTFLAGS")
        .stderr(Stdio::inherit());
    let messages = output(&mut cargo).context("cannot build the static programs for the VMs")?;
    let tcp_trace = executable(&messages, "tcp-trace")?;
    let lives = executable(&messages, TESTS)?;
    let tests = tests_of(&lives)?;
    Ok(Programs { tcp_trace, lives, tests })
}

/// The executable of a target, as cargo's messages tell it.
fn executable(messages: &str, target: &str) -> Result<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut paths = messages
        .filter(|message| message["target"]["name"] == target)
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    paths.next().with_context(|| format!("cargo built no executable of {target}"))
}

fn tests_of(lives: &Path) -> Result<Vec<String>> {
    let list = output(Command::new(lives).args([LOOPBACK, "--list", "--format=terse"]))?;
    let tests = listed(&list);
    if tests.is_empty() {
        bail!("no test of {TESTS} has a name that starts with {LOOPBACK}: the VMs have no test to run");
    }
    Ok(tests)
}

fn listed(list: &str) -> Vec<String> {
    let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
    // The tests may be in modules.
    let own_name = |name: &str| name.rsplit("::").next().is_some_and(|own| own.starts_with(LOOPBACK));
    names.filter(|name| own_name(name)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_what_cargo_says() {
        let messages = "not JSON\n\
            {\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"lives\"},\"executable\":null}\n\
            {\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"other\"},\"executable\":\"/o\"}\n\
            {\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"lives\"},\"executable\":\"/t/lives-1\"}\n\
            {\"reason\":\"build-finished\",\"success\":true}";
        assert_eq!(executable(messages, "lives").unwrap(), Path::new("/t/lives-1"));
        assert!(executable(messages, "tcp-trace").is_err());
    }

    #[test]
    fn only_tests_that_need_loopback_are_taken() {
        let list =
            "loopback_reset: test\nclose::loopback_fin: test\nneeds_loopback_too: test\nloopback_::a: test\n";
        assert_eq!(listed(list), ["loopback_reset", "close::loopback_fin"]);
    }
}
