//! The verdict on a segment that arrives, case by case, and beside what Linux does with it, written as Linux has it.

use proptest::prelude::*;

use super::*;

const PSH: u8 = 0x08;

/// An established socket that has received up to 5,000 and sent up to 9,000, of which 8,000 is acknowledged.
const OPEN: Socket = Socket {
    rcv_nxt: 5_000,
    rcv_wup: 4_000,
    rcv_wnd: 11_000,
    snd_una: 8_000,
    snd_nxt: 9_000,
    write_seq: 9_500,
    max_window: 2_000,
    bytes_acked: 1_500,
    shutdown: 0,
    num_sacks: 0,
    is_locked: false,
};

fn segment(flags: u8, sequence: u32, length: u32, acknowledgment: u32) -> RawSegment {
    RawSegment { state: ESTABLISHED, flags, sequence, length, acknowledgment, ..RawSegment::default() }
}

fn reason(segment: &RawSegment, socket: &Socket) -> (u8, bool) {
    let verdict = judge(segment, socket, Timestamp::Passes);
    (verdict.reason, verdict.is_unsure)
}

#[test]
fn an_open_connection_refuses_what_rfc_9293_and_5961_say() {
    let data = |sequence, length| segment(ACK | PSH, sequence, length, 9_000);
    let acknowledging = |acknowledgment| segment(ACK, 5_000, 10, acknowledgment);
    for (what, segment, expected) in [
        ("the next bytes", data(5_000, 100), (NO_VERDICT, false)),
        ("up to the end of the window", data(5_000, 10_000), (NO_VERDICT, false)),
        ("behind a hole", data(6_000, 100), (NO_VERDICT, false)),
        ("partly received before", data(4_900, 200), (NO_VERDICT, false)),
        ("received before", data(4_900, 100), (OLD_DATA, false)),
        ("acknowledged before", data(3_000, 100), (OLD_DATA, false)),
        ("where the window ends", data(15_000, 1), (OVERWINDOW, false)),
        ("beyond the window", data(15_001, 1), (INVALID_SEQUENCE, false)),
        ("ends beyond the window", data(14_999, 2), (INVALID_END_SEQUENCE, true)),
        ("without ACK", segment(PSH, 5_000, 10, 0), (TCP_FLAGS, false)),
        ("no flags at all", segment(0, 5_000, 10, 0), (TCP_FLAGS, false)),
        ("a SYN", segment(SYN, 77, 0, 0), (INVALID_SYN, false)),
        ("a SYN in the window", segment(SYN, 5_000, 0, 0), (INVALID_SYN, false)),
        ("a SYN beyond the window", segment(SYN, 15_001, 0, 0), (INVALID_SYN, false)),
        ("a SYN+ACK again", segment(SYN | ACK, 1_000, 0, 9_000), (INVALID_SYN, false)),
        ("the expected RST", segment(RST, 5_000, 0, 0), (NO_VERDICT, false)),
        ("another RST in the window", segment(RST, 5_001, 0, 0), (RESET, false)),
        ("an old RST", segment(RST | ACK, 4_999, 0, 9_000), (RESET, false)),
        ("an RST beyond the window", segment(RST, 15_001, 0, 0), (RESET, false)),
        ("what was acknowledged", acknowledging(8_000), (NO_VERDICT, false)),
        ("all that was sent", acknowledging(9_000), (NO_VERDICT, false)),
        ("what is being sent", acknowledging(9_001), (ACK_UNSENT_DATA, true)),
        ("what was never written", acknowledging(9_501), (ACK_UNSENT_DATA, false)),
        ("a little behind", acknowledging(6_500), (NO_VERDICT, false)),
        ("before the first byte", acknowledging(6_499), (TOO_OLD_ACK, true)),
        ("a window behind, in order", acknowledging(5_999), (TOO_OLD_ACK, true)),
        ("a window behind", segment(ACK, 5_001, 10, 5_999), (TOO_OLD_ACK, false)),
        ("a FIN", segment(FIN | ACK, 5_000, 0, 9_000), (NO_VERDICT, false)),
        ("a FIN with a bad acknowledgment", segment(FIN | ACK, 5_000, 0, 19_000), (ACK_UNSENT_DATA, false)),
        ("a FIN before what was received", segment(FIN | ACK, 4_500, 0, 9_000), (OLD_SEQUENCE, false)),
    ] {
        assert_eq!(reason(&segment, &OPEN), expected, "{what}");
    }
}

