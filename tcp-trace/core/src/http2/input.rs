//! What chunks and frames mean for the streams of a connection.

use tcp_trace_model::{
    event::{Direction, Role},
    exchange::Message,
    http2::{ErrorCode, GoAway, StreamReset},
    text::Text,
    time::Time,
};

use super::{
    block::{self, Block, TEXT_MAX},
    connection::{HttpTwo, PREFACE, PartialBlock, Position},
    flow::WINDOW_AT_FIRST,
    frames::{self, Data, Head, Piece},
};
use crate::{http::Exchanges, stream::Chunk};

/// The parameter SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113, section 6.5.2).
const INITIAL_WINDOW_SIZE: u16 = 4;
/// GOAWAY frames that are recorded.
const GOAWAY_MAX: usize = 8;
/// Bytes that are recorded of what a GOAWAY says beside.
const DEBUG_MAX: usize = 64;

impl HttpTwo {
    /// Takes what comes next in a direction; finished exchanges are appended. `is_other_incomplete` says that something of
    /// the other direction is missing that may still come.
    pub fn input(
        &mut self,
        direction: Direction,
        chunk: Chunk<'_>,
        is_other_incomplete: bool,
        exchanges: &mut Exchanges,
    ) {
        self.is_other_incomplete = is_other_incomplete;
        let end = &mut self.ends[direction.index()];
        match chunk {
            Chunk::Bytes { offset, bytes, time } => {
                end.offset = offset + bytes.len() as u64;
                self.bytes(direction, bytes, time, exchanges);
            }
            Chunk::Elided { offset, length, time } => {
                end.offset = offset + length;
                self.unseen(direction, (length, time), false, exchanges);
            }
            Chunk::Gap { offset, length, time } => {
                end.offset = offset + length;
                self.unseen(direction, (length, time), true, exchanges);
            }
            // What it leaves open, the end of the connection ends.
            Chunk::Fin { .. } => {}
        }
    }

    fn bytes(&mut self, direction: Direction, bytes: &[u8], time: Time, exchanges: &mut Exchanges) {
        let mut rest = bytes;
        loop {
            match self.ends[direction.index()].position {
                Position::Broken => return,
                Position::Preface(have) => {
                    let end = &mut self.ends[direction.index()];
                    let here = (PREFACE.len() - have).min(rest.len());
                    let (preface, behind) = rest.split_at(here);
                    if *preface != PREFACE[have..have + here] {
                        return self.break_off(direction, "no preface of HTTP/2".to_owned(), exchanges);
                    }
                    rest = behind;
                    if have + here < PREFACE.len() {
                        end.position = Position::Preface(have + here);
                        return;
                    }
                    end.position = Position::Frames;
                }
                Position::Lost if !self.is_resumed_by(direction, rest) => return,
                Position::Lost => {
                    let end = &mut self.ends[direction.index()];
                    (end.position, end.is_resumed) = (Position::Frames, true);
                }
                Position::Frames => match self.ends[direction.index()].frames.next(&mut rest, time) {
                    Ok(None) => return,
                    Ok(Some(piece)) => self.piece(direction, piece, time, exchanges),
                    Err(fault) => return self.break_off(direction, fault.to_owned(), exchanges),
                },
            }
        }
    }

    /// Bytes that were not seen: lost where it is a gap, and else not needed.
    fn unseen(
        &mut self,
        direction: Direction,
        (length, time): (u64, Time),
        is_gap: bool,
        exchanges: &mut Exchanges,
    ) {
        let end = &mut self.ends[direction.index()];
        match end.position {
            Position::Broken | Position::Lost => {}
            Position::Preface(_) => self.lose(direction, exchanges),
            Position::Frames => match end.frames.pass(length) {
                Some(data) => {
                    let is_all = data.counted == length;
                    self.data(direction, &data, is_gap, time, exchanges);
                    if !is_all {
                        self.lose(direction, exchanges);
                    }
                }
                None => self.lose(direction, exchanges),
            },
        }
    }

