//! The witness of state changes: the kernel's own text of `sock:inet_sock_set_state`, from tracefs.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::{
    mount::{MountFlags, mount},
    time::{ClockId, clock_gettime},
};
use tcp_trace_model::time::Time;

/// A tracefs instance that prints `sock:inet_sock_set_state` of one port, removed with its handle.
#[derive(Debug)]
pub struct KernelText {
    instance: PathBuf,
    port: u16,
}

/// One line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelLine {
    /// When, by the wall clock.
    pub time: Time,
    /// The socket's port; 0 while it has none.
    pub local_port: u16,
    /// The other end's; 0 when there is none.
    pub peer_port: u16,
    /// The state left, without `TCP_`.
    pub old: String,
    /// The state entered.
    pub new: String,
}

impl KernelText {
    /// Starts printing what concerns a port, at either end.
    pub fn start(port: u16) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let tracefs = Path::new("/sys/kernel/tracing");
        if !tracefs.join("instances").is_dir() {
            mount("tracefs", tracefs, "tracefs", MountFlags::empty(), None).expect("root can mount tracefs");
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let instance = tracefs.join(format!("instances/tcp-trace-{}-{number}", std::process::id()));
        fs::create_dir(&instance).expect("tracefs makes instances");
        let text = Self { instance, port };
        let event = "events/sock/inet_sock_set_state";
        text.write("trace_clock", "mono");
        text.write(&format!("{event}/filter"), &format!("sport == {port} || dport == {port}"));
        text.write(&format!("{event}/enable"), "1");
        text
    }

    fn write(&self, file: &str, value: &str) {
        let path = self.instance.join(file);
        fs::write(&path, value).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<KernelLine> {
        let text = fs::read_to_string(self.instance.join("trace")).expect("tracefs can be read");
        let offset_ns = wall_offset_ns();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let tcp = lines.filter(|line| line.contains("protocol=IPPROTO_TCP"));
        let parsed: Vec<_> = tcp.map(|line| parse(line, offset_ns)).collect();
        let is_asked = |line: &KernelLine| line.local_port == self.port || line.peer_port == self.port;
        assert!(parsed.iter().all(is_asked), "tracefs filters by port");
        parsed
    }
}

impl Drop for KernelText {
    fn drop(&mut self) {
        // A left instance costs memory until reboot, and nothing else.
        let _ = fs::remove_dir(&self.instance);
    }
}

fn parse(line: &str, offset_ns: u64) -> KernelLine {
    let field = |name: &str| {
        let value = line.split_once(&format!(" {name}=")).unwrap_or_else(|| panic!("no {name}: {line}")).1;
        value.split(' ').next().unwrap_or_default().to_owned()
    };
    let (head, _) = line.split_once(": inet_sock_set_state").expect("the event's name");
    let seconds = head.rsplit(' ').next().expect("a time");
    let (seconds, micros) = seconds.split_once('.').expect("a fraction");
    let micros =
        seconds.parse::<u64>().expect("seconds") * 1_000_000 + micros.parse::<u64>().expect("microseconds");
    KernelLine {
        time: Time(micros * 1_000 + offset_ns),
        local_port: field("sport").parse().expect("a port"),
        peer_port: field("dport").parse().expect("a port"),
        old: field("oldstate").trim_start_matches("TCP_").to_owned(),
        new: field("newstate").trim_start_matches("TCP_").to_owned(),
    }
}

/// What to add to the monotonic clock for wall time, in nanoseconds: of several pairs, that between which the least time
/// passed.
fn wall_offset_ns() -> u64 {
    let pairs = (0..5).map(|_| {
        let before = nanos(ClockId::Monotonic);
        let wall = nanos(ClockId::Realtime);
        (nanos(ClockId::Monotonic) - before, wall - before)
    });
    pairs.min().expect("there are several").1
}

/// The wall clock.
pub fn now() -> Time {
    Time(nanos(ClockId::Realtime))
}

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec).expect("after 1970") * 1_000_000_000
        + u64::try_from(time.tv_nsec).expect("a fraction")
}
