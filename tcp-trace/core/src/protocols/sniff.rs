//! Which protocol a connection's first bytes belong to.

use tcp_trace_model::{
    event::{Direction, Role},
    time::Time,
};

use super::{Cx, HeldBack, Layer, Protocol, Step, Switch, opening::Opening};
use crate::{
    http::{ConnectionEnd, HttpConnection},
    stream::Chunk,
};

/// Bytes that are held while they may be the beginning of something: more than any protocol's signature has.
/// [`Protocol::guess`](super::Protocol::guess) has to decide within them.
const HELD_MAX: usize = 64;

/// What is known before the first byte is read: of a connection, or of what a tunnel carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Which way the client's bytes go, when known.
    pub client: Option<Direction>,
    /// Whether the first byte of each direction is known, by [`Direction::index`].
    pub from_start: [bool; 2],
    /// When the connection was established, or its last exchange ended; when known.
    pub idle_since: Option<Time>,
    /// The round trip of the handshake, in microseconds, of the client's end when known.
    pub rtt_us: Option<u64>,
    /// HTTP exchanges before.
    pub exchanges: u64,
    /// Whether the server is a DNS server, by its port.
    pub is_dns: bool,
    /// Whether it is inside a tunnel.
    pub is_tunnel: bool,
}

impl Start {
    /// That of a connection whose local end is `role`.
    pub fn of_role(role: Option<Role>) -> Self {
        let client = match role {
            Some(Role::Client) => Some(Direction::Out),
            Some(Role::Server) => Some(Direction::In),
            _ => None,
        };
        Self::of_client(client)
    }

    /// That of a connection whose client's bytes go this way, if that is known.
    pub(super) fn of_client(client: Option<Direction>) -> Self {
        Self { client, ..Self::default() }
    }
}

/// The first bytes of a direction, as far as they have come.
#[derive(Clone, Copy, Debug)]
pub(super) struct First<'a> {
    /// At least one.
    pub(super) bytes: &'a [u8],
    /// Whether the client is known to have sent them. If not, the server did, before the client said anything, or the client
    /// is unknown (`start.client`).
    pub(super) is_client: bool,
    pub(super) start: Start,
}

/// Whether bytes are the beginning of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guess {
    Yes,
    /// More of them are needed.
    Maybe,
    No,
}

impl Guess {
    /// Whether `bytes` begin with `signature`.
    pub(super) fn begins(bytes: &[u8], signature: &[u8]) -> Self {
        let length = bytes.len().min(signature.len());
        match bytes[..length] == signature[..length] {
            false => Self::No,
            true if length < signature.len() => Self::Maybe,
            true => Self::Yes,
        }
    }
}

/// A connection of which it is not known what it carries.
#[derive(Debug)]
pub struct Sniff {
    start: Start,
    held: Option<HeldBack>,
}

impl Sniff {
    pub(super) fn new(start: Start) -> Self {
        Self { start, held: None }
    }

    /// What reads it when nothing begins with these bytes: it may still be HTTP. In a tunnel the client speaks first.
    fn fallback(&self, direction: Direction) -> Layer {
        let Start { client, is_tunnel, .. } = self.start;
        if is_tunnel && client != Some(direction) && self.held.is_none() {
            return Layer::Opening(Box::new(Protocol::new(self.start)));
        }
        Layer::Http1(Box::new(<HttpConnection as Protocol>::new(self.start)))
    }

    /// What the chunk and the bytes before it begin; `None` when more of them may tell.
    fn layer(&mut self, direction: Direction, chunk: Chunk<'_>) -> Option<Layer> {
        let Chunk::Bytes { offset, bytes, time } = chunk else { return Some(self.fallback(direction)) };
        let is_other = self.held.as_ref().is_some_and(|held| held.direction != direction);
        if is_other || !self.start.from_start[direction.index()] {
            return Some(self.fallback(direction));
        }
        let joined;
        let first = match &self.held {
            None => bytes,
            Some(held) => {
                joined = [&held.bytes, bytes].concat();
                &joined
            }
        };
        let is_client = self.start.client == Some(direction);
        match Layer::beginning_with(&First { bytes: first, is_client, start: self.start }) {
            Ok(layer) => Some(layer),
            Err(true) if first.len() <= HELD_MAX => {
                let new = || HeldBack { direction, offset, bytes: Vec::new(), time };
                self.held.get_or_insert_with(new).bytes.extend_from_slice(bytes);
                None
            }
            Err(_) => Some(self.fallback(direction)),
        }
    }
}

impl Protocol for Sniff {
    fn guess(_: &First<'_>) -> Guess {
        Guess::No
    }

    fn new(start: Start) -> Self {
        Self::new(start)
    }

    fn input<'a>(&mut self, direction: Direction, chunk: Chunk<'a>, _: &mut Cx<'_>) -> Step<'a> {
        match self.layer(direction, chunk) {
            None => Step::Stay,
            Some(to) => {
                Step::Switch(Switch { to, held: self.held.take().into_iter().collect(), rest: Some(chunk) })
            }
        }
    }

    fn finish(&mut self, _: Time, _: ConnectionEnd, cx: &mut Cx<'_>) {
        let mut first: [&[u8]; 2] = [&[]; 2];
        if let Some(held) = &self.held {
            first[held.direction.index()] = &held.bytes;
        }
        Opening::of(self.start.client, first).conclude(cx);
    }
}
