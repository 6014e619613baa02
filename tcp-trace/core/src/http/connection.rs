//! One connection's HTTP: bytes of each direction go to the message that they belong to.

use std::collections::VecDeque;

use tcp_trace_model::{
    event::{Direction, Role},
    exchange::{Integrity, Message, Outcome},
    time::Time,
};

use super::{
    chunked::Then,
    exchange::{Exchange, Timing},
    head,
    line::{self, quoted},
    open::{self, Open},
    stream::{HeadStep, Position, Stream},
};
use crate::reassembly::{Chunk, Reassembly};

/// What is known of a connection's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Unknown,
    Http,
    Other,
}

/// The HTTP/1 of one connection. Payload goes in with sequence numbers, finished exchanges come out.
///
/// Memory: between messages it holds no buffers.
#[derive(Debug)]
pub struct HttpConnection {
    pub(super) protocol: Protocol,
    /// Which way requests go, once known.
    pub(super) requests: Option<Direction>,
    /// By [`Direction::index`].
    pub(super) streams: [Stream; 2],
    /// In the order of their requests; responses come in the same (RFC 9112, section 9.3.2).
    pub(super) open: VecDeque<Open>,
    next_index: u64,
    /// Whether the connection's first bytes were seen.
    is_from_start: bool,
    /// When the exchange before ended; before the first, when the connection was established.
    previous_ended: Option<Time>,
    /// Before which sequence number requests have passed, when some behind those that wait for a response were lost.
    pub(super) requests_passed: Option<u32>,
    /// The direction of the first FIN.
    pub(super) first_fin: Option<(Direction, Time)>,
}

impl HttpConnection {
    /// A connection whose local end is `role`: a client's requests go out, a server's come in. Of a
    /// connection without role, or whose beginning was not seen, the first message tells.
    pub fn new(role: Option<Role>) -> Self {
        let requests = match role {
            Some(Role::Client) => Some(Direction::Out),
            Some(Role::Server) => Some(Direction::In),
            _ => None,
        };
        let mut streams = [Stream::new(), Stream::new()];
        // Until `start` says otherwise, this is the middle of something.
        streams.iter_mut().for_each(Stream::lose);
        Self {
            protocol: Protocol::Unknown,
            requests,
            streams,
            open: VecDeque::new(),
            next_index: 0,
            is_from_start: false,
            previous_ended: None,
            requests_passed: None,
            first_fin: None,
        }
    }

    /// Tells the sequence number of a direction's first byte: the SYN's plus one.
    pub fn start(&mut self, direction: Direction, sequence: u32) {
        let stream = &mut self.streams[direction.index()];
        stream.reassembly.start(sequence);
        stream.position = Position::Head;
        self.is_from_start |= self.requests == Some(direction);
    }

    /// Tells when the connection was established: before its first request it is idle since then.
    pub fn established(&mut self, time: Time) {
        self.previous_ended.get_or_insert(time);
    }

    /// Whether it is HTTP/1; `None` when that is not known yet.
    pub fn is_http(&self) -> Option<bool> {
        match self.protocol {
            Protocol::Unknown => None,
            Protocol::Http => Some(true),
            Protocol::Other => Some(false),
        }
    }

    /// Which way requests go, once known.
    pub fn requests(&self) -> Option<Direction> {
        self.requests
    }

    /// Bytes that are kept for later.
    pub fn retained_bytes(&self) -> usize {
        self.streams.iter().map(Stream::retained_bytes).sum()
    }

    /// Takes the payload of a segment; finished exchanges are appended.
    pub fn payload(
        &mut self,
        direction: Direction,
        sequence: u32,
        bytes: &[u8],
        time: Time,
        exchanges: &mut Vec<Exchange>,
    ) {
        self.pass_skipped(direction, sequence, time, exchanges);
        self.with_reassembly(direction, |reassembly, this| {
            reassembly.push(sequence, bytes, time, |chunk| this.chunk(direction, chunk, exchanges));
        });
        self.check_fin(direction, time, exchanges);
    }

