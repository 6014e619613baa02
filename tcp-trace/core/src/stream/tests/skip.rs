//! Payload that is not needed: what the kernel side is to leave out, and what becomes of that.

use super::*;

const AHEAD: u32 = 1 << 30;

fn out(sequence: u32, length: u32) -> Segment<'static> {
    segment(Direction::Out, Flags::ACK, sequence, length)
}

#[test]
fn payload_of_what_is_not_read_is_skipped_far_ahead() {
    let mut half = Half::default();
    let first = half.want(&out(1_000, 100), Need::Nothing);
    assert_eq!(first, Some(Some(1_100 + AHEAD)));
    assert_eq!(half.want(&out(1_100, 100), Need::Nothing), None, "the entry is right");
    let late = 1_000 + AHEAD / 2 + 200;
    assert_eq!(half.want(&out(late, 100), Need::Nothing), Some(Some(late + 100 + AHEAD)));
}

#[test]
fn entries_wrap() {
    let mut half = Half::default();
    assert_eq!(half.want(&out(u32::MAX - 9, 20), Need::Nothing), Some(Some(10 + AHEAD)));
    assert_eq!(half.want(&out(10, 20), Need::Nothing), None);
}

#[test]
fn where_all_is_needed_nothing_is_skipped() {
    assert_eq!(Half::default().want(&out(1_000, 100), Need::All), None);
}

#[test]
fn an_entry_that_lies_behind_is_taken_back() {
    let mut half = Half::default();
    half.elision.entry = Some(5_000);
    assert_eq!(half.want(&out(4_990, 20), Need::All), Some(None));
    assert_eq!(half.want(&out(5_010, 20), Need::All), None);
}

#[test]
fn a_long_rest_of_a_body_is_skipped_and_a_short_one_is_not() {
    for (rest, expected) in [(100_000, Some(Some(1_100 + 100_000))), (1_000, None)] {
        let mut read = Read::default();
        let head = payload(Direction::Out, 1_000, &[b'h'; 100]);
        read.take(&head);
        assert_eq!(read.half.want(&head, Need::From(100 + rest)), expected);
    }
}

#[test]
fn of_a_body_without_end_there_is_always_more() {
    let mut read = Read::default();
    let mut number = 1_000_u32;
    let mut entries = Vec::new();
    for _ in 0..3 {
        let segment = payload(Direction::Out, number, &[b'b'; 100]);
        read.take(&segment);
        entries.extend(read.half.want(&segment, Need::From(u64::MAX)));
        number += 100;
    }
    assert_eq!(entries, [Some(1_100 + SKIP_MAX)], "an entry holds as long as it lasts");
}

/// A direction of which 100 bytes from 0 on were seen, and the next 100,000 may be left out.
fn skipping() -> Read {
    let mut read = Read::starting(0);
    read.bytes(0, &[b'h'; 100]);
    let until = read.half.want(&payload(Direction::In, 0, &[b'h'; 100]), Need::From(100_100));
    assert_eq!(until, Some(Some(100_100)));
    read.out.clear();
    read
}

fn since(next: u32) -> Elision {
    Elision::After(Elided { next, us: 0 })
}

#[test]
fn what_was_left_out_has_passed_with_the_segment_behind_it() {
    let mut read = skipping();
    read.take(&Segment { elision: since(100_100), ..payload(Direction::In, 100_100, b"next") });
    assert_eq!(read.out, "[100000]next");
}

#[test]
fn what_is_missing_of_it_is_waited_for() {
    let mut read = skipping();
    read.take(&Segment { elision: since(50_000), ..payload(Direction::In, 100_100, b"next") });
    assert_eq!(read.out, "[49900]", "from 50,000 on there is a hole");
    let rest = segment(Direction::In, Flags::ACK, 50_000, 50_100);
    read.take(&Segment { elision: since(100_104), ..rest });
    assert_eq!(read.out, "[49900][50100]next");
}

#[test]
fn what_the_receiver_has_of_it_was_elided_and_the_rest_is_a_gap() {
    let mut read = skipping();
    read.advance_to(100_110, false);
    assert_eq!(read.out, "[100000]<10>");
}
