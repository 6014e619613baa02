//! An exchange that is not over.

use std::{cell::RefCell, collections::VecDeque};

use tcp_trace_model::exchange::{Integrity, Message, Outcome};

use super::{
    exchange::{Exchange, Reason, Request, Response, Timing},
    stalls::Stalls,
};

/// Status codes of interim responses that are kept of an exchange.
pub const INFORMATIONAL_MAX: usize = 32;
/// Exchanges of a connection that are open at the same time.
pub const OPEN_MAX: usize = 4096;

/// Queues that are kept for the next exchanges.
const SPARE_MAX: usize = 64;

thread_local! {
    /// Queues with room for one exchange.
    static SPARE: RefCell<Vec<VecDeque<Open>>> = const { RefCell::new(Vec::new()) };
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
pub(super) struct Open {
    pub(super) index: u64,
    pub(super) request: Option<Request>,
    pub(super) response: Option<Response>,
    pub(super) informational: Vec<u16>,
    pub(super) is_gap: bool,
    /// Whether frames of a WebSocket follow its messages.
    pub(super) is_websocket: bool,
    /// Which message is illegal, and why.
    pub(super) invalid: Option<(Message, Reason)>,
    pub(super) reused: Option<bool>,
    pub(super) timing: Timing,
    pub(super) stalls: Option<Box<Stalls>>,
}

impl Open {
    pub(super) fn is_request_done(&self) -> bool {
        self.request.is_none() || self.timing.request_ended.is_some() || self.is_invalid(Message::Request)
    }

    pub(super) fn is_response_done(&self) -> bool {
        self.timing.response_ended.is_some()
    }

    /// Whether one of its messages is illegal: that one will not go on.
    pub(super) fn is_invalid(&self, message: Message) -> bool {
        self.invalid.as_ref().is_some_and(|(invalid, _)| *invalid == message)
    }

    /// Whether nothing more is to come.
    pub(super) fn is_over(&self) -> bool {
        let is_done = self.is_request_done() && self.is_response_done();
        self.is_invalid(Message::Response) || is_done && !self.is_websocket
    }

    /// Whether the request asks for another protocol (RFC 9110, sections 7.8 and 9.3.6).
    pub(super) fn asks_for_upgrade(&self) -> bool {
        self.request.as_ref().is_some_and(|request| {
            *request.method == *b"CONNECT"
                || request.version > 0 && request.headers.first("upgrade").is_some()
        })
    }

    /// Whether it is a CONNECT whose response, which ends the messages, grants it.
    pub(super) fn is_connected(&self) -> bool {
        let is_connect = self.request.as_ref().is_some_and(|request| *request.method == *b"CONNECT");
        is_connect && self.response.as_ref().is_some_and(|response| response.status_code != 101)
    }

    /// Whether the response, which switches protocols, goes over to WebSocket; and if so, whether with
    /// extensions.
    pub(super) fn websocket(&self) -> Option<bool> {
        let response = self.response.as_ref().filter(|response| response.status_code == 101)?;
        let mut protocols = response.headers.members("upgrade");
        let is_websocket = protocols.any(|protocol| protocol.eq_ignore_ascii_case(b"websocket"));
        let has_extensions = response.headers.members("sec-websocket-extensions").next().is_some();
        is_websocket.then_some(has_extensions)
    }

    /// Notes the status code of an interim response.
    pub(super) fn inform(&mut self, status: u16) {
        if self.informational.len() < INFORMATIONAL_MAX {
            self.informational.push(status);
        }
    }

    /// The exchange, without what only its end can tell.
    #[inline(always)]
    pub(super) fn into_exchange(self, integrity: Integrity, outcome: Outcome) -> Exchange {
        let Self { index, request, response, informational, is_gap, invalid, reused, timing, stalls, .. } =
            self;
        let (integrity, outcome, reason) = match invalid {
            None => (integrity, outcome, None),
            Some((message, reason)) => {
                let name = if message == Message::Request { "request" } else { "response" };
                (Integrity::Truncated, Outcome::Invalid, Some(format!("{name}: {reason}").into()))
            }
        };
        Exchange {
            index,
            request,
            response,
            integrity: if is_gap { Integrity::Gap } else { integrity },
            outcome,
            reason,
            ended: None,
            missing: None,
            informational,
            websocket: None,
            reused,
            idle_us: None,
            timing,
            stalls,
        }
    }
}
