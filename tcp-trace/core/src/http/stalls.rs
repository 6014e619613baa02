//! What of an exchange's phases was lost: to segments that were sent again or came late, and to full windows.

use tcp_trace_model::{
    event::Direction,
    exchange::{self, Timing},
    time::Time,
};

use super::{connection::HttpConnection, open::Open};

/// Periods of a phase that are kept apart; older ones are only summed up.
const PERIODS_MAX: usize = 16;

/// Why bytes of a direction did not get on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A segment was sent again: since it was sent first.
    Retransmit,
    /// A segment came after later ones had, sent again or overtaken: since the first of those.
    OutOfOrder,
    /// The receiver could take no more: since it said so.
    ZeroWindow,
}

/// What held up the bytes of a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) direction: Direction,
    pub(super) cause: Cause,
    pub(super) from: Time,
    pub(super) to: Time,
}

impl Held {
    /// Whether it is a full window that `later` is too.
    pub(super) fn goes_on_as(&self, later: &Self) -> bool {
        let is_same = (self.direction, self.from) == (later.direction, later.from);
        is_same && [self.cause, later.cause] == [Cause::ZeroWindow; 2]
    }
}

/// Periods of which each moment counts once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Periods {
    /// Apart from each other, in order.
    kept: Vec<(Time, Time)>,
    /// Before this, only the sum is known.
    settled: Time,
    settled_ns: u64,
}

impl Periods {
    /// Adds a period that ends with or behind all that were added before.
    fn add(&mut self, from: Time, to: Time) {
        let (mut from, mut to) = (from.max(self.settled), to);
        while let Some((start, end)) = self.kept.pop_if(|(_, end)| *end >= from) {
            (from, to) = (from.min(start), to.max(end));
        }
        if to > from {
            self.kept.push((from, to));
        }
        if self.kept.len() > PERIODS_MAX {
            let (start, end) = self.kept.remove(0);
            self.settled = end;
            self.settled_ns += end.nanos_since(start);
        }
    }

    fn us(&self) -> u64 {
        let kept: u64 = self.kept.iter().map(|(from, to)| to.nanos_since(*from)).sum();
        (self.settled_ns + kept) / 1_000
    }
}

/// What of a phase was lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stall {
    /// Segments that this end sent again.
    retransmits: u64,
    /// Segments that reached this end after later ones.
    out_of_order: u64,
    segments: Periods,
    zero_window: Periods,
}

impl Stall {
    /// What is recorded of it, of a phase that took so long, if it has ended.
    fn recorded(&self, phase_us: Option<u64>) -> Option<exchange::Stall> {
        let phase_us = phase_us.unwrap_or(u64::MAX);
        let stall = exchange::Stall {
            retransmits: self.retransmits,
            out_of_order: self.out_of_order,
            retransmit_us: self.retransmit_us().min(phase_us),
            zero_window_us: self.zero_window_us().min(phase_us),
        };
        (stall != exchange::Stall::default()).then_some(stall)
    }

    /// For how long segments were missing that were sent again or came late, microseconds.
    fn retransmit_us(&self) -> u64 {
        self.segments.us()
    }

    /// For how long the receiver could take no more, microseconds.
    fn zero_window_us(&self) -> u64 {
        self.zero_window.us()
    }

    fn note(&mut self, cause: Cause, from: Time, to: Time) {
        match cause {
            Cause::Retransmit => self.retransmits += 1,
            Cause::OutOfOrder => self.out_of_order += 1,
            Cause::ZeroWindow => return self.zero_window.add(from, to),
        }
        self.segments.add(from, to);
    }
}

/// What was lost, by the phases of [`Timing`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stalls {
    /// While the request was sent.
    pub(super) send: Stall,
    /// While nothing of the response had come.
    pub(super) wait: Stall,
    /// While the response was received.
    pub(super) receive: Stall,
}

