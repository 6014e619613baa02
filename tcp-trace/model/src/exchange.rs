//! A request and its response, with their times, of any version of HTTP.

use std::{borrow::Cow, fmt, str::FromStr};

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    fields::Fields,
    text::{Text, Word},
    time::Time,
};

/// What stands in place of a credential.
pub const REDACTED: &str = "«redacted»";
/// Header fields whose values are credentials.
const CREDENTIALS: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "set-cookie"];

/// Why something is as it is, in words. What it quotes of the network is escaped and short.
pub type Reason = Cow<'static, str>;

/// A request with its response; either can be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Position on the connection, from 0.
    pub index: u64,
    /// The request.
    pub request: Option<Request>,
    /// Status codes of the interim responses (1xx) before the response, of which the first 32.
    pub informational: Vec<u16>,
    /// The final response.
    pub response: Option<Response>,
    /// The request's target, taken apart.
    pub url: Option<Url>,
    /// When and how long.
    pub timing: Timing,
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
    /// Whether the connection had carried an exchange before, when known.
    pub reused: Option<bool>,
    /// The frames that followed, when it opened a WebSocket.
    pub websocket: Option<Box<WebSocket>>,
}

impl Default for Exchange {
    fn default() -> Self {
        Self {
            index: 0,
            request: None,
            informational: Vec::new(),
            response: None,
            url: None,
            timing: Timing::default(),
            integrity: Integrity::Complete,
            outcome: Outcome::Ok,
            reason: None,
            ended: None,
            missing: None,
            reused: None,
            websocket: None,
        }
    }
}

impl Exchange {
    /// The version of HTTP, when known: the request's, or the response's when there is no request.
    pub fn version(&self) -> Option<Version> {
        match &self.request {
            Some(request) => request.version,
            None => self.response.as_ref()?.version,
        }
    }

    /// The response's version, where it is another one.
    pub fn other_version(&self) -> Option<Version> {
        let response = self.response.as_ref()?.version;
        response.filter(|_| response != self.version())
    }

