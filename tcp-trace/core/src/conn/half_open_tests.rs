//! What becomes of half-open connections.

use std::net::SocketAddr;

use tcp_trace_model::{
    event::State,
    refusal::{Refusal, Verdict},
};

use super::*;

const LISTENER: Cookie = 2;

fn key(port: u16) -> FourTuple {
    let endpoints = Endpoints {
        local: SocketAddr::from(([127, 0, 0, 1], 80)),
        peer: SocketAddr::from(([127, 0, 0, 1], port)),
    };
    FourTuple { netns: 1, endpoints }
}

fn syn(sequence: u32) -> Segment<'static> {
    Segment {
        direction: Direction::In,
        flags: Flags::SYN,
        sequence,
        acknowledgment: 0,
        length: 0,
        payload: &[],
        endpoints: key(1).endpoints,
        netns: Some(1),
        state: Some(State::Listen),
        zero_window: false,
        elision: Default::default(),
        verdict: Default::default(),
    }
}

fn ack(payload: &'static [u8]) -> Segment<'static> {
    let length = u32::try_from(payload.len()).unwrap();
    Segment { flags: Flags::ACK, sequence: 101, payload, length, ..syn(0) }
}

#[test]
fn the_socket_gets_what_passed_before_it_existed() {
    let mut half_open = HalfOpen::default();
    half_open.segment(key(1), LISTENER, Time(1), &syn(100));
    half_open.segment(key(2), LISTENER, Time(2), &syn(200));
    half_open.segment(key(1), LISTENER, Time(3), &ack(b"GET"));
    let held = half_open.take(&key(1)).segments;
    assert_eq!(held.len(), 2);
    assert_eq!((held[0].time, held[0].segment().sequence), (Time(1), 100));
    assert_eq!(held[1].segment().payload, b"GET");
    assert!(half_open.take(&key(1)).segments.is_empty(), "they are handed out once");
    assert_eq!(half_open.take(&key(2)).segments.len(), 1);
}

#[test]
fn a_second_syn_replaces_an_answered_one_only_when_it_is_answered() {
    let syn_ack = |acknowledgment| Segment {
        direction: Direction::Out,
        flags: Flags::SYN.with(Flags::ACK),
        acknowledgment,
        ..syn(900)
    };
    let mut half_open = HalfOpen::default();
    half_open.segment(key(1), LISTENER, Time(1), &syn(100));
    half_open.segment(key(1), LISTENER, Time(2), &syn_ack(101));
    half_open.segment(key(1), LISTENER, Time(3), &syn(700));
    half_open.segment(key(1), LISTENER, Time(4), &syn_ack(101));
    assert!(half_open.take_over().is_empty(), "the kernel keeps the first");
    half_open.segment(key(1), LISTENER, Time(5), &syn_ack(701));
    let over = half_open.take_over();
    assert_eq!((over.len(), over[0].segments.len(), over[0].ended), (1, 3, Some(Time(5))));
    let held = half_open.take(&key(1)).segments;
    let times: Vec<_> = held.iter().map(|held| held.time).collect();
    assert_eq!(times, [Time(3), Time(5)]);
}

#[test]
fn one_that_the_kernel_lists_is_kept_however_old() {
    let mut half_open = HalfOpen::default();
    half_open.segment(key(1), LISTENER, Time(0), &syn(100));
    let later = Time(119_000_000_000);
    half_open.listed(1, later, &HashSet::from([key(1).endpoints]));
    half_open.tick(Time(200_000_000_000));
    assert!(half_open.take_over().is_empty());
    half_open.listed(1, Time(201_000_000_000), &HashSet::new());
    assert_eq!(half_open.take_over().len(), 1);
}

#[test]
fn a_new_attempt_with_the_same_addresses_replaces_the_old_one() {
    let mut half_open = HalfOpen::default();
    half_open.segment(key(1), LISTENER, Time(1), &syn(100));
    half_open.segment(key(1), LISTENER, Time(2), &syn(100));
    half_open.segment(key(1), LISTENER, Time(3), &syn(900));
    let held = half_open.take(&key(1)).segments;
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].segment().sequence, 900);
}

#[test]
fn an_ack_without_a_syn_is_not_held() {
    let mut half_open = HalfOpen::default();
    assert_eq!(half_open.segment(key(1), LISTENER, Time(1), &ack(b"")), 0);
    assert!(half_open.take(&key(1)).segments.is_empty());
}

