//! Numbers (RFC 7541, section 5.1).

use super::decoder::Fault;

/// Bytes behind the first that can count: with more, a number is larger than any that is legal here.
const BYTES_MAX: u32 = 5;

/// Takes a number whose first byte has it in its last `bits` bits.
pub(super) fn take(input: &mut &[u8], bits: u32) -> Result<u32, Fault> {
    let (first, mut rest) = input.split_first().ok_or(Fault::Truncated)?;
    let most = 0xff >> (8 - bits);
    let mut number = u64::from(first & most);
    if number == u64::from(most) {
        let mut shift = 0;
        loop {
            let (byte, behind) = rest.split_first().ok_or(Fault::Truncated)?;
            rest = behind;
            number += u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
            if shift >= 7 * BYTES_MAX {
                return Err(Fault::Number);
            }
        }
    }
    *input = rest;
    u32::try_from(number).map_err(|_| Fault::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_appendix_c_1() {
        for (bits, bytes, expected) in
            [(5, &[0b1110_1010][..], 10), (5, &[0b0001_1111, 0x9a, 0x0a], 1337), (8, &[42], 42)]
        {
            let mut input = bytes;
            assert_eq!(take(&mut input, bits), Ok(expected));
            assert!(input.is_empty());
        }
    }

    #[test]
    fn what_is_no_number_says_why() {
        for (bytes, fault) in [
            (&[][..], Fault::Truncated),
            (&[0x1f], Fault::Truncated),
            (&[0x1f, 0x80], Fault::Truncated),
            (&[0x1f, 0xff, 0xff, 0xff, 0xff, 0x7f], Fault::Number),
            (&[0x1f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00], Fault::Number),
        ] {
            assert_eq!(take(&mut { bytes }, 5), Err(fault), "{bytes:x?}");
        }
        assert_eq!(take(&mut &[0x1f, 0xe0, 0xff, 0xff, 0xff, 0x0f][..], 5), Ok(u32::MAX));
    }
}
