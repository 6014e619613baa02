//! The chunked coding (RFC 9112, section 7.1): counts what it carries and finds its end.

use super::line::is_token;

/// Longest line of a chunk's size with its extensions, and longest trailer section, in bytes.
const SECTION_MAX: u32 = 64 << 10;
/// Why a size is refused that has something else than digits in it.
const NO_NUMBER: &str = "a chunk's size is not a number";

/// Follows the chunked coding and counts what it carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Chunked {
    state: State,
    /// Bytes of the line or section that the state is in.
    section: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before a chunk's size.
    #[default]
    Start,
    /// In the digits of a chunk's size.
    Size { size: u64 },
    /// Behind the digits, in white space.
    Blank { size: u64 },
    /// In extensions.
    Extension { size: u64 },
    /// Behind the CR of a size's line.
    SizeCr { size: u64 },
    /// In a chunk's data.
    Data { left: u64 },
    /// Behind a chunk's data.
    DataEnd,
    /// Behind the CR that follows a chunk's data.
    DataCr,
    /// At the beginning of a line of the trailer section.
    Trailer,
    /// In a trailer field's name.
    TrailerName,
    /// In a trailer field's value.
    TrailerValue,
    /// Behind the CR of a trailer field.
    TrailerCr,
    /// Behind the CR of the empty line at the end.
    EndCr,
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
    /// The last byte consumed cannot be: this is not the chunked coding.
    Illegal(&'static str),
}

impl Chunked {
    /// Takes the next bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Fed {
        let mut fed = Fed { consumed: 0, payload: 0, then: Then::More };
        while let Some(byte) = bytes.get(fed.consumed).copied() {
            if let State::Data { left } = self.state {
                let here = left.min((bytes.len() - fed.consumed) as u64);
                fed.payload += here;
                // At most the piece's length, so it fits.
                fed.consumed += here as usize;
                self.skip(here);
                continue;
            }
            fed.consumed += 1;
            fed.then = match self.framing_byte(byte) {
                Ok(false) => continue,
                Ok(true) => Then::End,
                Err(reason) => Then::Illegal(reason),
            };
            break;
        }
        fed
    }

    /// Whether the data is over, and the trailer section behind it is not.
    pub(super) fn is_in_trailer(&self) -> bool {
        matches!(
            self.state,
            State::Trailer | State::TrailerName | State::TrailerValue | State::TrailerCr | State::EndCr
        )
    }

    /// Bytes of data that follow, whatever they are.
    pub(super) fn unneeded(&self) -> u64 {
        if let State::Data { left } = self.state { left } else { 0 }
    }

    /// Passes over so many bytes of data, at most [`unneeded`](Self::unneeded).
    pub(super) fn skip(&mut self, bytes: u64) {
        if let State::Data { left } = self.state {
            let left = left.saturating_sub(bytes);
            self.state = if left == 0 { State::DataEnd } else { State::Data { left } };
        }
    }

    /// A byte that is not data; true when it is the last one of the body.
    fn framing_byte(&mut self, byte: u8) -> Result<bool, &'static str> {
        self.section = self.section.saturating_add(1);
        if self.section > SECTION_MAX {
            return Err("a chunk's line or the trailer section is longer than 64 KiB");
        }
        let is_control = byte.is_ascii_control() && byte != b'\t';
        self.state = match (self.state, byte) {
            (State::Start, b'\r' | b'\n' | b';') => return Err("a chunk without a size"),
            (State::Start, _) => State::Size { size: digit(byte).ok_or(NO_NUMBER)? },
            (State::Size { size } | State::Blank { size } | State::Extension { size }, b'\r') => {
                State::SizeCr { size }
            }
            // RFC 9112, section 2.2, allows LF alone behind a start line and a field only, and receivers differ.
            (State::Size { .. } | State::Blank { .. } | State::Extension { .. }, b'\n') => {
                return Err("an LF without CR behind a chunk's size");
            }
            (State::DataEnd, b'\n') => return Err("an LF without CR behind a chunk's data"),
            (State::SizeCr { size }, b'\n') => {
                self.section = 0;
                if size == 0 { State::Trailer } else { State::Data { left: size } }
            }
            (State::Size { size } | State::Blank { size }, b' ' | b'\t') => State::Blank { size },
            (State::Size { size } | State::Blank { size }, b';') => State::Extension { size },
            (State::Size { size }, _) => {
                let digit = digit(byte).ok_or(NO_NUMBER)?;
                let size = size.checked_mul(16).ok_or("a chunk's size is too large")?;
                State::Size { size: size | digit }
            }
            (State::Blank { .. }, _) => return Err(NO_NUMBER),
            (State::Extension { .. }, _) if is_control => {
                return Err("a control character in a chunk's extension");
            }
            (State::Extension { size }, _) => State::Extension { size },
            (State::DataEnd, b'\r') => State::DataCr,
            (State::DataCr, b'\n') => {
                self.section = 0;
                State::Start
            }
            (State::DataEnd | State::DataCr | State::Data { .. }, _) => {
                return Err("a chunk is longer than its size");
            }
            (State::SizeCr { .. }, _) => return Err("a CR without LF behind a chunk's size"),
            (State::Trailer | State::EndCr, b'\n') => return Ok(true),
            (State::Trailer, b'\r') => State::EndCr,
            (state, _) => trailer_byte(state, byte, is_control)?,
        };
        Ok(false)
    }
}

