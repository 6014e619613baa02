//! Which columns of a waterfall are for what.

use tcp_trace_core::prose::{cut, width};
use tcp_trace_model::time::Time;

/// Columns of a status code and of a size.
pub(super) const STATUS: usize = 3;
pub(super) const SIZE: usize = 8;
/// Columns of the kind of what was sent, where there is room for it.
const KIND: usize = 5;
/// There is one from this many columns on.
const WIDE: usize = 100;
/// Columns of the request and of the bar, at least.
const REQUEST_MIN: usize = 16;
const BAR_MIN: usize = 10;
/// Columns of the longest request, if there is room: beyond that, the bar is more useful.
const REQUEST_MAX: usize = 60;
/// Spaces between columns.
const GAPS: usize = 8;

/// The widths of a waterfall's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Start, and how long it took.
    pub(super) time: usize,
    pub(super) request: usize,
    pub(super) kind: usize,
    pub(super) connection: usize,
    pub(super) bar: usize,
}

impl Layout {
    /// For columns that need so much.
    pub(super) fn new(columns: usize, time: usize, request: usize, connection: usize) -> Self {
        let kind = if columns >= WIDE { KIND + 1 } else { 0 };
        let taken = 2 * time + kind + STATUS + SIZE + connection + GAPS;
        let room = columns.saturating_sub(taken).max(REQUEST_MIN + BAR_MIN);
        let wanted = request.clamp(REQUEST_MIN, REQUEST_MAX);
        let request = wanted.min((room / 2).max(REQUEST_MIN));
        Self { time, request, kind, connection, bar: room - request }
    }
}

/// Times in milliseconds with the decimals that those of a page are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Millis(usize);

impl Millis {
    /// For a page that takes so long, in microseconds.
    pub(super) fn of(total_us: u64) -> Self {
        Self(match total_us {
            ..100_000 => 2,
            100_000..10_000_000 => 1,
            _ => 0,
        })
    }

    /// Rounded to the nearest, halves up.
    pub(super) fn text(self, us: u64) -> String {
        let unit = 10_u64.pow(3 - u32::try_from(self.0).unwrap_or(0));
        let rounded = us.saturating_add(unit / 2) / unit;
        let scale = 1_000 / unit;
        let fraction =
            if self.0 == 0 { String::new() } else { format!(".{:0w$}", rounded % scale, w = self.0) };
        format!("{}{fraction}", rounded / scale)
    }

    pub(super) fn between(self, from: Time, to: Time) -> String {
        self.text(to.micros_since(from))
    }
}

/// At most `room` columns of a text: when there are more, some of its middle is `…`, and more of its end is kept,
/// because that distinguishes files.
pub(super) fn shortened(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let head = cut(text, (room / 3).max(1));
    let mut tail = text;
    while width(&head) + width(tail) > room {
        let mut characters = tail.chars();
        characters.next();
        tail = characters.as_str();
    }
    head + tail
}

#[cfg(test)]
mod layout_tests {
    use super::*;

    #[test]
    fn lines_are_filled_and_no_column_vanishes() {
        for columns in 80..=240 {
            for (time, request, connection) in [(5, 4, 6), (8, 300, 9), (6, 30, 14)] {
                let layout = Layout::new(columns, time, request, connection);
                let Layout { request, kind, bar, .. } = layout;
                let sum = 2 * time + request + kind + STATUS + SIZE + connection + bar + GAPS;
                assert_eq!(sum, columns, "{layout:?}");
                assert!(request >= REQUEST_MIN && bar >= BAR_MIN, "{layout:?}");
            }
        }
    }

    #[test]
    fn times_have_the_decimals_of_their_page() {
        for (total, us, expected) in [
            (99_999, 1_234, "1.23"),
            (99_999, 1_235, "1.24"),
            (99_999, 5, "0.01"),
            (100_000, 99_960, "100.0"),
            (9_999_999, 1_234, "1.2"),
            (10_000_000, 9_999_500, "10000"),
            (10_000_000, 499, "0"),
        ] {
            assert_eq!(Millis::of(total).text(us), expected, "{total} {us}");
        }
    }

    #[test]
    fn long_texts_lose_their_middle() {
        for (room, expected) in [
            (40, "/static/images/product-1.svg"),
            (28, "/static/images/product-1.svg"),
            (20, "/stat…/product-1.svg"),
            (9, "/s…-1.svg"),
            (3, "…vg"),
        ] {
            assert_eq!(shortened("/static/images/product-1.svg", room), expected);
        }
        // A wide character is not halved.
        assert_eq!(shortened("/日本語/日本語/日本語", 12), "/日…/日本語");
    }
}
