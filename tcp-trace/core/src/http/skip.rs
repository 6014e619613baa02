//! Payload that nobody needs to see: its bytes are counted by their sequence numbers.

use tcp_trace_model::{event::Direction, exchange::Integrity, time::Time};

use super::{connection::HttpConnection, exchange::Exchange, stream::Position};

/// How far ahead [`HttpConnection::skip_until`] looks: half of what sequence numbers can be told apart by here,
/// so that what comes behind it is still known to be ahead.
pub const SKIP_MAX: u32 = 1 << 29;

impl HttpConnection {
    /// The sequence number before which a direction's payload is not needed: inside a body its end, inside a
    /// chunk the chunk's, at most [`SKIP_MAX`] ahead. `None` where the next byte is needed.
    ///
    /// The answer holds whatever comes. A caller that leaves such payload out says so, with
    /// [`skipped`](Self::skipped) for each segment, or with [`skip`](Self::skip) once.
    pub fn skip_until(&self, direction: Direction) -> Option<u32> {
        let stream = &self.streams[direction.index()];
        let next = stream.reassembly.next_sequence()?;
        let unneeded = stream.position.unneeded().min(SKIP_MAX.into());
        // At most SKIP_MAX, so it fits.
        (unneeded > 0 && self.is_http() != Some(false)).then(|| next.wrapping_add(unneeded as u32))
    }

    /// Notes that payload before `until`, which [`skip_until`](Self::skip_until) gave, may never be handed in:
    /// once later payload comes, what is missing before it counts as passed.
    pub fn skip(&mut self, direction: Direction, until: u32) {
        self.streams[direction.index()].skipped_until = Some(until);
    }

    /// Tells before which sequence number no payload of a direction is missing, for what is handed in next. Without it,
    /// what was left out before a segment has passed with that.
    pub fn in_order_until(&mut self, direction: Direction, sequence: Option<u32>) {
        self.streams[direction.index()].in_order = sequence;
    }

    /// Takes a segment whose payload, `length` bytes from `sequence` on, was left out.
    pub fn skipped(
        &mut self,
        direction: Direction,
        sequence: u32,
        length: u32,
        time: Time,
        exchanges: &mut Vec<Exchange>,
    ) {
        self.pass_skipped(direction, sequence, time, exchanges);
        self.left_out(direction, sequence, length, time, exchanges);
    }

    fn left_out(
        &mut self,
        direction: Direction,
        sequence: u32,
        length: u32,
        time: Time,
        exchanges: &mut Vec<Exchange>,
    ) {
        self.with_reassembly(direction, |reassembly, this| {
            reassembly.push_skipped(sequence, length, time, |chunk| this.chunk(direction, chunk, exchanges));
        });
        self.check_fin(direction, time, exchanges);
    }

    /// What was left out has passed before `sequence`, unless it is known up to where it has.
    pub(super) fn pass_skipped(
        &mut self,
        direction: Direction,
        sequence: u32,
        time: Time,
        exchanges: &mut Vec<Exchange>,
    ) {
        let stream = &mut self.streams[direction.index()];
        let Some((until, next)) = stream.skipped_until.zip(stream.reassembly.next_sequence()) else {
            return;
        };
        let passed = stream.in_order.unwrap_or(sequence);
        // Compared modulo 2^32: positive means after.
        let ahead = until.wrapping_sub(next).cast_signed().min(passed.wrapping_sub(next).cast_signed());
        if until.wrapping_sub(passed).cast_signed() <= 0 {
            stream.skipped_until = None;
        }
        if ahead > 0 {
            self.left_out(direction, next, ahead.unsigned_abs(), time, exchanges);
        }
    }

    /// Bytes were not seen; `is_gap` when nobody meant that. Those of a body are counted.
    pub(super) fn unseen(
        &mut self,
        direction: Direction,
        mut bytes: u64,
        is_gap: bool,
        time: Time,
        exchanges: &mut Vec<Exchange>,
    ) {
        while bytes > 0 {
            let is_request = self.requests() == Some(direction);
            let stream = &mut self.streams[direction.index()];
            let here = stream.position.unneeded().min(bytes);
            match &mut stream.position {
                Position::Tunnel | Position::Lost | Position::Broken => return,
                Position::Undecided => return stream.lose(),
                Position::WebSocket(follower) if here == 0 => {
                    follower.lose();
                    self.note_gap(is_request);
                    return self.end_websocket_if_over(exchanges);
                }
                _ if here == 0 => return self.lose(Integrity::Gap, exchanges),
                Position::WebSocket(follower) => follower.skip(here),
                Position::Chunked(chunked) => chunked.skip(here),
                Position::Length(left) => *left -= here,
                Position::Head | Position::UntilClose => {}
            }
            let is_over = stream.position == Position::Length(0);
            let is_frame = matches!(stream.position, Position::WebSocket(_));
            bytes -= here;
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
