//! A stream, and its exchange (RFC 9113, section 5.1).

use tcp_trace_model::{
    exchange::{Ended, Exchange, Integrity, Message, Outcome, Part, WebSocket},
    fields::Fields,
    http2::{CUT, ErrorCode, StreamReset},
    time::Time,
};

use super::{
    block::Block,
    flow::{Waits, Window},
    frames::Data,
    grpc::{self, Messages},
};
use crate::http::{Follower, Open, UNSEEN};

/// What the bytes of a direction are read as.
#[derive(Debug, Default)]
enum Body {
    /// They are only counted.
    #[default]
    Counted,
    /// Messages of gRPC.
    Grpc(Box<Messages>),
    /// Frames of a WebSocket (RFC 8441).
    WebSocket(Box<Follower>),
}

/// One direction of a stream.
#[derive(Debug, Default)]
pub(super) struct Half {
    /// What its sender may still send.
    pub(super) window: Window,
    waits: Waits,
    body: Body,
    /// Whether its end was seen.
    pub(super) is_over: bool,
    /// Whether its sender may have ended it, or the stream, in what was not seen: nothing of it came since then.
    pub(super) may_have_ended: bool,
}

/// A stream that is not over.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) open: Open,
    /// What the client sends.
    pub(super) request: Half,
    /// What the server sends.
    pub(super) response: Half,
    /// Whether its bytes are no body, but a tunnel (section 8.5).
    is_tunnel: bool,
    /// Bytes of the names and values of its fields.
    pub(super) text: usize,
    /// Whether others were open when it began.
    pub(super) is_overlapping: bool,
}

impl Stream {
    pub(super) fn new(id: u32, open: Open, windows: [Window; 2]) -> Self {
        let [request, response] = windows.map(|window| Half { window, ..Half::default() });
        let mut stream = Self { open, request, response, is_tunnel: false, text: 0, is_overlapping: false };
        stream.details().id = id;
        stream
    }

    /// What HTTP/2 says of it.
    pub(super) fn details(&mut self) -> &mut tcp_trace_model::http2::Stream {
        self.open.exchange.stream.get_or_insert_default()
    }

    pub(super) fn half_of(&self, message: Message) -> &Half {
        match message {
            Message::Request => &self.request,
            Message::Response => &self.response,
        }
    }

    pub(super) fn half(&mut self, message: Message) -> &mut Half {
        match message {
            Message::Request => &mut self.request,
            Message::Response => &mut self.response,
        }
    }

    /// Notes what is not known, and what is left out, of a block.
    fn note(&mut self, block: &Block, is_kept: bool) {
        self.text += if is_kept { block.text } else { 0 };
        let details = &mut self.details().details;
        details.unknown_fields += block.unknown;
        details.omitted_fields += block.omitted;
        if is_kept && !block.never_indexed.is_empty() {
            details.never_indexed.extend_from_slice(&block.never_indexed);
            details.never_indexed.sort_unstable();
            details.never_indexed.dedup();
        }
    }

    /// Takes the head of the request.
    pub(super) fn begin_request(&mut self, block: &Block, started: Time, connection: &Window) {
        self.note(block, true);
        self.open.times.started = self.open.times.started.min(started);
        let request = block.request();
        if grpc::is_grpc(&request.headers) {
            let call = grpc::call(&request.target.0, &request.headers);
            self.details().grpc = Some(Box::new(call));
            self.request.body = Body::Grpc(Box::default());
        }
        if let Some(fault) = block.fault(Message::Request) {
            self.open.invalid = Some((Message::Request, fault.into()));
        }
        self.open.exchange.request = Some(request);
        self.request.waits.begin(&self.request.window, connection);
    }

