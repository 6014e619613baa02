//! The bytes that describe a TCP socket, as a socket (`include/uapi/linux/inet_diag.h` and `tcp.h`).
//!
//! Total: whatever the bytes, the answer is a socket or an error. Ports and addresses are in network byte order,
//! all else in that of the host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::{
    event::{Cookie, Endpoints, State},
    kernel::netlink::message::{Attributes, MessageError, array, chunk},
};

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

/// The address family of a socket. An IPv6 socket can talk IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// `AF_INET`.
    Inet,
    /// `AF_INET6`.
    Inet6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Inet, Self::Inet6];

    pub(super) fn number(self) -> u8 {
        match self {
            Self::Inet => 2,
            Self::Inet6 => 10,
        }
    }

    fn from_kernel(number: u8) -> Result<Self, MessageError> {
        let found = Self::ALL.into_iter().find(|family| family.number() == number);
        found.ok_or(MessageError::Value { field: "idiag_family", value: number })
    }
}

/// Which timer of a socket runs (`idiag_timer`, set by `inet_sk_diag_fill()`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timer {
    /// None.
    None,
    /// Retransmission, also that of a SYN+ACK, a tail loss probe or the reordering timer.
    Retransmit,
    /// `sk_timer`: keepalive, or the end of an orphaned `FIN_WAIT2`.
    KeepAlive,
    /// The end of a TIME_WAIT mini-socket.
    TimeWait,
    /// Probe of a window that is closed.
    Probe,
    /// One that this version does not know.
    Other(u8),
}

impl Timer {
    fn from_kernel(number: u8) -> Self {
        match number {
            0 => Self::None,
            1 => Self::Retransmit,
            2 => Self::KeepAlive,
            3 => Self::TimeWait,
            4 => Self::Probe,
            number => Self::Other(number),
        }
    }
}

/// What the kernel says of one TCP socket (`struct inet_diag_msg`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// The socket's address family.
    pub family: Family,
    /// Addresses and ports; IPv4-mapped addresses are IPv4.
    pub endpoints: Endpoints,
    /// Its state. A half-open request on a listener is `SYN_RECV`; a TIME_WAIT mini-socket is `TIME_WAIT`, or
    /// `FIN_WAIT2` while the peer's FIN has not come (`tw_substate`).
    pub state: State,
    /// The socket's cookie, as `bpf_get_socket_cookie()` gives it. A mini-socket has that of the socket whose
    /// place it took, a half-open request that of the socket that it becomes.
    pub cookie: Cookie,
    /// Which timer runs.
    pub timer: Timer,
    /// How often that timer has fired without success (`icsk_retransmits`, or `icsk_probes_out` for probes and
    /// keepalives; `num_retrans` of a half-open request).
    pub retransmits: u8,
    /// Milliseconds until the timer fires; 0 without one.
    pub expires_ms: u32,
    /// Bytes that the application has not read, and 1 for a FIN that it has not read (`rcv_nxt - copied_seq`).
    /// For a listener the connections that wait to be accepted.
    pub rqueue: u32,
    /// Bytes that the peer has not acknowledged (`write_seq - snd_una`). For a listener the largest backlog.
    pub wqueue: u32,
    /// User id of who made the socket (`sock_i_uid()`); 0 for mini-sockets and half-open requests.
    pub uid: u32,
    /// Inode number, as in the link `/proc/PID/fd/N` to `socket:[inode]`; 0 when no file refers to the socket:
    /// mini-sockets, half-open requests, orphans, and connections that are not accepted yet.
    pub inode: u32,
    /// `sk_shutdown`: bit 0 the peer's FIN came (or reading was shut down), bit 1 writing was shut down. `None`
    /// for mini-sockets and half-open requests.
    pub shutdown: Option<u8>,
    /// Id of the cgroup v2 in which the socket was made; Linux 5.9. `None` for mini-sockets and half-open requests.
    pub cgroup: Option<u64>,
    /// Packets that were dropped at the socket (`sk_drops`), if it was asked for. Of a listener the SYNs that it could
    /// not take (`tcp_listendrop()`), and twice the last segments of handshakes (there, and in `tcp_v4_rcv()`). `None`
    /// for mini-sockets and half-open requests.
    pub drops: Option<u32>,
    /// What `TCP_INFO` tells, if it was asked for. `None` for mini-sockets and half-open requests.
    pub info: Option<TcpInfo>,
}

