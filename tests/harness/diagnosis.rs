//! `tcp-trace diagnose`, and what it found.

use std::{
    io::Read as _,
    process::{Command, Output, Stdio},
};

use rustix::process::Signal;
use tcp_trace_model::record::{Fact, Finding, Record};

use crate::{PATIENCE, Running, TimeWindow, now, recording::parse_line, tcp_trace};

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
        let from = now();
        let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let diagnosis = Self::of_output(output);
        // A recording is judged as it ends.
        if !arguments.contains(&"--from") {
            diagnosis.assert_judged(TimeWindow { from, to: now() });
        }
        diagnosis
    }

    /// Fails unless the sockets were read at this moment: ages are those of then.
    fn assert_judged(&self, moment: TimeWindow) {
        for finding in &self.findings {
            assert_eq!(moment.micros_from(finding.time), 0, "{moment:?}: {finding:#?}");
        }
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
        let diagnosis = Self::wait_until(port, arguments, |finding| finding.code == code);
        let mut found = diagnosis.findings.into_iter();
        found.find(|finding| finding.code == code).expect("it was waited for")
    }

    /// Judges again and again until there is a finding that `is_it`, and gives all of that run.
    pub fn wait_until(port: u16, arguments: &[&str], is_it: impl Fn(&Finding) -> bool) -> Self {
        let start = std::time::Instant::now();
        loop {
            let diagnosis = Self::of_port(port, arguments);
            if diagnosis.findings.iter().any(&is_it) {
                return diagnosis;
            }
            assert!(start.elapsed() < PATIENCE, "waited in vain for a finding; last: {diagnosis:#?}");
        }
    }

    /// Fails unless nothing was found.
    pub fn expect_none(&self) {
        assert!(self.findings.is_empty(), "nothing is wrong: {self:#?}");
    }

    /// The only finding.
    pub fn only(&self) -> &Finding {
        let [finding] = self.findings.as_slice() else { panic!("one finding: {self:#?}") };
        finding
    }
}

/// `tcp-trace diagnose --for`, while it traces.
#[derive(Debug)]
pub struct Diagnosing {
    running: Running,
    said: String,
}

impl Diagnosing {
    /// Starts it for the sockets with this port, and waits until it sees all that happens.
    pub fn start(port: u16, arguments: &[&str]) -> Self {
        Self::of_host(&[&["--port", &port.to_string()], arguments].concat())
    }

    /// The same for all sockets.
    pub fn of_host(arguments: &[&str]) -> Self {
        let mut command = tcp_trace();
        command.args(["diagnose", "-v", "--format", "json", "--for", "600s"]);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = Running::start(&mut command);
        let mut said = String::new();
        let stderr = running.0.stderr.as_mut().expect("it is piped");
        while !said.contains("attached") {
            let mut bytes = [0; 64];
            let length = stderr.read(&mut bytes).expect("it runs");
            assert!(length > 0, "it ended: {said}");
            said.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
        Self { running, said }
    }

    /// Ends the trace, and gives what was found.
    pub fn end(mut self) -> Diagnosis {
        let from = now();
        self.running.signal(Signal::INT);
        let mut stdout = Vec::new();
        self.running.0.stdout.take().expect("it is piped").read_to_end(&mut stdout).expect("it prints");
        let stderr = self.running.0.stderr.as_mut().expect("it is piped");
        stderr.read_to_string(&mut self.said).expect("it says text");
        let status = self.running.0.wait().expect("it ends");
        let diagnosis = Diagnosis::of_output(Output { status, stdout, stderr: self.said.into_bytes() });
        diagnosis.assert_judged(TimeWindow { from, to: now() });
        diagnosis
    }
}

/// Fails unless this time is that from `event` until the sockets were read, within 10 %.
#[track_caller]
pub fn assert_since(us: u64, event: TimeWindow, finding: &Finding) {
    // A finding's time is that before the kernel was queried; by now it has answered.
    let read = TimeWindow { from: finding.time, to: now() };
    let most = read.to.micros_since(event.from);
    // So that what is measured is longer than the scheduler's moods.
    assert!(most >= 1_000_000, "too young to compare: {most} us: {finding:#?}");
    assert_between(us, event, read, finding);
}

/// Fails unless this time is that from one event to another, within 10 %.
#[track_caller]
pub fn assert_between(us: u64, first: TimeWindow, second: TimeWindow, finding: &Finding) {
    let (least, most) = first.micros_until(second);
    assert!(
        us * 10 >= least * 9 && us * 10 <= most * 11,
        "{us} us is not {least} to {most} us: {finding:#?}"
    );
}

/// The same of the age of each connection of a finding.
#[track_caller]
pub fn assert_ages(finding: &Finding, event: TimeWindow) {
    assert!(!finding.connections.is_empty(), "{finding:#?}");
    for connection in &finding.connections {
        assert_since(connection.age_us.expect("it is dated"), event, finding);
    }
}

/// A number of a finding's evidence.
pub fn number(finding: &Finding, name: &str) -> u64 {
    match finding.evidence.get(name) {
        Some(Fact::Number(number)) => *number,
        other => panic!("{name} is {other:?} in {finding:#?}"),
    }
}