    fn piece(&mut self, direction: Direction, piece: Piece<'_>, time: Time, exchanges: &mut Exchanges) {
        let (head, is_of_block) = match &piece {
            Piece::Frame { head, .. } | Piece::TooLong(head) => (*head, head.kind == frames::CONTINUATION),
            Piece::Data(data) => (data.head, false),
        };
        let end = &mut self.ends[direction.index()];
        let fault = match &end.partial {
            Some(partial) if !is_of_block || partial.head.stream != head.stream => {
                Some("another frame inside of a block of fields")
            }
            // Its beginning was not seen.
            None if is_of_block && self.is_late => {
                end.decoder.lose();
                return;
            }
            None if is_of_block => Some("a continuation of nothing"),
            _ if !end.has_settings && head.kind != frames::SETTINGS && !self.is_late => {
                Some("another frame before SETTINGS")
            }
            _ => None,
        };
        if let Some(fault) = fault {
            return self.break_off(direction, fault.to_owned(), exchanges);
        }
        let result = match piece {
            Piece::Data(data) => {
                self.data(direction, &data, false, time, exchanges);
                Ok(())
            }
            Piece::TooLong(head) => self.fragment(direction, head, None, (time, time), exchanges),
            Piece::Frame { head, payload, started } => match head.kind {
                frames::HEADERS | frames::PUSH_PROMISE | frames::CONTINUATION => {
                    self.fragment(direction, head, Some(&payload), (started, time), exchanges)
                }
                _ => {
                    self.control(direction, head, &payload, time, exchanges);
                    Ok(())
                }
            },
        };
        if let Err(fault) = result {
            self.break_off(direction, fault, exchanges);
        }
    }

    /// A part of a block of fields; `None` where it is too long.
    fn fragment(
        &mut self,
        direction: Direction,
        head: Head,
        payload: Option<&[u8]>,
        (started, time): (Time, Time),
        exchanges: &mut Exchanges,
    ) -> Result<(), String> {
        if !matches!(head.kind, frames::HEADERS | frames::PUSH_PROMISE | frames::CONTINUATION) {
            return Ok(());
        }
        let (fragment, promised) =
            head.fragment(payload.unwrap_or_default()).or_else(|fault| match payload {
                Some(_) => Err(fault),
                None => Ok((&[][..], 0)),
            })?;
        let end = &mut self.ends[direction.index()];
        if head.kind != frames::CONTINUATION && head.ends_headers() && payload.is_some() {
            // As most are, whole in its frame.
            let partial = PartialBlock { head, started, promised, bytes: Vec::new(), is_too_long: false };
            return self.block(direction, &partial, fragment, time, exchanges);
        }
        let mut partial = end.partial.take().unwrap_or_else(|| {
            Box::new(PartialBlock { head, started, promised, bytes: Vec::new(), is_too_long: false })
        });
        partial.is_too_long |= payload.is_none() || partial.bytes.len() + fragment.len() > TEXT_MAX;
        if partial.is_too_long {
            partial.bytes = Vec::new();
        } else {
            partial.bytes.extend_from_slice(fragment);
        }
        if !head.ends_headers() {
            end.partial = Some(partial);
            return Ok(());
        }
        let bytes = std::mem::take(&mut partial.bytes);
        self.block(direction, &partial, &bytes, time, exchanges)
    }

    /// A block of fields that is whole.
    fn block(
        &mut self,
        direction: Direction,
        partial: &PartialBlock,
        bytes: &[u8],
        time: Time,
        exchanges: &mut Exchanges,
    ) -> Result<(), String> {
        let room = self.room();
        let decoder = &mut self.ends[direction.index()].decoder;
        let block = if partial.is_too_long {
            decoder.lose();
            self.is_late = true;
            Block::unknown()
        } else {
            block::decode(decoder, bytes, room).map_err(|fault| format!("a block of fields: {fault}"))?
        };
        let is_push = partial.head.kind == frames::PUSH_PROMISE;
        if self.requests.is_none() {
            self.requests = match block.message() {
                Some(Message::Request) if !is_push => Some(direction),
                Some(_) => Some(direction.opposite()),
                None => None,
            };
        }
        let target = if is_push { partial.promised } else { partial.head.stream };
        let text = |http: &Self| http.streams.get(&target).map_or(0, |stream| stream.text);
        let before = text(self);
        let times = (partial.started, time);
        match self.message(direction) {
            Some(Message::Response) if is_push => {
                self.promise(partial.promised, partial.head.stream, &block, times, exchanges);
            }
            Some(Message::Request) if is_push => return Err("PUSH_PROMISE".to_owned()),
            Some(Message::Request) => self.request(direction, partial.head, block, times, exchanges),
            Some(Message::Response) => self.response(direction, partial.head, block, times, exchanges),
            None => {}
        }
        self.text += text(self).saturating_sub(before);
        if let Some((last, error)) = self.past.refused_above
            && self.message(direction) == Some(Message::Request)
            && partial.head.stream > last
        {
            // It crossed the frame that says so.
            self.refuse(partial.head.stream, error, time, exchanges);
        }
        if partial.head.ends_stream()
            && let (Some(message), Some(stream)) =
                (self.message(direction), self.streams.get_mut(&partial.head.stream))
        {
            stream.end(message, time);
            self.settle(partial.head.stream, exchanges);
        }
        Ok(())
    }

