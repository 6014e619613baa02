//! How much of a segment is reported whose payload user space does not need.

use crate::{
    ELIDED, ELISION_STARTS, RawSegment, ZERO_WINDOW,
    tcp::{FIN, RST, SYN, distance},
};

/// How far a direction has come whose payload is skipped.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SkipProgress {
    /// When the segment with the highest sequence number was seen.
    pub time_ns: u64,
    /// The low half of the socket's cookie.
    pub cookie: u32,
    /// The sequence number after the highest.
    pub next: u32,
    /// Before which sequence number payload was skipped then: progress starts again where user space says another one.
    pub until: u32,
    /// Always 0.
    pub padding: u32,
}

/// How much of a segment is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Nothing.
    Nothing,
    /// That it was there, without its payload.
    Header,
    /// All of it.
    Payload,
}

/// What is decided of a segment in a direction whose payload is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elision {
    /// How much is reported.
    pub detail: Detail,
    /// What else its record says: bits of [`RawSegment::attributes`].
    pub attributes: u8,
    /// [`RawSegment::elided_to`].
    pub elided_to: u32,
    /// [`RawSegment::elided_age_us`].
    pub elided_age_us: u32,
    /// The new progress, when there is one.
    pub progress: Option<SkipProgress>,
}

/// Whether skipping concerns a segment: pure ACKs have nothing that could be skipped.
#[inline(always)]
pub const fn concerns(segment: &RawSegment) -> bool {
    segment.length != 0 || segment.flags & FIN != 0
}

/// Decides of a segment whose payload user space does not need before sequence number `until`. User space may say so too
/// late: then it gets more. Payload that is not exactly in order is reported without its bytes: so retransmits show, and
/// holes.
#[inline(always)]
pub fn decide(segment: &RawSegment, until: u32, before: SkipProgress) -> Elision {
    let end = segment.sequence.wrapping_add(segment.length);
    let cookie = segment.header.cookie as u32;
    let time_ns = segment.header.time_ns;
    let is_known = before.cookie == cookie && before.until == until;
    let is_in_order = is_known && segment.sequence == before.next;
    let is_ahead = !is_known || distance(before.next, end) > 0;
    let us = time_ns.saturating_sub(before.time_ns) / 1_000;
    Elision {
        detail: detail(segment, distance(until, end), is_in_order),
        attributes: if is_known { ELIDED } else { ELISION_STARTS },
        elided_to: if is_known { before.next } else { 0 },
        elided_age_us: match is_known {
            false => 0,
            true if us < u64::from(u32::MAX) => us as u32,
            true => u32::MAX,
        },
        progress: is_ahead.then_some(SkipProgress { time_ns, cookie, next: end, until, padding: 0 }),
    }
}

/// The progress of a direction that leaves this host, where it begins to be skipped: the first segment may be one that is sent again,
/// and so may those behind it, up to `sent_to`.
#[inline(always)]
pub const fn begin(progress: SkipProgress, sent_to: u32) -> SkipProgress {
    if distance(progress.next, sent_to) > 0 { SkipProgress { next: sent_to, ..progress } } else { progress }
}

/// `beyond` is how far the segment's end is beyond what is skipped.
#[inline(always)]
fn detail(segment: &RawSegment, beyond: i32, is_in_order: bool) -> Detail {
    if segment.flags & (SYN | FIN | RST) != 0 || segment.attributes & ZERO_WINDOW != 0 {
        Detail::Payload
    } else if beyond < 0 && is_in_order {
        Detail::Nothing
    } else if beyond <= 0 {
        Detail::Header
    } else {
        Detail::Payload
    }
}

#[cfg(test)]
#[path = "skip_tests.rs"]
mod tests;
