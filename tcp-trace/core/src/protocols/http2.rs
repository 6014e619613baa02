//! HTTP/2 in clear text: with prior knowledge, after an upgrade, or seen from the middle (RFC 9113, section 3).

use tcp_trace_model::{event::Direction, time::Time};

use super::{Cx, First, Guess, HeldBack, Layer, Protocol, Start, Step, Switch, opening::Opening};
use crate::{
    http::{Cause, ConnectionEnd, HttpConnection},
    http2::{self, HttpTwo, PREFACE},
    stream::{Chunk, Need},
};

/// What the protocol is called.
const NAME: &str = "http/2";
/// Bytes that a server may send before its client has sent the preface.
const EARLY_MAX: usize = 16 << 10;

/// Bytes of what may be a request of HTTP/1 that a client sends instead of the preface.
const HEAD_MAX: usize = 8 << 10;

/// The HTTP/2 of a connection, and what is not yet known of its beginning.
#[derive(Debug)]
pub struct Http2 {
    http: HttpTwo,
    start: Start,
    /// What the server has sent so far, while its client has not sent the preface, or while that may be no SETTINGS.
    early: Option<HeldBack>,
    /// Bytes of the client's preface so far, with the place of the first; `None` once it is whole.
    preface: Option<HeldBack>,
    /// Whether the server is not known to speak HTTP/2 yet.
    is_unanswered: bool,
}

impl Http2 {
    /// What goes over from HTTP/1, where the preface follows.
    pub(super) fn upgraded(http: HttpTwo) -> Self {
        Self { http, start: Start::default(), early: None, preface: None, is_unanswered: false }
    }

    /// What is seen from the middle.
    pub(super) fn amid(start: Start) -> Self {
        let mut http = HttpTwo::amid(start.client);
        http.follow(start.exchanges, start.idle_since);
        Self::upgraded(http)
    }

    /// Bytes that are kept.
    #[cfg(test)]
    pub(super) fn retained_bytes(&self) -> usize {
        self.http.retained_bytes()
    }

    fn feed(&mut self, direction: Direction, chunk: Chunk<'_>, cx: &mut Cx<'_>) {
        self.http.input(direction, chunk, cx.is_other_incomplete, &mut cx.found.exchanges);
    }

    /// Hands what was held to the parser.
    fn release(&mut self, held: HeldBack, cx: &mut Cx<'_>) {
        let HeldBack { direction, offset, bytes, time } = held;
        self.feed(direction, Chunk::Bytes { offset, bytes: &bytes, time }, cx);
    }

    /// Takes what a client sends before its preface is whole.
    fn before_preface<'a>(&mut self, direction: Direction, chunk: Chunk<'a>, cx: &mut Cx<'_>) -> Step<'a> {
        let Chunk::Bytes { offset, bytes, time } = chunk else { return self.leave(Some(chunk)) };
        let new = || HeldBack { direction, offset, bytes: Vec::new(), time };
        let preface = self.preface.get_or_insert_with(new);
        if preface.bytes.is_empty() {
            (preface.offset, preface.time) = (offset, time);
        }
        let have = preface.bytes.len();
        preface.bytes.extend_from_slice(bytes);
        match Guess::begins(&preface.bytes, PREFACE) {
            // What the server has sent is no answer to what is not whole yet.
            Guess::Maybe => Step::Stay,
            Guess::No => {
                // The bytes before were searched, but for those that could have been the preface until now.
                let from = have.saturating_sub(PREFACE.len());
                let is_whole = memchr::memmem::find(&preface.bytes[from..], b"\n\r\n").is_some();
                if is_whole || preface.bytes.len() > HEAD_MAX { self.leave(None) } else { Step::Stay }
            }
            Guess::Yes => {
                cx.found.protocol = Some(NAME);
                preface.bytes.truncate(have);
                let preface = self.preface.take().filter(|_| have > 0);
                let early = if self.is_unanswered { None } else { self.early.take() };
                // What the server has sent before, the client may already answer.
                for held in [early, preface].into_iter().flatten() {
                    self.release(held, cx);
                }
                self.feed(direction, chunk, cx);
                Step::Stay
            }
        }
    }

