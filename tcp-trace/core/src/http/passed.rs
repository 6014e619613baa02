//! What has passed although nobody saw it, because its events were lost: its receiver says so, or the kernel's socket.

use tcp_trace_model::{
    event::{Direction, Segment},
    time::Time,
};

use super::{connection::HttpConnection, exchange::Exchange, stream::Position};

/// How far a segment may be from what is expected for its acknowledgment to be believed, in bytes. The kernel looks at one
/// segment only after this: it may be forged, or of an earlier connection.
const WINDOW: i32 = 1 << 20;
/// How much is believed to have passed unseen by an acknowledgment, in bytes.
const ACKNOWLEDGED_MAX: i32 = 16 << 20;

impl HttpConnection {
    /// Takes what a segment acknowledges of the other direction. Exchanges that end by that are appended.
    pub fn acknowledged(&mut self, segment: &Segment<'_>, time: Time, exchanges: &mut Vec<Exchange>) {
        let direction = segment.direction.opposite();
        let (number, stream) = (segment.acknowledgment, &self.streams[direction.index()]);
        let Some(next) = stream.reassembly.next_sequence() else { return };
        let unneeded = stream.skipped_until.unwrap_or(next);
        // Compared modulo 2^32: positive means after. Most acknowledge what was seen.
        let is_ahead = number.wrapping_sub(next).cast_signed() > 0;
        if is_ahead
            && number.wrapping_sub(unneeded).cast_signed() <= ACKNOWLEDGED_MAX
            && self.is_near(segment)
        {
            self.has_passed(direction, number, time, exchanges);
        }
    }

    /// Whether a segment is where its direction is.
    fn is_near(&self, segment: &Segment<'_>) -> bool {
        let stream = &self.streams[segment.direction.index()];
        let Some(next) = stream.reassembly.next_sequence() else { return false };
        let behind = |number: u32| segment.sequence.wrapping_sub(number).cast_signed();
        let until = stream.skipped_until.unwrap_or(next);
        // What is left out lies between the two.
        behind(next) >= -WINDOW && (behind(next) <= WINDOW || behind(until) <= WINDOW)
    }

    /// Notes that all before this sequence number of a direction has passed, a FIN included: what was not seen of it, nobody
    /// will see. Exchanges that end by that are appended.
    pub fn has_passed(
        &mut self,
        direction: Direction,
        sequence: u32,
        time: Time,
        exchanges: &mut Vec<Exchange>,
    ) {
        let stream = &self.streams[direction.index()];
        let Some(next) = stream.reassembly.next_sequence() else { return };
        // One number alone may be that of a FIN that was not seen.
        let has_fin = stream.fin.is_some();
        let end = sequence.wrapping_sub(u32::from(has_fin || stream.position == Position::UntilClose));
        if end.wrapping_sub(next).cast_signed() <= i32::from(!has_fin) {
            return;
        }
        if self.requests() == Some(direction) && stream.is_between_messages() && self.awaits_response() {
            // What is missing comes behind a request whose response is not affected.
            self.requests_passed = Some(sequence);
            return;
        }
        self.in_order_until(direction, None);
        self.pass_skipped(direction, end, time, exchanges);
        self.with_reassembly(direction, |reassembly, this| {
            reassembly.has_passed(end, time, |chunk| this.chunk(direction, chunk, exchanges));
        });
        self.check_fin(direction, time, exchanges);
    }

    /// Whether the request of a response that begins in this direction was lost: then nobody knows any more which response
    /// belongs to which.
    pub(super) fn was_request_lost(
        &mut self,
        direction: Direction,
        time: Time,
        exchanges: &mut Vec<Exchange>,
    ) -> bool {
        let Some(passed) = self.requests_passed.take() else { return false };
        self.has_passed(direction.opposite(), passed, time, exchanges);
        self.streams[direction.index()].position == Position::Lost
    }

    fn awaits_response(&self) -> bool {
        self.open.iter().any(|open| !open.is_response_done())
    }
}
