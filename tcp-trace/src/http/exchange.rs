//! A request and its response.

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// Header fields in wire order and wire case.
pub(super) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Method token.
    pub method: Vec<u8>,
    /// Request target as sent.
    pub target: Vec<u8>,
    /// Minor version: 0 or 1.
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
    pub reason: Vec<u8>,
    /// Minor version: 0 or 1.
    pub version: u8,
    /// Header fields.
    pub headers: Fields,
    /// Bytes from the status line to the empty line.
    pub header_size: u64,
    /// Bytes of the body, without the chunked framing.
    pub body_size: u64,
}

/// Whether all bytes of an exchange were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Integrity {
    /// All of them.
    Complete,
    /// A message ended before its framing said so, or its framing is illegal.
    Truncated,
    /// Bytes passed that were not seen.
    Gap,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// There was a response.
    Ok,
    /// The connection ended, or the session did, before a response began.
    NoResponse,
    /// The connection was reset before the response was complete.
    Reset,
    /// The connection went over to another protocol.
    Upgraded,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With FINs.
    Fin,
    /// With an RST.
    Reset,
    /// It has not: the session is over.
    Unknown,
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
    /// When.
    pub timing: Timing,
}
