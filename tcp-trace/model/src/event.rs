//! What the kernel reported, in the project's own terms. Knows nothing of eBPF, I/O or clocks.

use std::{
    hash::{Hash, Hasher},
    net::SocketAddr,
    sync::Arc,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{refusal::Verdict, time::Time};

mod plaintext;
mod stack;

pub use plaintext::{Ciphertext, Passage, Plaintext, TlsLibrary, TlsObject};
pub use stack::{LastUse, Registers, Stack, StackTrigger};

/// A socket's cookie: unique on the host until reboot, never reused (`sock_gen_cookie()`).
pub type Cookie = u64;

/// A state of the TCP state machine, in the kernel's names without `TCP_` (RFC 9293, section 3.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// Connection fully set up; RFC 9293 "ESTABLISHED".
    Established,
    /// SYN sent, waiting for SYN+ACK; RFC 9293 "SYN-SENT".
    SynSent,
    /// SYN received and answered, waiting for the ACK; RFC 9293 "SYN-RECEIVED".
    SynRecv,
    /// FIN sent first, not yet acknowledged; RFC 9293 "FIN-WAIT-1".
    FinWait1,
    /// Our FIN is acknowledged, waiting for the peer's; RFC 9293 "FIN-WAIT-2".
    FinWait2,
    /// Both ended; late segments are waited out for 60 s; RFC 9293 "TIME-WAIT".
    TimeWait,
    /// No connection; RFC 9293 "CLOSED".
    Close,
    /// The peer ended, the application has not closed yet; RFC 9293 "CLOSE-WAIT".
    CloseWait,
    /// FIN sent after the peer's, waiting for its ACK; RFC 9293 "LAST-ACK".
    LastAck,
    /// Waiting for connections; RFC 9293 "LISTEN".
    Listen,
    /// Both sent a FIN at the same time; RFC 9293 "CLOSING".
    Closing,
}

impl State {
    /// The state of a kernel number (`include/net/tcp_states.h`). `TCP_NEW_SYN_RECV` is a half-open
    /// request and so `SYN_RECV`.
    pub fn from_kernel(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Established,
            2 => Self::SynSent,
            3 | 12 => Self::SynRecv,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 => Self::Close,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            _ => return None,
        })
    }

    /// The kernel's name without `TCP_`, as in recordings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::FinWait1 => "FIN_WAIT1",
            Self::FinWait2 => "FIN_WAIT2",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
        }
    }
}

/// Which way a segment went, seen from the socket that reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Sent by the local socket.
    Out,
    /// Received by the local socket.
    In,
}

impl Direction {
    /// The other way.
    pub fn opposite(self) -> Self {
        match self {
            Self::Out => Self::In,
            Self::In => Self::Out,
        }
    }

    /// 0 for out, 1 for in.
    pub fn index(self) -> usize {
        match self {
            Self::Out => 0,
            Self::In => 1,
        }
    }
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It connected.
    Client,
    /// It was accepted from a listener.
    Server,
    /// It waits for connections.
    Listener,
}

/// The control bits of a TCP segment (RFC 9293, section 3.1), as in the header's 14th byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u8);

impl Flags {
    /// The sender has no more data.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgment number counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);
    /// Explicit congestion notification echo (RFC 3168).
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Self = Self(0x80);

    /// Each flag with its name, in the order in which they are written.
    pub const NAMES: [(Self, &'static str); 8] = [
        (Self::SYN, "SYN"),
        (Self::FIN, "FIN"),
        (Self::RST, "RST"),
        (Self::PSH, "PSH"),
        (Self::ACK, "ACK"),
        (Self::URG, "URG"),
        (Self::ECE, "ECE"),
        (Self::CWR, "CWR"),
    ];

    /// Whether all flags of `other` are set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets of flags.
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The names of the flags that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| name)
    }
}

/// A process, as the kernel knows it in process context: never the one that a softirq interrupted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Process id (the kernel's tgid), in the initial pid namespace.
    pub pid: u32,
    /// The name of the process's main thread (`comm`, at most 15 bytes).
    pub name: Bytes,
    /// Real user id.
    pub uid: u32,
    /// Whether it is the command given after `--` or one of its descendants.
    pub followed: bool,
    /// Which process and executable it is, whatever its id is used for later.
    pub key: ProcessKey,
    /// Where it runs, as far as user space could look it up.
    pub info: ProcessInfo,
}

