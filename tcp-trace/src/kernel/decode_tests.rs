//! What decoding makes of good and of malformed records.

use proptest::prelude::*;
use tcp_trace_ebpf::RawTcpStats;

use super::*;

/// The bytes of a `#[repr(C)]` record without hidden padding.
fn bytes_of<T: Copy>(record: &T) -> Vec<u8> {
    // SAFETY: the ABI's records are plain integers without hidden padding (asserted by their sizes).
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(record).cast(), size_of::<T>()) }.to_vec()
}

fn header(kind: u32) -> RawHeader {
    RawHeader { time_ns: 1_000, cookie: 4101, kind, padding: 0 }
}

fn loopback() -> RawEndpoints {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&[127, 0, 0, 1]);
    let address = bytes.into();
    RawEndpoints {
        local_address: address,
        peer_address: address,
        local_port: 41352,
        peer_port: 8080,
        family: AF_INET,
        unverified_sum: 0,
    }
}

fn curl() -> RawProcess {
    let mut comm = [0; COMM_LEN];
    comm[..4].copy_from_slice(b"curl");
    let comm = comm.into();
    RawProcess {
        pid: 13838,
        uid: 1000,
        followed: 1,
        known: 1,
        start_boottime_ns: 5,
        exec_id: 2,
        cgroup_id: 77,
        comm,
    }
}

fn syn_sent() -> RawTransition {
    RawTransition {
        header: header(KIND_TRANSITION),
        endpoints: loopback(),
        process: curl(),
        netns: 4026531840,
        error: -111,
        old: 7,
        new: 2,
        shutdown: 3,
        incarnation: 1,
        attributes: SUBFLOW | EXITING,
        stats: RawTcpStats {
            receive_queue: 1,
            srtt_us: 2,
            cwnd: 3,
            retransmits: 4,
            received_to: 7,
            acknowledged_to: 8,
            sent_to_or_accept_queue: 5,
            accept_queue_limit: 6,
        },
    }
}

