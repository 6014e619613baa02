//! A TCP socket as the kernel lists it (sock_diag(7)).

use serde::{Deserialize, Serialize};

use crate::{
    event::{Cookie, Endpoints, State},
    omit::is_zero,
};

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

    /// The kernel's number of it (`include/linux/socket.h`).
    pub fn number(self) -> u8 {
        match self {
            Self::Inet => 2,
            Self::Inet6 => 10,
        }
    }

    /// The family with this number.
    pub fn from_kernel(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.number() == number)
    }
}

/// Which timer of a socket runs (`idiag_timer`, set by `inet_sk_diag_fill()`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
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
    /// The timer with this number (`inet_sk_diag_fill()`).
    pub fn from_kernel(number: u8) -> Self {
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
}

/// What is used of `struct tcp_info` (`tcp_get_info()`). Later kernels append to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TcpInfo {
    /// Retransmission timeouts in a row (`icsk_retransmits`).
    #[serde(default, skip_serializing_if = "is_zero::<u8>")]
    pub retransmits: u8,
    /// Probes without an answer (`icsk_probes_out`), of a closed window or of keep-alive.
    #[serde(default, skip_serializing_if = "is_zero::<u8>")]
    pub probes: u8,
    /// How often the timeout has been doubled (`icsk_backoff`), also between probes.
    #[serde(default, skip_serializing_if = "is_zero::<u8>")]
    pub backoff: u8,
    /// Retransmission timeout in microseconds, doubled as often as [`Self::backoff`] says.
    #[serde(default, skip_serializing_if = "is_zero::<u32>")]
    pub rto_us: u32,
    /// Segments sent and not acknowledged. For a listener the connections that wait to be accepted.
    #[serde(default, skip_serializing_if = "is_zero::<u32>")]
    pub unacked: u32,
    /// Milliseconds since a segment with data was sent last, or since the socket exists.
    #[serde(default, skip_serializing_if = "is_zero::<u32>")]
    pub last_data_sent_ms: u32,
    /// Milliseconds since the last segment with data came, or since the socket exists.
    #[serde(default, skip_serializing_if = "is_zero::<u32>")]
    pub last_data_recv_ms: u32,
    /// Milliseconds since the last acknowledgment came. In `CLOSE_WAIT` without data of ours in flight, since
    /// the peer's FIN.
    #[serde(default, skip_serializing_if = "is_zero::<u32>")]
    pub last_ack_recv_ms: u32,
    /// Smoothed round-trip time in microseconds; 0 before the first sample.
    #[serde(default, skip_serializing_if = "is_zero::<u32>")]
    pub srtt_us: u32,
    /// Congestion window in segments.
    #[serde(default, skip_serializing_if = "is_zero::<u32>")]
    pub cwnd: u32,
    /// Segments retransmitted in the connection's life.
    #[serde(default, skip_serializing_if = "is_zero::<u32>")]
    pub total_retrans: u32,
    /// Bytes that the peer acknowledged, the SYN counted as one (RFC 4898 `tcpEStatsAppHCThruOctetsAcked`).
    #[serde(default, skip_serializing_if = "is_zero::<u64>")]
    pub bytes_acked: u64,
    /// Bytes received in order, the FIN counted as one (RFC 4898 `tcpEStatsAppHCThruOctetsReceived`).
    #[serde(default, skip_serializing_if = "is_zero::<u64>")]
    pub bytes_received: u64,
    /// Bytes that were written and never sent yet.
    #[serde(default, skip_serializing_if = "is_zero::<u32>")]
    pub notsent_bytes: u32,
    /// Microseconds in which the peer's window was what limited sending.
    #[serde(default, skip_serializing_if = "is_zero::<u64>")]
    pub rwnd_limited_us: u64,
    /// Bytes of data sent, with those sent again.
    #[serde(default, skip_serializing_if = "is_zero::<u64>")]
    pub bytes_sent: u64,
    /// Bytes of data sent again.
    #[serde(default, skip_serializing_if = "is_zero::<u64>")]
    pub bytes_retrans: u64,
    /// The window that the peer offers, in bytes; Linux 5.4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snd_wnd: Option<u32>,
    /// The window that this end offers, in bytes; Linux 6.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rcv_wnd: Option<u32>,
    /// How often retransmission timeouts began, whether they are over or not; Linux 6.7.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_rto_recoveries: Option<u16>,
    /// Milliseconds that all these took, each from its first timeout on; Linux 6.7.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_rto_time_ms: Option<u32>,
}
