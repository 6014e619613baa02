//! The `http` line: one request and its response.

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    ConnectionId, ConnectionInfo, Container, Endpoint, Ends, ExchangeTls, Network, NetworkType, Process,
};
use crate::{
    event::Role,
    http2::{Grpc, Stream, StreamDetails},
    time::Time,
};

pub use crate::{
    exchange::{
        Body, Ended, Exchange, Frames, Integrity, Message, Outcome, Part, Request, Response, Stall, Stalls,
        Timing, Url, Version, WebSocket,
    },
    fields::Fields,
};

/// What the protocol of an exchange is called.
const HTTP: &str = "http";

/// One HTTP exchange, written when its response or its connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// When the exchange was complete.
    pub time: Time,
    /// The connection that carried it.
    pub connection: Arc<ConnectionInfo>,
    /// What it carried.
    pub exchange: Box<Exchange>,
}

/// One HTTP exchange, written when its response or its connection ends.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Http"))]
struct HttpLine<'a> {
    /// When the exchange was complete.
    time: Time,
    /// The connection that carried it.
    connection: ConnectionId,
    /// Position on the connection, from 0.
    index: u64,
    /// Whether this end sent the request or the response, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
    /// Protocol and addresses.
    network: HttpNetwork<'a>,
    /// Request and response.
    http: Messages<'a>,
    /// The request's target, taken apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<Cow<'a, Url>>,
    /// The connection's process, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    process: Option<Cow<'a, Process>>,
    /// The container that the process runs in, when its cgroup shows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    container: Option<Cow<'a, Container>>,
    /// The connection of the other end, if that is on this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peer_connection: Option<ConnectionId>,
    /// When and how long.
    timing: Cow<'a, Timing>,
    /// Whether all bytes were seen.
    integrity: Integrity,
    /// How it ended.
    outcome: Outcome,
    /// Why it is not `ok`, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'a, str>>,
    /// Where it was cut off, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<Ended>,
    /// Bytes of a body of declared length that did not arrive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    missing: Option<u64>,
    /// Whether the connection had carried an exchange before, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reused: Option<bool>,
    /// The frames that followed, when it opened a WebSocket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    websocket: Option<Cow<'a, WebSocket>>,
    /// What is said of its stream, of HTTP/2, where there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    http2: Option<Cow<'a, StreamDetails>>,
    /// The call, of gRPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grpc: Option<Cow<'a, Grpc>>,
    /// Of one that was read from a TLS library's calls: why it belongs to this connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls: Option<ExchangeTls>,
}

/// The protocol of an exchange and the ends of its connection.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "HttpNetwork"))]
struct HttpNetwork<'a> {
    /// Name and version.
    protocol: Protocol<'a>,
    /// IP version.
    #[serde(rename = "type")]
    kind: NetworkType,
    /// The end that reports.
    local: Endpoint,
    /// The other end.
    peer: Endpoint,
    /// Inode number of the network namespace, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    netns: Option<u32>,
    /// The addresses with which its segments leave this host, where it translates them (NAT).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    translated: Option<Ends>,
}

/// An application protocol.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Protocol"))]
struct Protocol<'a> {
    /// `http`.
    name: Cow<'a, str>,
    /// `1.0`, `1.1` or `2`; absent when not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    version: Option<Version>,
}

/// The two messages of an exchange; either can be missing.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Messages"))]
struct Messages<'a> {
    /// The identifier of its stream, of HTTP/2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stream_id: Option<u32>,
    /// The request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<Cow<'a, Request>>,
    /// Status codes of the interim responses (1xx) before the response, of which the first 32.
    #[serde(default, skip_serializing_if = "no_numbers")]
    informational: Cow<'a, [u16]>,
    /// The response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    response: Option<Cow<'a, Response>>,
}

fn no_numbers(numbers: &[u16]) -> bool {
    numbers.is_empty()
}

impl Serialize for Http {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { time, connection, exchange } = self;
        let Network { kind, local, peer, netns, translated } = connection.network.unwrap_or_default();
        let line = HttpLine {
            time: *time,
            connection: connection.id,
            index: exchange.index,
            role: connection.role,
            network: HttpNetwork {
                protocol: Protocol { name: HTTP.into(), version: exchange.version() },
                kind,
                local,
                peer,
                netns,
                translated,
            },
            http: Messages {
                stream_id: exchange.stream.as_ref().map(|stream| stream.id),
                request: exchange.request.as_ref().map(Cow::Borrowed),
                informational: (&exchange.informational).into(),
                response: exchange.response.as_ref().map(|response| match exchange.other_version() {
                    Some(_) => Cow::Borrowed(response),
                    None => Cow::Owned(Response { version: None, ..response.clone() }),
                }),
            },
            url: exchange.url.as_ref().map(Cow::Borrowed),
            process: connection.process.as_deref().map(Cow::Borrowed),
            container: connection.container.as_deref().map(Cow::Borrowed),
            peer_connection: connection.peer_connection,
            timing: Cow::Borrowed(&exchange.timing),
            integrity: exchange.integrity,
            outcome: exchange.outcome,
            reason: exchange.reason.as_deref().map(Cow::Borrowed),
            ended: exchange.ended,
            missing: exchange.missing,
            reused: exchange.reused,
            websocket: exchange.websocket.as_deref().map(Cow::Borrowed),
            http2: exchange.stream_details().map(Cow::Borrowed),
            grpc: exchange.stream.as_ref().and_then(|stream| stream.grpc.as_deref()).map(Cow::Borrowed),
            tls: exchange.tls,
        };
        line.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Http {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let line = HttpLine::deserialize(deserializer)?;
        let HttpNetwork { protocol: Protocol { version, .. }, kind, local, peer, netns, translated } =
            line.network;
        let connection = ConnectionInfo {
            role: line.role,
            network: Some(Network { kind, local, peer, netns, translated }),
            process: line.process.map(|process| Arc::new(process.into_owned())),
            container: line.container.map(|container| Arc::new(container.into_owned())),
            peer_connection: line.peer_connection,
            ..ConnectionInfo::new(line.connection)
        };
        let exchange = Exchange {
            index: line.index,
            request: line.http.request.map(|request| Request { version, ..request.into_owned() }),
            informational: line.http.informational.into_owned(),
            response: line.http.response.map(|response| {
                let response = response.into_owned();
                Response { version: response.version.or(version), ..response }
            }),
            url: line.url.map(Cow::into_owned),
            timing: line.timing.into_owned(),
            integrity: line.integrity,
            outcome: line.outcome,
            reason: line.reason.map(|reason| reason.into_owned().into()),
            ended: line.ended,
            missing: line.missing,
            reused: line.reused,
            websocket: line.websocket.map(|websocket| Box::new(websocket.into_owned())),
            stream: line.http.stream_id.map(|id| {
                Box::new(Stream {
                    id,
                    details: line.http2.map(Cow::into_owned).unwrap_or_default(),
                    grpc: line.grpc.map(|grpc| Box::new(grpc.into_owned())),
                })
            }),
            tls: line.tls,
        };
        Ok(Self { time: line.time, connection: Arc::new(connection), exchange: Box::new(exchange) })
    }
}

#[cfg(test)]
impl schemars::JsonSchema for Http {
    fn schema_name() -> Cow<'static, str> {
        "Http".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        HttpLine::json_schema(generator)
    }
}
