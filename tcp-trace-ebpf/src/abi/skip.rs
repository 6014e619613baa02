//! The map [`maps::SKIP`](crate::maps::SKIP): payload that the programs need not hand over.

/// Sockets that [`maps::SKIP`](crate::maps::SKIP) has room for, a power of two. Of two sockets with the same place the
/// later one has it: the programs then hand over more payload of the other, and results stay correct.
pub const SKIP_SOCKETS: usize = 65536;

/// Index in [`maps::SKIP`](crate::maps::SKIP) of a socket's direction, [`DIRECTION_OUT`](crate::DIRECTION_OUT) or
/// [`DIRECTION_IN`](crate::DIRECTION_IN).
pub const fn skip_index(cookie: u64, direction: u8) -> u32 {
    (cookie as u32 & (SKIP_SOCKETS as u32 - 1)) * 2 + (direction & 1) as u32
}

/// The entry for a socket whose payload is not needed before sequence number `until`. One word, so that no reader sees
/// half of it; the cookie's low half names the socket. 0 is no entry.
pub const fn skip_entry(cookie: u64, until: u32) -> u64 {
    cookie << 32 | until as u64
}

/// Before which sequence number payload of this socket is not needed; `None` when the entry is not this socket's.
#[inline(always)]
pub const fn skip_until(entry: u64, cookie: u64) -> Option<u32> {
    if entry == 0 || (entry >> 32) as u32 != cookie as u32 { None } else { Some(entry as u32) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_by_its_own_socket_only() {
        for (entry, cookie, until) in [
            (0, 4101, None),
            (skip_entry(4101, 7), 4101, Some(7)),
            (skip_entry(4101, 0), 4101, Some(0)),
            (skip_entry(4101, u32::MAX), 4101, Some(u32::MAX)),
            // The same place.
            (skip_entry(4101, 7), 4101 + SKIP_SOCKETS as u64, None),
        ] {
            assert_eq!(skip_until(entry, cookie), until, "{entry:#x} of {cookie}");
        }
        assert_eq!(skip_index(4101, 0), skip_index(4101 + SKIP_SOCKETS as u64, 0));
        assert_ne!(skip_index(4101, 0), skip_index(4101, 1));
    }
}
