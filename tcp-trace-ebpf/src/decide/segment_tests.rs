//! Which segments are reported, in the order in which a socket sees them.

use proptest::prelude::*;

use super::*;
use crate::{
    DIRECTION_IN, DIRECTION_OUT,
    tcp::{ESTABLISHED, SYN_SENT},
};

const PSH: u8 = 0x08;
const OUT: u8 = DIRECTION_OUT;
const IN: u8 = DIRECTION_IN;

fn segment(direction: u8, flags: u8, (sequence, length): (u32, u32), acknowledgment: u32) -> RawSegment {
    RawSegment {
        direction,
        flags,
        sequence,
        length,
        acknowledgment,
        state: ESTABLISHED,
        ..RawSegment::default()
    }
}

/// One socket, whose segments are decided one after the other as the probe does it.
#[derive(Default)]
struct Socket {
    memory: Option<[DirectionMemory; 2]>,
    /// The kernel has no memory for it.
    is_without_memory: bool,
}

impl Socket {
    fn reports(&mut self, segment: &RawSegment) -> bool {
        match memory_use(segment) {
            MemoryUse::None => return decide(segment, None).is_reported,
            MemoryUse::IfPresent => {}
            MemoryUse::Create if self.is_without_memory => {}
            MemoryUse::Create => {
                self.memory.get_or_insert_default();
            }
        }
        let Some(memory) = &mut self.memory else {
            return decide(segment, None).is_reported;
        };
        let decision = decide(segment, Some(memory[usize::from(segment.direction)]));
        decision.changes.apply(memory, segment.direction);
        decision.is_reported
    }
}

#[test]
fn of_pure_acks_only_those_of_a_syn_or_fin_are_reported() {
    let mut socket = Socket::default();
    for (what, segment, is_reported) in [
        ("SYN", segment(OUT, SYN, (99, 0), 0), true),
        ("SYN+ACK", segment(IN, SYN | ACK, (499, 0), 100), true),
        ("the ACK of the SYN+ACK", segment(OUT, ACK, (100, 0), 500), true),
        ("the same ACK again", segment(OUT, ACK, (100, 0), 500), false),
        ("a request", segment(OUT, PSH | ACK, (100, 79), 500), true),
        ("its ACK", segment(IN, ACK, (500, 0), 179), false),
        ("a response", segment(IN, PSH | ACK, (500, 160), 179), true),
        ("its ACK", segment(OUT, ACK, (179, 0), 660), false),
        ("FIN", segment(OUT, FIN | ACK, (179, 0), 660), true),
        ("an ACK of what came before the FIN", segment(IN, ACK, (660, 0), 179), false),
        ("the ACK of the FIN", segment(IN, ACK, (660, 0), 180), true),
        ("the other FIN", segment(IN, FIN | ACK, (660, 0), 180), true),
        ("the last ACK", segment(OUT, ACK, (180, 0), 661), true),
    ] {
        assert_eq!(socket.reports(&segment), is_reported, "{what}");
    }
}

#[test]
fn an_acknowledgment_is_found_where_numbers_wrap_around() {
    for (fin, acknowledgment, is_reported) in [
        (u32::MAX, 0, true),
        (u32::MAX, u32::MAX, false),
        (u32::MAX - 1, u32::MAX, true),
        (u32::MAX, 1_000, true),
        (0, u32::MAX, false),
        (0, 1, true),
    ] {
        let mut socket = Socket::default();
        assert!(socket.reports(&segment(OUT, FIN | ACK, (fin, 0), 500)));
        let ack = segment(IN, ACK, (500, 0), acknowledgment);
        assert_eq!(socket.reports(&ack), is_reported, "ACK {acknowledgment} of FIN {fin}");
    }
}

#[test]
fn a_window_is_reported_when_it_closes_and_when_it_opens() {
    let mut socket = Socket::default();
    let ack = |attributes| RawSegment { attributes, ..segment(IN, ACK, (500, 0), 100) };
    for (what, attributes, is_reported) in [
        ("open", 0, false),
        ("closes", ZERO_WINDOW, true),
        ("still closed", ZERO_WINDOW, false),
        ("opens", 0, true),
        ("still open", 0, false),
        ("closes again", ZERO_WINDOW, true),
    ] {
        assert_eq!(socket.reports(&ack(attributes)), is_reported, "{what}");
    }
}

#[test]
fn windows_of_the_two_directions_are_apart() {
    let mut socket = Socket::default();
    let closed = |direction| RawSegment { attributes: ZERO_WINDOW, ..segment(direction, ACK, (1, 0), 1) };
    assert!(socket.reports(&closed(IN)));
    assert!(socket.reports(&closed(OUT)));
    assert!(!socket.reports(&closed(IN)));
    assert!(socket.reports(&segment(OUT, ACK, (1, 0), 1)));
    assert!(!socket.reports(&closed(IN)));
}

#[test]
fn without_memory_control_payload_and_closed_windows_are_still_reported() {
    for (what, segment, is_reported) in [
        ("SYN+ACK", segment(IN, SYN | ACK, (499, 0), 100), true),
        ("FIN", segment(OUT, FIN | ACK, (179, 0), 660), true),
        ("RST", segment(OUT, RST, (179, 0), 0), true),
        ("payload", segment(OUT, ACK, (179, 1), 660), true),
        ("closed window", RawSegment { attributes: ZERO_WINDOW, ..segment(OUT, ACK, (1, 0), 1) }, true),
        ("pure ACK", segment(OUT, ACK, (179, 0), 660), false),
    ] {
        let mut socket = Socket { memory: None, is_without_memory: true };
        assert_eq!(socket.reports(&segment), is_reported, "{what}");
    }
}

