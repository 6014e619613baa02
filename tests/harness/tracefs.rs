//! What the kernel prints of its tracepoints.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::{
    mount::{MountFlags, mount},
    time::{ClockId, clock_gettime},
};
use tcp_trace_model::time::Time;

/// An instance of tracefs, with times of the monotonic clock; removed with its handle.
#[derive(Debug)]
pub(crate) struct Instance(PathBuf);

impl Instance {
    /// Makes one in which no event is enabled.
    pub(crate) fn new() -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let tracefs = Path::new("/sys/kernel/tracing");
        if !tracefs.join("instances").is_dir() {
            mount("tracefs", tracefs, "tracefs", MountFlags::empty(), None)?;
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let instance = tracefs.join(format!("instances/tcp-trace-{}-{number}", std::process::id()));
        fs::create_dir(&instance)?;
        let instance = Self(instance);
        fs::write(instance.0.join("trace_clock"), "mono")?;
        Ok(instance)
    }

    /// Whether it has a file: what there is depends on the kernel.
    pub(crate) fn has(&self, file: &str) -> bool {
        self.0.join(file).exists()
    }

    pub(crate) fn write(&self, file: &str, value: &str) {
        let path = self.0.join(file);
        fs::write(&path, value).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    }

    /// What it has printed so far, without comments.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.0.join("trace")).expect("tracefs can be read");
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    /// How many events found no room.
    pub(crate) fn lost(&self) -> io::Result<u64> {
        let mut lost = 0;
        for cpu in fs::read_dir(self.0.join("per_cpu"))? {
            let stats = fs::read_to_string(cpu?.path().join("stats"))?;
            let counts = stats.lines().filter_map(|line| {
                let (name, count) = line.split_once(": ")?;
                matches!(name, "overrun" | "commit overrun" | "dropped events").then_some(count)
            });
            lost += counts.map(|count| count.trim().parse::<u64>().expect("a number")).sum::<u64>();
        }
        Ok(lost)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // A left instance costs memory until reboot, and nothing else.
        let _ = fs::remove_dir(&self.0);
    }
}

/// When a line was printed, by the wall clock, where `offset_ns` is [`wall_offset_ns`].
pub(crate) fn time_of(line: &str, event: &str, offset_ns: u64) -> Time {
    let (head, _) = line.split_once(&format!(": {event}: ")).expect("the event's name");
    let seconds = head.rsplit(' ').next().expect("a time");
    let (seconds, micros) = seconds.split_once('.').expect("a fraction");
    let micros =
        seconds.parse::<u64>().expect("seconds") * 1_000_000 + micros.parse::<u64>().expect("microseconds");
    Time(micros * 1_000 + offset_ns)
}

/// What to add to the monotonic clock for wall time, in nanoseconds: of several pairs, that between which the least time
/// passed.
pub(crate) fn wall_offset_ns() -> u64 {
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
