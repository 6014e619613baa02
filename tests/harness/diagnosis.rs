//! `tcp-trace diagnose`, and what it found.

use std::process::{Command, Output, Stdio};

use tcp_trace::record::{Fact, Finding, Record};

use crate::{PATIENCE, recording::parse_line, tcp_trace};

/// What one run found.
#[derive(Debug)]
pub struct Diagnosis {
    /// In its order.
    pub findings: Vec<Finding>,
    /// What it said on stderr.
    pub said: String,
}

impl Diagnosis {
    /// Judges the sockets with this port, with these further arguments.
    pub fn of_port(port: u16, arguments: &[&str]) -> Self {
        Self::with(tcp_trace(), &[&["--port", &port.to_string()], arguments].concat())
    }

    /// Runs `tcp-trace`, which `command` starts in its own way, with these arguments behind `diagnose`.
    pub fn with(mut command: Command, arguments: &[&str]) -> Self {
        command.args(["diagnose", "--format", "json"]).args(arguments).stdin(Stdio::null());
        Self::of_output(command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}")))
    }

    /// What a run that has ended printed. The exit code has to say whether there are findings.
    pub fn of_output(output: Output) -> Self {
        let (stdout, said) = (
            String::from_utf8(output.stdout).expect("JSON is UTF-8"),
            String::from_utf8_lossy(&output.stderr),
        );
        let findings: Vec<_> = stdout
            .lines()
            .map(|line| match parse_line(line) {
                Record::Finding(finding) => *finding,
                other => panic!("no finding: {other:?}"),
            })
            .collect();
        let expected = if findings.is_empty() { 0 } else { 1 };
        assert_eq!(output.status.code(), Some(expected), "{said}{findings:#?}");
        Self { findings, said: said.into_owned() }
    }

    /// Judges again and again until there is a finding with this code, and gives it.
    pub fn wait_for(code: &str, port: u16, arguments: &[&str]) -> Finding {
        let start = std::time::Instant::now();
        loop {
            let diagnosis = Self::of_port(port, arguments);
            let last = format!("{diagnosis:#?}");
            if let Some(finding) = diagnosis.findings.into_iter().find(|finding| finding.code == code) {
                return finding;
            }
            assert!(start.elapsed() < PATIENCE, "waited in vain for {code}; last: {last}");
        }
    }

    /// Fails unless nothing was found.
    pub fn expect_none(&self) {
        assert!(self.findings.is_empty(), "nothing is wrong: {:#?}", self.findings);
    }

    /// The only finding.
    pub fn only(&self) -> &Finding {
        let [finding] = self.findings.as_slice() else { panic!("one finding: {:#?}", self.findings) };
        finding
    }
}

/// A number of a finding's evidence.
pub fn number(finding: &Finding, name: &str) -> u64 {
    match finding.evidence.get(name) {
        Some(Fact::Number(number)) => *number,
        other => panic!("{name} is {other:?} in {finding:#?}"),
    }
}