fn request(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    let mut bytes = bytes_of(&RawSegment {
        header: header(KIND_SEGMENT),
        endpoints: loopback(),
        sequence: 1598938750,
        acknowledgment: 2044270847,
        length,
        captured: length,
        netns: 0,
        direction: DIRECTION_OUT,
        flags: 0x18,
        state: 1,
        attributes: ZERO_WINDOW | ELIDED,
        elided_to: 1598938000,
        elided_age_us: 250,
    });
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn the_end_of_a_connection_has_the_kernels_numbers() {
    for (old, passed, sent_to, accept_queue) in [(1, Some([8, 7]), Some(5), 0), (10, None, None, 5)] {
        let raw = RawTransition { old, new: 7, ..syn_sent() };
        let EventKind::StateChange(change) = decode(&bytes_of(&raw), 5).unwrap().kind else {
            panic!("{raw:?}")
        };
        assert_eq!((change.passed, change.sent_to), (passed, sent_to));
        assert_eq!(change.stats.accept_queue, accept_queue);
    }
}

#[test]
fn a_transition_has_states_addresses_and_owner() {
    let bytes = bytes_of(&syn_sent());
    let event = decode(&bytes, 5).unwrap();
    assert_eq!(event.time, Time(1_005));
    assert_eq!(event.cookie, 4101);
    let EventKind::StateChange(change) = event.kind else { panic!("{event:?}") };
    assert_eq!((change.old, change.new), (State::Close, State::SynSent));
    assert_eq!(change.endpoints.local.to_string(), "127.0.0.1:41352");
    assert_eq!(change.endpoints.peer.to_string(), "127.0.0.1:8080");
    assert_eq!((change.netns, change.error), (4026531840, -111));
    assert_eq!((change.shutdown, change.incarnation, change.is_subflow, change.is_exit), (3, 1, true, true));
    let key = ProcessKey { started: 5, executions: 2, cgroup: 77 };
    let owner = Owner { uid: 1000, followed: true, key, ..Owner::new(13838, "curl") };
    assert_eq!(change.owner, Some(owner));
    assert_eq!(change.stats.receive_queue, 1);
    assert_eq!((change.stats.srtt_us, change.stats.cwnd, change.stats.retransmits), (2, 3, 4));
    assert_eq!((change.stats.accept_queue, change.stats.accept_queue_limit), (5, 6));
}

#[test]
fn a_segment_carries_its_payload_and_not_the_ring_space_behind_it() {
    let mut bytes = request(b"GET /a HTTP/1.1\r\n\r\n");
    bytes.extend_from_slice(&[0xaa; 493]);
    let event = decode(&bytes, 0).unwrap();
    let EventKind::Segment(segment) = event.kind else { panic!("{event:?}") };
    assert_eq!(segment.payload, b"GET /a HTTP/1.1\r\n\r\n");
    assert_eq!(segment.flags, Flags::PSH.with(Flags::ACK));
    assert_eq!((segment.sequence, segment.length), (1598938750, 19));
    assert_eq!(segment.netns, None);
    let left_off = Elided { next: 1598938000, us: 250 };
    assert_eq!((segment.zero_window, segment.elision), (true, Elision::After(left_off)));
    assert_eq!(segment.state, Some(State::Established));
}

#[test]
fn a_translation_has_both_pairs_of_addresses() {
    let redirected = RawEndpoints { peer_port: 15_001, ..loopback() };
    let raw = RawTranslation {
        header: header(KIND_TRANSLATION),
        endpoints: loopback(),
        translated: redirected,
        netns: 0,
        state: 2,
        padding: [0; 3],
    };
    let bytes = bytes_of(&raw);
    let EventKind::Translation(translation) = decode(&bytes, 0).unwrap().kind else { panic!() };
    assert_eq!(translation.endpoints.peer.to_string(), "127.0.0.1:8080");
    assert_eq!(translation.translated.peer.to_string(), "127.0.0.1:15001");
    assert_eq!((translation.netns, translation.state), (None, Some(State::SynSent)));
}

#[test]
fn a_reset_has_a_reason() {
    let bytes = bytes_of(&RawReset { header: header(KIND_RESET), reason: 11, padding: 0 });
    assert_eq!(decode(&bytes, 0).unwrap().kind, EventKind::Reset(11));
}

#[test]
fn a_further_subflow_names_the_first() {
    let header = RawHeader { cookie: 7, ..header(KIND_SUBFLOW) };
    let bytes = bytes_of(&RawSubflow { header, first: 5 });
    let event = decode(&bytes, 0).unwrap();
    assert_eq!((event.cookie, event.kind), (7, EventKind::Subflow(5)));
    assert_eq!(decode(&bytes[..bytes.len() - 1], 0), Err(DecodeError::Short { length: bytes.len() - 1 }));
}

#[test]
fn an_ipv4_mapped_address_is_the_ipv4_address() {
    let mut transition = syn_sent();
    transition.endpoints.family = AF_INET6;
    transition.endpoints.local_address = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7].into();
    transition.endpoints.peer_address = [0; 16].into();
    let bytes = bytes_of(&transition);
    let EventKind::StateChange(change) = decode(&bytes, 0).unwrap().kind else { panic!() };
    assert_eq!(change.endpoints.local.to_string(), "192.0.2.7:41352");
    assert_eq!(change.endpoints.peer.to_string(), "[::]:8080");
}

