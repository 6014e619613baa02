//! Segments in, chunks out.

mod numbers;
mod property;
mod skip;

use tcp_trace_model::{
    event::{Direction, Elided, Elision, Flags, Segment, State},
    time::Time,
};

use super::{
    testing::{payload, segment},
    *,
};

/// Shows chunks: bytes as text, elided ones as `[n]`, gaps as `<n>`, the FIN as `.`. Their offsets have to follow one
/// another.
fn show(mut chunks: Chunks<'_>, out: &mut String) {
    let mut expected = chunks.half.offset();
    while let Some(chunk) = chunks.next_chunk() {
        let (at, length) = match chunk {
            Chunk::Bytes { offset, bytes, .. } => {
                out.push_str(std::str::from_utf8(bytes).unwrap());
                (offset, bytes.len() as u64)
            }
            Chunk::Elided { offset, length, .. } => {
                out.push_str(&format!("[{length}]"));
                (offset, length)
            }
            Chunk::Gap { offset, length, .. } => {
                out.push_str(&format!("<{length}>"));
                (offset, length)
            }
            Chunk::Fin { .. } => {
                out.push('.');
                continue;
            }
        };
        assert_eq!(at, expected);
        expected += length;
    }
}

/// A direction that is read.
#[derive(Default)]
struct Read {
    half: Half,
    out: String,
}

impl Read {
    fn starting(number: u32) -> Self {
        let mut read = Self::default();
        read.half.start(number);
        read
    }

    fn take(&mut self, segment: &Segment<'_>) {
        self.half.track(Time(0), segment, None);
        show(self.half.read(Time(0), segment), &mut self.out);
    }

    fn bytes(&mut self, sequence: u32, bytes: &[u8]) {
        self.take(&payload(Direction::In, sequence, bytes));
    }

    fn elided(&mut self, sequence: u32, length: u32) {
        self.take(&segment(Direction::In, Flags::default(), sequence, length));
    }

    fn fin(&mut self, sequence: u32) {
        self.take(&segment(Direction::In, Flags::FIN, sequence, 0));
    }

    fn advance_to(&mut self, number: u32, lasts_until_fin: bool) {
        show(self.half.advance_to(number, lasts_until_fin, Time(0)), &mut self.out);
    }

    fn give_up(&mut self) {
        show(self.half.give_up(Time(0)), &mut self.out);
    }
}

#[test]
fn segments_come_out_in_order_and_once() {
    for (name, segments) in [
        ("in order", &[(100, &b"abc"[..]), (103, b"def")][..]),
        ("swapped", &[(103, b"def"), (100, b"abc")]),
        ("sent again", &[(100, b"abc"), (100, b"abc"), (103, b"def"), (103, b"def")]),
        ("sent again, cut differently", &[(100, b"abc"), (101, b"bcdef")]),
        ("overlapping while held", &[(102, b"cdef"), (103, b"de"), (101, b"bcd"), (100, b"a")]),
        ("held twice, the longer one counts", &[(103, b"d"), (103, b"def"), (100, b"abc")]),
        ("empty", &[(100, b""), (100, b"abc"), (103, b""), (103, b"def")]),
    ] {
        let mut read = Read::starting(100);
        segments.iter().for_each(|(sequence, bytes)| read.bytes(*sequence, bytes));
        assert_eq!((read.out.as_str(), read.half.held_bytes()), ("abcdef", 0), "{name}");
    }
}

#[test]
fn without_a_syn_the_first_payload_starts_the_direction() {
    let mut read = Read::default();
    read.bytes(500, b"abc");
    read.bytes(503, b"def");
    assert_eq!(read.out, "abcdef");
}

#[test]
fn what_is_acknowledged_first_starts_the_direction() {
    for (flags, first, expected) in [
        (Flags::ACK, 500, "abc"),
        // Something before it was not seen.
        (Flags::ACK, 498, "<2>abc"),
        // Neither says anything of the other direction.
        (Flags::default(), 498, "abc"),
        (Flags::RST.with(Flags::ACK), 498, "abc"),
    ] {
        let (mut duplex, mut out) = (Duplex::default(), String::new());
        let request = Segment { acknowledgment: first, flags, ..payload(Direction::Out, 100, b"request") };
        assert_eq!(duplex.acknowledged(&request), None);
        let half = duplex.half_mut(Direction::In);
        show(half.read(Time(0), &payload(Direction::In, 500, b"abc")), &mut out);
        show(half.give_up(Time(0)), &mut out);
        assert_eq!(out, expected);
    }
}

