//! One connection's HTTP/2: what is known of its two ends, and its streams.

use std::collections::{BTreeMap, VecDeque};

use tcp_trace_model::{
    event::{Direction, Role},
    exchange::{Integrity, Message, Outcome},
    http2::{ErrorCode, Http2Totals, Settings},
    time::Time,
};

use super::{
    block::TEXT_MAX,
    flow::{WINDOW_AT_FIRST, Window},
    frames::{FRAME_SIZE_AT_FIRST, Frames, Head},
    pings,
    stream::Stream,
};
use crate::{
    hpack::Decoder,
    http::{Cause, Exchanges, Open, UNSEEN, Upgraded, note_stall},
    stream::Need,
};

/// What a client sends first (RFC 9113, section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Streams of a connection that are open at the same time; of more, the oldest is given up.
pub const STREAMS_MAX: usize = 1024;
/// Bytes of names and values that are kept of the streams that are open; fields beyond that are left out.
pub(super) const OPEN_TEXT_MAX: usize = 4 << 20;
/// Streams that ended last: what still comes of them opens none.
const CLOSED_MAX: usize = 64;

/// Where in its frames a direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// In the client's preface, of which so many bytes have come.
    Preface(usize),
    /// In frames.
    Frames,
    /// Unsynchronized: bytes were lost, or came before anybody looked.
    Lost,
    /// Behind something illegal: nothing more is read.
    Broken,
}

/// A block of fields that is not whole.
#[derive(Debug)]
pub(super) struct PartialBlock {
    /// The frame that began it.
    pub(super) head: Head,
    pub(super) started: Time,
    /// The stream that it promises.
    pub(super) promised: u32,
    pub(super) bytes: Vec<u8>,
    /// Whether it is too long to be kept.
    pub(super) is_too_long: bool,
}

/// What one end sends.
#[derive(Debug)]
pub(super) struct End {
    pub(super) position: Position,
    /// Whether it was found again by what bytes look like.
    pub(super) is_resumed: bool,
    pub(super) frames: Frames,
    pub(super) decoder: Decoder,
    pub(super) partial: Option<Box<PartialBlock>>,
    /// How much DATA it may still send.
    pub(super) window: Window,
    /// What its SETTINGS say.
    pub(super) settings: Settings,
    /// Whether it has sent any.
    pub(super) has_settings: bool,
    /// What the windows of the streams are at first on which the other end sends, if that is known.
    pub(super) initial_window: Option<i64>,
    pub(super) pings: pings::Sent,
    /// Offset behind the last byte that came.
    pub(super) offset: u64,
}

impl End {
    fn new(position: Position) -> Self {
        Self {
            position,
            is_resumed: false,
            frames: Frames::new(Some(FRAME_SIZE_AT_FIRST)),
            decoder: Decoder::new(),
            partial: None,
            window: Window::new(Some(WINDOW_AT_FIRST)),
            settings: Settings::default(),
            has_settings: false,
            initial_window: Some(WINDOW_AT_FIRST),
            pings: pings::Sent::default(),
            offset: 0,
        }
    }

    fn late() -> Self {
        Self {
            frames: Frames::new(None),
            decoder: Decoder::late(),
            window: Window::default(),
            initial_window: None,
            ..Self::new(Position::Lost)
        }
    }
}

/// What came before what is read now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Past {
    /// Exchanges so far.
    pub(super) exchanges: u64,
    /// Those of them that others read.
    before: u64,
    /// When the exchange before ended; before the first, when the connection was established.
    pub(super) ended: Option<Time>,
    /// The lowest last stream of the server's GOAWAY frames, and the code of that frame: for those above, it does nothing.
    pub(super) refused_above: Option<(u32, ErrorCode)>,
}

/// The HTTP/2 of one connection. The bytes of both directions go in, finished exchanges come out.
#[derive(Debug)]
pub struct HttpTwo {
    /// Which way requests go, once known.
    pub(super) requests: Option<Direction>,
    /// Who sends, by [`Direction::index`].
    pub(super) ends: [End; 2],
    /// By their identifiers.
    pub(super) streams: BTreeMap<u32, Stream>,
    /// Bytes of names and values of these.
    pub(super) text: usize,
    /// Those that ended last.
    pub(super) closed: VecDeque<u32>,
    /// The highest identifier of a stream that the client, or the server, has opened.
    pub(super) last: [u32; 2],
    pub(super) past: Past,
    pub(super) totals: Http2Totals,
    /// Whether there may have been frames that were not seen.
    pub(super) is_late: bool,
    /// Whether something of the other direction is missing that may still come.
    pub(super) is_other_incomplete: bool,
}

