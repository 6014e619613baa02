//! What is asked of rtnetlink, as bytes (`include/uapi/linux/rtnetlink.h`, `neighbour.h`).

use std::net::{IpAddr, SocketAddr};

use crate::kernel::netlink::message::{HEADER_LENGTH, NLM_F_REQUEST};

/// `RTM_GETLINK`, asked with `struct ifinfomsg`.
const RTM_GETLINK: u16 = 18;
/// `RTM_GETROUTE`, asked with `struct rtmsg`.
const RTM_GETROUTE: u16 = 26;
/// `RTM_GETNEIGH`, asked with `struct ndmsg`.
const RTM_GETNEIGH: u16 = 30;
const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_IP_PROTO: u16 = 27;
const RTA_DPORT: u16 = 29;
const NDA_DST: u16 = 1;
const IPPROTO_TCP: u8 = 6;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// The route of TCP segments to a peer, from a source address if there is one already.
pub(super) fn route(peer: SocketAddr, source: Option<IpAddr>, sequence: u32) -> Vec<u8> {
    let (family, bits) = if peer.is_ipv4() { (AF_INET, 32) } else { (AF_INET6, 128) };
    let source_bits = if source.is_some() { bits } else { 0 };
    // Family, bits of destination and source; type of service, table, protocol, scope, type and flags: any.
    let fixed = [family, bits, source_bits, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut request = Request::new(RTM_GETROUTE, sequence, &fixed);
    request.attribute(RTA_DST, &bytes(peer.ip()));
    if let Some(source) = source {
        request.attribute(RTA_SRC, &bytes(source));
    }
    request.attribute(RTA_IP_PROTO, &[IPPROTO_TCP]);
    request.attribute(RTA_DPORT, &peer.port().to_be_bytes());
    request.finish()
}

/// An interface.
pub(super) fn link(index: u32, sequence: u32) -> Vec<u8> {
    // Family and type: any; index; flags and their mask: none.
    let mut fixed = [0; 16];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    Request::new(RTM_GETLINK, sequence, &fixed).finish()
}

/// A neighbour on an interface. One at a time can be asked for from Linux 5.0 on.
pub(super) fn neighbour(interface: u32, address: IpAddr, sequence: u32) -> Vec<u8> {
    // Family, padding, interface; state, flags and type: any.
    let mut fixed = [0; 12];
    fixed[0] = if address.is_ipv4() { AF_INET } else { AF_INET6 };
    fixed[4..8].copy_from_slice(&interface.to_ne_bytes());
    let mut request = Request::new(RTM_GETNEIGH, sequence, &fixed);
    request.attribute(NDA_DST, &bytes(address));
    request.finish()
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// A message that is being written.
struct Request(Vec<u8>);

impl Request {
    /// `struct nlmsghdr`, its length yet to come, and the fixed part behind it.
    fn new(kind: u16, sequence: u32, fixed: &[u8]) -> Self {
        let mut message = vec![0; HEADER_LENGTH];
        message[4..6].copy_from_slice(&kind.to_ne_bytes());
        message[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
        message[8..12].copy_from_slice(&sequence.to_ne_bytes());
        message.extend(fixed);
        Self(message)
    }

    /// `struct rtattr`: length, type, value, and padding to 4.
    fn attribute(&mut self, kind: u16, value: &[u8]) {
        // Values are addresses and numbers.
        self.0.extend((4 + value.len() as u16).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_asked_for_by_both_addresses_and_the_peers_port() {
        let bytes = route("10.4.5.6:258".parse().unwrap(), Some("10.1.2.3".parse().unwrap()), 7);
        assert_eq!(bytes[..4], 60u32.to_ne_bytes());
        assert_eq!(bytes[4..8], [26u16.to_ne_bytes(), 1u16.to_ne_bytes()].concat()[..]);
        assert_eq!(bytes[8..12], 7u32.to_ne_bytes());
        assert_eq!(bytes[16..28], [2, 32, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let attributes: Vec<_> =
            crate::kernel::netlink::message::Attributes(&bytes[28..]).map(Result::unwrap).collect();
        let expected: [(u16, &[u8]); 4] =
            [(1, &[10, 4, 5, 6]), (2, &[10, 1, 2, 3]), (27, &[6]), (29, &[1, 2])];
        assert_eq!(attributes, expected);
    }

    #[test]
    fn interfaces_and_neighbours_are_asked_for_by_index() {
        assert_eq!(link(3, 7)[16..], [&[0; 4][..], &3u32.to_ne_bytes(), &[0; 8]].concat());
        let bytes = neighbour(3, "fd99::2".parse().unwrap(), 7);
        assert_eq!((bytes.len(), bytes[16]), (48, 10));
        assert_eq!(bytes[20..24], 3u32.to_ne_bytes());
        assert_eq!(bytes[32..36], [0xfd, 0x99, 0, 0]);
    }
}