#[test]
fn a_full_window_takes_nothing() {
    let full = Socket { rcv_wup: 5_000, rcv_wnd: 0, ..OPEN };
    let locked = Socket { is_locked: true, ..full };
    let byte = segment(ACK, 5_000, 1, 9_000);
    assert_eq!(reason(&byte, &full), (ZEROWINDOW, false));
    assert_eq!(reason(&byte, &locked), (ZEROWINDOW, true), "it may be read meanwhile");
    assert_eq!(reason(&segment(ACK, 5_000, 0, 9_000), &full), (NO_VERDICT, false));
    assert_eq!(reason(&segment(FIN | ACK, 5_000, 0, 9_000), &full), (ZEROWINDOW, true));
    // All of the window is used up, which was not announced.
    let used_up = Socket { rcv_wup: 4_000, rcv_wnd: 1_000, ..OPEN };
    assert_eq!(reason(&byte, &used_up), (ZEROWINDOW, true), "it may be predicted");
    let closing = RawSegment { state: FIN_WAIT1, ..byte };
    assert_eq!(reason(&closing, &used_up), (ZEROWINDOW, false));
    assert_eq!(reason(&segment(FIN | ACK, 5_000, 1, 9_000), &used_up), (ZEROWINDOW, false));
}

#[test]
fn once_a_side_has_closed_older_kernels_take_nothing_with_an_old_acknowledgment() {
    for state in [FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING] {
        let at = |acknowledgment| RawSegment { state, ..segment(ACK, 5_000, 0, acknowledgment) };
        assert_eq!(reason(&at(7_999), &OPEN), (TOO_OLD_ACK, true));
        assert_eq!(reason(&at(8_000), &OPEN), (NO_VERDICT, false));
    }
}

#[test]
fn a_socket_that_receives_no_more_refuses_data() {
    let closed = Socket { shutdown: 3, ..OPEN };
    let data = segment(ACK, 5_000, 10, 9_000);
    let at = |state, segment: RawSegment| RawSegment { state, ..segment };
    for state in [FIN_WAIT1, FIN_WAIT2] {
        assert_eq!(reason(&at(state, data), &closed), (ABORT_ON_DATA, false));
        assert_eq!(reason(&at(state, data), &OPEN), (NO_VERDICT, false), "a half-close");
        let fin = segment(FIN | ACK, 5_000, 0, 9_000);
        assert_eq!(reason(&at(state, fin), &closed), (NO_VERDICT, false));
    }
    for state in [CLOSE_WAIT, LAST_ACK, CLOSING] {
        assert_eq!(reason(&at(state, data), &OPEN), (AFTER_FIN, false));
        let fin = segment(FIN | ACK, 4_999, 0, 9_000);
        assert_eq!(reason(&at(state, fin), &OPEN), (OLD_DATA, false), "the FIN again");
        assert_eq!(reason(&at(state, segment(RST, 4_999, 0, 0)), &OPEN), (NO_VERDICT, false));
    }
}

