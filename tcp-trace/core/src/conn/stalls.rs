//! What of an exchange's time was lost on the way: segments that came again or late, and full windows.

use tcp_trace_model::{
    event::{Direction, Flags, Segment},
    time::Time,
};

use super::{Connection, sequence::Passage};
use crate::http::Cause;

impl Connection {
    /// Tells the HTTP parser what held up its bytes, before it gets those of `segment`.
    pub(super) fn note_stalls(&mut self, time: Time, segment: &Segment<'_>, passage: Passage) {
        self.note_full_windows(time);
        let direction = segment.direction;
        let in_order = self.sequences[direction.index()].in_order();
        let Some(http) = self.http.parser() else { return };
        http.in_order_until(direction, in_order);
        if segment.length == 0 && !segment.flags.has(Flags::FIN) {
            return;
        }
        match (direction, passage) {
            // On the sender's host it shows that a segment was sent again, on the receiver's that one came late.
            (Direction::Out, Passage::Again(first)) => {
                http.stalled(direction, Cause::Retransmit, first.unwrap_or(time), time);
            }
            (Direction::In, Passage::Late(Some(since))) => {
                http.stalled(direction, Cause::OutOfOrder, since, time);
            }
            _ => {}
        }
    }

    /// Tells the HTTP parser which directions' receivers can take no more, and since when.
    pub(super) fn note_full_windows(&mut self, time: Time) {
        for direction in [Direction::Out, Direction::In] {
            let since = self.sequences[direction.opposite().index()].zero_window();
            if let (Some(since), Some(http)) = (since, self.http.parser()) {
                http.stalled(direction, Cause::ZeroWindow, since, time);
            }
        }
    }
}
