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
}

/// The end of a connection, with the FINs that were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionEnd {
    /// How it ended.
    pub end: End,
    /// The direction of the FIN that ended it, and when that was seen: the first one, or the second after a half-close.
    pub first_fin: Option<(Direction, Time)>,
    /// Whether a FIN of each direction was seen, by [`Direction::index`].
    pub has_fin: [bool; 2],
}

impl ConnectionEnd {
    /// An end without FINs.
    pub fn without_fin(end: End) -> Self {
        Self { end, first_fin: None, has_fin: [false; 2] }
    }
}

/// When the parts of an exchange began and ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    /// First byte of the request; of the response when there was no request.
    pub(super) started: Time,
    /// Last byte of the request.
    pub(super) request_ended: Option<Time>,
    /// First byte of the response.
    pub(super) response_started: Option<Time>,
    /// Last byte of the response.
    pub(super) response_ended: Option<Time>,
    /// Last byte that was seen of either.
    pub(super) last_seen: Time,
}

impl Times {
    pub(super) fn new(started: Time) -> Self {
        Self {
            started,
            request_ended: None,
            response_started: None,
            response_ended: None,
            last_seen: started,
        }
    }

    /// What is recorded of them; `previous_ended` is when the connection's exchange before this one ended.
    #[inline]
    pub(super) fn timing(&self, previous_ended: Option<Time>) -> Timing {
        let Self { started, request_ended, response_started, response_ended, last_seen } = *self;
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
            informational_us: Vec::new(),
            stalls: None,
        }
    }
}
