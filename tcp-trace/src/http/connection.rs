//! One connection's HTTP: requests of one direction linked with the responses of the other.

use std::collections::VecDeque;

use super::{
    body::{Framing, Then},
    exchange::{End, Exchange, Integrity, Outcome, Request, Response, Timing},
    head,
    stream::{HeadStep, Position, Stream},
};
use crate::{
    event::{Direction, Role},
    reassembly::{Chunk, Reassembly},
    time::Time,
};

/// An exchange that is not over.
#[derive(Debug)]
struct Open {
    index: u64,
    request: Option<Request>,
    response: Option<Response>,
    is_gap: bool,
    timing: Timing,
}

impl Open {
    fn is_request_done(&self) -> bool {
        self.request.is_none() || self.timing.request_ended.is_some()
    }

    fn is_response_done(&self) -> bool {
        self.timing.response_ended.is_some()
    }

    fn into_exchange(self, integrity: Integrity, outcome: Outcome) -> Exchange {
        let Self { index, request, response, is_gap, timing } = self;
        let integrity = if is_gap { Integrity::Gap } else { integrity };
        Exchange { index, request, response, integrity, outcome, timing }
    }
}

/// What is known of a connection's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Unknown,
    Http,
    Other,
}

/// The HTTP/1 of one connection. Payload goes in with sequence numbers, finished exchanges come out.
///
/// Memory: between messages it holds no buffers.
#[derive(Debug)]
pub struct HttpConnection {
    protocol: Protocol,
    /// Which way requests go, once known.
    requests: Option<Direction>,
    /// By [`Direction::index`].
    streams: [Stream; 2],
    /// In the order of their requests; responses come in the same (RFC 9112, section 9.3.2).
    open: VecDeque<Open>,
    next_index: u64,
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
        Self { protocol: Protocol::Unknown, requests, streams, open: VecDeque::new(), next_index: 0 }
    }

    /// Tells the sequence number of a direction's first byte: the SYN's plus one.
    pub fn start(&mut self, direction: Direction, sequence: u32) {
        let stream = &mut self.streams[direction.index()];
        stream.reassembly.start(sequence);
        stream.position = Position::Head;
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
        if self.protocol == Protocol::Other {
            return;
        }
        self.with_reassembly(direction, |reassembly, this| {
            reassembly.push(sequence, bytes, time, |chunk| {
                this.chunk(direction, chunk, exchanges);
            });
        });
    }

    /// Notes the FIN of a direction, whose sequence number is `sequence`: it ends a body that lasts until then.
    pub fn finished(
        &mut self,
        direction: Direction,
        sequence: u32,
        time: Time,
        exchanges: &mut Vec<Exchange>,
    ) {
        let stream = &self.streams[direction.index()];
        let is_all_there = stream.reassembly.next_sequence().is_none_or(|next| next == sequence);
        if is_all_there && stream.position == Position::UntilClose && self.requests != Some(direction) {
            self.end_response(time, exchanges);
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

    /// Ends the connection: exchanges that are not over are appended with what is known of them.
    pub fn finish(&mut self, time: Time, end: End, exchanges: &mut Vec<Exchange>) {
        self.give_up_holes(time, exchanges);
        let responses = self.requests.map(|requests| requests.opposite().index());
        let is_until_close =
            responses.is_some_and(|index| self.streams[index].position == Position::UntilClose);
        if is_until_close && end == End::Fin {
            self.end_response(time, exchanges);
        }
        for open in std::mem::take(&mut self.open) {
            let outcome = match (end, &open.response) {
                (End::Reset, _) if !open.is_response_done() => Outcome::Reset,
                (_, Some(_)) => Outcome::Ok,
                (_, None) => Outcome::NoResponse,
            };
            let is_complete = open.is_request_done() && (open.response.is_none() || open.is_response_done());
            let integrity = if is_complete { Integrity::Complete } else { Integrity::Truncated };
            exchanges.push(open.into_exchange(integrity, outcome));
        }
    }

    fn with_reassembly(&mut self, direction: Direction, run: impl FnOnce(&mut Reassembly, &mut Self)) {
        let mut reassembly = std::mem::take(&mut self.streams[direction.index()].reassembly);
        run(&mut reassembly, self);
        if self.protocol != Protocol::Other {
            self.streams[direction.index()].reassembly = reassembly;
        }
    }

    fn chunk(&mut self, direction: Direction, chunk: Chunk<'_>, exchanges: &mut Vec<Exchange>) {
        match chunk {
            _ if self.protocol == Protocol::Other => {}
            Chunk::Bytes { bytes, time } => self.bytes(direction, bytes, time, exchanges),
            Chunk::Gap { bytes, time } => self.gap(direction, bytes, time, exchanges),
        }
    }

    fn bytes(&mut self, direction: Direction, mut bytes: &[u8], time: Time, exchanges: &mut Vec<Exchange>) {
        while !bytes.is_empty() && self.protocol != Protocol::Other {
            let is_request = self.requests == Some(direction);
            match self.streams[direction.index()].position {
                Position::Tunnel => return,
                Position::Lost => {
                    if !self.find_again(direction, bytes) {
                        return;
                    }
                }
                Position::Head => bytes = self.head_bytes(direction, bytes, time, exchanges),
                Position::UntilClose => {
                    self.count_body(is_request, bytes.len() as u64, time);
                    return;
                }
                Position::Length(left) => {
                    let here = left.min(bytes.len() as u64);
                    self.streams[direction.index()].position = Position::Length(left - here);
                    self.count_body(is_request, here, time);
                    if here == left {
                        self.end_message(direction, time, exchanges);
                    }
                    // At most the length of `bytes`, so it fits.
                    bytes = &bytes[here as usize..];
                }
                Position::Chunked(mut chunked) => {
                    let fed = chunked.feed(bytes);
                    self.streams[direction.index()].position = Position::Chunked(chunked);
                    self.count_body(is_request, fed.payload, time);
                    match fed.then {
                        Then::More => {}
                        Then::End => self.end_message(direction, time, exchanges),
                        Then::Illegal => return self.lose(Integrity::Truncated, exchanges),
                    }
                    bytes = &bytes[fed.consumed..];
                }
            }
        }
    }

    /// Whether messages begin again with `bytes`, in a direction that lost its place. A response counts only
    /// when its request was seen after the loss: nothing is paired by guess.
    fn find_again(&mut self, direction: Direction, bytes: &[u8]) -> bool {
        let is_found = match self.requests {
            Some(requests) if requests != direction => !self.open.is_empty() && head::is_response(bytes),
            _ => head::is_request(bytes),
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
        let can_be = if is_request { head::can_be_request } else { head::can_be_response };
        match self.streams[direction.index()].head(bytes, time, can_be) {
            HeadStep::Partial => return &[],
            HeadStep::Illegal => {}
            HeadStep::Whole { bytes: head, started, rest } => {
                let is_understood = if is_request {
                    self.request(direction, &head, started, time, exchanges)
                } else {
                    self.response(direction, &head, started, time, exchanges)
                };
                if is_understood {
                    self.protocol = Protocol::Http;
                    return rest;
                }
            }
        }
        self.illegal(exchanges);
        &[]
    }

    /// Bytes are no message: at the beginning of a connection it is another protocol.
    fn illegal(&mut self, exchanges: &mut Vec<Exchange>) {
        if self.protocol == Protocol::Http {
            self.lose(Integrity::Truncated, exchanges);
        } else {
            *self = Self { protocol: Protocol::Other, ..Self::new(None) };
        }
    }

    fn request(
        &mut self,
        direction: Direction,
        head: &[u8],
        started: Time,
        time: Time,
        exchanges: &mut Vec<Exchange>,
    ) -> bool {
        let Some((request, framing)) = head::request(head) else {
            return false;
        };
        let mut open = self.new_open(started);
        open.timing.last_seen = time;
        open.request = Some(request);
        self.open.push_back(open);
        self.streams[direction.index()].position = Position::behind_head(framing);
        if framing == Framing::None {
            self.end_request(time, exchanges);
        }
        true
    }

    fn response(
        &mut self,
        direction: Direction,
        head: &[u8],
        started: Time,
        time: Time,
        exchanges: &mut Vec<Exchange>,
    ) -> bool {
        let waiting = self.open.iter().position(|open| !open.is_response_done());
        let method =
            waiting.and_then(|at| self.open[at].request.as_ref()).map(|request| request.method.as_slice());
        let Some((response, framing)) = head::response(head, method) else {
            return false;
        };
        let is_interim = (100..200).contains(&response.status_code) && response.status_code != 101;
        if is_interim {
            return true;
        }
        let at = waiting.unwrap_or_else(|| {
            // A server may answer what was never asked: 408 to an idle connection.
            let open = self.new_open(started);
            self.open.push_back(open);
            self.open.len() - 1
        });
        let open = &mut self.open[at];
        open.timing.response_started = Some(started);
        open.timing.last_seen = time;
        open.response = Some(response);
        self.streams[direction.index()].position = Position::behind_head(framing);
        match framing {
            Framing::None => self.end_response(time, exchanges),
            Framing::Tunnel => self.upgrade(time, exchanges),
            _ => {}
        }
        true
    }

    fn new_open(&mut self, started: Time) -> Open {
        let index = self.next_index;
        self.next_index += 1;
        Open { index, request: None, response: None, is_gap: false, timing: Timing::new(started) }
    }

    /// The exchange whose message a direction is in: the last request, or the first response.
    fn current(&mut self, is_request: bool) -> Option<&mut Open> {
        if is_request {
            self.open.back_mut()
        } else {
            self.open.iter_mut().find(|open| !open.is_response_done())
        }
    }

    fn count_body(&mut self, is_request: bool, bytes: u64, time: Time) {
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

    fn end_message(&mut self, direction: Direction, time: Time, exchanges: &mut Vec<Exchange>) {
        if self.requests == Some(direction) {
            self.end_request(time, exchanges);
        } else {
            self.end_response(time, exchanges);
        }
        self.streams[direction.index()].position = Position::Head;
    }

    fn end_request(&mut self, time: Time, exchanges: &mut Vec<Exchange>) {
        if let Some(open) = self.open.back_mut() {
            open.timing.request_ended = Some(time);
        }
        self.take_finished(exchanges);
    }

    fn end_response(&mut self, time: Time, exchanges: &mut Vec<Exchange>) {
        if let Some(open) = self.current(false) {
            open.timing.response_ended = Some(time);
            open.timing.last_seen = time;
        }
        if let Some(requests) = self.requests {
            self.streams[requests.opposite().index()].position = Position::Head;
        }
        self.take_finished(exchanges);
    }

    fn take_finished(&mut self, exchanges: &mut Vec<Exchange>) {
        while self.open.front().is_some_and(|open| open.is_request_done() && open.is_response_done()) {
            let Some(open) = self.open.pop_front() else {
                return;
            };
            exchanges.push(open.into_exchange(Integrity::Complete, Outcome::Ok));
        }
        if self.open.is_empty() {
            // An idle connection keeps no memory for exchanges.
            self.open = VecDeque::new();
        }
    }

    /// The response changes the protocol (RFC 9110, sections 7.8 and 9.3.6): there are no more messages.
    fn upgrade(&mut self, time: Time, exchanges: &mut Vec<Exchange>) {
        for open in std::mem::take(&mut self.open) {
            let mut open = open;
            let outcome = if open.response.is_some() { Outcome::Upgraded } else { Outcome::NoResponse };
            if open.response.is_some() {
                open.timing.response_ended.get_or_insert(time);
            }
            exchanges.push(open.into_exchange(Integrity::Complete, outcome));
        }
        self.streams.iter_mut().for_each(|stream| stream.position = Position::Tunnel);
    }

    fn gap(&mut self, direction: Direction, missing: u64, time: Time, exchanges: &mut Vec<Exchange>) {
        let is_request = self.requests == Some(direction);
        let inside = match self.streams[direction.index()].position {
            Position::Tunnel | Position::Lost => return,
            Position::UntilClose => missing,
            Position::Length(left) => left.min(missing),
            Position::Head | Position::Chunked(_) => 0,
        };
        if inside > 0 {
            if let Some(open) = self.current(is_request) {
                open.is_gap = true;
            }
            self.count_body(is_request, inside, time);
        }
        if let Position::Length(left) = &mut self.streams[direction.index()].position {
            *left -= inside;
            if *left == 0 {
                self.end_message(direction, time, exchanges);
            }
        }
        if inside < missing {
            self.lose(Integrity::Gap, exchanges);
        }
    }

    /// Nobody knows any more where messages begin: what is open ends here.
    fn lose(&mut self, integrity: Integrity, exchanges: &mut Vec<Exchange>) {
        for open in std::mem::take(&mut self.open) {
            let outcome = if open.response.is_some() { Outcome::Ok } else { Outcome::NoResponse };
            exchanges.push(open.into_exchange(integrity, outcome));
        }
        self.streams.iter_mut().for_each(Stream::lose);
    }
}
