//! Checks that run beside others: in a process of their own, where the others leave a processor idle.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio, id},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{command::project, setup::Need};

/// What this needs of the machine.
pub(crate) const NEEDS: [Need; 2] =
    [Need::Program("chrt", "util-linux"), Need::Program("setpriv", "util-linux")];

/// Runs the arguments, and ends them and all that they started when it is to end itself.
const GROUP: &str = r#"trap 'trap - TERM; kill 0' TERM; "$@" & wait $!"#;

/// What becomes of it when this process ends first, whatever ends that.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Orphan {
    /// It ends too, with all that it started.
    Ends,
    /// It goes on to its end.
    GoesOn,
}

/// A check that was started.
pub(crate) struct Background {
    waiting: JoinHandle<Result<(ExitStatus, Duration)>>,
    log: PathBuf,
}

impl Background {
    /// Runs xtask with these arguments. What it prints stays in `target/checks` until it is waited for.
    pub(crate) fn start(name: &str, arguments: &[&str], orphan: Orphan) -> Result<Self> {
        // Works also when cargo has meanwhile put another xtask into its place.
        let this_program = format!("/proc/{}/exe", id());
        Self::of(name, Command::new(this_program).args(arguments), orphan)
    }

    fn of(name: &str, program: &Command, orphan: Orphan) -> Result<Self> {
        let folder = project().join("target/checks");
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let errors = output.try_clone().with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new("setpriv");
        if orphan == Orphan::Ends {
            command.args(["--pdeathsig", "TERM"]);
        }
        // SCHED_IDLE: what runs with any other policy takes the processor at once.
        command.args(["chrt", "--idle", "0", "sh", "-c", GROUP, "sh"]);
        command.arg(program.get_program()).args(program.get_args());
        // In a group of its own, so that the terminal's signals do not reach it.
        command.process_group(0).stdin(Stdio::null()).stdout(output).stderr(errors);
        let waiting = thread::spawn(move || {
            let start = Instant::now();
            let status = command.status().context("cannot run setpriv")?;
            Ok((status, start.elapsed()))
        });
        Ok(Self { waiting, log })
    }

    /// Waits for its end, prints what it printed, and gives how long it took.
    pub(crate) fn finish(self) -> Result<Duration> {
        let Ok(ended) = self.waiting.join() else { bail!("the thread that waits for it panicked") };
        let (status, took) = ended?;
        let log = fs::read(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        println!("{}", String::from_utf8_lossy(&log).trim_end());
        if !status.success() {
            bail!("failed in the background: {status}");
        }
        Ok(took)
    }
}

/// Whether the machine leaves the processor to others when a process of SCHED_IDLE waits for it. Where a control group has a
/// quota (`cpu.max`), what runs in the background uses it up, and all stand still for a while.
pub(crate) fn is_free() -> bool {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    // A quota of a group counts for those below it. The root has none, and no file.
    Path::new(path).ancestors().all(|group| {
        let limit = fs::read_to_string(format!("/sys/fs/cgroup{}/cpu.max", group.display()));
        limit.map_or(true, |limit| limit.starts_with("max"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(name: &str, script: &str) -> Background {
        Background::of(name, Command::new("sh").args(["-c", script]), Orphan::Ends).unwrap()
    }

    #[test]
    fn what_it_printed_and_how_it_ended_is_known() {
        let fine = shell("test-fine", "chrt --pid $$; echo an error >&2");
        let log = fine.log.clone();
        fine.finish().unwrap();
        let printed = fs::read_to_string(&log).unwrap();
        assert!(printed.contains("SCHED_IDLE") && printed.ends_with("an error\n"), "{printed}");
        fs::remove_file(&log).unwrap();
        let failed = shell("test-failed", "exit 3");
        let log = failed.log.clone();
        assert_eq!(failed.finish().unwrap_err().to_string(), "failed in the background: exit status: 3");
        fs::remove_file(&log).unwrap();
    }

    #[test]
    fn all_that_it_started_ends_with_it() {
        let mut group = Command::new("sh");
        group
            .args(["-c", GROUP, "sh", "sh", "-c", "(sleep 3; echo went on) & kill -TERM $PPID; wait"])
            .process_group(0);
        // The output ends when the last process that has it has ended.
        let ended = group.output().unwrap();
        assert!(!ended.status.success() && ended.stdout.is_empty(), "{ended:?}");
    }
}
