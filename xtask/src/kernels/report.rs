//! What is printed of all VMs: the kernels, the table, and everything that helps with a failure.

use std::fmt::Write as _;

use super::{catalog::Kernel, console::Console, verdict::Verdict, vm::Ran};

/// The step that prints a capture.
const CAPTURE: &str = "capture";
/// How much of a failing VM's kernel log is shown.
const LOG_LINES: usize = 60;

/// A VM that has ended.
pub(super) struct Outcome<'a> {
    kernel: &'a Kernel,
    ran: Ran,
    console: Console,
    /// Of every path, in the order of the table.
    verdicts: Vec<Verdict>,
}

impl<'a> Outcome<'a> {
    /// Judges what came of each path.
    pub(super) fn new(kernel: &'a Kernel, ran: Ran, paths: &[&str]) -> Self {
        let console = Console::parse(&ran.output);
        let verdict = |name: &&str| Verdict::of(kernel.line, name, console.step(name), &ran.ended);
        let verdicts = paths.iter().map(verdict).collect();
        Self { kernel, ran, console, verdicts }
    }

    /// What the program read from the ring buffer, if that was captured: the kernel's name, and base64.
    pub(super) fn capture(&self) -> Option<(&'static str, &str)> {
        let step = self.console.step(CAPTURE).filter(|step| step.exit_code == Some(0))?;
        Some((self.kernel.line.name, &step.output))
    }

    /// How many paths failed.
    pub(super) fn failures(&self) -> usize {
        self.verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Failed(_))).count()
    }
}

/// The kernels with their versions, and the table of path by kernel.
pub(super) fn table(outcomes: &[Outcome<'_>], paths: &[&str]) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        let Outcome { kernel, ran, console, .. } = outcome;
        let version = console.version.as_ref().unwrap_or(&kernel.package);
        // Writing to a string does not fail.
        let _ = writeln!(text, "{:<6} {version}  {} s", kernel.line.name, ran.took.as_secs());
    }
    let width = paths.iter().map(|path| path.len()).max().unwrap_or_default();
    let names = outcomes.iter().map(|outcome| outcome.kernel.line.name);
    let _ = writeln!(text, "\n{}", row("", width, names));
    for (number, path) in paths.iter().enumerate() {
        let words = outcomes.iter().map(|outcome| outcome.verdicts[number].word());
        let _ = writeln!(text, "{}", row(path, width, words));
    }
    text
}

fn row<'a>(first: &str, width: usize, cells: impl Iterator<Item = &'a str>) -> String {
    let cells: String = cells.map(|cell| format!("  {cell:<7}")).collect();
    format!("{first:<width$}{cells}").trim_end().to_owned()
}

/// Each failure with what the VM printed, and the end of its kernel's log.
pub(super) fn failures(outcomes: &[Outcome<'_>], paths: &[&str]) -> String {
    let mut text = String::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.failures() > 0) {
        let name = outcome.kernel.line.name;
        for (path, verdict) in paths.iter().zip(&outcome.verdicts) {
            let Verdict::Failed(why) = verdict else { continue };
            let _ = match outcome.console.step(path) {
                Some(step) => writeln!(text, "\n== {name}, {path}: {why}\n{}", step.output.trim_end()),
                None => writeln!(text, "== {name}, {path}: {why}"),
            };
        }
        let _ = writeln!(text, "\n== {name}, end of the kernel's log ({})", outcome.ran.ended);
        let log: Vec<&str> = outcome.ran.log.lines().collect();
        for line in &log[log.len().saturating_sub(LOG_LINES)..] {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, time::Duration};

    use super::{super::catalog::LINES, *};

    const PATHS: [&str; 3] = ["check", "demo", "loopback_reset"];

    fn kernel(line: usize) -> Kernel {
        Kernel {
            line: &LINES[line],
            package: format!("package-{line}"),
            image: PathBuf::new(),
            modules: vec![],
        }
    }

    fn ran(output: &str) -> Ran {
        Ran {
            output: output.to_owned(),
            log: (0..70).map(|line| format!("log {line}\n")).collect(),
            ended: "the VM switched off".to_owned(),
            took: Duration::from_millis(7900),
        }
    }

    #[test]
    fn the_table_has_a_row_per_path_and_a_column_per_kernel() {
        let (old, new) = (kernel(0), kernel(1));
        let refusal = "this kernel lacks x: unknown func bpf_sk_storage_get";
        let refusals = format!("@@ begin check\n{refusal}\n@@ end 4\n@@ begin demo\n{refusal}\n@@ end 4\n");
        let outcomes = [
            Outcome::new(&old, ran(&refusals), &PATHS),
            Outcome::new(
                &new,
                ran("@@ kernel 6.1.0 #1 Debian 6.1.9-1 (x)\n@@ begin check\nno\n@@ end 1\n@@ begin demo\nha"),
                &PATHS,
            ),
        ];
        assert_eq!(
            table(&outcomes, &PATHS),
            "5.10   package-0  7 s\n6.1    6.1.0 (6.1.9-1)  7 s\n\n\
             \x20               5.10     6.1\n\
             check           refused  FAILED\n\
             demo            refused  FAILED\n\
             loopback_reset  -        FAILED\n"
        );
        assert_eq!((outcomes[0].failures(), outcomes[1].failures()), (0, 3));
        let told = failures(&outcomes, &PATHS);
        assert!(told.starts_with(
            "\n== 6.1, check: exit code 1, expected 0\nno\n\
             \n== 6.1, demo: not finished: the VM switched off\nha\n\
             == 6.1, loopback_reset: not run: the VM switched off\n\
             \n== 6.1, end of the kernel's log (the VM switched off)\nlog 10\n"
        ));
        assert!(told.ends_with("\nlog 69\n") && !told.contains("5.10"), "{told}");
    }
}
