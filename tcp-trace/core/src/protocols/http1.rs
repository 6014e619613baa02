//! HTTP/1, and what CONNECT tunnels.

use tcp_trace_model::{event::Direction, time::Time};

use super::{
    Cx, First, Guess, HeldBack, Layer, Protocol, Start, Step, Switch,
    http2::Http2,
    opening::Opening,
    signatures::{self, Answer},
};
use crate::{
    http::{Cause, ConnectionEnd, Handover, HttpConnection, Tunnel},
    http2::{self, HttpTwo, PREFACE},
    stream::{Chunk, Need},
};

impl Protocol for HttpConnection {
    /// What nothing else begins with may be HTTP: it is not guessed.
    fn guess(_: &First<'_>) -> Guess {
        Guess::No
    }

    fn new(start: Start) -> Self {
        let mut http = Self::of_client(start.client);
        http.follow(start.exchanges, start.idle_since);
        if let Some(us) = start.rtt_us {
            http.learn_rtt(us);
        }
        for direction in [Direction::Out, Direction::In] {
            if start.from_start[direction.index()] {
                http.start(direction);
            }
        }
        http
    }

    #[inline]
    fn input<'a>(&mut self, direction: Direction, chunk: Chunk<'a>, cx: &mut Cx<'_>) -> Step<'a> {
        if self.is_http().is_none()
            && self.may_be_http2(direction)
            && let Some(http2) = begun_http2(direction, chunk, (self.requests(), self.exchanges()))
        {
            let to = Layer::Http2(Box::new(http2));
            return Step::Switch(Switch { to, held: Vec::new(), rest: Some(chunk) });
        }
        Self::input(self, direction, chunk, cx.is_other_incomplete, &mut cx.found.exchanges);
        if let Some(name) = self.protocol_name() {
            cx.found.protocol = Some(name);
        }
        match self.take_handover() {
            None => Step::Stay,
            Some(Handover::Tunnel(tunnel)) => through(*tunnel, chunk, cx),
            Some(Handover::Http2(tunnel, upgraded)) => {
                let Tunnel { client, held, rest, .. } = *tunnel;
                let to = Layer::Http2(Box::new(Http2::upgraded(HttpTwo::upgraded(*upgraded))));
                let held =
                    held.map(|(offset, bytes, time)| HeldBack { direction: client, offset, bytes, time });
                Step::Switch(Switch { to, held: held.into_iter().collect(), rest: chunk.last(rest) })
            }
            Some(Handover::Other(first)) => {
                Opening::of(self.requests(), first.each_ref().map(Vec::as_slice)).go_on(cx)
            }
            Some(Handover::Surplus(offset)) => {
                cx.found.surplus = Some((direction, offset));
                Step::Stay
            }
            Some(Handover::NoResponse(bytes)) => {
                if let Answer::Other(answer) = signatures::answer("http", &bytes) {
                    cx.found.answer = Some(answer);
                }
                Step::Stay
            }
        }
    }

    #[inline]
    fn need(&self, direction: Direction) -> Need {
        Self::need(self, direction)
    }

    fn finish(&mut self, time: Time, end: ConnectionEnd, cx: &mut Cx<'_>) {
        let first = self.partial_heads();
        Self::finish(self, time, end, &mut cx.found.exchanges);
        if let Some(name) = self.protocol_name() {
            cx.found.protocol = Some(name);
        } else {
            Opening::of(self.requests(), first.each_ref().map(Vec::as_slice)).conclude(cx);
        }
    }

    fn lasts_until_fin(&self, direction: Direction) -> bool {
        Self::lasts_until_fin(self, direction)
    }

    fn stalled(&mut self, direction: Direction, cause: Cause, from: Time, to: Time) {
        Self::stalled(self, direction, cause, from, to);
    }

    fn client(&self) -> Option<Direction> {
        self.requests()
    }
}

/// The HTTP/2 that a chunk begins, of a connection whose beginning is not known to have been seen.
fn begun_http2(
    direction: Direction,
    chunk: Chunk<'_>,
    (requests, exchanges): (Option<Direction>, u64),
) -> Option<Http2> {
    let Chunk::Bytes { bytes, .. } = chunk else { return None };
    if bytes.starts_with(PREFACE) && requests.is_none_or(|requests| requests == direction) {
        // It is the beginning after all.
        return Some(Protocol::new(Start { exchanges, ..Start::of_client(Some(direction)) }));
    }
    http2::is_amid(bytes).then(|| Http2::amid(Start { exchanges, ..Start::of_client(requests) }))
}

/// What a tunnel carries is anything: HTTP as well.
fn through<'a>(tunnel: Tunnel, chunk: Chunk<'a>, cx: &mut Cx<'_>) -> Step<'a> {
    let Tunnel { client, held, rest, exchanges, idle_since } = tunnel;
    cx.found.is_tunnel = true;
    let start = Start {
        client: Some(client),
        rtt_us: None,
        from_start: [true; 2],
        idle_since,
        exchanges,
        is_dns: false,
        is_tunnel: true,
    };
    let held = held.map(|(offset, bytes, time)| HeldBack { direction: client, offset, bytes, time });
    Step::Switch(Switch { to: Layer::first(start), held: held.into_iter().collect(), rest: chunk.last(rest) })
}