impl HttpTwo {
    /// A connection that begins with the preface of its client, whose bytes go this way.
    pub fn new(requests: Direction) -> Self {
        let ends = [Direction::Out, Direction::In].map(|direction| {
            End::new(if direction == requests { Position::Preface(0) } else { Position::Frames })
        });
        Self {
            requests: Some(requests),
            ends,
            streams: BTreeMap::new(),
            text: 0,
            closed: VecDeque::new(),
            last: [0; 2],
            past: Past::default(),
            totals: Http2Totals::default(),
            is_late: false,
            is_other_incomplete: false,
        }
    }

    /// A connection that has begun; where it is not known which way requests go, the first fields show it.
    pub fn amid(requests: Option<Direction>) -> Self {
        Self {
            requests,
            ends: [End::late(), End::late()],
            is_late: true,
            ..Self::new(requests.unwrap_or(Direction::Out))
        }
    }

    /// A connection that goes over from HTTP/1.
    pub fn upgraded(upgraded: Upgraded) -> Self {
        let Upgraded { open, client, exchanges, idle_since } = upgraded;
        let mut http = Self::new(client);
        http.past = Past { exchanges, ended: idle_since, ..Past::default() };
        // What the field HTTP2-Settings says of windows, SETTINGS behind the preface say again.
        http.ends[client.index()].initial_window = None;
        // And of tables and frames: the server may go by the field before they come.
        let server = &mut http.ends[client.opposite().index()];
        server.decoder.allow(u32::MAX);
        server.frames.longest = None;
        let mut stream = Stream::new(1, open, Default::default());
        stream.request.is_over = true;
        http.last[0] = 1;
        http.totals.concurrent_max = 1;
        http.streams.insert(1, stream);
        http
    }

    /// Notes how many exchanges the connection carried before, and since when it is idle.
    pub fn follow(&mut self, exchanges: u64, idle_since: Option<Time>) {
        self.past = Past { exchanges, before: exchanges, ended: idle_since, refused_above: None };
    }

    /// Which way requests go, once known.
    pub fn requests(&self) -> Option<Direction> {
        self.requests
    }

    /// Whether it is known to be HTTP/2: from its preface, or from frames in which something began or ended.
    pub fn is_certain(&self) -> bool {
        !self.is_late
            || self.past.exchanges > self.past.before
            || self.ends.iter().any(|end| end.has_settings)
    }

    /// Bytes that are kept for later.
    pub fn retained_bytes(&self) -> usize {
        let of_end = |end: &End| {
            let partial = end.partial.as_ref().map_or(0, |partial| partial.bytes.capacity());
            end.frames.retained_bytes() + end.decoder.retained_bytes() + partial
        };
        self.ends.iter().map(of_end).sum::<usize>() + self.text + self.streams.len() * size_of::<Stream>()
    }

    /// Of which message a direction's fields and bodies are, once known.
    pub(super) fn message(&self, direction: Direction) -> Option<Message> {
        self.requests.map(|requests| if requests == direction { Message::Request } else { Message::Response })
    }

    /// Who sends in a direction, once known.
    pub(super) fn role(&self, direction: Direction) -> Option<Role> {
        self.message(direction)
            .map(|message| if message == Message::Request { Role::Client } else { Role::Server })
    }

    /// Which bytes of a direction are needed: of a body only what has messages in it.
    pub fn need(&self, direction: Direction) -> Need {
        let end = &self.ends[direction.index()];
        if end.position == Position::Broken {
            return Need::Nothing;
        }
        let Some((id, left)) = end.frames.data_left().filter(|_| end.position == Position::Frames) else {
            return Need::All;
        };
        let unneeded = match (self.streams.get(&id), self.message(direction)) {
            (Some(stream), Some(message)) => stream.unneeded(message).min(left),
            _ => left,
        };
        if unneeded == 0 { Need::All } else { Need::From(end.offset.saturating_add(unneeded)) }
    }