impl Socket {
    /// Whether it is a TIME_WAIT mini-socket: the connection waits out late segments, in state `TIME_WAIT` or, when
    /// it was closed before the peer's FIN came, `FIN_WAIT2`.
    ///
    /// Not every orphan in `FIN_WAIT2` is one: when the ACK of its FIN comes while `close()` still has the socket,
    /// or with `TCP_LINGER2` beyond 60 s, `tcp_rcv_state_process()` keeps the whole socket, with a
    /// [`Timer::KeepAlive`] and inode 0.
    pub fn is_mini(&self) -> bool {
        self.timer == Timer::TimeWait
    }

    /// Reads a message's payload: `struct inet_diag_msg` and attributes.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        let short = MessageError::Short { what: "struct inet_diag_msg", length: bytes.len() };
        let fixed: &[u8; MESSAGE_LENGTH] = bytes.first_chunk().ok_or(short)?;
        let [family, state, timer, retransmits] = array(fixed, 0);
        let family = Family::from_kernel(family)?;
        let u32_at = |at| u32::from_ne_bytes(array(fixed, at));
        // Two halves, the lower one first (sock_diag_save_cookie()).
        let (low, high) = (u32_at(44), u32_at(48));
        let mut socket = Self {
            family,
            endpoints: endpoints(family, array(fixed, 4)),
            state: State::from_kernel(state)
                .ok_or(MessageError::Value { field: "idiag_state", value: state })?,
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
                INET_DIAG_INFO => socket.info = Some(TcpInfo::parse(value)?),
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
}

/// What is used of `struct tcp_info` (`tcp_get_info()`). Later kernels append to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// Retransmission timeouts in a row (`icsk_retransmits`).
    pub retransmits: u8,
    /// Probes without an answer (`icsk_probes_out`), of a closed window or of keep-alive.
    pub probes: u8,
    /// How often the timeout has been doubled (`icsk_backoff`), also between probes.
    pub backoff: u8,
    /// Retransmission timeout in microseconds, doubled as often as [`Self::backoff`] says.
    pub rto_us: u32,
    /// Segments sent and not acknowledged. For a listener the connections that wait to be accepted.
    pub unacked: u32,
    /// Milliseconds since a segment with data was sent last, or since the socket exists.
    pub last_data_sent_ms: u32,
    /// Milliseconds since the last segment with data came, or since the socket exists.
    pub last_data_recv_ms: u32,
    /// Milliseconds since the last acknowledgment came. In `CLOSE_WAIT` without data of ours in flight, since
    /// the peer's FIN.
    pub last_ack_recv_ms: u32,
    /// Smoothed round-trip time in microseconds; 0 before the first sample.
    pub srtt_us: u32,
    /// Congestion window in segments.
    pub cwnd: u32,
    /// Segments retransmitted in the connection's life.
    pub total_retrans: u32,
    /// Bytes that the peer acknowledged, the SYN counted as one (RFC 4898 `tcpEStatsAppHCThruOctetsAcked`).
    pub bytes_acked: u64,
    /// Bytes received in order, the FIN counted as one (RFC 4898 `tcpEStatsAppHCThruOctetsReceived`).
    pub bytes_received: u64,
    /// Bytes that were written and never sent yet.
    pub notsent_bytes: u32,
    /// Microseconds in which the peer's window was what limited sending.
    pub rwnd_limited_us: u64,
    /// Bytes of data sent, with those sent again.
    pub bytes_sent: u64,
    /// Bytes of data sent again.
    pub bytes_retrans: u64,
    /// The window that the peer offers, in bytes; Linux 5.4.
    pub snd_wnd: Option<u32>,
    /// The window that this end offers, in bytes; Linux 6.2.
    pub rcv_wnd: Option<u32>,
    /// How often retransmission timeouts began, whether they are over or not; Linux 6.7.
    pub total_rto_recoveries: Option<u16>,
    /// Milliseconds that all these took, each from its first timeout on; Linux 6.7.
    pub total_rto_time_ms: Option<u32>,
}

impl TcpInfo {
    /// As far as every kernel has it: Linux 4.19 has so much.
    const LENGTH: usize = 216;

    fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        let fixed: &[u8; Self::LENGTH] = chunk(bytes, "struct tcp_info")?;
        let u32_at = |at| u32::from_ne_bytes(array(fixed, at));
        let u64_at = |at| u64::from_ne_bytes(array(fixed, at));
        let appended = |at| bytes.get(at..)?.first_chunk().map(|field| u32::from_ne_bytes(*field));
        let half = |at| bytes.get(at..)?.first_chunk().map(|field| u16::from_ne_bytes(*field));
        let [retransmits, probes, backoff] = array(fixed, 2);
        Ok(Self {
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
