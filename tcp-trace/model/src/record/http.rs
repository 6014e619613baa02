//! The `http` line: one request and its response.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{ConnectionId, Endpoint, NetworkType, Process, Text};
use crate::{event::Role, time::Time};

pub use crate::{
    exchange::{Ended, Frames, Integrity, Message, Outcome, Part, WebSocket},
    fields::Fields,
};

/// One HTTP exchange, written when its response or its connection ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Http {
    /// When the exchange was complete.
    pub time: Time,
    /// The connection that carried it.
    pub connection: ConnectionId,
    /// Position on the connection, from 0.
    pub index: u64,
    /// Whether this end sent the request or the response, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Protocol and addresses.
    pub network: HttpNetwork,
    /// Request and response.
    pub http: Messages,
    /// The request's target, taken apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Url>,
    /// The connection's process, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// When and how long.
    pub timing: Timing,
    /// Whether all bytes were seen.
    pub integrity: Integrity,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it is not `ok`, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where it was cut off, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// Bytes of a body of declared length that did not arrive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<u64>,
    /// Whether the connection had carried an exchange before, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reused: Option<bool>,
    /// The frames that followed, when it opened a WebSocket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub websocket: Option<Box<WebSocket>>,
}

/// The protocol of an exchange and the ends of its connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HttpNetwork {
    /// Name and version.
    pub protocol: Protocol,
    /// IP version.
    #[serde(rename = "type")]
    pub kind: NetworkType,
    /// The end that reports.
    pub local: Endpoint,
    /// The other end.
    pub peer: Endpoint,
}

/// An application protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Protocol {
    /// `http`.
    pub name: Cow<'static, str>,
    /// `1.0` or `1.1`.
    pub version: Cow<'static, str>,
}

/// The two messages of an exchange; either can be missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Messages {
    /// The request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
    /// Status codes of the interim responses (1xx) before the response, of which the first 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub informational: Vec<u16>,
    /// The response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Response>,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Request {
    /// The method token.
    pub method: Text,
    /// The request target as it was sent (RFC 9112, section 3.2).
    pub target: Text,
    /// Header fields; values of credentials are replaced by `«redacted»`.
    pub headers: Fields,
    /// Bytes from the request line to the empty line.
    pub header_size: u64,
    /// The body.
    pub body: Body,
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Response {
    /// Status code.
    pub status_code: u16,
    /// Reason phrase; may be empty.
    pub reason: Text,
    /// Header fields; values of credentials are replaced by `«redacted»`.
    pub headers: Fields,
    /// Bytes from the status line to the empty line.
    pub header_size: u64,
    /// The body.
    pub body: Body,
}

/// The body of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Body {
    /// Bytes, without the framing of the chunked coding.
    pub size: u64,
}

/// The request's target (RFC 9112, section 3.2) with the authority of its Host field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Url {
    /// `http`; absent for `CONNECT` and `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Text>,
    /// Host and port as the request names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Text>,
    /// Path.
    pub path: Text,
    /// Query, without the question mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<Text>,
}

/// Where the time went. All in microseconds; a part that has not ended is absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Timing {
    /// First byte of the request (of the response, when no request was seen).
    pub started: Time,
    /// First to last byte of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_us: Option<u64>,
    /// Last byte of the request to the first of the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_us: Option<u64>,
    /// First to last byte of the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receive_us: Option<u64>,
    /// First byte of the request to the last byte seen.
    pub total_us: u64,
    /// How long the connection was idle before this exchange: from the last byte of the previous one, or from
    /// ESTABLISHED, to the first of this one; 0 when they overlap, absent when that was not seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_us: Option<u64>,
    /// How much of this was lost on the way; absent if nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalls: Option<Stalls>,
}

/// Time that an exchange lost on the way, by phase. For a phase that has not ended, it lasts to the end of the
/// exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Stalls {
    /// Of `send_us`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send: Option<Stall>,
    /// Of `wait_us`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Stall>,
    /// Of `receive_us`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receive: Option<Stall>,
}

/// Time that a phase lost. Each moment counts once in each of the two durations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Stall {
    /// Segments that this end sent again.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub retransmits: u64,
    /// Segments that reached this end after later ones: sent again, or overtaken.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub out_of_order: u64,
    /// Time during which a segment was under way that was retransmitted or out of order, in microseconds: from when
    /// it was first sent to when it was last sent, or from the arrival of a later one to its own.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub retransmit_us: u64,
    /// Time during which the receiver's window was 0, in microseconds.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub zero_window_us: u64,
}
