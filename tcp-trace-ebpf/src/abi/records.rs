//! The records of the ring buffer. Sizes and order of the fields are the ABI.

use crate::{Bytes16, CIPHERTEXT_MAX};

/// Bytes of a `comm`, with its terminating zero (`TASK_COMM_LEN`).
pub const COMM_LEN: usize = 16;

/// [`RawHeader::kind`] of a [`RawTransition`].
pub const KIND_TRANSITION: u32 = 1;
/// [`RawHeader::kind`] of a [`RawSegment`].
pub const KIND_SEGMENT: u32 = 2;
/// [`RawHeader::kind`] of a [`RawProcessUse`].
pub const KIND_PROCESS: u32 = 3;
/// [`RawHeader::kind`] of a [`RawReset`].
pub const KIND_RESET: u32 = 4;
/// [`RawHeader::kind`] of a [`RawDatagram`].
pub const KIND_DATAGRAM: u32 = 5;
/// [`RawHeader::kind`] of a [`RawStack`].
pub const KIND_STACK: u32 = 6;
/// [`RawHeader::kind`] of a [`RawTranslation`].
pub const KIND_TRANSLATION: u32 = 7;
/// [`RawHeader::kind`] of a [`RawSubflow`].
pub const KIND_SUBFLOW: u32 = 8;
/// [`RawHeader::kind`] of a [`RawPlaintext`].
pub const KIND_PLAINTEXT: u32 = 9;
/// [`RawHeader::kind`] of a [`RawCiphertext`].
pub const KIND_CIPHERTEXT: u32 = 10;
/// [`RawHeader::kind`] of a [`RawTlsObjectGone`].
pub const KIND_TLS_OBJECT_GONE: u32 = 11;

/// [`RawStack::trigger`]: the process connects the socket.
pub const TRIGGER_CONNECT: u32 = 1;
/// [`RawStack::trigger`]: the first read or write of a socket that was accepted, or that is older than tracing.
pub const TRIGGER_FIRST_USE: u32 = 2;
/// [`RawStack::trigger`]: the first read that met the end of the stream.
pub const TRIGGER_END_OF_STREAM: u32 = 3;

/// [`RawSegment::direction`]: leaves the socket.
pub const DIRECTION_OUT: u8 = 0;
/// [`RawSegment::direction`]: reaches the socket.
pub const DIRECTION_IN: u8 = 1;

/// Bit of [`RawSegment::attributes`]: its sender can take no more data.
pub const ZERO_WINDOW: u8 = 1;
/// Bit of [`RawSegment::attributes`]: [`RawSegment::elided_to`] and [`RawSegment::elided_age_us`] are set.
pub const ELIDED: u8 = 2;
/// Bit of [`RawSegment::attributes`]: payload of its direction is elided (not handed over) from here on.
pub const ELISION_STARTS: u8 = 4;

/// Where in [`RawSegment::attributes`] the four bits of the verdict on a segment that arrives begin: one of
/// [`refusal`](crate::refusal), or [`NO_VERDICT`].
pub const VERDICT_SHIFT: u8 = 3;
/// These four bits, shifted.
pub const VERDICT_MASK: u8 = 0xf;
/// The kernel takes the segment, or the hook does not know.
pub const NO_VERDICT: u8 = 0;
/// Bit of [`RawSegment::attributes`]: the kernel may take the segment although the verdict says something else.
pub const VERDICT_UNSURE: u8 = 0x80;

/// Bit of [`RawTransition::attributes`]: the socket is a subflow of an MPTCP socket. Only set when it enters `SYN_SENT` or
/// `ESTABLISHED`.
pub const SUBFLOW: u8 = 1;
/// Bit of [`RawTransition::attributes`]: the socket connected. Only set where nothing changes: another process uses the socket.
pub const CONNECTED: u8 = 2;
/// The process that changed the state is ending, and its socket is closed with it.
pub const EXITING: u8 = 4;

