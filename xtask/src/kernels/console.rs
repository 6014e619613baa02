//! What a VM's `init` prints, taken apart: which kernel it is, and each step with its output and exit code.

/// The output of a VM.
#[derive(Debug, Default)]
pub(super) struct Console {
    /// The kernel's release and Debian's version of it, where it came so far.
    pub(super) version: Option<String>,
    pub(super) steps: Vec<Step>,
}

/// One check or test.
#[derive(Debug, PartialEq)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) output: String,
    /// None where the VM ended first.
    pub(super) exit_code: Option<i32>,
}

impl Console {
    /// Reads it, however early it breaks off.
    pub(super) fn parse(text: &str) -> Self {
        let mut console = Self::default();
        for line in text.lines().map(|line| line.trim_end_matches('\r')) {
            let mark = line.strip_prefix("@@ ").and_then(|mark| mark.split_once(' '));
            match (mark, console.steps.last_mut()) {
                (Some(("kernel", rest)), _) => console.version = Some(version(rest)),
                (Some(("begin", name)), _) => {
                    let step = Step { name: name.to_owned(), output: String::new(), exit_code: None };
                    console.steps.push(step);
                }
                (Some(("end", code)), Some(step)) => {
                    step.exit_code = code.parse().ok();
                    step.output.truncate(step.output.trim_end().len());
                }
                (_, Some(step)) => step.output += &format!("{line}\n"),
                (_, None) => {}
            }
        }
        console
    }

    /// A step, if it began.
    pub(super) fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == name)
    }
}

/// From `uname -r` and `uname -v`: 6.1.0-56-cloud-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.1.170-1 (2026-05-08).
fn version(uname: &str) -> String {
    let mut words = uname.split_whitespace();
    let release = words.next().unwrap_or_default();
    let debian = words.skip_while(|word| *word != "Debian").nth(1);
    debian.map_or(release.to_owned(), |debian| format!("{release} ({debian})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_distinguished() {
        let text = "@@ kernel 6.1.0-56-cloud-amd64 #1 SMP Debian 6.1.170-1 (2026-05-08)\n\
            @@ begin check\r\nkernel x\n@@ odd\n\n@@ end 0\n@@ begin demo\nhalf a li";
        let console = Console::parse(text);
        assert_eq!(console.version.as_deref(), Some("6.1.0-56-cloud-amd64 (6.1.170-1)"));
        let step = |name: &str, output: &str, exit_code| Step {
            name: name.to_owned(),
            output: output.to_owned(),
            exit_code,
        };
        assert_eq!(
            console.steps,
            [step("check", "kernel x\n@@ odd", Some(0)), step("demo", "half a li\n", None)]
        );
        assert_eq!(console.step("other"), None);
    }

    #[test]
    fn nothing_is_no_error() {
        let console = Console::parse("@@ end 1\nnoise");
        assert!(console.version.is_none() && console.steps.is_empty());
    }
}
