//! PING frames and their answers (RFC 9113, section 6.7).

use std::collections::VecDeque;

use tcp_trace_model::{http2::Pings, time::Time};

/// Frames of one end that wait for their answers; of more, the oldest are taken for unanswered.
const WAITING_MAX: usize = 16;

/// The PING frames that one end sends.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pings: Pings,
    waiting: VecDeque<([u8; 8], Time)>,
}

impl Sent {
    pub(super) fn send(&mut self, payload: [u8; 8], time: Time) {
        self.pings.count += 1;
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back((payload, time));
    }

    /// Notes the answer of the other end.
    pub(super) fn answer(&mut self, payload: [u8; 8], time: Time) {
        let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == payload) else { return };
        let Some((_, sent)) = self.waiting.remove(at) else { return };
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        let us = time.micros_since(sent);
        let pings = &mut self.pings;
        pings.answered += 1;
        pings.least_us = Some(pings.least_us.map_or(us, |least| least.min(us)));
        pings.most_us = pings.most_us.max(Some(us));
    }

    /// What is recorded of them, if there were any.
    pub(super) fn recorded(&self) -> Option<Pings> {
        Some(self.pings).filter(|pings| pings.count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_is_that_of_its_frame() {
        let mut sent = Sent::default();
        assert_eq!(sent.recorded(), None);
        for (number, ms) in [(1, 0), (2, 1), (3, 2)] {
            sent.send([number; 8], Time(ms * 1_000_000));
        }
        sent.answer([2; 8], Time(4_000_000));
        sent.answer([1; 8], Time(9_000_000));
        sent.answer([7; 8], Time(9_000_000));
        let expected = Pings { count: 3, answered: 2, least_us: Some(3_000), most_us: Some(9_000) };
        assert_eq!(sent.recorded(), Some(expected));
        for _ in 0..1_000 {
            sent.send([4; 8], Time(0));
        }
        assert_eq!(sent.waiting.len(), WAITING_MAX);
    }
}