#[test]
fn a_syn_is_answered_by_its_acknowledgment() {
    let asking = Socket { snd_una: 100, snd_nxt: 101, write_seq: 101, ..Socket::default() };
    // `tcp_connect()` counts the SYN when it has sent it.
    let sending = Socket { snd_nxt: 100, is_locked: true, ..asking };
    let at = |flags, acknowledgment| RawSegment { state: SYN_SENT, ..segment(flags, 700, 0, acknowledgment) };
    for (what, segment, expected) in [
        ("SYN+ACK", at(SYN | ACK, 101), (NO_VERDICT, false)),
        ("SYN+ACK of something else", at(SYN | ACK, 102), (INVALID_ACK_SEQUENCE, false)),
        ("SYN+ACK of nothing", at(SYN | ACK, 100), (INVALID_ACK_SEQUENCE, false)),
        ("RST", at(RST | ACK, 101), (NO_VERDICT, false)),
        ("RST without ACK", at(RST, 0), (RESET, false)),
        ("RST with another", at(RST | ACK, 7), (INVALID_ACK_SEQUENCE, false)),
        ("a SYN that crosses", at(SYN, 0), (NO_VERDICT, false)),
        ("data", at(ACK, 101), (TCP_FLAGS, false)),
    ] {
        assert_eq!(reason(&segment, &asking), expected, "{what}");
        let is_unsure = expected == (TCP_FLAGS, false);
        assert_eq!(reason(&segment, &sending), (expected.0, is_unsure), "{what}, in connect()");
    }
}

#[test]
fn old_timestamps_are_refused_but_for_an_rst() {
    for (value, recent, is_new) in
        [(10, 10, true), (9, 10, true), (8, 10, false), (5, u32::MAX - 5, true), (u32::MAX - 5, 5, false)]
    {
        assert_eq!(is_recent(value, recent), is_new, "{value} after {recent}");
    }
    assert_eq!(late_timestamp(100, 101_000_000_000), Timestamp::Fails);
    assert_eq!(late_timestamp(100, 1_000_000_000 * (101 + PAWS_MEMORY)), Timestamp::Passes);
    let judged = |flags, timestamp| judge(&segment(flags, 5_000, 0, 9_000), &OPEN, timestamp).reason;
    assert_eq!(judged(ACK | FIN, Timestamp::Fails), PAWS);
    assert_eq!(judged(RST, Timestamp::Fails), NO_VERDICT);
    assert_eq!(judged(SYN, Timestamp::Fails), INVALID_SYN);
    let crossed = |timestamp| {
        let segment = RawSegment { state: SYN_RECV, ..segment(SYN | ACK, 4_999, 0, 9_000) };
        judge(&segment, &OPEN, timestamp).reason
    };
    assert_eq!(crossed(Timestamp::Passes), NO_VERDICT);
    assert_eq!(crossed(Timestamp::Fails), INVALID_SYN);
    // A header of 24 bytes has options, and no room for it: nothing behind it is read.
    assert_eq!([20, 24, 28, 32, 60].map(may_have_timestamp), [false, false, false, true, true]);
}

#[test]
fn a_verdict_travels_in_the_record() {
    for reason in [NO_VERDICT, TCP_FLAGS, OLD_DATA] {
        for is_unsure in [false, true] {
            let verdict = Judgment { reason, is_unsure };
            let record = RawSegment { attributes: verdict.attributes() | 7, ..RawSegment::default() };
            assert_eq!(verdict_of(&record), verdict);
            assert_eq!(is_progress(&record), reason != TCP_FLAGS);
            assert_eq!(has_payload(&record), is_unsure || reason == NO_VERDICT);
        }
    }
}

