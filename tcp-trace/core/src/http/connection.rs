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
use crate::stream::{Chunk, Need};

/// What is known of a connection's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Unknown,
    Http,
    Other,
}

/// The HTTP/1 of one connection. The bytes of both directions go in, finished exchanges come out.
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
    /// Whether something of the other direction is missing that may still come.
    pub(super) is_other_incomplete: bool,
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
            is_other_incomplete: false,
        }
    }

    /// Notes that a direction's first byte is known: nothing of it came before tracing.
    pub fn start(&mut self, direction: Direction) {
        self.streams[direction.index()].position = Position::Head;
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

    /// Takes what comes next in a direction; finished exchanges are appended. `is_other_incomplete` says that something of
    /// the other direction is missing that may still come.
    pub fn input(
        &mut self,
        direction: Direction,
        chunk: Chunk<'_>,
        is_other_incomplete: bool,
        exchanges: &mut Vec<Exchange>,
    ) {
        if self.protocol == Protocol::Other {
            return;
        }
        self.is_other_incomplete = is_other_incomplete;
        let stream = &mut self.streams[direction.index()];
        match chunk {
            Chunk::Bytes { offset, bytes, time } => {
                stream.end = offset + bytes.len() as u64;
                self.bytes(direction, bytes, time, exchanges);
            }
            Chunk::Elided { offset, length, time } => {
                stream.end = offset + length;
                self.missing_bytes(direction, length, false, time, exchanges);
            }
            Chunk::Gap { offset, length, time } => {
                stream.end = offset + length;
                self.missing_bytes(direction, length, true, time, exchanges);
            }
            Chunk::Fin { time } => {
                if self.lasts_until_fin(direction) && self.requests != Some(direction) {
                    self.end_message(direction, time, exchanges);
                }
            }
        }
    }

    /// Which bytes of a direction are needed: inside a body those behind it, inside a chunk those behind the chunk.
    /// The answer holds whatever comes.
    pub fn need(&self, direction: Direction) -> Need {
        let stream = &self.streams[direction.index()];
        match stream.position.unneeded() {
            _ if self.protocol == Protocol::Other => Need::Nothing,
            0 => Need::All,
            unneeded => Need::From(stream.end.saturating_add(unneeded)),
        }
    }

    /// Whether the message that a direction is in lasts until the direction ends.
    pub fn lasts_until_fin(&self, direction: Direction) -> bool {
        self.streams[direction.index()].position == Position::UntilClose
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
            Position::Undecided | Position::AfterGap => {
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

    /// Where messages begin is not known any more: what is open ends here.
    pub(super) fn lose(&mut self, integrity: Integrity, exchanges: &mut Vec<Exchange>) {
        for open in std::mem::take(&mut self.open) {
            let outcome = if open.response.is_some() { Outcome::Ok } else { Outcome::NoResponse };
            let mut exchange = open.into_exchange(integrity, outcome);
            exchange.reason.get_or_insert("bytes were not seen".into());
            self.emit(exchange, exchanges);
        }
        let after_gap = self.streams.iter().position(|stream| stream.position == Position::AfterGap);
        let kept = after_gap.map(|index| self.streams[index].take_undecided());
        let is_read = |stream: &&mut Stream| stream.position != Position::Broken;
        self.streams.iter_mut().filter(is_read).for_each(Stream::lose);
        if let (Some((bytes, time)), Some(requests)) = (kept, self.requests) {
            self.bytes(requests, &bytes, time, exchanges);
        }
    }

    /// Whether the request of a response that begins now was lost: then which response belongs to which is not known any
    /// more, and nothing is open.
    pub(super) fn lose_after_gap(&mut self, exchanges: &mut Vec<Exchange>) -> bool {
        let is_lost = self.streams.iter().any(|stream| stream.position == Position::AfterGap);
        if is_lost {
            self.lose(Integrity::Gap, exchanges);
        }
        is_lost
    }
}
