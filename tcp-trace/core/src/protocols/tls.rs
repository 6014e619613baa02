//! The beginning of TLS: the client's first message, for the name of the server in it.

use tcp_trace_model::event::Direction;

use super::{Cx, First, Guess, Layer, Protocol, Start, Step};
use crate::{
    stream::Chunk,
    tls::{self, CLIENT_HELLO_MAX, Hello},
};

/// `ContentType.handshake` (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// A ClientHello that is not whole yet.
#[derive(Debug)]
pub struct ClientHello {
    start: Start,
    bytes: Vec<u8>,
}

impl Protocol for ClientHello {
    fn guess(first: &First<'_>) -> Guess {
        if first.is_client && first.bytes[0] == HANDSHAKE { Guess::Yes } else { Guess::No }
    }

    fn new(start: Start) -> Self {
        Self { start, bytes: Vec::new() }
    }

    fn input<'a>(&mut self, direction: Direction, chunk: Chunk<'a>, cx: &mut Cx<'_>) -> Step<'a> {
        if self.start.client != Some(direction) {
            return Step::Stay;
        }
        if let Chunk::Bytes { bytes, .. } = chunk {
            self.bytes.extend_from_slice(bytes);
            // Record header with any version of TLS, and the message's type.
            if let [HANDSHAKE, 3, _, _, _, 1, ..] = self.bytes[..] {
                cx.found.protocol = Some("tls");
            }
            match tls::server_name(&self.bytes) {
                Hello::Partial if self.bytes.len() < CLIENT_HELLO_MAX => return Step::Stay,
                // What a tunnel leads to is not this connection's server.
                Hello::Named(name) if !self.start.is_tunnel => cx.found.server_name = Some(name),
                Hello::Partial | Hello::None | Hello::Named(_) => {}
            }
        }
        Step::to(Layer::Opaque)
    }
}
