//! What was not asked for, as far as that can be told here.

use crate::maps::{FILTERS_PORTS, PORTS};

/// Whether both ports are known and neither is asked for.
#[inline(always)]
pub(crate) fn is_unwanted(local_port: u16, peer_port: u16) -> bool {
    // SAFETY: the pointer is to a static. Read volatile: the compiler must not take the zero of the source for the
    // value.
    let filters = unsafe { core::ptr::read_volatile(&raw const FILTERS_PORTS) };
    filters != 0 && local_port != 0 && peer_port != 0 && !is_asked_for(local_port) && !is_asked_for(peer_port)
}

#[inline(always)]
fn is_asked_for(port: u16) -> bool {
    let word = PORTS.get(u32::from(port) / 64);
    word.is_some_and(|word| word >> (port % 64) & 1 == 1)
}