    /// Fields that a client sends.
    fn request(
        &mut self,
        direction: Direction,
        head: Head,
        block: Block,
        (started, time): (Time, Time),
        exchanges: &mut Exchanges,
    ) {
        let id = head.stream;
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.open.exchange.request.is_some()
        {
            stream.open.times.last_seen = time;
            return stream.trailers(Message::Request, block);
        }
        let is_known = self.streams.contains_key(&id);
        let is_closed = self.closed.contains(&id) || id <= self.last[0] && !self.is_late;
        if !is_known && (is_closed || id.is_multiple_of(2) || block.is_trailer()) {
            return;
        }
        self.last[0] = self.last[0].max(id);
        if !is_known {
            self.open(id, started, exchanges);
        }
        let connection = self.ends[direction.index()].window;
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.open.times.last_seen = stream.open.times.last_seen.max(time);
            stream.begin_request(&block, started, &connection);
        }
    }

    /// A request that a server promises to answer (section 8.4).
    fn promise(
        &mut self,
        id: u32,
        by: u32,
        block: &Block,
        (started, time): (Time, Time),
        exchanges: &mut Exchanges,
    ) {
        if id == 0 || !id.is_multiple_of(2) || id <= self.last[1] {
            return;
        }
        self.last[1] = id;
        if let Some(stream) = self.open(id, started, exchanges) {
            stream.details().details.pushed_by = Some(by);
            stream.begin_request(block, started, &Default::default());
            stream.end(Message::Request, time);
        }
    }

    /// Fields that a server sends.
    fn response(
        &mut self,
        direction: Direction,
        head: Head,
        block: Block,
        (started, time): (Time, Time),
        exchanges: &mut Exchanges,
    ) {
        let id = head.stream;
        if !self.streams.contains_key(&id) {
            // Its request was not seen, or is still to come.
            let is_ahead = id > self.last[0] && !id.is_multiple_of(2);
            let may_be = self.is_late || self.is_other_incomplete || is_ahead;
            if !may_be || self.closed.contains(&id) || block.is_trailer() {
                return;
            }
            self.open(id, started, exchanges);
        }
        let connection = self.ends[direction.index()].window;
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.open.times.last_seen = time;
        // A head whose status is not known may have been an interim one.
        let has_head =
            stream.open.exchange.response.as_ref().is_some_and(|response| response.status_code > 0);
        if has_head || stream.open.exchange.response.is_some() && block.status() == 0 {
            stream.trailers(Message::Response, block);
        } else {
            stream.begin_response(&block, started, &connection);
        }
    }

    fn data(
        &mut self,
        direction: Direction,
        data: &Data<'_>,
        is_gap: bool,
        time: Time,
        exchanges: &mut Exchanges,
    ) {
        let id = data.head.stream;
        let message = self.message(direction);
        let connection = &mut self.ends[direction.index()].window;
        let (Some(message), Some(stream)) = (message, self.streams.get_mut(&id)) else {
            // It counts although nobody wants it any more.
            return connection.spend(data.counted, time);
        };
        stream.open.is_gap |= is_gap;
        stream.data(message, data, time, connection);
        if data.is_over && data.head.ends_stream() {
            stream.end(message, time);
            self.settle(id, exchanges);
        }
    }

    /// A frame that is neither of a body nor of fields. Its length was checked.
    fn control(
        &mut self,
        direction: Direction,
        head: Head,
        payload: &[u8],
        time: Time,
        exchanges: &mut Exchanges,
    ) {
        let numbers = payload.as_chunks::<4>().0;
        let number = |at: usize| numbers.get(at).copied().map(u32::from_be_bytes).unwrap_or_default();
        match head.kind {
            frames::RST_STREAM => self.reset(direction, head.stream, ErrorCode(number(0)), time, exchanges),
            frames::SETTINGS if !head.is_ack() => {
                self.ends[direction.index()].has_settings = true;
                let mut window = None;
                for [a, b, value @ ..] in payload.as_chunks::<6>().0 {
                    match (u16::from_be_bytes([*a, *b]), u32::from_be_bytes(*value)) {
                        // It changes every stream: the last value counts.
                        (INITIAL_WINDOW_SIZE, value) => window = Some(value),
                        (identifier, value) => self.setting(direction, identifier, value, time),
                    }
                }
                if let Some(value) = window {
                    self.setting(direction, INITIAL_WINDOW_SIZE, value, time);
                }
            }
            frames::PING => {
                let payload = payload.first_chunk().copied().unwrap_or_default();
                if head.is_ack() {
                    self.ends[direction.opposite().index()].pings.answer(payload, time);
                } else {
                    self.ends[direction.index()].pings.send(payload, time);
                }
            }
            frames::GOAWAY => {
                let goaway =
                    (number(0) & 0x7fff_ffff, ErrorCode(number(1)), payload.get(8..).unwrap_or_default());
                self.goaway(direction, goaway, time, exchanges);
            }
            frames::WINDOW_UPDATE => {
                self.window_update(direction, head.stream, number(0) & 0x7fff_ffff, time);
            }
            // Priorities, and what is not known (section 4.1).
            _ => {}
        }
    }

    fn setting(&mut self, direction: Direction, identifier: u16, value: u32, time: Time) {
        let end = &mut self.ends[direction.index()];
        end.settings.set(identifier, value);
        match identifier {
            1 => self.ends[direction.opposite().index()].decoder.allow(value),
            INITIAL_WINDOW_SIZE => {
                let new = i64::from(value);
                let before = end.initial_window.replace(new).unwrap_or(WINDOW_AT_FIRST);
                let Some(message) = self.message(direction.opposite()) else { return };
                for stream in self.streams.values_mut() {
                    stream.half(message).window.change(new - before, time);
                }
            }
            5 => {
                let frames = &mut self.ends[direction.opposite().index()].frames;
                frames.longest = frames.longest.map(|longest| longest.max(value));
            }
            _ => {}
        }
    }

    fn window_update(&mut self, direction: Direction, id: u32, bytes: u32, time: Time) {
        let sender = direction.opposite();
        if id == 0 {
            return self.ends[sender.index()].window.change(bytes.into(), time);
        }
        if let (Some(message), Some(stream)) = (self.message(sender), self.streams.get_mut(&id)) {
            stream.half(message).window.change(bytes.into(), time);
        }
    }

    fn reset(
        &mut self,
        direction: Direction,
        id: u32,
        error: ErrorCode,
        time: Time,
        exchanges: &mut Exchanges,
    ) {
        let Some(by) = self.role(direction) else { return };
        let Some(mut stream) = self.close(id) else { return };
        self.totals.resets += 1;
        stream.open.times.last_seen = time;
        let others = self.streams.keys().filter(|id| !id.is_multiple_of(2)).count();
        let open_streams =
            (by == Role::Server).then(|| u32::try_from(others).unwrap_or(u32::MAX).saturating_add(1));
        stream.reset(StreamReset { by, error, open_streams });
        self.end_reset(&mut stream, by, error);
        self.emit(stream, exchanges);
    }

    fn goaway(
        &mut self,
        direction: Direction,
        (last_stream, error, debug): (u32, ErrorCode, &[u8]),
        time: Time,
        exchanges: &mut Exchanges,
    ) {
        let Some(by) = self.role(direction) else { return };
        if self.totals.goaway.len() < GOAWAY_MAX {
            let debug = Some(&debug[..debug.len().min(DEBUG_MAX)]).filter(|debug| !debug.is_empty());
            let debug = debug.map(Text::from);
            self.totals.goaway.push(GoAway { time, by, error, last_stream, debug });
        }
        if self.message(direction) != Some(Message::Response) {
            return;
        }
        if self.past.refused_above.is_none_or(|(lowest, _)| last_stream < lowest) {
            self.past.refused_above = Some((last_stream, error));
        }
        let above = self.streams.range(last_stream.saturating_add(1)..).map(|(id, _)| *id);
        let refused: Vec<_> = above.filter(|id| !id.is_multiple_of(2)).collect();
        for id in refused {
            self.refuse(id, error, time, exchanges);
        }
    }

    /// Ends a stream for which the server does nothing.
    fn refuse(&mut self, id: u32, error: ErrorCode, time: Time, exchanges: &mut Exchanges) {
        if let Some(mut stream) = self.close(id) {
            stream.open.times.last_seen = time;
            stream.refuse(error);
            self.end_refused(&mut stream, error);
            self.emit(stream, exchanges);
        }
    }
}