/// Start of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawHeader {
    /// `bpf_ktime_get_ns()`: monotonic clock, nanoseconds.
    pub time_ns: u64,
    /// `bpf_get_socket_cookie()`.
    pub cookie: u64,
    /// One of the `KIND_` constants.
    pub kind: u32,
    /// Always 0.
    pub padding: u32,
}

/// Two IP addresses and ports, seen from the local socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawEndpoints {
    /// Local address in network byte order; IPv4 in the first four bytes.
    pub local_address: Bytes16,
    /// Peer address, likewise.
    pub peer_address: Bytes16,
    /// Local port.
    pub local_port: u16,
    /// Peer port.
    pub peer_port: u16,
    /// [`AF_INET`](crate::AF_INET) or [`AF_INET6`](crate::AF_INET6).
    pub family: u16,
    /// Of a segment that arrives, when neither the device nor the kernel has verified its checksum: the sum (RFC 1071) of its
    /// header, its header's length and the number of TCP, in network byte order. Else 0.
    pub unverified_sum: u16,
}

/// A process, identified in process context.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawProcess {
    /// Process id (tgid) in the initial pid namespace.
    pub pid: u32,
    /// Real user id.
    pub uid: u32,
    /// 1 when the process is followed, else 0.
    pub followed: u32,
    /// 1 when the other fields are set, else 0.
    pub known: u32,
    /// When the process started, nanoseconds since boot: with `pid` it identifies the process for ever.
    pub start_boottime_ns: u64,
    /// How often it called execve(): with the above it identifies its executable.
    pub exec_id: u64,
    /// Id of its cgroup in the v2 hierarchy: the inode number of the cgroup's folder.
    pub cgroup_id: u64,
    /// `comm` of the process's main thread: [`COMM_LEN`] bytes.
    pub comm: Bytes16,
}

/// Socket statistics at transitions to `CLOSE`, and at those to and from `LISTEN`; zeros at all others.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawTcpStats {
    /// `rcv_nxt - copied_seq`: bytes that were received and not read; a FIN counts 1.
    pub receive_queue: u32,
    /// `srtt_us >> 3`: smoothed round trip time, microseconds; 0 when there is none.
    pub srtt_us: u32,
    /// `snd_cwnd`, segments.
    pub cwnd: u32,
    /// `total_retrans`: segments that were sent again, SYN and SYN+ACK included.
    pub retransmits: u32,
    /// `rcv_nxt`: the number after the last one received; a FIN has one. Of connections.
    pub received_to: u32,
    /// `snd_una`: the number after the last one that the peer acknowledged; a FIN has one. Of connections.
    pub acknowledged_to: u32,
    /// Of connections, `snd_nxt`: the number after the last one sent; a FIN has one. Of listeners, `sk_ack_backlog`:
    /// connections that waited to be accepted.
    pub sent_to_or_accept_queue: u32,
    /// `sk_max_ack_backlog`: how many may wait. Of listeners.
    pub accept_queue_limit: u32,
}

/// `sock:inet_sock_set_state`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawTransition {
    /// Kind [`KIND_TRANSITION`].
    pub header: RawHeader,
    /// Addresses as the socket has them; ports may be 0.
    pub endpoints: RawEndpoints,
    /// The process, for transitions that are always made in process context.
    pub process: RawProcess,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// `sk_err`.
    pub error: i32,
    /// Old state's number.
    pub old: u8,
    /// New state's number.
    pub new: u8,
    /// `sk_shutdown`.
    pub shutdown: u8,
    /// [`SUBFLOW`], [`CONNECTED`] and [`EXITING`].
    pub attributes: u8,
    /// Which connection of this socket it is, from 0 (RFC 9293's incarnation): a socket can connect again after it was
    /// closed by a failure or by `connect(AF_UNSPEC)`, and keeps its cookie. Only set when it leaves `CLOSE`.
    pub incarnation: u32,
    /// Statistics of the socket.
    pub stats: RawTcpStats,
}

