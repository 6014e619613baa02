//! The beginning of TLS: the client's first message, for the name of the server in it.

use tcp_trace_model::{event::Direction, time::Time};

use super::{
    Cx, First, Guess, Protocol, Start, Step,
    opening::{FIRST_MAX, Opening},
};
use crate::{
    http::ConnectionEnd,
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
    /// The first bytes of what came meanwhile from the server, which may answer before it has all.
    answer: Vec<u8>,
}

impl Protocol for ClientHello {
    fn guess(first: &First<'_>) -> Guess {
        if first.is_client && first.bytes[0] == HANDSHAKE { Guess::Yes } else { Guess::No }
    }

    fn new(start: Start) -> Self {
        Self { start, bytes: Vec::new(), answer: Vec::new() }
    }

    fn input<'a>(&mut self, direction: Direction, chunk: Chunk<'a>, cx: &mut Cx<'_>) -> Step<'a> {
        match chunk {
            Chunk::Bytes { bytes, .. } if self.start.client == Some(direction) => {
                self.bytes.extend_from_slice(bytes);
                match tls::server_name(&self.bytes) {
                    Hello::Partial if self.bytes.len() < CLIENT_HELLO_MAX => return Step::Stay,
                    // What a tunnel leads to is not this connection's server.
                    Hello::Named(name) if !self.start.is_tunnel => cx.found.server_name = Some(name),
                    Hello::Partial | Hello::None | Hello::Named(_) => {}
                }
            }
            Chunk::Bytes { bytes, .. } => {
                let room = FIRST_MAX - self.answer.len();
                self.answer.extend_from_slice(&bytes[..bytes.len().min(room)]);
                return Step::Stay;
            }
            _ if self.start.client == Some(direction) => {}
            _ => return Step::Stay,
        }
        // Whether the server speaks TLS too, its answer shows.
        self.opening().go_on(cx)
    }

    fn finish(&mut self, _: Time, _: ConnectionEnd, cx: &mut Cx<'_>) {
        self.opening().conclude(cx);
    }
}

impl ClientHello {
    /// What is known of the first bytes.
    fn opening(&self) -> Opening {
        let mut first: [&[u8]; 2] = [&[]; 2];
        if let Some(client) = self.start.client {
            first[client.index()] = &self.bytes;
            first[client.opposite().index()] = &self.answer;
        }
        Opening::of(self.start.client, first)
    }
}
