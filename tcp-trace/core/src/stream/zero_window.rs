//! When the sender of a direction could take no more data.

use tcp_trace_model::time::Time;

/// Times in which the window was full.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ZeroWindow {
    /// Since when it is.
    pub(super) since: Option<Time>,
    /// For how long it was, before that, in microseconds.
    before_us: u64,
}

impl ZeroWindow {
    /// Notes that the window is open now.
    pub(super) fn open(&mut self, now: Time) {
        *self = Self { since: None, before_us: self.us(now) };
    }

    /// For how long it was full, in microseconds.
    pub(super) fn us(&self, now: Time) -> u64 {
        self.before_us + self.since.map_or(0, |since| now.micros_since(since))
    }
}
