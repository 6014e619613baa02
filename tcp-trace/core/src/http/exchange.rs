//! Exchanges that are over, and the times and the end of a connection that decide what they say.

use tcp_trace_model::{
    event::Direction,
    exchange::{Exchange, Timing},
    time::Time,
};

/// Exchanges that are over.
pub type Exchanges = Vec<Box<Exchange>>;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With FINs.
    Fin,
    /// With an RST, sent in this direction if that is known.
    Reset(Option<Direction>),
    /// With an error of the socket, by its symbolic name.
    Failed(&'static str),
    /// It has not: the session is over.
    Unknown,
    /// It has not, and goes on where its bytes are not seen.
    Unseen,
}

/// The end of a connection, with the FINs that were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionEnd {
    /// How it ended.
    pub end: End,
    /// The direction of the FIN that ended it, and when that was seen: the first one, or the second after a half-close.
    pub first_fin: Option<(Direction, Time)>,
    /// When the FIN of each direction was seen, by [`Direction::index`].
    pub fin: [Option<Time>; 2],
}

impl ConnectionEnd {
    /// An end without FINs.
    pub fn without_fin(end: End) -> Self {
        Self { end, first_fin: None, fin: [None; 2] }
    }
}

/// When the parts of an exchange began and ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    /// First byte of the request; of the response when there was no request.
    pub(crate) started: Time,
    /// Last byte of the head of a request that expects 100.
    pub(crate) expecting: Option<Time>,
    /// When it had a response, or went on without one.
    pub(crate) expected: Option<Time>,
    /// Last byte of the request.
    pub(crate) request_ended: Option<Time>,
    /// First byte of the response.
    pub(crate) response_started: Option<Time>,
    /// Last byte of the response.
    pub(crate) response_ended: Option<Time>,
    /// Last byte that was seen of either.
    pub(crate) last_seen: Time,
}

impl Times {
    pub(crate) fn new(started: Time) -> Self {
        Self {
            started,
            expecting: None,
            expected: None,
            request_ended: None,
            response_started: None,
            response_ended: None,
            last_seen: started,
        }
    }

    /// Notes that a request that expects 100 has a response, or goes on without one.
    pub(crate) fn end_expecting(&mut self, time: Time) {
        if self.expecting.is_some() {
            self.expected.get_or_insert(time);
        }
    }

    /// What is recorded of them; `previous_ended` is when the connection's exchange before this one ended.
    #[inline]
    pub(crate) fn timing(&self, previous_ended: Option<Time>) -> Timing {
        let Self { started, expecting, expected, request_ended, response_started, response_ended, last_seen } =
            *self;
        let us = |from: Option<Time>, to: Option<Time>| Some(to?.micros_since(from?));
        Timing {
            started,
            send_us: us(Some(started), request_ended),
            wait_us: us(request_ended, response_started),
            receive_us: us(response_started, response_ended),
            total_us: last_seen.micros_since(started),
            idle_us: us(previous_ended, Some(started)),
            response_us: us(
                Some(started),
                response_started
                    .filter(|response| Some(*response) < request_ended || request_ended.is_none()),
            ),
            expect_us: us(expecting, expected.or(Some(last_seen))),
            informational_us: Vec::new(),
            stalls: None,
        }
    }
}
