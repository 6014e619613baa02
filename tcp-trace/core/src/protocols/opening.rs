//! What nothing reads: its first bytes may name the protocol, and are recorded where they do not.

use tcp_trace_model::{event::Direction, exchange::REDACTED, time::Time};

use super::{
    Cx, First, Guess, Layer, Protocol, Start, Step,
    signatures::{self, Answer, UNKNOWN},
};
use crate::{
    http::ConnectionEnd,
    stream::{Chunk, Need},
};

/// Bytes of a direction that are looked at: more than any signature has.
pub(super) const FIRST_MAX: usize = 64;
/// Bytes of a direction that are recorded of what nobody knows.
const RECORDED_MAX: usize = 32;

/// The first bytes of both directions, until they tell what there is to tell.
#[derive(Debug)]
pub struct Opening {
    /// Which way the client's bytes go.
    client: Direction,
    /// By [`Direction::index`], at most [`FIRST_MAX`] each.
    first: [Vec<u8>; 2],
    /// Whether nothing more of a direction can be read in order.
    is_over: [bool; 2],
    /// What the protocol is called.
    name: Option<&'static str>,
    /// Whether the server named it before the client had said anything.
    is_greeting: bool,
    /// Whether the server answered with something else.
    is_answer_unknown: bool,
}

impl Opening {
    /// Of a connection that began with these bytes, by [`Direction::index`].
    pub(super) fn of(client: Option<Direction>, first: [&[u8]; 2]) -> Self {
        let client = client.unwrap_or(Direction::Out);
        let first = first.map(|first| first[..first.len().min(FIRST_MAX)].to_vec());
        Self { client, first, is_over: [false; 2], name: None, is_greeting: false, is_answer_unknown: false }
    }

    fn take(&mut self, direction: Direction, bytes: &[u8]) {
        let first = &mut self.first[direction.index()];
        let room = FIRST_MAX.saturating_sub(first.len());
        first.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn first(&self, direction: Direction) -> &[u8] {
        &self.first[direction.index()]
    }

    /// Whether more bytes of a direction may change what is known.
    fn is_open(&self, direction: Direction) -> bool {
        !self.is_over[direction.index()] && self.first(direction).len() < FIRST_MAX
    }

    /// Reads on, as the next layer.
    pub(super) fn go_on<'a>(mut self, cx: &mut Cx<'_>) -> Step<'a> {
        if self.judge(cx) {
            return Step::to(Layer::Opening(Box::new(self)));
        }
        self.record(cx);
        Step::to(Layer::Opaque)
    }

    /// Says what is known in the end.
    pub(super) fn conclude(&mut self, cx: &mut Cx<'_>) {
        self.judge(cx);
        self.record(cx);
    }

    /// Records the first bytes where they did not tell enough.
    fn record(&mut self, cx: &mut Cx<'_>) {
        if (self.name.is_none() || self.is_answer_unknown) && self.first.iter().any(|first| !first.is_empty())
        {
            let recorded = |first: &mut Vec<u8>| {
                first.truncate(RECORDED_MAX);
                without_credential(std::mem::take(first))
            };
            cx.found.first_bytes = Some(self.first.each_mut().map(recorded));
        }
    }

    /// Says what the bytes so far tell; whether more of them may tell more.
    fn judge(&mut self, cx: &mut Cx<'_>) -> bool {
        let (client, server) = (self.first(self.client), self.first(self.client.opposite()));
        let name = self.name.or_else(|| signatures::recognise(signatures::Opening { client, server }).ok());
        let Some(name) = name else {
            return self.is_open(Direction::Out) || self.is_open(Direction::In);
        };
        // The server greeted before the client had said anything, and the client does not understand it.
        if self.is_greeting
            && let Some(spoken) = signatures::spoken(client).filter(|spoken| *spoken != name)
        {
            (cx.found.protocol, cx.found.answer) = (Some(spoken), Some(name));
            return false;
        }
        cx.found.protocol = Some(name);
        let is_greeting = self.is_greeting || client.is_empty();
        let mut is_answer_unknown = false;
        let is_open = match signatures::answer(name, server) {
            // The server spoke first.
            _ if client.is_empty() || is_greeting && !client.contains(&b'\n') => self.is_open(self.client),
            Answer::Same => false,
            Answer::Other(answer) => {
                cx.found.answer = Some(answer);
                is_answer_unknown = answer == UNKNOWN;
                false
            }
            Answer::Undecided => self.is_open(self.client.opposite()),
        };
        (self.is_greeting, self.is_answer_unknown) = (is_greeting, is_answer_unknown);
        self.name = Some(name);
        is_open
    }
}

/// First bytes without the credential that follows these words in several protocols of text.
fn without_credential(mut first: Vec<u8>) -> Vec<u8> {
    const WORDS: [&[u8]; 4] = [b"AUTH ", b"LOGIN ", b"PASS ", b"USER "];
    let begins = |word: &&[u8]| first.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    if let Some(length) = WORDS.iter().find(|word| begins(word)).map(|word| word.len()) {
        first.truncate(length);
        first.extend_from_slice(REDACTED.as_bytes());
    }
    first
}

impl Protocol for Opening {
    /// Only what no parser takes ends here.
    fn guess(_: &First<'_>) -> Guess {
        Guess::No
    }

    fn new(start: Start) -> Self {
        Self::of(start.client, [&[]; 2])
    }

    fn input<'a>(&mut self, direction: Direction, chunk: Chunk<'a>, cx: &mut Cx<'_>) -> Step<'a> {
        match chunk {
            Chunk::Bytes { bytes, .. } if self.is_open(direction) => self.take(direction, bytes),
            Chunk::Bytes { .. } => return Step::Stay,
            Chunk::Elided { .. } | Chunk::Gap { .. } | Chunk::Fin { .. } => {
                self.is_over[direction.index()] = true;
            }
        }
        if self.judge(cx) {
            return Step::Stay;
        }
        self.record(cx);
        Step::to(Layer::Opaque)
    }

    fn need(&self, direction: Direction) -> Need {
        if self.is_open(direction) { Need::All } else { Need::Nothing }
    }

    fn finish(&mut self, _: Time, _: ConnectionEnd, cx: &mut Cx<'_>) {
        self.conclude(cx);
    }
}
