//! TLS: what it says in the clear. What it carries is encrypted, and no layer reads it.

use tcp_trace_model::{
    event::Direction,
    record::{TlsEnd, TlsOutcome},
    time::Time,
};

use super::{
    Cx, First, Guess, Protocol, Start, Step,
    opening::{FIRST_MAX, Opening},
};
use crate::{
    http::{ConnectionEnd, End},
    stream::{Chunk, Need},
    tls::{Progress, Session},
};

/// `ContentType.handshake` (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// A connection that begins with a ClientHello.
#[derive(Debug)]
pub struct Tls {
    start: Start,
    session: Session,
    /// The first bytes of both directions, by [`Direction::index`], until the server has answered with TLS.
    first: [Vec<u8>; 2],
    /// Whether the end of the handshake was found.
    has_ended: bool,
}

impl Protocol for Tls {
    fn guess(first: &First<'_>) -> Guess {
        if first.is_client && first.bytes[0] == HANDSHAKE { Guess::Yes } else { Guess::No }
    }

    fn new(start: Start) -> Self {
        Self { start, session: Session::new(), first: [Vec::new(), Vec::new()], has_ended: false }
    }

    fn input<'a>(&mut self, direction: Direction, chunk: Chunk<'a>, cx: &mut Cx<'_>) -> Step<'a> {
        let end = self.end_of(direction);
        let had_hello = self.session.has_hello();
        match chunk {
            Chunk::Bytes { bytes, .. } if !self.session.has_answer() => {
                let first = &mut self.first[direction.index()];
                let room = FIRST_MAX.saturating_sub(first.len());
                first.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            Chunk::Bytes { .. } => {}
            // What the client has said is not known.
            _ if !had_hello && end == TlsEnd::Client => return self.opening().go_on(cx),
            _ => {}
        }
        let progress = self.session.input(end, chunk);
        if !had_hello && self.session.has_hello() {
            cx.found.protocol = Some("tls");
            // What a tunnel leads to is not this connection's server.
            if !self.start.is_tunnel {
                cx.found.server_name =
                    self.session.tls().client.server_name.as_ref().map(|name| name.0.to_vec());
            }
        }
        if self.session.has_answer() {
            self.first = [Vec::new(), Vec::new()];
        }
        match progress {
            Progress::Stays => Step::Stay,
            Progress::Ended(time) => {
                self.end_handshake(time, cx);
                Step::Stay
            }
            Progress::NoHello => self.opening().go_on(cx),
            Progress::OtherAnswer => {
                self.conclude(chunk_time(chunk), true, cx);
                self.opening().go_on(cx)
            }
        }
    }

    fn need(&self, direction: Direction) -> Need {
        self.session.need(self.end_of(direction))
    }

    fn finish(&mut self, time: Time, end: ConnectionEnd, cx: &mut Cx<'_>) {
        if !self.session.has_hello() {
            self.opening().conclude(cx);
        }
        let is_over = matches!(end.end, End::Fin | End::Reset(_) | End::Failed(_));
        self.conclude(time, is_over, cx);
    }
}

impl Tls {
    fn end_of(&self, direction: Direction) -> TlsEnd {
        if self.start.client == Some(direction) { TlsEnd::Client } else { TlsEnd::Server }
    }

    /// What is known of the first bytes.
    fn opening(&self) -> Opening {
        Opening::of(self.start.client, self.first.each_ref().map(Vec::as_slice))
    }

    fn end_handshake(&mut self, time: Time, cx: &mut Cx<'_>) {
        self.has_ended = true;
        cx.found.tls_handshake = Some((time, Box::new(self.session.tls().clone())));
        // They are many, and that line has them.
        self.session.forget_lists();
    }

    /// Says what is known in the end.
    fn conclude(&mut self, time: Time, is_over: bool, cx: &mut Cx<'_>) {
        let is_client = self.start.client == Some(Direction::Out);
        if !self.session.has_hello() {
            return;
        }
        if is_over {
            self.session.end();
        }
        if !self.has_ended && self.session.tls().outcome != TlsOutcome::Open {
            self.end_handshake(time, cx);
        }
        self.session.forget_lists();
        cx.found.tls = self.session.summary(is_client);
    }
}

fn chunk_time(chunk: Chunk<'_>) -> Time {
    match chunk {
        Chunk::Bytes { time, .. }
        | Chunk::Elided { time, .. }
        | Chunk::Gap { time, .. }
        | Chunk::Fin { time } => time,
    }
}
