//! A connection's summary line.

use super::Connection;
use crate::{
    event::{Role, State},
    record::{self, By, Bytes, Close, Handshake, How, StateSpan},
    time::Time,
};

impl Connection {
    /// The summary as of `now`.
    pub fn summary(&self, now: Time) -> record::Connection {
        let is_open = self.closed.is_none();
        record::Connection {
            time: now,
            connection: self.id,
            role: self.role,
            network: self.network(),
            process: self.process(),
            opened: self.opened,
            closed: self.closed,
            duration_us: self.closed.unwrap_or(now).micros_since(self.opened),
            seen_from_start: self.seen_from_start,
            open: is_open,
            states: self.state_spans(),
            handshake: self.handshake_summary(),
            close: if is_open {
                Close { by: By::None, how: How::Open, reason: None }
            } else {
                self.ending.judge(self.state_before_the_end())
            },
            bytes: Bytes { sent: self.sequences[0].bytes, received: self.sequences[1].bytes },
            retransmits: self.sequences.iter().map(|sequence| sequence.retransmits).sum(),
            http: self.http.totals(),
        }
    }

    fn state_spans(&self) -> Vec<StateSpan> {
        self.spans
            .iter()
            .enumerate()
            .filter(|(_, span)| span.state != State::Close)
            .map(|(index, span)| {
                let left = self.spans.get(index + 1).and_then(|next| next.entered);
                StateSpan {
                    state: span.state,
                    entered: span.entered.unwrap_or(self.opened),
                    duration_us: left.zip(span.entered).map(|(left, entered)| left.micros_since(entered)),
                    estimated: span.entered.is_none(),
                }
            })
            .collect()
    }

    fn handshake_summary(&self) -> Option<Handshake> {
        let seen = &self.handshake;
        if seen.syn.is_none() && seen.syn_ack.is_none() {
            return None;
        }
        // After a retransmit nobody can tell which of the two was answered (Karn's algorithm, RFC 6298).
        let is_clear = seen.syn_retransmits == 0 && seen.syn_ack_retransmits == 0;
        let syn_ack_at = seen.syn_ack.map(|(_, time)| time);
        let ends = match self.role {
            Some(Role::Server) => syn_ack_at.zip(seen.acknowledged),
            _ => seen.syn.map(|(_, time)| time).zip(syn_ack_at),
        };
        Some(Handshake {
            syn_seq: seen.syn.map(|(sequence, _)| sequence),
            syn_ack_seq: seen.syn_ack.map(|(sequence, _)| sequence),
            rtt_us: ends.filter(|_| is_clear).map(|(sent, answered)| answered.micros_since(sent)),
            syn_retransmits: seen.syn_retransmits,
        })
    }

    fn state_before_the_end(&self) -> State {
        self.spans
            .iter()
            .rev()
            .map(|span| span.state)
            .find(|state| *state != State::Close)
            .unwrap_or(State::Close)
    }
}
