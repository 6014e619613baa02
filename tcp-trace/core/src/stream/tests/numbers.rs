//! What a segment's numbers say: bytes, retransmits, windows.

use super::*;

/// Takes a segment into account; true when its numbers were used before.
fn repeats(half: &mut Half, segment: &Segment<'_>) -> bool {
    matches!(half.track(Time(0), segment, None), Arrival::Retransmit(_))
}

#[test]
fn the_time_of_a_zero_window_is_summed_up() {
    let mut half = Half::default();
    let with = |zero_window| Segment { zero_window, ..segment(Direction::Out, Flags::ACK, 1000, 0) };
    assert!(!half.note_window(Time(0), &with(false)));
    assert!(half.note_window(Time(1_000_000), &with(true)));
    assert!(!half.note_window(Time(2_000_000), &with(true)), "it is closed already");
    assert!(half.note_window(Time(4_000_000), &with(false)));
    assert!(half.note_window(Time(9_000_000), &with(true)));
    assert_eq!(half.zero_window_us(Time(10_000_000)), 3_000 + 1_000);
}

#[test]
fn syn_and_fin_take_a_number_but_are_no_bytes() {
    let mut half = Half::default();
    assert!(!repeats(&mut half, &segment(Direction::Out, Flags::SYN, 1000, 0)));
    assert!(!repeats(&mut half, &segment(Direction::Out, Flags::ACK, 1001, 79)));
    assert!(!repeats(&mut half, &segment(Direction::Out, Flags::FIN, 1080, 0)));
    assert_eq!(half.seen.bytes, 79);
    assert_eq!(half.seen.retransmits, 0);
}

#[test]
fn numbers_used_before_are_a_retransmit_and_count_once() {
    let mut half = Half::default();
    repeats(&mut half, &segment(Direction::Out, Flags::SYN, 1000, 0));
    assert!(repeats(&mut half, &segment(Direction::Out, Flags::SYN, 1000, 0)));
    repeats(&mut half, &segment(Direction::Out, Flags::ACK, 1001, 79));
    assert!(repeats(&mut half, &segment(Direction::Out, Flags::ACK, 1001, 79)));
    assert!(
        !repeats(&mut half, &segment(Direction::Out, Flags::ACK, 1001, 100)),
        "it brings new bytes as well"
    );
    assert_eq!((half.seen.bytes, half.seen.retransmits), (100, 2));
}

#[test]
fn segments_that_overtake_each_other_are_no_retransmits() {
    let mut half = Half::default();
    let mut send = |number: u32| repeats(&mut half, &segment(Direction::Out, Flags::ACK, number * 100, 100));
    let order = [10, 12, 11, 14, 13];
    assert!(order.into_iter().all(|number| !send(number)));
    assert!(order.into_iter().all(send), "and now they are all sent again");
    assert_eq!((half.seen.bytes, half.seen.retransmits), (500, 5));
}

#[test]
fn a_pure_ack_is_never_a_retransmit() {
    let mut half = Half::default();
    repeats(&mut half, &segment(Direction::Out, Flags::ACK, 1001, 79));
    assert!(!repeats(&mut half, &segment(Direction::Out, Flags::ACK, 1080, 0)));
    assert!(!repeats(&mut half, &segment(Direction::Out, Flags::ACK, 1001, 0)));
}

#[test]
fn the_fin_counts_the_bytes_that_nobody_reported() {
    let mut half = Half::default();
    repeats(&mut half, &segment(Direction::Out, Flags::SYN, 1000, 0));
    repeats(&mut half, &segment(Direction::Out, Flags::FIN, 1_001_001, 0));
    assert_eq!(half.seen.bytes, 1_000_000);
}

#[test]
fn numbers_wrap_at_two_to_the_32() {
    let mut half = Half::default();
    repeats(&mut half, &segment(Direction::Out, Flags::SYN, u32::MAX - 9, 0));
    repeats(&mut half, &segment(Direction::Out, Flags::ACK, u32::MAX - 8, 100));
    assert!(repeats(&mut half, &segment(Direction::Out, Flags::ACK, u32::MAX - 8, 100)));
    assert!(!repeats(&mut half, &segment(Direction::Out, Flags::ACK, 91, 9)));
    assert_eq!(half.seen.bytes, 109);
}

#[test]
fn a_fin_that_an_acknowledgment_behind_it_overtakes_is_no_byte() {
    let mut half = Half::default();
    repeats(&mut half, &segment(Direction::In, Flags::ACK, 1001, 79));
    repeats(&mut half, &segment(Direction::In, Flags::ACK, 1081, 0));
    for _ in 0..2 {
        repeats(&mut half, &segment(Direction::In, Flags::FIN, 1080, 0));
    }
    assert_eq!(half.seen.bytes, 79);
}
