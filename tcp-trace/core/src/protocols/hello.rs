//! The beginning of TLS: the client's first message, for the name of the server in it.

use tcp_trace_model::event::Direction;

use super::{Cx, Layer, Step, Switch};
use crate::{
    stream::Chunk,
    tls::{self, CLIENT_HELLO_MAX, Hello},
};

/// A ClientHello that is not whole yet.
#[derive(Debug)]
pub struct ClientHello {
    client: Direction,
    bytes: Vec<u8>,
}

impl ClientHello {
    pub(super) fn new(client: Direction) -> Self {
        Self { client, bytes: Vec::new() }
    }

    pub(super) fn input<'a>(&mut self, direction: Direction, chunk: Chunk<'a>, cx: &mut Cx<'_>) -> Step<'a> {
        if direction != self.client {
            return Step::Stay;
        }
        if let Chunk::Bytes { bytes, .. } = chunk {
            self.bytes.extend_from_slice(bytes);
            match tls::server_name(&self.bytes) {
                Hello::Partial if self.bytes.len() < CLIENT_HELLO_MAX => return Step::Stay,
                Hello::Named(name) => cx.found.server_name = Some(name),
                Hello::Partial | Hello::None => {}
            }
        }
        Switch::to(Layer::Opaque)
    }
}