#[test]
fn a_syn_flood_is_bounded_and_what_it_pushes_out_is_counted() {
    let mut half_open = HalfOpen::default();
    for attempt in 0..3 * HALF_OPEN_MAX {
        let sequence = u32::try_from(attempt).unwrap();
        let mut key = key(u16::try_from(attempt % 65_536).unwrap());
        key.netns = u32::try_from(attempt / 65_536).unwrap();
        assert_eq!(half_open.segment(key, LISTENER, Time(attempt as u64), &syn(sequence)), 0);
    }
    assert_eq!(half_open.entries.len(), HALF_OPEN_MAX);
    assert_eq!(half_open.take_given_up(), vec![LISTENER; 2 * HALF_OPEN_MAX]);
}

#[test]
fn connections_that_complete_leave_no_trace() {
    let mut half_open = HalfOpen::default();
    for attempt in 0..4 * HALF_OPEN_MAX {
        let mut key = key(u16::try_from(attempt % 65_536).unwrap());
        key.netns = u32::try_from(attempt / 65_536).unwrap();
        half_open.segment(key, LISTENER, Time(attempt as u64), &syn(1));
        half_open.take(&key);
    }
    half_open.tick(Time(u64::MAX));
    assert_eq!((half_open.entries.len(), half_open.order.len()), (0, 0));
}

#[test]
fn the_clients_reset_ends_it_if_its_number_is_expected() {
    let mut half_open = HalfOpen::default();
    let reset = |sequence| Segment { flags: Flags::RST, ..syn(sequence) };
    half_open.segment(key(1), LISTENER, Time(1), &syn(100));
    half_open.segment(key(1), LISTENER, Time(2), &reset(99));
    assert!(half_open.take_over().is_empty());
    half_open.segment(key(1), LISTENER, Time(3), &reset(101));
    let over = half_open.take_over();
    assert_eq!((over.len(), over[0].ended, over[0].estimated), (1, Some(Time(3)), false));
    assert!(half_open.take(&key(1)).segments.is_empty());
}

#[test]
fn one_that_the_kernel_listed_and_lists_no_more_is_over() {
    let mut half_open = HalfOpen::default();
    let second = Time(1_000_000_000);
    half_open.segment(key(1), LISTENER, Time(0), &syn(100));
    half_open.segment(key(2), LISTENER, Time(0), &syn(200));
    let mut namespaces = vec![];
    half_open.namespaces(Time(second.0 - 1), &mut namespaces);
    assert!(namespaces.is_empty(), "it may yet become a socket");
    half_open.namespaces(second, &mut namespaces);
    assert_eq!(namespaces, [1]);
    half_open.listed(1, second, &HashSet::from([key(1).endpoints]));
    assert!(half_open.take_over().is_empty(), "what was never listed may be a SYN cookie");
    half_open.listed(1, Time(3 * second.0), &HashSet::new());
    let over = half_open.take_over();
    assert_eq!((over.len(), over[0].four_tuple, over[0].ended), (1, key(1), Some(Time(2 * second.0))));
    assert!(over[0].estimated);
}

#[test]
fn what_never_completes_is_over_at_last() {
    let mut half_open = HalfOpen::default();
    half_open.segment(key(1), LISTENER, Time(0), &syn(100));
    half_open.tick(Time(119_000_000_000));
    half_open.segment(key(2), LISTENER, Time(119_000_000_000), &syn(100));
    half_open.tick(Time(121_000_000_000));
    assert_eq!(half_open.take_over().len(), 1);
    assert!(half_open.take(&key(1)).segments.is_empty());
    assert_eq!(half_open.take(&key(2)).segments.len(), 1);
}

/// A listener's segment that leaves with the translated address 10.9.9.9:80.
fn translated(sequence: u32, acknowledgment: u32) -> Segment<'static> {
    let local = SocketAddr::from(([10, 9, 9, 9], 80));
    Segment {
        direction: Direction::Out,
        flags: Flags::SYN.with(Flags::ACK),
        acknowledgment,
        endpoints: Endpoints { local, ..key(1).endpoints },
        ..syn(sequence)
    }
}

fn on_wire(segment: &Segment<'_>) -> FourTuple {
    FourTuple { netns: 1, endpoints: segment.endpoints }
}

