//! A request and its response, with their times, of any version of HTTP.

mod version;

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use self::version::Version;
use crate::{
    fields::Fields,
    http2::{self, GrpcStatus},
    plaintext::ExchangeTls,
    text::Text,
    time::Time,
};

/// What stands in place of a credential.
pub const REDACTED: &str = "«redacted»";
/// Header fields whose values are credentials.
const CREDENTIALS: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "set-cookie"];

/// The reason of an exchange that was not over when the session ended.
pub const SESSION_ENDED: &str = "the session ended";

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
    /// Its stream, of HTTP/2.
    pub stream: Option<Box<http2::Stream>>,
    /// That it was read from a TLS library's calls, and why it belongs to its connection.
    pub tls: Option<ExchangeTls>,
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
            stream: None,
            tls: None,
        }
    }
}

impl Exchange {
    /// When its response, as far as it came, had been sent or had arrived; `None` when there was none. Where it broke off, that is
    /// when it began: what came last is the end of the connection.
    pub fn answered(&self) -> Option<Time> {
        self.response.as_ref()?;
        let Timing { started, total_us, .. } = self.timing;
        let is_cut = self.ended.is_some_and(|ended| ended.message == Message::Response);
        let us = if is_cut { self.timing.until_response_us()? } else { total_us };
        // Microseconds are cut off.
        Some(Time(started.0.saturating_add(us.saturating_add(1).saturating_mul(1_000))))
    }

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

    /// Whether it failed: it ended without a whole response, as far as was seen, a message of it is illegal, the server says that it
    /// failed itself (5xx), or its gRPC status is another than OK. One that was not over when the session ended has not.
    pub fn has_failed(&self) -> bool {
        let is_server_error = self.response.as_ref().is_some_and(|response| response.status_code >= 500);
        let grpc = self.stream.as_ref().and_then(|stream| stream.grpc.as_ref());
        let is_grpc_error = grpc.and_then(|grpc| grpc.status).is_some_and(|status| status != GrpcStatus::OK);
        is_server_error || is_grpc_error || self.is_broken()
    }

    fn is_broken(&self) -> bool {
        match self.outcome {
            Outcome::Ok | Outcome::Upgraded => false,
            Outcome::Reset | Outcome::Invalid => true,
            Outcome::NoResponse | Outcome::Truncated => {
                self.integrity != Integrity::Gap && !self.is_unfinished()
            }
        }
    }

    /// Whether it was not over when the session ended.
    pub fn is_unfinished(&self) -> bool {
        self.reason.as_deref().is_some_and(|reason| reason.ends_with(SESSION_ENDED))
    }

    /// Whether a frame of HTTP/2 ended it, and not the end of its connection.
    pub fn is_ended_by_frame(&self) -> bool {
        let Some(stream) = &self.stream else { return false };
        let is_cut = self.reason.as_deref() == Some(http2::CUT);
        stream.details.reset.is_some() || stream.details.goaway.is_some() || is_cut
    }

    /// What is said of its stream, of HTTP/2, where there is something to say.
    pub fn stream_details(&self) -> Option<&http2::StreamDetails> {
        let details = &self.stream.as_ref()?.details;
        Some(details).filter(|details| **details != http2::StreamDetails::default())
    }

    /// Replaces the values of header fields that are credentials.
    pub fn redact(&mut self) {
        let request = self.request.as_mut().map(|request| &mut request.headers);
        let response = self.response.as_mut().map(|response| &mut response.headers);
        let details = self.stream.as_mut().map(|stream| &mut stream.details);
        let never_indexed = details.as_ref().map_or_else(Vec::new, |details| details.never_indexed.clone());
        let trailers = details.map(|details| [&mut details.request_trailers, &mut details.response_trailers]);
        let is_of_stream = trailers.is_some();
        for headers in [request, response].into_iter().flatten().chain(trailers.into_iter().flatten()) {
            headers.redact(&CREDENTIALS, REDACTED);
            if is_of_stream {
                // Nobody can say that these are none.
                headers.redact(&[http2::UNKNOWN], REDACTED);
                let names: Vec<&[u8]> = never_indexed.iter().map(|name| &*name.0).collect();
                headers.redact(&names, REDACTED);
            }
        }
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Request {
    /// The method token; `:method`.
    pub method: Text,
    /// The request target as it was sent (RFC 9112, section 3.2); `:path`, or of a plain CONNECT `:authority`.
    pub target: Text,
    /// The version that it names, when that is one of HTTP. A recording has it as that of the exchange.
    #[serde(skip)]
    pub version: Option<Version>,
    /// Header fields; values of credentials are replaced by `«redacted»`. Of HTTP/2, pseudo-header fields too.
    pub headers: Fields,
    /// Bytes from the request line to the empty line; of HTTP/2, of the compressed fields.
    pub header_size: u64,
    /// The body.
    pub body: Body,
}

impl Request {
    /// The parts of the target in each of its four forms (RFC 9112, section 3.2).
    pub fn url(&self) -> Url {
        let target = &self.target.0;
        let field = |name| self.headers.first_shared(name).map(Text);
        if self.version == Some(Version::HTTP2) {
            let is_tunnel = *self.method.0 == *b"CONNECT" && self.headers.first(":protocol").is_none();
            let (path, query) = if is_tunnel { Default::default() } else { path_and_query(target) };
            let host = field(":authority").or_else(|| field("host"));
            return Url { scheme: field(":scheme"), host, path, query };
        }
        let host = field("host");
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
    /// Reason phrase; may be empty, and is of HTTP/2.
    pub reason: Text,
    /// The version that it names; in a recording only where it is not the request's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub version: Option<Version>,
    /// Header fields; values of credentials are replaced by `«redacted»`.
    pub headers: Fields,
    /// Bytes from the status line to the empty line; of HTTP/2, of the compressed fields.
    pub header_size: u64,
    /// The body.
    pub body: Body,
    /// Which bytes of its direction it is, once it is whole. A recording does not say.
    #[serde(skip)]
    pub place: Range<u64>,
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
    /// `http`; absent for `CONNECT` and `*`. Of HTTP/2, `:scheme`.
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
    /// Of a request that expects 100 before its body: from its head until a response began, interim or final, or the body began
    /// without one, or else to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_us: Option<u64>,
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
    /// The connection was reset before both messages were complete, or the stream of HTTP/2 was.
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
    /// The trailer section behind a chunked body, which is whole itself.
    Trailer,
}

impl Part {
    /// What it is called in words; empty for [`Part::None`].
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Head => "head",
            Self::Body => "body",
            Self::Trailer => "trailer",
        }
    }
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
