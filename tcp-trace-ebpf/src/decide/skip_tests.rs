//! What is reported of payload that is not needed.

use proptest::prelude::*;

use super::*;
use crate::tcp::ACK;

const COOKIE: u64 = 0xffff_ffff_0000_1005;
const UNTIL: u32 = 1_000;

fn segment(sequence: u32, length: u32) -> RawSegment {
    let mut segment = RawSegment { sequence, length, flags: ACK, ..RawSegment::default() };
    segment.header.cookie = COOKIE;
    segment.header.time_ns = 5_000_000;
    segment
}

/// Progress up to `next`, one millisecond before.
fn progress(next: u32) -> SkipProgress {
    SkipProgress { time_ns: 4_000_000, cookie: COOKIE as u32, next, until: UNTIL, padding: 0 }
}

#[test]
fn only_what_begins_where_the_last_ended_is_left_out() {
    for (what, segment, detail, next) in [
        ("in order", segment(500, 100), Detail::Nothing, Some(600)),
        ("up to the end of what is skipped", segment(500, 500), Detail::Header, Some(1_000)),
        ("beyond the end", segment(500, 501), Detail::Payload, Some(1_001)),
        ("begins beyond the end", segment(1_000, 10), Detail::Payload, Some(1_010)),
        ("a retransmit", segment(400, 100), Detail::Header, None),
        ("a retransmit with news", segment(400, 200), Detail::Header, Some(600)),
        ("behind a hole", segment(600, 100), Detail::Header, Some(700)),
        ("FIN", RawSegment { flags: FIN | ACK, ..segment(500, 0) }, Detail::Payload, None),
        ("RST", RawSegment { flags: RST, ..segment(500, 10) }, Detail::Payload, Some(510)),
        (
            "closed window",
            RawSegment { attributes: ZERO_WINDOW, ..segment(500, 10) },
            Detail::Payload,
            Some(510),
        ),
    ] {
        let elision = decide(&segment, UNTIL, progress(500));
        assert_eq!((elision.detail, elision.progress.map(|after| after.next)), (detail, next), "{what}");
        assert_eq!(
            (elision.attributes, elision.elided_to, elision.elided_age_us),
            (ELIDED, 500, 1_000),
            "{what}"
        );
    }
}

#[test]
fn progress_starts_again_for_another_socket_or_another_entry() {
    let fresh = Some(SkipProgress { time_ns: 5_000_000, next: 600, ..progress(0) });
    for (what, before) in [
        ("no progress yet", SkipProgress::default()),
        ("another socket's", SkipProgress { cookie: 7, ..progress(500) }),
        ("of an earlier entry", SkipProgress { until: 900, ..progress(500) }),
    ] {
        let elision = decide(&segment(500, 100), UNTIL, before);
        assert_eq!(elision.attributes, ELISION_STARTS, "{what}");
        assert_eq!((elision.elided_to, elision.elided_age_us), (0, 0), "{what}");
        assert_eq!(elision.detail, Detail::Header, "{what}");
        assert_eq!(elision.progress, fresh, "{what}");
    }
}

#[test]
fn an_age_that_does_not_fit_is_the_largest() {
    for (before_ns, now_ns, us) in [
        (0, 1_999, 1),
        (5, 4, 0),
        (0, u64::from(u32::MAX) * 1_000 - 1, u32::MAX - 1),
        (0, u64::from(u32::MAX) * 1_000, u32::MAX),
        (0, u64::MAX, u32::MAX),
    ] {
        let mut segment = segment(500, 100);
        segment.header.time_ns = now_ns;
        let elision = decide(&segment, UNTIL, SkipProgress { time_ns: before_ns, ..progress(500) });
        assert_eq!(elision.elided_age_us, us, "{before_ns} to {now_ns}");
    }
}

#[test]
fn pure_acks_are_not_concerned() {
    assert!(!concerns(&segment(500, 0)));
    assert!(concerns(&segment(500, 1)));
    assert!(concerns(&RawSegment { flags: FIN, ..segment(500, 0) }));
}

#[test]
fn what_is_sent_again_one_by_one_is_reported_from_the_first_on() {
    // All of 500 to 800 is lost, and sent again when skipping begins.
    let first = decide(&segment(500, 100), UNTIL, SkipProgress::default());
    let progress = begin(first.progress.unwrap(), 800);
    assert_eq!((first.attributes, progress.next), (ELISION_STARTS, 800));
    let again = decide(&segment(600, 100), UNTIL, progress);
    assert_eq!((again.detail, again.elided_to, again.progress), (Detail::Header, 800, None));
    let new = decide(&segment(800, 100), UNTIL, progress);
    assert_eq!(new.detail, Detail::Nothing);
    assert_eq!(begin(progress, 700), progress, "it goes back for nobody");
}

proptest! {
    /// However a stream is cut, repeated and disordered: of what is needed no byte is left out, and what is left out in
    /// silence lies where user space can tell that it was there, because the next report says how far the direction came.
    #[test]
    fn no_needed_byte_and_no_hole_is_left_out(
        start in any::<u32>(),
        skipped in 0..2_000_u32,
        segments in prop::collection::vec((0..1_500_u32, 1..900_u32), 1..40),
    ) {
        let until = start.wrapping_add(skipped);
        let (mut before, mut highest) = (SkipProgress::default(), None);
        for (offset, length) in segments {
            let segment = segment(start.wrapping_add(offset), length);
            let elision = decide(&segment, until, before);
            prop_assert_eq!(elision.detail == Detail::Payload, offset + length > skipped);
            if elision.detail == Detail::Nothing {
                prop_assert_eq!(Some(offset), highest, "only what is in order");
            }
            let known = highest.map(|highest: u32| start.wrapping_add(highest));
            prop_assert_eq!((elision.attributes == ELIDED).then_some(elision.elided_to), known);
            before = elision.progress.unwrap_or(before);
            highest = highest.max(Some(offset + length));
        }
    }
}
