//! One direction of an HTTP connection: where in a message it is.

use std::borrow::Cow;

use tcp_trace_model::{exchange::Message, time::Time};

use super::{
    chunked::Chunked,
    framing::Framing,
    head::{self, HEAD_MAX},
    line,
    lost::Candidate,
    stalls::{Stall, Stalls},
    websocket::Follower,
};

/// Methods (RFC 9110, section 9; RFC 5789) with the space behind them.
const METHODS: [&str; 9] =
    ["GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "CONNECT ", "OPTIONS ", "TRACE ", "PATCH "];

/// Where in its messages a direction is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// Before or in a head.
    Head,
    /// In a body with so many bytes left.
    Length(u64),
    /// In a chunked body.
    Chunked(Chunked),
    /// In a body that ends with the connection.
    UntilClose,
    /// Behind the head of a request that expects 100 (RFC 9110, section 10.1.1): its body follows, or after a final response
    /// the next request.
    Expecting(Framing),
    /// Behind a request that asks for another protocol: what follows depends on the response.
    Undecided,
    /// Behind the last message: another protocol.
    Tunnel,
    /// Behind the last message: frames of a WebSocket.
    WebSocket(Box<Follower>),
    /// Behind requests that were lost while a response to an earlier one is awaited, which they do not affect.
    AfterGap,
    /// Behind an illegal message: nothing more is read.
    Broken,
    /// Unsynchronized: bytes were lost, message boundaries are unknown.
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

    /// Bytes that follow and only have to be counted.
    pub(super) fn unneeded(&self) -> u64 {
        match self {
            Self::Head | Self::Expecting(_) | Self::Undecided | Self::AfterGap | Self::Lost => 0,
            Self::Length(left) => *left,
            Self::Chunked(chunked) => chunked.unneeded(),
            Self::WebSocket(follower) => follower.unneeded(),
            Self::UntilClose | Self::Tunnel | Self::Broken => u64::MAX,
        }
    }
}

/// What came of bytes that belong to a head.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeadStep<'a> {
    /// All bytes are taken, the head goes on.
    Partial,
    /// A head in `bytes`, which began at `started`, and what is behind it. It is whole or illegal.
    Whole { bytes: Cow<'a, [u8]>, started: Time, rest: &'a [u8] },
}

/// One direction.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) position: Position,
    /// Offset behind the last byte that came.
    pub(super) end: u64,
    /// When bytes of it passed last that nobody could read, because its place was lost.
    pub(super) unread_until: Option<Time>,
    /// What may be a request, while the place is lost.
    pub(super) candidate: Option<Box<Candidate>>,
    /// A head that is not whole, or bytes that are undecided; empty between messages.
    head: Vec<u8>,
    head_started: Time,
    /// Bytes of the head in lines that are known to be legal.
    judged: usize,
    /// How many bytes of what came last lie behind what is read of it.
    pub(super) unread: u64,
    /// What of the time of a request's head that is not whole was lost.
    pub(super) head_stall: Option<Box<Stall>>,
}

impl Stream {
    pub(super) fn new() -> Self {
        Self {
            position: Position::Head,
            end: 0,
            unread_until: None,
            candidate: None,
            head: Vec::new(),
            head_started: Time(0),
            judged: 0,
            unread: 0,
            head_stall: None,
        }
    }

    /// The offset behind what is read of it. A request that is read again may lie before that.
    pub(super) fn read_to(&self) -> u64 {
        self.end.saturating_sub(self.unread)
    }

    /// Bytes that are kept for later.
    pub(super) fn retained_bytes(&self) -> usize {
        self.head.capacity() + self.candidate.as_ref().map_or(0, |candidate| candidate.retained_bytes())
    }

    /// Whether a message is over, and nothing of the next was there yet.
    pub(super) fn is_between_messages(&self) -> bool {
        self.position == Position::Head && self.head.is_empty()
    }

