//! Address translation on this host (NAT): sockets have other addresses than their packets.
//!
//! What a socket sends reaches the programs behind all translation, with the addresses of the wire: the hook is in
//! `ip_finish_output()`, after `NF_INET_POST_ROUTING`. What arrives has been translated back before the hook in
//! `sk_filter_trim_cap()`: a socket is found by its own addresses (measured on Linux 6.18: REDIRECT, DNAT, SNAT and MASQUERADE,
//! IPv4 and IPv6). So only what is sent can differ from its socket, and a connection has two pairs of addresses at most.

use crate::RawEndpoints;

/// The ports of both ends; those that are not known are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The socket's end.
    pub local: u16,
    /// The other end.
    pub peer: u16,
}

/// What the filter says of a segment's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Neither those of the socket nor those of the packet are selected.
    Excluded,
    /// Those of the socket are selected, as far as they are known.
    Own,
    /// Only those of the packet are: from now on, the local port of the socket selects it.
    Translated,
}

impl Ports {
    /// The same, with the packet's where the socket has none: a listener has no peer, and a control socket of the kernel
    /// answers for others.
    #[inline(always)]
    pub const fn or(self, packet: Self) -> Self {
        Self {
            local: if self.local == 0 { packet.local } else { self.local },
            peer: if self.peer == 0 { packet.peer } else { self.peer },
        }
    }
}

/// Judges a segment by its own ports and by those of its socket, as far as that has them. What arrives at a socket that has
/// both is judged before its header is read.
#[inline(always)]
pub fn select(
    own: Ports,
    packet: Ports,
    is_own_excluded: bool,
    is_packet_excluded: impl FnOnce() -> bool,
) -> Selection {
    if !is_own_excluded {
        Selection::Own
    } else if own == packet || is_packet_excluded() {
        Selection::Excluded
    } else {
        Selection::Translated
    }
}

/// Judges the SYN+ACK of a listener, which knows only its own port. `is_expected` says whether the SYN that it answers was
/// selected: if not, and it is selected itself, then by the translated port of its peer.
#[inline(always)]
pub const fn select_answer(selection: Selection, is_expected: bool) -> Selection {
    match (selection, is_expected) {
        (Selection::Own, false) => Selection::Translated,
        (Selection::Excluded, true) => Selection::Own,
        (selection, _) => selection,
    }
}

/// Whether a packet that a socket with these addresses sends has others. A socket that is closed has no port any more.
#[inline(always)]
pub fn differ(own: &RawEndpoints, packet: &RawEndpoints) -> bool {
    own.local_port != packet.local_port && own.local_port != 0
        || own.peer_port != packet.peer_port
        || own.local_address != packet.local_address
        || own.peer_address != packet.peer_address
}

#[cfg(test)]
#[path = "translation_tests.rs"]
mod tests;