    /// It is no HTTP/2 after all, but the server began with what looked like it: HTTP/1 decides.
    fn leave<'a>(&mut self, rest: Option<Chunk<'a>>) -> Step<'a> {
        let held = self.preface.take().filter(|held| !held.bytes.is_empty());
        let to = Layer::Http1(Box::new(<HttpConnection as Protocol>::new(self.start)));
        // The client's request comes first, as if it were answered.
        let held = [held, self.early.take()].into_iter().flatten().collect();
        Step::Switch(Switch { to, held, rest })
    }

    /// Takes what a server sends before its client has sent the preface, or before it has shown that it speaks HTTP/2.
    fn early<'a>(&mut self, direction: Direction, chunk: Chunk<'a>, cx: &mut Cx<'_>) -> Step<'a> {
        let Chunk::Bytes { offset, bytes, time } = chunk else {
            if self.preface.is_some() {
                return self.leave(Some(chunk));
            }
            self.is_unanswered = false;
            self.feed(direction, chunk, cx);
            return Step::Stay;
        };
        let new = || HeldBack { direction, offset, bytes: Vec::new(), time };
        let early = self.early.get_or_insert_with(new);
        early.bytes.extend_from_slice(bytes);
        match http2::is_server_preface(&early.bytes) {
            None => return Step::Stay,
            Some(true) => self.is_unanswered = false,
            Some(false) if self.preface.is_some() => return self.leave(None),
            Some(false) => {
                // The client speaks HTTP/2, the server something else.
                let mut first: [&[u8]; 2] = [&[]; 2];
                (first[direction.index()], first[direction.opposite().index()]) = (&early.bytes, PREFACE);
                return Opening::of(Some(direction.opposite()), first).go_on(cx);
            }
        }
        if self.preface.is_some() {
            return if early.bytes.len() > EARLY_MAX { self.leave(None) } else { Step::Stay };
        }
        if let Some(held) = self.early.take() {
            self.release(held, cx);
        }
        Step::Stay
    }
}

impl Protocol for Http2 {
    fn guess(first: &First<'_>) -> Guess {
        let of_client = Guess::begins(first.bytes, PREFACE);
        if first.is_client || first.start.client.is_none() {
            return of_client;
        }
        match http2::is_server_preface(first.bytes) {
            None => Guess::Maybe,
            Some(true) => Guess::Yes,
            Some(false) => Guess::No,
        }
    }

    fn new(start: Start) -> Self {
        // Where nobody knows which end is the client's, the one that sends the preface first is: `input` says so.
        let client = start.client.unwrap_or(Direction::Out);
        let mut http = HttpTwo::new(client);
        http.follow(start.exchanges, start.idle_since);
        let preface = HeldBack { direction: client, offset: 0, bytes: Vec::new(), time: Time(0) };
        Self { http, start, early: None, preface: Some(preface), is_unanswered: true }
    }

    fn input<'a>(&mut self, direction: Direction, chunk: Chunk<'a>, cx: &mut Cx<'_>) -> Step<'a> {
        if self.preface.is_some() && self.start.client.is_none() {
            *self = Self::new(Start { client: Some(direction), ..self.start });
        }
        let is_client = self.start.client == Some(direction);
        if self.preface.is_some() && is_client {
            return self.before_preface(direction, chunk, cx);
        }
        if !is_client && (self.preface.is_some() || self.is_unanswered) {
            return self.early(direction, chunk, cx);
        }
        self.feed(direction, chunk, cx);
        if self.http.is_certain() {
            cx.found.protocol = Some(NAME);
        }
        Step::Stay
    }

    fn need(&self, direction: Direction) -> Need {
        if self.preface.is_some() { Need::All } else { self.http.need(direction) }
    }

    fn finish(&mut self, time: Time, end: ConnectionEnd, cx: &mut Cx<'_>) {
        if self.preface.is_some() {
            let mut first: [&[u8]; 2] = [&[]; 2];
            for held in [&self.early, &self.preface].into_iter().flatten() {
                first[held.direction.index()] = &held.bytes;
            }
            return Opening::of(self.start.client, first).conclude(cx);
        }
        self.http.finish(time, end, &mut cx.found.exchanges);
        cx.found.http2 = Some(Box::new(self.http.totals()));
    }

    fn stalled(&mut self, direction: Direction, cause: Cause, from: Time, to: Time) {
        self.http.stalled(direction, cause, from, to);
    }

    fn client(&self) -> Option<Direction> {
        self.http.requests()
    }
}
