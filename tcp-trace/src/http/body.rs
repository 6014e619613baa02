//! Where a message's body ends (RFC 9112, sections 6 and 7).

use super::exchange::{Fields, Response};

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    None,
    /// After so many bytes, more than 0.
    Length(u64),
    /// By the chunked coding.
    Chunked,
    /// By the end of the connection.
    UntilClose,
    /// There are no more messages: another protocol follows.
    Tunnel,
}

impl Framing {
    /// RFC 9112, section 6.3, for requests. `None` when it is contradictory.
    pub(super) fn of_request(fields: &Fields) -> Option<Self> {
        if is_chunked(fields) {
            return Some(Self::Chunked);
        }
        Some(length(fields)?.map_or(Self::None, Self::from_length))
    }

    /// RFC 9112, section 6.3, for responses. `None` when it is contradictory.
    pub(super) fn of_response(response: &Response, method: Option<&[u8]>) -> Option<Self> {
        let status = response.status_code;
        if status == 101 || method == Some(b"CONNECT") && (200..300).contains(&status) {
            return Some(Self::Tunnel);
        }
        if method == Some(b"HEAD") || (100..200).contains(&status) || matches!(status, 204 | 304) {
            return Some(Self::None);
        }
        if is_chunked(&response.headers) {
            return Some(Self::Chunked);
        }
        Some(length(&response.headers)?.map_or(Self::UntilClose, Self::from_length))
    }

    fn from_length(length: u64) -> Self {
        if length == 0 { Self::None } else { Self::Length(length) }
    }
}

fn values<'a>(fields: &'a Fields, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    fields
        .iter()
        .filter(move |(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_slice())
}

/// Whether the last transfer coding is `chunked`.
fn is_chunked(fields: &Fields) -> bool {
    let last = values(fields, b"transfer-encoding").last().unwrap_or_default();
    let coding = last.rsplit(|byte| *byte == b',').next().unwrap_or_default();
    coding.trim_ascii().eq_ignore_ascii_case(b"chunked")
}

/// The Content-Length: `Some(None)` without one, `None` when it is no number or several different ones.
fn length(fields: &Fields) -> Option<Option<u64>> {
    let mut length = None;
    for value in values(fields, b"content-length").flat_map(|value| value.split(|byte| *byte == b',')) {
        let value = value.trim_ascii();
        let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let number = is_number.then(|| str::from_utf8(value).ok()?.parse::<u64>().ok()).flatten()?;
        if length.is_some_and(|length| length != number) {
            return None;
        }
        length = Some(number);
    }
    Some(length)
}

/// Follows the chunked coding and counts what it carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Chunked {
    state: ChunkedState,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ChunkedState {
    /// Digits of a chunk's size so far, and the size.
    Size { digits: u8, size: u64 },
    /// Behind the digits: extensions, to the end of the line.
    Extension { size: u64 },
    /// Data of a chunk.
    Data { left: u64 },
    /// The line end behind a chunk's data.
    DataEnd,
    /// A line of the trailer section, with its bytes so far, without CR.
    Trailer { length: u32 },
    #[default]
    Start,
}

/// What a piece of a chunked body was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fed {
    /// Bytes of the piece that belong to the body and its framing.
    pub(super) consumed: usize,
    /// Bytes of them that are the body's.
    pub(super) payload: u64,
    /// Whether the body goes on.
    pub(super) then: Then,
}

/// How a chunked body goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// With more bytes.
    More,
    /// It has ended.
    End,
    /// The next byte cannot be: this is not the chunked coding.
    Illegal,
}