#[test]
fn sequence_numbers_wrap() {
    let mut read = Read::starting(u32::MAX - 1);
    read.bytes(1, b"def");
    read.bytes(u32::MAX - 1, b"abc");
    assert_eq!(read.out, "abcdef");
}

#[test]
fn a_segment_from_far_away_is_ignored() {
    let mut read = Read::starting(0);
    for (sequence, bytes) in [(0x5000_0000, "x"), (0xa000_0000, "x"), (0, "abc")] {
        read.bytes(sequence, bytes.as_bytes());
    }
    assert_eq!((read.out.as_str(), read.half.has_held()), ("abc", false));
}

#[test]
fn the_fin_comes_once_behind_all_bytes() {
    for (name, numbers) in [("in order", [0, 3]), ("before what it ends", [3, 0]), ("alone", [0, 0])] {
        let mut read = Read::starting(0);
        for number in numbers {
            if number == 0 { read.bytes(0, b"abc") } else { read.fin(number) }
        }
        read.fin(3);
        assert_eq!(read.out, "abc.", "{name}");
    }
    let mut read = Read::default();
    read.fin(7);
    assert_eq!(read.out, ".", "of a direction of which nothing else was seen");
}

#[test]
fn what_is_missing_is_given_up_after_a_loss() {
    let mut read = Read::starting(0);
    for (sequence, bytes) in [(0, "ab"), (5, "fg"), (9, "j")] {
        read.bytes(sequence, bytes.as_bytes());
    }
    read.fin(10);
    assert!(read.half.awaits_bytes());
    read.give_up();
    assert_eq!((read.out.as_str(), read.half.held_bytes()), ("ab<3>fg<2>j.", 0));
    assert!(!read.half.awaits_bytes());
}

#[test]
fn elided_payload_takes_its_place_and_no_memory() {
    let mut read = Read::starting(0);
    read.bytes(7, b"h");
    read.elided(2, 5);
    assert_eq!(read.half.held_bytes(), 1);
    read.bytes(0, b"abc");
    read.elided(6, 4);
    read.bytes(10, b"k");
    assert_eq!((read.out.as_str(), read.half.held_bytes()), ("abc[4]h[2]k", 0));
}

#[test]
fn what_is_held_is_bounded() {
    let mut half = Half::default();
    half.start(0);
    let (mut gaps, mut bytes) = (0, 0);
    for number in 0..4000_u32 {
        let mut chunks = half.read(Time(0), &payload(Direction::In, 1 + number * 1001, &[b'x'; 1000]));
        while let Some(chunk) = chunks.next_chunk() {
            match chunk {
                Chunk::Gap { .. } => gaps += 1,
                Chunk::Bytes { bytes: more, .. } => bytes += more.len(),
                other => panic!("{other:?}"),
            }
        }
        assert!(half.held_bytes() <= HELD_BYTES_MAX);
    }
    assert_eq!(bytes + half.held_bytes(), 4_000_000);
    assert!(gaps > 3000);
}

#[test]
fn what_the_receiver_has_and_was_not_seen_is_a_gap() {
    let mut read = Read::default();
    read.advance_to(9, false);
    read.half.start(10);
    for (sequence, bytes) in [(12, "cd"), (16, "gh"), (30, "z")] {
        read.bytes(sequence, bytes.as_bytes());
    }
    for number in [10, 20, 15] {
        read.advance_to(number, false);
    }
    read.bytes(20, b"k");
    assert_eq!(read.out, "<2>cd<2>gh<2>k");
    assert!(read.half.has_held());
}

/// Whether a FIN was seen, whether a message lasts until it, the number that all before has passed, and what comes out
/// behind four bytes.
#[test]
fn one_number_alone_may_be_that_of_a_fin() {
    for (fin, lasts_until_fin, number, expected) in [
        (None, false, 5, ""),
        (None, false, 6, "<2>"),
        (None, true, 6, ""),
        (None, true, 7, "<2>"),
        (Some(4), false, 5, "."),
        (Some(6), true, 7, "<2>."),
    ] {
        let mut read = Read::starting(0);
        read.bytes(0, b"abcd");
        if let Some(fin) = fin {
            read.fin(fin);
        }
        read.advance_to(number, lasts_until_fin);
        assert_eq!(&read.out[4..], expected, "{fin:?} {lasts_until_fin} {number}");
    }
}
