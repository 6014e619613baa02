//! Segments for tests, by what matters of them, and bytes cut into segments.

use std::net::SocketAddr;

use tcp_trace_model::event::{Direction, Endpoints, Flags, Segment};

use super::{Half, Need, SKIP_MAX};

/// A segment with nothing but numbers.
pub fn segment(direction: Direction, flags: Flags, sequence: u32, length: u32) -> Segment<'static> {
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    Segment {
        direction,
        flags,
        sequence,
        acknowledgment: 0,
        length,
        payload: &[],
        endpoints: Endpoints { local: nowhere, peer: nowhere },
        netns: None,
        state: None,
        zero_window: false,
        elision: Default::default(),
        verdict: Default::default(),
    }
}

/// A segment with this payload.
pub fn payload(direction: Direction, sequence: u32, payload: &[u8]) -> Segment<'_> {
    let length = u32::try_from(payload.len()).unwrap();
    Segment { payload, ..segment(direction, Flags::default(), sequence, length) }
}

/// The number before which a direction needs no payload.
pub fn unneeded_until(half: &Half, need: Need) -> Option<u32> {
    match need {
        Need::From(offset) => {
            let length = (offset - half.offset()).min(SKIP_MAX.into());
            Some(half.cursor.next?.wrapping_add(u32::try_from(length).unwrap()))
        }
        Need::All | Need::Nothing => None,
    }
}

/// Lets payload before this number pass unreported.
pub fn elide_until(half: &mut Half, until: u32) {
    half.elision.until = Some(until);
}

/// Bytes as corpora write them: escapes are those of Rust's byte strings, `\\s` is a space, and `\\{N*x}` is `x` N times.
pub fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            bytes.extend(character.to_string().bytes());
            continue;
        }
        match characters.next() {
            Some('r') => bytes.push(b'\r'),
            Some('n') => bytes.push(b'\n'),
            Some('t') => bytes.push(b'\t'),
            Some('0') => bytes.push(0),
            Some('s') => bytes.push(b' '),
            Some('\\') => bytes.push(b'\\'),
            Some('x') => {
                let digits: String = characters.by_ref().take(2).collect();
                bytes.push(u8::from_str_radix(&digits, 16).expect("two hexadecimal digits"));
            }
            Some('{') => {
                let inner: String = characters.by_ref().take_while(|character| *character != '}').collect();
                let (count, what) = inner.split_once('*').expect("N*x");
                bytes.extend(unescaped(what).repeat(count.parse().expect("a number")));
            }
            other => panic!("{other:?} in {text}"),
        }
    }
    bytes
}

/// How bytes are cut into segments.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// Not at all.
    Whole,
    /// Into single bytes.
    Bytes,
    /// Pieces of random sizes in random order, some of them twice, by this seed.
    Shuffled(u64),
}

/// A pseudo-random number (xorshift64*), so that a seed always gives the same order.
fn random(seed: &mut u64, below: usize) -> usize {
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    usize::try_from((*seed).wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % below
}

/// Where each segment of so many bytes begins, and its length, in the order in which they come.
pub fn pieces(length: usize, cut: Cut) -> Vec<(usize, usize)> {
    match cut {
        Cut::Whole => vec![(0, length)],
        Cut::Bytes => (0..length).map(|at| (at, 1)).collect(),
        Cut::Shuffled(seed) => {
            let mut seed = seed;
            let mut pieces = Vec::new();
            let mut at = 0;
            // At most as many segments as are held.
            let largest = (length / 100).max(24);
            while at < length {
                let size = (1 + random(&mut seed, largest)).min(length - at);
                pieces.push((at, size));
                if random(&mut seed, 3) == 0 {
                    // Sent again, cut differently.
                    let back = random(&mut seed, at + 1).min(40);
                    pieces.push((at - back, back + size));
                }
                at += size;
            }
            for at in (1..pieces.len()).rev() {
                // Not far from where they belong: what is held is bounded.
                let other = at - random(&mut seed, at.min(60) + 1);
                pieces.swap(at, other);
            }
            pieces
        }
    }
}
