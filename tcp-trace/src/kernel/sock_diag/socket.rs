//! The bytes that describe a TCP socket, as a socket (`include/uapi/linux/inet_diag.h` and `tcp.h`).
//!
//! Total: whatever the bytes, the answer is a socket or an error. Ports and addresses are in network byte order,
//! all else in that of the host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tcp_trace_model::{
    event::{Cookie, Endpoints, State},
    socket::{Family, Socket, TcpInfo, Timer},
};

use crate::kernel::netlink::message::{Attributes, MessageError, array, chunk};

/// Number of the attribute with `struct tcp_info`; a request has a bit for it.
pub(super) const INET_DIAG_INFO: u16 = 2;
/// Number of the attribute with the socket's memory (`include/uapi/linux/sock_diag.h`); a request has a bit for it.
pub(super) const INET_DIAG_SKMEMINFO: u16 = 7;
const INET_DIAG_SHUTDOWN: u16 = 8;
const INET_DIAG_CGROUP_ID: u16 = 21;

/// `struct inet_diag_sockid`.
pub(super) const ID_LENGTH: usize = 48;
/// `struct inet_diag_msg`.
const MESSAGE_LENGTH: usize = 4 + ID_LENGTH + 20;

/// Reads a message's payload: `struct inet_diag_msg` and attributes.
pub(super) fn parse(bytes: &[u8]) -> Result<Socket, MessageError> {
    let short = MessageError::Short { what: "struct inet_diag_msg", length: bytes.len() };
    let fixed: &[u8; MESSAGE_LENGTH] = bytes.first_chunk().ok_or(short)?;
    let [family, state, timer, retransmits] = array(fixed, 0);
    let family =
        Family::from_kernel(family).ok_or(MessageError::Value { field: "idiag_family", value: family })?;
    let u32_at = |at| u32::from_ne_bytes(array(fixed, at));
    // Two halves, the lower one first (sock_diag_save_cookie()).
    let (low, high) = (u32_at(44), u32_at(48));
    let mut socket = Socket {
        family,
        endpoints: endpoints(family, array(fixed, 4)),
        state: State::from_kernel(state).ok_or(MessageError::Value { field: "idiag_state", value: state })?,
        cookie: Cookie::from(high) << 32 | Cookie::from(low),
        timer: Timer::from_kernel(timer),
        retransmits,
        expires_ms: u32_at(52),
        rqueue: u32_at(56),
        wqueue: u32_at(60),
        uid: u32_at(64),
        inode: u32_at(68),
        shutdown: None,
        cgroup: None,
        drops: None,
        info: None,
    };
    for attribute in Attributes(&bytes[MESSAGE_LENGTH..]) {
        let (kind, value) = attribute?;
        match kind {
            INET_DIAG_INFO => socket.info = Some(parse_info(value)?),
            INET_DIAG_SKMEMINFO => socket.drops = Some(drops(value)?),
            INET_DIAG_SHUTDOWN => socket.shutdown = Some(chunk::<1>(value, "INET_DIAG_SHUTDOWN")?[0]),
            INET_DIAG_CGROUP_ID => {
                socket.cgroup = Some(u64::from_ne_bytes(*chunk(value, "INET_DIAG_CGROUP_ID")?));
            }
            _ => {}
        }
    }
    Ok(socket)
}

/// Bytes of `struct tcp_info` that every kernel has, from Linux 4.19 on.
const INFO_LENGTH: usize = 216;

/// What `TCP_INFO` says, of `struct tcp_info`.
fn parse_info(bytes: &[u8]) -> Result<TcpInfo, MessageError> {
    let fixed: &[u8; INFO_LENGTH] = chunk(bytes, "struct tcp_info")?;
    let u32_at = |at| u32::from_ne_bytes(array(fixed, at));
    let u64_at = |at| u64::from_ne_bytes(array(fixed, at));
    let appended = |at| bytes.get(at..)?.first_chunk().map(|field| u32::from_ne_bytes(*field));
    let half = |at| bytes.get(at..)?.first_chunk().map(|field| u16::from_ne_bytes(*field));
    let [retransmits, probes, backoff] = array(fixed, 2);
    Ok(TcpInfo {
        retransmits,
        probes,
        backoff,
        rto_us: u32_at(8),
        unacked: u32_at(24),
        last_data_sent_ms: u32_at(44),
        last_data_recv_ms: u32_at(52),
        last_ack_recv_ms: u32_at(56),
        srtt_us: u32_at(68),
        cwnd: u32_at(80),
        total_retrans: u32_at(100),
        bytes_acked: u64_at(120),
        bytes_received: u64_at(128),
        notsent_bytes: u32_at(144),
        rwnd_limited_us: u64_at(176),
        bytes_sent: u64_at(200),
        bytes_retrans: u64_at(208),
        snd_wnd: appended(228),
        rcv_wnd: appended(232),
        total_rto_recoveries: half(242),
        total_rto_time_ms: appended(244),
    })
}

/// `SK_MEMINFO_DROPS`, the last of nine numbers.
fn drops(bytes: &[u8]) -> Result<u32, MessageError> {
    let fixed: &[u8; 36] = chunk(bytes, "INET_DIAG_SKMEMINFO")?;
    Ok(u32::from_ne_bytes(array(fixed, 32)))
}

/// `struct inet_diag_sockid` up to the addresses.
fn endpoints(family: Family, id: [u8; 36]) -> Endpoints {
    let address = |bytes: [u8; 16]| match family {
        Family::Inet => IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])),
        // An IPv6 socket that talks IPv4 has IPv4-mapped addresses; its packets are IPv4.
        Family::Inet6 => IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical(),
    };
    let port = |at| u16::from_be_bytes(array(&id, at));
    Endpoints {
        local: SocketAddr::new(address(array(&id, 4)), port(0)),
        peer: SocketAddr::new(address(array(&id, 20)), port(2)),
    }
}

#[cfg(test)]
#[path = "socket_tests.rs"]
pub(super) mod tests;