impl Chunked {
    /// Takes the next bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Fed {
        let mut fed = Fed { consumed: 0, payload: 0, then: Then::More };
        while let Some(byte) = bytes.get(fed.consumed).copied() {
            if let ChunkedState::Data { left } = self.state {
                let here = left.min((bytes.len() - fed.consumed) as u64);
                fed.payload += here;
                // At most the piece's length, so it fits.
                fed.consumed += here as usize;
                self.state = if here == left {
                    ChunkedState::DataEnd
                } else {
                    ChunkedState::Data { left: left - here }
                };
                continue;
            }
            fed.consumed += 1;
            fed.then = match self.framing_byte(byte) {
                Some(false) => continue,
                Some(true) => Then::End,
                None => Then::Illegal,
            };
            break;
        }
        fed
    }

    /// A byte that is not data; true when it is the last one of the body.
    fn framing_byte(&mut self, byte: u8) -> Option<bool> {
        self.state = match (self.state, byte) {
            (ChunkedState::Start, _) => Self::size_digit(0, 0, byte)?,
            (ChunkedState::Size { size, .. }, b'\n') | (ChunkedState::Extension { size }, b'\n') => {
                if size == 0 {
                    ChunkedState::Trailer { length: 0 }
                } else {
                    ChunkedState::Data { left: size }
                }
            }
            (ChunkedState::Size { size, .. }, b';' | b' ' | b'\t' | b'\r')
            | (ChunkedState::Extension { size }, _) => ChunkedState::Extension { size },
            (ChunkedState::Size { digits, size }, _) => Self::size_digit(digits, size, byte)?,
            (ChunkedState::DataEnd, b'\r') => ChunkedState::DataEnd,
            (ChunkedState::DataEnd, b'\n') => ChunkedState::Start,
            (ChunkedState::DataEnd | ChunkedState::Data { .. }, _) => return None,
            (ChunkedState::Trailer { length: 0 }, b'\n') => return Some(true),
            (ChunkedState::Trailer { .. }, b'\n') => ChunkedState::Trailer { length: 0 },
            (ChunkedState::Trailer { length }, b'\r') => ChunkedState::Trailer { length },
            (ChunkedState::Trailer { length }, _) => {
                ChunkedState::Trailer { length: length.saturating_add(1) }
            }
        };
        Some(false)
    }

    fn size_digit(digits: u8, size: u64, byte: u8) -> Option<ChunkedState> {
        // Sixteen digits are what 64 bits hold.
        let digit = char::from(byte).to_digit(16).filter(|_| digits < 16)?;
        Some(ChunkedState::Size { digits: digits + 1, size: size << 4 | u64::from(digit) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `bytes` in pieces of `piece`; gives payload and what is left behind the body.
    fn feed(bytes: &[u8], piece: usize) -> Option<(u64, Option<usize>)> {
        let mut chunked = Chunked::default();
        let (mut payload, mut at) = (0, 0);
        for piece in bytes.chunks(piece) {
            let fed = chunked.feed(piece);
            payload += fed.payload;
            at += fed.consumed;
            match fed.then {
                Then::More => {}
                Then::End => return Some((payload, Some(bytes.len() - at))),
                Then::Illegal => return None,
            }
        }
        Some((payload, None))
    }

    #[test]
    fn chunked_bodies_end_where_they_end() {
        for (bytes, expected) in [
            (&b"5\r\nhello\r\n0\r\n\r\n"[..], Some((5, Some(0)))),
            (b"5\r\nhello\r\n0\r\n\r\nGET", Some((5, Some(3)))),
            (b"5;name=\"va;lue\"\r\nhello\r\n0;x\r\n\r\n", Some((5, Some(0)))),
            (b"5\nhello\n0\n\n", Some((5, Some(0)))),
            (b"A\r\n0123456789\r\n00\r\nTrailer: x\r\nOther: y\r\n\r\n", Some((10, Some(0)))),
            (b"0\r\n\r\n", Some((0, Some(0)))),
            (b"5\r\nhel", Some((3, None))),
            (b"5\r\nhello\r\n0\r\n", Some((5, None))),
            (b"x\r\n", None),
            (b"\r\n", None),
            (b"-5\r\n", None),
            (b"5\r\nhelloX", None),
            (b"11111111111111111\r\n", None),
        ] {
            for piece in [1, 2, 3, 1000] {
                assert_eq!(feed(bytes, piece), expected, "{} by {piece}", bytes.escape_ascii());
            }
        }
    }

    #[test]
    fn conflicting_lengths_are_no_length() {
        let fields = |values: &[&str]| {
            values
                .iter()
                .map(|value| (b"Content-Length".to_vec(), value.as_bytes().to_vec()))
                .collect::<Fields>()
        };
        for (values, expected) in [
            (&[][..], Some(Framing::None)),
            (&["0"], Some(Framing::None)),
            (&["5"], Some(Framing::Length(5))),
            (&["5", "5"], Some(Framing::Length(5))),
            (&["5, 5"], Some(Framing::Length(5))),
            (&["5", "6"], None),
            (&["+5"], None),
            (&[""], None),
            (&["99999999999999999999"], None),
        ] {
            assert_eq!(Framing::of_request(&fields(values)), expected, "{values:?}");
        }
    }
}
