//! One VM: a kernel under qemu, from its start until it switches off or hangs.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{catalog::Kernel, initramfs::modules};

/// A VM that prints nothing for so long hangs: it prints when each step begins and ends, and `init` ends a step after 150 s.
const SILENCE_MAX: Duration = Duration::from_secs(240);

/// What a VM left behind.
#[derive(Debug)]
pub(super) struct Ran {
    /// What the checks said.
    pub(super) output: String,
    /// What the kernel and qemu said.
    pub(super) log: String,
    /// How it ended.
    pub(super) ended: String,
    pub(super) took: Duration,
}

/// Runs it. Its output stays in `folder`.
pub(super) fn run(kernel: &Kernel, initramfs: &Path, folder: &Path, captures: bool) -> Result<Ran> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let [log, output, qemu_log] = ["kernel.log", "output", "qemu.log"].map(|name| folder.join(name));
    let own_initramfs = folder.join("initramfs.cpio");
    let mut archives = fs::read(initramfs).with_context(|| format!("cannot read {}", initramfs.display()))?;
    archives.extend(modules(kernel)?);
    fs::write(&own_initramfs, archives)
        .with_context(|| format!("cannot write {}", own_initramfs.display()))?;
    let tests = if kernel.line.lacks.is_some() { "no" } else { "yes" };
    let capture = if captures { "yes" } else { "no" };
    // What an earlier one printed is no word of this one.
    if output.exists() {
        fs::remove_file(&output).with_context(|| format!("cannot remove {}", output.display()))?;
    }
    let errors = File::create(&qemu_log).with_context(|| format!("cannot write {}", qemu_log.display()))?;
    let mut qemu = Command::new("qemu-system-x86_64");
    // One CPU. With a thread for each of two, one can run into the int3 that the other puts into the code for a moment when it
    // attaches a tracepoint, and not find it any more when it asks: kernels 6.18 and 7.2 panicked of that. With one thread for
    // both, qemu stops each for 100 ms at a time while both are busy, also between two programs at one tracepoint.
    qemu.args(["-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "1024", "-no-reboot"])
        .args(["-nodefaults", "-display", "none", "-monitor", "none", "-net", "none"])
        .arg("-serial")
        .arg(format!("file:{}", log.display()))
        .arg("-serial")
        .arg(format!("file:{}", output.display()))
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(&own_initramfs)
        // A panic and an oops end the VM; the kernel hands the last two on to the first process.
        .arg("-append")
        .arg(format!(
            "console=ttyS0 quiet panic=-1 oops=panic random.trust_cpu=on tests={tests} capture={capture}"
        ))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors);
    let start = Instant::now();
    let status = until_its_end(&mut qemu, &output)?;
    let text =
        |path: &Path| fs::read(path).map_or(String::new(), |bytes| String::from_utf8_lossy(&bytes).into());
    let log = text(&log) + &text(&qemu_log);
    let ended = match status {
        None => format!("the VM was stopped after {} s without a word", SILENCE_MAX.as_secs()),
        Some(status) if !status.success() => format!("qemu ended with {status}"),
        // A panic ends the VM as switching off does.
        Some(_) if log.contains("Kernel panic") => "the kernel panicked".to_owned(),
        Some(_) => "the VM switched off".to_owned(),
    };
    Ok(Ran { output: text(&output), log, ended, took: start.elapsed() })
}

/// Waits for its end, and ends it when it hangs, by its output: then there is no status.
fn until_its_end(qemu: &mut Command, output: &Path) -> Result<Option<ExitStatus>> {
    let mut process = qemu.spawn().context("cannot run qemu-system-x86_64")?;
    let mut length = 0;
    let mut last_word = Instant::now();
    while last_word.elapsed() < SILENCE_MAX {
        if let Some(status) = process.try_wait().context("cannot wait for qemu")? {
            return Ok(Some(status));
        }
        // It is made by qemu.
        let now = fs::metadata(output).map_or(0, |file| file.len());
        if now != length {
            (length, last_word) = (now, Instant::now());
        }
        thread::sleep(Duration::from_millis(50));
    }
    process.kill().context("cannot stop qemu")?;
    process.wait().context("cannot wait for qemu")?;
    Ok(None)
}
