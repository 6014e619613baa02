//! One direction of a TCP connection, put back in order by sequence numbers (RFC 9293, section 3.4).

use std::collections::BTreeMap;

use tcp_trace_model::time::Time;

/// Bytes that are held of one direction while something before them is missing.
pub const HELD_BYTES_MAX: usize = 256 << 10;
/// Segments that are held of one direction.
pub const HELD_SEGMENTS_MAX: usize = 1024;
/// A segment further than this from the expected number is not of this connection's window: windows end at
/// 1 GiB (RFC 7323, section 2.3).
const DISTANCE_MAX: u32 = 1 << 30;

/// What comes next in a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk<'a> {
    /// These bytes.
    Bytes {
        /// In order, each byte once.
        bytes: &'a [u8],
        /// When their segment, and all before it, had passed.
        time: Time,
    },
    /// Bytes that passed and whose values nobody asked for.
    Skipped {
        /// How many.
        bytes: u64,
        /// When their segment, and all before it, had passed.
        time: Time,
    },
    /// Bytes that were never seen.
    Gap {
        /// How many.
        bytes: u64,
        /// When they were given up.
        time: Time,
    },
}

/// A segment's payload.
#[derive(Clone, Copy, Debug)]
enum Piece<'a> {
    Seen(&'a [u8]),
    Skipped(u64),
}

impl<'a> Piece<'a> {
    fn len(self) -> u64 {
        match self {
            Self::Seen(bytes) => bytes.len() as u64,
            Self::Skipped(bytes) => bytes,
        }
    }

    /// What is behind the first `known` bytes, if anything.
    fn behind(self, known: u64, time: Time) -> Option<Chunk<'a>> {
        let left = self.len().checked_sub(known).filter(|left| *left > 0)?;
        Some(match self {
            // At most the length of `bytes`, so it fits.
            Self::Seen(bytes) => Chunk::Bytes { bytes: &bytes[known as usize..], time },
            Self::Skipped(_) => Chunk::Skipped { bytes: left, time },
        })
    }
}

/// A payload that is held while something before it is missing.
#[derive(Debug)]
enum Held {
    Seen(Vec<u8>),
    Skipped(u64),
}

impl Held {
    fn piece(&self) -> Piece<'_> {
        match self {
            Self::Seen(bytes) => Piece::Seen(bytes),
            Self::Skipped(bytes) => Piece::Skipped(*bytes),
        }
    }

    fn memory(&self) -> usize {
        if let Self::Seen(bytes) = self { bytes.len() } else { 0 }
    }
}

/// Puts the segments of one direction in order. Of bytes that come twice the first ones count.
///
/// Invariants: held segments lie behind the next expected byte; at most [`HELD_BYTES_MAX`] bytes and
/// [`HELD_SEGMENTS_MAX`] segments are held once [`push`](Self::push) returns.
#[derive(Debug, Default)]
pub struct Reassembly {
    /// The next expected sequence number.
    next: Option<u32>,
    /// How many bytes came before it.
    position: u64,
    held: BTreeMap<u64, (Time, Held)>,
    held_bytes: usize,
    ignored: u64,
}

impl Reassembly {
    /// Sets the first byte's sequence number, the SYN's plus one. Without it the first segment's counts.
    pub fn start(&mut self, sequence: u32) {
        self.next.get_or_insert(sequence);
    }

    /// The next expected sequence number, once there is one.
    pub fn next_sequence(&self) -> Option<u32> {
        self.next
    }

    /// Bytes that are held.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Segments that were ignored because their numbers are impossible.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Whether something is held because what is before it is missing.
    pub fn has_hole(&self) -> bool {
        !self.held.is_empty()
    }