#[test]
fn malformed_records_are_named() {
    let unknown_kind = RawTransition { header: header(99), ..syn_sent() };
    let bad_state = RawTransition { new: 13, ..syn_sent() };
    let mut bad_family = syn_sent();
    bad_family.endpoints.family = 1;
    let nobody = RawProcessUse { header: header(KIND_PROCESS), process: RawProcess::default() };
    let mut more_than_the_segment = request(b"abc");
    more_than_the_segment[76..80].copy_from_slice(&9_u32.to_ne_bytes());
    for (bytes, message) in [
        (bytes_of(&unknown_kind), "unknown record kind 99"),
        (bytes_of(&bad_state), "field new has the impossible value 13"),
        (bytes_of(&bad_family), "field family has the impossible value 1"),
        (bytes_of(&nobody), "field known has the impossible value 0"),
        (more_than_the_segment, "field captured has the impossible value 9"),
        (vec![], "record of 0 bytes is too short"),
    ] {
        assert_eq!(decode(&bytes, 0).unwrap_err().to_string(), message);
    }
}

#[test]
fn every_cut_of_a_record_is_short() {
    // The last four bytes of a transition are padding that nobody reads.
    for (bytes, needed) in [(bytes_of(&syn_sent()), 108), (request(b"abc"), 91)] {
        for length in 0..needed {
            let error = decode(&bytes[..length], 0).unwrap_err();
            assert_eq!(error, DecodeError::Short { length });
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_decode_or_are_refused(bytes: Vec<u8>, kind in 0_u32..5) {
        let mut bytes = bytes;
        if bytes.len() >= 20 {
            bytes[16..20].copy_from_slice(&kind.to_ne_bytes());
        }
        let _ = decode(&bytes, u64::MAX);
    }
}

fn question() -> RawDatagram {
    RawDatagram {
        header: header(KIND_DATAGRAM),
        endpoints: loopback(),
        length: 9,
        captured: 5,
        netns: 4026531840,
        direction: DIRECTION_IN,
        padding: [0; 3],
    }
}

#[test]
fn a_datagram_comes_with_what_was_captured_of_it() {
    let bytes = [bytes_of(&question()), b"hello".to_vec()].concat();
    let EventKind::Datagram(datagram) = decode(&bytes, 0).unwrap().kind else { panic!("another kind") };
    assert_eq!((datagram.payload, datagram.length, datagram.netns), (&b"hello"[..], 9, 4026531840));
    assert_eq!((datagram.direction, datagram.endpoints.peer.port()), (Direction::In, 8080));
    let short = decode(&bytes[..bytes.len() - 1], 0);
    assert!(matches!(short, Err(DecodeError::Short { .. })), "{short:?}");
    for (datagram, field) in [
        (RawDatagram { direction: 2, ..question() }, "direction"),
        (RawDatagram { captured: 10, ..question() }, "captured"),
    ] {
        let error = decode(&bytes_of(&datagram), 0).unwrap_err();
        assert!(matches!(error, DecodeError::Value { field: of, .. } if of == field), "{error}");
    }
}

fn stack_of_curl(trigger: u32, bytes: &[u8]) -> Vec<u8> {
    let mut comm = [0; COMM_LEN];
    comm[..6].copy_from_slice(b"worker");
    let mut record = bytes_of(&RawStack {
        header: header(KIND_STACK),
        process: curl(),
        tid: 13840,
        trigger,
        comm,
        ip: 1,
        sp: 2,
        fp: 3,
        lr: 4,
        stack_bytes: u32::try_from(bytes.len()).unwrap(),
        ring_full: 0,
    });
    record.extend_from_slice(bytes);
    record
}

#[test]
fn a_stack_has_its_thread_registers_and_bytes() {
    for (moment, expected) in [
        (TRIGGER_CONNECT, StackTrigger::Connect),
        (TRIGGER_FIRST_USE, StackTrigger::FirstUse),
        (TRIGGER_END_OF_STREAM, StackTrigger::EndOfStream),
    ] {
        let bytes = stack_of_curl(moment, b"stack");
        let event = decode(&bytes, 0).unwrap();
        let EventKind::Stack(stack) = event.kind else { panic!("{event:?}") };
        assert_eq!((stack.trigger, stack.tid, stack.thread.as_slice()), (expected, 13840, &b"worker"[..]));
        assert_eq!((stack.owner.pid, &stack.owner.name[..]), (13838, &b"curl"[..]));
        assert_eq!(stack.registers, Registers { ip: 1, sp: 2, fp: 3, lr: 4 });
        assert_eq!((stack.bytes, stack.ring_full), (&b"stack"[..], false));
    }
}

#[test]
fn a_stack_that_cannot_be_is_an_error() {
    let bytes = stack_of_curl(TRIGGER_CONNECT, b"stack");
    assert_eq!(
        decode(&bytes[..bytes.len() - 1], 0),
        Err(DecodeError::Short { length: bytes.len() - 1 }),
        "it says that it is longer"
    );
    let error = decode(&stack_of_curl(9, b""), 0).unwrap_err();
    assert_eq!(error, DecodeError::Value { field: "trigger", value: 9 });
}

/// A segment of 3 bytes that arrived, with the sum that the kernel side makes of its header.
fn unverified(payload: &[u8], spoil: u16) -> Vec<u8> {
    let words = |bytes: &[u8]| {
        let even =
            bytes.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], *word.get(1).unwrap_or(&0)])));
        even.sum::<u32>()
    };
    let fold = |mut sum: u32| {
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    };
    let mut segment = RawSegment {
        header: header(KIND_SEGMENT),
        endpoints: loopback(),
        length: payload.len() as u32,
        captured: payload.len() as u32,
        direction: DIRECTION_IN,
        state: 1,
        ..RawSegment::default()
    };
    // Ports, numbers and flags; the header's length, TCP's number.
    let tcp = 8080 + 41352 + 0x1234 + 0x5678 + 0x5018 + 20 + 6;
    let all = tcp + words(&[127, 0, 0, 1, 127, 0, 0, 1]) + payload.len() as u32 + words(payload);
    let checksum = !fold(all) ^ spoil;
    segment.endpoints.unverified_sum = fold(tcp + u32::from(checksum)).to_be();
    [bytes_of(&segment), payload.to_vec()].concat()
}