/// What Linux 6.12 does with a segment of a synchronised connection whose timestamps pass: whether any of it counts.
fn linux_takes(segment: &RawSegment, tp: &Socket) -> bool {
    let before = |a: u32, b: u32| a.wrapping_sub(b).cast_signed() < 0;
    let after = |a: u32, b: u32| before(b, a);
    let has = |flag| segment.flags & flag != 0;
    let seq = segment.sequence;
    let end_seq = seq.wrapping_add(segment.length + u32::from(has(SYN)) + u32::from(has(FIN)));
    let receive_window = (tp.rcv_wup.wrapping_add(tp.rcv_wnd).wrapping_sub(tp.rcv_nxt).cast_signed()).max(0);
    let right = tp.rcv_nxt.wrapping_add(receive_window.cast_unsigned());
    if !has(ACK) && !has(RST) && !has(SYN) {
        return false;
    }
    let is_closing = matches!(segment.state, CLOSE_WAIT | LAST_ACK | CLOSING);
    // tcp_validate_incoming()
    if before(end_seq, tp.rcv_wup) || after(seq, right) {
        return has(RST) && seq == tp.rcv_nxt.wrapping_sub(1) && is_closing;
    }
    if has(RST) {
        return seq == tp.rcv_nxt || seq == tp.rcv_nxt.wrapping_sub(1) && is_closing;
    }
    if has(SYN) {
        return false;
    }
    // tcp_ack()
    let ack = segment.acknowledgment;
    let max_window = u64::from(tp.max_window).min(tp.bytes_acked) as u32;
    if before(ack, tp.snd_una.wrapping_sub(max_window)) || after(ack, tp.snd_nxt) {
        return false;
    }
    // tcp_rcv_state_process(), step 7
    if is_closing && !before(seq, tp.rcv_nxt) {
        return end_seq == seq;
    }
    let fin = u32::from(has(FIN));
    if matches!(segment.state, FIN_WAIT1 | FIN_WAIT2)
        && tp.shutdown & RCV_SHUTDOWN != 0
        && end_seq != seq
        && after(end_seq.wrapping_sub(fin), tp.rcv_nxt)
    {
        return false;
    }
    // tcp_data_queue()
    if seq == end_seq {
        return true;
    }
    if !after(end_seq, tp.rcv_nxt) {
        return false;
    }
    receive_window > 0 && (seq == tp.rcv_nxt || before(seq, right))
}

fn near(number: u32) -> impl Strategy<Value = u32> {
    prop_oneof![
        (0..6_u32).prop_map(move |off| number.wrapping_add(off).wrapping_sub(3)),
        (0..40_000_u32).prop_map(move |off| number.wrapping_add(off).wrapping_sub(20_000)),
        any::<u32>(),
    ]
}

fn any_socket() -> impl Strategy<Value = Socket> {
    let numbers = (any::<u32>(), 0..3_000_u32, 0..5_000_u32, any::<u32>(), 0..3_000_u32);
    (numbers, 0..3_000_u32, 0..3_000_u32, 0..3_000_u64, 0..4_u8).prop_map(
        |((rcv_nxt, unannounced, rcv_wnd, snd_una, flight), unsent, max_window, bytes_acked, shutdown)| {
            Socket {
                rcv_nxt,
                rcv_wup: rcv_nxt.wrapping_sub(unannounced),
                rcv_wnd,
                snd_una,
                snd_nxt: snd_una.wrapping_add(flight),
                write_seq: snd_una.wrapping_add(flight + unsent),
                max_window,
                bytes_acked,
                shutdown,
                ..Socket::default()
            }
        },
    )
}

fn any_case() -> impl Strategy<Value = (Socket, RawSegment)> {
    let state = prop::sample::select(&[ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING]);
    let flags = prop_oneof![4 => Just(ACK | PSH), 1 => Just(ACK | FIN), 1 => 0..32_u8];
    (any_socket(), state, flags, 0..3_000_u32).prop_flat_map(|(socket, state, flags, length)| {
        let sequence = prop_oneof![
            near(socket.rcv_nxt),
            near(socket.rcv_nxt.wrapping_sub(length)),
            near(socket.rcv_wup.wrapping_add(socket.rcv_wnd)),
        ];
        let acknowledgment = prop_oneof![near(socket.snd_una), near(socket.snd_nxt), near(socket.write_seq)];
        (sequence, acknowledgment).prop_map(move |(sequence, acknowledgment)| {
            (socket, RawSegment { state, ..segment(flags, sequence, length, acknowledgment) })
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// What is said without doubt is what Linux does.
    #[test]
    fn a_sure_verdict_is_that_of_linux((socket, segment) in any_case()) {
        let verdict = judge(&segment, &socket, Timestamp::Passes);
        prop_assume!(!verdict.is_unsure);
        prop_assert_eq!(verdict.is_taken(), linux_takes(&segment, &socket), "{:?}", verdict);
    }

    #[test]
    fn what_the_verifier_forgets_of_a_segment_stays((_, segment) in any_case(), mask in any::<u32>()) {
        let mut forgotten = segment;
        forget_judged(&mut forgotten, mask);
        prop_assert_eq!(forgotten, segment);
    }
}
