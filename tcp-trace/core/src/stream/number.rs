//! Sequence numbers, which wrap around at 2^32 (RFC 9293, section 3.4). Nothing else compares them.

/// How far a sequence number is ahead of another one; negative when it is behind.
#[inline]
pub fn ahead(number: u32, of: u32) -> i32 {
    number.wrapping_sub(of).cast_signed()
}

/// The one of two sequence numbers that comes first.
pub(super) fn first(one: u32, other: u32) -> u32 {
    if ahead(one, other) <= 0 { one } else { other }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_around_the_wrap() {
        for (number, of, expected) in
            [(5, 3, 2), (3, 5, -2), (7, 7, 0), (4, u32::MAX - 5, 10), (u32::MAX - 5, 4, -10)]
        {
            assert_eq!(ahead(number, of), expected, "{number} {of}");
            assert_eq!(first(number, of), if expected <= 0 { number } else { of });
        }
    }
}
