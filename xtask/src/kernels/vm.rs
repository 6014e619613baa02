//! One VM: a kernel under qemu, from its start until it switches off or its time is over.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{catalog::Kernel, initramfs::modules};

/// Starting takes some 5 s without hardware support. A test that sees the end of TIME_WAIT takes more than a minute,
/// and the tests run one after the other.
const TIME_LIMIT: Duration = Duration::from_secs(600);

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
    let errors = File::create(&qemu_log).with_context(|| format!("cannot write {}", qemu_log.display()))?;
    let mut qemu = Command::new("qemu-system-x86_64");
    // With a thread per CPU, a CPU can run into the int3 that another puts into the code for a moment when it attaches
    // a tracepoint, and not find it any more when it asks: kernels 6.18 and 7.2 panicked of that.
    qemu.args(["-accel", "tcg,thread=single", "-cpu", "max", "-smp", "2", "-m", "1024", "-no-reboot"])
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
    let status = until_its_end(&mut qemu)?;
    let text =
        |path: &Path| fs::read(path).map_or(String::new(), |bytes| String::from_utf8_lossy(&bytes).into());
    let log = text(&log) + &text(&qemu_log);
    let ended = match status {
        None => format!("the VM was stopped after {} s", TIME_LIMIT.as_secs()),
        Some(status) if !status.success() => format!("qemu ended with {status}"),
        // A panic ends the VM as switching off does.
        Some(_) if log.contains("Kernel panic") => "the kernel panicked".to_owned(),
        Some(_) => "the VM switched off".to_owned(),
    };
    Ok(Ran { output: text(&output), log, ended, took: start.elapsed() })
}

/// Waits for its end, and ends it when its time is over: then there is no status.
fn until_its_end(qemu: &mut Command) -> Result<Option<ExitStatus>> {
    let mut process = qemu.spawn().context("cannot run qemu-system-x86_64")?;
    let deadline = Instant::now() + TIME_LIMIT;
    while Instant::now() < deadline {
        if let Some(status) = process.try_wait().context("cannot wait for qemu")? {
            return Ok(Some(status));
        }
        thread::sleep(Duration::from_millis(50));
    }
    process.kill().context("cannot stop qemu")?;
    process.wait().context("cannot wait for qemu")?;
    Ok(None)
}
