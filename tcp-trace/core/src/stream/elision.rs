//! Which payload of a direction the kernel side may leave out.

use tcp_trace_model::event::{Flags, Segment};

use super::{
    chunk::Need,
    cursor::Cursor,
    number::{ahead, first},
};

/// How far ahead payload is skipped of a direction that is not read, in bytes: half of what sequence numbers can tell
/// apart, so that they are never taken for old ones.
const AHEAD: u32 = 1 << 30;
/// How far ahead payload is elided whose bytes are counted: half of what sequence numbers can be told apart by here, so
/// that what comes behind it is still known to be ahead.
pub const SKIP_MAX: u32 = 1 << 29;
/// Bytes that are left of a body when it is worth a system call to do without them.
const WORTH_SKIPPING: i32 = 32 << 10;

/// What the kernel side was said to leave out of a direction.
#[derive(Debug, Default)]
pub(super) struct Elision {
    /// The skip entry: before which number it hands over no payload.
    pub(super) entry: Option<u32>,
    /// Payload before this number may have passed unreported.
    pub(super) until: Option<u32>,
}

impl Elision {
    /// How many bytes after `next` have passed unreported where all before `passed` has.
    pub(super) fn take(&mut self, passed: u32, next: Option<u32>) -> u64 {
        let (Some(until), Some(next)) = (self.until, next) else { return 0 };
        if ahead(until, passed) <= 0 {
            self.until = None;
        }
        ahead(first(until, passed), next).max(0).unsigned_abs().into()
    }

    /// What the entry has to be after a segment, see [`Half::want`](super::Half::want).
    #[inline]
    pub(super) fn want(&mut self, segment: &Segment<'_>, need: Need, cursor: &Cursor) -> Option<Option<u32>> {
        if segment.length == 0 || segment.flags.has(Flags::SYN) || segment.flags.has(Flags::FIN) {
            return None;
        }
        let end = segment.sequence.wrapping_add(segment.length);
        let entry = self.entry;
        if entry.is_none() && need == Need::All {
            return None;
        }
        let until = match need {
            Need::All => None,
            Need::From(offset) => self.elide(offset, end, cursor),
            Need::Nothing => {
                let is_far = entry.is_some_and(|entry| ahead(entry, end) > AHEAD.cast_signed() / 2);
                if is_far { entry } else { Some(end.wrapping_add(AHEAD)) }
            }
        };
        // A stale entry has to be cleared before numbers wrap around to it.
        let until = until.filter(|until| ahead(*until, end) > 0);
        self.entry = until;
        (until != entry).then_some(until)
    }

    /// The entry that lets payload before `offset` pass unreported after `end`, if it is worth that.
    fn elide(&mut self, offset: u64, end: u32, cursor: &Cursor) -> Option<u32> {
        let length = offset.checked_sub(cursor.offset).filter(|length| *length > 0)?;
        // At most SKIP_MAX, so it fits.
        let until = cursor.next?.wrapping_add(length.min(SKIP_MAX.into()) as u32);
        // One that came before says nothing of how much is left.
        let left = ahead(until, end).min(ahead(until, cursor.next?));
        // An entry holds as long as it lasts: of a body whose end is not known, there is always more.
        let is_enough = |entry: &u32| *entry == until || (WORTH_SKIPPING..left).contains(&ahead(*entry, end));
        if self.entry.as_ref().is_some_and(is_enough) {
            return self.entry;
        }
        if left < WORTH_SKIPPING {
            return None;
        }
        self.until = Some(until);
        Some(until)
    }
}