/// A byte of a trailer field, or of its line's end.
fn trailer_byte(state: State, byte: u8, is_control: bool) -> Result<State, &'static str> {
    match (state, byte) {
        (State::TrailerName, b':') => Ok(State::TrailerValue),
        (State::Trailer | State::TrailerName, _) if is_token(byte) => Ok(State::TrailerName),
        // A value of the old kind that goes on; there may be none to go on, which changes nothing.
        (State::Trailer, b' ' | b'\t') => Ok(State::TrailerValue),
        (State::TrailerValue, b'\r') => Ok(State::TrailerCr),
        (State::TrailerValue | State::TrailerCr, b'\n') => Ok(State::Trailer),
        (State::TrailerValue, _) if !is_control => Ok(State::TrailerValue),
        (State::TrailerValue, _) => Err("a control character in a trailer field"),
        (State::TrailerCr | State::EndCr, _) => Err("a CR without LF in the trailer section"),
        _ => Err("a trailer field without a legal name"),
    }
}

fn digit(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
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
                Then::Illegal(_) => return None,
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
            (b"5 \t;x\r\nhello\r\n0 \r\n\r\n", Some((5, Some(0)))),
            (b"5\r\nhello\r\n0\r\nA: b\n\n", Some((5, Some(0)))),
            (b"A\r\n0123456789\r\n00\r\nTrailer: x\r\nOther: y\r\n more\r\n\r\n", Some((10, Some(0)))),
            (b"000000000000000000000005\r\nhello\r\n0\r\n\r\n", Some((5, Some(0)))),
            (b"0\r\n\r\n", Some((0, Some(0)))),
            (b"5\r\nhel", Some((3, None))),
            (b"5\r\nhello\r\n0\r\n", Some((5, None))),
            (b"x\r\n", None),
            (b"\r\n", None),
            (b"-5\r\n", None),
            (b"5 5\r\n", None),
            (b"5\rhello", None),
            (b"5\r\nhelloX", None),
            (b"5\r\nhello\r\r\n", None),
            (b"11111111111111111\r\n", None),
            (b"0\r\nno colon\r\n\r\n", None),
            (b"0\r\n: x\r\n\r\n", None),
            (b"0\r\nA: \0\r\n\r\n", None),
            (b"5;\0\r\n", None),
            (b"5\nhello\r\n0\r\n\r\n", None),
            (b"5;a\nhello\r\n0\r\n\r\n", None),
            (b"5\r\nhello\n0\r\n\r\n", None),
        ] {
            for piece in [1, 2, 3, 1000] {
                assert_eq!(feed(bytes, piece), expected, "{} by {piece}", bytes.escape_ascii());
            }
        }
    }

    #[test]
    fn lines_without_end_are_given_up() {
        let extension = [b"5;".as_slice(), &[b'x'; SECTION_MAX as usize]].concat();
        assert_eq!(feed(&extension, 1000), None);
        let trailers = [b"0\r\n".as_slice(), &b"A: b\r\n".repeat(20_000)].concat();
        assert_eq!(feed(&trailers, 1000), None);
    }

    #[test]
    fn data_can_be_passed_over() {
        let mut chunked = Chunked::default();
        assert_eq!(chunked.unneeded(), 0);
        chunked.feed(b"5\r\nh");
        assert_eq!(chunked.unneeded(), 4);
        chunked.skip(4);
        assert_eq!(chunked.feed(b"\r\n0\r\n\r\n").then, Then::End);
    }
}
