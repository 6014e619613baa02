//! Directions whose place in their messages is not known: tracing began in the middle, or bytes were lost.
//!
//! A body may have any bytes in it, a request's head too. What looks like a request is a candidate until a response begins
//! in the other direction; a second one before that shows that they are parts of a body.

use tcp_trace_model::{
    event::Direction,
    exchange::{Integrity, Message},
    time::Time,
};

use super::{
    connection::HttpConnection,
    exchange::Exchanges,
    head::{self, HEAD_MAX},
    line,
    stalls::Held,
    stream::Position,
};

/// What held up a candidate, of which so many are kept; of more, the last ones are joined.
const STALLS_MAX: usize = 64;

/// What may be a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Candidate {
    /// It, from its first byte on, at most [`HEAD_MAX`] bytes, each piece with its time.
    pieces: Vec<(Vec<u8>, Time)>,
    /// Bytes behind the pieces, and when the last of them came.
    more: (u64, Time),
    /// What held it up so far, in order.
    stalls: Vec<Held>,
    /// Whether it is no request.
    is_refuted: bool,
}

impl Candidate {
    fn new(bytes: &[u8], time: Time) -> Self {
        Self { pieces: vec![(bytes.to_vec(), time)], ..Self::default() }
    }

    /// When it began; `None` when it is refuted.
    fn started(&self) -> Option<Time> {
        self.pieces.first().map(|(_, time)| *time)
    }

    /// Bytes that are kept.
    pub(super) fn retained_bytes(&self) -> usize {
        self.pieces.iter().map(|(bytes, _)| bytes.capacity()).sum()
    }

    /// Whether its head is whole, in one piece or several.
    fn has_head(&self) -> bool {
        let joined;
        let bytes = match self.pieces.as_slice() {
            [(only, _)] => only,
            pieces => {
                joined = pieces.iter().flat_map(|(bytes, _)| bytes).copied().collect::<Vec<_>>();
                &joined
            }
        };
        head::end(bytes, 0).is_some()
    }

    fn append(&mut self, bytes: &[u8], time: Time) {
        let kept: usize = self.pieces.iter().map(|(bytes, _)| bytes.len()).sum();
        if self.is_refuted {
            return;
        }
        if self.more.0 == 0 && kept + bytes.len() <= HEAD_MAX {
            self.pieces.push((bytes.to_vec(), time));
        } else {
            self.more = (self.more.0 + bytes.len() as u64, time);
        }
    }

    /// Notes what held it up.
    pub(super) fn stalled(&mut self, held: Held) {
        if self.is_refuted {
            return;
        }
        let is_full = self.stalls.len() >= STALLS_MAX;
        let same = self.stalls.last_mut().filter(|last| is_full || last.goes_on_as(&held));
        match same {
            Some(last) => last.to = held.to,
            None => self.stalls.push(held),
        }
    }

    fn refute(&mut self) {
        *self = Self { is_refuted: true, ..Self::default() };
    }
}

impl HttpConnection {
    /// Takes bytes of a direction that lost its place, and gives those that are to be read again.
    pub(super) fn lost_bytes<'a>(
        &mut self,
        direction: Direction,
        bytes: &'a [u8],
        time: Time,
        exchanges: &mut Exchanges,
    ) -> &'a [u8] {
        let may_be_response = self.requests != Some(direction) && head::is_response(bytes);
        if may_be_response && self.end_unread(direction, exchanges) {
            self.streams[direction.index()].position = Position::Head;
            return bytes;
        }
        let is_request = self.requests.is_none_or(|requests| requests == direction)
            && line::begins_request(bytes)
            && (head::end(bytes, 0).is_some() || !line::is_illegal(Message::Request, bytes, 0, &mut 0));
        let stream = &mut self.streams[direction.index()];
        match &mut stream.candidate {
            Some(candidate) if is_request => candidate.refute(),
            Some(candidate) => candidate.append(bytes, time),
            None if is_request => stream.candidate = Some(Box::new(Candidate::new(bytes, time))),
            None => stream.unread_until = Some(time),
        }
        &[]
    }

    /// Ends the requests whose responses were not read, because a response begins now. Whether it belongs to the first
    /// request that is then open: only when that began after all that was not read of the responses. Nothing is paired by guess.
    fn end_unread(&mut self, responses: Direction, exchanges: &mut Exchanges) -> bool {
        self.confirm_candidate(responses, exchanges);
        let unread_until = self.streams[responses.index()].unread_until;
        while let Some(open) = self.open.pop_front_if(|open| Some(open.times.started) < unread_until) {
            self.end_unseen(open, Integrity::Gap, exchanges);
        }
        !self.open.is_empty()
    }

    /// Reads what may be a request, because a response begins now.
    pub(super) fn confirm_candidate(&mut self, responses: Direction, exchanges: &mut Exchanges) {
        let unread_until = self.streams[responses.index()].unread_until;
        let candidate = &mut self.streams[responses.opposite().index()].candidate;
        // What the server said meanwhile was nothing that a request is answered by.
        candidate.take_if(|candidate| candidate.started() < unread_until);
        self.accept_candidate(responses.opposite(), exchanges);
    }

    /// Reads what may be a request, unless it is refuted, and forgets it.
    fn accept_candidate(&mut self, requests: Direction, exchanges: &mut Exchanges) {
        let stream = &mut self.streams[requests.index()];
        let candidate = stream.candidate.take();
        if let Some(Candidate { pieces, more: (more, last), stalls, is_refuted: false }) =
            candidate.filter(|it| it.has_head()).map(|it| *it)
        {
            stream.position = Position::Head;
            self.requests = Some(requests);
            let first = self.open.len();
            let mut stalls = stalls.into_iter().peekable();
            for (bytes, time) in pieces {
                while let Some(held) = stalls.next_if(|held| held.to <= time) {
                    self.held_up(first, held);
                }
                self.bytes(requests, &bytes, time, exchanges);
            }
            while let Some(held) = stalls.next_if(|held| held.to <= last) {
                self.held_up(first, held);
            }
            self.missing_bytes(requests, more, false, last, exchanges);
            stalls.for_each(|held| self.held_up(first, held));
        }
    }

    /// Reads the request that nothing has answered, if it is the first that was seen of its direction.
    pub(super) fn accept_unanswered(&mut self, exchanges: &mut Exchanges) {
        let Some(requests) = self.requests else { return };
        let stream = &self.streams[requests.index()];
        if stream.position == Position::Lost && stream.unread_until.is_none() {
            self.accept_candidate(requests, exchanges);
        }
    }
}