    /// Takes a segment's payload and delivers what is in order now.
    pub fn push(&mut self, sequence: u32, bytes: &[u8], time: Time, deliver: impl FnMut(Chunk<'_>)) {
        self.piece(sequence, Piece::Seen(bytes), time, deliver);
    }

    /// Takes payload that passed without being seen, and delivers what is in order now.
    pub fn push_skipped(&mut self, sequence: u32, bytes: u32, time: Time, deliver: impl FnMut(Chunk<'_>)) {
        self.piece(sequence, Piece::Skipped(bytes.into()), time, deliver);
    }

    fn piece(&mut self, sequence: u32, piece: Piece<'_>, time: Time, mut deliver: impl FnMut(Chunk<'_>)) {
        let next = *self.next.get_or_insert(sequence);
        // Sequence numbers are compared modulo 2^32.
        let distance = sequence.wrapping_sub(next).cast_signed();
        if distance.unsigned_abs() > DISTANCE_MAX {
            self.ignored += 1;
            return;
        }
        if distance <= 0 {
            if let Some(chunk) = piece.behind(distance.unsigned_abs().into(), time) {
                self.advance(piece.len() - u64::from(distance.unsigned_abs()));
                deliver(chunk);
                self.deliver_held(time, &mut deliver);
            }
            return;
        }
        self.hold(self.position + u64::from(distance.unsigned_abs()), piece, time);
        while self.held_bytes > HELD_BYTES_MAX || self.held.len() > HELD_SEGMENTS_MAX {
            self.give_up_hole(time, &mut deliver);
        }
    }

    /// Notes that all before `sequence` has passed: what is missing of it is given up, what is held behind that is
    /// delivered.
    pub fn has_passed(&mut self, sequence: u32, time: Time, mut deliver: impl FnMut(Chunk<'_>)) {
        let Some(next) = self.next else { return };
        let distance = sequence.wrapping_sub(next).cast_signed();
        if distance <= 0 || distance.unsigned_abs() > DISTANCE_MAX {
            return;
        }
        let end = self.position + u64::from(distance.unsigned_abs());
        while self.held.first_key_value().is_some_and(|(start, _)| *start <= end) {
            self.give_up_hole(time, &mut deliver);
        }
        if let Some(missing) = end.checked_sub(self.position).filter(|missing| *missing > 0) {
            self.advance(missing);
            deliver(Chunk::Gap { bytes: missing, time });
        }
    }

    /// Ends the direction: what is missing is given up, what is held is delivered.
    pub fn finish(&mut self, time: Time, mut deliver: impl FnMut(Chunk<'_>)) {
        while !self.held.is_empty() {
            self.give_up_hole(time, &mut deliver);
        }
    }

    fn hold(&mut self, position: u64, piece: Piece<'_>, time: Time) {
        let known = self.held.get(&position).map_or(0, |(_, held)| held.piece().len());
        if piece.len() > known {
            let held = match piece {
                Piece::Seen(bytes) => Held::Seen(bytes.to_vec()),
                Piece::Skipped(bytes) => Held::Skipped(bytes),
            };
            self.held_bytes += held.memory();
            let before = self.held.insert(position, (time, held));
            self.held_bytes -= before.map_or(0, |(_, held)| held.memory());
        }
    }

    fn give_up_hole(&mut self, time: Time, deliver: &mut impl FnMut(Chunk<'_>)) {
        let Some(first) = self.held.keys().next().copied() else {
            return;
        };
        let missing = first - self.position;
        self.advance(missing);
        deliver(Chunk::Gap { bytes: missing, time });
        self.deliver_held(time, deliver);
    }

    fn deliver_held(&mut self, now: Time, deliver: &mut impl FnMut(Chunk<'_>)) {
        while let Some(entry) = self.held.first_entry() {
            if *entry.key() > self.position {
                return;
            }
            let (start, (time, held)) = entry.remove_entry();
            self.held_bytes -= held.memory();
            let known = self.position - start;
            if let Some(chunk) = held.piece().behind(known, time.max(now)) {
                self.advance(held.piece().len() - known);
                deliver(chunk);
            }
        }
    }

    fn advance(&mut self, bytes: u64) {
        self.position += bytes;
        // Truncation is what sequence numbers do.
        self.next = self.next.map(|next| next.wrapping_add(bytes as u32));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pushes segments and shows what came out: bytes as text, gaps as `<n>`.
    fn run(start: Option<u32>, segments: &[(u32, &[u8])]) -> (String, Reassembly) {
        let mut reassembly = Reassembly::default();
        if let Some(sequence) = start {
            reassembly.start(sequence);
        }
        let mut out = String::new();
        for (sequence, bytes) in segments {
            reassembly.push(*sequence, bytes, Time(0), |chunk| show(chunk, &mut out));
        }
        (out, reassembly)
    }

    fn show(chunk: Chunk<'_>, out: &mut String) {
        match chunk {
            Chunk::Bytes { bytes, .. } => out.push_str(std::str::from_utf8(bytes).unwrap()),
            Chunk::Skipped { bytes, .. } => out.push_str(&format!("[{bytes}]")),
            Chunk::Gap { bytes, .. } => out.push_str(&format!("<{bytes}>")),
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
            let (out, reassembly) = run(Some(100), segments);
            assert_eq!(out, "abcdef", "{name}");
            assert_eq!(reassembly.held_bytes(), 0, "{name}");
        }
    }

    #[test]
    fn without_a_syn_the_first_segment_starts_the_direction() {
        assert_eq!(run(None, &[(500, b"abc"), (503, b"def")]).0, "abcdef");
    }

    #[test]
    fn sequence_numbers_wrap() {
        assert_eq!(run(Some(u32::MAX - 1), &[(1, b"def"), (u32::MAX - 1, b"abc")]).0, "abcdef");
    }

    #[test]
    fn a_segment_from_far_away_is_ignored_and_counted() {
        let (out, reassembly) = run(Some(0), &[(0x5000_0000, b"x"), (0xa000_0000, b"x"), (0, b"abc")]);
        assert_eq!((out.as_str(), reassembly.ignored()), ("abc", 2));
    }

    #[test]
    fn a_hole_is_given_up_at_the_end() {
        let (mut out, mut reassembly) = run(Some(0), &[(0, b"ab"), (5, b"fg"), (9, b"j")]);
        reassembly.finish(Time(0), |chunk| show(chunk, &mut out));
        assert_eq!(out, "ab<3>fg<2>j");
        assert_eq!(reassembly.held_bytes(), 0);
    }

    #[test]
    fn skipped_payload_takes_its_place_and_no_memory() {
        let mut reassembly = Reassembly::default();
        reassembly.start(0);
        let mut out = String::new();
        reassembly.push(7, b"h", Time(0), |chunk| show(chunk, &mut out));
        reassembly.push_skipped(2, 5, Time(0), |chunk| show(chunk, &mut out));
        assert_eq!(reassembly.held_bytes(), 1);
        reassembly.push(0, b"abc", Time(0), |chunk| show(chunk, &mut out));
        reassembly.push_skipped(6, 4, Time(0), |chunk| show(chunk, &mut out));
        reassembly.push(10, b"k", Time(0), |chunk| show(chunk, &mut out));
        assert_eq!((out.as_str(), reassembly.held_bytes()), ("abc[4]h[2]k", 0));
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut reassembly = Reassembly::default();
        reassembly.start(0);
        let (mut gaps, mut bytes) = (0, 0);
        for segment in 0..4000_u32 {
            reassembly.push(1 + segment * 1001, &[b'x'; 1000], Time(0), |chunk| match chunk {
                Chunk::Gap { .. } => gaps += 1,
                Chunk::Bytes { bytes: delivered, .. } => bytes += delivered.len(),
                Chunk::Skipped { .. } => panic!("nothing is skipped"),
            });
            assert!(reassembly.held_bytes() <= HELD_BYTES_MAX);
        }
        assert_eq!(bytes + reassembly.held_bytes(), 4_000_000);
        assert!(gaps > 3000);
    }

    proptest! {
        #[test]
        fn any_cut_order_and_repetition_gives_the_same_bytes(
            bytes in prop::collection::vec(any::<u8>(), 1..2000),
            cuts in prop::collection::vec((any::<prop::sample::Index>(), 1..400_usize), 0..60),
            start: u32,
        ) {
            let mut reassembly = Reassembly::default();
            reassembly.start(start);
            let mut out = Vec::new();
            let whole = std::iter::once((0, bytes.len()));
            let parts = cuts.iter().map(|(at, length)| {
                let at = at.index(bytes.len());
                (at, (at + length).min(bytes.len()))
            });
            // Random pieces first, then everything: whatever came before, each byte comes out once.
            for (from, to) in parts.chain(whole) {
                let sequence = start.wrapping_add(u32::try_from(from).unwrap());
                reassembly.push(sequence, &bytes[from..to], Time(0), |chunk| match chunk {
                    Chunk::Bytes { bytes, .. } => out.extend_from_slice(bytes),
                    _ => panic!("nothing is missing"),
                });
            }
            prop_assert_eq!(out, bytes);
        }
    }

    #[test]
    fn what_has_passed_and_is_missing_is_given_up() {
        let mut reassembly = Reassembly::default();
        let mut out = Vec::new();
        let mut deliver = |chunk: Chunk<'_>| match chunk {
            Chunk::Bytes { bytes, .. } => out.push(String::from_utf8_lossy(bytes).into_owned()),
            Chunk::Skipped { bytes, .. } | Chunk::Gap { bytes, .. } => out.push(bytes.to_string()),
        };
        reassembly.has_passed(9, Time(0), &mut deliver);
        reassembly.start(10);
        for (sequence, bytes) in [(12, "cd"), (16, "gh"), (30, "z")] {
            reassembly.push(sequence, bytes.as_bytes(), Time(0), &mut deliver);
        }
        reassembly.has_passed(10, Time(0), &mut deliver);
        reassembly.has_passed(20, Time(0), &mut deliver);
        reassembly.has_passed(15, Time(0), &mut deliver);
        reassembly.push(20, b"k", Time(0), &mut deliver);
        assert_eq!(out, ["2", "cd", "2", "gh", "2", "k"]);
        assert!(reassembly.has_hole());
    }
}
