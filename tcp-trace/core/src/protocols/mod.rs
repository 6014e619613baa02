//! What a connection's bytes mean: the layer that reads them, and the layer that follows it. Pure.
//!
//! A layer takes [`Chunk`]s, never segments: so it can read whatever yields bytes by offset. To add one, see
//! CONTRIBUTING.md.

mod dns;
mod found;
mod http1;
mod http2;
#[cfg(test)]
mod http2_tests;
mod opening;
mod prefix;
mod signatures;
mod sniff;
mod socks5;
#[cfg(test)]
mod tests;
mod tls;

use tcp_trace_model::{event::Direction, time::Time};

pub use self::found::{Cx, Found};
pub(crate) use self::signatures::may_go_over_to_tls;
pub use self::sniff::Start;
use self::sniff::{First, Guess, Sniff};
use crate::{
    http::{Cause, ConnectionEnd, HttpConnection},
    stream::{Chunk, Need},
};

/// Changes of layers that one chunk may bring about. Real connections have few headers and tunnels in each other; more are made up
/// to cost time, and are not read.
const SWITCHES_MAX: u8 = 16;

/// A protocol that a layer reads.
trait Protocol: Sized {
    /// Whether it may be what begins with these bytes.
    fn guess(first: &First<'_>) -> Guess;

    /// A layer that gets all from those bytes on.
    fn new(start: Start) -> Self;

    /// Takes what comes next in a direction.
    fn input<'a>(&mut self, direction: Direction, chunk: Chunk<'a>, cx: &mut Cx<'_>) -> Step<'a>;

    /// Which bytes of a direction are needed.
    fn need(&self, _direction: Direction) -> Need {
        Need::All
    }

    /// Ends the connection.
    fn finish(&mut self, _time: Time, _end: ConnectionEnd, _cx: &mut Cx<'_>) {}

    /// Whether the message that a direction is in lasts until the direction ends.
    fn lasts_until_fin(&self, _direction: Direction) -> bool {
        false
    }

    /// Notes that bytes of a direction did not get on from `from` to `to`, which is now.
    fn stalled(&mut self, _direction: Direction, _cause: Cause, _from: Time, _to: Time) {}

    /// Which way the client's bytes go, where its messages show that.
    fn client(&self) -> Option<Direction> {
        None
    }
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

/// The enum of layers from the table of them. The first in the table that begins with a connection's bytes reads it.
macro_rules! layers {
    ($($(#[$doc:meta])* $name:ident($layer:ty),)*) => {
        /// The layer that reads a connection. Boxed, because most connections are idle.
        #[derive(Debug)]
        pub enum Layer {
            $($(#[$doc])* #[doc = concat!("See [`", stringify!($layer), "`].")] $name(Box<$layer>),)*
            /// Nothing reads the rest.
            Opaque,
        }

        impl Layer {
            #[inline]
            fn step<'a>(&mut self, direction: Direction, chunk: Chunk<'a>, cx: &mut Cx<'_>) -> Step<'a> {
                match self {
                    $(Self::$name(layer) => Protocol::input(&mut **layer, direction, chunk, cx),)*
                    Self::Opaque => Step::Stay,
                }
            }

            /// Which bytes of a direction are needed.
            #[inline]
            pub fn need(&self, direction: Direction) -> Need {
                match self {
                    $(Self::$name(layer) => Protocol::need(&**layer, direction),)*
                    Self::Opaque => Need::Nothing,
                }
            }

            /// Ends the connection.
            pub fn finish(&mut self, time: Time, end: ConnectionEnd, cx: &mut Cx<'_>) {
                match self {
                    $(Self::$name(layer) => Protocol::finish(&mut **layer, time, end, cx),)*
                    Self::Opaque => {}
                }
            }

            /// Whether the message that a direction is in lasts until the direction ends.
            pub fn lasts_until_fin(&self, direction: Direction) -> bool {
                match self {
                    $(Self::$name(layer) => Protocol::lasts_until_fin(&**layer, direction),)*
                    Self::Opaque => false,
                }
            }

            /// Notes that bytes of a direction did not get on from `from` to `to`, which is now.
            pub fn stalled(&mut self, direction: Direction, cause: Cause, from: Time, to: Time) {
                match self {
                    $(Self::$name(layer) => Protocol::stalled(&mut **layer, direction, cause, from, to),)*
                    Self::Opaque => {}
                }
            }

            /// Which way the client's bytes go, where its messages show that.
            pub fn client(&self) -> Option<Direction> {
                match self {
                    $(Self::$name(layer) => Protocol::client(&**layer),)*
                    Self::Opaque => None,
                }
            }

            /// What begins with these bytes; `Err` with whether more of them may tell.
            fn beginning_with(first: &First<'_>) -> Result<Self, bool> {
                let mut is_possible = false;
                $(match <$layer as Protocol>::guess(first) {
                    Guess::Yes => return Ok(Self::$name(Box::new(Protocol::new(first.start)))),
                    Guess::Maybe => is_possible = true,
                    Guess::No => {}
                })*
                Err(is_possible)
            }
        }
    };
}

layers! {
    /// Which protocol it is, is not known yet.
    Sniff(Sniff),
    /// DNS.
    Dns(crate::dns::Streams),
    /// A header of the PROXY protocol.
    Prefix(prefix::Prefix),
    /// The beginning of SOCKS5.
    Socks5(socks5::Socks5),
    /// TLS.
    Tls(tls::Tls),
    /// HTTP/2 in clear text.
    Http2(http2::Http2),
    /// HTTP/1 and WebSocket; also what nothing else begins with: it judges itself whether it is HTTP.
    Http1(HttpConnection),
    /// What none of these reads.
    Opening(opening::Opening),
}

impl Layer {
    /// What reads a connection from its first byte on.
    pub fn first(start: Start) -> Self {
        Self::Sniff(Box::new(Sniff::new(start)))
    }

    /// Takes what comes next in a direction.
    #[inline]
    pub fn input(&mut self, direction: Direction, chunk: Chunk<'_>, cx: &mut Cx<'_>) {
        if let Step::Switch(switch) = self.step(direction, chunk, cx) {
            self.switch(direction, switch, cx);
        }
    }

    fn switch(&mut self, direction: Direction, Switch { to, held, rest }: Switch<'_>, cx: &mut Cx<'_>) {
        cx.switches += 1;
        *self = if cx.switches > SWITCHES_MAX { Self::Opaque } else { to };
        for HeldBack { direction, offset, bytes, time } in held {
            self.input(direction, Chunk::Bytes { offset, bytes: &bytes, time }, cx);
        }
        if let Some(rest) = rest {
            self.input(direction, rest, cx);
        }
    }
}

impl<'a> Step<'a> {
    /// Goes over to a layer that gets nothing of what came before.
    fn to(to: Layer) -> Self {
        Self::Switch(Switch { to, held: Vec::new(), rest: None })
    }
}
