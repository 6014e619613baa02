//! How streams end that are not over: by themselves, with their connection, or because nobody can read on.

use tcp_trace_model::{
    event::{Direction, Role},
    exchange::{Ended, Integrity, Message, Outcome, Part},
    http2::ErrorCode,
    time::Time,
};

use super::{
    connection::{HttpTwo, Position},
    flow::Window,
    frames::{self, FRAME_SIZE_AT_FIRST, Frames},
    stream::Stream,
};
use crate::http::{ConnectionEnd, End, Exchanges, UNREAD, UNSEEN, broke_off, broken_outcome, place, reason};

impl HttpTwo {
    /// Bytes were lost: nobody knows where frames begin, or what their fields say. What streams go on will show.
    pub(super) fn lose(&mut self, direction: Direction, exchanges: &mut Exchanges) {
        self.is_late = true;
        let message = self.message(direction);
        for stream in self.streams.values_mut() {
            stream.request.window = Window::default();
            stream.response.window = Window::default();
            let is_over = message.is_some_and(|message| stream.half(message).is_over);
            stream.open.is_gap |= !is_over;
            // Who has sent all of a message may still reset its stream.
            stream.request.may_have_ended |= message != Some(Message::Response);
            stream.response.may_have_ended |= message != Some(Message::Request);
        }
        for end in &mut self.ends {
            end.window = Window::default();
            end.initial_window = None;
            end.frames.longest = None;
        }
        let end = &mut self.ends[direction.index()];
        end.position = Position::Lost;
        end.frames = Frames::new(None);
        end.partial = None;
        end.decoder.lose();
        // A request that was waited for does not come any more.
        self.is_other_incomplete = false;
        let over: Vec<_> =
            self.streams.iter().filter(|(_, stream)| stream.is_over()).map(|(id, _)| *id).collect();
        over.into_iter().for_each(|id| self.settle(id, exchanges));
    }

    /// Whether bytes of a direction whose place is not known begin with a frame.
    pub(super) fn is_resumed_by(&self, direction: Direction, bytes: &[u8]) -> bool {
        let is_going_on = |id| {
            let (Some(stream), Some(message)) = (self.streams.get(&id), self.message(direction)) else {
                return false;
            };
            !stream.half_of(message).is_over
        };
        let longest = self.ends[direction.opposite().index()].settings.max_frame_size;
        frames::tile(bytes, is_going_on, longest.unwrap_or(FRAME_SIZE_AT_FIRST))
    }

    /// A direction is illegal: it is not read any more, and neither is what is open.
    pub(super) fn break_off(&mut self, direction: Direction, fault: String, exchanges: &mut Exchanges) {
        let end = &mut self.ends[direction.index()];
        if end.is_resumed {
            // Or what looked like a frame was none.
            return self.lose(direction, exchanges);
        }
        end.position = Position::Broken;
        end.frames = Frames::new(None);
        end.partial = None;
        let who = match self.role(direction) {
            Some(Role::Client) => "the client sent ",
            Some(_) => "the server sent ",
            None => "",
        };
        self.totals.illegal.get_or_insert(format!("{who}{fault}"));
        let message = self.message(direction).unwrap_or(Message::Response);
        for (_, mut stream) in std::mem::take(&mut self.streams) {
            // A request that is whole may still be answered.
            if stream.half(message).is_over {
                let id = stream.details().id;
                self.streams.insert(id, stream);
                continue;
            }
            if stream.may_have_ended() {
                stream.conclude_unseen();
            } else {
                stream.open.invalid.get_or_insert((message, UNREAD.into()));
                stream.open.conclude(Integrity::Truncated, Outcome::Invalid);
            }
            self.emit(stream, exchanges);
        }
    }

    /// A stream ends with RST_STREAM.
    pub(super) fn end_reset(&self, stream: &mut Stream, by: Role, error: ErrorCode) {
        let by = if by == Role::Client { "client" } else { "server" };
        if stream.response.may_have_ended && !stream.response.is_over {
            stream.conclude_unseen();
            if stream.open.invalid.is_none() {
                stream.open.exchange.reason =
                    Some(format!("{UNSEEN}; then the stream was reset by the {by}: {error}").into());
            }
            return;
        }
        let (is_done, is_tunnel) = (stream.response.is_over, stream.is_tunnel());
        let open = &mut stream.open;
        let ended = place(open, None, None);
        let is_cut = ended.is_some_and(|ended| ended.part != Part::None);
        let integrity = if is_cut && !is_tunnel { Integrity::Truncated } else { Integrity::Complete };
        let outcome = match (is_done, is_tunnel) {
            (true, _) => Outcome::Ok,
            (false, true) => Outcome::Upgraded,
            (false, false) => Outcome::Reset,
        };
        open.conclude(integrity, outcome);
        if open.invalid.is_none() {
            open.exchange.reason = Some(format!("stream reset by the {by}: {error}").into());
            open.exchange.ended = ended.filter(|_| !is_tunnel);
        }
    }

    /// A stream ends because the server says that it did nothing for it.
    pub(super) fn end_refused(&self, stream: &mut Stream, error: ErrorCode) {
        let open = &mut stream.open;
        open.conclude(Integrity::Complete, Outcome::NoResponse);
        if open.invalid.is_none() {
            open.exchange.reason = Some(format!("not processed: the server sent GOAWAY ({error})").into());
            open.exchange.ended = Some(Ended { message: Message::Response, part: Part::None, offset: 0 });
        }
    }

    /// Ends the connection: streams that are not over are appended with what is known of them.
    pub fn finish(&mut self, time: Time, end: ConnectionEnd, exchanges: &mut Exchanges) {
        let goaway = self.totals.goaway.iter().rev().find(|goaway| goaway.by == Role::Server);
        let error = goaway.map(|goaway| goaway.error).filter(|error| *error != ErrorCode::NO_ERROR);
        let last_seen = broke_off(time, end);
        let mut streams: Vec<_> = std::mem::take(&mut self.streams).into_values().collect();
        streams.sort_by_key(|stream| stream.open.exchange.index);
        for mut stream in streams {
            self.break_stream(&mut stream, end, last_seen, error);
            self.emit(stream, exchanges);
        }
    }

    fn break_stream(
        &self,
        stream: &mut Stream,
        end: ConnectionEnd,
        last_seen: Time,
        error: Option<ErrorCode>,
    ) {
        if end.end == End::Unseen || stream.may_have_ended() {
            return stream.conclude_unseen();
        }
        let is_tunnel = stream.is_tunnel();
        let open = &mut stream.open;
        let ended = place(open, None, None);
        let (integrity, outcome) = broken_outcome(open, ended, end);
        if ended.is_some() {
            open.times.last_seen = open.times.last_seen.max(last_seen);
        }
        if is_tunnel && outcome != Outcome::Reset {
            open.conclude(Integrity::Complete, Outcome::Upgraded);
            return;
        }
        open.conclude(integrity, outcome);
        if open.invalid.is_some() {
            return;
        }
        let Some(ended) = ended else { return };
        let mut text = if open.is_gap && end.end == End::Unknown {
            UNSEEN.into()
        } else {
            reason(self.requests, open, ended, end)
        };
        if let Some(error) = error {
            text = format!("{text}; the server had sent GOAWAY ({error})").into();
        }
        (open.exchange.reason, open.exchange.ended) = (Some(text), Some(ended));
    }
}