    /// A head that is not whole, and when it began.
    pub(super) fn partial_head(&self) -> Option<(&[u8], Time)> {
        let is_there = self.position == Position::Head && !self.head.is_empty();
        is_there.then_some((&self.head, self.head_started))
    }

    /// What was lost of the time of the request whose head is over.
    pub(super) fn take_head_stalls(&mut self) -> Option<Box<Stalls>> {
        let send = *self.head_stall.take()?;
        Some(Box::new(Stalls { send, ..Stalls::default() }))
    }

    /// Gives up the place in the messages.
    pub(super) fn lose(&mut self) {
        self.leave(Position::Lost);
    }

    /// Goes where no head is read.
    pub(super) fn leave(&mut self, position: Position) {
        self.position = position;
        self.candidate = None;
        self.head = Vec::new();
        self.head_stall = None;
        self.judged = 0;
    }

    /// Keeps bytes until it is known what they are. Too many of them are never read.
    pub(super) fn keep_undecided(&mut self, bytes: &[u8], time: Time) {
        if self.head.is_empty() {
            self.head_started = time;
        }
        if self.head.len() + bytes.len() > HEAD_MAX {
            self.leave(Position::Broken);
        } else {
            self.head.extend_from_slice(bytes);
        }
    }

    /// Whether the bytes that are undecided begin with a request line of a method that is common; `None` before that is known. A
    /// body and the request behind it, as in `abcPOST /`, may look like another method.
    pub(super) fn begins_request(&self) -> Option<bool> {
        let is_common = || METHODS.iter().any(|method| self.head.starts_with(method.as_bytes()));
        let is_request = line::begins_request(&self.head) && is_common();
        let is_over = is_request || self.head.contains(&b'\n') || self.position == Position::Broken;
        let is_other = || line::is_illegal(Message::Request, &self.head, 0, &mut 0);
        (is_over || is_other()).then_some(is_request)
    }

    /// The bytes that were undecided, with the time of the first.
    pub(super) fn take_undecided(&mut self) -> (Vec<u8>, Time) {
        (std::mem::take(&mut self.head), self.head_started)
    }

    /// Takes bytes of a head. What comes out does not depend on how they were cut.
    pub(super) fn head<'a>(&mut self, bytes: &'a [u8], time: Time, message: Message) -> HeadStep<'a> {
        if self.head.is_empty() {
            let bytes = &bytes[head::leading_empty_lines(bytes)..];
            if bytes.is_empty() {
                return HeadStep::Partial;
            }
            self.head_started = time;
            // A head that is whole in its segment, as most are, is read in place.
            if let Some(end) = head::end(bytes, 0).filter(|end| *end <= HEAD_MAX) {
                let (head, rest) = bytes.split_at(end);
                return HeadStep::Whole { bytes: head.into(), started: time, rest };
            }
            return self.more(bytes, message);
        }
        self.more(bytes, message)
    }

    fn more<'a>(&mut self, bytes: &'a [u8], message: Message) -> HeadStep<'a> {
        let before = self.head.len();
        // One byte more than the limit, to know that it is exceeded. The rest is never read.
        self.head.extend_from_slice(&bytes[..bytes.len().min(HEAD_MAX + 1 - before)]);
        // An empty line has at most three bytes before the newly come ones.
        let end = head::end(&self.head, before.saturating_sub(3)).filter(|end| *end <= HEAD_MAX);
        let whole = end.unwrap_or(self.head.len().min(HEAD_MAX));
        let is_over = end.is_some() || self.head.len() > HEAD_MAX;
        if !is_over && !line::is_illegal(message, &self.head, before, &mut self.judged) {
            return HeadStep::Partial;
        }
        self.judged = 0;
        let mut head = std::mem::take(&mut self.head);
        head.truncate(whole);
        let rest = &bytes[whole.saturating_sub(before).min(bytes.len())..];
        HeadStep::Whole { bytes: head.into(), started: self.head_started, rest }
    }
}