impl Owner {
    /// A process of which only this is known.
    pub fn new(pid: u32, name: &str) -> Self {
        Self {
            pid,
            name: Bytes::copy_from_slice(name.as_bytes()),
            uid: 0,
            followed: false,
            key: ProcessKey::default(),
            info: ProcessInfo::default(),
        }
    }
}

/// By what tells one process from the others, which is less than all that it has, and enough to find it.
impl Hash for Owner {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.pid, self.key.started, self.key.executions).hash(state);
    }
}

/// What tells a process and what it executes from all others since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProcessKey {
    /// When it started, nanoseconds since boot (`task_struct.start_boottime`).
    pub started: u64,
    /// How often it called execve() (`task_struct.self_exec_id`).
    pub executions: u64,
    /// Id of its cgroup in the v2 hierarchy (`bpf_get_current_cgroup_id()`).
    pub cgroup: u64,
}

/// What user space looks up of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProcessInfo {
    /// Path of its executable (`/proc/PID/exe`); `None` when the process was gone.
    pub executable: Option<Bytes>,
    /// Path of its cgroup in the v2 hierarchy.
    pub cgroup: Option<Arc<str>>,
}

/// Both ends of a connection, seen from one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoints {
    /// The end on this host. Its port is 0 while the kernel has not chosen one.
    pub local: SocketAddr,
    /// The other end. Its port is 0 for listeners.
    pub peer: SocketAddr,
}

/// What the kernel's socket knew when its connection ended, or what a listener knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpStats {
    /// Received and not read by the application, in bytes; an unread FIN counts 1.
    pub receive_queue: u32,
    /// Smoothed round trip time in microseconds (`srtt_us >> 3`); 0 for none.
    pub srtt_us: u32,
    /// Congestion window in segments (`snd_cwnd`).
    pub cwnd: u32,
    /// Segments sent again, SYN and SYN+ACK included (`total_retrans`).
    pub retransmits: u32,
    /// Connections that wait to be accepted (`sk_ack_backlog`). Of listeners.
    pub accept_queue: u32,
    /// How many may wait (`sk_max_ack_backlog`). Of listeners.
    pub accept_queue_limit: u32,
}

impl Endpoints {
    /// The same, seen from the other end.
    pub fn reversed(self) -> Self {
        Self { local: self.peer, peer: self.local }
    }
}

/// `sock:inet_sock_set_state`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// The previous state.
    pub old: State,
    /// The state entered.
    pub new: State,
    /// Addresses and ports as the socket has them at this moment: ports may still be 0.
    pub endpoints: Endpoints,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Who did it, when this transition happens in process context by its nature (connect, listen, close).
    pub owner: Option<Owner>,
    /// `sk_shutdown`: bit 0 the peer's FIN came (or reading was shut down), bit 1 writing was shut down.
    pub shutdown: u8,
    /// `sk_err`: errno of a failed connection, 0 for none.
    pub error: i32,
    /// Which connection of this socket it is, from 0, when it leaves `CLOSE`: a socket can connect again.
    pub incarnation: u32,
    /// Whether the socket is known to have connected, where nothing changes: another process uses it.
    pub is_client: bool,
    /// Whether the process is ending, and its end closes the socket.
    pub is_exit: bool,
    /// Whether the kernel did not report it: it follows from what was seen.
    pub is_inferred: bool,
    /// Whether it is a subflow of an MPTCP socket, when it enters `SYN_SENT` or `ESTABLISHED`.
    pub is_subflow: bool,
    /// What the socket knew, when it goes to `CLOSE` or comes to or leaves `LISTEN`; else zeros.
    pub stats: TcpStats,
    /// Before which sequence number all has passed, a FIN included, by [`Direction::index`]: what the peer acknowledged
    /// (`snd_una`) and what was received (`rcv_nxt`). Of connections that go to `CLOSE`.
    pub passed: Option<[u32; 2]>,
    /// Before which sequence number all was sent, a FIN included (`snd_nxt`), when that is known. Of connections that go to
    /// `CLOSE`.
    pub sent_to: Option<u32>,
}

impl StateChange {
    /// A change of which nothing else is known.
    pub fn new(old: State, new: State) -> Self {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        Self {
            old,
            new,
            endpoints: Endpoints { local: nowhere, peer: nowhere },
            netns: 0,
            owner: None,
            shutdown: 0,
            error: 0,
            incarnation: 0,
            is_client: false,
            is_exit: false,
            is_inferred: false,
            is_subflow: false,
            stats: TcpStats::default(),
            passed: None,
            sent_to: None,
        }
    }
}