    /// Replaces the values of header fields that are credentials.
    pub fn redact(&mut self) {
        let request = self.request.as_mut().map(|request| &mut request.headers);
        let response = self.response.as_mut().map(|response| &mut response.headers);
        for headers in [request, response].into_iter().flatten() {
            headers.redact(&CREDENTIALS, REDACTED);
        }
    }
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct Version {
    /// Major version.
    pub major: u8,
    /// Minor version; 0 from HTTP/2 on, which has none.
    pub minor: u8,
}

impl Version {
    /// HTTP/1 with this minor version.
    pub const fn http1(minor: u8) -> Self {
        Self { major: 1, minor }
    }
}

impl Default for Version {
    fn default() -> Self {
        Self::http1(1)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { major, minor: 0 } if *major > 1 => write!(f, "{major}"),
            Self { major, minor } => write!(f, "{major}.{minor}"),
        }
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        match (major.parse(), minor.parse()) {
            (Ok(major), Ok(minor)) => Ok(Self { major, minor }),
            _ => Err(format!("{text:?} is not a version of HTTP like \"1.1\"")),
        }
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Word::deserialize(deserializer)?.0.parse().map_err(D::Error::custom)
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Request {
    /// The method token.
    pub method: Text,
    /// The request target as it was sent (RFC 9112, section 3.2).
    pub target: Text,
    /// The version that it names, when that is one of HTTP. A recording has it as that of the exchange.
    #[serde(skip)]
    pub version: Option<Version>,
    /// Header fields; values of credentials are replaced by `«redacted»`.
    pub headers: Fields,
    /// Bytes from the request line to the empty line.
    pub header_size: u64,
    /// The body.
    pub body: Body,
}

impl Request {
    /// The parts of the target in each of its four forms (RFC 9112, section 3.2).
    pub fn url(&self) -> Url {
        let target = &self.target.0;
        let host = self.headers.first_shared("host").map(Text);
        if *self.method.0 == *b"CONNECT" {
            return Url {
                scheme: None,
                host: Some(Text(target.clone())),
                path: Text::default(),
                query: None,
            };
        }
        if **target == *b"*" {
            return Url { scheme: None, host, path: Text(target.clone()), query: None };
        }
        if !target.starts_with(b"/")
            && let Some((scheme, rest)) = split_once(target, b"://")
        {
            let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
            let (authority, rest) = (rest.slice(..end), rest.slice(end..));
            let (path, query) = path_and_query(&rest);
            return Url { scheme: Some(Text(scheme)), host: Some(Text(authority)), path, query };
        }
        let (path, query) = path_and_query(target);
        Url { scheme: Some(Text(Bytes::from_static(b"http"))), host, path, query }
    }
}

fn path_and_query(target: &Bytes) -> (Text, Option<Text>) {
    match memchr::memchr(b'?', target) {
        Some(at) => (Text(target.slice(..at)), Some(Text(target.slice(at + 1..)))),
        None => (Text(target.clone()), None),
    }
}

fn split_once(text: &Bytes, separator: &[u8]) -> Option<(Bytes, Bytes)> {
    let at = memchr::memmem::find(text, separator)?;
    Some((text.slice(..at), text.slice(at + separator.len()..)))
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Response {
    /// Status code.
    pub status_code: u16,
    /// Reason phrase; may be empty.
    pub reason: Text,
    /// The version that it names; in a recording only where it is not the request's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub version: Option<Version>,
    /// Header fields; values of credentials are replaced by `«redacted»`.
    pub headers: Fields,
    /// Bytes from the status line to the empty line.
    pub header_size: u64,
    /// The body.
    pub body: Body,
}

/// The body of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// First byte of the request to the first of the response, where `send_us` and `wait_us` do not tell: the response began before
    /// the request had ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_us: Option<u64>,
    /// First byte of the request to the first of each interim response, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub informational_us: Vec<u64>,
    /// How much of this was lost on the way; absent if nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalls: Option<Stalls>,
}

impl Timing {
    /// From the first byte of the request to the first of the response, when known.
    pub fn until_response_us(&self) -> Option<u64> {
        let phases = || Some(self.send_us?.saturating_add(self.wait_us?));
        self.response_us.or_else(phases)
    }
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
    #[serde(default, skip_serializing_if = "crate::omit::is_zero")]
    pub retransmits: u64,
    /// Segments that reached this end after later ones: sent again, or overtaken.
    #[serde(default, skip_serializing_if = "crate::omit::is_zero")]
    pub out_of_order: u64,
    /// Time during which a segment was under way that was retransmitted or out of order, in microseconds: from when
    /// it was first sent to when it was last sent, or from the arrival of a later one to its own.
    #[serde(default, skip_serializing_if = "crate::omit::is_zero")]
    pub retransmit_us: u64,
    /// Time during which the receiver's window was 0, in microseconds.
    #[serde(default, skip_serializing_if = "crate::omit::is_zero")]
    pub zero_window_us: u64,
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
    /// Bytes were transferred that were not seen.
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
    /// The connection was reset before both messages were complete.
    Reset,
    /// The response began, and the connection or the session ended before it did.
    Truncated,
    /// The connection switched to another protocol.
    Upgraded,
    /// A message is illegal or ambiguous (RFC 9112); what follows it on its direction is not read.
    Invalid,
}

/// One of the two messages of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// What the client sends.
    Request,
    /// What the server sends.
    Response,
}

/// A part of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Nothing of it was seen.
    None,
    /// Start line and header section.
    Head,
    /// The body.
    Body,
}

/// Where an exchange was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Ended {
    /// In which message.
    pub message: Message,
    /// In which part of it.
    pub part: Part,
    /// Bytes of that part that were transferred; for a body, without the framing of the chunked coding.
    pub offset: u64,
}

/// The frames of a WebSocket, each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WebSocket {
    /// What the client sent.
    pub client: Frames,
    /// What the server sent.
    pub server: Frames,
}

/// The frames of one direction, by opcode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Frames {
    /// Continuations of a fragmented message.
    #[serde(default)]
    pub continuation: u64,
    /// Text.
    #[serde(default)]
    pub text: u64,
    /// Binary.
    #[serde(default)]
    pub binary: u64,
    /// Close.
    #[serde(default)]
    pub close: u64,
    /// Ping.
    #[serde(default)]
    pub ping: u64,
    /// Pong.
    #[serde(default)]
    pub pong: u64,
    /// Payload of all of them, in bytes.
    #[serde(default)]
    pub bytes: u64,
    /// The status code of the close frame (section 7.4), when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close_code: Option<u16>,
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
