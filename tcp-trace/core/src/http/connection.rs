//! One connection's HTTP: bytes of each direction go to the message that they belong to.

use std::collections::VecDeque;

use tcp_trace_model::{
    event::{Direction, Role},
    exchange::{Integrity, Message, Outcome},
    time::Time,
};

use super::{
    chunked::Then,
    delivery::UNSEEN,
    exchange::Exchanges,
    handover::{Handover, Tunnel, Upgraded},
    line::quoted,
    open::{self, Open},
    stream::{HeadStep, Position, Stream},
};
use crate::stream::{Chunk, Need};

/// Bytes of an answer that tell its protocol, if any do: as many as the longest signature of a server has.
pub const ANSWER_MAX: usize = 9;

/// Round trips that are shorter, in microseconds, say nothing of how soon an answer may come.
const RTT_LEAST_US: u64 = 1_000;

/// What is known of a connection's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Unknown,
    Http,
    Other,
}

/// What came before what is read now.
#[derive(Clone, Copy, Debug, Default)]
struct Past {
    /// Exchanges so far.
    exchanges: u64,
    /// Whether the connection's first bytes were seen.
    is_from_start: bool,
    /// When the exchange before ended; before the first, when the connection was established.
    ended: Option<Time>,
    /// The round trip of the handshake, in microseconds, where this end is the client's.
    rtt_us: Option<u64>,
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
    past: Past,
    /// What its protocol is called.
    pub(super) name: &'static str,
    pub(super) handover: Option<Handover>,
    /// What came instead of a response, while it is shorter than [`ANSWER_MAX`].
    no_response: Option<Box<[u8]>>,
    /// Whether something of the other direction is missing that may still come.
    pub(super) is_other_incomplete: bool,
}

impl HttpConnection {
    /// A connection whose local end is `role`: a client's requests go out, a server's come in.
    pub fn new(role: Option<Role>) -> Self {
        Self::of_client(match role {
            Some(Role::Client) => Some(Direction::Out),
            Some(Role::Server) => Some(Direction::In),
            _ => None,
        })
    }

    /// A connection whose requests go this way. Where that is not known, the first message shows it.
    pub fn of_client(requests: Option<Direction>) -> Self {
        let mut streams = [Stream::new(), Stream::new()];
        // Until `start` says otherwise, this is the middle of something.
        streams.iter_mut().for_each(Stream::lose);
        Self {
            protocol: Protocol::Unknown,
            requests,
            streams,
            open: VecDeque::new(),
            past: Past::default(),
            name: "http",
            handover: None,
            no_response: None,
            is_other_incomplete: false,
        }
    }

    /// Notes that a direction's first byte is known: nothing of it came before tracing.
    pub fn start(&mut self, direction: Direction) {
        self.streams[direction.index()].position = Position::Head;
        self.past.is_from_start |= self.requests == Some(direction);
    }

    /// Notes how many exchanges the connection carried before, and since when it is idle.
    pub fn follow(&mut self, exchanges: u64, idle_since: Option<Time>) {
        (self.past.exchanges, self.past.ended) = (exchanges, idle_since);
    }

    /// Exchanges of the connection so far.
    pub fn exchanges(&self) -> u64 {
        self.past.exchanges
    }

    /// Notes the round trip of the handshake, in microseconds, of the client's end: an answer takes about that long.
    pub fn learn_rtt(&mut self, us: u64) {
        self.past.rtt_us = Some(us);
    }