/// One TCP segment. `captured` bytes of its payload follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawSegment {
    /// Kind [`KIND_SEGMENT`].
    pub header: RawHeader,
    /// Of the packet, turned so that local is the reporting socket's end.
    pub endpoints: RawEndpoints,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
    /// Payload length of the whole segment, bytes.
    pub length: u32,
    /// How many bytes of the payload follow this struct.
    pub captured: u32,
    /// Inode number of the network namespace; 0 when it was not read.
    pub netns: u32,
    /// [`DIRECTION_OUT`] or [`DIRECTION_IN`].
    pub direction: u8,
    /// The header's control bits.
    pub flags: u8,
    /// Number of the socket's state.
    pub state: u8,
    /// [`ZERO_WINDOW`], [`ELIDED`] and [`ELISION_STARTS`], and the verdict from [`VERDICT_SHIFT`] on.
    pub attributes: u8,
    /// Of a direction whose payload is elided: the sequence number after the highest one seen before this segment,
    /// reported or not.
    pub elided_to: u32,
    /// How long before this segment that one was seen, microseconds.
    pub elided_age_us: u32,
}

/// The host translates the addresses of what a socket sends. Once per socket, before its first segment that is reported
/// with other addresses than its own.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawTranslation {
    /// Kind [`KIND_TRANSLATION`].
    pub header: RawHeader,
    /// The socket's own.
    pub endpoints: RawEndpoints,
    /// Of the packet, turned so that local is the reporting socket's end.
    pub translated: RawEndpoints,
    /// Inode number of the network namespace; 0 when it could not be read.
    pub netns: u32,
    /// Number of the socket's state.
    pub state: u8,
    /// Always 0.
    pub padding: [u8; 3],
}

/// A socket that connects, or is connected, is a further subflow of an MPTCP socket (MP_JOIN, RFC 8684). Behind its transition.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawSubflow {
    /// Kind [`KIND_SUBFLOW`].
    pub header: RawHeader,
    /// Cookie of the subflow that the MPTCP socket began with.
    pub first: u64,
}

/// One UDP datagram to or from [`DNS_PORT`](crate::DNS_PORT) of the other end. `captured` bytes of its payload follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawDatagram {
    /// Kind [`KIND_DATAGRAM`].
    pub header: RawHeader,
    /// Of the socket where it is connected, else of the packet, turned so that local is the reporting socket's end.
    pub endpoints: RawEndpoints,
    /// Payload length of the whole datagram, bytes.
    pub length: u32,
    /// How many bytes of the payload follow this struct.
    pub captured: u32,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// [`DIRECTION_OUT`] or [`DIRECTION_IN`].
    pub direction: u8,
    /// Always 0.
    pub padding: [u8; 3],
}

/// A process used a socket for the first time, or sent a datagram that was reported.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawProcessUse {
    /// Kind [`KIND_PROCESS`].
    pub header: RawHeader,
    /// The process.
    pub process: RawProcess,
}

/// `tcp:tcp_send_reset` with a socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawReset {
    /// Kind [`KIND_RESET`].
    pub header: RawHeader,
    /// `enum sk_rst_reason`.
    pub reason: u32,
    /// Always 0.
    pub padding: u32,
}

/// Where a process was when it used a socket: its registers in user mode. `stack_bytes` bytes of its stack follow,
/// from the stack pointer on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawStack {
    /// Kind [`KIND_STACK`].
    pub header: RawHeader,
    /// The process.
    pub process: RawProcess,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// One of the `TRIGGER_` constants.
    pub trigger: u32,
    /// `comm` of the thread.
    pub comm: [u8; COMM_LEN],
    /// Instruction pointer; 0 when there are no registers of user mode, as in threads of the kernel.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer.
    pub fp: u64,
    /// Link register, on architectures that have one.
    pub lr: u64,
    /// How many bytes of the stack follow this struct; 0 also when the ring buffer was too full for them.
    pub stack_bytes: u32,
    /// 1 when the ring buffer was too full for the stack, else 0.
    pub ring_full: u32,
}

