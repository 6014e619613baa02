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

#[test]
fn a_syn_of_another_connection_moves_no_number() {
    let mut half = Half::default();
    repeats(&mut half, &segment(Direction::In, Flags::SYN, 1000, 0));
    repeats(&mut half, &segment(Direction::In, Flags::ACK, 1001, 28));
    for foreign in [78_309_457, 4_000_000_000] {
        assert!(!repeats(&mut half, &segment(Direction::In, Flags::SYN, foreign, 0)));
    }
    assert_eq!((half.seen.bytes, half.seen.retransmits, half.highest()), (28, 0, Some(1029)));
}

#[test]
fn what_came_before_a_syn_that_is_accepted_does_not_count() {
    let mut half = Half::default();
    let in_syn_sent = |flags, number, length| Segment {
        state: Some(State::SynSent),
        ..segment(Direction::In, flags, number, length)
    };
    repeats(&mut half, &in_syn_sent(Flags::ACK, 5_000_000, 1_000));
    let syn_ack = Flags::SYN.with(Flags::ACK);
    repeats(&mut half, &in_syn_sent(syn_ack, 77, 0));
    repeats(&mut half, &in_syn_sent(syn_ack, 1000, 0));
    repeats(&mut half, &segment(Direction::In, Flags::ACK, 1001, 100));
    assert_eq!((half.seen.bytes, half.seen.retransmits), (100, 0));
}

#[test]
fn the_syn_ack_of_a_simultaneous_open_is_no_retransmit() {
    let mut half = Half::default();
    let syn_ack = segment(Direction::Out, Flags::SYN.with(Flags::ACK), 1000, 0);
    repeats(&mut half, &segment(Direction::Out, Flags::SYN, 1000, 0));
    assert!(!repeats(&mut half, &syn_ack));
    assert!(repeats(&mut half, &syn_ack));
}

#[test]
fn an_rst_moves_a_number_only_where_its_sender_chose_it() {
    for (direction, flags, expected) in [
        (Direction::Out, Flags::RST.with(Flags::ACK), 100_000),
        (Direction::Out, Flags::RST, 100),
        (Direction::In, Flags::RST, 100),
        (Direction::In, Flags::RST.with(Flags::ACK), 100),
    ] {
        let mut half = Half::default();
        repeats(&mut half, &segment(direction, Flags::SYN, 1000, 0));
        repeats(&mut half, &segment(direction, Flags::ACK, 1001, 100));
        repeats(&mut half, &segment(direction, flags, 101_001, 0));
        assert_eq!(half.seen.bytes, expected, "{direction:?} {flags:?}");
    }
}

/// Of 100 bytes that were seen: what the kernel's socket says, and what counts. `None` begins without a SYN.
#[test]
fn the_kernels_number_says_what_passed() {
    let gib = 1_u32 << 30;
    for (syn, end, extent, expected) in [
        (Some(1000), 301_001, Extent::Exact, 300_000),
        (Some(1000), 1_041, Extent::Exact, 40),
        (Some(1000), 1_041, Extent::AtLeast, 100),
        (Some(1000), 1_001, Extent::Exact, 0),
        (Some(u32::MAX - 9), 299_991, Extent::Exact, 300_000),
        (Some(1000), 1_001 + gib, Extent::AtLeast, u64::from(gib)),
        (None, 301_001, Extent::Exact, 300_000),
        (None, 1_041, Extent::Exact, 40),
    ] {
        let mut half = Half::default();
        let first = syn.unwrap_or(1000_u32).wrapping_add(1);
        if let Some(syn) = syn {
            repeats(&mut half, &segment(Direction::In, Flags::SYN, syn, 0));
        }
        repeats(&mut half, &segment(Direction::In, Flags::ACK, first, 100));
        half.count_to(None, End { number: end, has_fin: false, extent });
        assert_eq!(half.seen.bytes, expected, "{syn:?} {end} {extent:?}");
    }
}

#[test]
fn a_count_beyond_the_wrap_is_corrected_within_it() {
    let mut half = Half::default();
    repeats(&mut half, &segment(Direction::In, Flags::SYN, 1000, 0));
    for step in 1..=5_u32 {
        repeats(&mut half, &segment(Direction::In, Flags::ACK, 1001_u32.wrapping_add(step << 30), 100));
    }
    let number = 1001_u32.wrapping_add(5 << 30).wrapping_add(20_100);
    half.count_to(None, End { number, has_fin: false, extent: Extent::Exact });
    assert_eq!(half.seen.bytes, (5 << 30) + 20_100);
}

#[test]
fn what_comes_after_the_end_counts_once() {
    let mut half = Half::default();
    repeats(&mut half, &segment(Direction::Out, Flags::SYN, 1000, 0));
    repeats(&mut half, &segment(Direction::Out, Flags::ACK, 1001, 100));
    half.count_to(None, End { number: 301_001, has_fin: false, extent: Extent::AtLeast });
    repeats(&mut half, &segment(Direction::Out, Flags::RST.with(Flags::ACK), 301_001, 0));
    assert_eq!(half.seen.bytes, 300_000);
}
