//! What can be asked of sock_diag, as bytes (`struct inet_diag_req_v2`, `include/uapi/linux/inet_diag.h`).

use std::net::IpAddr;

use tcp_trace_model::{
    event::{Endpoints, State},
    socket::Family,
};

use super::socket::{ID_LENGTH, INET_DIAG_INFO, INET_DIAG_SKMEMINFO};
use crate::kernel::netlink::message::{HEADER_LENGTH, NLM_F_DUMP, NLM_F_REQUEST};

/// `SOCK_DIAG_BY_FAMILY`: the type of requests and of the messages that describe a socket.
pub(super) const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// Number of the attribute that has the protocol where that does not fit in the request's field; Linux 5.9.
const INET_DIAG_REQ_PROTOCOL: u16 = 3;
/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
const LENGTH: usize = HEADER_LENGTH + 8 + ID_LENGTH;
/// A `struct nlattr` with a number.
const ATTRIBUTE_LENGTH: usize = 8;

/// What kind of sockets is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp = 6,
    /// Those that processes have, while their subflows are listed as TCP.
    Mptcp = 262,
}

/// A set of states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct States(u32);

impl States {
    /// Every state of a socket that has one: not `CLOSE`, which no socket in the kernel's tables is in.
    pub const ALL: Self = Self(0b1111_0111_1110);

    /// Whether the state is one of them.
    pub fn has(self, state: State) -> bool {
        let only = Self::from_iter([state]);
        self.0 & only.0 == only.0
    }
}

impl FromIterator<State> for States {
    fn from_iter<I: IntoIterator<Item = State>>(states: I) -> Self {
        // The kernel's mask has the bit 1 << number for each.
        let bit = |state| (1..=11).find(|number| State::from_kernel(*number) == Some(state)).map(|n| 1 << n);
        Self(states.into_iter().filter_map(bit).fold(0, |all, bit: u32| all | bit))
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) protocol: Protocol,
    pub(super) family: Family,
    /// Which sockets to list.
    pub(super) states: States,
    /// Or the one socket to look up.
    pub(super) exactly: Option<Endpoints>,
    pub(super) with_info: bool,
    pub(super) sequence: u32,
}

impl Request {
    /// `struct nlmsghdr` and `struct inet_diag_req_v2`, and behind it a protocol that does not fit.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.fixed().to_vec();
        if self.protocol == Protocol::Mptcp {
            bytes.extend((ATTRIBUTE_LENGTH as u16).to_ne_bytes());
            bytes.extend(INET_DIAG_REQ_PROTOCOL.to_ne_bytes());
            bytes.extend((self.protocol as u32).to_ne_bytes());
            let length = (bytes.len() as u32).to_ne_bytes();
            bytes[..length.len()].copy_from_slice(&length);
        }
        bytes
    }

    fn fixed(&self) -> [u8; LENGTH] {
        let dump = if self.exactly.is_some() { 0 } else { NLM_F_DUMP };
        let with_info = 1 << (INET_DIAG_INFO - 1) | 1 << (INET_DIAG_SKMEMINFO - 1);
        let extensions = if self.with_info { with_info } else { 0 };
        let mut bytes = [0; LENGTH];
        let mut rest = bytes.as_mut_slice();
        let mut put = |field: &[u8]| {
            let (place, after) = std::mem::take(&mut rest).split_at_mut(field.len());
            place.copy_from_slice(field);
            rest = after;
        };
        put(&(LENGTH as u32).to_ne_bytes());
        put(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        put(&(NLM_F_REQUEST | dump).to_ne_bytes());
        put(&self.sequence.to_ne_bytes());
        // Port id: the kernel fills in the sender's.
        put(&[0; 4]);
        // The attribute counts where there is one.
        put(&[self.family.number(), Protocol::Tcp as u8, extensions, 0]);
        put(&self.states.0.to_ne_bytes());
        if let Some(Endpoints { local, peer }) = self.exactly {
            put(&local.port().to_be_bytes());
            put(&peer.port().to_be_bytes());
            put(&address_bytes(local.ip()));
            put(&address_bytes(peer.ip()));
            put(&[0; 4]);
            // INET_DIAG_NOCOOKIE: whatever its cookie is.
            put(&[0xff; 8]);
        }
        bytes
    }
}

fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_it_was_made_of() {
        let states: States = [State::TimeWait, State::Listen].into_iter().collect();
        assert!(states.has(State::TimeWait) && states.has(State::Listen));
        assert!(!states.has(State::Established));
        assert_eq!(states.0, 1 << 6 | 1 << 10);
    }

    #[test]
    fn all_states_but_close_are_in_all() {
        for number in 1..=11 {
            let state = State::from_kernel(number).unwrap();
            assert_eq!(States::ALL.has(state), state != State::Close, "{state:?}");
        }
    }

    #[test]
    fn a_list_is_asked_for_by_states() {
        let request = Request {
            protocol: Protocol::Tcp,
            family: Family::Inet6,
            states: States::from_iter([State::Listen]),
            exactly: None,
            with_info: true,
            sequence: 0x0102_0304,
        };
        let bytes = request.bytes();
        assert_eq!(bytes[..4], 72u32.to_ne_bytes());
        assert_eq!(bytes[4..8], [20u16.to_ne_bytes(), 0x301u16.to_ne_bytes()].concat()[..]);
        assert_eq!(bytes[8..12], 0x0102_0304u32.to_ne_bytes());
        assert_eq!(bytes[16..20], [10, 6, 0b0100_0010, 0]);
        assert_eq!(bytes[20..24], (1u32 << 10).to_ne_bytes());
        assert_eq!(bytes[24..], [0; 48]);
    }

    #[test]
    fn the_protocol_of_mptcp_is_an_attribute() {
        let states = States::from_iter([State::CloseWait]);
        let request = |protocol| Request {
            protocol,
            family: Family::Inet,
            states,
            exactly: None,
            with_info: false,
            sequence: 7,
        };
        let (tcp, mptcp) = (request(Protocol::Tcp).bytes(), request(Protocol::Mptcp).bytes());
        assert_eq!((tcp.len(), mptcp.len()), (72, 80));
        assert_eq!((&mptcp[..4], &mptcp[4..72]), (&80u32.to_ne_bytes()[..], &tcp[4..]));
        assert_eq!(mptcp[72..76], [8u16.to_ne_bytes(), 3u16.to_ne_bytes()].concat()[..]);
        assert_eq!(mptcp[76..], 262u32.to_ne_bytes());
    }

    #[test]
    fn one_socket_is_asked_for_by_its_ends() {
        let endpoints =
            Endpoints { local: "10.1.2.3:80".parse().unwrap(), peer: "10.4.5.6:258".parse().unwrap() };
        let request = Request {
            protocol: Protocol::Tcp,
            family: Family::Inet,
            states: States::ALL,
            exactly: Some(endpoints),
            with_info: false,
            sequence: 1,
        };
        let bytes = request.bytes();
        assert_eq!(bytes[6..8], 1u16.to_ne_bytes(), "no list");
        assert_eq!(bytes[16..20], [2, 6, 0, 0]);
        assert_eq!(bytes[24..32], [0, 80, 1, 2, 10, 1, 2, 3]);
        assert_eq!(bytes[44..48], [10, 4, 5, 6]);
        assert_eq!(bytes[64..], [0xff; 8], "the cookie is not asked for");
    }
}
