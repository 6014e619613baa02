//! Phrases for where the time of an exchange went.

use tcp_trace_core::prose::{Micros, counted};
use tcp_trace_model::record::{Http, Stall, Stalls, Timing};

/// Losses are shown if they are at least this part of their phase: the hundredth.
const TOLD_FROM: u64 = 100;

/// A phase in words: `wait 212 ms`, and what of it was lost: `200 ms of it: 1 retransmit`.
pub(super) struct Phase {
    pub(super) name: &'static str,
    /// Absent when it has not ended.
    us: Option<u64>,
    pub(super) lost: Option<String>,
}

impl Phase {
    /// `wait 212 ms`.
    pub(super) fn length(&self) -> String {
        self.us
            .map_or_else(|| format!("{} unfinished", self.name), |us| format!("{} {}", self.name, Micros(us)))
    }
}

/// The phases that have ended or of which something was lost, in order.
pub(super) fn phases(timing: &Timing) -> impl Iterator<Item = Phase> {
    let Stalls { send, wait, receive } = timing.stalls.clone().unwrap_or_default();
    [("send", timing.send_us, send), ("wait", timing.wait_us, wait), ("receive", timing.receive_us, receive)]
        .into_iter()
        .map(|(name, us, stall)| Phase { name, us, lost: stall.and_then(|stall| lost(name, us, stall)) })
        .filter(|phase| phase.us.is_some() || phase.lost.is_some())
}

/// How long a response was waited for, where all else that an exchange took does not matter and nothing was lost: then there
/// is no more to say of its time.
pub(super) fn mostly_wait(http: &Http) -> Option<u64> {
    let Timing { send_us, wait_us, receive_us, stalls, .. } = &http.exchange.timing;
    let (wait, rest) = ((*wait_us)?, (*send_us)?.saturating_add((*receive_us)?));
    let matters = rest > 0 && rest.saturating_mul(TOLD_FROM) >= wait;
    (stalls.is_none() && !matters && http.exchange.response.is_some()).then_some(wait)
}

/// What a phase lost, in words. Time that does not matter is not shown; retransmits always are.
fn lost(name: &str, us: Option<u64>, stall: Stall) -> Option<String> {
    let matters = |lost: u64| lost > 0 && lost.saturating_mul(TOLD_FROM) >= us.unwrap_or_default();
    let mut segments = Vec::new();
    if stall.retransmits > 0 {
        segments.push(counted(stall.retransmits, "retransmit"));
    }
    let is_reported = matters(stall.retransmit_us);
    if stall.out_of_order > 0 && is_reported {
        segments.push(format!("{} late", counted(stall.out_of_order, "segment")));
    }
    let segments = segments.join(", ");
    let mut parts = Vec::new();
    if is_reported {
        // A recording may have been written by anybody, and give no reason.
        let why = if segments.is_empty() { "segments came late" } else { &segments };
        parts.push(format!("{} of it: {why}", Micros(stall.retransmit_us)));
    }
    if matters(stall.zero_window_us) {
        // Either end's can be the reason why no response comes.
        let whose = if name == "wait" { "a" } else { "receiver's" };
        parts.push(format!("{} of it: {whose} window was full", Micros(stall.zero_window_us)));
    }
    if !is_reported && !segments.is_empty() {
        parts.push(segments);
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_of_a_phase_is_reported_when_it_matters() {
        let stall = |retransmits, out_of_order, retransmit_us, zero_window_us| Stall {
            retransmits,
            out_of_order,
            retransmit_us,
            zero_window_us,
        };
        for (name, us, stall, expected) in [
            ("wait", Some(212_000), stall(1, 0, 200_000, 0), Some("200 ms of it: 1 retransmit")),
            ("receive", Some(3_100_000), stall(0, 2, 31_000, 0), Some("31.0 ms of it: 2 segments late")),
            ("receive", Some(3_100_000), stall(0, 2, 30_999, 0), None),
            ("receive", Some(3_100_000), stall(7, 0, 1, 0), Some("7 retransmits")),
            ("send", Some(10), stall(0, 0, 0, 10), Some("10 us of it: receiver's window was full")),
            ("wait", Some(10), stall(0, 0, 0, 10), Some("10 us of it: a window was full")),
            (
                "wait",
                Some(100),
                stall(1, 1, 50, 10),
                Some("50 us of it: 1 retransmit, 1 segment late; 10 us of it: a window was full"),
            ),
            ("receive", None, stall(0, 0, 0, 9_000_000), Some("9.00 s of it: receiver's window was full")),
            (
                "receive",
                Some(1_000_000),
                stall(1, 0, 9_000, 955_000),
                Some("955 ms of it: receiver's window was full; 1 retransmit"),
            ),
            ("wait", Some(100), stall(0, 0, 100, 0), Some("100 us of it: segments came late")),
            ("wait", Some(100), Stall::default(), None),
        ] {
            assert_eq!(lost(name, us, stall).as_deref(), expected, "{name} {stall:?}");
        }
    }
}
