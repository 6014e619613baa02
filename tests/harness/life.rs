//! What the recorded life of one end of a connection is expected to be.

use tcp_trace_model::{
    event::Role,
    record::{By, How},
    time::Time,
};

/// The time within which something happened, according to a witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeWindow {
    /// Not before.
    pub from: Time,
    /// Not after.
    pub to: Time,
}

impl TimeWindow {
    /// Microseconds between this moment and a time; 0 when the time is in it.
    pub fn micros_from(self, time: Time) -> u64 {
        self.from.micros_since(time).max(time.micros_since(self.to))
    }

    /// The least and the most microseconds that may have passed from something at this moment to something at a later one.
    pub fn micros_until(self, later: Self) -> (u64, u64) {
        (later.from.micros_since(self.to), later.to.micros_since(self.from))
    }
}

impl From<Time> for TimeWindow {
    fn from(time: Time) -> Self {
        Self { from: time, to: time }
    }
}

/// The expected life of one end. Paths are states in order, separated by blanks.
#[derive(Clone, Debug)]
pub struct Life {
    pub(crate) role: Role,
    /// As recorded.
    pub(crate) path: &'static str,
    /// As the kernel's tracepoint reports it.
    pub(crate) kernel_path: &'static str,
    pub(crate) close: Option<(By, How)>,
    pub(crate) reason: Option<&'static str>,
    pub(crate) is_process_known: bool,
    pub(crate) bytes: (u64, u64),
    /// `None` if only the kernel's counter shows it.
    pub(crate) retransmits: Option<u64>,
    /// Transitions, `OLD>NEW`, whose time comes from another witness than the tracepoint.
    pub(crate) moments: Vec<(&'static str, TimeWindow)>,
}

impl Life {
    fn new(role: Role, path: &'static str) -> Self {
        Self {
            role,
            path,
            kernel_path: path,
            close: None,
            reason: None,
            is_process_known: true,
            bytes: (0, 0),
            retransmits: None,
            moments: Vec::new(),
        }
    }

    /// Of an end that connected.
    pub fn client(path: &'static str) -> Self {
        Self::new(Role::Client, path)
    }

    /// Of an end that was accepted.
    pub fn server(path: &'static str) -> Self {
        Self::new(Role::Server, path)
    }

    /// Of a listener that was closed at the end.
    pub fn listener() -> Self {
        Self::new(Role::Listener, "CLOSE LISTEN CLOSE").closed(By::Local, How::Unknown)
    }

    /// What the tracepoint reports, where that is not the life of the connection.
    pub fn in_kernel(self, kernel_path: &'static str) -> Self {
        Self { kernel_path, ..self }
    }

    /// Who closed it, and how.
    pub fn closed(self, by: By, how: How) -> Self {
        Self { close: Some((by, how)), ..self }
    }

    /// Name of the error or reason in its summary.
    pub fn because(self, reason: &'static str) -> Self {
        Self { reason: Some(reason), ..self }
    }

    /// Its process did nothing with it that the kernel reports: it may be unknown, but not wrong.
    pub fn of_unknown_process(self) -> Self {
        Self { is_process_known: false, ..self }
    }

    /// Payload bytes that it sent and received.
    pub fn carried(self, sent: u64, received: u64) -> Self {
        Self { bytes: (sent, received), ..self }
    }

    /// Segments that passed again, by the witness at the wire. Without one the kernel's counter says how many at most.
    pub fn retransmitted(self, retransmits: u64) -> Self {
        Self { retransmits: Some(retransmits), ..self }
    }

    /// When a transition happened, by another witness than the tracepoint.
    pub fn at(mut self, transition: &'static str, moment: impl Into<TimeWindow>) -> Self {
        self.moments.push((transition, moment.into()));
        self
    }
}

/// `A B C` as `A>B`, `B>C`.
pub(crate) fn transitions_of(path: &str) -> Vec<String> {
    let states: Vec<_> = path.split(' ').collect();
    states.windows(2).map(|pair| format!("{}>{}", pair[0], pair[1])).collect()
}