/// One TCP segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Seen from the socket of the event's cookie.
    pub direction: Direction,
    /// Control bits.
    pub flags: Flags,
    /// Sequence number of the segment.
    pub sequence: u32,
    /// Acknowledgment number; counts only with [`Flags::ACK`].
    pub acknowledgment: u32,
    /// Payload length of the whole segment in bytes.
    pub length: u32,
    /// The captured payload: all of it, or the beginning.
    pub payload: &'a [u8],
    /// Addresses and ports of the packet, seen from the local socket. Of a segment that arrives, they are the socket's own; one
    /// that leaves has those of the wire.
    pub endpoints: Endpoints,
    /// Inode number of the network namespace, where the kernel side has read it.
    pub netns: Option<u32>,
    /// State of the socket when the segment passed. `LISTEN` and `SYN_RECV` mean that the cookie is the
    /// listener's and the segment belongs to a connection that is yet to be accepted.
    pub state: Option<State>,
    /// Whether its sender can take no more data.
    pub zero_window: bool,
    /// Whether segments of its direction pass that are not reported, because they are in order and nobody needs their
    /// payload.
    pub elision: Elision,
    /// Of one that arrives: what the kernel makes of it.
    pub verdict: Verdict,
}

/// Whether all segments of a direction are reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Elision {
    /// All that went before.
    #[default]
    None,
    /// All that went before, and from now on only those that are not in order.
    Starts,
    /// Only those that were not in order; this is how far it had come with the others.
    After(Elided),
}

/// How far a direction had come before a segment, with what was not reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elided {
    /// The sequence number after the highest that had passed.
    pub next: u32,
    /// How long before the segment that one passed, in microseconds.
    pub us: u32,
}

/// One UDP datagram to or from a DNS server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Seen from the socket of the event's cookie.
    pub direction: Direction,
    /// Addresses and ports of the packet, seen from the local socket.
    pub endpoints: Endpoints,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Payload length of the whole datagram in bytes.
    pub length: u32,
    /// The captured payload: all of it, or the beginning.
    pub payload: &'a [u8],
}

/// Other addresses than its own, with which a socket's segments leave this host: it translates them (NAT).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The socket's own.
    pub endpoints: Endpoints,
    /// Those of its segments, seen from the socket.
    pub translated: Endpoints,
    /// Inode number of the network namespace, where the kernel side could read it.
    pub netns: Option<u32>,
    /// State of the socket when the segment passed.
    pub state: Option<State>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind<'a> {
    /// A socket changed its state.
    StateChange(StateChange),
    /// A segment passed.
    Segment(Segment<'a>),
    /// The next segment of the socket is the first that leaves with other addresses.
    Translation(Translation),
    /// A datagram passed.
    Datagram(Datagram<'a>),
    /// A process used the socket for the first time, or sent the last datagram that passed.
    Owner(Owner),
    /// The kernel sends an RST, for this reason (`enum sk_rst_reason`).
    Reset(u32),
    /// The socket is a further subflow of the MPTCP socket that began with this one.
    Subflow(Cookie),
    /// Where a process was when it used the socket.
    Stack(Stack<'a>),
    /// A call of a TLS library passed plaintext. The event's cookie is no socket's.
    Plaintext(Plaintext<'a>),
    /// A TLS library passed ciphertext. The event's cookie is 0.
    Ciphertext(Ciphertext<'a>),
    /// A TLS library freed an object, or uses it for another session. The event's cookie is 0.
    TlsObjectGone(TlsObject),
}

/// One thing that the kernel reported of one socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// When.
    pub time: Time,
    /// Of which socket.
    pub cookie: Cookie,
    /// What.
    pub kind: EventKind<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_numbers_give_the_kernels_names() {
        let names: Vec<_> = (0..=13).map(|number| State::from_kernel(number).map(State::name)).collect();
        assert_eq!(names[0], None);
        assert_eq!(names[1], Some("ESTABLISHED"));
        assert_eq!(names[6], Some("TIME_WAIT"));
        assert_eq!(names[11], Some("CLOSING"));
        assert_eq!(names[12], Some("SYN_RECV"), "a request socket is a half-open connection");
        assert_eq!(names[13], None);
    }

    #[test]
    fn state_names_are_the_recorded_ones() {
        for number in 1..=11 {
            let state = State::from_kernel(number).unwrap();
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
    }

    #[test]
    fn flags_are_named_syn_first() {
        let names: Vec<_> = Flags::ACK.with(Flags::SYN).names().collect();
        assert_eq!(names, ["SYN", "ACK"]);
    }
}