impl Stalls {
    /// What is recorded of them: never more than the phases that have ended.
    pub(super) fn recorded(&self, timing: &Timing) -> Option<exchange::Stalls> {
        let stalls = exchange::Stalls {
            send: self.send.recorded(timing.send_us),
            wait: self.wait.recorded(timing.wait_us),
            receive: self.receive.recorded(timing.receive_us),
        };
        (stalls != exchange::Stalls::default()).then_some(stalls)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Send,
    Wait,
    Receive,
}

impl HttpConnection {
    /// Notes that bytes of a direction did not get on from `from` to `to`, which is now. It counts in the phase in
    /// which each exchange is now, from the beginning of that on.
    pub fn stalled(&mut self, direction: Direction, cause: Cause, from: Time, to: Time) {
        let held = Held { direction, cause, from, to };
        let candidates = self.streams.iter_mut().filter_map(|stream| stream.candidate.as_mut());
        candidates.for_each(|candidate| candidate.stalled(held));
        self.held_up(0, held);
    }

    /// Notes what held up the exchanges from `first` on of those that are open.
    pub(super) fn held_up(&mut self, first: usize, Held { direction, cause, from, to }: Held) {
        let Some(requests) = self.requests else { return };
        let is_request = direction == requests;
        if is_request && let Some((_, started)) = self.streams[requests.index()].partial_head() {
            let stall = &mut self.streams[requests.index()].head_stall;
            return stall.get_or_insert_default().note(cause, from.max(started), to);
        }
        let responses = &self.streams[requests.opposite().index()];
        let mut response_head = responses.partial_head().map(|(_, started)| started);
        for open in self.open.iter_mut().skip(first).filter(|open| !open.is_response_done()) {
            // A response's head that is not whole is the next one's.
            note(open, is_request, (cause, from, to), response_head.take());
        }
    }
}

/// Notes that bytes of an exchange did not get on from a time to another, which is now: those of its request, or of its response, whose
/// head began at `response_head` if it is not whole.
pub(crate) fn note(
    open: &mut Open,
    is_request: bool,
    (cause, from, to): (Cause, Time, Time),
    response_head: Option<Time>,
) {
    if let Some((phase, began)) = phase(open, is_request, cause, response_head) {
        let stalls = open.stalls.get_or_insert_default();
        let stall = match phase {
            Phase::Send => &mut stalls.send,
            Phase::Wait => &mut stalls.wait,
            Phase::Receive => &mut stalls.receive,
        };
        stall.note(cause, from.max(began), to);
    }
}

/// In which phase of an exchange its request's or its response's direction holds it up, and when that began.
fn phase(open: &Open, is_request: bool, cause: Cause, response_head: Option<Time>) -> Option<(Phase, Time)> {
    let response_started = open.times.response_started.or(response_head);
    match (open.times.request_ended, response_started) {
        (None, _) if is_request => {
            open.exchange.request.is_some().then_some((Phase::Send, open.times.started))
        }
        (_, Some(started)) => (!is_request).then_some((Phase::Receive, started)),
        (None, None) => None,
        // That an earlier response is sent again keeps nobody from sending the next.
        (Some(_), None) if !is_request && cause == Cause::Retransmit => None,
        (Some(ended), None) => Some((Phase::Wait, ended)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_moment_of_overlapping_periods_counts_once() {
        for (name, periods, expected) in [
            ("one", &[(10, 20)][..], 10),
            ("apart", &[(10, 20), (30, 35)], 15),
            ("the same again, longer", &[(10, 20), (10, 40)], 30),
            ("overlapping", &[(10, 20), (15, 40)], 30),
            ("over those before", &[(10, 20), (30, 40), (5, 50)], 45),
            ("over the last of those before", &[(10, 20), (30, 40), (25, 50)], 35),
            ("empty", &[(10, 10), (20, 20)], 0),
        ] {
            let mut sum = Periods::default();
            for (from, to) in periods {
                sum.add(Time(from * 1_000), Time(to * 1_000));
            }
            assert_eq!(sum.us(), expected, "{name}");
        }
    }

    #[test]
    fn any_number_of_periods_is_bounded() {
        let mut sum = Periods::default();
        for period in 0..1_000 {
            sum.add(Time(period * 10_000), Time(period * 10_000 + 4_000));
            assert!(sum.kept.len() <= PERIODS_MAX);
        }
        assert_eq!(sum.us(), 4_000);
        sum.add(Time(0), Time(10_000_000));
        assert!(sum.us() <= 10_000, "what is settled is not counted again: {}", sum.us());
    }
}