#[test]
fn a_translated_answer_belongs_to_the_syn_that_it_acknowledges() {
    let mut half_open = HalfOpen::default();
    let answer = translated(900, 101);
    half_open.segment(key(1), LISTENER, Time(1), &syn(100));
    half_open.segment(key(2), LISTENER, Time(2), &syn(200));
    half_open.segment(on_wire(&answer), LISTENER, Time(3), &answer);
    half_open.segment(on_wire(&answer), LISTENER, Time(4), &translated(900, 999));
    assert!(half_open.take(&on_wire(&answer)).segments.is_empty());
    let held = half_open.take(&key(1)).segments;
    assert_eq!(held.iter().map(|held| held.time).collect::<Vec<_>>(), [Time(1), Time(3)]);
    assert_eq!(held[1].segment(), answer);
    assert_eq!(half_open.take(&key(2)).segments.len(), 1);
    assert!(half_open.by_answer.is_empty());
}

#[test]
fn a_translated_answer_takes_over_for_the_second_syn() {
    let mut half_open = HalfOpen::default();
    let (first, second) = (translated(900, 101), translated(950, 701));
    half_open.segment(key(1), LISTENER, Time(1), &syn(100));
    half_open.segment(on_wire(&first), LISTENER, Time(2), &first);
    half_open.segment(key(1), LISTENER, Time(3), &syn(700));
    half_open.segment(on_wire(&second), LISTENER, Time(4), &second);
    assert_eq!(half_open.take_over().len(), 1);
    let held = half_open.take(&key(1)).segments;
    assert_eq!(held.iter().map(|held| held.time).collect::<Vec<_>>(), [Time(3), Time(4)]);
    assert!(half_open.by_answer.is_empty());
}

#[test]
fn an_answer_whose_syn_was_not_seen_comes_with_its_acknowledgment() {
    let mut half_open = HalfOpen::default();
    let answer = translated(900, 101);
    let third = |acknowledgment| Segment { acknowledgment, ..ack(b"") };
    half_open.segment(on_wire(&answer), LISTENER, Time(1), &answer);
    half_open.segment(key(1), LISTENER, Time(2), &third(902));
    half_open.segment(key(1), LISTENER + 1, Time(3), &third(901));
    assert!(half_open.take(&key(1)).segments.is_empty(), "it is another's");
    half_open.segment(key(1), LISTENER, Time(4), &third(901));
    half_open.segment(key(1), LISTENER, Time(5), &third(902));
    let held = half_open.take(&key(1)).segments;
    assert_eq!(held.iter().map(|held| held.time).collect::<Vec<_>>(), [Time(1), Time(4), Time(5)]);
    assert_eq!(held[2].segment().verdict, Verdict::Refused(Refusal::InvalidAckSequence));
    for number in 0..3 * UNEXPECTED_MAX as u32 {
        half_open.segment(on_wire(&answer), LISTENER, Time(5), &translated(number, 101));
    }
    assert_eq!(half_open.unexpected.len(), UNEXPECTED_MAX);
}

fn syn_ack(acknowledgment: u32) -> Segment<'static> {
    Segment { direction: Direction::Out, flags: Flags::SYN.with(Flags::ACK), acknowledgment, ..syn(900) }
}

#[test]
fn it_begins_with_the_syn_that_was_answered_and_the_others_are_counted_each() {
    let third = Segment { acknowledgment: 901, ..ack(b"") };
    for (what, segments, began, unanswered) in [
        ("answered at once", vec![syn(100), syn_ack(101), third.clone()], 1, 0),
        ("two dropped", vec![syn(100), syn(100), syn(100), syn_ack(101), third.clone()], 3, 2),
        ("the answer was lost", vec![syn(100), syn_ack(101), syn(100), syn_ack(101), third.clone()], 1, 0),
        ("by a cookie", vec![syn(100), syn(100), third.clone()], 2, 1),
    ] {
        let mut half_open = HalfOpen::default();
        for (time, segment) in (1..).zip(&segments) {
            half_open.segment(key(1), LISTENER, Time(time), segment);
        }
        let before = half_open.take(&key(1));
        assert_eq!((before.segments.len(), before.began), (segments.len(), Some(Time(began))), "{what}");
        let counted: u32 = half_open.take_unanswered().into_iter().map(|(_, count)| count).sum();
        assert_eq!(counted, unanswered, "{what}");
    }
}

