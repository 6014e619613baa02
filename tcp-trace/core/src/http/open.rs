//! An exchange that is not over.

use std::{cell::RefCell, collections::VecDeque};

use tcp_trace_model::{
    exchange::{Ended, Exchange, Integrity, Message, Outcome, Part, Reason, Request, Timing, Version},
    time::Time,
};

use super::{
    exchange::{Exchanges, Times},
    framing::Framing,
    stalls::Stalls,
};

/// Status codes of interim responses that are kept of an exchange.
pub const INFORMATIONAL_MAX: usize = 32;
/// Exchanges of a connection that are open at the same time.
pub const OPEN_MAX: usize = 4096;

/// Queues and exchanges that are kept for the next exchanges.
const SPARE_MAX: usize = 64;

thread_local! {
    /// Queues with room for one exchange.
    static SPARE: RefCell<Vec<VecDeque<Open>>> = const { RefCell::new(Vec::new()) };
    /// Exchanges of which nothing is known.
    static SPARE_EXCHANGES: RefCell<Exchanges> = const { RefCell::new(Vec::new()) };
}

/// Keeps the memory of an exchange that was read for one of the next.
pub fn recycle(mut exchange: Box<Exchange>) {
    SPARE_EXCHANGES.with_borrow_mut(|spare| {
        if spare.len() < SPARE_MAX {
            *exchange = Exchange::default();
            spare.push(exchange);
        }
    });
}

/// An empty queue. Few connections have two exchanges at a time: it has room for one.
pub(super) fn room() -> VecDeque<Open> {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| VecDeque::with_capacity(1))
}

/// Keeps the memory of a queue that is empty for one of the next exchanges.
pub(super) fn put_back(queue: VecDeque<Open>) {
    if queue.capacity() == 1 && queue.is_empty() {
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < SPARE_MAX {
                spare.push(queue);
            }
        });
    }
}

/// An exchange that is not over.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) exchange: Box<Exchange>,
    pub(crate) times: Times,
    /// What was lost of them, when anything was.
    pub(super) stalls: Option<Box<Stalls>>,
    pub(crate) is_gap: bool,
    /// Whether frames of a WebSocket follow its messages.
    pub(crate) is_websocket: bool,
    /// Whether the client left out the request's body, which it had to send only after 100.
    is_body_left_out: bool,
    /// Whether it was answered before the request's head was whole.
    pub(crate) is_head_partial: bool,
    /// Which message is illegal, and why.
    pub(crate) invalid: Option<(Message, Reason)>,
}

impl Open {
    pub(crate) fn new(index: u64, started: Time) -> Self {
        let mut exchange = SPARE_EXCHANGES.with_borrow_mut(Vec::pop).unwrap_or_default();
        exchange.index = index;
        Self {
            exchange,
            times: Times::new(started),
            stalls: None,
            is_gap: false,
            is_websocket: false,
            is_body_left_out: false,
            is_head_partial: false,
            invalid: None,
        }
    }

    pub(crate) fn is_request_done(&self) -> bool {
        let is_done = self.exchange.request.is_none()
            || self.times.request_ended.is_some()
            || self.is_body_left_out
            || self.is_invalid(Message::Request);
        is_done && !self.is_head_partial
    }

    pub(crate) fn is_response_done(&self) -> bool {
        self.times.response_ended.is_some()
    }

    /// Whether one of its messages is illegal: that one will not go on.
    pub(crate) fn is_invalid(&self, message: Message) -> bool {
        self.invalid.as_ref().is_some_and(|(invalid, _)| *invalid == message)
    }

    /// Whether nothing more is to come.
    pub(crate) fn is_over(&self) -> bool {
        let is_done = self.is_request_done() && self.is_response_done();
        self.is_invalid(Message::Response) || is_done && !self.is_websocket
    }

    /// Whether the request asks for another protocol (RFC 9110, sections 7.8 and 9.3.6).
    pub(crate) fn asks_for_upgrade(&self) -> bool {
        self.exchange.request.as_ref().is_some_and(|request| {
            *request.method.0 == *b"CONNECT"
                || request.version > Some(Version::http1(0)) && request.headers.first("upgrade").is_some()
        })
    }

