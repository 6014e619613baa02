//! What rtnetlink's answers mean. Total: whatever the bytes, the answer is an object or an error.

use std::net::IpAddr;

use tcp_trace_model::record::{RouteType, Text};

use crate::kernel::netlink::{
    MessageError,
    message::{Attributes, Messages, NLMSG_DONE, NLMSG_ERROR, array, chunk},
};

const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
const RTA_VIA: u16 = 18;
const IFLA_IFNAME: u16 = 3;
const NDA_LLADDR: u16 = 2;
/// `RTN_UNICAST` and `RTN_LOCAL`: to others, and to this host. A TCP connection has no other.
const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;
/// The states of a neighbour (`NUD_*`).
const STATES: [(u16, &str); 8] = [
    (0x01, "INCOMPLETE"),
    (0x02, "REACHABLE"),
    (0x04, "STALE"),
    (0x08, "DELAY"),
    (0x10, "PROBE"),
    (0x20, "FAILED"),
    (0x40, "NOARP"),
    (0x80, "PERMANENT"),
];

/// What a datagram says to a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    /// The object that was asked for.
    Object(&'a [u8]),
    /// There is none.
    Refused,
    /// It answers another request.
    Nothing,
}

/// Finds the answer to request number `of` in a datagram.
pub(super) fn answer(datagram: &[u8], of: u32) -> Result<Answer<'_>, MessageError> {
    for message in Messages(datagram) {
        let (header, payload) = message?;
        if header.sequence == of {
            let is_refused = matches!(header.kind, NLMSG_ERROR | NLMSG_DONE);
            return Ok(if is_refused { Answer::Refused } else { Answer::Object(payload) });
        }
    }
    Ok(Answer::Nothing)
}

/// A route (`struct rtmsg`).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) kind: RouteType,
    pub(super) interface: u32,
    pub(super) gateway: Option<IpAddr>,
    pub(super) preferred_source: Option<IpAddr>,
}

impl Way {
    /// `None` when it leads to nobody: `unreachable`, `blackhole` and the like.
    pub(super) fn parse(payload: &[u8]) -> Result<Option<Self>, MessageError> {
        let fixed: &[u8; 12] = chunk(payload, "route")?;
        let is_local = fixed[7] == RTN_LOCAL;
        let (mut interface, mut gateway, mut preferred_source) = (None, None, None);
        for attribute in Attributes(&payload[fixed.len()..]) {
            let (kind, value) = attribute?;
            match kind {
                RTA_OIF => interface = Some(u32::from_ne_bytes(*chunk(value, "index of an interface")?)),
                RTA_GATEWAY => gateway = Some(address(value)?),
                // `struct rtvia`: a family, which the length tells too, and an address.
                RTA_VIA => gateway = Some(address(value.get(2..).unwrap_or_default())?),
                RTA_PREFSRC => preferred_source = Some(address(value)?),
                _ => {}
            }
        }
        let kind = match gateway {
            _ if is_local => RouteType::Local,
            _ if fixed[7] != RTN_UNICAST => return Ok(None),
            Some(_) => RouteType::Gateway,
            None => RouteType::OnLink,
        };
        Ok(interface.map(|interface| Self { kind, interface, gateway, preferred_source }))
    }
}

/// An interface (`struct ifinfomsg`).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) name: Option<Text>,
}

impl Link {
    pub(super) fn parse(payload: &[u8]) -> Result<Self, MessageError> {
        let fixed: &[u8; 16] = chunk(payload, "interface")?;
        let mut name = None;
        for attribute in Attributes(&payload[fixed.len()..]) {
            let (kind, value) = attribute?;
            if kind == IFLA_IFNAME {
                let bytes = value.split(|byte| *byte == 0).next().unwrap_or_default();
                name = Some(Text::from(bytes.to_vec()));
            }
        }
        Ok(Self { name })
    }
}

/// A neighbour (`struct ndmsg`).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Neighbour {
    pub(super) mac: Option<String>,
    pub(super) state: Option<String>,
}

impl Neighbour {
    pub(super) fn parse(payload: &[u8]) -> Result<Self, MessageError> {
        let fixed: &[u8; 12] = chunk(payload, "neighbour")?;
        let state = u16::from_ne_bytes(array(fixed, 8));
        let mut mac = None;
        for attribute in Attributes(&payload[fixed.len()..]) {
            let (kind, value) = attribute?;
            if kind == NDA_LLADDR && !value.is_empty() {
                let digits: Vec<_> = value.iter().map(|byte| format!("{byte:02x}")).collect();
                mac = Some(digits.join(":"));
            }
        }
        let name = STATES.iter().find(|(bit, _)| state & bit != 0).map(|(_, name)| (*name).to_owned());
        Ok(Self { mac, state: name })
    }
}

fn address(bytes: &[u8]) -> Result<IpAddr, MessageError> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::from(octets));
    }
    chunk::<16>(bytes, "address").map(|octets| IpAddr::from(*octets))
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