#[test]
fn of_what_never_became_a_socket_each_syn_counts_that_was_not_answered() {
    let third = Segment { acknowledgment: 901, ..ack(b"") };
    for (what, segments, is_known, unanswered) in [
        ("dropped", vec![syn(100), syn(100), syn(100)], false, 3),
        ("answered", vec![syn(100), syn(100), syn_ack(101), syn(100)], true, 1),
        ("answered by a cookie", vec![syn(100), third.clone(), third.clone()], false, 0),
    ] {
        let mut half_open = HalfOpen::default();
        for segment in &segments {
            half_open.segment(key(1), LISTENER, Time(1), segment);
        }
        half_open.tick(Time(121_000_000_000));
        let over = half_open.take_over();
        assert_eq!((over.len(), over[0].is_known), (1, is_known), "{what}");
        let counted: u32 = half_open.take_unanswered().into_iter().map(|(_, count)| count).sum();
        assert_eq!(counted, unanswered, "{what}");
    }
}

#[test]
fn its_own_reset_ends_it_if_it_answers_the_third_segment() {
    let mut half_open = HalfOpen::default();
    let reset = |sequence| Segment { direction: Direction::Out, flags: Flags::RST, ..syn(sequence) };
    half_open.segment(key(1), LISTENER, Time(1), &syn(100));
    half_open.segment(key(1), LISTENER, Time(2), &syn_ack(101));
    half_open.segment(key(1), LISTENER, Time(3), &reset(5_000));
    assert!(half_open.take_over().is_empty(), "it answers a segment with another number");
    half_open.segment(key(1), LISTENER, Time(4), &reset(901));
    let over = half_open.take_over();
    assert_eq!((over.len(), over[0].ended, over[0].estimated), (1, Some(Time(4)), false));
}

#[test]
fn any_number_of_other_syns_from_the_same_addresses_takes_no_memory() {
    let mut half_open = HalfOpen::default();
    half_open.segment(key(1), LISTENER, Time(1), &syn(100));
    half_open.segment(key(1), LISTENER, Time(2), &syn_ack(101));
    for sequence in 1_000..2_000 {
        half_open.segment(key(1), LISTENER, Time(3), &syn(sequence));
    }
    assert_eq!((half_open.entries.len(), half_open.by_answer.len()), (1, 2));
    half_open.tick(Time(121_000_000_000));
    assert_eq!((half_open.entries.len(), half_open.by_answer.len()), (0, 0));
}

#[test]
fn what_the_kernel_refuses_of_one_is_marked_and_does_nothing() {
    let reset = Flags::RST;
    let (no_ack, bad) = (Verdict::Refused(Refusal::Flags), Verdict::Refused(Refusal::InvalidAckSequence));
    let outside = Verdict::Refused(Refusal::InvalidSequence);
    let of = |flags, sequence, acknowledgment, payload: &'static [u8]| Segment {
        flags,
        sequence,
        acknowledgment,
        ..ack(payload)
    };
    for (what, segment, expected) in [
        ("the third", of(Flags::ACK, 101, 901, b""), Verdict::Taken),
        ("the third with data", of(Flags::ACK, 101, 901, b"GET"), Verdict::Taken),
        ("data behind it", of(Flags::ACK, 101 + 60_000, 901, b"GET"), Verdict::Taken),
        ("an acknowledgment of what was not sent", of(Flags::ACK, 101, 902, b"GET"), bad),
        ("an RST with one", of(reset.with(Flags::ACK), 101, 900, b""), bad),
        ("no acknowledgment", of(Flags::PSH, 101, 0, b"GET"), no_ack),
        ("a FIN without one", of(Flags::FIN, 101, 0, b""), no_ack),
        ("before the window", of(Flags::ACK, 100, 901, b""), outside),
        ("behind the window", of(Flags::ACK, 101 + 65_536, 901, b"GET"), outside),
        ("an RST before the window", of(reset, 100, 0, b""), outside),
        ("the SYN again", syn(100), Verdict::Taken),
        ("its SYN with an acknowledgment", of(Flags::SYN.with(Flags::ACK), 100, 901, b""), outside),
    ] {
        let mut half_open = HalfOpen::default();
        half_open.segment(key(1), LISTENER, Time(1), &syn(100));
        half_open.segment(key(1), LISTENER, Time(2), &syn_ack(101));
        half_open.segment(key(1), LISTENER, Time(3), &segment);
        assert!(half_open.take_over().is_empty(), "{what}");
        let held = half_open.take(&key(1)).segments;
        assert_eq!(held[2].segment().verdict, expected, "{what}");
    }
}

