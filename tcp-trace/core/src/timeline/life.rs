//! Everything that is kept of one connection, as one end reports it.

use std::collections::VecDeque;

use tcp_trace_model::{
    event::{Direction, Flags, Role},
    record::{Connection, ConnectionId, Http, Network, Process, Segment, TlsHandshake, Transition},
    time::Time,
};

/// What was recorded of one connection.
#[derive(Clone, Debug, Default)]
pub struct Life {
    /// Which connection.
    pub connection: ConnectionId,
    /// Its transitions, in order: the first ones.
    pub transitions: Vec<Transition>,
    /// SYN, FIN and RST segments and what acknowledges them: the first ones.
    pub segments: Vec<Segment>,
    /// How its TLS handshake ended.
    pub tls: Option<TlsHandshake>,
    /// Its exchanges: the last ones.
    pub exchanges: VecDeque<Http>,
    /// How many exchanges there were.
    pub exchange_count: u64,
    /// The summary; absent when the records stop before the connection does.
    pub summary: Option<Box<Connection>>,
    /// Bytes that all of this takes.
    pub(super) bytes: usize,
    /// When it was begun or ended, among all lives.
    pub(super) order: u64,
}

impl Life {
    /// Whether its connection is over.
    pub fn has_ended(&self) -> bool {
        self.summary.as_ref().is_some_and(|summary| !summary.open)
    }

    /// What the socket is for, as far as anything says so.
    pub fn role(&self) -> Option<Role> {
        let summary = self.summary.as_ref().and_then(|summary| summary.connection.role);
        let transition = || self.transitions.iter().rev().find_map(|transition| transition.connection.role);
        let http = || self.exchanges.iter().find_map(|http| http.connection.role);
        let syn = || {
            let syn = self.segments.iter().find(|segment| control(segment) == Flags::SYN)?;
            Some(if syn.direction == Direction::Out { Role::Client } else { Role::Server })
        };
        summary.or_else(transition).or_else(http).or_else(syn)
    }

    /// Both ends. The last transition knows a port that the first did not.
    pub fn network(&self) -> Option<Network> {
        let transition = || self.transitions.last().and_then(|transition| transition.connection.network);
        let http = || {
            // Its line does not say more.
            Some(Network { netns: None, ..self.exchanges.front()?.connection.network? })
        };
        self.summary.as_ref().and_then(|summary| summary.connection.network).or_else(transition).or_else(http)
    }

    /// The process: the summary's, because early records may not know it yet.
    pub fn process(&self) -> Option<&Process> {
        let summary = self.summary.as_ref().and_then(|summary| summary.connection.process.as_deref());
        let transition =
            || self.transitions.iter().rev().find_map(|transition| transition.connection.process.as_deref());
        let http = || self.exchanges.iter().rev().find_map(|http| http.connection.process.as_deref());
        summary.or_else(transition).or_else(http)
    }

    /// Whether its whole life was traced.
    pub fn is_from_start(&self) -> bool {
        self.summary.as_ref().is_some_and(|summary| summary.seen_from_start)
    }

    /// Initial sequence numbers of the client's and the server's direction.
    pub fn initial_sequences(&self) -> (Option<u32>, Option<u32>) {
        let handshake = self.summary.as_ref().and_then(|summary| summary.handshake);
        let of =
            |flags| self.segments.iter().find(|segment| control(segment) == flags).map(|segment| segment.seq);
        (
            handshake.and_then(|handshake| handshake.syn_seq).or_else(|| of(Flags::SYN)),
            handshake.and_then(|handshake| handshake.syn_ack_seq).or_else(|| of(Flags::SYN.with(Flags::ACK))),
        )
    }

    /// First and last moment that was recorded of it.
    pub fn span(&self) -> (Time, Time) {
        let points = || {
            let transitions = self.transitions.iter().map(|transition| transition.time);
            let segments = self.segments.iter().map(|segment| segment.time);
            let http = self.exchanges.iter().flat_map(|http| [http.exchange.timing.started, http.time]);
            let tls = self.tls.iter().flat_map(|tls| [tls.tls.timing.started, tls.time]);
            let summary = self.summary.iter().flat_map(|summary| [Some(summary.opened), summary.closed]);
            transitions.chain(segments).chain(tls).chain(http).chain(summary.flatten())
        };
        (points().min().unwrap_or_default(), points().max().unwrap_or_default())
    }
}

/// The flags that say what a segment is for. The others can change on the way (offloads set and clear PSH).
pub fn control(segment: &Segment) -> Flags {
    let mask = Flags::SYN.with(Flags::FIN).with(Flags::RST).with(Flags::ACK);
    Flags(segment.flags.0.0 & mask.0)
}