    /// Notes the FIN of a direction, whose sequence number is `sequence`: it ends a body that lasts until then.
    pub fn finished(
        &mut self,
        direction: Direction,
        sequence: u32,
        time: Time,
        exchanges: &mut Vec<Exchange>,
    ) {
        self.pass_skipped(direction, sequence, time, exchanges);
        self.first_fin = self.first_fin.or(Some((direction, time)));
        self.streams[direction.index()].fin = Some(sequence);
        self.check_fin(direction, time, exchanges);
    }

    /// Ends a body that lasts until the FIN, once everything before that is there.
    pub(super) fn check_fin(&mut self, direction: Direction, time: Time, exchanges: &mut Vec<Exchange>) {
        let stream = &self.streams[direction.index()];
        let Some(fin) = stream.fin else {
            return;
        };
        let is_all_there = stream.reassembly.next_sequence().is_none_or(|next| next == fin);
        if is_all_there && stream.position == Position::UntilClose && self.requests != Some(direction) {
            self.end_message(direction, time, exchanges);
        }
    }

    /// Gives up what is missing: events were lost, and nothing will fill the holes.
    pub fn give_up_holes(&mut self, time: Time, exchanges: &mut Vec<Exchange>) {
        for direction in [Direction::Out, Direction::In] {
            self.with_reassembly(direction, |reassembly, this| {
                reassembly.finish(time, |chunk| this.chunk(direction, chunk, exchanges));
            });
        }
    }

    pub(super) fn with_reassembly(
        &mut self,
        direction: Direction,
        run: impl FnOnce(&mut Reassembly, &mut Self),
    ) {
        if self.protocol == Protocol::Other {
            return;
        }
        let mut reassembly = std::mem::take(&mut self.streams[direction.index()].reassembly);
        run(&mut reassembly, self);
        if self.protocol != Protocol::Other {
            self.streams[direction.index()].reassembly = reassembly;
        }
    }

    pub(super) fn chunk(&mut self, direction: Direction, chunk: Chunk<'_>, exchanges: &mut Vec<Exchange>) {
        match chunk {
            _ if self.protocol == Protocol::Other => {}
            Chunk::Bytes { bytes, time } => self.bytes(direction, bytes, time, exchanges),
            Chunk::Skipped { bytes, time } => self.unseen(direction, bytes, false, time, exchanges),
            Chunk::Gap { bytes, time } => self.unseen(direction, bytes, true, time, exchanges),
        }
    }

    pub(super) fn bytes(
        &mut self,
        direction: Direction,
        mut bytes: &[u8],
        time: Time,
        exchanges: &mut Vec<Exchange>,
    ) {
        while !bytes.is_empty() && self.protocol != Protocol::Other {
            bytes = self.some_bytes(direction, bytes, time, exchanges);
        }
    }

