//! One direction of an HTTP connection: where in a message it is.

use super::{
    body::{Chunked, Framing},
    head::{self, HEAD_MAX},
};
use crate::{reassembly::Reassembly, time::Time};

/// Beginning of a head that is checked for being one, before it is whole.
const CHECKED: usize = 256;

/// Where in its messages a direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// Before or in a head.
    Head,
    /// In a body with so many bytes left.
    Length(u64),
    /// In a chunked body.
    Chunked(Chunked),
    /// In a body that ends with the connection.
    UntilClose,
    /// Behind the last message: another protocol.
    Tunnel,
    /// Nobody knows: bytes are missing.
    Lost,
}

impl Position {
    /// Behind a head whose body is framed so.
    pub(super) fn behind_head(framing: Framing) -> Self {
        match framing {
            Framing::None => Self::Head,
            Framing::Length(left) => Self::Length(left),
            Framing::Chunked => Self::Chunked(Chunked::default()),
            Framing::UntilClose => Self::UntilClose,
            Framing::Tunnel => Self::Tunnel,
        }
    }
}

/// What came of bytes that belong to a head.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeadStep<'a> {
    /// All bytes are taken, the head goes on.
    Partial,
    /// These bytes cannot be a head, or it is too long.
    Illegal,
    /// A whole head in `bytes`, which began at `started`; what is behind it.
    Whole { bytes: std::borrow::Cow<'a, [u8]>, started: Time, rest: &'a [u8] },
}

/// One direction.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) reassembly: Reassembly,
    pub(super) position: Position,
    /// A head that is not whole; empty between messages.
    head: Vec<u8>,
    head_started: Time,
}

impl Stream {
    pub(super) fn new() -> Self {
        Self {
            reassembly: Reassembly::default(),
            position: Position::Head,
            head: Vec::new(),
            head_started: Time(0),
        }
    }

    /// Bytes that are kept for later.
    pub(super) fn retained_bytes(&self) -> usize {
        self.reassembly.held_bytes() + self.head.capacity()
    }

    /// Gives up the place in the messages.
    pub(super) fn lose(&mut self) {
        self.position = Position::Lost;
        self.head = Vec::new();
    }

    /// Takes bytes of a head. `can_be` tells whether the beginning of a head can be one.
    pub(super) fn head<'a>(
        &mut self,
        bytes: &'a [u8],
        time: Time,
        can_be: impl Fn(&[u8]) -> bool,
    ) -> HeadStep<'a> {
        if self.head.is_empty() {
            let bytes = &bytes[head::leading_empty_lines(bytes)..];
            if bytes.is_empty() {
                return HeadStep::Partial;
            }
            self.head_started = time;
            if !can_be(&bytes[..bytes.len().min(CHECKED)]) {
                return HeadStep::Illegal;
            }
            // A head that is whole in its segment, as most are, is read in place.
            if let Some(end) = head::end(bytes, 0) {
                let (head, rest) = bytes.split_at(end);
                return HeadStep::Whole { bytes: head.into(), started: time, rest };
            }
            return self.keep(bytes);
        }
        let before = self.head.len();
        if let HeadStep::Illegal = self.keep(bytes) {
            return HeadStep::Illegal;
        }
        if before < CHECKED && !can_be(&self.head[..self.head.len().min(CHECKED)]) {
            return HeadStep::Illegal;
        }
        // An empty line has at most three bytes before the newly come ones.
        match head::end(&self.head, before.saturating_sub(3)) {
            None => HeadStep::Partial,
            Some(end) => {
                let mut whole = std::mem::take(&mut self.head);
                whole.truncate(end);
                HeadStep::Whole {
                    bytes: whole.into(),
                    started: self.head_started,
                    rest: &bytes[end - before..],
                }
            }
        }
    }

    fn keep<'a>(&mut self, bytes: &[u8]) -> HeadStep<'a> {
        // What is behind the head is in `bytes` too, so the limit is on what was there before.
        if self.head.len() > HEAD_MAX {
            return HeadStep::Illegal;
        }
        self.head.extend_from_slice(bytes);
        HeadStep::Partial
    }
}