#[test]
fn checksums_that_nobody_has_verified_are() {
    let verdict = |bytes: &[u8]| match decode(bytes, 0).unwrap().kind {
        EventKind::Segment(segment) => segment.verdict,
        other => panic!("{other:?}"),
    };
    for payload in [b"GET / HTTP/1.1".as_slice(), b"odd", &[0xff; 1_449]] {
        assert_eq!(verdict(&unverified(payload, 0)), Verdict::Taken);
        assert_eq!(verdict(&unverified(payload, 0x55)), Verdict::Refused(Refusal::Checksum));
        let mut changed = unverified(payload, 0);
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(verdict(&changed), Verdict::Refused(Refusal::Checksum));
    }
    let mut cut = unverified(b"some bytes", 0x55);
    let captured = offset_of!(RawSegment, captured);
    cut[captured..captured + 4].copy_from_slice(&5_u32.to_ne_bytes());
    assert_eq!(verdict(&cut), Verdict::Taken, "what is not whole cannot be verified");
}

#[test]
fn each_verdict_of_the_kernel_side_has_a_name() {
    let verdict = |number: u8, unsure: u8| {
        let attributes = number << VERDICT_SHIFT | unsure;
        let segment = RawSegment {
            header: header(KIND_SEGMENT),
            endpoints: loopback(),
            attributes,
            ..RawSegment::default()
        };
        match decode(&bytes_of(&segment), 0).unwrap().kind {
            EventKind::Segment(segment) => segment.verdict,
            other => panic!("{other:?}"),
        }
    };
    let all: std::collections::HashSet<_> = (0..=VERDICT_MASK)
        .map(|number| match verdict(number, 0) {
            Verdict::Refused(why) => {
                assert_eq!(verdict(number, VERDICT_UNSURE), Verdict::Unsure(why));
                why.name()
            }
            Verdict::Taken => "taken",
            Verdict::Old => "old",
            other @ (Verdict::WithoutPayload | Verdict::Unsure(_)) => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(all.len(), usize::from(VERDICT_MASK) + 1);
}