    /// Takes bytes up to the next change of position, and gives what is behind it.
    fn some_bytes<'a>(
        &mut self,
        direction: Direction,
        bytes: &'a [u8],
        time: Time,
        exchanges: &mut Vec<Exchange>,
    ) -> &'a [u8] {
        let is_request = self.requests == Some(direction);
        let stream = &mut self.streams[direction.index()];
        match &mut stream.position {
            Position::Tunnel | Position::Broken => &[],
            Position::Lost => {
                if self.find_again(direction, bytes) {
                    bytes
                } else {
                    &[]
                }
            }
            Position::Undecided => {
                stream.keep_undecided(bytes, time);
                &[]
            }
            Position::Head => self.head_bytes(direction, bytes, time, exchanges),
            Position::UntilClose => {
                self.count_body(is_request, bytes.len() as u64, time);
                &[]
            }
            Position::Length(left) => {
                let here = (*left).min(bytes.len() as u64);
                *left -= here;
                let is_over = *left == 0;
                self.count_body(is_request, here, time);
                if is_over {
                    self.end_message(direction, time, exchanges);
                }
                // At most the length of `bytes`, so it fits.
                &bytes[here as usize..]
            }
            Position::Chunked(chunked) => {
                let fed = chunked.feed(bytes);
                self.count_body(is_request, fed.payload, time);
                match fed.then {
                    Then::More => {}
                    Then::End => self.end_message(direction, time, exchanges),
                    Then::Illegal(reason) => {
                        let last = &bytes[fed.consumed.saturating_sub(1)..fed.consumed];
                        let reason = format!("{reason}, at {}", quoted(last));
                        self.invalidate(direction, reason.into(), exchanges);
                    }
                }
                &bytes[fed.consumed..]
            }
            Position::WebSocket(follower) => {
                follower.feed(bytes);
                self.count_body(is_request, 0, time);
                self.end_websocket_if_over(exchanges);
                &[]
            }
        }
    }

    /// Whether messages begin again with `bytes`, in a direction that lost its place. A response counts only
    /// when its request was seen after the loss: nothing is paired by guess.
    fn find_again(&mut self, direction: Direction, bytes: &[u8]) -> bool {
        let is_found = match self.requests {
            Some(requests) if requests != direction => !self.open.is_empty() && head::is_response(bytes),
            _ => line::begins_request(bytes),
        };
        if is_found {
            self.requests = self.requests.or(Some(direction));
            self.streams[direction.index()].position = Position::Head;
        }
        is_found
    }

    fn head_bytes<'a>(
        &mut self,
        direction: Direction,
        bytes: &'a [u8],
        time: Time,
        exchanges: &mut Vec<Exchange>,
    ) -> &'a [u8] {
        let is_request = self.requests == Some(direction);
        let message = if is_request { Message::Request } else { Message::Response };
        match self.streams[direction.index()].head(bytes, time, message) {
            HeadStep::Partial => &[],
            HeadStep::Whole { bytes: head, started, rest } => {
                match message {
                    Message::Request => self.request(direction, &head, (started, time), exchanges),
                    Message::Response => self.response(direction, &head, (started, time), exchanges),
                }
                rest
            }
        }
    }

    pub(super) fn new_open(&mut self, started: Time) -> Open {
        let index = self.next_index;
        self.next_index += 1;
        let reused = if index > 0 { Some(true) } else { self.is_from_start.then_some(false) };
        Open {
            index,
            request: None,
            response: None,
            informational: Vec::new(),
            is_gap: false,
            is_websocket: false,
            invalid: None,
            reused,
            timing: Timing::new(started),
            stalls: None,
        }
    }

    /// Appends an exchange that has begun.
    pub(super) fn push_open(&mut self, open: Open) {
        if self.open.is_empty() {
            self.open = open::room();
        }
        self.open.push_back(open);
    }

    /// The exchange whose message a direction is in: the last request, or the first response.
    pub(super) fn current(&mut self, is_request: bool) -> Option<&mut Open> {
        if is_request {
            self.open.iter_mut().rev().find(|open| open.request.is_some())
        } else {
            self.open.iter_mut().find(|open| open.is_websocket || !open.is_response_done())
        }
    }

    pub(super) fn count_body(&mut self, is_request: bool, bytes: u64, time: Time) {
        let Some(open) = self.current(is_request) else {
            return;
        };
        open.timing.last_seen = time;
        if is_request {
            open.request.iter_mut().for_each(|request| request.body_size += bytes);
        } else {
            open.response.iter_mut().for_each(|response| response.body_size += bytes);
        }
    }

    /// Appends an exchange that is over.
    pub(super) fn emit(&mut self, mut exchange: Exchange, exchanges: &mut Vec<Exchange>) {
        let started = exchange.timing.started;
        exchange.idle_us = self.previous_ended.map(|ended| started.micros_since(ended));
        self.previous_ended = self.previous_ended.max(Some(exchange.timing.last_seen));
        exchanges.push(exchange);
    }

    /// Nobody knows any more where messages begin: what is open ends here.
    pub(super) fn lose(&mut self, integrity: Integrity, exchanges: &mut Vec<Exchange>) {
        for open in std::mem::take(&mut self.open) {
            let outcome = if open.response.is_some() { Outcome::Ok } else { Outcome::NoResponse };
            let mut exchange = open.into_exchange(integrity, outcome);
            exchange.reason.get_or_insert("bytes were not seen".into());
            self.emit(exchange, exchanges);
        }
        let is_read = |stream: &&mut Stream| stream.position != Position::Broken;
        self.streams.iter_mut().filter(is_read).for_each(Stream::lose);
    }
}
