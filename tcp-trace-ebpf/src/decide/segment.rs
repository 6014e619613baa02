//! Which segments are reported: all but pure ACKs, and of those the ones that acknowledge a SYN or FIN or that close
//! or open a window.

use super::{forget, opposite, pick_mut};
use crate::{
    RawSegment, ZERO_WINDOW,
    tcp::{ACK, CLOSE, FIN, LISTEN, NEW_SYN_RECV, RST, SYN, distance},
};

/// [`DirectionMemory::is_due`]: that of a segment which may be refused.
pub const MAYBE_DUE: u8 = 1;
/// [`DirectionMemory::is_due`]: that of a SYN or FIN.
pub const DUE: u8 = 2;

/// What is remembered of one direction of a socket; zeros at first. The other direction's segments may be handled at the
/// same time on another CPU, so fields are changed one by one: see [`Changes::apply`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectionMemory {
    /// The number that acknowledges a SYN or FIN of the other direction.
    pub acknowledgment_due: u32,
    /// [`DUE`] or [`MAYBE_DUE`] while such an acknowledgment is awaited, else 0.
    pub is_due: u8,
    /// 1 after a segment whose sender could take no more data.
    pub zero_window: u8,
    /// Always 0.
    pub padding: [u8; 2],
}

/// Whether a decision needs its socket's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryUse {
    /// The segment alone decides, and nothing is to be remembered.
    None,
    /// If there is any.
    IfPresent,
    /// It is made where there is none.
    Create,
}

/// What is decided of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the segment is reported.
    pub is_reported: bool,
    /// What to remember.
    pub changes: Changes,
}

impl Decision {
    /// The same, of which the verifier does not know which of its parts there are (see [`forget`]).
    #[inline(always)]
    pub fn forgotten(self, mask: u32) -> Self {
        let Changes { awaited, is_unsure, is_acknowledged, zero_window } = self.changes;
        let parts = u32::from(self.is_reported)
            | u32::from(awaited.is_some()) << 1
            | u32::from(is_acknowledged) << 2
            | u32::from(zero_window.is_some()) << 3
            | u32::from(zero_window == Some(true)) << 4;
        let parts = forget(parts, mask);
        let has = |part: u32| parts >> part & 1 != 0;
        let changes = Changes {
            awaited: has(1).then_some(forget(awaited.unwrap_or_default(), mask)),
            is_unsure,
            is_acknowledged: has(2),
            zero_window: has(3).then_some(has(4)),
        };
        Self { is_reported: has(0), changes }
    }
}

/// What a segment changes in its socket's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The other direction is to acknowledge this number.
    pub awaited: Option<u32>,
    /// Whether that number is of a segment which may be refused.
    pub is_unsure: bool,
    /// The segment is the awaited acknowledgment.
    pub is_acknowledged: bool,
    /// Whether its sender can take no more data, when that is news.
    pub zero_window: Option<bool>,
}

impl Changes {
    /// Applies them for a segment of `direction`.
    #[inline(always)]
    pub fn apply(self, memory: &mut [DirectionMemory; 2], direction: u8) {
        if let Some(number) = self.awaited {
            let other = pick_mut(memory, opposite(direction));
            // What may be refused takes no place but of its own kind, and not that of what came behind it.
            let is_ahead = distance(other.acknowledgment_due, number) > 0;
            if !self.is_unsure || other.is_due == 0 || other.is_due == MAYBE_DUE && is_ahead {
                other.acknowledgment_due = number;
                other.is_due = if self.is_unsure { MAYBE_DUE } else { DUE };
            }
        }
        let own = pick_mut(memory, direction);
        if self.is_acknowledged {
            own.is_due = 0;
        }
        if let Some(zero_window) = self.zero_window {
            own.zero_window = u8::from(zero_window);
        }
    }
}

/// What [`decide`] needs of the memory of this segment's socket.
#[inline(always)]
pub fn memory_use(segment: &RawSegment) -> MemoryUse {
    if is_of_no_connection(segment.state) {
        MemoryUse::None
    } else if has_zero_window(segment) || is_acknowledged_apart(segment.flags) {
        MemoryUse::Create
    } else if is_control(segment.flags) || segment.length > 0 {
        MemoryUse::None
    } else {
        MemoryUse::IfPresent
    }
}

/// Whether a segment is reported, by what is remembered of its direction; `None` when there is no memory.
#[inline(always)]
pub fn decide(segment: &RawSegment, memory: Option<DirectionMemory>) -> Decision {
    let mut changes = Changes::default();
    if is_of_no_connection(segment.state) {
        return Decision { is_reported: true, changes };
    }
    let known = memory.unwrap_or_default();
    let closes_window = has_zero_window(segment) && known.zero_window == 0;
    if closes_window {
        changes.zero_window = Some(true);
    }
    if is_acknowledged_apart(segment.flags) {
        changes.awaited = Some(segment.sequence.wrapping_add(segment.length).wrapping_add(1));
        return Decision { is_reported: true, changes };
    }
    if is_control(segment.flags) || segment.length > 0 || closes_window {
        return Decision { is_reported: true, changes };
    }
    let opens_window = !has_zero_window(segment) && known.zero_window != 0;
    if opens_window {
        changes.zero_window = Some(false);
    }
    changes.is_acknowledged =
        known.is_due != 0 && distance(known.acknowledgment_due, segment.acknowledgment) >= 0;
    Decision { is_reported: opens_window || changes.is_acknowledged, changes }
}

/// The number after a segment's last one.
#[inline(always)]
pub const fn end(segment: &RawSegment) -> u32 {
    let control = (segment.flags & FIN) as u32 + (segment.flags & SYN != 0) as u32;
    segment.sequence.wrapping_add(segment.length).wrapping_add(control)
}

/// Whether the record of a segment names its network namespace: where user space may not know the socket yet.
#[inline(always)]
pub fn names_netns(segment: &RawSegment) -> bool {
    is_control(segment.flags) || is_of_no_connection(segment.state)
}

/// Whether the segment belongs to a connection that has no socket of its own: one that is not accepted yet, or one for
/// which the kernel answers through its control socket.
#[inline(always)]
const fn is_of_no_connection(state: u8) -> bool {
    matches!(state, LISTEN | NEW_SYN_RECV | CLOSE)
}

#[inline(always)]
const fn is_control(flags: u8) -> bool {
    flags & (SYN | FIN | RST) != 0
}

/// Whether a segment with these flags is answered by an ACK that is reported. That of a SYN alone has a SYN itself.
#[inline(always)]
const fn is_acknowledged_apart(flags: u8) -> bool {
    flags & FIN != 0 || flags & (SYN | ACK) == SYN | ACK
}

#[inline(always)]
const fn has_zero_window(segment: &RawSegment) -> bool {
    segment.attributes & ZERO_WINDOW != 0
}

#[cfg(test)]
#[path = "segment_tests.rs"]
mod tests;
