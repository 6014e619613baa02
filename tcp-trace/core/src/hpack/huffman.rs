//! The Huffman code of strings (RFC 7541, section 5.2 and appendix B).

use super::decoder::Fault;

/// Bits of the code of each byte, and then of the end of the string. The code is canonical: codes of one length follow each other in the
/// order of the bytes, and shorter codes come first, so the lengths are all there is to know.
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26, 30,
];
const SYMBOLS: usize = 257;
/// What stands for the end, and may not occur.
const END: u16 = 256;
/// The longest code.
const LENGTH_MAX: usize = 30;

/// The code, by lengths.
struct Code {
    /// The first code of each length.
    first: [u32; LENGTH_MAX + 1],
    /// How many symbols have codes of each length.
    count: [u32; LENGTH_MAX + 1],
    /// Where the symbols of each length begin in `symbols`.
    start: [u32; LENGTH_MAX + 1],
    /// In the order of their codes.
    symbols: [u16; SYMBOLS],
    /// By the first eight bits: the byte and the length of its code, or 0 where that is longer.
    short: [(u8, u8); 256],
}

const CODE: Code = code();

const fn code() -> Code {
    let (mut first, mut count, mut start) = ([0; LENGTH_MAX + 1], [0; LENGTH_MAX + 1], [0; LENGTH_MAX + 1]);
    let mut symbols = [0; SYMBOLS];
    let mut short = [(0, 0); 256];
    let (mut length, mut next, mut placed) = (1, 0_u32, 0);
    while length <= LENGTH_MAX {
        next <<= 1;
        (first[length], start[length]) = (next, placed as u32);
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                if length <= 8 {
                    let mut rest = 0;
                    while rest < 1 << (8 - length) {
                        short[(next as usize) << (8 - length) | rest] = (symbol as u8, length as u8);
                        rest += 1;
                    }
                }
                symbols[placed] = symbol as u16;
                placed += 1;
                next += 1;
            }
            symbol += 1;
        }
        count[length] = next - first[length];
        length += 1;
    }
    Code { first, count, start, symbols, short }
}

/// The symbol that 64 bits begin with, and the length of its code.
fn longer(window: u64) -> Option<(u16, u32)> {
    (9..=LENGTH_MAX).find_map(|length| {
        let at = ((window >> (64 - length)) as u32).wrapping_sub(CODE.first[length]);
        // The lengths of the codes are below 64, and `at` is below the count of symbols.
        (at < CODE.count[length]).then(|| (CODE.symbols[(CODE.start[length] + at) as usize], length as u32))
    })
}

/// Appends what `bytes` stand for.
pub(super) fn decode(bytes: &[u8], text: &mut Vec<u8>) -> Result<(), Fault> {
    let mut bytes = bytes.iter();
    // The last `have` bits of `bits` are those that come next.
    let (mut bits, mut have) = (0_u64, 0_u32);
    loop {
        while have <= 55
            && let Some(byte) = bytes.next()
        {
            bits = bits << 8 | u64::from(*byte);
            have += 8;
        }
        if have == 0 {
            return Ok(());
        }
        // Behind the last byte only ones may come: as many as fill it.
        let window = bits << (64 - have) | u64::MAX >> have;
        let (symbol, length) = match CODE.short[(window >> 56) as usize] {
            (_, 0) => longer(window).unwrap_or((END, u32::MAX)),
            (byte, length) => (byte.into(), length.into()),
        };
        if length > have {
            return if have < 8 && window == u64::MAX { Ok(()) } else { Err(Fault::Huffman) };
        }
        if symbol == END {
            return Err(Fault::Huffman);
        }
        text.push(symbol as u8);
        have -= length;
    }
}

/// The bits that stand for a byte, and how many they are.
#[cfg(test)]
fn code_of(byte: u8) -> (u32, u32) {
    let length = LENGTHS[usize::from(byte)] as usize;
    let start = CODE.start[length] as usize;
    let symbols = &CODE.symbols[start..start + CODE.count[length] as usize];
    let at = symbols.iter().position(|symbol| *symbol == u16::from(byte)).expect("every byte has a code");
    (CODE.first[length] + u32::try_from(at).expect("few symbols"), length as u32)
}

/// What stands for `text`.
#[cfg(test)]
pub(super) fn encode(text: &[u8]) -> Vec<u8> {
    let (mut out, mut bits, mut have) = (Vec::new(), 0_u64, 0);
    for byte in text {
        let (code, length) = code_of(*byte);
        bits = bits << length | u64::from(code);
        have += length;
        while have >= 8 {
            have -= 8;
            out.push((bits >> have) as u8);
        }
    }
    if have > 0 {
        out.push((bits << (8 - have)) as u8 | 0xff >> have);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut text = Vec::new();
        decode(bytes, &mut text).map(|()| text)
    }

    #[test]
    fn codes_are_those_of_the_appendix() {
        for (byte, expected) in [
            (b'0', (0x0, 5)),
            (b't', (0x9, 5)),
            (b' ', (0x14, 6)),
            (b':', (0x5c, 7)),
            (b'X', (0xfc, 8)),
            (b'!', (0x3f8, 10)),
            (b'#', (0xffa, 12)),
            (0, (0x1ff8, 13)),
            (b'\\', (0x7fff0, 19)),
            (1, (0x7fffd8, 23)),
            (255, (0x3ff_ffee, 26)),
            (b'\n', (0x3fff_fffc, 30)),
        ] {
            assert_eq!(code_of(byte), expected, "{byte}");
        }
    }

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decoded(&encode(&all)), Ok(all.clone()));
        for byte in all {
            assert_eq!(decoded(&encode(&[byte])), Ok(vec![byte]));
            assert_eq!(decoded(&encode(&[byte, b'a', byte])), Ok(vec![byte, b'a', byte]));
        }
    }

    #[test]
    fn what_fills_the_last_byte_are_fewer_than_eight_ones() {
        assert_eq!(decoded(&[]), Ok(vec![]));
        // '0' is 00000.
        assert_eq!(decoded(&[0b0000_0111]), Ok(b"0".to_vec()));
        for bytes in [
            &[0b0000_0110][..],
            &[0b0000_0111, 0xff],
            &[0xff],
            &[0xff, 0xff, 0xff, 0xff],
            &[0xff, 0xff, 0xff, 0xfc],
        ] {
            assert_eq!(decoded(bytes), Err(Fault::Huffman), "{bytes:x?}");
        }
    }
}
