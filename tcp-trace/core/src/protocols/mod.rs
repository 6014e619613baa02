//! What a connection's bytes mean: the layer that reads them, and the layer that follows it. Pure.
//!
//! A layer takes [`Chunk`]s, never segments: so it can read whatever yields bytes by offset. To add a protocol, see
//! CONTRIBUTING.md.

mod hello;
mod sniff;
#[cfg(test)]
mod tests;

use hello::ClientHello;
pub use sniff::Sniff;
use tcp_trace_model::{event::Direction, time::Time};

use crate::{
    dns::{StreamMessage, Streams},
    http::{Cause, ConnectionEnd, Exchange, HttpConnection},
    stream::{Chunk, Need},
};

/// What layers found. Whoever reads it takes it out.
#[derive(Debug, Default)]
pub struct Found {
    /// HTTP exchanges that are over.
    pub exchanges: Vec<Exchange>,
    /// DNS messages that are complete.
    pub messages: Vec<StreamMessage>,
    /// The name of the server in a ClientHello. Any bytes: nobody has checked them.
    pub server_name: Option<Vec<u8>>,
}

/// What a layer may know and change beside its chunk.
#[derive(Debug)]
pub struct Cx<'a> {
    /// Whether something of the other direction is missing that may still come.
    pub is_other_incomplete: bool,
    /// Takes what the layer finds.
    pub found: &'a mut Found,
}

/// The layer that reads a connection. Boxed, because most connections are idle.
#[derive(Debug)]
pub enum Layer {
    /// Which protocol it is, is not known yet.
    Sniff(Box<Sniff>),
    /// The beginning of TLS.
    Tls(Box<ClientHello>),
    /// HTTP/1 and WebSocket, or what may be HTTP/1.
    Http1(Box<HttpConnection>),
    /// DNS.
    Dns(Box<Streams>),
    /// Nothing reads the rest.
    Opaque,
}

/// What comes of a chunk.
#[derive(Debug)]
enum Step<'a> {
    /// The layer goes on.
    Stay,
    /// Another layer reads from here on.
    Switch(Switch<'a>),
}

/// A change of layers.
#[derive(Debug)]
struct Switch<'a> {
    /// What reads from now on.
    to: Layer,
    /// What it gets first, in this order.
    held: Vec<HeldBack>,
    /// What it gets then: what is left of the chunk.
    rest: Option<Chunk<'a>>,
}

/// Bytes that a layer held back.
#[derive(Debug)]
struct HeldBack {
    direction: Direction,
    offset: u64,
    bytes: Vec<u8>,
    time: Time,
}

impl Layer {
    /// Takes what comes next in a direction.
    #[inline]
    pub fn input(&mut self, direction: Direction, chunk: Chunk<'_>, cx: &mut Cx<'_>) {
        let step = match self {
            Self::Http1(http) => {
                http.input(direction, chunk, cx.is_other_incomplete, &mut cx.found.exchanges);
                if http.is_http() != Some(false) {
                    return;
                }
                Switch::to(Self::Opaque)
            }
            Self::Sniff(sniff) => sniff.input(direction, chunk),
            Self::Tls(hello) => hello.input(direction, chunk, cx),
            Self::Dns(streams) => {
                streams.input(direction, chunk, &mut cx.found.messages);
                if !streams.is_over() {
                    return;
                }
                Switch::to(Self::Opaque)
            }
            Self::Opaque => return,
        };
        if let Step::Switch(switch) = step {
            self.switch(direction, switch, cx);
        }
    }

    fn switch(&mut self, direction: Direction, Switch { to, held, rest }: Switch<'_>, cx: &mut Cx<'_>) {
        *self = to;
        for HeldBack { direction, offset, bytes, time } in held {
            self.input(direction, Chunk::Bytes { offset, bytes: &bytes, time }, cx);
        }
        if let Some(rest) = rest {
            self.input(direction, rest, cx);
        }
    }

    /// Which bytes of a direction are needed.
    #[inline]
    pub fn need(&self, direction: Direction) -> Need {
        match self {
            Self::Http1(http) => http.need(direction),
            Self::Sniff(_) | Self::Tls(_) | Self::Dns(_) => Need::All,
            Self::Opaque => Need::Nothing,
        }
    }

    /// Ends the connection.
    pub fn finish(&mut self, time: Time, end: ConnectionEnd, cx: &mut Cx<'_>) {
        if let Self::Http1(http) = self {
            http.finish(time, end, &mut cx.found.exchanges);
        }
    }

    /// Whether the message that a direction is in lasts until the direction ends.
    pub fn lasts_until_fin(&self, direction: Direction) -> bool {
        matches!(self, Self::Http1(http) if http.lasts_until_fin(direction))
    }

    /// Notes that bytes of a direction did not get on from `from` to `to`, which is now.
    pub fn stalled(&mut self, direction: Direction, cause: Cause, from: Time, to: Time) {
        if let Self::Http1(http) = self {
            http.stalled(direction, cause, from, to);
        }
    }

    /// Which way the client's bytes go, where its messages show that.
    pub fn client_direction(&self) -> Option<Direction> {
        match self {
            Self::Http1(http) => http.requests(),
            _ => None,
        }
    }
}

impl<'a> Switch<'a> {
    /// A layer that gets nothing of what came before.
    fn to(to: Layer) -> Step<'a> {
        Step::Switch(Self { to, held: Vec::new(), rest: None })
    }

    /// A layer that reads from this chunk on.
    fn from(to: Layer, rest: Chunk<'a>) -> Step<'a> {
        Step::Switch(Self { to, held: Vec::new(), rest: Some(rest) })
    }
}
