//! Segments for tests, by what matters of them.

use std::net::SocketAddr;

use tcp_trace_model::event::{Direction, Endpoints, Flags, Segment};

use super::{Half, Need, SKIP_MAX};

/// A segment with nothing but numbers.
pub fn segment(direction: Direction, flags: Flags, sequence: u32, length: u32) -> Segment<'static> {
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    Segment {
        direction,
        flags,
        sequence,
        acknowledgment: 0,
        length,
        payload: &[],
        endpoints: Endpoints { local: nowhere, peer: nowhere },
        netns: None,
        state: None,
        zero_window: false,
        skipping: Default::default(),
    }
}

/// A segment with this payload.
pub fn payload(direction: Direction, sequence: u32, payload: &[u8]) -> Segment<'_> {
    let length = u32::try_from(payload.len()).unwrap();
    Segment { payload, ..segment(direction, Flags::default(), sequence, length) }
}

/// The number before which a direction needs no payload.
pub fn unneeded_until(half: &Half, need: Need) -> Option<u32> {
    match need {
        Need::From(offset) => {
            let length = (offset - half.offset()).min(SKIP_MAX.into());
            Some(half.cursor.next?.wrapping_add(u32::try_from(length).unwrap()))
        }
        Need::All | Need::Nothing => None,
    }
}

/// Lets payload before this number pass unreported.
pub fn elide_until(half: &mut Half, until: u32) {
    half.elision.until = Some(until);
}