    /// Whether the request expects 100 before its body (RFC 9110, section 10.1.1).
    pub(crate) fn expects_100(&self) -> bool {
        let expect = self.exchange.request.as_ref().and_then(|request| request.headers.first("expect"));
        expect.is_some_and(|expect| expect.eq_ignore_ascii_case(b"100-continue"))
    }

    /// Notes that the next request stands where the body was to come.
    pub(super) fn leave_out_body(&mut self, framing: Framing) {
        self.is_body_left_out = true;
        self.exchange.ended = Some(Ended { message: Message::Request, part: Part::Body, offset: 0 });
        self.exchange.reason = Some("another request came in place of the body".into());
        if let Framing::Length(left) = framing {
            self.exchange.missing = Some(left);
        }
    }

    /// Whether it is a CONNECT whose response, which ends the messages, grants it.
    pub(crate) fn is_connected(&self) -> bool {
        let is_connect =
            self.exchange.request.as_ref().is_some_and(|request| *request.method.0 == *b"CONNECT");
        is_connect && self.exchange.response.as_ref().is_some_and(|response| response.status_code != 101)
    }

    /// Whether the response, which switches protocols, goes over to WebSocket; and if so, whether with
    /// extensions.
    pub(crate) fn websocket(&self) -> Option<bool> {
        let response = self.exchange.response.as_ref().filter(|response| response.status_code == 101)?;
        let mut protocols = response.headers.members("upgrade");
        let is_websocket = protocols.any(|protocol| protocol.eq_ignore_ascii_case(b"websocket"));
        let has_extensions = response.headers.members("sec-websocket-extensions").next().is_some();
        is_websocket.then_some(has_extensions)
    }

    /// Whether the response, which switches protocols, goes over to HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        let response = self.exchange.response.as_ref().filter(|response| response.status_code == 101);
        let mut protocols = response.into_iter().flat_map(|response| response.headers.members("upgrade"));
        self.invalid.is_none() && protocols.any(|protocol| protocol.eq_ignore_ascii_case(b"h2c"))
    }

    /// Goes over to HTTP/2: the response that switched protocols was an interim one.
    pub(crate) fn begin_http2(&mut self) {
        if let (Some(response), Some(started)) =
            (self.exchange.response.take(), self.times.response_started.take())
        {
            self.inform(response.status_code, started);
        }
    }

    /// Notes an interim response, which began at this time.
    pub(crate) fn inform(&mut self, status: u16, started: Time) {
        if self.exchange.informational.len() < INFORMATIONAL_MAX {
            self.exchange.informational.push(status);
            self.exchange.timing.informational_us.push(started.micros_since(self.times.started));
        }
    }

    /// Says how it ended, unless one of its messages is illegal. What only the end of a connection tells is still missing.
    #[inline]
    pub(crate) fn conclude(&mut self, integrity: Integrity, outcome: Outcome) {
        let exchange = &mut *self.exchange;
        (exchange.integrity, exchange.outcome) = (integrity, outcome);
        if let Some((message, reason)) = &self.invalid {
            let name = if *message == Message::Request { "request" } else { "response" };
            (exchange.integrity, exchange.outcome) = (Integrity::Truncated, Outcome::Invalid);
            exchange.reason = Some(format!("{name}: {reason}").into());
        }
        if self.is_body_left_out && exchange.outcome == Outcome::Ok {
            exchange.integrity = Integrity::Truncated;
        }
        if self.is_gap {
            exchange.integrity = Integrity::Gap;
        }
    }

    /// The exchange, which is over; `previous_ended` is when the one before it ended.
    #[inline]
    pub(crate) fn into_exchange(self, previous_ended: Option<Time>) -> Box<Exchange> {
        let Self { mut exchange, times, stalls, .. } = self;
        let informational_us = std::mem::take(&mut exchange.timing.informational_us);
        exchange.timing = Timing { informational_us, ..times.timing(previous_ended) };
        if let Some(stalls) = stalls {
            exchange.timing.stalls = stalls.recorded(&exchange.timing);
        }
        exchange.url = exchange.request.as_ref().map(Request::url);
        exchange
    }
}