#[test]
fn of_a_connection_without_a_socket_every_segment_is_reported() {
    for state in [LISTEN, NEW_SYN_RECV, CLOSE] {
        let ack = RawSegment { state, ..segment(IN, ACK, (1, 0), 1) };
        assert_eq!(memory_use(&ack), MemoryUse::None);
        assert!(Socket::default().reports(&ack), "state {state}");
        assert!(names_netns(&ack), "state {state}");
    }
    assert!(!Socket::default().reports(&segment(IN, ACK, (1, 0), 1)));
}

#[test]
fn the_network_namespace_is_named_where_a_socket_may_be_new() {
    for (what, flags, state, is_named) in [
        ("SYN", SYN, SYN_SENT, true),
        ("SYN+ACK", SYN | ACK, SYN_SENT, true),
        ("FIN", FIN | ACK, ESTABLISHED, true),
        ("RST", RST, ESTABLISHED, true),
        ("payload", PSH | ACK, ESTABLISHED, false),
    ] {
        let segment = RawSegment { state, ..segment(OUT, flags, (1, 1), 1) };
        assert_eq!(names_netns(&segment), is_named, "{what}");
    }
}

#[test]
fn what_may_be_refused_hides_no_acknowledgment_of_a_fin() {
    let changes = |(awaited, is_unsure)| Changes { awaited: Some(awaited), is_unsure, ..Changes::default() };
    for (numbers, due) in [
        (&[(60_000, true), (100, false)][..], (100, DUE)),
        (&[(100, false), (60_000, true)], (100, DUE)),
        (&[(100, true), (90, true)], (100, MAYBE_DUE)),
        (&[(u32::MAX, true), (5, true), (u32::MAX, true)], (5, MAYBE_DUE)),
        (&[(100, false), (90, false)], (90, DUE)),
    ] {
        let mut memory = [DirectionMemory::default(); 2];
        numbers.iter().for_each(|number| changes(*number).apply(&mut memory, IN));
        let DirectionMemory { acknowledgment_due, is_due, .. } = memory[0];
        assert_eq!((acknowledgment_due, is_due), due, "{numbers:?}");
        let answer = RawSegment { state: ESTABLISHED, ..segment(OUT, ACK, (1, 0), due.0) };
        assert!(decide(&answer, Some(memory[0])).is_reported, "{numbers:?}");
    }
}

fn any_segment() -> impl Strategy<Value = RawSegment> {
    let number = prop_oneof![0..6_u32, u32::MAX - 5..=u32::MAX];
    let state = prop_oneof![4 => Just(ESTABLISHED), 1 => Just(LISTEN), 1 => Just(CLOSE)];
    (0..2_u8, 0..32_u8, number.clone(), 0..3_u32, number, state, 0..2_u8).prop_map(
        |(direction, flags, sequence, length, acknowledgment, state, attributes)| RawSegment {
            state,
            attributes,
            ..segment(direction, flags, (sequence, length), acknowledgment)
        },
    )
}

proptest! {
    /// What carries anything is reported, whatever came before; and what is decided without memory changes nothing.
    #[test]
    fn only_pure_acks_are_left_out(segments in prop::collection::vec(any_segment(), 0..40)) {
        let mut socket = Socket::default();
        for segment in &segments {
            let before = socket.memory;
            let is_reported = socket.reports(segment);
            let is_pure_ack = segment.flags & (SYN | FIN | RST) == 0 && segment.length == 0;
            prop_assert!(is_reported || is_pure_ack, "{segment:?}");
            if memory_use(segment) == MemoryUse::None {
                prop_assert_eq!(before, socket.memory);
                prop_assert_eq!(decide(segment, before.map(|both| both[0])).changes, Changes::default());
            }
        }
    }

    /// What the verifier forgets of a decision, the program does not.
    #[test]
    fn a_forgotten_decision_is_the_same(
        (segment, known, mask) in (any_segment(), (0..6_u32, 0..2_u8, 0..2_u8), any::<u32>()),
    ) {
        let (acknowledgment_due, is_due, zero_window) = known;
        let known = DirectionMemory { acknowledgment_due, is_due, zero_window, ..DirectionMemory::default() };
        let decision = decide(&segment, Some(known));
        prop_assert_eq!(decision.forgotten(mask), decision);
    }

    /// The other direction's memory changes only by the number that it is to acknowledge: nothing that its own segments
    /// write at the same time is overwritten.
    #[test]
    fn a_direction_keeps_its_own_memory(segments in prop::collection::vec(any_segment(), 0..40)) {
        let mut socket = Socket::default();
        for segment in &segments {
            let before = socket.memory.unwrap_or_default();
            socket.reports(segment);
            let after = socket.memory.unwrap_or_default();
            let other = usize::from(opposite(segment.direction));
            prop_assert_eq!(before[other].zero_window, after[other].zero_window);
            prop_assert!(after[other].is_due >= before[other].is_due);
        }
    }
}
