//! Processes that end with the test, and waiting for what they do.

use std::{
    env,
    fs::{self, File},
    net::{Ipv6Addr, TcpListener},
    ops::Range,
    path::Path,
    process::{Child, Command, Output},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::{
    process::{Pid, Signal, kill_process},
    thread::{CpuSet, sched_getcpu, sched_setaffinity},
};

use crate::Folder;

/// How long anything may take that a test waits for. Only a failing test takes so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Fails unless the test runs as root.
pub fn require_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "the end-to-end tests load eBPF programs: run them as root"
    );
}

/// Keeps this thread, and the threads and processes that it starts, on the CPU where it is. From two CPUs segments may
/// overtake one another over loopback; the answer to one that comes late can reset a socket in TIME_WAIT (RFC 1337).
pub fn stay_on_one_cpu() {
    let mut cpus = CpuSet::new();
    cpus.set(sched_getcpu());
    sched_setaffinity(None, &cpus).expect("a thread may stay where it is");
}

/// Waits until `probe` gives something, or fails with what `what` says.
pub fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        let probed = Instant::now();
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for {what}");
        pause(probed);
    }
}

/// Waits until `probe` holds; gives up, and says so, after this time.
pub fn wait_until(patience: Duration, mut probe: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        let probed = Instant::now();
        if probe() {
            return true;
        }
        if start.elapsed() >= patience {
            return false;
        }
        pause(probed);
    }
}

/// Leaves the processor to what is waited for, for about as long as the probe took, which began at this time.
fn pause(probed: Instant) {
    std::thread::sleep(probed.elapsed().clamp(Duration::from_millis(2), Duration::from_millis(50)));
}

/// Waits until `ss`, run where the server is, shows this many listeners on a port.
pub fn wait_for_listener(mut ss: Command, port: u16, listeners: usize) {
    ss.args(["-Hltn", &format!("sport = :{port}")]);
    wait_for(&format!("{listeners} listeners on port {port}"), || {
        let lines = output(&mut ss).stdout.iter().filter(|byte| **byte == b'\n').count();
        (lines == listeners).then_some(())
    });
}

/// Waits until a program that was started is ready; when it ends instead, fails with its logs.
pub fn wait_until_ready(
    process: &mut Running,
    command: &Command,
    logs: &[&Path],
    mut is_ready: impl FnMut() -> bool,
) {
    wait_for(&format!("{command:?} to be ready"), || {
        if let Ok(Some(status)) = process.0.try_wait() {
            let said: String = logs.iter().flat_map(fs::read_to_string).collect();
            panic!("{command:?}: {status}\n{said}");
        }
        is_ready().then_some(())
    });
}

/// Waits until a server has written `pid` in its folder; when it ends instead, fails with its `error.log`.
pub fn wait_for_pid_file(process: &mut Running, command: &Command, folder: &Folder) {
    wait_until_ready(process, command, &[&folder.file("error.log")], || {
        fs::read(folder.file("pid")).is_ok_and(|pid| !pid.is_empty())
    });
}

/// Runs a program to its end and fails unless it succeeds.
pub fn output(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Ports of tests, below those that the kernel chooses for clients.
const PORTS: Range<u16> = 10_000..30_000;

/// How many of them a process of tests takes at a time.
const BLOCK: u16 = 64;

/// The ports that this process has taken.
struct Taken {
    /// Locked as long as it runs.
    locks: Vec<File>,
    /// Those that were not given yet.
    left: Range<u16>,
}

impl Taken {
    /// Takes a block that no process has which runs.
    fn take_block(&mut self) {
        let blocks = u32::from((PORTS.end - PORTS.start) / BLOCK);
        let lock = |block: u32| {
            let path = env::temp_dir().join(format!("tcp-trace-test-ports-{block}"));
            let file = File::options().create(true).append(true).open(path).expect("files can be made");
            file.try_lock().is_ok().then_some((block, file))
        };
        let free = (0..blocks).find_map(|number| lock(std::process::id().wrapping_add(number) % blocks));
        let (block, file) = free.expect("tests that run leave some ports");
        self.locks.push(file);
        let first = PORTS.start + block as u16 * BLOCK;
        self.left = first..first + BLOCK;
    }
}

/// A port that no other test has, of this process or of another that runs at the same time: what the kernel prints does not say in which
/// network namespace a port is.
pub(crate) fn next_port() -> u16 {
    static TAKEN: Mutex<Taken> = Mutex::new(Taken { locks: Vec::new(), left: 0..0 });
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    if taken.left.is_empty() {
        taken.take_block();
    }
    taken.left.next().expect("a block is not empty")
}

/// A port of loopback, of both IP versions, on which nothing listens and which no client will be given.
pub fn free_port() -> u16 {
    let is_free = |port: &u16| TcpListener::bind((Ipv6Addr::UNSPECIFIED, *port)).is_ok();
    std::iter::repeat_with(next_port).take(PORTS.len()).find(is_free).expect("a port can be had")
}

/// A process that is ended with its handle: by SIGTERM first, so that it can end its own children.
#[derive(Debug)]
pub struct Running(pub Child);

impl Running {
    /// Starts it.
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}")))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed()).expect("a process id is not 0");
        kill_process(pid, signal).expect("the process is there");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        self.signal(Signal::TERM);
        let start = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) {
            if start.elapsed() > Duration::from_secs(5) {
                // It does not listen; nothing more can be done if this fails too.
                let _ = self.0.kill();
                let _ = self.0.wait();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
