//! Which columns of a ladder are for what, so that it fits into 80.

use tcp_trace_core::{
    prose::{cut, width},
    timeline::Side,
};
use tcp_trace_model::time::Time;

use super::model::Ladder;
use crate::sink::words::named;

/// Columns that a ladder never exceeds, as long as its addresses are IPv4. An IPv6 address is never cut, and has
/// a line of its own.
pub(super) const COLUMNS: usize = 80;
/// Columns between the two lanes, if there is room for them.
const INNER: usize = 44;
/// Columns of the time and of the acting process, unless a longer one needs more.
const TIME: usize = 9;
const PROCESS: usize = 18;
/// Columns of the longest process: the kernel's names are 15 bytes at most, and its process ids 7 digits.
const PROCESS_MAX: usize = 24;
/// Columns that no content fills: two between time and process, one before the lanes, and the lanes.
const FRAME: usize = 5;

/// The widths of a ladder's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) time: usize,
    pub(super) process: usize,
    /// Between the lanes.
    pub(super) inner: usize,
}

impl Layout {
    pub(super) fn new(ladder: &Ladder<'_>) -> Self {
        let last = ladder.rows.last().map_or(0, |row| relative(row.time, ladder.opened).len());
        let longest = [Side::Client, Side::Server].map(|side| width(&process(ladder, side)));
        Self::fitting(last, longest.into_iter().max().unwrap_or_default())
    }

    /// For the longest time and the longest process of a ladder.
    fn fitting(time_needed: usize, process_needed: usize) -> Self {
        let process = PROCESS.max(process_needed);
        // The time gives way first, by what no time of this ladder fills; then the lanes come closer.
        let room = COLUMNS.saturating_sub(FRAME + process);
        let time = TIME.min(room.saturating_sub(INNER)).max(time_needed);
        Self { time, process, inner: INNER.min(room.saturating_sub(time)) }
    }

    /// Columns before the left lane.
    pub(super) fn margin(&self) -> usize {
        self.time + 2 + self.process + 1
    }
}

/// Who acts at a side.
pub(super) fn process(ladder: &Ladder<'_>, side: Side) -> String {
    let Some(end) = ladder.end(side) else {
        return if ladder.is_to_itself() { "(the same socket)" } else { "(not traced)" }.to_owned();
    };
    let Some(process) = end.process else {
        return "-".to_owned();
    };
    let (whole, pid) = (named(process), format!("[{}]", process.pid));
    if width(&whole) <= PROCESS_MAX {
        return whole;
    }
    // Which process it is stays; a name of the kernel is this long only when it is full of escapes.
    let name = whole.strip_suffix(&pid).unwrap_or(&whole);
    cut(name, PROCESS_MAX.saturating_sub(pid.len())) + &pid
}

/// Milliseconds since the start, to the microsecond.
pub(super) fn relative(time: Time, start: Time) -> String {
    let us = time.micros_since(start);
    format!("{}.{:03}", us / 1_000, us % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lanes_come_closer_only_when_nothing_else_gives_way() {
        for (time, process, expected) in [
            (5, 12, (9, 18, 44)),
            // 100 s and more, and the longest process there is.
            (11, 18, (11, 18, 44)),
            (9, 22, (9, 22, 44)),
            (5, 24, (7, 24, 44)),
            (9, 24, (9, 24, 42)),
            (11, 24, (11, 24, 40)),
            // As long as a time can be.
            (18, 24, (18, 24, 33)),
        ] {
            let layout = Layout::fitting(time, process);
            assert_eq!((layout.time, layout.process, layout.inner), expected, "{time} {process}");
            assert!(layout.margin() + 2 + layout.inner <= COLUMNS);
        }
    }
}