/// The last read or write of a socket. Value in [`maps::LAST_USES`](crate::maps::LAST_USES).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawLastUse {
    /// `bpf_ktime_get_ns()`.
    pub time_ns: u64,
    /// Process id (tgid) in the initial pid namespace.
    pub pid: u32,
    /// Thread id, likewise.
    pub tid: u32,
    /// `comm` of the thread.
    pub comm: [u8; COMM_LEN],
    /// 1 for a write, 0 for a read.
    pub is_write: u32,
    /// Always 0.
    pub padding: u32,
}

/// One end of a TLS session, as its library keeps it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawTlsObject {
    /// Where it is in its process.
    pub address: u64,
    /// Process id (tgid) in the initial pid namespace.
    pub pid: u32,
    /// Which object at that address it is.
    pub generation: u32,
}

/// Plaintext that passed in a call of a TLS library, or a part of it. `captured` bytes follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawPlaintext {
    /// Kind [`KIND_PLAINTEXT`]; its cookie is 0, or with [`SENT`](crate::SENT) the address of what had taken it.
    pub header: RawHeader,
    /// Whose it is.
    pub object: RawTlsObject,
    /// Bytes that passed in this direction before.
    pub offset: u64,
    /// Cookie of the socket that the thread used in the call; 0 when it used none.
    pub socket: u64,
    /// How many bytes passed, or are about to. 0 where they were reported when their call began: this names the socket that it used.
    pub length: u32,
    /// How many of them follow this struct.
    pub captured: u32,
    /// [`DIRECTION_OUT`] or [`DIRECTION_IN`].
    pub direction: u8,
    /// One of the `LIBRARY_` constants.
    pub library: u8,
    /// [`LATE`](crate::LATE), [`TAKEN`](crate::TAKEN), [`SENT`](crate::SENT).
    pub attributes: u8,
    /// Always 0.
    pub padding: [u8; 5],
}

/// The beginning of a TLS record that an object sends.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawCiphertext {
    /// Kind [`KIND_CIPHERTEXT`]; its cookie is 0.
    pub header: RawHeader,
    /// Whose it is.
    pub object: RawTlsObject,
    /// How many bytes there are.
    pub captured: u32,
    /// [`DIRECTION_OUT`] or [`DIRECTION_IN`].
    pub direction: u8,
    /// Always 0.
    pub padding: [u8; 3],
    /// The first bytes.
    pub bytes: [u8; CIPHERTEXT_MAX],
}

/// A TLS object was freed, or is used for another session.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawTlsObjectGone {
    /// Kind [`KIND_TLS_OBJECT_GONE`]; its cookie is 0.
    pub header: RawHeader,
    /// Which.
    pub object: RawTlsObject,
}

// Records are read byte by byte on the other side: no hidden padding, and 8-byte alignment throughout.
const _: () = assert!(size_of::<RawHeader>() == 24);
const _: () = assert!(size_of::<RawEndpoints>() == 40);
const _: () = assert!(size_of::<RawProcess>() == 56);
const _: () = assert!(size_of::<RawTcpStats>() == 32);
const _: () = assert!(size_of::<RawTransition>() == 24 + 40 + 56 + 16 + 32);
const _: () = assert!(size_of::<RawSegment>() == 24 + 40 + 32);
const _: () = assert!(size_of::<RawTranslation>() == 24 + 40 + 40 + 8);
const _: () = assert!(size_of::<RawDatagram>() == 24 + 40 + 16);
const _: () = assert!(size_of::<RawProcessUse>() == 24 + 56);
const _: () = assert!(size_of::<RawSubflow>() == 24 + 8);
const _: () = assert!(size_of::<RawReset>() == 24 + 8);
const _: () = assert!(size_of::<RawStack>() == 24 + 56 + 8 + 16 + 32 + 8);
const _: () = assert!(size_of::<RawLastUse>() == 40);
const _: () = assert!(size_of::<RawPlaintext>() == 24 + 16 + 16 + 16);
const _: () = assert!(size_of::<RawCiphertext>() == 24 + 16 + 8 + CIPHERTEXT_MAX);
const _: () = assert!(size_of::<RawTlsObjectGone>() == 24 + 16);