    /// Takes the head of the response, and says whether it is the final one.
    pub(super) fn begin_response(&mut self, block: &Block, started: Time, connection: &Window) {
        let response = block.response();
        let is_interim = (100..200).contains(&response.status_code);
        self.note(block, !is_interim);
        self.response.may_have_ended = false;
        self.open.times.end_expecting(started);
        if is_interim {
            return self.open.inform(response.status_code, started);
        }
        self.open.times.response_started = Some(started);
        let is_call = self.details().grpc.is_some() || grpc::is_grpc(&response.headers);
        if is_call && grpc::is_grpc(&response.headers) {
            self.details().grpc.get_or_insert_default();
            self.response.body = Body::Grpc(Box::default());
        }
        if is_call && let Some(grpc) = &mut self.details().grpc {
            grpc::conclude(grpc, &response.headers);
        }
        if let Some(fault) = block.fault(Message::Response) {
            self.open.invalid.get_or_insert((Message::Response, fault.into()));
        }
        self.response.waits.begin(&self.response.window, connection);
        self.begin_tunnel(response.status_code);
        self.open.exchange.response = Some(response);
    }

    /// Goes over to what a CONNECT asked for, where it was granted.
    fn begin_tunnel(&mut self, status: u16) {
        let Some(request) = &self.open.exchange.request else { return };
        self.is_tunnel = *request.method.0 == *b"CONNECT" && (200..300).contains(&status);
        let protocol = request.headers.first(":protocol");
        if self.is_tunnel && protocol.is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket")) {
            let has_extensions = request.headers.first("sec-websocket-extensions").is_some();
            let follower = |is_client| Body::WebSocket(Box::new(Follower::new(is_client, has_extensions)));
            (self.request.body, self.response.body) = (follower(true), follower(false));
        }
    }

    /// Takes the fields behind a body.
    pub(super) fn trailers(&mut self, message: Message, block: Block) {
        self.note(&block, true);
        self.half(message).may_have_ended = false;
        if message == Message::Response
            && let Some(grpc) = &mut self.details().grpc
        {
            grpc::conclude(grpc, &block.fields);
        }
        let details = &mut self.details().details;
        match message {
            Message::Request => details.request_trailers = block.fields,
            Message::Response => details.response_trailers = block.fields,
        }
    }

    /// Takes a part of a body.
    pub(super) fn data(&mut self, message: Message, data: &Data<'_>, time: Time, connection: &mut Window) {
        let us = time.micros_since(self.open.times.started);
        self.open.times.last_seen = time;
        let half = self.half(message);
        half.may_have_ended = false;
        if data.counted > 0 {
            half.waits.end(&half.window, connection);
            half.window.spend(data.counted, time);
            connection.spend(data.counted, time);
        }
        match &mut half.body {
            Body::Counted => {}
            Body::Grpc(messages) => {
                messages.feed(data.bytes, us);
                messages.skip(data.unseen, us);
            }
            Body::WebSocket(follower) => {
                follower.feed(data.bytes);
                if data.unseen > follower.unneeded() {
                    follower.lose();
                } else if data.unseen > 0 {
                    follower.skip(data.unseen);
                }
            }
        }
        let size = data.bytes.len() as u64 + data.unseen;
        let exchange = &mut self.open.exchange;
        match message {
            Message::Request => exchange.request.iter_mut().for_each(|request| request.body.size += size),
            Message::Response => exchange.response.iter_mut().for_each(|response| response.body.size += size),
        }
    }

    /// Bytes of a body that need not be seen.
    pub(super) fn unneeded(&self, message: Message) -> u64 {
        match &self.half_of(message).body {
            Body::Counted => u64::MAX,
            Body::Grpc(messages) => messages.unneeded(),
            Body::WebSocket(follower) => follower.unneeded(),
        }
    }

    /// A message ends.
    pub(super) fn end(&mut self, message: Message, time: Time) {
        self.half(message).is_over = true;
        let times = &mut self.open.times;
        times.last_seen = time;
        match message {
            Message::Request => times.request_ended = Some(time),
            Message::Response => times.response_ended = Some(time),
        }
    }

    /// Whether nothing more is to come that anybody could wait for.
    pub(super) fn is_over(&self) -> bool {
        let Half { is_over, may_have_ended, .. } = self.request;
        self.response.is_over && (is_over || may_have_ended || self.open.exchange.request.is_none())
    }

    /// Whether it may have ended in what was not seen, of either direction.
    pub(super) fn may_have_ended(&self) -> bool {
        self.request.may_have_ended || self.response.may_have_ended
    }

    /// Says that it is not known how it ended.
    pub(super) fn conclude_unseen(&mut self) {
        let outcome = match (self.is_tunnel, &self.open.exchange.response) {
            (true, _) => Outcome::Upgraded,
            (false, Some(_)) => Outcome::Ok,
            (false, None) => Outcome::NoResponse,
        };
        self.open.is_gap = true;
        self.open.conclude(Integrity::Gap, outcome);
        if self.open.invalid.is_none() {
            self.open.exchange.reason = Some(UNSEEN.into());
        }
    }

    /// Says of messages that ended as they should whether their bodies are as long as Content-Length says (RFC 9113, section 8.1.1).
    pub(super) fn compare_lengths(&mut self) {
        let exchange = &mut self.open.exchange;
        let (Some(request), false) = (&exchange.request, self.is_tunnel || self.open.is_gap) else { return };
        if self.open.invalid.is_some() || exchange.outcome != Outcome::Ok {
            return;
        }
        let declared = |headers: &Fields| {
            let length = headers.first("content-length")?;
            str::from_utf8(length).ok()?.parse::<u64>().ok()
        };
        // A response to HEAD, and those of these status codes, have no body (RFC 9110, section 6.4.1).
        let has_body = |status| *request.method.0 != *b"HEAD" && !matches!(status, 0 | 204 | 304);
        let response = exchange.response.as_ref().filter(|response| has_body(response.status_code));
        let lengths = [
            (Message::Response, response.map(|response| (declared(&response.headers), response.body.size))),
            (Message::Request, Some((declared(&request.headers), request.body.size))),
        ];
        for (message, lengths) in lengths {
            let Some((Some(declared), size)) = lengths else { continue };
            if declared == size {
                continue;
            }
            exchange.integrity = Integrity::Truncated;
            if size > declared {
                let name = if message == Message::Request { "request" } else { "response" };
                exchange.outcome = Outcome::Invalid;
                exchange.reason =
                    Some(format!("{name}: a body that is longer than its Content-Length").into());
            } else {
                let is_response = message == Message::Response;
                exchange.outcome = if is_response { Outcome::Truncated } else { Outcome::Ok };
                let reason = if is_response { CUT } else { "the stream ended during the request" };
                exchange.reason = Some(reason.into());
                exchange.ended = Some(Ended { message, part: Part::Body, offset: size });
                exchange.missing = Some(declared - size);
            }
            return;
        }
    }

    /// Notes a RST_STREAM.
    pub(super) fn reset(&mut self, reset: StreamReset) {
        self.details().details.reset = Some(reset);
    }

    /// Notes the GOAWAY that says that the server did nothing for it.
    pub(super) fn refuse(&mut self, error: ErrorCode) {
        self.details().details.goaway = Some(error);
    }

    /// Whether it is over as it should be, where its connection or a reset ends it: a tunnel, which nobody need end otherwise.
    pub(super) fn is_tunnel(&self) -> bool {
        self.is_tunnel
    }

    /// The exchange; `previous_ended` is when the one before it ended.
    pub(super) fn into_exchange(mut self, previous_ended: Option<Time>) -> Box<Exchange> {
        let [request, response] = [&self.request, &self.response].map(|half| match &half.body {
            Body::Grpc(messages) => Some(messages.recorded()),
            _ => None,
        });
        let frames = [&self.request, &self.response].map(|half| match &half.body {
            Body::WebSocket(follower) => Some(follower.frames),
            _ => None,
        });
        let blocked = [self.request.waits.recorded(), self.response.waits.recorded()];
        let details = self.details();
        [details.details.request_blocked, details.details.response_blocked] = blocked;
        if let Some(grpc) = &mut details.grpc {
            grpc.request = request.unwrap_or_default();
            grpc.response = response.unwrap_or_default();
        }
        let exchange = &mut self.open.exchange;
        if let [Some(client), Some(server)] = frames {
            exchange.websocket = Some(Box::new(WebSocket { client, server }));
        }
        if self.is_tunnel && exchange.outcome == Outcome::Ok {
            exchange.outcome = Outcome::Upgraded;
        }
        self.open.into_exchange(previous_ended)
    }
}