    /// What its protocol is called, once it is known to be HTTP.
    pub fn protocol_name(&self) -> Option<&'static str> {
        (self.protocol == Protocol::Http).then_some(self.name)
    }

    /// What it hands to the layer that comes next, once.
    #[inline]
    pub fn take_handover(&mut self) -> Option<Handover> {
        self.handover.take()
    }

    /// The first bytes of a direction are no HTTP/1.
    pub(super) fn give_up_http(&mut self, direction: Direction, bytes: &[u8]) {
        let mut first = self.partial_heads();
        first[direction.index()] = bytes.to_vec();
        *self = Self::of_client(self.requests);
        self.protocol = Protocol::Other;
        self.handover = Some(Handover::Other(Box::new(first)));
    }

    /// Heads that are not whole, by [`Direction::index`].
    pub fn partial_heads(&self) -> [Vec<u8>; 2] {
        self.streams
            .each_ref()
            .map(|stream| stream.partial_head().map_or(Vec::new(), |(head, _)| head.to_vec()))
    }

    /// Goes over to what a CONNECT asked for, or to HTTP/2, which answers what is open of the request that asked for it.
    pub(super) fn open_tunnel(&mut self, client: Direction, http2: Option<Open>) {
        let stream = &mut self.streams[client.index()];
        let is_readable = stream.position == Position::Undecided;
        let (bytes, time) = stream.take_undecided();
        let offset = stream.end - bytes.len() as u64;
        let held = (!bytes.is_empty()).then_some((offset, bytes, time));
        let (exchanges, idle_since) = (self.past.exchanges, self.past.ended);
        if is_readable {
            let tunnel = Box::new(Tunnel { client, held, rest: 0, exchanges, idle_since });
            self.handover = Some(match http2 {
                Some(open) => {
                    Handover::Http2(tunnel, Box::new(Upgraded { open, client, exchanges, idle_since }))
                }
                None => Handover::Tunnel(tunnel),
            });
        }
    }

    /// Whether a direction may be in the middle of HTTP/2: nothing of it was understood so far.
    pub fn may_be_http2(&self, direction: Direction) -> bool {
        let stream = &self.streams[direction.index()];
        stream.position == Position::Lost && stream.candidate.is_none()
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
        exchanges: &mut Exchanges,
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
                self.no_response = None;
                stream.end = offset + length;
                self.missing_bytes(direction, length, false, time, exchanges);
            }
            Chunk::Gap { offset, length, time } => {
                self.no_response = None;
                stream.end = offset + length;
                self.missing_bytes(direction, length, true, time, exchanges);
                let stream = &mut self.streams[direction.index()];
                if stream.position == Position::Lost {
                    stream.unread_until = Some(time);
                    stream.candidate = None;
                }
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
            _ if self.no_response.is_some() && self.requests != Some(direction) => Need::All,
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
        exchanges: &mut Exchanges,
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
        exchanges: &mut Exchanges,
    ) -> &'a [u8] {
        let is_request = self.requests == Some(direction);
        let stream = &mut self.streams[direction.index()];
        stream.unread = 0;
        match &mut stream.position {
            Position::Broken => {
                if !is_request && let Some(answer) = self.no_response.take() {
                    self.leave_no_response([&answer, bytes].concat());
                }
                &[]
            }
            Position::Tunnel => {
                if let Some(Handover::Tunnel(tunnel) | Handover::Http2(tunnel, _)) = &mut self.handover {
                    tunnel.rest = bytes.len();
                }
                &[]
            }
            Position::Lost | Position::AfterGap => self.lost_bytes(direction, bytes, time, exchanges),
            Position::Expecting(framing) => {
                let framing = *framing;
                self.expected_bytes(direction, framing, (bytes, time), exchanges)
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
                // At most the length of `bytes`, so it fits.
                let rest = &bytes[here as usize..];
                stream.unread = rest.len() as u64;
                self.count_body(is_request, here, time);
                if is_over {
                    self.end_message(direction, time, exchanges);
                }
                rest
            }
            Position::Chunked(chunked) => {
                let fed = chunked.feed(bytes);
                stream.unread = (bytes.len() - fed.consumed) as u64;
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

    fn head_bytes<'a>(
        &mut self,
        direction: Direction,
        bytes: &'a [u8],
        time: Time,
        exchanges: &mut Exchanges,
    ) -> &'a [u8] {
        let is_request = self.requests == Some(direction);
        let message = if is_request { Message::Request } else { Message::Response };
        match self.streams[direction.index()].head(bytes, time, message) {
            HeadStep::Partial => &[],
            HeadStep::Whole { bytes: head, started, rest } => {
                self.streams[direction.index()].unread = rest.len() as u64;
                match message {
                    Message::Request => self.request(direction, &head, (started, time), exchanges),
                    Message::Response => self.response(direction, &head, (started, time), exchanges),
                }
                if self.handover.is_some() {
                    self.hand_over_rest(direction, head.len(), rest);
                }
                rest
            }
        }
    }

    /// Completes what is left to others: `head` bytes were read as a head, and `rest` is behind it.
    fn hand_over_rest(&mut self, direction: Direction, head: usize, rest: &[u8]) {
        match &mut self.handover {
            Some(Handover::Other(first)) => first[direction.index()].extend_from_slice(rest),
            Some(Handover::Surplus(offset)) => {
                *offset = self.streams[direction.index()].end - (head + rest.len()) as u64;
            }
            _ => {}
        }
    }

    /// Leaves to others what came instead of a response.
    pub(super) fn leave_no_response(&mut self, mut answer: Vec<u8>) {
        let is_short = answer.len() < ANSWER_MAX;
        answer.truncate(ANSWER_MAX);
        self.no_response = is_short.then(|| answer.as_slice().into());
        self.handover = Some(Handover::NoResponse(answer.into()));
    }

    /// Whether there was an exchange before.
    pub(super) fn has_exchanges(&self) -> bool {
        self.past.exchanges > 0
    }

    /// Whether a response is too soon for an answer, which takes a round trip: it was sent before the server had the request.
    pub(super) fn is_too_soon(&self, request: Time, response: Time) -> bool {
        let rtt_us = self.past.rtt_us.filter(|us| *us >= RTT_LEAST_US);
        rtt_us.is_some_and(|us| response.micros_since(request) < us / 2)
    }

    pub(super) fn new_open(&mut self, started: Time) -> Open {
        let index = self.past.exchanges;
        self.past.exchanges += 1;
        let reused = if index > 0 { Some(true) } else { self.past.is_from_start.then_some(false) };
        let mut open = Open::new(index, started);
        open.exchange.reused = reused;
        open
    }

    /// Appends an exchange that has begun.
    pub(super) fn push_open(&mut self, open: Open) {
        self.insert_open(self.open.len(), open);
    }

    /// Inserts one before those from `at` on.
    pub(super) fn insert_open(&mut self, at: usize, open: Open) {
        if self.open.is_empty() {
            self.open = open::room();
        }
        self.open.insert(at, open);
    }

    /// The exchange whose message a direction is in: the last request, or the first response.
    pub(super) fn current(&mut self, is_request: bool) -> Option<&mut Open> {
        if is_request {
            self.open.iter_mut().rev().find(|open| open.exchange.request.is_some())
        } else {
            self.open.iter_mut().find(|open| open.is_websocket || !open.is_response_done())
        }
    }

    pub(super) fn count_body(&mut self, is_request: bool, bytes: u64, time: Time) {
        let Some(open) = self.current(is_request) else {
            return;
        };
        open.times.last_seen = time;
        if is_request {
            open.exchange.request.iter_mut().for_each(|request| request.body.size += bytes);
        } else {
            open.exchange.response.iter_mut().for_each(|response| response.body.size += bytes);
        }
    }

    /// Appends an exchange that is over.
    pub(super) fn emit(&mut self, open: Open, exchanges: &mut Exchanges) {
        let last_seen = open.times.last_seen;
        exchanges.push(open.into_exchange(self.past.ended));
        self.past.ended = self.past.ended.max(Some(last_seen));
    }

    /// Ends an exchange of which not all bytes were seen.
    pub(super) fn end_unseen(&mut self, mut open: Open, integrity: Integrity, exchanges: &mut Exchanges) {
        let outcome = if open.exchange.response.is_some() { Outcome::Ok } else { Outcome::NoResponse };
        open.conclude(integrity, outcome);
        open.exchange.reason.get_or_insert(UNSEEN.into());
        self.emit(open, exchanges);
    }

    /// Where messages begin is not known any more: what is open ends here.
    pub(super) fn lose(&mut self, integrity: Integrity, exchanges: &mut Exchanges) {
        for open in std::mem::take(&mut self.open) {
            self.end_unseen(open, integrity, exchanges);
        }
        let after_gap = self.streams.iter().position(|stream| stream.position == Position::AfterGap);
        let kept = after_gap.and_then(|index| self.streams[index].candidate.take().zip(Some(index)));
        let is_read = |stream: &&mut Stream| stream.position != Position::Broken;
        self.streams.iter_mut().filter(is_read).for_each(Stream::lose);
        if let Some((candidate, index)) = kept {
            self.streams[index].candidate = Some(candidate);
        }
    }

    /// Whether the request of a response that begins now was lost: then which response belongs to which is not known any
    /// more, and nothing is open.
    pub(super) fn lose_after_gap(&mut self, exchanges: &mut Exchanges) -> bool {
        let is_lost = self.streams.iter().any(|stream| stream.position == Position::AfterGap);
        if is_lost {
            self.lose(Integrity::Gap, exchanges);
        }
        is_lost
    }
}
