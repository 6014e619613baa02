//! A request and its response.

use std::borrow::Cow;

use bytes::Bytes;
use tcp_trace_model::{
    event::Direction,
    exchange::{Ended, Integrity, Outcome, WebSocket},
    fields::Fields,
    time::Time,
};

use super::stalls::Stalls;

/// Why something is as it is, in words. What it quotes of the network is escaped and short.
pub type Reason = Cow<'static, str>;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Method token.
    pub method: Bytes,
    /// Request target as sent.
    pub target: Bytes,
    /// Minor version: a digit, 0 or 1 unless somebody invents one.
    pub version: u8,
    /// Header fields.
    pub headers: Fields,
    /// Bytes from the request line to the empty line.
    pub header_size: u64,
    /// Bytes of the body, without the chunked framing.
    pub body_size: u64,
}

/// A final response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status_code: u16,
    /// Reason phrase.
    pub reason: Bytes,
    /// Minor version: a digit, 0 or 1 unless somebody invents one.
    pub version: u8,
    /// Header fields.
    pub headers: Fields,
    /// Bytes from the status line to the empty line.
    pub header_size: u64,
    /// Bytes of the body, without the chunked framing.
    pub body_size: u64,
}

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
    /// The direction of the first FIN, and when that was seen.
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
pub struct Timing {
    /// First byte of the request; of the response when there was no request.
    pub started: Time,
    /// Last byte of the request.
    pub request_ended: Option<Time>,
    /// First byte of the response.
    pub response_started: Option<Time>,
    /// Last byte of the response.
    pub response_ended: Option<Time>,
    /// Last byte that was seen of either.
    pub last_seen: Time,
}

impl Timing {
    pub(super) fn new(started: Time) -> Self {
        Self {
            started,
            request_ended: None,
            response_started: None,
            response_ended: None,
            last_seen: started,
        }
    }

    /// First to last byte of the request, microseconds.
    pub fn send_us(&self) -> Option<u64> {
        self.request_ended.map(|ended| ended.micros_since(self.started))
    }

    /// Last byte of the request to the first of the response, microseconds; 0 when that came earlier.
    pub fn wait_us(&self) -> Option<u64> {
        self.request_ended.zip(self.response_started).map(|(ended, started)| started.micros_since(ended))
    }

    /// First to last byte of the response, microseconds.
    pub fn receive_us(&self) -> Option<u64> {
        self.response_started.zip(self.response_ended).map(|(started, ended)| ended.micros_since(started))
    }

    /// First byte of the request to the last byte seen, microseconds.
    pub fn total_us(&self) -> u64 {
        self.last_seen.micros_since(self.started)
    }
}

/// A request with its response; either can be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Position on the connection, from 0.
    pub index: u64,
    /// The request.
    pub request: Option<Request>,
    /// The response.
    pub response: Option<Response>,
    /// Whether all bytes were seen.
    pub integrity: Integrity,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it is not `ok`, as text.
    pub reason: Option<Reason>,
    /// Where it was cut off, if it was.
    pub ended: Option<Ended>,
    /// Bytes of a body of declared length that did not arrive.
    pub missing: Option<u64>,
    /// Status codes of interim responses, the first [`INFORMATIONAL_MAX`](super::INFORMATIONAL_MAX).
    pub informational: Vec<u16>,
    /// The frames that followed, when it opened a WebSocket.
    pub websocket: Option<Box<WebSocket>>,
    /// Whether the connection had carried an exchange before, when known.
    pub reused: Option<bool>,
    /// From the end of the previous exchange to the beginning of this one, microseconds; 0 when they overlap.
    pub idle_us: Option<u64>,
    /// When.
    pub timing: Timing,
    /// What of that was lost, when anything was.
    pub stalls: Option<Box<Stalls>>,
}
