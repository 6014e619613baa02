//! Load by wrk, with wrk's own figures.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use crate::{Diagnosis, Running};

/// From how long an exchange is slow for `tcp-trace diagnose`, where nothing else was typed.
const SLOW: Duration = Duration::from_secs(1);

/// A running wrk.
#[derive(Debug)]
pub struct Wrk(Running);

/// What it said in the end.
#[derive(Debug)]
pub struct Loaded {
    text: String,
}

impl Wrk {
    /// Starts it with these arguments. wrk reports no time for an exchange that takes longer than its timeout: that
    /// is made longer than anything stands still.
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new("wrk");
        command.args(["--timeout", "10s"]).args(arguments);
        Self(Running::start(command.stdin(Stdio::null()).stdout(Stdio::piped())))
    }

    /// Waits until its time is over.
    pub fn end(mut self) -> Loaded {
        let stdout = self.0.0.stdout.take().expect("it is piped");
        let text = std::io::read_to_string(stdout).expect("wrk prints text");
        assert!(self.0.0.wait().expect("wrk can be waited for").success(), "{text}");
        let loaded = Loaded { text };
        assert!(loaded.requests() > 0, "{loaded:?}");
        loaded
    }
}

impl Loaded {
    /// `  123456 requests in 30.01s, 200.00MB read`.
    fn requests(&self) -> u64 {
        let mut lines = self.text.lines();
        let requests = lines.find_map(|line| line.split_once(" requests in ")?.0.trim().parse().ok());
        requests.unwrap_or_else(|| panic!("no number of requests: {self:?}"))
    }

    /// How long the longest exchange took: the third number of `    Latency   563.16us  1.02ms  24.13ms   93.91%`.
    fn longest(&self) -> Duration {
        let mut lines = self.text.lines();
        let line = lines.find_map(|line| line.trim().strip_prefix("Latency"));
        let longest = line.and_then(|line| line.split_whitespace().nth(2));
        longest.and_then(parse_time).unwrap_or_else(|| panic!("no longest time: {self:?}"))
    }

    /// Fails unless nothing was found of this load; where everything stood still for so long that exchanges were slow by
    /// wrk's clock too, unless that alone was.
    pub fn expect_none(&self, diagnosis: &Diagnosis) {
        let longest = self.longest();
        if longest < SLOW {
            return diagnosis.expect_none();
        }
        println!("an exchange took {longest:?}: slow_server is true");
        let is_slow = diagnosis.findings.iter().all(|finding| finding.code == "slow_server");
        assert!(is_slow, "nothing else is wrong: {diagnosis:#?}");
    }
}

/// `563.16us`, `24.13ms`, `1.02s`.
fn parse_time(text: &str) -> Option<Duration> {
    let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
    let seconds = match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        _ => return None,
    };
    Some(Duration::from_secs_f64(seconds))
}