    /// Notes that bytes of a direction did not get on from `from` to `to`, which is now.
    pub fn stalled(&mut self, direction: Direction, cause: Cause, from: Time, to: Time) {
        let Some(message) = self.message(direction) else { return };
        for stream in self.streams.values_mut().filter(|stream| !stream.open.is_response_done()) {
            note_stall(&mut stream.open, message == Message::Request, (cause, from, to), None);
        }
    }

    /// Room for the names and values of a block.
    pub(super) fn room(&self) -> usize {
        OPEN_TEXT_MAX.saturating_sub(self.text).min(TEXT_MAX)
    }

    /// Opens a stream.
    pub(super) fn open(&mut self, id: u32, started: Time, exchanges: &mut Exchanges) -> Option<&mut Stream> {
        if self.streams.len() >= STREAMS_MAX
            && let Some((_, mut oldest)) = self.streams.pop_first()
        {
            let reason = format!("more than {STREAMS_MAX} streams are open: it is not followed any further");
            oldest.open.exchange.reason = Some(reason.into());
            // Nothing is known to have failed.
            let has_response = oldest.open.exchange.response.is_some();
            let outcome = if has_response { Outcome::Ok } else { Outcome::NoResponse };
            oldest.open.conclude(Integrity::Gap, outcome);
            self.emit(oldest, exchanges);
        }
        let index = self.past.exchanges;
        self.past.exchanges += 1;
        let mut open = Open::new(index, started);
        open.exchange.reused = if index > 0 { Some(true) } else { (!self.is_late).then_some(false) };
        let window = |sender: Direction| Window::new(self.ends[sender.opposite().index()].initial_window);
        let windows = match self.requests {
            Some(requests) => [window(requests), window(requests.opposite())],
            None => Default::default(),
        };
        let is_overlapping = !self.streams.is_empty();
        let mut stream = Stream::new(id, open, windows);
        stream.is_overlapping = is_overlapping;
        self.streams.insert(id, stream);
        self.totals.concurrent_max = self.totals.concurrent_max.max(self.streams.len() as u32);
        self.streams.get_mut(&id)
    }

    /// Takes a stream out that is over.
    pub(super) fn close(&mut self, id: u32) -> Option<Stream> {
        let stream = self.streams.remove(&id)?;
        if self.closed.len() >= CLOSED_MAX {
            self.closed.pop_front();
        }
        self.closed.push_back(id);
        Some(stream)
    }

    /// Appends the exchange of a stream that is over.
    pub(super) fn emit(&mut self, stream: Stream, exchanges: &mut Exchanges) {
        self.text = self.text.saturating_sub(stream.text);
        let times = stream.open.times;
        // It was never idle where another one was open.
        let previous =
            if stream.is_overlapping { self.past.ended.max(Some(times.started)) } else { self.past.ended };
        exchanges.push(stream.into_exchange(previous));
        self.past.ended = self.past.ended.max(Some(times.last_seen));
    }

    /// Appends the exchange of a stream to which nothing more can come.
    pub(super) fn settle(&mut self, id: u32, exchanges: &mut Exchanges) {
        let Some(stream) = self.streams.get(&id) else { return };
        let may_have_request = stream.open.exchange.request.is_none() && self.is_other_incomplete;
        if !stream.is_over() || may_have_request {
            return;
        }
        if let Some(mut stream) = self.close(id) {
            let has_response = stream.open.exchange.response.is_some();
            let outcome = if has_response { Outcome::Ok } else { Outcome::NoResponse };
            stream.open.conclude(Integrity::Complete, outcome);
            if !has_response {
                stream.open.exchange.reason.get_or_insert(UNSEEN.into());
            }
            stream.compare_lengths();
            self.emit(stream, exchanges);
        }
    }

    /// What is said of the connection.
    pub fn totals(&self) -> Http2Totals {
        let mut totals = self.totals.clone();
        if let Some(requests) = self.requests {
            totals.client_settings = self.ends[requests.index()].settings;
            totals.server_settings = self.ends[requests.opposite().index()].settings;
        }
        totals.pings_sent = self.ends[Direction::Out.index()].pings.recorded();
        totals.pings_received = self.ends[Direction::In.index()].pings.recorded();
        totals
    }
}
