//! How a connection came about, before its first request.

use tcp_trace_model::{
    event::State,
    record::{Connection, Resolved},
    time::Time,
};

/// The lookup that a connection follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// Number of the lookup in the recording.
    pub lookup: u64,
    /// When the name was queried.
    pub started: Time,
    /// When the answer came.
    pub ended: Time,
}

/// The beginning of a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// When it was requested: the SYN.
    pub connecting: Time,
    /// When it was established.
    pub established: Time,
    /// The lookup before it, when one was seen.
    pub resolution: Option<Resolution>,
}

impl Opening {
    /// That of a connection whose opening was seen.
    pub fn of(summary: &Connection) -> Option<Self> {
        let span = summary.states.iter().find(|span| span.state == State::SynSent)?;
        let connecting = span.entered;
        let established = connecting.after_micros(span.duration_us?);
        Some(Self {
            connecting,
            established,
            resolution: summary.dns.as_ref().map(|resolved| resolution(resolved, connecting)),
        })
    }
}

fn resolution(resolved: &Resolved, connecting: Time) -> Resolution {
    let before = |time: Time, us: u64| Time(time.0.saturating_sub(us.saturating_mul(1_000)));
    let ended = before(connecting, resolved.age_us);
    Resolution { lookup: resolved.lookup, started: before(ended, resolved.duration_us), ended }
}
