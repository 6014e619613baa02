//! What was not asked for, as far as that can be told here.

use aya_ebpf::programs::SkBuffContext;
use tcp_trace_ebpf::{DNS_PORT, PORT_WORDS, PORTS_EITHER, PORTS_LOCAL, PORTS_PEER};

use crate::{
    maps::{FILTERS_PORTS, PORTS},
    sock,
};

/// Whether it is known of both ends, as far as it matters, that they are not asked for; a port that is 0 is not known.
/// Connections to DNS servers never are: one that is asked for may follow a lookup.
#[inline(always)]
pub(crate) fn is_unwanted(local_port: u16, peer_port: u16) -> bool {
    // SAFETY: the pointer is to a static. Read volatile: the compiler must not take the zero of the source for the
    // value.
    let filters = unsafe { core::ptr::read_volatile(&raw const FILTERS_PORTS) };
    if filters == 0 || peer_port == DNS_PORT {
        return false;
    }
    let lacks = |set: u8, port: u16| filters & set != 0 && port != 0 && !is_asked_for(set, port);
    lacks(PORTS_LOCAL, local_port)
        || lacks(PORTS_PEER, peer_port)
        || lacks(PORTS_EITHER, local_port) && lacks(PORTS_EITHER, peer_port)
}

/// The same of the socket that a packet belongs to, before anything is read of the packet itself.
#[inline(always)]
pub(crate) fn is_unwanted_packet(ctx: &SkBuffContext) -> bool {
    // SAFETY: the context's fields are readable, these two where the packet has a socket.
    let (local, peer) = unsafe { ((*ctx.skb.skb).local_port, (*ctx.skb.skb).remote_port) };
    // The peer's port is in network byte order.
    is_unwanted(local as u16, u16::from_be(peer as u16))
}

/// The same of a TCP socket.
#[inline(always)]
pub(crate) fn is_unwanted_socket(sk: *const u8) -> bool {
    let (local, peer) = sock::ports(sk);
    is_unwanted(local, peer)
}

#[inline(always)]
fn is_asked_for(set: u8, port: u16) -> bool {
    let word = PORTS.get(set.trailing_zeros() * PORT_WORDS as u32 + u32::from(port) / 64);
    word.is_some_and(|word| word >> (port % 64) & 1 == 1)
}
