//! Strings of JSON (RFC 8259, section 7).

/// A byte in each place of a word.
const EACH: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each place.
const HIGH: u64 = EACH << 7;

/// Appends `text` in quotation marks.
pub(super) fn push(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    if !push_ascii(out, bytes) {
        out.push(b'"');
        bytes.iter().for_each(|byte| push_byte(out, *byte));
        out.push(b'"');
    }
}

/// Appends `bytes` in quotation marks when they are ASCII and none of them needs an escape, as most strings are; else
/// false, and nothing is appended.
pub(super) fn push_ascii(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let is_plain = is_plain(bytes);
    if is_plain {
        out.reserve(bytes.len() + 2);
        out.push(b'"');
        out.extend_from_slice(bytes);
        out.push(b'"');
    }
    is_plain
}

/// Whether all bytes are ASCII and none needs an escape.
pub(crate) fn is_plain(bytes: &[u8]) -> bool {
    if bytes.len() >= 2 * CHUNK {
        return is_long_plain(bytes, |byte| byte < 0x20);
    }
    let (words, _) = bytes.as_chunks::<8>();
    match bytes.last_chunk::<8>() {
        // The last word overlaps the one before it.
        Some(last) => words.iter().chain([last]).all(|word| is_word_plain(u64::from_le_bytes(*word))),
        None => is_word_plain(short_word(bytes)),
    }
}

/// Whether all bytes of a head are ASCII and none of its parts between the ends of lines needs an escape.
pub(crate) fn is_plain_head(head: &[u8]) -> bool {
    is_long_plain(head, |byte| byte < 0x20 && byte != b'\r' && byte != b'\n')
}

/// Bytes that are looked at in one step.
const CHUNK: usize = 32;

/// Whether all bytes are ASCII, none is a quotation mark or a backslash, and none `is_bad`: without a branch per byte, so
/// that the compiler makes vector instructions of it.
#[inline(always)]
fn is_long_plain(bytes: &[u8], is_bad: impl Fn(u8) -> bool) -> bool {
    let mut bad = [0; CHUNK];
    let mut look_at = |chunk: &[u8; CHUNK]| {
        for (bad, byte) in bad.iter_mut().zip(chunk) {
            let is_special = is_bad(*byte) | (*byte == b'"') | (*byte == b'\\');
            *bad |= u8::from(is_special) | (*byte & 0x80);
        }
    };
    match bytes.last_chunk() {
        Some(last) => {
            bytes.as_chunks().0.iter().for_each(&mut look_at);
            // It overlaps the one before it.
            look_at(last);
        }
        None => {
            let mut chunk = [b' '; CHUNK];
            chunk.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
            look_at(&chunk);
        }
    }
    bad.iter().fold(0, |all, bad| all | bad) == 0
}

/// Less than a word's bytes as a word, each of them once or twice, filled up with what needs no escape.
fn short_word(bytes: &[u8]) -> u64 {
    const SPACES: u64 = EACH * b' ' as u64;
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        return u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last));
    }
    bytes.iter().fold(SPACES, |word, byte| word << 8 | u64::from(*byte))
}

/// Whether no byte of a word is a control character, a quotation mark, a backslash or beyond ASCII.
fn is_word_plain(word: u64) -> bool {
    // A place is less than `n` where subtracting that borrows and the highest bit was not set.
    let less = |word: u64, n: u64| word.wrapping_sub(EACH * n) & !word;
    let is_byte = |byte: u8| less(word ^ (EACH * u64::from(byte)), 1);
    (word | less(word, 0x20) | is_byte(b'"') | is_byte(b'\\')) & HIGH == 0
}

fn push_byte(out: &mut Vec<u8>, byte: u8) {
    if is_escaped(byte) {
        let (escape, length) = escape(byte);
        out.extend_from_slice(&escape[..length]);
    } else {
        out.push(byte);
    }
}

/// Whether a byte of UTF-8 stands for itself only behind a backslash.
pub(crate) fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// What is written for such a byte: the first so many of these.
pub(crate) fn escape(byte: u8) -> ([u8; 6], usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        0x20.. => byte,
        _ => {
            let digit = |value: u8| DIGITS[usize::from(value & 0x0f)];
            return ([b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte)], 6);
        }
    };
    ([b'\\', short, 0, 0, 0, 0], 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        push(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_byte_is_escaped_wherever_it_stands_as_serde_json_does() {
        for character in (0..=0x100).filter_map(char::from_u32) {
            for before in 0..10 {
                for after in [0, 1, 9] {
                    let text = format!("{}{character}{}", "a".repeat(before), "b".repeat(after));
                    assert_eq!(written(&text), serde_json::to_string(&text).unwrap());
                }
            }
        }
    }

    #[test]
    fn a_head_is_plain_unless_a_part_of_it_needs_an_escape() {
        for byte in 0..=u8::MAX {
            for before in [0, 31, 32, 40] {
                let head = [&b"a".repeat(before)[..], &[byte], b"\r\nb: c\r\n"].concat();
                let needs_escape = is_escaped(byte) && byte != b'\r' && byte != b'\n';
                assert_eq!(is_plain_head(&head), byte.is_ascii() && !needs_escape, "{byte}");
            }
        }
    }

    proptest! {
        #[test]
        fn strings_are_those_of_serde_json(text in "\\PC*|[\\x00-\\x7f]*") {
            prop_assert_eq!(written(&text), serde_json::to_string(&text).unwrap());
        }
    }
}
