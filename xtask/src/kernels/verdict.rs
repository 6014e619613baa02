//! Whether a step of a VM did what is expected of that kernel.

use super::{catalog::Line, console::Step};

/// The two steps that are no tests.
pub(super) const CHECK: &str = "check";
pub(super) const DEMO: &str = "demo";
/// What `check` and `demo` exit with where the kernel lacks something.
const REFUSED: i32 = 4;
/// What `timeout` ends a step with that hangs: its signal is TERM.
const TIMED_OUT: i32 = 128 + 15;

/// What came of a step.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// As it should be.
    Fine,
    /// The kernel is too old, and the program says so.
    Refused,
    /// Such a kernel does not run it.
    NotMeant,
    /// Anything else, and why.
    Failed(String),
}

impl Verdict {
    /// Judges a step; `ended` is why the VM ended.
    pub(super) fn of(line: &Line, name: &str, step: Option<&Step>, ended: &str) -> Self {
        let is_test = name != CHECK && name != DEMO;
        if is_test && line.lacks.is_some() {
            return Self::NotMeant;
        }
        let Some(step) = step else { return Self::Failed(format!("not run: {ended}")) };
        let Some(code) = step.exit_code else { return Self::Failed(format!("not finished: {ended}")) };
        // What it has to exit with, and say.
        let (expected, words) = match (line.lacks, name) {
            (Some(lacks), _) => (REFUSED, vec!["this kernel lacks", lacks]),
            (None, CHECK) => (0, vec!["all required probes can be attached"]),
            (None, DEMO) => (0, vec!["TIME_WAIT", ", 0 lost"]),
            // A test that is ignored exits with 0 too.
            (None, _) => (0, vec!["test result: ok. 1 passed"]),
        };
        let missing = words.iter().find(|word| !step.output.contains(**word));
        match (code == expected, missing) {
            (false, _) if code == TIMED_OUT => Self::Failed("it hung and was ended".to_owned()),
            (false, _) => Self::Failed(format!("exit code {code}, expected {expected}")),
            (true, Some(missing)) => Self::Failed(format!("its output does not say `{missing}`")),
            (true, None) if line.lacks.is_some() => Self::Refused,
            (true, None) => Self::Fine,
        }
    }

    /// For the table.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Refused => "refused",
            Self::NotMeant => "-",
            Self::Failed(_) => "FAILED",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::catalog::LINES, *};

    fn verdict(line: &str, name: &str, output: &str, exit_code: Option<i32>) -> Verdict {
        let line = LINES.iter().find(|of| of.name == line).unwrap();
        let step = Step { name: name.to_owned(), output: output.to_owned(), exit_code };
        Verdict::of(line, name, Some(&step), "the VM was stopped")
    }

    fn failed(why: &str) -> Verdict {
        Verdict::Failed(why.to_owned())
    }

    #[test]
    fn a_kernel_that_is_served_runs_everything() {
        let demo = "TIME_WAIT after 6 us\n3 connections, 0 lost";
        assert_eq!(verdict("6.1", DEMO, demo, Some(0)), Verdict::Fine);
        assert_eq!(verdict("6.1", DEMO, demo, Some(4)), failed("exit code 4, expected 0"));
        assert_eq!(verdict("6.1", DEMO, demo, Some(143)), failed("it hung and was ended"));
        let lossy = "TIME_WAIT\n3 connections, 10 lost";
        assert_eq!(verdict("6.1", DEMO, lossy, Some(0)), failed("its output does not say `, 0 lost`"));
        let test = "test loopback_a ... ok\ntest result: ok. 1 passed; 0 failed";
        assert_eq!(verdict("6.1", "loopback_a", test, Some(0)), Verdict::Fine);
        let ignored = "test result: ok. 0 passed; 0 failed; 1 ignored";
        assert!(matches!(verdict("6.1", "loopback_a", ignored, Some(0)), Verdict::Failed(_)));
    }

    #[test]
    fn a_kernel_that_is_too_old_is_refused_with_its_reason() {
        let message = "this kernel lacks support for the eBPF program x: unknown func bpf_sk_storage_get";
        assert_eq!(verdict("5.10", CHECK, message, Some(4)), Verdict::Refused);
        assert_eq!(
            verdict("5.10", DEMO, "no", Some(4)),
            failed("its output does not say `this kernel lacks`")
        );
        assert_eq!(verdict("5.10", DEMO, message, Some(0)), failed("exit code 0, expected 4"));
        assert_eq!(verdict("5.10", "loopback_a", "", None), Verdict::NotMeant);
    }

    #[test]
    fn what_did_not_come_to_its_end_failed() {
        assert_eq!(verdict("6.1", CHECK, "", None), failed("not finished: the VM was stopped"));
        let line = &LINES[1];
        assert_eq!(Verdict::of(line, CHECK, None, "the VM ended"), failed("not run: the VM ended"));
    }
}
