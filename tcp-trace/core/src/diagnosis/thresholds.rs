//! From where on something is a finding.

use tcp_trace_model::record::Severity;

/// The limits of all rules. The command line's options have the same defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// How long something may wait for a process, in microseconds.
    pub min_age_us: u64,
    /// How long the kernel may send again or probe without an answer, or be kept from sending, in microseconds.
    pub min_stall_us: u64,
    /// How long an HTTP exchange may take, in microseconds.
    pub slow_us: u64,
    /// From how many exchanges of one server and path on it is a finding that they wait so long for the first byte.
    pub slow_count: u64,
    /// From how many responses with 408, 502, 503 or 504 of one server and cause on it is a finding.
    pub gateway_errors: u64,
    /// Connections of one listener that may be half-open and leave a SYN+ACK unanswered.
    pub half_open: u64,
    /// Sockets with one address and port that may be in TIME_WAIT, or be orphans in FIN_WAIT2.
    pub time_wait: u64,
    /// Percentage of the ephemeral ports that may be in use towards one destination.
    pub ports_percent: u64,
    /// Sockets of one cause from which on a finding is critical.
    pub many: u64,
}

impl Thresholds {
    /// What the options are when they are not typed.
    pub const DEFAULT: Self = Self {
        min_age_us: 60_000_000,
        min_stall_us: 10_000_000,
        slow_us: 1_000_000,
        slow_count: 3,
        gateway_errors: 1,
        half_open: 128,
        time_wait: 20_000,
        ports_percent: 80,
        many: 1_000,
    };
}

impl Thresholds {
    /// How severe this many sockets or exchanges of one cause are, if one deserves a warning.
    pub(super) fn severity(&self, count: usize) -> Severity {
        if count as u64 >= self.many { Severity::Critical } else { Severity::Warning }
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self::DEFAULT
    }
}
