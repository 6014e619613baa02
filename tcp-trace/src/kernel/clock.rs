//! The kernel's monotonic clock in wall time.

use rustix::time::{ClockId, Timespec, clock_gettime};
use tcp_trace_model::time::Time;
use thiserror::Error;

/// The wall clock shows a time before 1970 or after 2554.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the system's wall clock is set to a time that cannot be recorded")]
pub struct ClockError;

/// What to add to `CLOCK_MONOTONIC`, which `bpf_ktime_get_ns()` reads, to have nanoseconds since 1970.
///
/// Taken once: a wall clock that is stepped meanwhile does not tear a recording apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    offset_ns: u64,
}

impl Clock {
    /// Reads both clocks, several times, and keeps the pair that was read in the shortest time.
    pub fn new() -> Result<Self, ClockError> {
        (0..5)
            .filter_map(|_| {
                let before = nanoseconds(clock_gettime(ClockId::Monotonic))?;
                let wall = nanoseconds(clock_gettime(ClockId::Realtime))?;
                let after = nanoseconds(clock_gettime(ClockId::Monotonic))?;
                let middle = before + (after - before) / 2;
                Some((after - before, wall.checked_sub(middle)?))
            })
            .min()
            .map(|(_, offset_ns)| Self { offset_ns })
            .ok_or(ClockError)
    }

    /// Nanoseconds to add to the monotonic clock.
    pub fn offset_ns(self) -> u64 {
        self.offset_ns
    }

    /// Now, on the scale of the events.
    pub fn now(self) -> Time {
        let monotonic = nanoseconds(clock_gettime(ClockId::Monotonic)).unwrap_or_default();
        Time(monotonic + self.offset_ns)
    }
}

fn nanoseconds(time: Timespec) -> Option<u64> {
    let seconds = u64::try_from(time.tv_sec).ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(u64::try_from(time.tv_nsec).ok()?)
}