#[test]
fn refused_segments_leave_room_for_the_others() {
    let mut half_open = HalfOpen::default();
    half_open.segment(key(1), LISTENER, Time(1), &syn(100));
    half_open.segment(key(1), LISTENER, Time(2), &syn_ack(101));
    let lost: u32 = (3..103).map(|time| half_open.segment(key(1), LISTENER, Time(time), &ack(b"x"))).sum();
    let third = Segment { acknowledgment: 901, ..ack(b"GET") };
    assert_eq!(half_open.segment(key(1), LISTENER, Time(103), &third), 0);
    let Before { segments: held, refused, .. } = half_open.take(&key(1));
    assert_eq!(held.last().unwrap().segment(), third);
    assert_eq!(lost, 0);
    assert_eq!(refused, Refusals::from([(Refusal::InvalidAckSequence, 100 - (held.len() as u64 - 3))]));
}

#[test]
fn of_the_payload_before_the_socket_only_what_made_it_is_taken() {
    let data = |sequence, payload: &'static [u8]| Segment { sequence, acknowledgment: 901, ..ack(payload) };
    let with_data = |sequence| Segment { payload: b"early", length: 5, ..syn(sequence) };
    let (taken, without) = (Verdict::Taken, Verdict::WithoutPayload);
    for (what, segments, expected) in [
        (
            "a SYN without Fast Open",
            vec![with_data(100), syn_ack(101), data(101, b"GET")],
            vec![without, taken, taken],
        ),
        ("the same with a cookie", vec![with_data(100), data(101, b"GET")], vec![without, taken]),
        ("Fast Open", vec![with_data(100)], vec![taken]),
        ("Fast Open after the SYN was dropped", vec![with_data(100), with_data(100)], vec![without, taken]),
        (
            "Fast Open, before Linux 6.18",
            vec![with_data(100), syn_ack(106), data(106, b"GET")],
            vec![taken; 3],
        ),
        (
            "no room at first",
            vec![syn(100), syn_ack(101), data(101, b"GET"), data(104, b" /"), data(101, b"PUT")],
            vec![taken, taken, without, without, taken],
        ),
        (
            "one after the other",
            vec![syn(100), syn_ack(101), data(101, b"GET"), data(104, b" /")],
            vec![taken; 4],
        ),
    ] {
        let mut half_open = HalfOpen::default();
        for (time, segment) in (1..).zip(&segments) {
            half_open.segment(key(1), LISTENER, Time(time), segment);
        }
        let held = half_open.take(&key(1)).segments;
        let verdicts: Vec<_> = held.iter().map(|held| held.segment().verdict).collect();
        assert_eq!(verdicts, expected, "{what}");
    }
}

#[test]
fn one_that_was_answered_and_is_not_listed_is_over() {
    let mut half_open = HalfOpen::default();
    let second = 1_000_000_000;
    half_open.segment(key(1), LISTENER, Time(0), &syn(100));
    half_open.segment(key(1), LISTENER, Time(0), &syn_ack(101));
    half_open.listed(1, Time(second - 1), &HashSet::new());
    assert!(half_open.take_over().is_empty(), "its socket may be on its way");
    half_open.listed(1, Time(second), &HashSet::new());
    let over = half_open.take_over();
    assert_eq!((over.len(), over[0].ended, over[0].estimated), (1, Some(Time(second / 2)), true));
    // One whose answer was sent again was there until then.
    half_open.segment(key(1), LISTENER, Time(0), &syn(100));
    half_open.segment(key(1), LISTENER, Time(0), &syn_ack(101));
    half_open.segment(key(1), LISTENER, Time(2 * second), &syn_ack(101));
    half_open.listed(1, Time(2 * second), &HashSet::new());
    half_open.listed(1, Time(3 * second - 1), &HashSet::new());
    assert!(half_open.take_over().is_empty());
    half_open.listed(1, Time(4 * second), &HashSet::new());
    assert_eq!(half_open.take_over()[0].ended, Some(Time(3 * second)));
    // Something passed while the list was read.
    half_open.segment(key(1), LISTENER, Time(0), &syn(100));
    half_open.listed(1, Time(1), &HashSet::from([key(1).endpoints]));
    half_open.segment(key(1), LISTENER, Time(second), &syn(100));
    half_open.listed(1, Time(second), &HashSet::new());
    assert!(half_open.take_over().is_empty());
}
