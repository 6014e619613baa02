//! `cargo xtask bench`: builds what is measured and what measures, and runs it.

use std::process::Command;

use anyhow::Result;

use crate::command::{program, project, run};

/// Builds the program as users get it, and what measures it.
pub(crate) fn build() -> Result<()> {
    run(&mut cargo(&["build", "--package=tcp-trace", "--package=tcp-trace-bench"]))
}

/// Passes `arguments` on to the benchmark.
pub(crate) fn run_with(arguments: &[&str]) -> Result<()> {
    build()?;
    let mut bench = cargo(&["run", "--package=tcp-trace-bench", "--bin=tcp-trace-bench"]);
    run(bench.arg("--").args(arguments).env("TCP_TRACE_BIN", program("release")))
}

fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(project()).args(arguments).args(["--release", "--locked", "--quiet"]);
    cargo
}
