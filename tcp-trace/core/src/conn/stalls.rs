//! What of an exchange's time was lost on the way: segments that came again or late, and full windows.

use tcp_trace_model::{
    event::{Direction, Flags, Segment},
    time::Time,
};

use super::Connection;
use crate::{http::Cause, stream::Arrival};

impl Connection {
    /// Tells the layer that reads it what held up its bytes, before it gets those of `segment`.
    pub(super) fn note_stalls(&mut self, time: Time, segment: &Segment<'_>, arrival: Arrival) {
        self.note_full_windows(time);
        if segment.length == 0 && !segment.flags.has(Flags::FIN) {
            return;
        }
        let direction = segment.direction;
        match (direction, arrival) {
            // On the sender's host it shows that a segment was sent again, on the receiver's that one came late.
            (Direction::Out, Arrival::Retransmit(first)) => {
                self.payload.stalled(direction, Cause::Retransmit, first.unwrap_or(time), time);
            }
            (Direction::In, Arrival::OutOfOrder(Some(since))) => {
                self.payload.stalled(direction, Cause::OutOfOrder, since, time);
            }
            _ => {}
        }
    }

    /// Tells it which directions' receivers can take no more, and since when.
    pub(super) fn note_full_windows(&mut self, time: Time) {
        for direction in [Direction::Out, Direction::In] {
            if let Some(since) = self.stream.half(direction.opposite()).zero_window() {
                self.payload.stalled(direction, Cause::ZeroWindow, since, time);
            }
        }
    }
}
