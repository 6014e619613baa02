//! Payload that was not seen, because it was elided or lost: that of bodies is counted.

use tcp_trace_model::{event::Direction, exchange::Integrity, time::Time};

use super::{connection::HttpConnection, exchange::Exchanges, stream::Position};

impl HttpConnection {
    /// Bytes were not seen: lost when `is_gap`, else elided. Those of a body are counted.
    pub(super) fn missing_bytes(
        &mut self,
        direction: Direction,
        mut bytes: u64,
        is_gap: bool,
        time: Time,
        exchanges: &mut Exchanges,
    ) {
        while bytes > 0 {
            let is_request = self.requests() == Some(direction);
            let is_response_due = self.open.iter().any(|open| !open.is_response_done());
            let stream = &mut self.streams[direction.index()];
            let here = stream.position.unneeded().min(bytes);
            let is_between_requests = is_request && stream.is_between_messages();
            match &mut stream.position {
                Position::Tunnel | Position::Lost | Position::Broken => return,
                Position::Undecided => return stream.lose(),
                Position::Expecting(framing) => {
                    stream.position = Position::behind_head(*framing);
                    if let Some(open) = self.current(is_request) {
                        open.times.end_expecting(time);
                    }
                    continue;
                }
                Position::AfterGap if is_gap => return stream.leave(Position::AfterGap),
                Position::Head if is_gap && is_between_requests && is_response_due => {
                    return stream.leave(Position::AfterGap);
                }
                Position::WebSocket(follower) if here == 0 => {
                    follower.lose();
                    self.note_gap(is_request);
                    return self.end_websocket_if_over(exchanges);
                }
                _ if here == 0 => return self.lose(Integrity::Gap, exchanges),
                Position::WebSocket(follower) => follower.skip(here),
                Position::Chunked(chunked) => chunked.skip(here),
                Position::Length(left) => *left -= here,
                Position::Head | Position::AfterGap | Position::UntilClose => {}
            }
            let is_over = stream.position == Position::Length(0);
            let is_frame = matches!(stream.position, Position::WebSocket(_));
            bytes -= here;
            stream.unread = bytes;
            if is_gap {
                self.note_gap(is_request);
            }
            self.count_body(is_request, if is_frame { 0 } else { here }, time);
            if is_over {
                self.end_message(direction, time, exchanges);
            }
            self.end_websocket_if_over(exchanges);
        }
    }

    fn note_gap(&mut self, is_request: bool) {
        if let Some(open) = self.current(is_request) {
            open.is_gap = true;
        }
    }
}
